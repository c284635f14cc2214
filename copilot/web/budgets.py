"""Budgets: every limit, rate and measure in force, and how full its fullest windows are."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from flask import Blueprint, current_app, render_template, url_for
from flask.typing import ResponseReturnValue

from copilot import config
from copilot.gate import budgets, library, tools, windows
from copilot.gate.budgets import BudgetRule
from copilot.gate.windows import Line
from copilot.toolkit import Money
from copilot.web import filters, money, text

bp = Blueprint("budgets", __name__, url_prefix="/budgets")

_EACH = {
    "all": "for everybody together", "agent": "for each agent", "tool": "for each action", "customer": "for each customer",
    "team": "for each team of agents", "session": "in each session",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Shown:
    """One rule with what it says in words and its fullest windows."""

    rule: BudgetRule
    kind: str
    terms: str
    about: str
    reset: str
    ends_at: datetime | None
    lines: tuple[Line, ...]
    names: dict[str, str]


@bp.get("")
def index() -> ResponseReturnValue:
    """Every rule, how it stands, and when its windows begin anew."""
    shown = [_shown(rule) for rule in library.in_force().budget_rules]
    return render_template("budgets.html", shown=shown, policies=_policies())


def _shown(rule: BudgetRule) -> Shown:
    zone, now = config.current().timezone, filters.moment()
    lines = windows.fullest(rule, now=now, timezone=zone)
    names = windows.names(lines, rule)
    ends_at = None if rule.rate or not rule.seconds else budgets.open_keys(rule, now, timezone=zone)[1]
    if rule.per == "tool":
        names = {subject: text.label(subject) for subject in names}
    kind = "Measure" if rule.measure else "Rate" if rule.rate else "Limit"
    return Shown(rule, kind, _terms(rule), _about(rule), _reset(rule), ends_at, tuple(lines), names)


def _terms(rule: BudgetRule) -> str:
    """The rule's numbers in words, which its author's sentence may round."""
    every = _EACH[rule.per]
    if rule.rate:
        most = f", at most {rule.limit:,} at once" if rule.limit > 1 else ", one at a time"
        return f"{filters.exactly(rule.rate, 'call')} in {windows.spelled(rule.seconds)}{most}, {every}"
    within = "" if not rule.seconds else f" within {windows.spelled(rule.seconds)}"
    if rule.measure:
        return f"Counts {'money in ' + rule.currency if rule.currency else 'calls'}{within}, {every}; it refuses nothing by itself"
    most = money.show(Money(rule.limit, rule.currency)) if rule.currency else filters.exactly(rule.limit, "call")
    return f"{most}{within}, {every}"


def _about(rule: BudgetRule) -> str:
    """Which actions it is about, in words."""
    reads, writes = "read" in rule.effects, "write" in rule.effects
    every = "Everything" if reads and writes else "Every look-up" if reads else "Every action"
    if "*" in rule.tools:
        return every
    known = [text.label(name) for name in rule.tools if tools.current().find(name)]
    return ", ".join(known) or "Nothing that is installed here"


def _reset(rule: BudgetRule) -> str:
    """When there is room again, in words; empty where windows end at one moment for all."""
    if rule.rate:
        return f"One more call every {_pause(rule.interval)}"
    return "Ends with the session" if not rule.seconds else ""


def _pause(microseconds: int) -> str:
    seconds = microseconds / 1_000_000
    if seconds != round(seconds):
        return f"{seconds:.3g} seconds"
    return windows.spelled(round(seconds)).removeprefix("an ").removeprefix("a ")


def _policies() -> str | None:
    """The page of the policy versions these rules come from."""
    return url_for("policies.index") if "policies.index" in current_app.view_functions else None
