"""The same thing at the same moment: one of them wins, the others are told, nothing breaks; on both databases."""

from __future__ import annotations

from collections import Counter
from functools import partial
from typing import Any

import pytest
from flask import Flask

from copilot import jobs
from copilot.db import transaction
from copilot.errors import Conflict, DuplicateIntent
from copilot.gateway import reads, writes
from copilot.gateway.adapters import Claim
from copilot.review import proposals
from tests.support import crowd, invariants, work
from tests.support.ledger import Ledger
from tests.support.people import People, add_agent

pytestmark = pytest.mark.both_databases


def _outcomes(results: list[Any]) -> Counter[str]:
    return Counter(type(result).__name__ if isinstance(result, Exception) else "done" for result in results)


def test_twenty_propose_the_same_intent(app: Flask, people: People, agent: str, book: Ledger) -> None:
    others = [add_agent(people.ids["dee"], name=f"agent-{n}", scopes=("pay_key:write",)) for n in range(20)]
    results = crowd.at_once(app, [partial(work.propose, other, invoice="same") for other in others])
    assert _outcomes(results) == {"done": 1, "DuplicateIntent": 19}, results
    assert all(isinstance(result, DuplicateIntent) for result in results if isinstance(result, Exception))
    invariants.check(book)


def test_twenty_repeat_one_request(app: Flask, agent: str, book: Ledger) -> None:
    wish = proposals.Draft(agent_id=agent, tool="pay_key", arguments=work.arguments(), request_key="same")

    def propose() -> str:
        prepared = proposals.prepare(wish)
        with transaction():
            return proposals.propose(prepared).id

    results = crowd.at_once(app, [propose] * 20)
    assert len(set(results)) == 1, results
    invariants.check(book)


def test_eight_edits_move_to_the_same_intent(app: Flask, agent: str, people: People, book: Ledger) -> None:
    ids = [work.propose(agent) for _ in range(8)]
    results = crowd.at_once(app, [lambda i=i: work.edit(i, people.ana, save_only=True, invoice="same") for i in ids])
    assert sum(not isinstance(result, Exception) for result in results) == 1, results
    assert all(isinstance(result, Conflict) for result in results if isinstance(result, Exception)), results
    assert {work.state(proposal_id) for proposal_id in ids} == {"PENDING"}
    invariants.check(book)


def test_two_people_approve_what_needs_two(app: Flask, agent: str, people: People, book: Ledger) -> None:
    for _ in range(5):
        proposal_id = work.propose(agent, amount_minor=20_000)
        shown = work.seen(proposal_id)

        def approve(who: str, i: str = proposal_id, digest: str = shown) -> str:
            return work.approve(i, people.row(who), digest=digest).state

        results = crowd.at_once(app, [partial(approve, who) for who in ("ana", "bo")])
        assert sorted(results) == ["APPROVED", "PENDING"], results
        assert work.kinds(proposal_id).count("proposal.approved") == 1
    invariants.check(book)


def test_twenty_claim_the_same_proposal(app: Flask, agent: str, people: People, book: Ledger) -> None:
    proposal_id = work.propose(agent, "pay_opaque")
    work.approve(proposal_id, people.ana)

    def claim() -> Any:
        observed = reads.observe(proposal_id)
        if observed is None:
            return None
        with transaction():
            return writes.claim(proposal_id, observed)

    results = crowd.at_once(app, [claim] * 20)
    assert sum(isinstance(result, Claim) for result in results) == 1
    assert sum(result is None for result in results) == 19, results
    row = work.row(proposal_id)
    assert (row.state, row.fence, row.attempts) == ("EXECUTING", 1, 1)


def test_withdrawing_races_with_running(app: Flask, agent: str, people: People, book: Ledger) -> None:
    """Either it was withdrawn and never called, or it ran and the withdrawal was told so."""
    for _ in range(8):
        proposal_id = work.propose(agent)
        work.approve(proposal_id, people.ana)
        results = crowd.at_once(app, [partial(jobs.execute, proposal_id), lambda i=proposal_id: work.withdraw(i, people.bo)])
        withdrawn = results[1] == "WITHDRAWN"
        assert withdrawn or isinstance(results[1], Conflict), results
        assert results[0] is None, results
        assert work.state(proposal_id) == ("WITHDRAWN" if withdrawn else "SUCCEEDED")
        assert book.calls(proposal_id) == (0 if withdrawn else 1)
    invariants.check(book)


def test_sweepers_and_workers_at_once_agree(app: Flask, agent: str, people: People, book: Ledger) -> None:
    ids = [work.propose(agent, tool) for tool in ("pay_key", "pay_opaque") * 6]
    for proposal_id in ids:
        work.approve(proposal_id, people.ana)
    works = [partial(jobs.execute, proposal_id) for proposal_id in ids] + [jobs.sweep, jobs.sequence] * 4
    results = crowd.at_once(app, works)
    assert _outcomes(results) == {"done": len(works)}, results
    assert {work.state(proposal_id) for proposal_id in ids} == {"SUCCEEDED"}
    invariants.check(book)
