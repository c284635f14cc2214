"""Moving a proposal from one state to the next: the only place that writes `Proposal.state`.

Each move is one conditional UPDATE … RETURNING and one audit event in the same transaction. Whoever gets no row
was not the first and stops.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, insert, update

from copilot import db as database
from copilot.audit import log
from copilot.db import db
from copilot.errors import ForbiddenArc
from copilot.gate import arcs
from copilot.models import Proposal


class Moved(NamedTuple):
    """The row as it stands after a move."""

    id: str
    state: str
    version: int
    digest: str
    fence: int
    attempts: int
    agent_id: str
    tool: str
    ticket_id: str | None
    run_id: str | None
    automatic: bool


_RETURNED = [getattr(Proposal, name) for name in Moved._fields]


def move(
    proposal_id: str,
    *,
    before: str,
    after: str,
    where: Sequence[ColumnElement[bool]] = (),
    values: Mapping[str, Any] | None = None,
    event: Mapping[str, Any] | None = None,
    at: datetime | None = None,
) -> Moved | None:
    """Compare and set the state; None when the proposal was not in `before` (or `where` did not hold).

    Raises ForbiddenArc for an arc that is not in the table, whatever the database says.
    """
    fresh, retried = arcs.allowed(before, after), arcs.allowed(before, after, attempts=1)
    if not fresh and not retried:
        raise ForbiddenArc(f"A proposal cannot go from {before} to {after}.")
    conditions = [Proposal.id == proposal_id, Proposal.state == before, *where]
    if not retried:
        conditions.append(Proposal.attempts == 0)
    if not fresh:
        conditions.append(Proposal.attempts > 0)
    moment = at or database.now()
    changes: dict[str, Any] = {"state": after, "updated_at": moment, **(values or {})}
    if after in arcs.FREES_INTENT:
        changes["intent_key"] = None
    if after in arcs.TERMINAL:
        changes |= {"ended_at": moment, "lease_until": None}
    statement = update(Proposal).where(*conditions).values(changes).returning(*_RETURNED).execution_options(synchronize_session=False)
    row = db.session.execute(statement).one_or_none()
    if row is None:
        return None
    moved = Moved(*row)
    log.append(
        f"proposal.{after.lower()}",
        proposal_id,
        at=moment,
        **{
            "before": before,
            "version": moved.version,
            "digest": moved.digest,
            "fence": moved.fence,
            "attempts": moved.attempts,
            **(event or {}),
        },
    )
    return moved


def begin(values: Mapping[str, Any], *, event: Mapping[str, Any], at: datetime) -> None:
    """Write a new proposal in one of the initial states, with its audit event."""
    if values["state"] not in arcs.INITIAL:
        raise ForbiddenArc(f"A proposal does not begin as {values['state']}.")
    db.session.execute(insert(Proposal).values(**values))
    log.append("proposal.proposed", values["id"], at=at, state=values["state"], version=values["version"], digest=values["digest"], **event)
