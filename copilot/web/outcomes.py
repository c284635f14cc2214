"""The outcome desk: actions nobody knows the outcome of, and actions held back, until a person says."""

from __future__ import annotations

from flask import Blueprint, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from copilot import jobs
from copilot.db import transaction
from copilot.errors import BadInput, Conflict, NotEntitled
from copilot.gate import arcs
from copilot.review import cards, inbox, outcomes
from copilot.web import access, problems
from copilot.web.forms import NoteForm, OutcomeForm

bp = Blueprint("outcomes", __name__, url_prefix="/outcomes")

AT_ONCE = 50  # of each list on one page


@bp.get("")
def index() -> ResponseReturnValue:
    """Both lists, each with pages of its own, so that a bad day cannot make one of them endless."""
    return _page()


@bp.post("/<proposal_id>")
@access.deciders
def resolve(proposal_id: str) -> ResponseReturnValue:
    """Record what a person found out at the far end; it never runs anything."""
    person, form = access.viewer(), OutcomeForm()
    if not form.validate_on_submit():
        return _page(proposal_id, form, status=422)
    happened = form.happened.data == "yes"
    try:
        with transaction():
            resolved = outcomes.resolve(proposal_id, reviewer=person.user, happened=happened, note=form.note.data.strip())
    except (BadInput, Conflict, NotEntitled) as error:
        return _page(proposal_id, form, status=error.status, problem=problems.told(error))
    return _done(resolved)


@bp.post("/<proposal_id>/withdraw")
@access.deciders
def withdraw(proposal_id: str) -> ResponseReturnValue:
    """Withdraw a held action; two people have to say so."""
    person, form = access.viewer(), NoteForm()
    if not form.validate_on_submit():
        return _page(proposal_id, form, status=422)
    try:
        with transaction():
            resolved = outcomes.withdraw_held(proposal_id, reviewer=person.user, note=form.note.data.strip())
    except (BadInput, Conflict, NotEntitled) as error:
        return _page(proposal_id, form, status=error.status, problem=problems.told(error))
    return _done(resolved)


def _done(resolved: outcomes.Resolved) -> ResponseReturnValue:
    jobs.proposal_changed(resolved.proposal_id)
    flash(f"Noted. It needs {resolved.missing} to say the same." if resolved.missing else "Noted. It is off the desk.", "success")
    return redirect(url_for("outcomes.index"), code=303)


def _page(
    proposal_id: str | None = None, form: NoteForm | None = None, *, status: int = 200, problem: tuple[str, str] | None = None
) -> ResponseReturnValue:
    person = access.viewer()
    unknown = inbox.queue(person.user, state=arcs.OUTCOME_UNKNOWN, limit=AT_ONCE, cursor=request.args.get("cursor") or None)
    held = inbox.queue(person.user, state=arcs.HELD, limit=AT_ONCE, cursor=request.args.get("held") or None)
    whole = {item.id: cards.card(item.id) for item in (*unknown.items, *held.items)}
    forms = {item.id: OutcomeForm(formdata=None) for item in unknown.items} | {item.id: NoteForm(formdata=None) for item in held.items}
    if proposal_id in forms and form is not None and type(form) is type(forms[proposal_id]):
        forms[proposal_id] = form
    context = {"unknown": unknown, "held": held, "cards": whole, "forms": forms, "problem": problem, "about": proposal_id}
    return render_template("outcomes.html", **context), status
