"""Budgets are exact under any concurrency, because the database itself counts them."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from functools import partial

import pytest
from flask import Flask
from sqlalchemy import select

from copilot import jobs
from copilot.db import db
from copilot.gate import policy
from copilot.models import Budget
from tests.support import crowd, invariants, work
from tests.support.ledger import Ledger
from tests.support.people import People

pytestmark = pytest.mark.both_databases


def test_fifty_at_once_spend_the_purse_to_the_last_cent_and_no_further(app: Flask, agent: str, people: People, book: Ledger) -> None:
    ids = [work.propose(agent, "pay_capped", amount_minor=100) for _ in range(50)]
    for proposal_id in ids:
        work.approve(proposal_id, people.ana)
    results = crowd.at_once(app, [partial(jobs.execute, proposal_id) for proposal_id in ids])
    assert [error for error in results if error is not None] == []
    assert Counter(work.state(proposal_id) for proposal_id in ids) == {"SUCCEEDED": 10, "DENIED": 40}
    assert sum(effect.amount_minor for effect in book.effects()) == 1000
    budget = db.session.scalars(select(Budget)).one()
    assert (budget.spent, budget.reserved, budget.ceiling) == (1000, 0, 1000)
    invariants.check(book)


def test_what_failed_gives_its_share_back(agent: str, people: People, book: Ledger) -> None:
    book.fail("pay_capped", "refuse")
    for state in ("FAILED", "SUCCEEDED"):
        proposal_id = work.propose(agent, "pay_capped", amount_minor=1000)
        work.approve(proposal_id, people.ana)
        jobs.execute(proposal_id)
        assert work.state(proposal_id) == state
    assert work.state(work.propose(agent, "pay_capped", amount_minor=1)) == "DENIED"
    invariants.check(book)


@pytest.mark.parametrize("by_ticket", [True, False])
def test_a_count_per_customer_is_the_customers_own(agent: str, people: People, book: Ledger, by_ticket: bool) -> None:
    """With a ticket it is the ticket's customer; without one, whose target it is."""
    rules = tuple(replace(rule, limit=3) if rule.id == "per-customer" else rule for rule in policy.current().budget_rules)
    policy.install(replace(policy.current(), budget_rules=rules))
    one, other = (work.ticket("c1"), work.ticket("c2")) if by_ticket else (None, None)
    for _ in range(3):
        proposal_id = work.propose(agent, ticket_id=one, account="c1/main")
        work.approve(proposal_id, people.ana)
        jobs.execute(proposal_id)
    assert work.row(work.propose(agent, ticket_id=one, account="c1/other")).verdict["rule"] == "per-customer"
    assert work.state(work.propose(agent, ticket_id=other, account="c2/main")) == "PENDING"
    invariants.check(book)
