"""The API's door: who may come in, what a body may hold, and how every error looks."""

from __future__ import annotations

from typing import Any

import jsonschema_rs
import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy.exc import OperationalError

from copilot.agents import intake
from copilot.api import edge, openapi
from copilot.db import transaction
from copilot.people import sessions
from tests.support import api
from tests.support.people import People

ROUTES = [(route.method.upper(), route.path) for route in openapi.ROUTES]


@pytest.fixture
def source(client: FlaskClient, people: People) -> api.Caller:
    from tests.support import people as staff

    agent_id = staff.add_agent(people.ids["dee"], name="helpdesk", scopes=("tickets:write",), drafts=False)
    return api.as_agent(client, agent_id)


def ticket(**changes: Any) -> dict[str, Any]:
    return {"external_id": "T-1", "subject": "Lamp", "body": "Broken", "customer": {"id": "C-1"}, **changes}


def assert_problem(response: Any, status: int, code: str) -> dict[str, Any]:
    assert (response.status_code, response.mimetype) == (status, "application/problem+json")
    document: dict[str, Any] = response.json
    assert (document["status"], document["code"], document["type"]) == (status, code, f"urn:copilot:problem:{code}")
    assert document["title"]
    assert document["detail"]
    assert "Traceback" not in response.text
    return document


@pytest.mark.parametrize(("method", "path"), ROUTES)
@pytest.mark.parametrize("token", ["", "nonsense", "a.b.c"])
def test_strangers_are_refused_everywhere(client: FlaskClient, method: str, path: str, token: str) -> None:
    response = api.Caller(client, token)(method, path.replace("{", "").replace("}", ""), {})
    assert_problem(response, 401, "not-authenticated")
    assert response.headers["WWW-Authenticate"].startswith("Bearer")
    assert ("invalid_token" in response.headers["WWW-Authenticate"]) == bool(token)


def test_a_browsers_cookie_opens_nothing(app: Flask, client: FlaskClient, people: People) -> None:
    with transaction():
        key = sessions.start(people.bo)
    with client.session_transaction() as cookie:
        cookie["_user_id"] = key
    assert_problem(client.get("/api/v1/proposals"), 401, "not-authenticated")


def test_every_route_is_described_and_every_description_is_a_route(app: Flask) -> None:
    served = {
        (method, rule.rule.removeprefix("/api/v1").replace("<path:", "<").replace("<", "{").replace(">", "}"))
        for rule in app.url_map.iter_rules()
        if rule.endpoint.startswith("api.")
        and rule.endpoint not in ("api.nothing_here", "api.document", "api.give_token", "api.public_keys")
        for method in rule.methods - {"HEAD", "OPTIONS"}
    }
    assert served == set(ROUTES)


def test_the_document_is_public_and_its_schemas_are_sound(client: FlaskClient) -> None:
    document = client.get("/api/v1/openapi.json").json
    assert document["openapi"] == "3.1.0"
    assert set(document["paths"]) == {path for _, path in ROUTES} | {"/token"}
    for name, schema in document["components"]["schemas"].items():
        jsonschema_rs.validator_for({**schema, "components": document["components"]})
        assert schema["type"] == "object", name
    operations = [operation["operationId"] for path in document["paths"].values() for operation in path.values()]
    assert len(operations) == len(set(operations))


BAD_BODIES = [
    (b"{", "application/json", 400, "bad-request"),
    (b"", "application/json", 400, "bad-request"),
    (b'{"a": NaN}', "application/json", 400, "bad-request"),
    (b'{"a": 1' + b"0" * 5000 + b"}", "application/json", 400, "bad-request"),
    (b"[" * 100_000, "application/json", 400, "bad-request"),
    (b"\xff\xfe", "application/json", 400, "bad-request"),
    (b"[]", "application/json", 422, "bad-input"),
    (b'"text"', "application/json", 422, "bad-input"),
    (b'{"external_id": "a", "external_id": "b"}', "application/json", 422, "bad-input"),
    (b'{"external_id": "a\\u0000"}', "application/json", 422, "bad-input"),
    (b'{"external_id": "\\ud800"}', "application/json", 422, "bad-input"),
    (b"{}", "text/plain", 415, "wrong-content-type"),
    (b"a=b", "application/x-www-form-urlencoded", 415, "wrong-content-type"),
    (b'{"body": "' + b"x" * edge.MAX_BYTES + b'"}', "application/json", 413, "too-large"),
]


@pytest.mark.parametrize(("data", "kind", "status", "code"), BAD_BODIES, ids=lambda value: str(value)[:30])
def test_a_body_that_cannot_be_is_a_clear_problem(source: api.Caller, data: bytes, kind: str, status: int, code: str) -> None:
    assert_problem(source("POST", "/tickets", data=data, content_type=kind), status, code)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"surprise": 1}, "surprise"),
        ({"external_id": 7}, "external_id"),
        ({"subject": ["a"]}, "subject"),
        ({"customer": {"id": "C", "phone": "1"}}, "customer.phone"),
        ({"customer": None}, "customer"),
        ({"channel": "pigeon"}, "channel"),
        ({"external_id": "a\nb"}, "external_id"),
        ({"customer": {"id": "C", "email": "nobody"}}, "customer.email"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_problems_name_the_field(source: api.Caller, change: dict[str, Any], field: str) -> None:
    document = assert_problem(source("POST", "/tickets", ticket(**change)), 422, "bad-input")
    assert list(document["problems"]) == [field]


def test_an_address_that_is_none_and_a_method_that_is_not_taken(source: api.Caller) -> None:
    assert_problem(source("GET", "/nowhere"), 404, "not-found")
    assert_problem(source("GET", "/"), 404, "not-found")
    response = source("DELETE", "/proposals/prop_x")
    assert_problem(response, 405, "method-not-allowed")
    assert response.headers["Allow"] == "GET"
    assert_problem(source("GET", "/token"), 405, "method-not-allowed")
    assert_problem(source("GET", "/proposals/a%00b"), 422, "bad-input")
    assert_problem(source("GET", "/proposals?cursor=a%00b"), 422, "bad-input")


def test_a_database_that_does_not_answer_is_a_503(source: api.Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(**_: Any) -> None:
        raise OperationalError("INSERT secret", {}, Exception("connection lost"))

    monkeypatch.setattr(intake, "accept", away)
    response = source("POST", "/tickets", ticket())
    assert_problem(response, 503, "unavailable")
    assert response.headers["Retry-After"]
    assert "secret" not in response.text


def test_our_own_mistake_is_a_500_that_says_nothing_inside(source: api.Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(**_: Any) -> None:
        raise RuntimeError("the secret plan")

    monkeypatch.setattr(intake, "accept", broken)
    response = source("POST", "/tickets", ticket())
    assert_problem(response, 500, "error")
    assert "secret" not in response.text
