"""Proposing, waiting, deciding and withdrawing over the API, as agents and as people."""

from __future__ import annotations

import contextvars
import threading
import time
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import func, select, update
from werkzeug.test import TestResponse

from copilot import db as database
from copilot.api import proposals as endpoint
from copilot.db import db, transaction
from copilot.gate import arcs
from copilot.models import Agent, Decision, Proposal
from copilot.review import decisions
from tests.support import api
from tests.support import people as staff
from tests.support.people import People

PAY = {"invoice": "I-1", "account": "C-1/main", "amount_minor": 6000, "currency": "EUR"}


@pytest.fixture
def bot(client: FlaskClient, agent: str) -> api.Caller:
    return api.as_agent(client, agent)


@pytest.fixture
def ana(client: FlaskClient, people: People) -> api.Caller:
    return api.as_person(client, people.ana)


@pytest.fixture
def bo(client: FlaskClient, people: People) -> api.Caller:
    return api.as_person(client, people.bo)


def propose(caller: api.Caller, key: str = "k-1", *, tool: str = "pay_key", invoice: str = "I-1", **more: Any) -> TestResponse:
    arguments = {**PAY, "invoice": invoice, **more.pop("arguments", {})}
    return caller("POST", "/proposals", {"tool": tool, "arguments": arguments, **more}, headers={"Idempotency-Key": key})


def decide(caller: api.Caller, proposal: dict[str, Any], verdict: str, **more: Any) -> TestResponse:
    return caller("POST", f"/proposals/{proposal['id']}/decisions", {"verdict": verdict, "digest": proposal["digest"], **more})


def test_what_the_tool_shows_is_for_the_people_who_decide(client: FlaskClient, bot: api.Caller, people: People) -> None:
    made = propose(bot).json
    shown = api.as_person(client, people.ana)("GET", f"/proposals/{made['id']}").json
    assert shown["consequence"] == "Pay 60.00 EUR to account C-1/main for invoice I-1"
    assert (shown["before"], shown["after"]) == ({"paid": "0.00"}, {"paid": "60.00 EUR"})


def test_a_proposal_waits_for_a_person_and_says_everything_they_need(bot: api.Caller, agent: str) -> None:
    response = propose(bot, rationale="It is due.", confidence=0.8)
    assert response.status_code == 201
    made = response.json
    assert (made["state"], made["version"], made["approvals_required"], made["approvals"]) == ("PENDING", 1, 1, [])
    assert (made["tool"], made["agent"], made["agent_id"], made["risk"]) == ("pay_key", "refund-desk", agent, "medium")
    assert made["arguments"] == {**PAY, "memo": ""}
    assert made["amount"] == {"minor": 6000, "currency": "EUR"}
    assert (made["target"], made["payee"]) == ("account:C-1/main", "C-1/main")
    assert (made["consequence"], made["before"], made["after"], made["facts"]) == ("", {}, {}, {}), "what the tool shows is for people"
    assert made["verdict"]["kind"] == "needs_approval"
    assert made["url"] == f"http://127.0.0.1:8000/proposals/{made['id']}"
    assert (made["rationale"], made["confidence"]) == ("It is due.", 0.8)
    assert len(made["digest"]) == 64
    assert made["deadline_at"] > made["created_at"]
    assert bot("GET", f"/proposals/{made['id']}").json == made


def test_the_same_idempotency_key_gives_the_first_proposal(bot: api.Caller) -> None:
    first, again = propose(bot), propose(bot)
    assert (first.status_code, again.status_code) == (201, 200)
    assert first.json["id"] == again.json["id"]
    other = propose(bot, invoice="I-2")
    assert (other.status_code, other.json["code"]) == (409, "conflict")
    assert db.session.execute(select(func.count()).select_from(Proposal)).scalar_one() == 1


@pytest.mark.parametrize("key", ["", "a b", "ü", "x" * 129])
def test_a_proposal_needs_a_key(bot: api.Caller, key: str) -> None:
    headers = {"Idempotency-Key": key.encode("utf-8").decode("latin-1")} if key else {}
    response = bot("POST", "/proposals", {"tool": "pay_key", "arguments": PAY}, headers=headers)
    assert (response.status_code, list(response.json["problems"])) == (422, ["Idempotency-Key"])


