"""What repairs the world every few seconds from the database alone: lost jobs, lapsed leases, deadlines, old intents.

Each step is its own compare-and-set with its own audit event, so a second sweeper, or a crash in between, does no harm.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import or_, select, update

from copilot import db as database
from copilot.db import db
from copilot.gate import arcs, lifecycle, switches, tools
from copilot.gateway import aftermath, limits
from copilot.gateway.adapters import Unknown
from copilot.models import Execution, Proposal
from copilot.notify import outbox

REDISPATCH_AFTER = timedelta(seconds=10)
LOOK_UP_EVERY = timedelta(seconds=30)
LOOK_UP_FOR = timedelta(hours=1)
ESCALATE_AT = (timedelta(0), timedelta(minutes=15), timedelta(minutes=60))
REMIND_AT = (0.5, 0.9)
BATCH = 200


def undispatched() -> list[str]:
    """Approved proposals nobody was told of in the last ten seconds; marks them told. Repairs an emptied Redis by itself."""
    now = database.now()
    waiting = (
        select(Proposal.id)
        .where(
            Proposal.state == arcs.APPROVED,
            or_(Proposal.dispatched_at.is_(None), Proposal.dispatched_at < now - REDISPATCH_AFTER),
            Proposal.updated_at < now - REDISPATCH_AFTER,
            switches.none_thrown(Proposal.agent_id, Proposal.tool),
        )
        .order_by(Proposal.updated_at)
        .limit(BATCH)
    )
    return _mark(list(db.session.scalars(waiting)), now)


def lapsed() -> list[str]:
    """Proposals whose call outlived its lease."""
    late = select(Proposal.id).where(Proposal.state == arcs.EXECUTING, Proposal.lease_until < database.now())
    return list(db.session.scalars(late.limit(BATCH)))


def lapse(proposal_id: str) -> str | None:
    """Take a proposal from a worker that went silent: again under the same key where the tool honours it, else to a person."""
    proposal = db.session.get(Proposal, proposal_id)
    now = database.now()
    if proposal is None or proposal.state != arcs.EXECUTING or proposal.lease_until is None or proposal.lease_until >= now:
        return None
    tool = tools.current().find(proposal.tool)
    mine = [Proposal.fence == proposal.fence, Proposal.lease_until < now]
    first = proposal.called_at or now
    message = "The worker went silent during the call; it may or may not have happened."
    fence, unknown = proposal.fence, Unknown(message)
    if tool is not None and tool.honours_key and proposal.attempts < limits.MAX_ATTEMPTS:
        left = timedelta(seconds=tool.key_lifetime or 0) - (now - first)
        if left > limits.lease(tool):
            moved = lifecycle.move(
                proposal_id, before=arcs.EXECUTING, after=arcs.APPROVED, where=mine,
                values={"lease_until": None, "dispatched_at": None}, event={"rule": "lease-lapsed"},
            )  # fmt: skip
            if moved is None:
                return None
            _abandon(proposal_id, fence, message, now)
            return moved.state
    moved = lifecycle.move(
        proposal_id, before=arcs.EXECUTING, after=arcs.OUTCOME_UNKNOWN, where=mine,
        values={"outcome": aftermath.outcome_of(unknown), "lease_until": None}, event={"rule": "lease-lapsed"},
    )  # fmt: skip
    if moved is None:
        return None
    _abandon(proposal_id, fence, message, now)
    aftermath.follow(moved, unknown)
    return moved.state


def to_look_up() -> list[str]:
    """Unknown outcomes whose tool can be asked, due for another question; marks them asked."""
    now = database.now()
    askable = [tool.name for tool in tools.current().all() if tool.lookup is not None]
    due = (
        select(Proposal.id)
        .where(
            Proposal.state == arcs.OUTCOME_UNKNOWN,
            Proposal.tool.in_(askable),
            or_(Proposal.dispatched_at.is_(None), Proposal.dispatched_at < now - LOOK_UP_EVERY),
            Proposal.updated_at > now - LOOK_UP_FOR,
        )
        .order_by(Proposal.updated_at)
        .limit(BATCH)
    )
    return _mark(list(db.session.scalars(due)), now)


def escalate() -> int:
    """Tell people again at 15 and 60 minutes of an outcome that is still unknown; returns how many were told."""
    now = database.now()
    told = 0
    for step, after in reversed(list(enumerate(ESCALATE_AT))):  # the latest step first, so that nobody is told twice at once
        late = (
            select(Proposal.id, Proposal.tool, Proposal.fence)
            .where(Proposal.state == arcs.OUTCOME_UNKNOWN, Proposal.escalated < step, Proposal.updated_at <= now - after)
            .order_by(Proposal.updated_at)
            .limit(BATCH)
        )
        for row in db.session.execute(late).all():
            minutes = int(after.total_seconds() // 60)
            dedupe = f"unknown:{row.id}:{row.fence}:{step}"
            outbox.add("outcome_unknown", subject=row.id, dedupe=dedupe, fields={"tool": row.tool, "minutes": minutes})
            _quietly(row.id, escalated=step)
            told += 1
    return told


def due() -> list[str]:
    """Waiting proposals past a reminder or their deadline; none whose clocks a kill switch has stopped."""
    now = database.now()
    columns = (Proposal.id, Proposal.created_at, Proposal.deadline_at, Proposal.reminded)
    going = switches.none_thrown(Proposal.agent_id, Proposal.tool)
    waiting = select(*columns).where(Proposal.state == arcs.PENDING, going).order_by(Proposal.deadline_at).limit(BATCH)
    groups = [waiting.where(Proposal.deadline_at <= now), *(waiting.where(Proposal.reminded == step) for step in range(len(REMIND_AT)))]
    found = {
        row.id: None  # a dict keeps the order and drops repeats
        for group in groups
        for row in db.session.execute(group)
        if row.deadline_at <= now or _reminder(row, now) > row.reminded
    }
    return list(found)


def remind_or_expire(proposal_id: str) -> str | None:
    """Remind at half and at nine tenths of the time to review; past the deadline the answer is no."""
    proposal = db.session.get(Proposal, proposal_id)
    now = database.now()
    if proposal is None or proposal.state != arcs.PENDING:
        return None
    if proposal.deadline_at <= now:
        tool = proposal.tool
        moved = lifecycle.move(
            proposal_id, before=arcs.PENDING, after=arcs.EXPIRED, where=[Proposal.deadline_at <= now], event={"rule": "deadline"}
        )
        if moved is None:
            return None
        outbox.add("deadline", subject=proposal_id, dedupe=f"deadline:{proposal_id}:expired", fields={"tool": tool, "step": "expired"})
        return moved.state
    step = _reminder(proposal, now)
    if step > proposal.reminded:
        left = max(1, round((proposal.deadline_at - now).total_seconds() / 60))
        fields = {"tool": proposal.tool, "step": f"{round(100 * REMIND_AT[step - 1])}%", "minutes_left": left}
        outbox.add("deadline", subject=proposal_id, dedupe=f"deadline:{proposal_id}:{step}:{proposal.version}", fields=fields)
        _quietly(proposal_id, reminded=step)
    return None


def forget_intents() -> int:
    """Free the business keys of successes whose window is over, so that the same may be proposed again."""
    now = database.now()
    freed = (
        update(Proposal)
        .where(Proposal.intent_key.is_not(None), Proposal.intent_expires_at < now)  # set on success only
        .values(intent_key=None)
        .returning(Proposal.id)
        .execution_options(synchronize_session=False)
    )
    return len(db.session.execute(freed).all())


def _reminder(row: object, now: datetime) -> int:
    created, deadline = row.created_at, row.deadline_at  # type: ignore[attr-defined]  # a Proposal or a row with its columns
    total = max((deadline - created).total_seconds(), 1)
    return sum((now - created).total_seconds() / total >= share for share in REMIND_AT)


def _mark(ids: list[str], now: datetime) -> list[str]:
    if ids:
        _quietly(*ids, dispatched_at=now)
    return ids


def _quietly(*ids: str, **values: object) -> None:
    """Bookkeeping on a proposal that is no change of state."""
    db.session.execute(update(Proposal).where(Proposal.id.in_(ids)).values(values).execution_options(synchronize_session=False))


def _abandon(proposal_id: str, fence: int, message: str, now: datetime) -> None:
    """Close the attempt; after the proposal itself, as settling does, so that the two never wait for each other."""
    db.session.execute(
        update(Execution)
        .where(Execution.proposal_id == proposal_id, Execution.fence == fence, Execution.state == "started")
        .values(state="unknown", error=message, ended_at=now)
        .execution_options(synchronize_session=False)
    )
