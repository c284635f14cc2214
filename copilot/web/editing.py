"""Editing an action: a form made from its tool's schema, the difference beside it, and the gate's word on the result."""

from __future__ import annotations

import json
from typing import Any

from flask import Blueprint, render_template, request
from flask.typing import ResponseReturnValue

from copilot.db import read_again, transaction
from copilot.errors import BadInput, Conflict, NotEntitled, Refused, Unavailable
from copilot.gate import arcs, tools
from copilot.review import cards, decisions, edits, entitlement
from copilot.web import access, arguments, fields
from copilot.web.forms import EditForm
from copilot.web.problems import told
from copilot.web.proposals import card_page, done, refused

bp = Blueprint("editing", __name__, url_prefix="/proposals")


@bp.get("/<proposal_id>/edit")
@access.deciders
def form(proposal_id: str) -> ResponseReturnValue:
    """The form, filled with what would run now."""
    card = cards.card(proposal_id)
    if card.state != arcs.PENDING:
        return card_page(
            proposal_id, status=409, problem=("It can no longer be edited", "Somebody decided it, or it ended, in the meantime.")
        )
    return edit_page(card, EditForm(formdata=None, seen=card.digest), card.arguments)


@bp.post("/<proposal_id>/edit")
@access.deciders
def save(proposal_id: str) -> ResponseReturnValue:
    """Check, save, or save and approve. Whatever goes wrong, nothing typed is lost."""
    person, entered = access.viewer(), EditForm()
    card = cards.card(proposal_id)
    if card.state != arcs.PENDING or card.digest != entered.seen.data:
        return _moved_on(card, entered)
    every = fields.fields(_schema(card.tool))
    edited, problems = arguments.parse(every, request.form, card.arguments)
    if not problems and edited == card.arguments:
        problems = {"": "Nothing is changed yet. Change a value, or go back and approve it as it is."}
    reason_ok = entered.validate() or entered.step.data == "check"
    if problems or not reason_ok:
        return edit_page(card, entered, edited, problems=problems, status=422)
    read_again()
    try:
        edit = edits.prepare(proposal_id, edited)
    except (BadInput, Refused, Unavailable) as error:
        found = error.problems if isinstance(error, BadInput) else {}
        return edit_page(card, entered, edited, problems=found or {"": told(error)[1]}, status=error.status)
    if entered.step.data == "check":
        return edit_page(card, entered, edited, edit=edit)
    try:
        with transaction():
            decided = decisions.decide(
                proposal_id,
                reviewer=person.user,
                verdict="edit",
                seen=card.digest,
                reason=entered.as_reason(),
                edit=edit,
                approve=entered.step.data != "save",
            )
    except (BadInput, Refused) as error:
        return edit_page(card, entered, edited, problems={"": told(error)[1]}, status=error.status)
    except (Conflict, NotEntitled) as error:
        return refused(proposal_id, error)
    if decided.missing:
        return done(proposal_id, f"Saved as version {decided.version}. It waits for {decided.missing}.")
    return done(proposal_id, f"Saved as version {decided.version} and approved. It runs now.")


def _moved_on(card: cards.Card, entered: EditForm) -> ResponseReturnValue:
    """Somebody was faster: keep what was typed on screen where it can still be saved, else show the card."""
    if card.state != arcs.PENDING:
        return card_page(
            card.id, status=409, problem=("Someone was faster", "It was decided or ended while you edited, so your edit was not saved.")
        )
    every = fields.fields(_schema(card.tool))
    edited, _ = arguments.parse(every, request.form, card.arguments)
    sentence = "Somebody else edited it while you did. What you typed stands below beside the new version; compare and save again."
    return edit_page(card, entered, edited, problems={"": sentence}, status=409)


def _schema(tool: str) -> dict[str, Any]:
    found = tools.current().find(tool)
    if found is None:
        raise Conflict("No toolkit provides this tool any more, so it cannot be edited. Reject it, or have an engineer look.")
    return dict(found.parameters)


def edit_page(
    card: cards.Card,
    entered: EditForm,
    edited: dict[str, Any],
    *,
    problems: dict[str, str] | None = None,
    edit: edits.Edit | None = None,
    status: int = 200,
) -> ResponseReturnValue:
    """The edit page with everything that was typed, the difference so far, and a sentence at each problem."""
    every = fields.fields(_schema(card.tool))
    entered.seen.data = card.digest
    now = arguments.texts(every, card.arguments)
    typed = now | {name: value for name, value in request.form.items() if name.startswith("arg/")}
    known = {field.dotted for field in fields.leaves(every)}
    general = [sentence for path, sentence in (problems or {}).items() if not path or path not in known]
    context = {
        "card": card,
        "form": entered,
        "fields": every,
        "now": now,
        "typed": typed,
        "problems": problems or {},
        "general": general,
        "edited": json.loads(json.dumps(edited)),
        "edit": edit,
        "currency": arguments.currency,
        "bounds": arguments.bounds,
        "standing": entitlement.standing(cards.find(card.id), access.viewer().user),
    }
    return render_template("proposals/edit.html", **context), status