def test_two_agents_do_not_share_keys_but_do_share_intents(client: FlaskClient, bot: api.Caller, people: People) -> None:
    first = propose(bot).json
    second = api.as_agent(client, staff.add_agent(people.ids["bo"], name="second", scopes=("pay_key:write",)))
    same = propose(second)
    assert (same.status_code, same.json["code"]) == (409, "duplicate-intent")
    assert first["id"] not in same.json["detail"], "it is somebody else's"
    assert propose(second, invoice="I-2").status_code == 201


def test_what_the_gate_refuses_is_stored_and_answered_as_denied(client: FlaskClient, bot: api.Caller, people: People) -> None:
    large = propose(bot, arguments={"amount_minor": 2_000_000})
    assert (large.status_code, large.json["state"], large.json["verdict"]["kind"]) == (201, "DENIED", "refused")
    assert large.json["verdict"]["rule"] == "too-large"
    reader = api.as_agent(client, staff.add_agent(people.ids["bo"], name="reader"))
    lacking = propose(reader)
    assert (lacking.status_code, lacking.json["state"]) == (201, "DENIED")


def test_a_token_narrower_than_the_agent_is_held_to_its_scopes(client: FlaskClient, agent: str) -> None:
    narrow = api.as_agent(client, agent, "read_account:read")
    refused = propose(narrow)
    assert (refused.status_code, refused.json["rule"]) == (403, "scope")
    assert db.session.execute(select(func.count()).select_from(Proposal)).scalar_one() == 0
    assert [tool["name"] for tool in narrow("GET", "/tools").json["items"]] == ["read_account"]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"tool": "pay_key", "arguments": {**PAY, "amount_minor": "6000"}}, 422),
        ({"tool": "pay_key", "arguments": {**PAY, "amount_minor": 60.5}}, 422),
        ({"tool": "pay_key", "arguments": {**PAY, "amount_minor": 10**30}}, 422),
        ({"tool": "pay_key", "arguments": {**PAY, "surprise": 1}}, 422),
        ({"tool": "pay_key", "arguments": []}, 422),
        ({"tool": "pay_key", "arguments": PAY, "confidence": 2}, 422),
        ({"tool": "pay_key", "arguments": PAY, "ticket_id": "T-404"}, 404),
        ({"tool": "read_account", "arguments": {"account": "C-1/main"}}, 422),
        ({"tool": "no_such_tool", "arguments": {}}, 404),
        ({"tool": "No Tool", "arguments": {}}, 422),
    ],
    ids=lambda value: str(value)[-40:],
)
def test_an_impossible_proposal_is_refused(bot: api.Caller, body: dict[str, Any], status: int) -> None:
    response = bot("POST", "/proposals", body, headers={"Idempotency-Key": "k"})
    assert (response.status_code, response.mimetype) == (status, "application/problem+json")


def test_agents_see_their_own_proposals_and_people_all(client: FlaskClient, bot: api.Caller, ana: api.Caller, people: People) -> None:
    mine = propose(bot).json
    second = api.as_agent(client, staff.add_agent(people.ids["bo"], name="second", scopes=("pay_key:write",)))
    theirs = propose(second, invoice="I-2").json
    assert [one["id"] for one in bot("GET", "/proposals").json["items"]] == [mine["id"]]
    assert {one["id"] for one in ana("GET", "/proposals?state=PENDING").json["items"]} == {mine["id"], theirs["id"]}
    for path in ("", "/trace"):
        assert bot("GET", f"/proposals/{theirs['id']}{path}").status_code == 404
    assert bot("POST", f"/proposals/{theirs['id']}/withdraw").status_code == 404
    assert api.as_person(client, people.cy)("GET", f"/proposals/{theirs['id']}").status_code == 200


