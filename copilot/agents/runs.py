"""The life of a run: QUEUED → DRAFTING → PARKED → … → DONE, FAILED or NEEDS_HUMAN, each step claimed under a fence.

Whoever holds a claim proves it by its fence: a worker that was slow, paused or thought dead writes nothing any more.
A parked run holds no worker. Every function but `advance` runs in the caller's transaction.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import func, literal, or_, select, update
from sqlalchemy.dialects import postgresql, sqlite

from copilot import db as database
from copilot.agents import briefing, fenced, react
from copilot.agents.drafts import Ending, Entry, Finished, Stuck, Wants, Work
from copilot.agents.fenced import ClaimLost
from copilot.audit import log
from copilot.db import UTCDateTime, db, new_id
from copilot.gate import arcs
from copilot.models import Agent, Proposal, Run
from copilot.models.work import RUN_ENDED, RUN_OPEN

__all__ = ["ClaimLost", "Finished", "Stuck", "Wants", "Work", "advance", "claim", "finish", "park", "queue", "record", "wake"]

LEASE = timedelta(seconds=60)
DISPATCH_AFTER = timedelta(seconds=10)
MOST_REFUSALS = 2
_AT_A_TIME = 200

_runs: Any = Run.__table__


def queue(ticket_id: str, agent_id: str, requester_id: str | None = None) -> str:
    """Queue a run of this agent on this ticket and return its id; the id of the open one when there is one.

    An open run is locked until the commit: it cannot end without seeing what the caller writes beside this.
    """
    dialect = sqlite if db.engine.dialect.name == "sqlite" else postgresql
    at = database.now()
    row = {
        "id": new_id("run"), "ticket_id": ticket_id, "agent_id": agent_id, "state": "QUEUED", "attempts": 0, "fence": 0, "refusals": 0,
        "dispatched_at": at, "placeholders": {}, "input_tokens": 0, "output_tokens": 0, "requester_id": requester_id, "created_at": at,
    }  # fmt: skip
    open_one = select(_runs.c.id).where(_runs.c.ticket_id == ticket_id, _runs.c.agent_id == agent_id, _runs.c.state.in_(sorted(RUN_OPEN)))
    while True:
        made = db.session.execute(dialect.insert(_runs).values(row).on_conflict_do_nothing().returning(_runs.c.id)).scalar_one_or_none()
        if made is not None:
            log.append("run.queued", made, at=at, ticket=ticket_id, agent=agent_id, requester=requester_id)
            return str(made)
        there = db.session.execute(open_one.with_for_update()).scalar_one_or_none()
        if there is not None:  # else it ended while we looked, and there is room now
            return str(there)


def claim(run_id: str) -> Work | None:
    """Take a queued run for 60 seconds, with everything its next draft needs; None when it is not there to be taken.

    What happened since it last worked is written into its conversation first: the outcome it was parked on, new messages.
    """
    at = database.now()
    taken = (
        update(_runs)
        .where(_runs.c.id == run_id, _runs.c.state == "QUEUED")
        .values(
            state="DRAFTING", fence=_runs.c.fence + 1, lease_until=at + LEASE,
            started_at=func.coalesce(_runs.c.started_at, literal(at, UTCDateTime)),
        )
        .returning(_runs.c.fence)
    )  # fmt: skip
    fence = db.session.execute(taken).scalar_one_or_none()
    if fence is None:
        return None
    log.append("run.drafting", run_id, at=at, fence=fence)
    run = db.session.get(Run, run_id, populate_existing=True)
    assert run is not None
    if not run.agent.enabled:
        fenced.end(run_id, fence=fence, state="NEEDS_HUMAN", code="agent-disabled", reason="The agent is disabled.", at=at)
        return None
    brief = briefing.prepare(run)
    fenced.append(run_id, brief.entries, at=at)
    values: dict[str, Any] = {"placeholders": dict(brief.marks), "parked_on": None}
    if run.prompt_version is None:
        values["prompt_version"] = brief.prompt_version
    db.session.execute(update(_runs).where(_runs.c.id == run_id).values(**values))
    return Work(
        run_id=run_id,
        fence=fence,
        ticket_id=run.ticket_id,
        agent_id=run.agent_id,
        requester_id=run.requester_id,
        messages=brief.messages,
        tools=brief.tools,
        known=brief.known,
        marks=brief.marks,
        tokens=run.input_tokens + run.output_tokens,
        heard=brief.heard,
    )


def advance(work: Work) -> Ending:
    """Draft until the agent wants an action, is done, or is stuck; no transaction may be open.

    Each step is written as it is made, in a transaction of its own, and renews the lease. Stuck("claim-lost") means
    another worker has the run: `finish` then changes nothing. An agent that is disabled meanwhile stops at its next step.
    """

    def write(entries: Sequence[Entry], marks: Mapping[str, str]) -> None:
        with database.transaction():
            record(work, entries, marks=marks)
            enabled = db.session.scalar(select(Agent.enabled).where(Agent.id == work.agent_id))
        if not enabled:
            raise _ShutOut

    database.read_again()
    try:
        return react.draft(work, record=write)
    except ClaimLost as lost:
        return Stuck(lost.code, str(lost))
    except _ShutOut:
        return Stuck("agent-disabled", "The agent was disabled while it worked on this.")


class _ShutOut(Exception):
    """The agent was disabled since its last step."""


def record(work: Work, steps: Sequence[Entry], *, marks: Mapping[str, str] | None = None) -> None:
    """Write steps under the claim's fence and renew its lease; ClaimLost when the claim is gone."""
    at = database.now()
    values: dict[str, Any] = {
        "lease_until": at + LEASE,
        "input_tokens": _runs.c.input_tokens + sum(step.input_tokens for step in steps),
        "output_tokens": _runs.c.output_tokens + sum(step.output_tokens for step in steps),
    }
    if marks is not None:
        values["placeholders"] = dict(marks)
    models = [step.model for step in steps if step.model]
    if models:
        values["model"] = models[-1]
    fenced.change(work.run_id, fence=work.fence, values=values)
    fenced.append(work.run_id, steps, at=at)


