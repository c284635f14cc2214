"""Tickets: what came in, what agents made of it, and a page to type one in."""

from __future__ import annotations

import secrets

from flask import Blueprint, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from sqlalchemy import select
from sqlalchemy.orm import selectinload

from copilot import jobs
from copilot.agents import intake
from copilot.db import db, transaction
from copilot.errors import BadInput, NotFound
from copilot.models import Run, Ticket
from copilot.models.work import TICKET_STATUSES
from copilot.review import inbox
from copilot.web import access
from copilot.web.forms import PlainForm, TicketForm
from copilot.web.paging import keyset

bp = Blueprint("tickets", __name__, url_prefix="/tickets")

_FIELD_OF = {"customer.id": "customer_id", "customer.name": "customer_name", "customer.email": "customer_email"}


@bp.get("")
def index() -> ResponseReturnValue:
    """Tickets, newest first."""
    status = request.args.get("status", "")
    wanted = request.args.get("q", "").strip()[:128]
    statement = select(Ticket)
    if status in TICKET_STATUSES:
        statement = statement.where(Ticket.status == status)
    if wanted:
        statement = statement.where((Ticket.external_id == wanted) | (Ticket.id == wanted))
    page = keyset(statement, Ticket.created_at, Ticket.id, cursor=request.args.get("cursor"))
    return render_template("tickets/index.html", page=page, status=status, statuses=TICKET_STATUSES, q=wanted)


@bp.get("/new")
@access.deciders
def new() -> ResponseReturnValue:
    """An empty form; its hidden number makes a doubled click one ticket."""
    return render_template("tickets/new.html", form=TicketForm(formdata=None, external_id=f"page-{secrets.token_hex(8)}"))


@bp.post("/new")
@access.deciders
def create() -> ResponseReturnValue:
    """Take the ticket in like any other source, with the typist as requester, who then may not approve what comes of it."""
    person, form = access.viewer(), TicketForm()
    if not form.validate_on_submit():
        return render_template("tickets/new.html", form=form), 422
    try:
        with transaction():
            accepted = intake.accept(
                external_id=form.external_id.data,
                subject=form.subject.data,
                body=form.body.data.replace("\r\n", "\n"),
                customer={
                    "id": form.customer_id.data.strip(),
                    "name": form.customer_name.data or "",
                    "email": form.customer_email.data or "",
                },
                region=form.region.data or "",
                channel=form.channel.data,
                source="page",
                requester_id=person.user_id,
            )
    except BadInput as error:
        for path, sentence in error.problems.items():
            field = form._fields.get(_FIELD_OF.get(path, path), form.subject)
            field.errors = [*field.errors, sentence]
        return render_template("tickets/new.html", form=form), 422
    for run_id in accepted.run_ids:
        jobs.run_queued(run_id)
    flash("The ticket is in. An agent drafts from it now." if accepted.run_ids else "The ticket is in.", "success")
    return redirect(url_for("tickets.show", ticket_id=accepted.ticket_id), code=303)


@bp.get("/<ticket_id>")
def show(ticket_id: str) -> ResponseReturnValue:
    """The conversation, the runs and everything proposed on it."""
    ticket = _get(ticket_id)
    statement = select(Run).where(Run.ticket_id == ticket.id).options(selectinload(Run.agent)).order_by(Run.created_at.desc()).limit(50)
    runs = db.session.scalars(statement).all()
    return render_template(
        "tickets/show.html", ticket=ticket, runs=runs, proposals=inbox.of_ticket(ticket.id), statuses=TICKET_STATUSES, form=PlainForm()
    )


@bp.post("/<ticket_id>/status")
@access.deciders
def set_status(ticket_id: str) -> ResponseReturnValue:
    """Open, solve or close a ticket by hand."""
    ticket = _get(ticket_id)
    external_id, status = ticket.external_id, request.form.get("status", "")
    with transaction():
        moved = intake.set_status(external_id, status)
    jobs.ticket_moved(moved)
    flash(f"The ticket is {status} now.", "success")
    return redirect(url_for("tickets.show", ticket_id=ticket_id), code=303)


def _get(ticket_id: str) -> Ticket:
    """The ticket by our id or its source's; NotFound with a sentence."""
    wanted = (Ticket.id == ticket_id) | (Ticket.external_id == ticket_id)
    ticket = db.session.scalars(select(Ticket).where(wanted).options(selectinload(Ticket.messages))).first()
    if ticket is None:
        raise NotFound("There is no such ticket.")
    return ticket
