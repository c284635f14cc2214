"""The grants: how much each agent may do alone with each tool, who said so, and on what evidence.

Raising to auto needs evidence; falling back needs one bad sign and nobody's leave. Every change is a history row and
an audit event.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any

from sqlalchemy import select, update
from sqlalchemy.dialects import postgresql, sqlite

from copilot.audit import log
from copilot.autonomy import evidence as record
from copilot.autonomy import ladder, slo
from copilot.db import db, new_id, now
from copilot.errors import BadInput, Conflict, NotEntitled, NotFound, Refused
from copilot.models import Agent, Grant, GrantChange, Proposal, Rule, User
from copilot.models import Change as Wish
from copilot.notify import outbox
from copilot.toolkit import Tool

DEFAULT = "suggest"
SETTABLE = ("off", "suggest", "auto")
FALLS_BACK = "Falls back to suggest by itself when an action fails, its outcome is unknown, or the gate refuses it at the last check."

SECOND_PERSON = "autonomy-second-person"  # off until an admin switches it on, so a row says that it holds

_LATER = {"shadow": "Shadow mode", "canary": "Canary mode"}
_ALONE = ("auto", "canary")
_MANAGING = frozenset({"manager", "admin"})
_LONGEST_REASON = 1_000
_WHY = {
    "failed": "an automatic action failed",
    "outcome-unknown": "nobody knows whether an action happened",
    "refused": "the gate refused an automatic action at the last check",
    "held": "an action's content did not match its approval",
    "no-longer-automatic": "the policies no longer let it run without a person",
}

_grants: Any = Grant.__table__
_changes: Any = GrantChange.__table__
_proposals: Any = Proposal.__table__

_tools: dict[str, Tool] = {}


def install(tools: Iterable[Tool]) -> None:
    """Make known which tools there are; without it no level can be set and the board is empty."""
    global _tools
    _tools = {tool.name: tool for tool in tools if tool.effect == "write"}


def actions() -> tuple[Tool, ...]:
    """Every action there is, by name."""
    return tuple(_tools[name] for name in sorted(_tools))


def level(agent_id: str, tool: str) -> str:
    """The level in force; `suggest` where nobody set one."""
    found = db.session.execute(select(_grants.c.level).where(_grants.c.agent_id == agent_id, _grants.c.tool == tool)).scalar_one_or_none()
    return DEFAULT if found is None else str(found)


def set_level(
    agent_id: str, tool: str, level: str, *, by: User, reason: str, percent: int = 100, ask: Callable[..., Wish] | None = None
) -> Wish | None:
    """Set a level on a manager's or admin's word; to auto only when the evidence clears the target.

    The agent's owner, who never approves what it drafts, never lets it run alone either. Refused (rule
    `autonomy-evidence`) says in words what is missing. Setting the level there is changes nothing.
    Where running alone needs a second person nothing changes yet: `ask` keeps the wish, which comes back.
    """
    if by.role not in _MANAGING or not by.active:
        raise NotEntitled("Only a manager or an admin changes how much runs alone.", rule="autonomy-manager")
    reason = _checked(level, reason=reason, percent=percent)
    before = _standing(agent_id, tool)
    if before == (level, percent):
        return None
    _no_owner(agent_id, level, by.id)
    if level in _ALONE and db.session.get(Rule, SECOND_PERSON) is not None:
        if ask is None:
            raise Refused("Letting this run alone needs a second person; ask for it on the actions board.", rule=SECOND_PERSON)
        _earned(agent_id, tool, level)
        wish = {"level": level, "percent": percent, "before": list(before)}
        return ask("level", f"{agent_id}:{tool}", wish, by=by, reason=reason)
    _change(agent_id, tool, level, percent=percent, by=by.id, reason=reason)
    return None


def apply_level(wish: Wish, *, by: User) -> None:
    """Set the level that a second person has confirmed, if the level is still what it was and the evidence still carries it."""
    agent_id, _, tool = wish.subject.partition(":")
    level, percent = wish.payload["level"], wish.payload["percent"]
    if by.role not in _MANAGING or not by.active or by.id == wish.asked_by:
        raise NotEntitled("Somebody else than who asked, a manager or an admin, confirms this.", rule=SECOND_PERSON)
    if list(_standing(agent_id, tool)) != wish.payload["before"]:
        raise Conflict("The level was changed since this was asked; refuse it and have it asked anew.")
    _no_owner(agent_id, level, wish.asked_by, by.id)
    _change(agent_id, tool, level, percent=percent, by=wish.asked_by, reason=wish.reason, confirmed_by=by.id)


def _no_owner(agent_id: str, level: str, *people: str) -> None:
    """Raise NotEntitled when one of these people owns the agent and the level lets it run alone."""
    if level in _ALONE and db.session.scalar(select(Agent.owner_id).where(Agent.id == agent_id)) in people:
        raise NotEntitled("The owner of an agent never lets it run alone; somebody else has to do that.", rule="owner-never-approves")


def _standing(agent_id: str, tool: str) -> tuple[str, int]:
    """The level and share in force, for an action and an agent that exist."""
    if tool not in _tools:
        raise NotFound(f"There is no action called {tool[:80]!r}.")
    if db.session.execute(select(Agent.id).where(Agent.id == agent_id)).first() is None:
        raise NotFound("There is no such agent.")
    grant = _find(agent_id, tool)
    return (DEFAULT, 100) if grant is None else (grant.level, grant.percent)


def _earned(agent_id: str, tool: str, level: str) -> dict[str, Any]:
    """The numbers a level would rest on today; Refused when they do not carry it."""
    grant = _find(agent_id, tool)
    measures = record.measure(agent_id, tool, at=now(), since=None if grant is None else grant.evidence_from)
    wanted = ladder.target(_tools[tool].risk)
    missing = ladder.shortfalls(measures, wanted) if level == "auto" else []
    if missing:
        raise Refused(f"Not yet: {'; '.join(missing)}.", rule="autonomy-evidence")
    return _figures(measures, wanted)


def _change(agent_id: str, tool: str, level: str, *, percent: int, by: str, reason: str, **more: Any) -> None:
    figures = _earned(agent_id, tool, level)
    grant, moment = _find(agent_id, tool), now()
    before = None if grant is None else grant.level
    _write(agent_id, tool, before=before, level=level, percent=percent, at=moment)
    _note(agent_id, tool, before=before or DEFAULT, after=level, by=by, reason=reason, evidence=figures | more, at=moment)


def fall_back(agent_id: str, tool: str, *, why: str, proposal_id: str | None = None) -> bool:
    """Take an action that runs alone back to suggest; False and nothing written when it does not run alone.

    `why` is a code. What was seen before counts no longer: the way back up starts from now.
    """
    moment = now()
    fallen = (
        update(_grants)
        .where(_grants.c.agent_id == agent_id, _grants.c.tool == tool, _grants.c.level.in_(_ALONE))
        .values(level=DEFAULT, percent=100, changed_at=moment, evidence_from=moment)
        .returning(_grants.c.agent_id)
    )
    if db.session.execute(fallen).first() is None:
        return False
    sentence = f"Back to suggest by itself: {_WHY.get(why, f'the gate said {why}')}."
    figures = {"why": why} | ({"proposal": proposal_id} if proposal_id else {})
    change = _note(agent_id, tool, before="auto", after=DEFAULT, by=None, reason=sentence, evidence=figures, at=moment)
    name = db.session.execute(select(Agent.name).where(Agent.id == agent_id)).scalar_one()
    fields = {"tool": tool, "agent": name, "code": why, "reason": sentence, "proposal_id": proposal_id}
    outbox.add("fall_back", subject=proposal_id or agent_id, dedupe=f"fall_back:{change}", fields=fields)
    return True


def recheck() -> int:
    """Fall back wherever an automatic action since the grant ended badly and nobody took the grant back; returns how many.

    The outcome's own transaction does it already. This is the second pair of eyes.
    """
    bad = {"FAILED": "failed", "OUTCOME_UNKNOWN": "outcome-unknown", "HELD": "held"}
    found = db.session.execute(
        select(_grants.c.agent_id, _grants.c.tool, _proposals.c.state, _proposals.c.id)
        .join(_proposals, (_proposals.c.agent_id == _grants.c.agent_id) & (_proposals.c.tool == _grants.c.tool))
        .where(_grants.c.level.in_(_ALONE), _proposals.c.automatic.is_(True), _proposals.c.created_at >= _grants.c.changed_at)
        .where(_proposals.c.state.in_(tuple(bad)))
        .limit(100)
    ).all()
    return sum(fall_back(row.agent_id, row.tool, why=bad[row.state], proposal_id=row.id) for row in found)


def evidence(agent_id: str, tool: str) -> dict[str, Any]:
    """What an automatic decision rests on: the grant in force, the change that gave it, and the numbers of that day.

    JSON values only; rates are in basis points (9011 is 90.11 %).
    """
    last = select(_changes).where(_changes.c.agent_id == agent_id, _changes.c.tool == tool)
    change = db.session.execute(last.order_by(_changes.c.created_at.desc(), _changes.c.id.desc()).limit(1)).first()
    if change is None:
        return {"level": level(agent_id, tool)}
    grant = {
        "level": level(agent_id, tool),
        "change": change.id,
        "granted_at": change.created_at.isoformat(),
        "granted_by": change.changed_by,
    }
    return grant | {"figures": change.evidence}


def _checked(level: str, *, reason: str, percent: int) -> str:
    if level in _LATER:
        raise Refused(f"{_LATER[level]} is not available yet; choose off, suggest or auto.", rule="autonomy-level")
    if level not in SETTABLE:
        raise BadInput("A level is off, suggest or auto.", problems={"level": "choose off, suggest or auto"})
    if percent != 100:
        raise BadInput(
            "A share below 100 percent belongs to canary mode, which is not available yet.", problems={"percent": "leave it at 100"}
        )
    reason = reason.strip()
    if not reason and level == "auto":
        raise BadInput("Say why this may run alone: the reason stays in the history.", problems={"reason": "write a sentence"})
    if len(reason) > _LONGEST_REASON or "\x00" in reason:
        raise BadInput("The reason is too long.", problems={"reason": f"at most {_LONGEST_REASON} characters"})
    return reason


def _find(agent_id: str, tool: str) -> Any:
    return db.session.execute(select(_grants).where(_grants.c.agent_id == agent_id, _grants.c.tool == tool)).first()


def _write(agent_id: str, tool: str, *, before: str | None, level: str, percent: int, at: datetime) -> None:
    """Write the grant if it is still what was judged; `before` None: there was no row."""
    values = {"level": level, "percent": percent, "changed_at": at}
    key = {"agent_id": agent_id, "tool": tool}
    statement: Any
    if before is None:
        insert = postgresql.insert if db.engine.dialect.name == "postgresql" else sqlite.insert
        statement = insert(_grants).values(**key, **values).on_conflict_do_nothing()
    else:
        statement = update(_grants).filter_by(**key, level=before).values(**values)
    if db.session.execute(statement.returning(_grants.c.tool)).first() is None:
        raise Conflict("The level was changed in the meantime; look again and decide anew.")


def _note(agent_id: str, tool: str, *, before: str, after: str, by: str | None, reason: str, evidence: dict[str, Any], at: datetime) -> str:
    """Append the history row and the audit event; returns the change's id."""
    change = GrantChange(
        id=new_id("gc"),
        agent_id=agent_id,
        tool=tool,
        before=before,
        after=after,
        changed_by=by,
        reason=reason,
        evidence=evidence,
        created_at=at,
    )
    db.session.add(change)
    db.session.flush()
    log.append("grant.changed", agent_id, at=at, change=change.id, tool=tool, before=before, after=after, by=by, **evidence)
    return change.id


def _figures(measures: slo.Measures, wanted: ladder.Target) -> dict[str, Any]:
    """The numbers a decision on a level rests on, as integers."""
    return {
        "count": measures.count,
        "approved_unchanged": measures.approved_unchanged,
        "edited": measures.edited,
        "rejected": measures.rejected,
        "failures": measures.failures,
        "unknowns": measures.unknowns,
        "lower_bound_bp": int(measures.interval.low * 10_000),
        "target_bp": round(wanted.lower_bound * 10_000),
    }
