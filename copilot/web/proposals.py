"""The decision card: one proposal, whole, and what a person may do with it."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, flash, redirect, render_template, url_for
from flask.typing import ResponseReturnValue

from copilot import jobs
from copilot.db import transaction
from copilot.errors import BadInput, Conflict, CopilotError, NotEntitled, Refused
from copilot.gate import facts, tools
from copilot.review import cards, decisions, entitlement, inbox
from copilot.web import access, problems
from copilot.web.forms import ApproveForm, NoteForm, RejectForm

bp = Blueprint("proposals", __name__, url_prefix="/proposals")

_EXPECTED = (Conflict, NotEntitled, Refused, BadInput)


@bp.get("/<proposal_id>")
def card(proposal_id: str) -> ResponseReturnValue:
    """The card as it stands now."""
    return card_page(proposal_id)


@bp.get("/<proposal_id>/status")
def status(proposal_id: str) -> ResponseReturnValue:
    """The part of the card that moves by itself, for the page's script."""
    shown = cards.card(proposal_id)
    return render_template("proposals/_status.html", card=shown, next_id=inbox.after(access.viewer().user, done=proposal_id))


@bp.get("/<proposal_id>/row")
def row(proposal_id: str) -> ResponseReturnValue:
    """The state of one queue line, for the page's script."""
    proposal = cards.find(proposal_id)
    return render_template("proposals/_row_state.html", proposal=proposal)


@bp.post("/<proposal_id>/approve")
@access.deciders
def approve(proposal_id: str) -> ResponseReturnValue:
    """Approve exactly what was on screen."""
    person, form = access.viewer(), ApproveForm()
    if not form.validate_on_submit():
        return card_page(
            proposal_id, status=422, problem=("Nothing was approved", "The form did not say what you saw. Look again and approve.")
        )
    jobs.refresh(proposal_id)  # whoever approves has read what the customer wrote last
    try:
        with transaction():
            decided = decisions.decide(proposal_id, reviewer=person.user, verdict="approve", seen=form.seen.data)
    except _EXPECTED as error:
        return refused(proposal_id, error)
    return done(proposal_id, f"Your approval counts. It waits for {decided.missing}." if decided.missing else "Approved. It runs now.")


@bp.post("/<proposal_id>/reject")
@access.deciders
def reject(proposal_id: str) -> ResponseReturnValue:
    """Reject what was on screen, with a reason the agent hears."""
    person, form = access.viewer(), RejectForm()
    if not form.validate_on_submit():
        return card_page(proposal_id, status=422, reject=form)
    try:
        with transaction():
            decisions.decide(proposal_id, reviewer=person.user, verdict="reject", seen=form.seen.data, reason=form.as_reason())
    except _EXPECTED as error:
        return refused(proposal_id, error, reject=form)
    return done(proposal_id, "Rejected. The agent is told why.")


@bp.post("/<proposal_id>/withdraw")
@access.deciders
def withdraw(proposal_id: str) -> ResponseReturnValue:
    """Take it back without judging it."""
    person, form = access.viewer(), NoteForm()
    if not form.validate_on_submit():
        return card_page(proposal_id, status=422, withdraw=form)
    try:
        with transaction():
            decisions.withdraw(proposal_id, by_user=person.user, note=form.note.data.strip())
    except _EXPECTED as error:
        return refused(proposal_id, error)
    return done(proposal_id, "Withdrawn. It will not run.")


def done(proposal_id: str, said: str) -> ResponseReturnValue:
    """Ring the doorbell, say what happened and show the card, which from then on moves by itself."""
    jobs.proposal_changed(proposal_id)
    flash(said, "success")
    return redirect(url_for("proposals.card", proposal_id=proposal_id), code=303)


def refused(proposal_id: str, error: CopilotError, **forms: Any) -> ResponseReturnValue:
    """Nothing was written: show the card as it stands now, with a sentence on top that says so."""
    return card_page(proposal_id, status=error.status, problem=problems.told(error), **forms)


def card_page(proposal_id: str, *, status: int = 200, problem: tuple[str, str] | None = None, **forms: Any) -> ResponseReturnValue:
    """The whole card page."""
    person = access.viewer()
    shown = cards.card(proposal_id)
    rejecting = forms.get("reject") or RejectForm(formdata=None)
    rejecting.seen.data = shown.digest  # always that of what this page shows
    tool, standing = tools.current().find(shown.tool), entitlement.standing(cards.find(proposal_id), person.user)
    context = {
        "card": shown,
        "tool": tool,
        "standing": standing,
        # Saying no needs no tool: what can never run any more must not wait for its deadline.
        "may_refuse": standing.may_decide
        or (tool is None and entitlement.person_refusal(facts.snapshot(proposal_id), person.user) is None),
        "problem": problem,
        "approve": ApproveForm(formdata=None, seen=shown.digest),
        "reject": rejecting,
        "open": next(iter(forms), None),
        "withdraw": forms.get("withdraw") or NoteForm(formdata=None),
        "next_id": inbox.after(person.user, done=proposal_id),
    }
    return render_template("proposals/card.html", **context), status
