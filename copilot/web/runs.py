"""One run as a timeline, and the runs that ended in a person's hands."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from flask import Blueprint, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from sqlalchemy import select
from sqlalchemy.orm import selectinload

from copilot import jobs
from copilot.agents import intake, runs
from copilot.db import db, transaction
from copilot.errors import Conflict, NotFound
from copilot.models import Decision, Proposal, Run, Step, Ticket
from copilot.review import inbox
from copilot.web import access
from copilot.web.forms import PlainForm
from copilot.web.paging import keyset

bp = Blueprint("runs", __name__)


@dataclass(frozen=True, slots=True)
class Event:
    """One entry of the timeline: a step of the run, a decision by a person, or an attempt at the effect."""

    at: datetime
    kind: str  # prompt, model, read, proposal, outcome, note, decision, execution
    row: Any
    proposal: Proposal | None = None


@bp.get("/runs/<run_id>")
def show(run_id: str) -> ResponseReturnValue:
    """Everything one run did, in order, up to the effect."""
    statement = select(Run).where(Run.id == run_id).options(selectinload(Run.steps), selectinload(Run.agent), selectinload(Run.ticket))
    run = db.session.scalars(statement).one_or_none()
    if run is None:
        raise NotFound("There is no such run.")
    return render_template("runs/show.html", run=run, events=_timeline(run), form=PlainForm())


@bp.get("/escalations")
def escalations() -> ResponseReturnValue:
    """What needs a person: runs whose agent stopped and said why, and tickets that no agent works on."""
    statement = inbox.needing_people().options(selectinload(Run.agent), selectinload(Run.ticket))
    page = keyset(statement, Run.created_at, Run.id, cursor=request.args.get("cursor"), limit=25)
    return render_template("runs/escalations.html", page=page, form=PlainForm(), unattended=unattended())


def unattended(limit: int = 50) -> Sequence[Ticket]:
    """Open tickets that no agent ever took up, such as those that came while none was drafting; the longest waiting first."""
    statement = (
        select(Ticket)
        .where(Ticket.status.in_(("open", "pending")), ~select(Run.id).where(Run.ticket_id == Ticket.id).exists())
        .order_by(Ticket.created_at, Ticket.id)
        .limit(limit)
    )
    return db.session.scalars(statement).all()


@bp.post("/runs/<run_id>/again")
@access.deciders
def again(run_id: str) -> ResponseReturnValue:
    """Give the ticket to the same agent once more; the person who asks may then not approve what comes of it."""
    person, old = access.viewer(), _ended(run_id)
    ticket_id, agent_id = old.ticket_id, old.agent_id
    with transaction():
        queued = runs.queue(ticket_id, agent_id, requester_id=person.user_id)
    jobs.run_queued(queued)
    flash("The agent tries again now.", "success")
    return redirect(url_for("runs.show", run_id=queued), code=303)


@bp.post("/runs/<run_id>/solved")
@access.deciders
def solved(run_id: str) -> ResponseReturnValue:
    """Close the matter: somebody took care of the ticket by hand."""
    external_id = _ended(run_id).ticket.external_id
    with transaction():
        moved = intake.set_status(external_id, "solved")
    jobs.ticket_moved(moved)
    flash("The ticket is solved and off the list.", "success")
    return redirect(url_for("runs.escalations"), code=303)


def _ended(run_id: str) -> Run:
    run = db.session.get(Run, run_id)
    if run is None:
        raise NotFound("There is no such run.")
    if run.ended_at is None:
        raise Conflict("This run is still under way.")
    return run


def _timeline(run: Run) -> list[Event]:
    statement = (
        select(Proposal)
        .where(Proposal.run_id == run.id)
        .options(
            selectinload(Proposal.decisions).selectinload(Decision.reviewer),
            selectinload(Proposal.executions),
            selectinload(Proposal.versions),
        )
    )
    proposals = {proposal.id: proposal for proposal in db.session.scalars(statement)}
    events = [Event(step.created_at, step.kind, step, proposals.get(step.proposal_id or "")) for step in run.steps]
    for proposal in proposals.values():
        events += [Event(decision.created_at, "decision", decision, proposal) for decision in proposal.decisions]
        events += [Event(execution.started_at, "execution", execution, proposal) for execution in proposal.executions]
    return sorted(events, key=_order)


def _order(event: Event) -> tuple[datetime, int]:
    return event.at, event.row.number if isinstance(event.row, Step) else 10_000
