"""Shutting an agent out: what it has under way stops at its next request, read, step and claim, and nothing runs after it."""

from __future__ import annotations

from typing import Any

import pytest
from flask.testing import FlaskClient

from copilot import jobs
from copilot.agents import intake, runs
from copilot.agents.drafts import Entry
from copilot.db import db, transaction
from copilot.models import Agent, Run
from copilot.people import principals
from tests.fake_model import FakeModel, calls, says
from tests.support import api, work
from tests.support.ledger import Ledger
from tests.support.people import People

PAYMENT = {"invoice": "inv-7", "account": "c1/main", "amount_minor": 1000, "currency": "EUR", "memo": ""}


@pytest.fixture
def run_id(agent: str) -> str:
    with transaction():
        accepted = intake.accept(
            external_id="T-1", subject="Invoice", body="Please pay inv-7.", customer={"id": "c1", "name": "Una"}, source="tests"
        )
    return accepted.run_ids[0]


def row(run_id: str) -> Run:
    db.session.rollback()
    return db.session.get_one(Run, run_id)


def disable() -> None:
    with transaction():
        principals.disable("refund-desk")


@pytest.mark.both_databases
def test_requests_reads_and_proposals_stop_at_once(client: FlaskClient, agent: str) -> None:
    desk = api.as_agent(client, agent)
    proposal = desk("POST", "/proposals", {"tool": "pay_key", "arguments": PAYMENT, "rationale": "r"}, headers={"Idempotency-Key": "k1"})
    assert proposal.status_code == 201
    assert desk("POST", "/tools/read_account", {"arguments": {"account": "c1/main"}}).status_code == 200
    disable()
    for method, path, body in (
        ("GET", "/tools", None),
        ("POST", "/tools/read_account", {"arguments": {"account": "c1/main"}}),
        ("GET", f"/proposals/{proposal.json['id']}?wait=0", None),
        ("POST", f"/proposals/{proposal.json['id']}/withdraw", {}),
    ):
        assert desk(method, path, body).status_code == 401, path


@pytest.mark.both_databases
def test_an_approved_action_is_not_claimed_any_more(agent: str, people: People, book: Ledger) -> None:
    proposal_id = work.propose(agent)
    work.approve(proposal_id, people.ana)
    assert work.state(proposal_id) == "APPROVED"
    disable()
    jobs.execute(proposal_id)
    assert work.state(proposal_id) == "DENIED"
    assert work.row(proposal_id).verdict["rule"] == "agent-disabled"
    assert book.effects() == []


@pytest.mark.both_databases
def test_a_scope_taken_away_stops_the_next_claim_too(agent: str, people: People, book: Ledger) -> None:
    proposal_id = work.propose(agent)
    work.approve(proposal_id, people.ana)
    with transaction():
        kept = [scope for scope in db.session.get_one(Agent, agent).scopes if scope != "pay_key:write"]
        assert principals.set_scopes(agent, kept, by=people.dee, reason="it pays no more") is None
    jobs.execute(proposal_id)
    assert work.state(proposal_id) == "DENIED"
    assert work.row(proposal_id).verdict["rule"] == "scope"
    assert book.effects() == []


def test_a_draft_under_way_stops_at_its_next_step_and_asks_the_model_nothing_more(
    model: FakeModel, run_id: str, agent: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model.will(calls(("read_account", {"account": "c1/main"})), calls(("pay_key", PAYMENT)), says("never"))
    kept = runs.record

    def record(work_: runs.Work, entries: Any, **more: Any) -> None:
        kept(work_, entries, **more)
        if any(isinstance(entry, Entry) and entry.kind == "model" for entry in entries):
            db.session.get_one(Agent, agent).enabled = False  # somebody else's commit at this moment looks the same from here

    monkeypatch.setattr(runs, "record", record)
    jobs.draft(run_id)
    run = row(run_id)
    assert (run.state, run.code) == ("NEEDS_HUMAN", "agent-disabled")
    assert len(model.requests) == 1


def test_a_read_of_a_draft_under_way_is_refused(model: FakeModel, run_id: str, agent: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from copilot.agents import lookups

    model.will(calls(("read_account", {"account": "c1/main"})), says("never"))
    kept, answers = lookups._one, []

    def one(*args: Any, **more: Any) -> Any:
        disable()
        found = kept(*args, **more)
        answers.append(found.answer)
        return found

    monkeypatch.setattr(lookups, "_one", one)
    jobs.draft(run_id)
    assert [answer["rule"] for answer in answers] == ["agent-disabled"]
    assert (row(run_id).state, row(run_id).code, len(model.requests)) == ("NEEDS_HUMAN", "agent-disabled", 1)


def test_a_parked_run_goes_to_a_person_and_what_it_waited_for_never_runs(
    model: FakeModel, run_id: str, people: People, book: Ledger
) -> None:
    model.will(calls(("pay_key", PAYMENT)))
    jobs.draft(run_id)
    proposal_id = row(run_id).parked_on
    assert proposal_id is not None
    disable()
    work.approve(proposal_id, people.ana)
    jobs.execute(proposal_id)
    assert work.state(proposal_id) == "DENIED"
    assert book.effects() == []
    if row(run_id).state == "QUEUED":
        jobs.draft(run_id)
    assert (row(run_id).state, row(run_id).code) == ("NEEDS_HUMAN", "agent-disabled")


def test_a_queued_run_is_not_begun(model: FakeModel, run_id: str) -> None:
    disable()
    jobs.draft(run_id)
    assert (row(run_id).state, row(run_id).code) == ("NEEDS_HUMAN", "agent-disabled")
    assert model.requests == []
