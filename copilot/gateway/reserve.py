"""Budget counters: reserved before the call, spent or released after it, kept while the outcome is unknown."""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import insert, select, update
from sqlalchemy.dialects import postgresql, sqlite

from copilot.db import db, new_id
from copilot.gate.budgets import Charge
from copilot.models import Budget, Reservation


class OverBudget(Exception):
    """A window has no room for this call; carries the charge that did not fit."""

    def __init__(self, charge: Charge) -> None:
        super().__init__(charge.rule)
        self.charge = charge


def reserve(proposal_id: str, charges: Iterable[Charge]) -> None:
    """Hold room in every window or raise OverBudget; run it in a savepoint, so that a part is never kept.

    A repeated attempt keeps what the first one reserved.
    """
    if db.session.scalar(select(Reservation.id).where(Reservation.proposal_id == proposal_id).limit(1)) is not None:
        return
    dialect = postgresql if db.engine.dialect.name == "postgresql" else sqlite
    for charge in charges:
        window = {"key": charge.key, "rule": charge.rule, "ceiling": charge.limit, "spent": 0, "reserved": 0, "ends_at": charge.ends_at}
        db.session.execute(dialect.insert(Budget).values(window).on_conflict_do_nothing(index_elements=["key"]))
        room = (
            update(Budget)
            .where(Budget.key == charge.key, Budget.spent + Budget.reserved + charge.amount <= charge.limit)
            .values(reserved=Budget.reserved + charge.amount, ceiling=charge.limit)
            .returning(Budget.key)
            .execution_options(synchronize_session=False)
        )
        if db.session.execute(room).one_or_none() is None:
            raise OverBudget(charge)
        db.session.execute(
            insert(Reservation).values(
                id=new_id("res"), proposal_id=proposal_id, budget_key=charge.key, amount=charge.amount, state="reserved"
            )
        )


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
