"""POST /token: OAuth 2.0 client credentials."""

from __future__ import annotations

from base64 import b64encode
from datetime import timedelta
from typing import Any

import pytest
from flask.testing import FlaskClient
from sqlalchemy import func, select
from werkzeug.test import TestResponse

from copilot import db as database
from copilot import jobs
from copilot.api import token as endpoint
from copilot.db import db, transaction
from copilot.errors import BadInput, Conflict, NotEntitled
from copilot.gate import changes, switches
from copilot.models import AuditEvent, Proposal, Ticket
from copilot.people import accounts, principals, tokens
from tests.conftest import Clock
from tests.support import api, work
from tests.support.ledger import Ledger
from tests.support.people import People

GRANT = {"grant_type": "client_credentials"}


@pytest.fixture(autouse=True)
def _no_failures_yet() -> None:
    endpoint._failures.clear()


@pytest.fixture
def secret(people: People) -> str:
    with transaction():
        return principals.add("helpdesk", ["tickets:write", "*:read"], "dee@example.com")


def ask(client: FlaskClient, content: dict[str, Any], *, json: bool = False, **options: Any) -> TestResponse:
    return client.post("/api/v1/token", **({"json": content} if json else {"data": content}), **options)


def basic(name: str, secret: str) -> dict[str, str]:
    return {"Authorization": "Basic " + b64encode(f"{name}:{secret}".encode()).decode()}


@pytest.mark.parametrize("json", [False, True])
def test_credentials_in_the_body_give_a_token(client: FlaskClient, secret: str, json: bool) -> None:
    response = ask(client, {**GRANT, "client_id": "helpdesk", "client_secret": secret}, json=json)
    assert response.status_code == 200
    assert response.headers["Cache-Control"] == "no-store"
    assert response.json["token_type"] == "Bearer"
    assert 0 < response.json["expires_in"] <= 900
    assert response.json["scope"].split() == ["*:read", "tickets:write"]
    assert tokens.agent_from(response.json["access_token"]).name == "helpdesk"


def test_credentials_by_basic_authentication_and_the_agents_id_work_too(client: FlaskClient, secret: str) -> None:
    agent_id = principals.find("helpdesk").id
    response = ask(client, {**GRANT, "scope": "get_order:read"}, headers=basic(agent_id, secret))
    assert response.status_code == 200
    assert tokens.agent_from(response.json["access_token"]).scopes == ("get_order:read",)


