"""Tickets in: each ticket and each message is taken once, however often and from wherever it is sent.

Every function here writes and runs inside the edge's transaction; what may be sent is judged in `incoming`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Table, select, update
from sqlalchemy.dialects import postgresql, sqlite

from copilot.agents import incoming, runs
from copilot.audit import log
from copilot.db import db, new_id, now
from copilot.errors import BadInput, NotFound
from copilot.models import Agent, Customer, Message, Run, Ticket
from copilot.models.work import RUN_OPEN, TICKET_STATUSES

_NAME = re.compile(r"[A-Za-z0-9_.:-]{1,64}\Z")


@dataclass(frozen=True, slots=True)
class Accepted:
    """A ticket that is here. `created` is False when it was already; then nothing was changed and no run was queued."""

    ticket_id: str
    created: bool
    run_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class MessageAccepted:
    """A message that is here; `run_ids` are the runs it started."""

    message_id: str
    ticket_id: str
    created: bool
    run_ids: tuple[str, ...]


def accept(
    *,
    external_id: str,
    subject: str,
    body: str,
    customer: Mapping[str, Any],
    region: str = "",
    channel: str = "api",
    metadata: Mapping[str, Any] | None = None,
    source: str,
    requester_id: str | None = None,
) -> Accepted:
    """Take a ticket in, once per external id, and queue one run for each agent that drafts.

    The same external id again, even at the same moment, answers with the first ticket and changes nothing.
    `customer` holds id, name and email; BadInput names each field that cannot be.
    """
    ticket = incoming.checked(
        external_id=external_id, subject=subject, body=body, customer=customer, region=region, channel=channel, metadata=metadata
    )  # fmt: skip
    return store(ticket, source=source, requester_id=requester_id)


def store(ticket: incoming.NewTicket, *, source: str, requester_id: str | None = None) -> Accepted:
    """Write a checked ticket, as `accept` promises."""
    first = _ticket_id(ticket.external_id)
    if first is not None:
        return Accepted(first, created=False, run_ids=())
    at = now()
    customer_id = _customer(ticket.customer, at)
    ticket_id = _insert_once(
        Ticket,
        {
            "id": new_id("tick"), "external_id": ticket.external_id, "subject": ticket.subject, "customer_id": customer_id,
            "region": ticket.region, "channel": ticket.channel, "status": "open", "details": ticket.metadata, "source": source[:64],
            "requester_id": requester_id, "created_at": at, "updated_at": at,
        },
        unique=("external_id",),
    )  # fmt: skip
    if ticket_id is None:  # another request brought it at the same moment and committed first
        return Accepted(str(_ticket_id(ticket.external_id)), created=False, run_ids=())
    db.session.add(Message(ticket_id=ticket_id, external_id=incoming.BODY, author="customer", body=ticket.body, at=at, created_at=at))
    db.session.flush()
    log.append("ticket.accepted", ticket_id, at=at, channel=ticket.channel, source=_code(source), requester=requester_id)
    return Accepted(ticket_id, created=True, run_ids=_start_runs(ticket_id, requester_id))


def message(
    ticket_external_id: str,
    *,
    external_id: str,
    author: str,
    body: str,
    at: datetime | None = None,
    source: str,
    requester_id: str | None = None,
) -> MessageAccepted:
    """Take a message in, once per external id and ticket; without `at` it was said now.

    What the customer says when no run is open on the ticket queues new runs; an open run reads it at its next step.
    A customer's message opens a ticket again that was not open. `requester_id` is the person who typed it in.
    """
    incoming.check_message(external_id=external_id, author=author, body=body, at=at)
    received = now()
    ticket = _ticket(ticket_external_id)
    said = received if at is None else min(at, received)  # a source whose clock is ahead must not put a message after those that answer it
    message_id = _insert_once(
        Message,
        {
            "id": new_id("msg"), "ticket_id": ticket.id, "external_id": external_id, "author": author, "body": body,
            "requester_id": requester_id, "at": said, "created_at": received,
        },
        unique=("ticket_id", "external_id"),
    )  # fmt: skip
    if message_id is None:
        first = select(Message.id).where(Message.ticket_id == ticket.id, Message.external_id == external_id)
        return MessageAccepted(db.session.execute(first).scalar_one(), ticket.id, created=False, run_ids=())
    log.append("ticket.message", ticket.id, at=received, message=message_id, author=author, source=_code(source), requester=requester_id)
    if author != "customer":
        return MessageAccepted(message_id, ticket.id, created=True, run_ids=())
    if ticket.status != "open":
        _move(ticket.id, "open", at=received)
    return MessageAccepted(message_id, ticket.id, created=True, run_ids=_start_runs(ticket.id, requester_id))


def set_status(external_id: str, status: str) -> str:
    """Set a ticket's status and return the ticket's id; the same status again changes nothing."""
    if status not in TICKET_STATUSES:
        choices = ", ".join(TICKET_STATUSES)
        raise BadInput(f"A ticket's status is one of {choices}.", problems={"status": f"is one of {choices}"})
    ticket = _ticket(external_id)
    _move(ticket.id, status, at=now())
    return ticket.id


def by_either_id(given: str) -> Ticket:
    """The ticket by our id or its source's; NotFound otherwise."""
    found = db.session.execute(select(Ticket).where((Ticket.id == given) | (Ticket.external_id == given))).unique().scalars().all()
    if not found:
        raise NotFound("There is no such ticket.")
    return next((ticket for ticket in found if ticket.id == given), found[0])  # a source may use one of our ids as its own; ours wins