def test_pages_follow_their_cursor_by_deadline(bot: api.Caller, ana: api.Caller) -> None:
    made = [propose(bot, f"k-{n}", invoice=f"I-{n}").json for n in range(7)]
    by_deadline = [one["id"] for one in sorted(made, key=lambda one: (one["deadline_at"], one["id"]))]
    seen: list[str] = []
    cursor = ""
    while cursor is not None:
        page = ana("GET", f"/proposals?state=PENDING&limit=3{f'&cursor={cursor}' if cursor else ''}").json
        seen += [one["id"] for one in page["items"]]
        cursor = page["next"]
    assert seen == by_deadline
    for query in ("limit=0", "limit=x", "state=LOST", "cursor=%21", "surprise=1", "limit=1&limit=2"):
        assert ana("GET", f"/proposals?{query}").status_code == 422


def test_an_approval_counts_once_and_is_told_to_whoever_is_second(bot: api.Caller, ana: api.Caller, bo: api.Caller) -> None:
    proposal = propose(bot).json
    approved = decide(ana, proposal, "approve")
    assert approved.status_code == 200
    assert (approved.json["state"], approved.json["missing"], approved.json["proposal"]["state"]) == ("APPROVED", None, "APPROVED")
    assert [one["name"] for one in approved.json["proposal"]["approvals"]] == ["Ana"]
    second = decide(bo, proposal, "reject", reason={"code": "duplicate"})
    assert (second.status_code, second.json["code"]) == (409, "already-decided")
    assert db.session.execute(select(Decision.via)).scalars().all() == ["api"]


def test_two_approvals_by_two_people(bot: api.Caller, ana: api.Caller, bo: api.Caller) -> None:
    proposal = propose(bot, arguments={"amount_minor": 20_000}).json
    assert proposal["approvals_required"] == 2
    first = decide(ana, proposal, "approve")
    assert (first.status_code, first.json["state"]) == (200, "PENDING")
    assert first.json["missing"]
    assert decide(ana, proposal, "approve").status_code == 409
    assert decide(bo, proposal, "approve").json["state"] == "APPROVED"


def test_an_edit_is_judged_again_and_approved_at_once(bot: api.Caller, ana: api.Caller) -> None:
    proposal = propose(bot).json
    edited = decide(ana, proposal, "edit", arguments={**PAY, "amount_minor": 5000}, reason={"code": "wrong_amount", "note": "50 is due"})
    assert edited.status_code == 200
    after = edited.json["proposal"]
    assert (after["state"], after["version"], after["amount"]["minor"]) == ("APPROVED", 2, 5000)
    assert after["digest"] != proposal["digest"]
    stale = decide(ana, proposal, "approve")
    assert stale.status_code == 409


