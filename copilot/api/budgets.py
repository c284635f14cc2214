"""Budgets: what limits the caller's calls, and how much is left at this moment."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from flask import Response
from pydantic import BaseModel, ConfigDict

from copilot import config
from copilot.api import answers, edge
from copilot.api.edge import bp
from copilot.db import db, now
from copilot.gate import budgets, identity, library, tools, windows
from copilot.gate.budgets import BudgetRule
from copilot.models import Agent
from copilot.people.tokens import Principal


class WindowAnswer(BaseModel):
    """One window: `used`, reserved calls included, and `left` (null for a measure), until `ends_at` (null where it slides)."""

    model_config = ConfigDict(frozen=True)

    subject: str
    used: int
    left: int | None
    ends_at: datetime | None


class BudgetAnswer(BaseModel):
    """One rule. `limit` is minor units of `currency`, or calls where that is null; null for a measure, which refuses nothing.

    A rate lets `limit` calls through at once and then one more each `seconds` / `rate`. An agent is told of its own
    windows: those of one customer or session are known only when a call is judged. A person is told of the fullest.
    """

    model_config = ConfigDict(frozen=True)

    id: str
    sentence: str
    per: str
    tools: list[str]
    effects: list[str]
    seconds: int | None
    limit: int | None
    currency: str | None
    rate: int | None
    windows: list[WindowAnswer]


class BudgetsAnswer(BaseModel):
    """The rules in force that concern the caller, in their author's order."""

    model_config = ConfigDict(frozen=True)

    items: list[BudgetAnswer]


@bp.get("/budgets")
def list_budgets() -> Response:
    """What limits this agent's calls and how much is left; for a person every rule with its fullest windows."""
    known = edge.caller()
    rules = library.in_force().budget_rules
    if isinstance(known, Principal):
        own = ((rule, _covered(rule, known)) for rule in rules)
        items = [_budget(rule, _own(rule, known, names), names) for rule, names in own if names]
    else:
        items = [_budget(rule, _fullest(rule), rule.tools) for rule in rules]
    return answers.reply(BudgetsAnswer(items=items))


def _covered(rule: BudgetRule, caller: Principal) -> tuple[str, ...]:
    """The tools of this rule that the caller's token covers at all."""
    return tuple(
        tool.name
        for tool in tools.current().all()
        if rule.concerns(tool.name, tool.effect) and identity.allows_somewhere(caller.scopes, tool.name, tool.effect)
    )


def _own(rule: BudgetRule, caller: Principal, names: Iterable[str]) -> list[windows.Line]:
    """The caller's windows of one rule: those that do not hang on a customer or a session."""
    if rule.per in ("customer", "session"):
        return []
    agent = db.session.get_one(Agent, caller.agent_id)
    found = [
        budgets.charges(
            [rule], tool=name, effect=rule.effects[0], agent_id=agent.id, team=agent.team, customer_id=None,
            amount_minor=0, currency=rule.currency, now=now(), timezone=config.current().timezone,
        )
        for name in names
    ]  # fmt: skip
    different = {charge.key: charge for each in found for charge in each}
    return [line for charge in different.values() for line in windows.standing([rule], [charge])]


def _fullest(rule: BudgetRule) -> list[windows.Line]:
    return windows.fullest(rule, now=now(), timezone=config.current().timezone)


def _budget(rule: BudgetRule, lines: Iterable[windows.Line], names: Iterable[str]) -> BudgetAnswer:
    return BudgetAnswer(
        id=rule.id,
        sentence=rule.sentence,
        per=rule.per,
        tools=list(names),
        effects=list(rule.effects),
        seconds=rule.seconds or None,
        limit=None if rule.measure else rule.limit,
        currency=rule.currency,
        rate=rule.rate or None,
        windows=[WindowAnswer(subject=line.subject, used=line.used, left=line.left, ends_at=line.ends_at) for line in lines],
    )
