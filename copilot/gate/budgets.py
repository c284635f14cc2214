"""Budgets as rules: which windows a call draws on and how much; the counters live in the database.

Three kinds: a limit (money in one currency, or a count of calls) per window, a rate (a sliding limit without windows),
and a measure, which is counted for policies to speak about and never refuses by itself.
"""

from __future__ import annotations

import hashlib
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta, tzinfo
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

from copilot.errors import SetupError

ID = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")  # of a policy or budget: it goes into the audit log, which takes no text
PER = ("all", "agent", "tool", "customer", "team", "session")
UNLIMITED = 2**61  # what a measure may hold: twice it still fits the database's integers
NEVER = datetime(9999, 12, 31, tzinfo=UTC)  # when the one window of a whole session ends

_NEEDED = {"id", "tools", "per", "sentence"}
_FIELDS = _NEEDED | {"seconds", "effects", "day", "amount_minor", "currency", "count", "rate", "burst", "measure", "next"}
_EFFECTS = ("read", "write")
_CURRENCY = re.compile(r"[A-Z]{3}")
_DAY = 86_400
_MOST = 10**15  # of any number in a rule
_LONGEST_SUBJECT = 120  # characters of a key; a longer one stands there as its hash


@dataclass(frozen=True, slots=True)
class BudgetRule:
    """One rule about so much money or so many calls per subject.

    `limit` is what `used + amount` may reach at one moment: for a rate that is its burst, for a measure `UNLIMITED`.
    """

    id: str
    tools: tuple[str, ...]
    per: str
    seconds: int  # 0: one window for a whole session
    limit: int
    currency: str | None  # None: calls are counted
    sentence: str
    effects: tuple[str, ...] = ("write",)
    rate: int = 0  # calls in `seconds`; 0: not a rate
    measure: bool = False
    day: str = "utc"  # "local": windows are the days of the installation's time zone
    next_step: str = ""

    @property
    def interval(self) -> int:
        """Microseconds after which a rate lets one more call through; 0 for the other kinds."""
        return -(-self.seconds * 1_000_000 // self.rate) if self.rate else 0

    def concerns(self, tool: str, effect: str) -> bool:
        """Whether calls of this tool draw on it at all."""
        return effect in self.effects and (tool in self.tools or "*" in self.tools)


@dataclass(frozen=True, slots=True)
class Charge:
    """What one call draws on one window, or on a rate when `interval` is not 0. `at` is when, in microseconds since the epoch."""

    key: str
    rule: str
    amount: int
    limit: int
    currency: str | None
    ends_at: datetime
    sentence: str
    interval: int = 0
    at: int = 0

    def fits(self, used: int) -> bool:
        """Whether this call still has room when so much is used."""
        return used + self.amount <= self.limit


def load(directory: Path) -> tuple[BudgetRule, ...]:
    """Read `budgets.toml` of a policy directory, or nothing when it has none; SetupError says what is wrong."""
    file = directory / "budgets.toml"
    if not file.is_file():
        return ()
    try:
        text = file.read_text(encoding="utf-8")
    except UnicodeError as error:
        raise SetupError(f"{file}: {error}") from error
    return read(text, source=str(file))


def read(text: str, *, source: str = "budgets.toml") -> tuple[BudgetRule, ...]:
    """The rules of one TOML text; SetupError names the source, the budget and what is wrong with it."""
    try:
        whole = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise SetupError(f"{source}: {error}") from error
    entries = whole.get("budget", [])
    if set(whole) - {"budget"} or not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise SetupError(f"{source}: it holds [[budget]] tables and nothing else.")
    rules = tuple(_rule(source, entry) for entry in entries)
    if len({rule.id for rule in rules}) != len(rules):
        raise SetupError(f"{source}: two budgets have the same id.")
    return rules


def _rule(source: str, entry: dict[str, Any]) -> BudgetRule:
    name = str(entry.get("id", "?"))[:64]
    for problem, present in (_wrong_shape(entry) or _wrong_limit(entry)).items():
        if present:
            raise SetupError(f"{source}: budget {name}: {problem}.")
    rate, measure = int(entry.get("rate", 0)), bool(entry.get("measure", False))
    limit = UNLIMITED if measure else entry.get("amount_minor") or entry.get("count") or entry.get("burst", rate)
    return BudgetRule(
        id=entry["id"],
        tools=tuple(entry["tools"]),
        per=entry["per"],
        seconds=entry.get("seconds", 0),
        limit=limit,
        currency=entry.get("currency"),
        sentence=entry["sentence"],
        effects=tuple(entry.get("effects", ("write",))),
        rate=rate,
        measure=measure,
        day=entry.get("day", "utc"),
        next_step=entry.get("next", ""),
    )


def _wrong_shape(entry: Mapping[str, Any]) -> dict[str, bool]:
    """What is wrong with single fields, as a sentence about each; empty when the fields are what they should be."""
    numbers = [entry[key] for key in ("count", "amount_minor", "seconds", "rate", "burst") if key in entry]
    tools, effects = entry.get("tools"), entry.get("effects", ["write"])
    found = {
        f"unknown fields {sorted(set(entry) - _FIELDS)}": bool(set(entry) - _FIELDS),
        "needs id, tools, per and sentence": not set(entry) >= _NEEDED,
        "its id is lower-case letters, digits, dots and dashes, at most 64": not _text(entry.get("id"), ID),
        f"per is one of {', '.join(PER)}": entry.get("per") not in PER,
        "sentence and next are text that is not empty": not all(_text(entry.get(key, "x")) for key in ("sentence", "next")),
        f"limits and seconds are positive whole numbers up to {_MOST}": not all(
            isinstance(number, int) and not isinstance(number, bool) and 0 < number <= _MOST for number in numbers
        ),
        "tools is a list of names, or of *": not (isinstance(tools, list) and tools and all(_text(tool) for tool in tools)),
        "effects is a list of read, write or both": not (isinstance(effects, list) and effects and all(e in _EFFECTS for e in effects)),
        "currency is three capital letters": "currency" in entry and not _text(entry["currency"], _CURRENCY),
        "measure is true or left out": entry.get("measure", True) is not True,
        "day is utc or local": entry.get("day", "utc") not in ("utc", "local"),
    }
    return found if any(found.values()) else {}


def _wrong_limit(entry: Mapping[str, Any]) -> dict[str, bool]:
    """What is wrong with how the fields go together."""
    kinds = sum(key in entry for key in ("count", "amount_minor", "rate", "measure"))
    money = "currency" in entry
    return {
        "has exactly one of count, amount_minor, rate and measure": kinds != 1,
        "an amount needs its currency": "amount_minor" in entry and not money,
        "only an amount or a measure has a currency": money and not ("amount_minor" in entry or "measure" in entry),
        "only a rate has a burst": "burst" in entry and "rate" not in entry,
        "money is counted for writes only, because a read has no amount": money and "read" in entry.get("effects", ()),
        "needs seconds, which only a count, an amount or a measure per session may leave out": "seconds" not in entry
        and (entry["per"] != "session" or "rate" in entry),
        "a local day is a window of 86400 seconds": entry.get("day") == "local" and (entry.get("seconds") != _DAY or "rate" in entry),
    }


def _text(value: object, shape: re.Pattern[str] | None = None) -> bool:
    return isinstance(value, str) and bool(shape.fullmatch(value) if shape else value.strip())


def charges(
    rules: Iterable[BudgetRule],
    *,
    tool: str,
    agent_id: str,
    customer_id: str | None,
    amount_minor: int | None,
    currency: str | None,
    now: datetime,
    effect: str = "write",
    team: str | None = None,
    session: str | None = None,
    timezone: tzinfo = UTC,
) -> tuple[Charge, ...]:
    """What this call draws on each window and rate that applies, windows first and each sorted by key, so that writers never deadlock.

    Windows are aligned to the epoch in UTC: a day's window is the UTC day, or the day in `timezone` where the rule says
    local. Calls about no customer share one window, and so do agents without a team. A call without a session of its own
    (none, or just its agent's id) counts as its agent's, by the UTC day where the rule holds for a whole session. A
    money rule applies to calls in its own currency only, and money in either direction counts: a negative amount makes
    no room.
    """
    session = session or agent_id
    subjects = {"all": "", "agent": agent_id, "tool": tool, "customer": customer_id or "", "team": team or "", "session": session}
    found = []
    for rule in rules:
        if not rule.concerns(tool, effect):
            continue
        if rule.currency is not None and (amount_minor is None or currency != rule.currency):
            continue
        amount = 1 if rule.currency is None else abs(amount_minor or 0)
        start, ends_at = _today(now) if not rule.seconds and session == agent_id else _window(rule, now, timezone)
        moment = int(now.timestamp() * 1_000_000) if rule.rate else 0
        key = _prefix(rule, start) + _encoded(subjects[rule.per])
        found.append(Charge(key, rule.id, amount, rule.limit, rule.currency, ends_at, rule.sentence, rule.interval, moment))
    return tuple(sorted(found, key=lambda charge: (charge.interval > 0, charge.key)))


def _window(rule: BudgetRule, now: datetime, timezone: tzinfo) -> tuple[str, datetime]:
    """How the current window is called and when it ends; a rate has no window, so the end is when one call has been made up for."""
    if rule.rate:
        return "", now + timedelta(microseconds=rule.interval)
    if not rule.seconds:
        return "0", NEVER
    if rule.day == "local":
        today = now.astimezone(timezone).date()
        return today.isoformat(), datetime.combine(today + timedelta(days=1), time(), timezone).astimezone(UTC)
    start = int(now.timestamp()) // rule.seconds * rule.seconds
    return str(start), datetime.fromtimestamp(start, UTC) + timedelta(seconds=rule.seconds)


def _today(now: datetime) -> tuple[str, datetime]:
    """The window of a rule about whole sessions for what an agent does outside of any; as a session it would never end.

    Its name begins as that of a whole session, so that both are found together; a session's has no second colon.
    """
    day = now.astimezone(UTC).date()
    return f"0:{day.isoformat()}", datetime.combine(day + timedelta(days=1), time(), UTC)


def _prefix(rule: BudgetRule, start: str) -> str:
    """A key's part before the subject: all that gives the number its meaning.

    A rule that counts something else from now on does not go on from the old number.
    """
    if rule.rate:
        return f"{rule.id}:rate:{rule.per}:"
    return f"{rule.id}:{rule.currency or 'calls'}:{rule.per}:{rule.day if rule.day == 'local' else rule.seconds}:{start}:"


def _encoded(subject: str) -> str:
    """A subject as a key's last part: without a colon, and never another's, also when it is too long to stand there whole."""
    written = quote(subject, safe="", errors="surrogatepass")
    return written if len(written) <= _LONGEST_SUBJECT else f"#{hashlib.sha256(written.encode()).hexdigest()}"


def open_keys(rule: BudgetRule, now: datetime, *, timezone: tzinfo = UTC) -> tuple[str, datetime]:
    """What the keys of a rule's windows that are open now begin with, and when these windows end.

    For a rule about whole sessions, windows of days that are over begin so too; their own end says so.
    """
    start, ends_at = _window(rule, now, timezone)
    return _prefix(rule, start), ends_at


def subject_of(key: str) -> str:
    """Whose window a key is; empty where it is nobody's in particular, and a hash where the name was too long to keep."""
    return unquote(key.rpartition(":")[2], errors="replace")