def _customer(sender: incoming.Sender, at: datetime) -> str:
    """The id of this customer's row; a newer name or address replaces the older, an empty one does not."""
    row = {"id": new_id("cust"), "external_id": sender.id, "name": sender.name, "email": sender.email, "created_at": at}
    customer_id = _insert_once(Customer, row, unique=("external_id",))
    if customer_id is not None:
        return customer_id
    told = {key: value for key, value in (("name", sender.name), ("email", sender.email)) if value}
    known = db.session.execute(select(Customer).where(Customer.external_id == sender.id)).scalar_one()
    for key, value in told.items():
        setattr(known, key, value)
    return known.id


def _insert_once(model: type[Customer | Ticket | Message], row: dict[str, Any], *, unique: tuple[str, ...]) -> str | None:
    """Insert the row and return its id, or None when one with these unique values is there already.

    On PostgreSQL it waits for a rival that has not committed yet, so that None always means "there".
    """
    table = model.__table__
    assert isinstance(table, Table)
    dialect = sqlite if db.engine.dialect.name == "sqlite" else postgresql
    statement = dialect.insert(table).values(row).on_conflict_do_nothing(index_elements=unique).returning(table.c.id)
    return db.session.execute(statement).scalar_one_or_none()


def _code(source: str) -> str:
    """The source as the log may hold it: as it is when it is a name without blanks, else a commitment."""
    return source if _NAME.match(source) else log.commitment(source)


def _ticket_id(external_id: str) -> str | None:
    return db.session.execute(select(Ticket.id).where(Ticket.external_id == external_id)).scalar_one_or_none()


def _ticket(external_id: str) -> Ticket:
    """The ticket, locked: what else is said on it, or done to it, waits until this is committed."""
    query = select(Ticket).where(Ticket.external_id == external_id).with_for_update(of=Ticket, key_share=True)
    ticket = db.session.execute(query).scalar_one_or_none()
    if ticket is None:
        raise NotFound("There is no ticket with this external id.")
    return ticket


def _move(ticket_id: str, status: str, *, at: datetime) -> None:
    moved = update(Ticket).where(Ticket.id == ticket_id, Ticket.status != status).values(status=status, updated_at=at).returning(Ticket.id)
    if db.session.execute(moved).scalar_one_or_none() is not None:
        log.append("ticket.status", ticket_id, at=at, status=status)


def _start_runs(ticket_id: str, requester_id: str | None) -> tuple[str, ...]:
    """Queue a run for each drafting agent that has none open here.

    The open run is locked, so that it cannot end unnoticed between this look and the commit: a run that ends a moment
    later finds the message, one that ended a moment earlier is not open any more.
    """
    open_runs = select(Run.agent_id).where(Run.ticket_id == ticket_id, Run.state.in_(sorted(RUN_OPEN))).with_for_update(key_share=True)
    busy = set(db.session.execute(open_runs).scalars())
    drafting = db.session.execute(select(Agent.id).where(Agent.enabled, Agent.drafts).order_by(Agent.name)).scalars()
    return tuple(runs.queue(ticket_id, agent_id, requester_id=requester_id) for agent_id in drafting if agent_id not in busy)
