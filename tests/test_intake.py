"""Tickets and messages are taken once, and each brings the runs it needs."""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import func, select, update

from copilot import db as database
from copilot.agents import intake
from copilot.db import db, transaction
from copilot.errors import BadInput, NotFound
from copilot.models import AuditEvent, Customer, Message, Run, Ticket
from tests.support import people as staff
from tests.support.people import People

pytestmark = pytest.mark.usefixtures("app")

TICKET: dict[str, Any] = {
    "external_id": "T/1 ü",
    "subject": "Broken lamp",
    "body": "It came broken.\nPlease help.",
    "customer": {"id": "C-7", "name": "Mia Holt", "email": "mia@example.com"},
    "region": "EU",
    "channel": "email",
    "metadata": {"plan": "gold"},
}


def accept(**changes: Any) -> intake.Accepted:
    with transaction():
        return intake.accept(**{**TICKET, "source": "helpdesk", **changes})


def say(external_id: str = "m1", *, author: str = "customer", body: str = "Hello?", **more: Any) -> intake.MessageAccepted:
    with transaction():
        return intake.message(TICKET["external_id"], external_id=external_id, author=author, body=body, source="helpdesk", **more)


def end_runs(state: str = "DONE") -> None:
    with transaction():
        db.session.execute(update(Run).values(state=state))


def count(model: type[Any]) -> int:
    database.read_again()
    return db.session.execute(select(func.count()).select_from(model)).scalar_one()


def events(kind: str) -> int:
    database.read_again()
    return db.session.execute(select(func.count()).where(AuditEvent.kind == kind)).scalar_one()


def test_a_ticket_brings_its_customer_its_first_message_and_a_run_for_each_drafting_agent(agent: str, people: People) -> None:
    other = staff.add_agent(people.ids["bo"], name="second")
    staff.add_agent(people.ids["bo"], name="source", drafts=False)
    accepted = accept()
    ticket = db.session.get_one(Ticket, accepted.ticket_id)
    assert accepted.created
    assert (ticket.subject, ticket.status, ticket.region, ticket.channel, ticket.details) == (
        "Broken lamp",
        "open",
        "EU",
        "email",
        {"plan": "gold"},
    )
    assert (ticket.customer.external_id, ticket.customer.name) == ("C-7", "Mia Holt")
    assert [(message.author, message.body) for message in ticket.messages] == [("customer", TICKET["body"])]
    runs = {db.session.get_one(Run, run_id).agent_id for run_id in accepted.run_ids}
    assert runs == {agent, other}
    assert (events("ticket.accepted"), events("run.queued")) == (1, 2)


def test_the_same_external_id_answers_with_the_first_and_changes_nothing(agent: str) -> None:
    first = accept()
    again = accept(subject="Another", customer={"id": "C-8"})
    assert (again.ticket_id, again.created, again.run_ids) == (first.ticket_id, False, ())
    assert (count(Ticket), count(Run), count(Customer), events("ticket.accepted")) == (1, 1, 1, 1)