def park(work: Work, proposal_id: str, *, call_id: str | None = None) -> None:
    """Wait, without a worker, for what becomes of this proposal; ClaimLost undoes the caller's transaction.

    `call_id` is that of the `Wants`; without it the conversation's one open call is meant.
    """
    at = database.now()
    fenced.change(
        work.run_id,
        fence=work.fence,
        values={"state": "PARKED", "parked_on": proposal_id, "parked_at": at, "lease_until": None, "attempts": 0},
    )
    fenced.append(work.run_id, [Entry("proposal", None, {"call_id": call_id}, proposal_id)], at=at)
    log.append("run.parked", work.run_id, at=at, fence=work.fence, proposal=proposal_id)


def wake(proposal_id: str) -> str | None:
    """Queue the run that waits for this proposal, if the proposal has ended; gives the run's id when there is work again.

    A second refusal by the gate ends the run in a person's hands instead.
    """
    proposal = db.session.execute(select(Proposal.run_id, Proposal.state, Proposal.verdict).where(Proposal.id == proposal_id)).first()
    if proposal is None or proposal.state not in arcs.TERMINAL:
        return None
    at = database.now()
    woken = (
        update(_runs)
        .where(_runs.c.id == proposal.run_id, _runs.c.parked_on == proposal_id, _runs.c.state == "PARKED")
        .values(state="QUEUED", dispatched_at=at, refusals=_runs.c.refusals + (1 if proposal.state == arcs.DENIED else 0))
        .returning(_runs.c.id, _runs.c.fence, _runs.c.refusals)
    )
    row = db.session.execute(woken).first()
    if row is None:
        return None
    if proposal.state == arcs.DENIED and row.refusals >= MOST_REFUSALS:
        rule, reason = str(proposal.verdict.get("rule") or "refused"), str(proposal.verdict.get("reason") or "")
        fenced.end(
            row.id,
            fence=row.fence,
            state="NEEDS_HUMAN",
            code="denied",
            reason=f"The gate refused the agent twice: {reason}",
            at=at,
            before="QUEUED",
            rule=rule,
        )
        return None
    log.append("run.resumed", row.id, at=at, proposal=proposal_id, outcome=proposal.state)
    return str(row.id)


