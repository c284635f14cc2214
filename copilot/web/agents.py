"""Agents as principals: who they are, what they may use and what of it they use, their credentials, and narrowing them."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from typing import Any

from flask import Blueprint, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from sqlalchemy import select
from wtforms.fields.choices import SelectChoice

from copilot.audit import notes
from copilot.autonomy import grants
from copilot.db import db, transaction
from copilot.errors import BadInput, Conflict, CopilotError
from copilot.gate import approvals, identity, switches, tools
from copilot.models import Agent, Change, Grant
from copilot.people import accounts, principals, privileges
from copilot.review import inbox
from copilot.web import access, problems
from copilot.web.agentforms import AgentForm, NarrowForm, RotateForm, ScopesForm
from copilot.web.forms import NoteForm, PlainForm

bp = Blueprint("agents", __name__, url_prefix="/agents")

lookers = access.roles("manager", "admin", "auditor")

_PERIODS = (7, 30, 90, 365)
_LAST = 10
_DONE = {
    "agent.added": "Added",
    "agent.scopes": "What it may use was changed",
    "agent.rotated": "Given a new secret",
    "agent.disabled": "Disabled",
    "agent.enabled": "Enabled",
}


@bp.get("")
@lookers
def index() -> ResponseReturnValue:
    """Every agent with its owner, team, scopes and levels, and when it last asked for something."""
    agents = principals.listed()
    levels: dict[str, Counter[str]] = {agent.id: Counter(dict(_levels(agent)).values()) for agent in agents}
    waiting = set(db.session.scalars(select(Change.subject).where(Change.kind == "scopes", Change.state == "waiting")))
    return render_template("agents/index.html", agents=agents, levels=levels, last=privileges.last_used(), waiting=waiting)


@bp.get("/new")
@access.admins
def new() -> ResponseReturnValue:
    """An empty form."""
    return _new(_agent_form(filled=False))


@bp.post("/new")
@access.admins
def create() -> ResponseReturnValue:
    """Add an agent and show its secret, once."""
    person, form = access.viewer(), _agent_form(filled=True)
    if not form.validate_on_submit() or not form.known(form.scopes.data.split()):
        return _new(form, status=422)
    try:
        with transaction():
            secret = principals.add(
                form.name.data.strip(), form.scopes.data.split(), form.owner.data, form.drafts.data,
                team=form.team.data, reason=form.note.data, by=person.user,
            )  # fmt: skip
    except (BadInput, Conflict) as error:
        _on_fields(form, error, otherwise="name")
        return _new(form, status=error.status)
    return _secret(principals.find(form.name.data.strip()), secret)


@bp.get("/<agent_id>")
@lookers
def show(agent_id: str) -> ResponseReturnValue:
    """One agent: scopes, credentials, levels, the least-privilege review, and what it proposed lately."""
    return _page(principals.find(agent_id))


@bp.post("/<agent_id>/scopes")
@access.admins
def scopes(agent_id: str) -> ResponseReturnValue:
    """Replace its scopes: less holds at once, more waits for a second person where that is the rule."""
    form = ScopesForm()
    agent = principals.find(agent_id)
    wished = (form.scopes.data or "").split()
    if not form.validate_on_submit() or not form.known(scope for scope in wished if scope not in agent.scopes):
        return _page(agent, changing=form, status=422)
    return _set(agent, wished, reason=form.note.data, seen=form.seen.data.split(), form=form)


@bp.post("/<agent_id>/narrow")
@access.admins
def narrow(agent_id: str) -> ResponseReturnValue:
    """Leave it with the fewer scopes that the review showed; never with more."""
    form = NarrowForm()
    agent = principals.find(agent_id)
    if not form.validate_on_submit():
        return _page(agent, problem=("That cannot be done", "Open the review again and choose what to narrow."), status=422)
    seen, after = form.seen.data.split(), form.after.data.split()
    if identity.widened(seen, after):
        raise BadInput("Narrowing never gives more than there was; change what it may use instead.", problems={"after": "is wider"})
    return _set(agent, after, reason="Least-privilege review: granted, but not used or wider than used.", seen=seen)


@bp.post("/<agent_id>/rotate")
@access.admins
def rotate(agent_id: str) -> ResponseReturnValue:
    """Give it a new secret and show it, once."""
    person, form = access.viewer(), RotateForm()
    agent = principals.find(agent_id)
    if not form.validate_on_submit():
        return _page(agent, rotating=form, status=422)
    try:
        with transaction():
            overlap = timedelta(hours=int(form.overlap.data))
            secret = principals.rotate(agent_id, by=person.user, overlap=overlap, seen=form.seen.data, reason=form.note.data)
    except Conflict as error:
        return _page(principals.find(agent_id), problem=problems.told(error), status=error.status)
    return _secret(principals.find(agent_id), secret)


@bp.post("/<agent_id>/disable")
@access.admins
def disable(agent_id: str) -> ResponseReturnValue:
    """Shut it out at once."""
    person, form = access.viewer(), NoteForm()
    if not form.validate_on_submit():
        return _page(principals.find(agent_id), shutting=form, status=422)
    with transaction():
        principals.disable(agent_id, by=person.user, reason=form.note.data)
    flash("It is shut out: no token, no read and no approved action of it passes any more.", "warning")
    return redirect(url_for("agents.show", agent_id=agent_id), code=303)


@bp.post("/<agent_id>/enable")
@access.admins
def enable(agent_id: str) -> ResponseReturnValue:
    """Let it in again."""
    person, form = access.viewer(), NoteForm()
    if not form.validate_on_submit():
        return _page(principals.find(agent_id), shutting=form, status=422)
    try:
        with transaction():
            principals.enable(agent_id, by=person.user, reason=form.note.data)
    except Conflict as error:
        return _page(principals.find(agent_id), problem=problems.told(error), status=error.status)
    flash("It may sign in again. Tokens from before stay ended.", "success")
    return redirect(url_for("agents.show", agent_id=agent_id), code=303)


def _set(agent: Agent, wished: list[str], *, reason: str, seen: list[str], form: ScopesForm | None = None) -> ResponseReturnValue:
    person, agent_id = access.viewer(), agent.id
    try:
        with transaction():
            change = principals.set_scopes(agent_id, wished, by=person.user, reason=reason, seen=seen)
            waits = change is not None
    except (BadInput, Conflict) as error:
        if form is not None and isinstance(error, BadInput):
            _on_fields(form, error, otherwise="scopes")
            return _page(principals.find(agent_id), changing=form, status=error.status)
        return _page(principals.find(agent_id), problem=problems.told(error), status=error.status)
    if waits:
        flash("This gives the agent more than it has, so it waits until a second person confirms it under Changes.", "warning")
    else:
        flash("Done. It holds from the next request and the next action on.", "success")
    return redirect(url_for("agents.show", agent_id=agent_id), code=303)


def _agent_form(*, filled: bool) -> AgentForm:
    form = AgentForm() if filled else AgentForm(formdata=None)
    form.owner.choices = [SelectChoice(user.email, f"{user.name} ({user.email})") for user in accounts.listed() if user.active]
    return form


def _new(form: AgentForm, *, status: int = 200) -> ResponseReturnValue:
    waits = switches.holds(approvals.SCOPES_SECOND_PERSON)
    return render_template("agents/new.html", form=form, waits=waits, known=_known()), status


def _secret(agent: Agent, secret: str) -> ResponseReturnValue:
    """The one page that shows a secret. It is the answer to the form itself: nothing keeps it, and no address leads back to it."""
    return render_template(
        "agents/secret.html", agent=agent, secret=secret, overlapping=principals.overlapping(agent), waiting=_waiting(agent)
    )


def _page(agent: Agent, *, problem: tuple[str, str] | None = None, status: int = 200, **forms: NoteForm) -> ResponseReturnValue:
    asked = request.args.get("days", "")
    days = int(asked) if asked.isdecimal() and int(asked) in _PERIODS else privileges.DAYS
    held = " ".join(agent.scopes)
    context: dict[str, Any] = {
        "agent": agent,
        "levels": _levels(agent),
        "review": privileges.review(agent, days=days),
        "periods": _PERIODS,
        "recent": inbox.queue(None, state=None, agent=agent.id, limit=10).items,
        "overlapping": principals.overlapping(agent),
        "last": privileges.last_used().get(agent.id),
        "waiting": _waiting(agent),
        "waits": switches.holds(approvals.SCOPES_SECOND_PERSON),
        "last_changes": [(_DONE[said.kind], said) for said in notes.latest(principals.CHANGES, subject=agent.id, limit=_LAST)],
        "changing": "changing" in forms,
        "change": forms.get("changing") or ScopesForm(formdata=None, scopes="\n".join(agent.scopes), seen=held),
        "rotating": forms.get("rotating") or RotateForm(formdata=None, seen=principals.mark(agent)),
        "shutting": forms.get("shutting") or NoteForm(formdata=None),
        "held": held,
        "empty": PlainForm(formdata=None),
        "known": _known(),
        "problem": problem,
    }
    return render_template("agents/show.html", **context), status


def _levels(agent: Agent) -> list[tuple[str, str]]:
    """Each writing tool within its scopes with its level."""
    given = {row.tool: row.level for row in db.session.scalars(select(Grant).where(Grant.agent_id == agent.id))}
    names = [tool.name for tool in tools.current().all() if tool.effect == "write"]
    return [(name, given.get(name, grants.DEFAULT)) for name in names if identity.allows_somewhere(agent.scopes, name, "write")]


def _waiting(agent: Agent) -> Change | None:
    wish = select(Change).where(Change.kind == "scopes", Change.subject == agent.id, Change.state == "waiting")
    return db.session.scalar(wish)


def _known() -> list[str]:
    """The scopes there are, for whoever types some."""
    return ["*:read", *(f"{tool.name}:{tool.effect}" for tool in tools.current().all()), f"{principals.SOURCE}:write"]


def _on_fields(form: Any, error: CopilotError, *, otherwise: str) -> None:
    """Put what is wrong beside the fields it is about."""
    problems = getattr(error, "problems", {}) or {otherwise: str(error)}
    for name in problems:
        field = form._fields.get({"reason": "note"}.get(name, name), form._fields[otherwise])
        field.errors = [*field.errors, str(error)]