@pytest.mark.parametrize(
    ("change", "status", "error"),
    [
        ({"client_secret": "wrong"}, 401, "invalid_client"),
        ({"client_id": "nobody"}, 401, "invalid_client"),
        ({"client_id": ""}, 401, "invalid_client"),
        ({"client_id": "a\0b"}, 400, "invalid_request"),
        ({"grant_type": "password"}, 400, "unsupported_grant_type"),
        ({"grant_type": ""}, 400, "unsupported_grant_type"),
        ({"scope": "tickets:write issue_refund:write"}, 400, "invalid_scope"),
        ({"scope": "*:write"}, 400, "invalid_scope"),
        ({"scope": "x" * 3000}, 400, "invalid_request"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_errors_are_those_of_the_standard(client: FlaskClient, secret: str, change: dict[str, str], status: int, error: str) -> None:
    response = ask(client, {**GRANT, "client_id": "helpdesk", "client_secret": secret, **change})
    assert (response.status_code, response.json["error"]) == (status, error)
    assert response.headers["Cache-Control"] == "no-store"
    assert ("WWW-Authenticate" in response.headers) == (status == 401)


def test_requests_that_are_no_such_request(client: FlaskClient, secret: str) -> None:
    good = {**GRANT, "client_id": "helpdesk", "client_secret": secret}
    bad = [
        ask(client, good, headers=basic("helpdesk", secret)),
        client.post("/api/v1/token", data="{", content_type="application/json"),
        client.post("/api/v1/token", data="[]", content_type="application/json"),
        client.post("/api/v1/token", data='{"grant_type":"client_credentials","client_id":["x"]}', content_type="application/json"),
        client.post("/api/v1/token", data='{"client_id":"a","client_id":"b"}', content_type="application/json"),
        client.post("/api/v1/token", data="grant_type=client_credentials&grant_type=x", content_type="application/x-www-form-urlencoded"),
        client.post("/api/v1/token", data="x", content_type="text/plain"),
    ]
    assert [(response.status_code, response.json["error"]) for response in bad] == [(400, "invalid_request")] * len(bad)


def test_failures_are_recorded_without_the_name_and_limited(client: FlaskClient, secret: str) -> None:
    for _ in range(endpoint.MOST_FAILURES):
        assert ask(client, {**GRANT, "client_id": "helpdesk", "client_secret": "wrong"}).status_code == 401
    blocked = ask(client, {**GRANT, "client_id": "helpdesk", "client_secret": secret})
    assert blocked.status_code == 429
    assert blocked.headers["Retry-After"] == "60"
    database.read_again()
    lines = db.session.execute(select(AuditEvent.line).where(AuditEvent.kind == "signin.failed")).scalars().all()
    assert len(lines) == endpoint.MOST_FAILURES
    assert all("helpdesk" not in line for line in lines)
    assert db.session.execute(select(func.count()).where(AuditEvent.kind == "signin.failed")).scalar_one() == endpoint.MOST_FAILURES


def test_a_disabled_agent_gets_no_token(client: FlaskClient, secret: str) -> None:
    with transaction():
        principals.disable("helpdesk")
    assert ask(client, {**GRANT, "client_id": "helpdesk", "client_secret": secret}).status_code == 401


# -- bounds


def test_a_token_may_be_asked_for_narrower_than_the_agent(client: FlaskClient, people: People) -> None:
    with transaction():
        secret = principals.add("desk", ["*:read;region=EU", "pay_key:write"], "dee@example.com")
    sent = {**GRANT, "client_id": "desk", "client_secret": secret}
    narrow = ask(client, {**sent, "scope": "pay_key:write;customer=c1;region=EU read_account:read;region=EU"})
    assert narrow.status_code == 200
    assert narrow.json["scope"] == "pay_key:write;region=EU;customer=c1 read_account:read;region=EU"
    assert tokens.agent_from(narrow.json["access_token"]).scopes == ("pay_key:write;region=EU;customer=c1", "read_account:read;region=EU")
    for wider in ("*:read", "read_account:read", "*:read;region=US", "pay_key:read", "pay_key:write;region="):
        assert (ask(client, {**sent, "scope": wider}).json or {})["error"] == "invalid_scope", wider


def test_a_token_loses_at_once_what_its_agent_loses(client: FlaskClient, people: People) -> None:
    with transaction():
        secret = principals.add("desk", ["*:read", "pay_key:write"], "dee@example.com")
    token = ask(client, {**GRANT, "client_id": "desk", "client_secret": secret}).json["access_token"]
    with transaction():
        assert principals.set_scopes("desk", ["read_account:read", "pay_key:write;region=EU"], by=people.dee, reason="less will do") is None
    database.read_again()
    assert tokens.agent_from(token).scopes == ("read_account:read", "pay_key:write;region=EU")


# -- rotation


def credentials(client: FlaskClient, secret: str) -> int:
    return ask(client, {**GRANT, "client_id": "helpdesk", "client_secret": secret}).status_code


def given(client: FlaskClient, secret: str) -> str:
    return str(ask(client, {**GRANT, "client_id": "helpdesk", "client_secret": secret}).json["access_token"])


def works(client: FlaskClient, token: str) -> bool:
    return client.get("/api/v1/tools", headers={"Authorization": f"Bearer {token}"}).status_code == 200


@pytest.mark.both_databases
def test_a_rotation_with_an_overlap_keeps_both_secrets_until_it_ends(client: FlaskClient, secret: str, clock: Clock) -> None:
    before = given(client, secret)
    with transaction():
        fresh = principals.rotate("helpdesk", overlap=timedelta(hours=2))
    assert [credentials(client, one) for one in (secret, fresh)] == [200, 200]
    assert works(client, before), "a token given before lives on"
    clock.advance(hours=1, minutes=59)
    assert credentials(client, secret) == 200
    clock.advance(minutes=2)
    assert [credentials(client, one) for one in (secret, fresh)] == [401, 200]
    assert works(client, before), "its own 15 minutes are not over: the other clock is the test's"


@pytest.mark.both_databases
def test_a_rotation_without_one_ends_the_old_secret_and_every_token_at_the_next_request(client: FlaskClient, secret: str) -> None:
    with transaction():
        second = principals.rotate("helpdesk", overlap=timedelta(hours=2))
    old, new = given(client, secret), given(client, second)
    with transaction():
        third = principals.rotate("helpdesk")
    assert [credentials(client, one) for one in (secret, second, third)] == [401, 401, 200]
    assert not works(client, old)
    assert not works(client, new)


def test_there_are_two_secrets_at_most(client: FlaskClient, secret: str) -> None:
    first = given(client, secret)
    with transaction():
        second = principals.rotate("helpdesk", overlap=timedelta(hours=2))
    with transaction():
        third = principals.rotate("helpdesk", overlap=timedelta(hours=2))
    assert [credentials(client, one) for one in (secret, second, third)] == [401, 200, 200]
    assert not works(client, first)
    for overlap in (timedelta(days=31), timedelta(seconds=-1)):
        with pytest.raises(BadInput), transaction():
            principals.rotate("helpdesk", overlap=overlap)


@pytest.mark.both_databases
def test_disabling_ends_everything_and_enabling_revives_no_token(client: FlaskClient, secret: str) -> None:
    with transaction():
        fresh = principals.rotate("helpdesk", overlap=timedelta(hours=2))
    token = given(client, fresh)
    assert works(client, token)
    with transaction():
        principals.disable("helpdesk")
    assert not works(client, token)
    assert [credentials(client, one) for one in (secret, fresh)] == [401, 401]
    with transaction():
        principals.enable("helpdesk")
        principals.enable("helpdesk")
    assert not works(client, token), "what was given before stays ended"
    assert [credentials(client, one) for one in (secret, fresh)] == [401, 200], "and the overlap is over"
    assert works(client, given(client, fresh))
    with transaction():
        accounts.disable("dee@example.com")
        principals.disable("helpdesk")
    with pytest.raises(Conflict), transaction():
        principals.enable("helpdesk")


def test_a_form_sent_twice_rotates_once(secret: str, people: People) -> None:
    seen = principals.mark(principals.find("helpdesk"))
    with transaction():
        principals.rotate("helpdesk", by=people.dee, seen=seen)
    with pytest.raises(Conflict), transaction():
        principals.rotate("helpdesk", by=people.dee, seen=seen)
    assert seen not in principals.find("helpdesk").secret_hash


# -- scopes and the second person


def test_what_is_no_wider_holds_at_once_and_what_is_wider_waits_for_somebody_else(people: People, secret: str) -> None:
    with transaction():
        assert principals.set_scopes("helpdesk", ["tickets:write"], by=people.dee, reason="it reads nothing") is None
    with transaction():
        change = principals.set_scopes("helpdesk", ["tickets:write", "pay_key:write"], by=people.dee, reason="it shall pay")
        assert change is not None
        change_id = change.id
    agent = principals.find("helpdesk")
    assert agent.scopes == ["tickets:write"]
    deciding: dict[str, Any] = {"apply": True, "note": "", "appliers": {"scopes": principals.apply_scopes}}
    for who in (people.dee, people.ana, people.cy):
        with pytest.raises(NotEntitled), transaction():
            changes.decide(change_id, by=who, **deciding)
    with transaction():
        changes.decide(change_id, by=people.bo, **deciding)
    assert principals.find("helpdesk").scopes == ["pay_key:write", "tickets:write"]
    with pytest.raises(Conflict), transaction():
        changes.decide(change_id, by=people.bo, **deciding)


def test_a_confirmed_change_does_not_bring_back_what_was_taken_meanwhile(people: People, secret: str) -> None:
    with transaction():
        change = principals.set_scopes("helpdesk", ["tickets:write", "*:read", "pay_key:write"], by=people.dee, reason="more")
        assert change is not None
        change_id = change.id
    with transaction():
        principals.set_scopes("helpdesk", ["tickets:write"], by=people.dee, reason="less, in a hurry")
    with pytest.raises(Conflict), transaction():
        changes.decide(change_id, by=people.bo, apply=True, note="", appliers={"scopes": principals.apply_scopes})
    database.read_again()
    assert principals.find("helpdesk").scopes == ["tickets:write"]


def test_an_agent_added_by_a_person_begins_with_nothing_until_somebody_else_agrees(people: People) -> None:
    with transaction():
        principals.add("fresh", ["pay_key:write"], "bo@example.com", by=people.dee)
    assert principals.find("fresh").scopes == []
    waiting = changes.waiting()
    assert [(change.subject, change.payload["scopes"]) for change in waiting] == [(principals.find("fresh").id, ["pay_key:write"])]
    with pytest.raises(NotEntitled), transaction():
        changes.decide(waiting[0].id, by=people.bo, apply=True, note="", appliers={"scopes": principals.apply_scopes})


def test_with_the_rule_off_an_admin_widens_alone(people: People, secret: str) -> None:
    with transaction():
        switches.set_rule("scopes-second-person", on=False, by=people.dee, reason="there are two of us")
    with transaction():
        assert principals.set_scopes("helpdesk", ["pay_key:write"], by=people.dee, reason="it shall pay") is None
        principals.add("fresh", ["pay_key:write"], "bo@example.com", by=people.dee)
    assert principals.find("helpdesk").scopes == principals.find("fresh").scopes == ["pay_key:write"]


@pytest.mark.parametrize("who", ["ana", "bo", "cy"])
def test_only_an_admin_manages_agents(people: People, secret: str, who: str) -> None:
    person = people.row(who)
    for attempt in (
        lambda: principals.add("fresh", ["*:read"], "bo@example.com", by=person),
        lambda: principals.rotate("helpdesk", by=person),
        lambda: principals.disable("helpdesk", by=person),
        lambda: principals.enable("helpdesk", by=person),
        lambda: principals.set_scopes("helpdesk", [], by=person, reason="mine"),
    ):
        with pytest.raises(NotEntitled), transaction():
            attempt()


def test_the_log_names_scopes_and_nobody(people: People, secret: str) -> None:
    with transaction():
        principals.set_scopes("helpdesk", ["pay_key:write;region=EU;customer=una%40example.com"], by=None, reason="Una only")
    database.read_again()
    line = db.session.execute(select(AuditEvent.line).where(AuditEvent.kind == "agent.scopes")).scalar_one()
    assert "pay_key:write;region=EU;customer=" in line
    assert "una" not in line.lower()


# -- what a bound means at the gate


def propose(desk: api.Caller, key: str, **sent: Any) -> Any:
    body = {"tool": "pay_key", "arguments": work.arguments(), "rationale": "r"} | sent
    return desk("POST", "/proposals", body, headers={"Idempotency-Key": key})


@pytest.mark.both_databases
def test_a_token_bound_to_a_customer_proposes_for_nobody_else(client: FlaskClient, agent: str, people: People) -> None:
    desk = api.as_agent(client, agent, "pay_key:write;customer=c1", "read_account:read;customer=c1")
    mine, theirs = work.ticket("c1"), work.ticket("c2")
    good = propose(desk, "k1", ticket_id=mine)
    assert (good.status_code, good.json["state"]) == (201, "PENDING")
    for key, sent in {
        "k2": {"ticket_id": theirs, "arguments": work.arguments(account="c2/main")},
        "k3": {"ticket_id": mine, "arguments": work.arguments(account="c2/main")},
    }.items():
        bad = propose(desk, key, **sent)
        assert (bad.status_code, bad.json["state"], bad.json["verdict"]["rule"]) == (201, "DENIED", "scope"), key
        assert "_" not in bad.json["verdict"]["reason"]
    assert db.session.get_one(Proposal, good.json["id"]).token_scopes == ["pay_key:write;customer=c1", "read_account:read;customer=c1"]
    read = desk("POST", "/tools/read_account", {"arguments": {"account": "c2/main"}, "ticket_id": theirs})
    assert (read.status_code, read.json["rule"]) == (409, "scope")
    assert desk("POST", "/tools/read_account", {"arguments": {"account": "c1/main"}, "ticket_id": mine}).status_code == 200
    assert desk("POST", "/tools/read_account", {"arguments": {"account": "c1/main"}}).status_code == 409, "whose it is is not known"


def test_a_bound_token_is_still_bound_when_its_proposal_is_claimed(client: FlaskClient, agent: str, people: People, book: Ledger) -> None:
    desk = api.as_agent(client, agent, "pay_key:write;region=EU")
    made = work.ticket("c1")
    with transaction():
        db.session.get_one(Ticket, made).region = "EU"
    proposal_id = propose(desk, "k1", ticket_id=made).json["id"]
    work.approve(proposal_id, people.ana)
    with transaction():
        db.session.get_one(Ticket, made).region = "US"
    jobs.execute(proposal_id)
    assert (work.state(proposal_id), work.row(proposal_id).verdict["rule"]) == ("DENIED", "scope")
    assert book.effects() == []


def test_what_a_token_leaves_out_is_refused_in_plain_words(client: FlaskClient, agent: str) -> None:
    desk = api.as_agent(client, agent, "pay_lookup:write")
    answer = propose(desk, "k1")
    assert (answer.status_code, answer.json["rule"]) == (403, "scope")
    assert "_" not in answer.json["detail"]
    listed = desk("GET", "/tools").json["items"]
    assert [tool["name"] for tool in listed] == ["pay_lookup"]
