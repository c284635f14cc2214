"""Tickets and messages in, from a source with the scope `tickets:write` or a person who types them in."""

from __future__ import annotations

from flask import Response

from copilot import jobs
from copilot.agents import intake
from copilot.api import answers, bodies, edge
from copilot.api.edge import bp
from copilot.db import db, transaction
from copilot.models import Ticket, User
from copilot.models.people import DECIDING_ROLES
from copilot.people.tokens import Principal

_ROUTE = "/tickets/<path:external_id>"  # an external id may hold a slash, even two in a row


@bp.post("/tickets")
def create_ticket() -> Response:
    """Take a ticket in: 201, or 200 with the first one when its external id is here already."""
    source, requester = _sender()
    sent = edge.body(bodies.TicketBody)
    with transaction():
        accepted = intake.accept(
            external_id=sent.external_id,
            subject=sent.subject,
            body=sent.body,
            customer=sent.customer.model_dump(),
            region=sent.region,
            channel=sent.channel,
            metadata=sent.metadata,
            source=source,
            requester_id=requester,
        )
    for run_id in accepted.run_ids:
        jobs.run_queued(run_id)
    status = "open" if accepted.created else db.session.get_one(Ticket, accepted.ticket_id).status
    answer = answers.TicketAnswer(id=accepted.ticket_id, external_id=sent.external_id, status=status, created=accepted.created)
    return answers.reply(answer, 201 if accepted.created else 200)


@bp.post(f"{_ROUTE}/messages", merge_slashes=False)
def add_message(external_id: str) -> Response:
    """Take a message in: 201, or 200 with the first one when its external id is on the ticket already."""
    source, requester = _sender()
    sent = edge.body(bodies.MessageBody)
    with transaction():
        accepted = intake.message(
            external_id,
            external_id=sent.external_id,
            author=sent.author,
            body=sent.body,
            at=sent.at,
            source=source,
            requester_id=requester,
        )
    for run_id in accepted.run_ids:
        jobs.run_queued(run_id)
    jobs.ticket_moved(accepted.ticket_id)
    answer = answers.MessageAnswer(id=accepted.message_id, ticket_id=accepted.ticket_id, created=accepted.created)
    return answers.reply(answer, 201 if accepted.created else 200)


@bp.patch(_ROUTE, merge_slashes=False)
def set_status(external_id: str) -> Response:
    """Set a ticket's status."""
    _sender()
    sent = edge.body(bodies.StatusBody)
    with transaction():
        ticket_id = intake.set_status(external_id, sent.status)
    jobs.ticket_moved(ticket_id)
    return answers.reply(answers.StatusAnswer(id=ticket_id, external_id=external_id, status=sent.status))


def _sender() -> tuple[str, str | None]:
    """The source's name and, when a person sends it, their id: who asks for something never approves it."""
    known = edge.caller()
    if isinstance(known, Principal):
        edge.require(known, "tickets", "write")
        return known.name, None
    person: User = edge.person(*DECIDING_ROLES)
    return "person", person.id
