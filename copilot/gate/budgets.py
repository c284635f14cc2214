"""Budgets as rules: which windows a call draws on and how much; the counters live in the database."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from copilot.errors import SetupError

ID = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")  # of a policy or budget: it goes into the audit log, which takes no text

_PER = ("all", "agent", "customer", "tool")
_FIELDS = {"id", "tools", "per", "seconds", "amount_minor", "currency", "count", "sentence"}


@dataclass(frozen=True, slots=True)
class BudgetRule:
    """One limit: so much money or so many calls per subject in each window of `seconds`, for these tools."""

    id: str
    tools: tuple[str, ...]
    per: str
    seconds: int
    limit: int
    currency: str | None  # None: a count of calls
    sentence: str


@dataclass(frozen=True, slots=True)
class Charge:
    """What one call draws on one window."""

    key: str
    rule: str
    amount: int
    limit: int
    currency: str | None
    ends_at: datetime
    sentence: str


def load(directory: Path) -> tuple[BudgetRule, ...]:
    """Read `budgets.toml` of a policy directory, or nothing when it has none; SetupError says what is wrong."""
    file = directory / "budgets.toml"
    if not file.is_file():
        return ()
    try:
        entries = tomllib.loads(file.read_text(encoding="utf-8")).get("budget", [])
    except (tomllib.TOMLDecodeError, UnicodeError) as error:
        raise SetupError(f"{file}: {error}") from error
    rules = tuple(_rule(file, entry) for entry in entries)
    if len({rule.id for rule in rules}) != len(rules):
        raise SetupError(f"{file}: two budgets have the same id.")
    return rules


def _rule(file: Path, entry: dict[str, Any]) -> BudgetRule:
    name = entry.get("id", "?")
    by_count, by_amount = "count" in entry, "amount_minor" in entry
    problems = {
        f"unknown fields {sorted(set(entry) - _FIELDS)}": bool(set(entry) - _FIELDS),
        "needs id, tools, per, seconds and sentence": not {"id", "tools", "per", "seconds", "sentence"} <= set(entry),
        "its id is lower-case letters, digits, dots and dashes, at most 64": not ID.fullmatch(str(name)),
        f"per is one of {', '.join(_PER)}": entry.get("per") not in _PER,
        "has either count, or amount_minor with currency": by_count == by_amount or by_amount != ("currency" in entry),
        "limits and seconds are positive whole numbers": not all(
            isinstance(entry.get(key, 1), int) and entry.get(key, 1) > 0 for key in ("count", "amount_minor", "seconds")
        ),
        "tools is a list of names": not isinstance(entry.get("tools"), list),
    }
    for problem, present in problems.items():
        if present:
            raise SetupError(f"{file}: budget {name}: {problem}.")
    limit = entry["amount_minor"] if by_amount else entry["count"]
    return BudgetRule(entry["id"], tuple(entry["tools"]), entry["per"], entry["seconds"], limit, entry.get("currency"), entry["sentence"])


def charges(
    rules: Iterable[BudgetRule],
    *,
    tool: str,
    agent_id: str,
    customer_id: str | None,
    amount_minor: int | None,
    currency: str | None,
    now: datetime,
) -> tuple[Charge, ...]:
    """What this call draws on each window that applies, sorted by key so that writers never deadlock.

    Windows are aligned to the epoch in UTC: a day's window is the UTC day. A rule per customer does not apply to
    a call without one; a money rule applies to calls in its own currency only.
    """
    found = []
    for rule in rules:
        if tool not in rule.tools and "*" not in rule.tools:
            continue
        subject = {"all": "all", "agent": agent_id, "customer": customer_id, "tool": tool}[rule.per]
        if subject is None or (rule.currency is not None and (amount_minor is None or currency != rule.currency)):
            continue
        start = int(now.timestamp()) // rule.seconds * rule.seconds
        amount = 1 if rule.currency is None else (amount_minor or 0)
        ends_at = datetime.fromtimestamp(start, UTC) + timedelta(seconds=rule.seconds)
        found.append(Charge(f"{rule.id}:{subject}:{start}", rule.id, amount, rule.limit, rule.currency, ends_at, rule.sentence))
    return tuple(sorted(found, key=lambda charge: charge.key))
