"""The actions board: a card for each agent and action with all that a manager decides by."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import select

from copilot.autonomy import evidence as record
from copilot.autonomy import grants, ladder, slo
from copilot.db import db, now
from copilot.models import Agent, Grant, GrantChange, User
from copilot.toolkit import Tool

_grants: Any = Grant.__table__


@dataclass(frozen=True, slots=True)
class Change:
    """One line of a grant's history; `by` is a person's name, None the system."""

    before: str
    after: str
    by: str | None
    reason: str
    at: datetime


@dataclass(frozen=True, slots=True)
class ActionCard:
    """One agent × action on the board, with all that a manager decides by."""

    agent_id: str
    agent: str
    tool: str
    description: str
    risk: str
    reversible: bool
    level: str
    percent: int
    measures: slo.Measures
    target: ladder.Target
    shortfalls: tuple[str, ...]
    evidence_from: datetime | None
    history: tuple[Change, ...]
    settable: tuple[str, ...] = grants.SETTABLE
    falls_back: str = grants.FALLS_BACK

    @property
    def clear(self) -> bool:
        """Whether the evidence is enough for auto."""
        return not self.shortfalls


def cards() -> list[ActionCard]:
    """A card for each enabled agent and each action in its scope, by agent and tool."""
    moment = now()
    agents = db.session.execute(select(Agent.id, Agent.name, Agent.scopes).where(Agent.enabled.is_(True)).order_by(Agent.name)).all()
    given = {(row.agent_id, row.tool): row for row in db.session.execute(select(_grants))}
    return [
        _card(agent.id, agent.name, tool, given.get((agent.id, tool.name)), at=moment)
        for agent in agents
        for tool in grants.actions()
        if any(scope.partition(";")[0] == f"{tool.name}:write" for scope in agent.scopes)
    ]


def _card(agent_id: str, name: str, tool: Tool, grant: Any, *, at: datetime) -> ActionCard:
    since = None if grant is None else grant.evidence_from
    measures = record.measure(agent_id, tool.name, at=at, since=since)
    wanted = ladder.target(tool.risk)
    return ActionCard(
        agent_id=agent_id,
        agent=name,
        tool=tool.name,
        description=tool.description,
        risk=tool.risk,
        reversible=tool.reversible,
        level=grants.DEFAULT if grant is None else grant.level,
        percent=100 if grant is None else grant.percent,
        measures=measures,
        target=wanted,
        shortfalls=tuple(ladder.shortfalls(measures, wanted)),
        evidence_from=since,
        history=history(agent_id, tool.name, limit=5),
    )


def history(agent_id: str, tool: str, *, limit: int = 50) -> tuple[Change, ...]:
    """The newest changes of one grant, newest first."""
    rows = db.session.execute(
        select(GrantChange.before, GrantChange.after, GrantChange.reason, GrantChange.created_at, User.name)
        .outerjoin(User, User.id == GrantChange.changed_by)
        .where(GrantChange.agent_id == agent_id, GrantChange.tool == tool)
        .order_by(GrantChange.created_at.desc(), GrantChange.id.desc())
        .limit(limit)
    )
    return tuple(Change(row.before, row.after, row.name, row.reason, row.created_at) for row in rows)
