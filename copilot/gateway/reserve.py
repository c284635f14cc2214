"""Budget counters: reserved before the call, spent or released after it, kept while the outcome is unknown.

Every step is one conditional statement, so the database itself decides who was first. A rate is consumed when the call
is claimed and never given back: it limits how fast calls start, whatever becomes of them.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, and_, case, delete, insert, select, update
from sqlalchemy.dialects import postgresql, sqlite

from copilot.db import db, new_id
from copilot.gate.budgets import Charge
from copilot.models import Budget, Proposal, Rate, Reservation

KEPT = timedelta(days=1)
MOST_AT_ONCE = 500


class OverBudget(Exception):
    """A window or rate has no room for this call; carries the charge that did not fit, and when it may fit again."""

    def __init__(self, charge: Charge, *, retry_at: datetime | None = None) -> None:
        super().__init__(charge.rule)
        self.charge = charge
        self.retry_at = retry_at or charge.ends_at


def reserve(proposal_id: str, charges: Iterable[Charge]) -> None:
    """Hold room in every window or raise OverBudget; run it in a savepoint, so that a part is never kept.

    A repeated attempt keeps what the first one reserved and is not held up by a rate: its call may have happened.
    """
    charges = tuple(charges)
    if not charges or _repeated(proposal_id):
        return
    held = []
    for charge in charges:
        if charge.interval:
            _pass(charge)
        else:
            _hold(charge, spent=0)
            held.append(
                {"id": new_id("res"), "proposal_id": proposal_id, "budget_key": charge.key, "amount": charge.amount, "state": "reserved"}
            )
    if held:
        db.session.execute(insert(Reservation), held)


def count_read(charges: Iterable[Charge]) -> None:
    """Count one read in every window and rate, all or none, or raise OverBudget; what is counted is spent at once."""
    charges = tuple(charges)
    if not charges:
        return
    with db.session.begin_nested():
        for charge in charges:
            if charge.interval:
                _pass(charge)
            else:
                _hold(charge, spent=charge.amount)


def close(proposal_id: str, *, spent: bool) -> None:
    """Turn what the proposal holds into spent, or give it back; a second time does nothing."""
    after = "spent" if spent else "released"
    closing = (
        update(Reservation)
        .where(Reservation.proposal_id == proposal_id, Reservation.state == "reserved")
        .values(state=after)
        .returning(Reservation.budget_key, Reservation.amount)
        .execution_options(synchronize_session=False)
    )
    for key, amount in sorted(tuple(row) for row in db.session.execute(closing)):
        changes = {"reserved": Budget.reserved - amount}
        if spent:
            changes["spent"] = Budget.spent + amount
        db.session.execute(update(Budget).where(Budget.key == key).values(changes).execution_options(synchronize_session=False))


def forget(now: datetime) -> int:
    """Delete counters that say nothing any more: rates made up for, and windows of reads, both a day past; gives how many.

    A window that a proposal drew on stays, with its reservations, as a record of what was spent.
    """
    past = now - KEPT
    drawn = select(Reservation.id).where(Reservation.budget_key == Budget.key).exists()
    old: tuple[tuple[type[Budget | Rate], ColumnElement[bool]], ...] = (
        (Rate, Rate.tat < int(past.timestamp() * 1_000_000)),
        (Budget, and_(Budget.ends_at < past, ~drawn)),
    )
    gone = 0
    for table, useless in old:
        found = select(table.key).where(useless).limit(MOST_AT_ONCE).scalar_subquery()
        deleting = delete(table).where(table.key.in_(found), useless).returning(table.key).execution_options(synchronize_session=False)
        gone += len(db.session.execute(deleting).all())
    return gone


def _repeated(proposal_id: str) -> bool:
    """Whether this proposal was claimed before; within a claim the attempt that is being made is counted already."""
    holds = select(Reservation.id).where(Reservation.proposal_id == proposal_id).exists()
    row = db.session.execute(select(Proposal.attempts, holds).where(Proposal.id == proposal_id)).one()
    return bool(row[0] > 1 or row[1])


def _hold(charge: Charge, *, spent: int) -> None:
    """Take room in one window: `spent` at once and the rest of the amount reserved.

    A limit that was lowered below what the window holds already is left standing in the row until there is room
    again, so nothing breaks and nothing more gets in.
    """
    reserved = charge.amount - spent
    fresh = {"key": charge.key, "rule": charge.rule, "ceiling": charge.limit, "spent": spent, "reserved": reserved}
    adding = {"spent": Budget.spent + spent, "reserved": Budget.reserved + reserved, "ceiling": charge.limit}
    room = Budget.spent + Budget.reserved <= charge.limit - charge.amount  # so written that no sum leaves the database's integers
    if not charge.fits(0) or not _upsert(Budget, fresh | {"ends_at": charge.ends_at}, adding, room):
        raise OverBudget(charge)


def _pass(charge: Charge) -> None:
    """Let one call through a rate, by the generic cell rate algorithm: one number says when the last call is made up for.

    `tat`, the theoretical arrival time, may lie at most a burst ahead of now.
    """
    ahead = (charge.limit - 1) * charge.interval
    later = case((Rate.tat > charge.at, Rate.tat), else_=charge.at) + charge.interval
    fresh = {"key": charge.key, "rule": charge.rule, "tat": charge.at + charge.interval}
    if not _upsert(Rate, fresh, {"tat": later}, Rate.tat <= charge.at + ahead):
        tat = db.session.scalar(select(Rate.tat).where(Rate.key == charge.key))
        raise OverBudget(charge, retry_at=_moment((tat or 0) - ahead))


def _upsert(table: type[Budget | Rate], fresh: dict[str, Any], changes: dict[str, Any], room: Any) -> bool:
    """Insert the row, or change it where there is room; one statement. False: there was none."""
    dialect = postgresql if db.engine.dialect.name == "postgresql" else sqlite
    statement = (
        dialect.insert(table)
        .values(fresh)
        .on_conflict_do_update(index_elements=["key"], set_=changes, where=room)
        .returning(table.key)
        .execution_options(synchronize_session=False)
    )
    return db.session.execute(statement).one_or_none() is not None


def _moment(microseconds: int) -> datetime:
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=microseconds)
