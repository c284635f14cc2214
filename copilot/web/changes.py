"""Changes that wait for a second person: who asked for what and why, and a second person's word."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from flask import Blueprint, current_app, flash, redirect, render_template, url_for
from flask.typing import ResponseReturnValue
from flask_wtf import FlaskForm
from sqlalchemy import select
from wtforms import HiddenField, TextAreaField
from wtforms.validators import AnyOf, Length

from copilot.autonomy import grants
from copilot.db import db, transaction
from copilot.errors import BadInput, Conflict, CopilotError, NotEntitled, Refused
from copilot.gate import approvals, changes, switches
from copilot.models import Agent, Change, User
from copilot.people import principals
from copilot.web import access, problems
from copilot.web.text import label

bp = Blueprint("changes", __name__, url_prefix="/changes")

lookers = access.roles("manager", "admin", "auditor")

_DONE = {
    "confirm": "Confirmed. It holds from now on.",
    "refuse": "Refused. Nothing was changed, and your note stands beside it.",
    "withdraw": "Withdrawn. Nothing was changed.",
}


class AnswerForm(FlaskForm):  # type: ignore[misc]  # flask_wtf ships no types
    """A second person's word, or the asker's withdrawal."""

    answer = HiddenField(validators=[AnyOf(tuple(_DONE))])
    note = TextAreaField("Note", [Length(max=2000)])


@dataclass(frozen=True, slots=True)
class Wish:
    """One change as the page shows it. `gains` and `loses` are what an agent would have more and less than when it was asked.

    `doubts` say which of the gains no installed tool answers to, and what was probably meant.
    """

    row: Change
    title: str
    now: str
    wished: str
    gains: tuple[str, ...]
    loses: tuple[str, ...]
    doubts: tuple[str, ...]
    why_not: str | None
    mine: bool
    entitled: int


@bp.app_template_global()
def there(endpoint: str) -> bool:
    """Whether this installation has such a page, for the navigation."""
    return endpoint in current_app.view_functions


@bp.get("")
@lookers
def index() -> ResponseReturnValue:
    """What waits, and what became of earlier changes."""
    return _page()


@bp.post("/<change_id>")
@access.managers
def answer(change_id: str) -> ResponseReturnValue:
    """Confirm, refuse or withdraw one change."""
    person, form = access.viewer(), AnswerForm()
    changes.get(change_id)
    if not form.validate_on_submit():
        return _page(about=change_id, form=form, problem=("Please check what you entered", "Choose what to do with it."), status=422)
    note = form.note.data or ""
    try:
        with transaction():
            by = db.session.get_one(User, person.user_id)
            if form.answer.data == "withdraw":
                changes.withdraw(change_id, by=by, note=note)
            else:
                changes.decide(change_id, by=by, apply=form.answer.data == "confirm", note=note, appliers=_appliers())
    except (BadInput, Refused, Conflict, NotEntitled) as error:
        return _page(about=change_id, form=form, problem=_whole(error), status=error.status)
    flash(_DONE[form.answer.data], "success" if form.answer.data == "confirm" else "warning")
    return redirect(url_for("changes.index"), code=303)


def _appliers() -> dict[str, changes.Applier]:
    """Who makes which confirmed change come true."""
    return {"scopes": principals.apply_scopes, "level": grants.apply_level}


def _whole(error: CopilotError) -> tuple[str, str]:
    """What happened, with a sentence for each field that the error names."""
    title, text = problems.told(error)
    fields = getattr(error, "problems", {})
    return title, " ".join([text, *(f"{label(name)}: {said}." for name, said in fields.items() if said not in text)])


def _page(
    *, about: str | None = None, form: AnswerForm | None = None, problem: tuple[str, str] | None = None, status: int = 200
) -> ResponseReturnValue:
    waiting, ended = changes.waiting(), changes.ended()
    rows = [*waiting, *ended]
    ids = {row.asked_by for row in rows} | {row.decided_by for row in rows if row.decided_by}
    agents = {row.subject.partition(":")[0] for row in rows}
    context: dict[str, Any] = {
        "waiting": [_wish(row, _names(Agent, agents)) for row in waiting],
        "ended": [_wish(row, _names(Agent, agents)) for row in ended],
        "names": _names(User, ids),
        "people": len(list(db.session.scalars(select(User.id).where(User.active, User.role.in_(sorted(access.MANAGERS)))))),
        "on": {name: switches.holds(name) for name in (approvals.SCOPES_SECOND_PERSON, approvals.AUTONOMY_SECOND_PERSON)},
        "states": changes.STATES,
        "about": about,
        "form": form,
        "problem": problem,
        "empty": AnswerForm(formdata=None),
    }
    return render_template("changes.html", **context), status


def _names(table: type[User | Agent], ids: set[str]) -> dict[str, str]:
    return {row.id: row.name for row in db.session.execute(select(table.id, table.name).where(table.id.in_(ids)))}


def _wish(row: Change, agents: dict[str, str]) -> Wish:
    """A stored change in words."""
    person = access.viewer()
    agent_id, _, tool = row.subject.partition(":")
    agent = agents.get(agent_id, "an agent that is gone")
    refused = changes.refusal(row, person.user)
    before, after = row.payload.get("before"), row.payload.get("scopes")
    gains: tuple[str, ...] = ()
    loses: tuple[str, ...] = ()
    doubts: tuple[str, ...] = ()
    if row.kind == "level":
        title = f"{label(tool)} by {agent}"
        now, wished = _level(before), _level([row.payload.get("level"), row.payload.get("percent")])
    else:
        title, now, wished = f"What {agent} may use", "", ""
        had, wants = set(before or ()), set(after or ())
        gains, loses = tuple(sorted(wants - had)), tuple(sorted(had - wants))
        doubts = tuple(principals.unknown(gains).values()) if row.state == "waiting" else ()
    return Wish(
        row, title, now, wished, gains, loses, doubts, None if refused is None else refused[1], row.asked_by == person.user_id,
        changes.entitled(row) if row.state == "waiting" else 0,
    )  # fmt: skip


def _level(standing: Any) -> str:
    level, percent = standing
    return str(level) if percent in (None, 100) else f"{level}, {percent} %"
