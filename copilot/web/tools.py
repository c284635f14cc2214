"""The tools page: what every tool is and promises, how it is doing, and foreign definitions that wait for a person's word."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from flask import Blueprint, flash, redirect, render_template, url_for
from flask.typing import ResponseReturnValue
from flask_wtf import FlaskForm
from sqlalchemy import func, select
from wtforms import HiddenField
from wtforms.validators import Regexp

from copilot.db import db, transaction
from copilot.errors import BadInput, Conflict
from copilot.gate import tools
from copilot.gateway import breaker, limits, mcppins, mcptools, outlog
from copilot.models import Agent, Grant, ToolPin, User
from copilot.toolkit import Tool
from copilot.web import access, problems
from copilot.web.filters import moment

bp = Blueprint("tools", __name__, url_prefix="/tools")

lookers = access.roles("manager", "admin", "auditor")

_STATES = {"closed": ("Working", "good"), "open": ("Left alone", "alarm"), "trying": ("Being tried again", "wait")}
_LAST = 10


class AcceptForm(FlaskForm):  # type: ignore[misc]  # flask_wtf ships no types
    """An admin accepts the definition with this fingerprint and no other."""

    seen = HiddenField(validators=[Regexp(r"^[0-9a-f]{64}$")])


@dataclass(frozen=True, slots=True)
class Line:
    """One tool as the pages show it; `state` is words and tone, `waits` why it is suspended, `levels` how many agents stand where."""

    tool: Tool
    state: tuple[str, str]
    health: breaker.Standing
    waits: str | None
    promise: str
    levels: Mapping[str, int]


@bp.get("")
@lookers
def index() -> ResponseReturnValue:
    """Every tool on a line."""
    return render_template("tools/index.html", lines=_lines(tools.current().all()))


@bp.get("/<name>")
@lookers
def show(name: str) -> ResponseReturnValue:
    """One tool with its definition, its health and its last calls."""
    return _page(name)


@bp.post("/<name>/definition")
@access.admins
def accept(name: str) -> ResponseReturnValue:
    """Accept what a foreign server now says the tool is, exactly as it was shown."""
    person, form = access.viewer(), AcceptForm()
    tools.current().get(name)
    if not form.validate_on_submit():
        return _page(name, problem=("Nothing was accepted", "The page was too old. Look at the difference again."), status=422)
    try:
        with transaction():
            mcppins.accept(name, by=person.user, seen_hash=form.seen.data)
    except (BadInput, Conflict) as error:
        return _page(name, problem=problems.told(error), status=error.status)
    flash(
        "Accepted. Approvals given for the old definition no longer count. The tool works again once Copilot has been restarted.", "success"
    )
    return redirect(url_for("tools.show", name=name), code=303)


def _page(name: str, *, problem: tuple[str, str] | None = None, status: int = 200) -> ResponseReturnValue:
    (line,) = _lines([tools.current().get(name)])
    tool, pin = line.tool, db.session.get(ToolPin, name)
    purposes = [name, tool.source] if tool.source.startswith("mcp:") else [name]
    context = {
        "line": line,
        "problem": problem,
        "pin": pin,
        "before": _text(pin.definition) if pin else "",
        "after": _text(pin.seen) if pin and pin.seen_hash else "",
        "accepter": db.session.get(User, pin.accepted_by) if pin and pin.accepted_by else None,
        "form": AcceptForm(formdata=None),
        "definition": {"takes": tool.parameters, "returns": tool.returns},
        "most": min(tool.max_bytes or limits.RESULT_BYTES, limits.RESULT_BYTES),
        "calls": outlog.last(purposes, limit=_LAST) if tool.source != "python" else [],
    }
    return render_template("tools/show.html", **context), status


def _lines(known: list[Tool] | tuple[Tool, ...]) -> list[Line]:
    health = breaker.standing([tool.name for tool in known], moment())
    levels: dict[str, dict[str, int]] = {}
    counted = select(Grant.tool, Grant.level, func.count()).join(Agent, Agent.id == Grant.agent_id).where(Agent.enabled)
    for name, level, number in db.session.execute(counted.group_by(Grant.tool, Grant.level).order_by(Grant.level)):
        levels.setdefault(name, {})[level] = number
    return [
        Line(
            tool=tool,
            state=_STATES[health[tool.name].state],
            health=health[tool.name],
            waits=mcptools.suspended(tool.name),
            promise=_promise(tool),
            levels=levels.get(tool.name, {}),
        )
        for tool in known
    ]


def _promise(tool: Tool) -> str:
    """What the tool can say about a call whose end nobody knows, in a sentence."""
    if tool.effect == "read":
        return "Reads only, so it can be asked again."
    hours = (tool.key_lifetime or 0) / 3600
    key = f"Repeating a call under its key has no second effect for {hours:g} hours" if tool.honours_key else ""
    lookup = "it can be asked whether a call was done" if "lookup" in tool.idempotency else ""
    both = ", and ".join(part for part in (key, lookup) if part)
    return f"{both[0].upper()}{both[1:]}." if both else "Promises nothing about repeats, so a person finds out how an unclear call ended."


def _text(definition: Any) -> str:
    return json.dumps(definition, ensure_ascii=False, indent=2, sort_keys=True) if definition else ""
