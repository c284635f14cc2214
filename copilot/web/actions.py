"""The actions board: how much each agent may do alone with each tool, and what stands in the way of more."""

from __future__ import annotations

from flask import Blueprint, flash, redirect, render_template, url_for
from flask.typing import ResponseReturnValue

from copilot.autonomy import board, grants
from copilot.db import transaction
from copilot.errors import BadInput, Conflict, NotEntitled, NotFound, Refused
from copilot.gate import changes
from copilot.web import access, problems
from copilot.web.forms import LevelForm

bp = Blueprint("actions", __name__, url_prefix="/actions")


@bp.get("")
def index() -> ResponseReturnValue:
    """A card for every agent and action."""
    return _board()


@bp.post("/<agent_id>/<tool>/level")
@access.managers
def level(agent_id: str, tool: str) -> ResponseReturnValue:
    """Set one level; raising it to auto is refused, in words, until the numbers are there."""
    person, form = access.viewer(), LevelForm()
    if not form.validate_on_submit():
        return _board(about=(agent_id, tool), form=form, status=422)
    try:
        with transaction():
            wish = grants.set_level(agent_id, tool, form.level.data, by=person.user, reason=form.note.data.strip(), ask=changes.ask)
            waiting = None if wish is None else wish.id
    except (BadInput, NotEntitled, Refused, Conflict) as error:
        return _board(about=(agent_id, tool), form=form, problem=problems.told(error), status=error.status)
    if waiting is not None:
        flash("Asked. It is done when a second person confirms it; until then the level stays as it is.", "warning")
        return redirect(url_for("changes.index", _anchor=waiting), code=303)
    flash(f"{tool} is at level {form.level.data} now.", "success")
    return redirect(url_for("actions.index", _anchor=f"{agent_id}-{tool}"), code=303)


def _board(
    *, about: tuple[str, str] | None = None, form: LevelForm | None = None, problem: tuple[str, str] | None = None, status: int = 200
) -> ResponseReturnValue:
    cards = board.cards()
    if about is not None and about not in {(card.agent_id, card.tool) for card in cards}:
        raise NotFound("There is no such action on the board.")
    return render_template("actions.html", cards=cards, about=about, problem=problem, form=form, empty=LevelForm(formdata=None)), status
