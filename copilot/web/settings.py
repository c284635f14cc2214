"""The kill switches, and the second-person rules an admin may switch off by name."""

from __future__ import annotations

from flask import Blueprint, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from sqlalchemy import select

from copilot.audit import notes
from copilot.db import db, transaction
from copilot.errors import BadInput
from copilot.gate import approvals, library, switches, tools
from copilot.models import Agent, Rule, User
from copilot.web import access, text
from copilot.web.forms import NoteForm, RuleForm, SwitchForm

bp = Blueprint("settings", __name__, url_prefix="/settings")

_LAST = 20
_DONE = {"switch.thrown": "Kill switch thrown", "switch.released": "Kill switch released"}


@bp.get("")
@access.managers
def index() -> ResponseReturnValue:
    """Switches and rules as they stand."""
    return _page()


@bp.post("/switches")
@access.managers
def throw() -> ResponseReturnValue:
    """Stop everything, one agent or one tool."""
    person, form = access.viewer(), SwitchForm()
    if not form.validate_on_submit():
        return _page(throwing=form, status=422)
    try:
        with transaction():
            switches.throw(form.scope.data, by=person.user, reason=form.note.data)
    except BadInput as error:
        form.scope.errors = [str(error)]
        return _page(throwing=form, status=422)
    flash("The kill switch is on. Nothing it covers starts any more, and review deadlines stand still.", "warning")
    return redirect(url_for("settings.index"), code=303)


@bp.post("/switches/release")
@access.managers
def release() -> ResponseReturnValue:
    """Let things start again."""
    person, form = access.viewer(), SwitchForm()
    if not form.validate_on_submit():
        return _page(releasing=form, status=422)
    with transaction():
        switches.release(form.scope.data, by=person.user, reason=form.note.data)
    flash("Released. Work goes on, and deadlines moved on by as long as it was on.", "success")
    return redirect(url_for("settings.index"), code=303)


@bp.post("/rules")
@access.admins
def rule() -> ResponseReturnValue:
    """Switch one second-person rule on or off."""
    person, form = access.viewer(), RuleForm()
    if not form.validate_on_submit():
        return _page(ruling=form, status=422)
    on = form.on.data == "yes"
    with transaction():
        switches.set_rule(form.name.data, on=on, by=person.user, reason=form.note.data)
    flash(f"The rule {form.name.data} is {'on' if on else 'off'} now.", "success" if on else "warning")
    return redirect(url_for("settings.index"), code=303)


def _page(*, status: int = 200, **forms: SwitchForm | RuleForm) -> ResponseReturnValue:
    thrown = switches.listed()
    changed = {row.name: row for row in db.session.scalars(select(Rule))}
    off = switches.rules_off()
    ids = {row.thrown_by for row in thrown} | {row.changed_by for row in changed.values()}
    scopes = _scopes(switches.agents())
    context = {
        "thrown": thrown,
        "rules": approvals.RULES,
        "holds": {name: name not in off for name in approvals.RULES},
        "changed": changed,
        "broken": library.problem(),
        "names": {row.id: row.name for row in db.session.execute(select(User.id, User.name).where(User.id.in_(ids)))},
        "scopes": {value: words for group in scopes.values() for value, words in group.items()},
        "groups": scopes,
        "people": {name: switches.people_for(name) for name in approvals.RULES},
        "deciding": approvals.DECIDING,
        "last": [(_told(said), said) for said in notes.latest(switches.CHANGES, limit=_LAST)],
        "chosen": request.form.get("scope", "") or request.form.get("name", ""),
        "throwing": forms.get("throwing") or SwitchForm(formdata=None),
        "releasing": forms.get("releasing"),
        "ruling": forms.get("ruling"),
        "empty": NoteForm(formdata=None),
    }
    return render_template("settings.html", **context), status


def _scopes(agents: list[Agent]) -> dict[str, dict[str, str]]:
    """What a switch can cover, in groups, with words for people."""
    known = tools.current().all()
    return {
        "": {"all": "Everything"},
        "One agent": {f"agent:{agent.id}": f"Agent {agent.name}" for agent in agents},
        "One action": {f"tool:{tool.name}": text.label(tool.name) for tool in known if tool.effect == "write"},
        "One look-up": {f"tool:{tool.name}": text.label(tool.name) for tool in known if tool.effect == "read"},
    }


def _told(said: notes.Said) -> str:
    """One change in words, without what it was about where that is a switch's scope."""
    if said.kind == "rule.changed":
        return f"Rule switched {'on' if said.event.get('on') else 'off'}"
    return _DONE[said.kind]
