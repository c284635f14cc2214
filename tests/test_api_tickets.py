"""Tickets, messages and statuses over the API."""

from __future__ import annotations

from typing import Any

import pytest
from flask.testing import FlaskClient
from sqlalchemy import func, select

from copilot import db as database
from copilot.db import db
from copilot.models import Message, Run, Ticket
from tests.support import api
from tests.support import people as staff
from tests.support.people import People

TICKET: dict[str, Any] = {"external_id": "T-1", "subject": "Lamp", "body": "Broken", "customer": {"id": "C-1", "name": "Mia"}}


@pytest.fixture
def source(client: FlaskClient, people: People) -> api.Caller:
    return api.as_agent(client, staff.add_agent(people.ids["dee"], name="helpdesk", scopes=("tickets:write",), drafts=False))


def test_a_ticket_is_created_once(source: api.Caller, agent: str) -> None:
    first = source("POST", "/tickets", TICKET)
    again = source("POST", "/tickets", {**TICKET, "subject": "Other"})
    assert (first.status_code, again.status_code) == (201, 200)
    assert first.json == {"id": again.json["id"], "external_id": "T-1", "status": "open", "created": True}
    assert again.json["created"] is False
    ticket = db.session.get_one(Ticket, first.json["id"])
    assert (ticket.subject, ticket.source, ticket.requester_id) == ("Lamp", "helpdesk", None)
    assert db.session.execute(select(func.count()).select_from(Run)).scalar_one() == 1


def test_a_message_and_a_status_find_their_ticket_whatever_its_id(source: api.Caller, agent: str) -> None:
    external_id = "desk//7 ü/messages"
    source("POST", "/tickets", {**TICKET, "external_id": external_id})
    path = "/tickets/desk%2F%2F7%20%C3%BC%2Fmessages"
    sent = {"external_id": "m-1", "author": "customer", "body": "Hello?", "at": "2026-01-02T03:04:05+01:00"}
    first, again = source("POST", f"{path}/messages", sent), source("POST", f"{path}/messages", sent)
    assert (first.status_code, again.status_code) == (201, 200)
    assert first.json["id"] == again.json["id"]
    message = db.session.get_one(Message, first.json["id"])
    assert (message.body, message.at.isoformat()) == ("Hello?", "2026-01-02T02:04:05+00:00")
    closed = source("PATCH", path, {"status": "closed"})
    assert (closed.status_code, closed.json) == (200, {"id": first.json["ticket_id"], "external_id": external_id, "status": "closed"})
    database.read_again()
    assert db.session.execute(select(Ticket.status)).scalar_one() == "closed"


def test_what_does_not_exist_is_not_found(source: api.Caller) -> None:
    sent = {"external_id": "m-1", "author": "customer", "body": "Hello?"}
    assert source("POST", "/tickets/T-404/messages", sent).status_code == 404
    assert source("PATCH", "/tickets/T-404", {"status": "open"}).status_code == 404
    assert list(source("PATCH", "/tickets/T-404", {"status": "lost"}).json["problems"]) == ["status"]


def test_a_time_without_its_zone_is_refused(source: api.Caller) -> None:
    source("POST", "/tickets", TICKET)
    sent = {"external_id": "m-1", "author": "customer", "body": "Hello?", "at": "2026-01-02T03:04:05"}
    response = source("POST", "/tickets/T-1/messages", sent)
    assert (response.status_code, list(response.json["problems"])) == (422, ["at"])


def test_an_agent_without_the_scope_brings_no_tickets(client: FlaskClient, agent: str) -> None:
    for method, path, body in (
        ("POST", "/tickets", TICKET),
        ("POST", "/tickets/T-1/messages", {"external_id": "m", "author": "staff", "body": "x"}),
        ("PATCH", "/tickets/T-1", {"status": "closed"}),
    ):
        response = api.as_agent(client, agent)(method, path, body)
        assert (response.status_code, response.json["code"], response.json["rule"]) == (403, "not-entitled", "scope")


def test_a_person_who_brings_a_ticket_is_its_requester_and_an_auditor_brings_none(client: FlaskClient, people: People) -> None:
    response = api.as_person(client, people.ana)("POST", "/tickets", TICKET)
    assert response.status_code == 201
    assert db.session.get_one(Ticket, response.json["id"]).requester_id == people.ids["ana"]
    refused = api.as_person(client, people.cy)("POST", "/tickets", {**TICKET, "external_id": "T-2"})
    assert (refused.status_code, refused.json["rule"]) == (403, "role")
