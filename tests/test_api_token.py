"""POST /token: OAuth 2.0 client credentials."""

from __future__ import annotations

from base64 import b64encode
from typing import Any

import pytest
from flask.testing import FlaskClient
from sqlalchemy import func, select
from werkzeug.test import TestResponse

from copilot import db as database
from copilot.api import token as endpoint
from copilot.db import db, transaction
from copilot.models import AuditEvent
from copilot.people import principals, tokens
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