def test_a_stale_digest_decides_nothing(bot: api.Caller, ana: api.Caller) -> None:
    proposal = propose(bot).json
    stale = decide(ana, {**proposal, "digest": "0" * 64}, "approve")
    assert (stale.status_code, stale.json["code"]) == (409, "stale-digest")
    assert bot("GET", f"/proposals/{proposal['id']}").json["state"] == "PENDING"


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"verdict": "reject"}, "reason"),
        ({"verdict": "reject", "reason": {"code": "other"}}, "note"),
        ({"verdict": "reject", "reason": {"code": "moon_phase"}}, "reason"),
        ({"verdict": "edit", "reason": {"code": "tone"}}, "arguments"),
        ({"verdict": "edit", "reason": {"code": "tone"}, "arguments": {**PAY, "amount_minor": -1}}, "amount_minor"),
        ({"verdict": "approve", "arguments": PAY}, "arguments"),
        ({"verdict": "shrug"}, "verdict"),
        ({"verdict": "approve", "digest": "short"}, "digest"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_an_impossible_decision_is_refused_and_decides_nothing(bot: api.Caller, ana: api.Caller, body: dict[str, Any], field: str) -> None:
    proposal = propose(bot).json
    response = ana("POST", f"/proposals/{proposal['id']}/decisions", {"digest": proposal["digest"], **body})
    assert (response.status_code, list(response.json["problems"])) == (422, [field])
    assert db.session.execute(select(func.count()).select_from(Decision)).scalar_one() == 0


def test_who_may_not_decide(client: FlaskClient, bot: api.Caller, people: People) -> None:
    proposal = propose(bot).json
    for caller, rule in (
        (bot, "person-only"),
        (api.as_person(client, people.cy), "role"),
        (api.as_person(client, people.dee), "owner-never-approves"),
    ):
        response = decide(caller, proposal, "approve")
        assert (response.status_code, response.json["rule"]) == (403, rule)


def test_who_brought_the_ticket_never_approves(bot: api.Caller, ana: api.Caller, bo: api.Caller) -> None:
    ana("POST", "/tickets", {"external_id": "T-1", "subject": "S", "body": "B", "customer": {"id": "C-1"}})
    proposal = propose(bot, ticket_id="T-1").json
    assert proposal["ticket_external_id"] == "T-1"
    refused = decide(ana, proposal, "approve")
    assert (refused.status_code, refused.json["rule"]) == (403, "requester-never-approves")
    assert decide(bo, proposal, "approve").status_code == 200


def test_an_agent_withdraws_its_own_proposal_once(bot: api.Caller) -> None:
    proposal = propose(bot).json
    withdrawn = bot("POST", f"/proposals/{proposal['id']}/withdraw", {"note": "no longer needed"})
    assert (withdrawn.status_code, withdrawn.json["state"]) == (200, "WITHDRAWN")
    assert bot("POST", f"/proposals/{proposal['id']}/withdraw").status_code == 409
    assert propose(bot, "k-2").status_code == 201


def test_waiting_ends_with_the_change(app: Flask, bot: api.Caller, people: People) -> None:
    proposal = propose(bot).json

    def approve() -> None:
        with app.app_context():
            time.sleep(0.5)
            with transaction():
                decisions.decide(proposal["id"], reviewer=people.ana, verdict="approve", seen=proposal["digest"])

    thread = threading.Thread(target=contextvars.Context().run, args=(approve,))
    thread.start()
    began = time.monotonic()
    waited = bot("GET", f"/proposals/{proposal['id']}?wait=20")
    took = time.monotonic() - began
    thread.join(timeout=20)
    assert waited.json["state"] == "APPROVED"
    assert 0.3 < took < 10


def test_waiting_is_bounded(bot: api.Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    proposal = propose(bot).json
    path = f"/proposals/{proposal['id']}?wait="
    began = time.monotonic()
    assert bot("GET", f"{path}0.3").json == proposal
    assert 0.25 < time.monotonic() - began < 5
    assert bot("GET", f"{path}31").status_code == 422
    assert bot("GET", f"{path}-1").status_code == 422
    monkeypatch.setattr(endpoint, "_waiting", threading.BoundedSemaphore(1))
    with endpoint._waiting:
        began = time.monotonic()
        assert bot("GET", f"{path}30").status_code == 200
    with transaction():
        db.session.execute(update(Proposal).values(state=arcs.SUCCEEDED))
    assert bot("GET", f"{path}30").json["state"] == "SUCCEEDED"
    assert time.monotonic() - began < 5


def test_reads_go_through_the_gate_and_writes_are_refused(client: FlaskClient, bot: api.Caller, ana: api.Caller, people: People) -> None:
    read = bot("POST", "/tools/read_account", {"arguments": {"account": "C-1/main"}})
    assert (read.status_code, read.json) == (200, {"tool": "read_account", "result": {"account": "C-1/main", "paid_minor": 0}})
    write = bot("POST", "/tools/pay_key", {"arguments": PAY})
    assert (write.status_code, write.json["rule"]) == (409, "write-needs-proposal")
    assert bot("POST", "/tools/nothing", {"arguments": {}}).status_code == 404
    assert bot("POST", "/tools/read_account", {"arguments": {"account": 7}}).status_code == 422
    assert ana("POST", "/tools/read_account", {"arguments": {"account": "C"}}).json["rule"] == "agent-only"
    source = api.as_agent(client, staff.add_agent(people.ids["bo"], name="source", scopes=("tickets:write",)), "tickets:write")
    assert source("POST", "/tools/read_account", {"arguments": {"account": "C"}}).json["rule"] == "scope"


def test_tools_are_listed_with_their_schemas_and_levels(bot: api.Caller, ana: api.Caller) -> None:
    listed = {tool["name"]: tool for tool in bot("GET", "/tools").json["items"]}
    assert listed["pay_key"]["effect"] == "write"
    assert listed["pay_key"]["level"] == "suggest"
    assert listed["read_account"]["level"] is None
    assert "amount_minor" in listed["pay_key"]["parameters"]["properties"]
    assert len(ana("GET", "/tools").json["items"]) == len(listed)


def test_the_trace_holds_the_whole_story(bot: api.Caller, ana: api.Caller, client: FlaskClient, people: People) -> None:
    proposal = propose(bot).json
    decide(ana, proposal, "reject", reason={"code": "duplicate", "note": "paid last week"})
    trace = api.as_person(client, people.cy)("GET", f"/proposals/{proposal['id']}/trace").json
    assert trace["proposal"]["state"] == "REJECTED"
    assert [one["digest"] for one in trace["versions"]] == [proposal["digest"]]
    assert [(one["verdict"], one["reason_code"], one["note"]) for one in trace["decisions"]] == [("reject", "duplicate", "paid last week")]
    kinds = [one["kind"] for one in trace["events"]]
    assert kinds[0] == "proposal.proposed"
    assert {"decision.recorded", "proposal.rejected"} <= set(kinds)
    assert (trace["run"], trace["executions"]) == (None, [])


def test_levels_are_a_managers_and_need_evidence(bot: api.Caller, ana: api.Caller, bo: api.Caller) -> None:
    path = "/actions/refund-desk/pay_key/level"
    card = next(one for one in bo("GET", "/actions").json["items"] if one["tool"] == "pay_key")
    assert (card["level"], card["count"], card["rate"]) == ("suggest", 0, None)
    assert card["shortfalls"]
    assert len(bot("GET", "/actions").json["items"]) == 5
    refused = bo("PUT", path, {"level": "auto", "reason": "looks good"})
    assert (refused.status_code, refused.json["rule"]) == (409, "autonomy-evidence")
    assert card["shortfalls"][0] in refused.json["detail"]
    assert ana("PUT", path, {"level": "off"}).status_code == 403
    assert bot("PUT", path, {"level": "off"}).status_code == 403
    off = bo("PUT", path, {"level": "off", "reason": "holiday"})
    assert (off.status_code, off.json["level"]) == (200, "off")
    assert propose(bot).json["state"] == "DENIED"
    assert bo("PUT", "/actions/nobody/pay_key/level", {"level": "off"}).status_code == 404
    assert bo("PUT", path, {"level": "loud"}).status_code == 422


def test_a_disabled_agents_token_ends_at_once(bot: api.Caller, agent: str) -> None:
    assert bot("GET", "/tools").status_code == 200
    with transaction():
        db.session.execute(update(Agent).where(Agent.id == agent).values(enabled=False))
    database.read_again()
    assert bot("GET", "/tools").status_code == 401


@pytest.mark.parametrize("second", ["reject", "withdraw", "edit"])
def test_who_approved_may_change_their_mind_while_it_waits(bot: api.Caller, ana: api.Caller, second: str) -> None:
    proposal = propose(bot, arguments={"amount_minor": 20_000}).json
    assert decide(ana, proposal, "approve").json["state"] == "PENDING"
    if second == "withdraw":
        response = ana("POST", f"/proposals/{proposal['id']}/withdraw")
        assert (response.status_code, response.json["state"]) == (200, "WITHDRAWN")
    elif second == "reject":
        response = decide(ana, proposal, "reject", reason={"code": "duplicate"})
        assert (response.status_code, response.json["state"]) == (200, "REJECTED")
    else:
        changed = {**PAY, "amount_minor": 4000}
        response = decide(ana, proposal, "edit", arguments=changed, reason={"code": "wrong_amount"})
        assert (response.status_code, response.json["version"]) == (200, 2)