def answer(work: Work, call_id: str, *, outcome: str, message: str) -> str | None:
    """Tell the agent why its call became no proposal (a duplicate, say) and queue the run again; gives its id.

    Counts as a refusal: the second ends the run in a person's hands, and None is returned. `message` is a sentence of ours.
    """
    at = database.now()
    values = {"state": "QUEUED", "dispatched_at": at, "lease_until": None, "refusals": _runs.c.refusals + 1}
    refusals = fenced.change(work.run_id, fence=work.fence, values=values)
    marks = db.session.execute(select(_runs.c.placeholders).where(_runs.c.id == work.run_id)).scalar_one()
    entry, marks = briefing.told(call_id, outcome=outcome, message=message, known=work.known, marks=marks)
    fenced.append(work.run_id, [entry], at=at)
    db.session.execute(update(_runs).where(_runs.c.id == work.run_id).values(placeholders=marks))
    if refusals >= MOST_REFUSALS:
        fenced.end(work.run_id, fence=work.fence, state="NEEDS_HUMAN", code=outcome, reason=message, at=at, before="QUEUED")
        return None
    log.append("run.queued", work.run_id, at=at, fence=work.fence, code=outcome)
    return work.run_id


def put_back(work: Work, *, code: str, reason: str) -> bool:
    """Queue the run again because something was down; the sweeper wakes it in ten seconds. False: it was the last attempt."""
    return fenced.again(work.run_id, fence=work.fence, code=code, reason=reason, at=database.now())


def finish(work: Work, state: str, code: str, reason: str) -> bool:
    """End the run as DONE, FAILED or NEEDS_HUMAN, with a code and a sentence; NEEDS_HUMAN tells people outside too.

    False when it did not end: the claim is lost (nothing is written), or the customer wrote meanwhile and a DONE run
    is queued again to read it.
    """
    assert state in RUN_ENDED
    at = database.now()
    return fenced.end(work.run_id, fence=work.fence, state=state, code=code, reason=reason, at=at, but_for_news=state == "DONE")


def expired(now: datetime) -> tuple[str, ...]:
    """Queue again the runs whose worker let the lease lapse, at most three times each, then hand them to a person."""
    lapsed = select(_runs.c.id, _runs.c.fence).where(_runs.c.state == "DRAFTING", _runs.c.lease_until < now).limit(_AT_A_TIME)
    reason = "The draft was started several times and never came to an end."
    rows = db.session.execute(lapsed).all()
    return tuple(row.id for row in rows if fenced.again(row.id, fence=row.fence, code="worker-lost", reason=reason, at=now, lapsed_by=now))


def undispatched(now: datetime) -> tuple[str, ...]:
    """Ids of queued runs that nobody was told of in the last ten seconds, marked as told now."""
    silent = or_(_runs.c.dispatched_at.is_(None), _runs.c.dispatched_at <= now - DISPATCH_AFTER)
    some = select(_runs.c.id).where(_runs.c.state == "QUEUED", silent).order_by(_runs.c.created_at).limit(_AT_A_TIME)
    told = update(_runs).where(_runs.c.id.in_(some), _runs.c.state == "QUEUED").values(dispatched_at=now).returning(_runs.c.id)
    return tuple(db.session.execute(told).scalars())


def stranded() -> tuple[str, ...]:
    """Queue the parked runs whose proposal has ended without anybody waking them; gives their ids."""
    ended = (
        select(_runs.c.parked_on)
        .join(Proposal, Proposal.id == _runs.c.parked_on)
        .where(_runs.c.state == "PARKED", Proposal.state.in_(sorted(arcs.TERMINAL)))
        .limit(_AT_A_TIME)
    )
    woken = [wake(proposal_id) for proposal_id in db.session.execute(ended).scalars().all()]
    return tuple(run_id for run_id in woken if run_id is not None)