def together(app: Flask, work: Callable[[], Any], *, times: int) -> list[Any]:
    """Run `work` in that many threads at once, each in its own application context."""
    results: list[Any] = []
    gate = threading.Barrier(times)

    def one() -> None:
        with app.app_context():
            gate.wait(timeout=30)
            results.append(work())

    threads = [threading.Thread(target=contextvars.Context().run, args=(one,)) for _ in range(times)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    return results


@pytest.mark.both_databases
def test_simultaneous_posts_of_one_ticket_make_one(app: Flask, agent: str) -> None:
    database.read_again()
    results = together(app, accept, times=8)
    assert len(results) == 8
    assert len({result.ticket_id for result in results}) == 1
    assert sum(result.created for result in results) == 1
    assert (count(Ticket), count(Message), count(Run), count(Customer)) == (1, 1, 1, 1)


@pytest.mark.both_databases
def test_simultaneous_messages_start_one_run(app: Flask, agent: str) -> None:
    accept()
    end_runs()
    database.read_again()
    numbers = iter(range(100))
    results = together(app, lambda: say(f"m{next(numbers)}"), times=6)
    assert len(results) == 6
    assert sum(len(result.run_ids) for result in results) == 1
    assert count(Run) == 2


def test_a_customer_is_one_row_and_keeps_the_newest_name(agent: str) -> None:
    accept()
    accept(external_id="T-2", customer={"id": "C-7", "name": "Mia Holt-Berg", "email": ""})
    customer = db.session.execute(select(Customer)).scalar_one()
    assert (customer.name, customer.email) == ("Mia Holt-Berg", "mia@example.com")


def test_a_message_is_taken_once_and_waits_for_an_open_run(agent: str) -> None:
    accept()
    first = say()
    again = say(body="Other words")
    assert (first.created, first.run_ids) == (True, ())
    assert (again.message_id, again.created) == (first.message_id, False)
    assert events("ticket.message") == 1


@pytest.mark.parametrize("ended", ["DONE", "FAILED", "NEEDS_HUMAN"])
def test_a_customers_message_after_the_run_ended_starts_another(agent: str, ended: str) -> None:
    accept()
    end_runs(ended)
    assert say("m1", author="staff").run_ids == ()
    started = say("m2").run_ids
    assert len(started) == 1
    assert db.session.get_one(Run, started[0]).state == "QUEUED"
    assert say("m3").run_ids == ()


def test_a_customers_message_opens_a_solved_or_closed_ticket_so_that_somebody_sees_it(agent: str) -> None:
    accept()
    end_runs()
    with transaction():
        intake.set_status(TICKET["external_id"], "solved")
        intake.set_status(TICKET["external_id"], "solved")
    assert events("ticket.status") == 1
    assert say("m1").run_ids
    assert db.session.execute(select(Ticket.status)).scalar_one() == "open"
    end_runs()
    with transaction():
        intake.set_status(TICKET["external_id"], "closed")
    assert say("m2").run_ids
    assert db.session.execute(select(Ticket.status)).scalar_one() == "open"


def test_a_message_never_lies_in_the_future() -> None:
    accept()
    told = say(at=database.now() + timedelta(days=400))
    assert db.session.get_one(Message, told.message_id).at <= database.now()
    earlier = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    told = say("m2", at=earlier)
    assert db.session.get_one(Message, told.message_id).at == earlier


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"external_id": ""}, "external_id"),
        ({"external_id": "x" * 129}, "external_id"),
        ({"external_id": "a\nb"}, "external_id"),
        ({"external_id": " a"}, "external_id"),
        ({"external_id": 7}, "external_id"),
        ({"subject": " "}, "subject"),
        ({"subject": "x" * 501}, "subject"),
        ({"body": "x" * 100_001}, "body"),
        ({"body": "a\0b"}, "body"),
        ({"body": "a\ud800b"}, "body"),
        ({"region": "Europe, all of it"}, "region"),
        ({"channel": "pigeon"}, "channel"),
        ({"metadata": {"a": "x" * 30_000}}, "metadata"),
        ({"metadata": {"a": "\0"}}, "metadata"),
        ({"metadata": {"a": float("nan")}}, "metadata"),
        ({"metadata": {"a": {1, 2}}}, "metadata"),
        ({"customer": {"id": ""}}, "customer.id"),
        ({"customer": {"id": "C", "email": "no address"}}, "customer.email"),
        ({"customer": {"id": "C", "name": "x" * 201}}, "customer.name"),
        ({"customer": {"id": "C", "name": None}}, "customer.name"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_what_cannot_be_is_refused_by_field_and_nothing_is_written(change: dict[str, Any], field: str) -> None:
    with pytest.raises(BadInput) as caught:
        accept(**change)
    assert list(caught.value.problems) == [field]
    assert (count(Ticket), count(Customer)) == (0, 0)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"external_id": "body"}, "external_id"),
        ({"author": "boss"}, "author"),
        ({"body": ""}, "body"),
        ({"at": datetime(2026, 1, 1)}, "at"),  # noqa: DTZ001 - a time without a zone is the point
        ({"at": datetime(1970, 1, 1, tzinfo=UTC)}, "at"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_an_impossible_message_is_refused(change: dict[str, Any], field: str) -> None:
    accept()
    with pytest.raises(BadInput) as caught:
        say(**{"external_id": "m1", **change})
    assert list(caught.value.problems) == [field]


def test_a_message_or_status_for_no_ticket_is_not_found() -> None:
    with pytest.raises(NotFound):
        say()
    with pytest.raises(NotFound), transaction():
        intake.set_status("T-404", "open")
    with pytest.raises(BadInput), transaction():
        intake.set_status("T-404", "lost")


def test_a_ticket_is_found_by_either_id_and_ours_wins() -> None:
    ours = accept().ticket_id
    accept(external_id=ours)
    assert intake.by_either_id(TICKET["external_id"]).id == ours
    assert intake.by_either_id(ours).id == ours
    with pytest.raises(NotFound):
        intake.by_either_id("T-404")


def test_the_log_holds_no_word_of_the_customer(agent: str) -> None:
    accept(source="Ana's own desk")
    say(body="My number is 555-0199")
    database.read_again()
    lines = " ".join(db.session.execute(select(AuditEvent.line)).scalars())
    for word in ("Mia", "mia@", "lamp", "555", "C-7", "T/1", "Ana"):
        assert word not in lines
