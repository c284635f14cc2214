"""Kill switches and the second-person rules an admin may switch off by name; every change is audited, with who and why.

`by` is the person who does it; None stands for the command line, which already owns the installation.
"""

from __future__ import annotations

import re
from typing import Any

from sqlalchemy import ColumnElement, delete, literal, select

from copilot import db as database
from copilot.audit import notes
from copilot.db import db
from copilot.errors import BadInput, NotEntitled
from copilot.gate import approvals, arcs, turnstile
from copilot.models import Agent, Proposal, Rule, Switch, User

CHANGES = ("switch.thrown", "switch.released", "rule.changed")  # what the log calls them

_SCOPE = re.compile(r"all|agent:[a-z0-9_]{1,64}|tool:[a-z0-9_]{1,64}")


def thrown() -> frozenset[str]:
    """The scopes whose kill switch is on."""
    return frozenset(db.session.scalars(select(Switch.scope)))


def none_thrown(agent_id: Any, tool: Any) -> ColumnElement[bool]:
    """The same as a condition on values or columns, for the very statement that gives the right to call."""
    covering = (literal("all"), literal("agent:") + agent_id, literal("tool:") + tool)
    return ~select(Switch.scope).where(Switch.scope.in_(covering)).exists()


def listed() -> list[Switch]:
    """Every switch that is on, newest first."""
    return list(db.session.scalars(select(Switch).order_by(Switch.thrown_at.desc())))


def throw(scope: str, *, by: User | None, reason: str) -> None:
    """Stop everything, one agent or one tool: no call is claimed after this commits. Idempotent."""
    _manager(by)
    if not _SCOPE.fullmatch(scope):
        raise BadInput("A kill switch covers all, agent:<id> or tool:<name>.", problems={"scope": "is none of these"})
    reason = _reason(reason)
    turnstile.bar()
    if db.session.get(Switch, scope) is None:
        at = database.now()
        db.session.add(Switch(scope=scope, thrown_by=by.id if by else None, reason=reason, thrown_at=at))
        notes.append("switch.thrown", scope, why=reason, by=by, at=at)


def release(scope: str, *, by: User | None, reason: str) -> None:
    """Let things start again. Idempotent.

    Review deadlines move on by as long as the clock stood still; what another switch still covers waits for that one.
    An approval grows old meanwhile: after a long stop people look again before anything runs.
    """
    _manager(by)
    reason = _reason(reason)
    switch = db.session.get(Switch, scope, with_for_update=True)
    if switch is None:
        return
    now, since = database.now(), switch.thrown_at
    db.session.execute(delete(Switch).where(Switch.scope == scope))
    stopped = select(Proposal).where(Proposal.state == arcs.PENDING, none_thrown(Proposal.agent_id, Proposal.tool))
    kind, _, name = scope.partition(":")
    if kind == "agent":
        stopped = stopped.where(Proposal.agent_id == name)
    elif kind == "tool":
        stopped = stopped.where(Proposal.tool == name)
    for proposal in db.session.scalars(stopped):
        proposal.deadline_at += now - max(since, proposal.created_at)
    notes.append("switch.released", scope, why=reason, by=by, at=now, seconds=int((now - since).total_seconds()))


def rules_off() -> frozenset[str]:
    """Names of the second-person rules that do not hold now: a row says that a rule differs from its default."""
    return approvals.DEFAULT_OFF ^ frozenset(db.session.scalars(select(Rule.name)))


def holds(name: str) -> bool:
    """Whether this second-person rule holds now."""
    return name not in rules_off()


def set_rule(name: str, *, on: bool, by: User, reason: str) -> None:
    """Switch a second-person rule on or off by name; admins only. Idempotent."""
    if by.role != "admin" or not by.active:
        raise NotEntitled("Only an admin may change a second-person rule.", rule="admin-only")
    if name not in approvals.RULES:
        raise BadInput(f"There is no rule called {name[:60]!r}.", problems={"name": "is no rule"})
    reason = _reason(reason)
    present, at = db.session.get(Rule, name), database.now()
    differs = on == (name in approvals.DEFAULT_OFF)
    if present is not None and not differs:
        db.session.delete(present)
    elif present is None and differs:
        db.session.add(Rule(name=name, changed_by=by.id, reason=reason, changed_at=at))
    else:
        return
    notes.append("rule.changed", name, why=reason, by=by, at=at, on=on)


def people_for(rule: str) -> int:
    """How many active people this second-person rule can count on; with fewer than two it cannot be met."""
    return len(db.session.scalars(select(User.id).where(User.active, User.role.in_(approvals.PEOPLE[rule]))).all())


def agents() -> list[Agent]:
    """Agents by name, for choosing a switch's scope."""
    return list(db.session.scalars(select(Agent).order_by(Agent.name)))


def _manager(by: User | None) -> None:
    if by is not None and (by.role not in ("manager", "admin") or not by.active):
        raise NotEntitled("Only a manager or an admin may use the kill switch.", rule="manager-only")


def _reason(reason: str) -> str:
    reason = reason.strip()
    if not reason:
        raise BadInput("Say why; it stands in the record.", problems={"reason": "is required"})
    return reason[:2000]
