"""Fifty at the same moment against room for five: exactly five get through, every time, on both databases."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import select, update

from copilot import db as database
from copilot import jobs
from copilot.db import db, transaction
from copilot.gate import budgets, policy
from copilot.gateway import reserve
from copilot.models import Budget, Proposal, Reservation
from copilot.review import decisions, proposals
from tests.support import crowd, invariants, work
from tests.support.ledger import Ledger
from tests.support.people import People

pytestmark = pytest.mark.both_databases

ROUNDS = 20
AT_ONCE = 50
ROOM = 5
YEARS = 315_360_000  # windows of ten years, so that no test runs over the end of one

_RULE: dict[str, Any] = {"id": "five", "tools": ("pay_key",), "per": "session", "seconds": YEARS, "currency": None, "sentence": "Five."}
FIVE_CALLS = budgets.BudgetRule(**_RULE, limit=ROOM)
FIVE_PRICES = budgets.BudgetRule(**(_RULE | {"currency": "EUR"}), limit=ROOM * 1000 + 999)
FIVE_AT_ONCE = budgets.BudgetRule(**_RULE, limit=ROOM, rate=ROOM)


def _install(*rules: budgets.BudgetRule) -> None:
    policy.install(replace(policy.current(), budget_rules=rules))


def _approved(agent: str, people: People, count: int, *, customer: str = "c1") -> list[str]:
    """Payments to one customer, each approved by a person."""
    arguments = [work.arguments(account=f"{customer}/main") for _ in range(count)]
    drafts = [proposals.prepare(proposals.Draft(agent_id=agent, tool="pay_key", arguments=each)) for each in arguments]
    with transaction():
        ids = [proposals.propose(draft).id for draft in drafts]
    shown = {row.id: row.digest for row in db.session.execute(select(Proposal.id, Proposal.digest).where(Proposal.id.in_(ids)))}
    with transaction():
        for proposal_id in ids:
            decisions.decide(proposal_id, reviewer=people.ana, verdict="approve", seen=shown[proposal_id])
    return ids


def _states(ids: list[str]) -> dict[str, str]:
    db.session.rollback()
    return {row[0]: row[1] for row in db.session.execute(select(Proposal.id, Proposal.state).where(Proposal.id.in_(ids)))}


def _once_more(ids: list[str], session: str) -> None:
    """Put refused proposals back to where they were before their claim, in another session: approving them anew takes twice as long."""
    with transaction():
        db.session.execute(
            update(Proposal).where(Proposal.id.in_(ids)).values(state="APPROVED", ended_at=None, session=session, dispatched_at=None)
        )


@pytest.mark.timeout(300)
def test_room_for_five_lets_exactly_five_of_fifty_through_twenty_times_over(app: Flask, agent: str, people: People, book: Ledger) -> None:
    """Calls, money and rate by turns; each round is a session, and so a window, of its own."""
    ids: list[str] = []
    for number in range(ROUNDS):
        _install((FIVE_CALLS, FIVE_PRICES, FIVE_AT_ONCE)[number % 3])
        ids += _approved(agent, people, AT_ONCE - len(ids))
        _once_more(ids, f"round-{number}")
        results = crowd.at_once(app, [partial(jobs.execute, proposal_id) for proposal_id in ids])
        assert [error for error in results if error is not None] == []
        states = _states(ids)
        turned_away = "APPROVED" if number % 3 == 2 else "DENIED"  # what only a rate holds up waits for its turn
        assert Counter(states.values()) == {"SUCCEEDED": ROOM, turned_away: AT_ONCE - ROOM}, f"round {number}"
        assert sorted(effect.key for effect in book.effects()[number * ROOM :]) == sorted(i for i in ids if states[i] == "SUCCEEDED")
        ids = [i for i in ids if states[i] == turned_away]
    budgets_now = {(row.spent, row.reserved) for row in db.session.scalars(select(Budget))}
    assert budgets_now == {(ROOM, 0), (ROOM * 1000, 0)}
    held = Counter(db.session.scalars(select(Reservation.state)))
    assert held == {"spent": ROOM * sum(number % 3 != 2 for number in range(ROUNDS))}


def test_two_rules_that_share_nothing_but_the_crowd_never_block_each_other(app: Flask, agent: str, people: People, book: Ledger) -> None:
    """Every claim takes its windows in one order, so no two ever wait for each other in a circle."""
    wide = replace(FIVE_CALLS, id="all-of-them", per="all", limit=30)
    _install(replace(FIVE_CALLS, per="customer", limit=20), wide, replace(FIVE_AT_ONCE, id="pace", per="agent", limit=40))
    ids = [*_approved(agent, people, 25, customer="c1"), *_approved(agent, people, 25, customer="c2")]
    results = crowd.at_once(app, [partial(jobs.execute, proposal_id) for proposal_id in ids])
    assert [error for error in results if error is not None] == []
    assert Counter(_states(ids).values()) == {"SUCCEEDED": 30, "DENIED": 20}
    everybody, *customers = sorted(db.session.scalars(select(Budget.spent)), reverse=True)
    assert (everybody, sum(customers)) == (30, 30)
    assert max(customers) <= 20
    invariants.check(book)


def test_fifty_reads_at_once_are_counted_one_by_one(app: Flask, agent: str) -> None:
    """A read is spent at once, in all its windows or in none."""
    counted = budgets.BudgetRule(**(_RULE | {"id": "reads", "per": "agent"}), limit=ROOM, effects=("read",))
    paced = budgets.BudgetRule(**(_RULE | {"id": "pace", "per": "agent"}), limit=30, rate=30, effects=("read",))
    at = database.now()

    def read() -> None:
        drawn = budgets.charges(
            (counted, paced), tool="pay_key", effect="read", agent_id=agent, customer_id=None, amount_minor=None, currency=None, now=at
        )
        with transaction():
            reserve.count_read(drawn)

    results = crowd.at_once(app, [read] * AT_ONCE)
    refused = [result for result in results if result is not None]
    assert len(refused) == AT_ONCE - ROOM
    assert all(isinstance(error, reserve.OverBudget) and error.charge.rule == "reads" for error in refused), refused
    assert [(row.spent, row.reserved) for row in db.session.scalars(select(Budget))] == [(ROOM, 0)]
