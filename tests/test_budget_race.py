"""Fifty at the same moment against room for five: exactly five get through, every time, on both databases."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import func, select

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

_RULE: dict[str, Any] = {"id": "five", "tools": ("pay_key",), "per": "customer", "seconds": YEARS, "currency": None, "sentence": "Five."}
FIVE_CALLS = budgets.BudgetRule(**_RULE, limit=ROOM)
FIVE_PRICES = budgets.BudgetRule(**(_RULE | {"currency": "EUR"}), limit=ROOM * 1000 + 999)
FIVE_AT_ONCE = budgets.BudgetRule(**_RULE, limit=ROOM, rate=ROOM)


def _install(*rules: budgets.BudgetRule) -> None:
    policy.install(replace(policy.current(), budget_rules=rules))


def _approved(agent: str, people: People, *, customer: str) -> list[str]:
    """Fifty payments to one customer, each approved by a person."""
    arguments = [work.arguments(account=f"{customer}/main") for _ in range(AT_ONCE)]
    drafts = [proposals.prepare(proposals.Draft(agent_id=agent, tool="pay_key", arguments=each)) for each in arguments]
    with transaction():
        ids = [proposals.propose(draft).id for draft in drafts]
    shown = {row.id: row.digest for row in db.session.execute(select(Proposal.id, Proposal.digest).where(Proposal.id.in_(ids)))}
    with transaction():
        for proposal_id in ids:
            decisions.decide(proposal_id, reviewer=people.ana, verdict="approve", seen=shown[proposal_id])
    return ids


def _states(ids: list[str]) -> Counter[str]:
    db.session.rollback()
    rows = db.session.execute(select(Proposal.state, func.count()).where(Proposal.id.in_(ids)).group_by(Proposal.state))
    return Counter({row[0]: row[1] for row in rows})


@pytest.mark.timeout(300)
def test_room_for_five_lets_exactly_five_of_fifty_through_twenty_times_over(app: Flask, agent: str, people: People, book: Ledger) -> None:
    """Calls, money and rate by turns; each round has a customer, and so a window, of its own."""
    for number in range(ROUNDS):
        _install((FIVE_CALLS, FIVE_PRICES, FIVE_AT_ONCE)[number % 3])
        ids = _approved(agent, people, customer=f"c{number}")
        results = crowd.at_once(app, [partial(jobs.execute, proposal_id) for proposal_id in ids])
        assert [error for error in results if error is not None] == []
        assert _states(ids) == {"SUCCEEDED": ROOM, "DENIED": AT_ONCE - ROOM}, f"round {number}"
        assert sum(effect.account == f"c{number}/main" for effect in book.effects()) == ROOM
    assert set(db.session.execute(select(Budget.spent, Budget.reserved, Budget.rule))) == {(ROOM, 0, "five"), (ROOM * 1000, 0, "five")}
    assert dict(row for row in db.session.execute(select(Reservation.state, func.count()).group_by(Reservation.state))) == {
        "spent": ROOM * sum(number % 3 != 2 for number in range(ROUNDS))
    }
    invariants.check(book)


def test_two_rules_that_share_nothing_but_the_crowd_never_block_each_other(app: Flask, agent: str, people: People, book: Ledger) -> None:
    """Every claim takes its windows in one order, so no two ever wait for each other in a circle."""
    wide = replace(FIVE_CALLS, id="all-of-them", per="all", limit=30)
    _install(replace(FIVE_CALLS, limit=20), wide, replace(FIVE_AT_ONCE, id="pace", per="agent", limit=40))
    ids = [*_approved(agent, people, customer="c1"), *_approved(agent, people, customer="c2")][25:75]
    results = crowd.at_once(app, [partial(jobs.execute, proposal_id) for proposal_id in ids])
    assert [error for error in results if error is not None] == []
    assert _states(ids) == {"SUCCEEDED": 30, "DENIED": 20}
    held = dict(row for row in db.session.execute(select(Budget.key, Budget.spent)))
    assert sorted(held.values()) == sorted([30, *(n for n in held.values() if n <= 20)])
    assert sum(held.values()) == 60
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
