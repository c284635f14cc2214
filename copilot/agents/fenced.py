"""Writes to a run that only the holder of its claim makes: each stands under the fence, and each leaves one event.

Everything here runs in the caller's transaction.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import func, insert, select, update

from copilot.agents import briefing
from copilot.agents.drafts import Entry
from copilot.audit import log
from copilot.db import db, new_id
from copilot.errors import Conflict
from copilot.models import Message, Run, Step
from copilot.notify import outbox

MOST_ATTEMPTS = 3

_runs: Any = Run.__table__
_steps: Any = Step.__table__


class ClaimLost(Conflict):
    """Another worker has this run now, or it ended; nothing was written."""

    title = "This run is in other hands"
    code = "claim-lost"


def change(run_id: str, *, fence: int, values: Mapping[str, Any]) -> int:
    """Change a DRAFTING run if the claim still holds, and give its refusals; ClaimLost otherwise."""
    mine = update(_runs).where(_runs.c.id == run_id, _runs.c.fence == fence, _runs.c.state == "DRAFTING")
    refusals = db.session.execute(mine.values(**values).returning(_runs.c.refusals)).scalar_one_or_none()
    if refusals is None:
        raise ClaimLost("Another worker has this run now.")
    return int(refusals)


def append(run_id: str, entries: Sequence[Entry], *, at: datetime) -> None:
    """Number the steps on from the last; the caller holds the run's row."""
    if not entries:
        return
    last = db.session.execute(select(func.coalesce(func.max(_steps.c.number), 0)).where(_steps.c.run_id == run_id)).scalar_one()
    rows = [
        {
            "id": new_id("step"), "run_id": run_id, "number": last + place, "kind": entry.kind, "message": entry.message,
            "details": dict(entry.details), "proposal_id": entry.proposal_id, "milliseconds": entry.milliseconds,
            "input_tokens": entry.input_tokens, "output_tokens": entry.output_tokens, "created_at": at,
        }
        for place, entry in enumerate(entries, start=1)
    ]  # fmt: skip
    db.session.execute(insert(_steps), rows)


def again(run_id: str, *, fence: int, code: str, reason: str, at: datetime, lapsed_by: datetime | None = None) -> bool:
    """Queue a DRAFTING run once more, three times at most; then it ends in a person's hands with this code and sentence.

    With `lapsed_by` only if its lease ended before then, and at once; without, the sweeper wakes it in ten seconds.
    """
    mine = [_runs.c.id == run_id, _runs.c.fence == fence, _runs.c.state == "DRAFTING"]
    if lapsed_by is not None:
        mine.append(_runs.c.lease_until < lapsed_by)
    values = {"state": "QUEUED", "lease_until": None, "attempts": _runs.c.attempts + 1, "dispatched_at": None if lapsed_by else at}
    attempts = db.session.execute(update(_runs).where(*mine).values(**values).returning(_runs.c.attempts)).scalar_one_or_none()
    if attempts is None:
        return False
    if attempts > MOST_ATTEMPTS:
        end(run_id, fence=fence, state="NEEDS_HUMAN", code=code, reason=reason, at=at, before="QUEUED")
        return False
    log.append("run.queued", run_id, at=at, fence=fence, code=code, attempt=attempts)
    return True


def end(
    run_id: str,
    *,
    fence: int,
    state: str,
    code: str,
    reason: str,
    at: datetime,
    before: str = "DRAFTING",
    rule: str | None = None,
    but_for_news: bool = False,
) -> bool:
    """End a run under its fence; False when it is not in `before` any more. NEEDS_HUMAN goes to the outbox too.

    With `but_for_news` a run whose customer wrote something it was not told is queued again instead, and False given.
    """
    values = {"state": state, "code": code[:64], "reason": reason.replace("\0", "")[:4000], "lease_until": None, "ended_at": at}
    mine = (_runs.c.id == run_id, _runs.c.fence == fence, _runs.c.state == before)
    row = db.session.execute(update(_runs).where(*mine).values(**values).returning(_runs.c.ticket_id, _runs.c.agent_id)).first()
    if row is None:
        return False
    if but_for_news and _unheard(run_id, row.ticket_id):  # looked for after the row is locked, so no message slips between
        back = {"state": "QUEUED", "code": None, "reason": None, "ended_at": None, "dispatched_at": None}
        db.session.execute(update(_runs).where(_runs.c.id == run_id).values(**back))
        log.append("run.queued", run_id, at=at, fence=fence, code="new-message")
        return False
    log.append(f"run.{state.lower()}", run_id, at=at, fence=fence, code=code[:64], rule=rule, ticket=row.ticket_id, agent=row.agent_id)
    if state == "NEEDS_HUMAN":
        fields = {
            "code": code[:64],
            "rule": rule,
            "reason": reason[:1000],
            "ticket_id": row.ticket_id,
            "agent_id": row.agent_id,
            "run_id": run_id,
        }
        outbox.add("needs_human", subject=run_id, dedupe=f"needs_human:{run_id}:{fence}", fields=fields)
    return True


def _unheard(run_id: str, ticket_id: str) -> bool:
    """Whether the customer said something this run has not been told."""
    heard = briefing.heard(run_id)
    said = db.session.execute(select(Message.id).where(Message.ticket_id == ticket_id, Message.author == "customer")).scalars()
    return any(message_id not in heard for message_id in said)
