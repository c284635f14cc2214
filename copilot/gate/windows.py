"""Budget windows as they stand: what a call would find used, and lines about it for people."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo

from sqlalchemy import select

from copilot.db import db
from copilot.gate import budgets
from copilot.gate.budgets import BudgetRule, Charge
from copilot.models import Agent, Budget, Rate, Ticket
from copilot.toolkit import Money

FULLEST = 5  # windows shown of one rule

_SPANS = {60: "this minute", 3_600: "this hour", 86_400: "today", 604_800: "in these seven days"}
_NOBODY = {"all": "Everybody together", "team": "Agents without a team", "customer": "Actions about no customer", "tool": ""}
_HASHED = re.compile("#[0-9a-f]{64}")
_UNITS = ((86_400, "day"), (3_600, "hour"), (60, "minute"), (1, "second"))
_WHOSE = {
    "all": "", "agent": "for this agent", "tool": "for this action", "customer": "for this customer", "team": "for this team",
    "session": "in this session",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Line:
    """One window for people: `used` of `limit`, what is `left`, until when. Money is in `currency`, else calls are counted.

    `takes` is what the call in question would draw and `fits` whether it could. A measure has neither limit nor left;
    a rate and a window without end have no `ends_at`. `span` and `whose` are words that follow "left".
    """

    rule: str
    sentence: str
    used: int
    limit: int | None
    takes: int
    fits: bool
    waits: bool  # a rate: what does not fit now runs a little later
    currency: str | None
    span: str
    whose: str
    subject: str
    ends_at: datetime | None

    @property
    def left(self) -> int | None:
        """What is left of the limit, never below nothing; a limit may have been lowered under what was used."""
        return None if self.limit is None else max(0, self.limit - self.used)

    @property
    def words(self) -> str:
        """When and whose, for the end of a sentence."""
        return " ".join(part for part in (self.span, self.whose) if part)

    def money(self, amount: int) -> Money | None:
        """An amount of this line as money, or None where calls are counted."""
        return None if self.currency is None else Money(amount, self.currency)


def used(charges: Iterable[Charge]) -> list[tuple[Charge, int]]:
    """What each of these windows and rates holds at this moment, reserved or spent."""
    charges = list(charges)
    held = _held([charge.key for charge in charges if not charge.interval])
    rates = _rates([charge.key for charge in charges if charge.interval])
    return [(charge, _waiting(charge, rates.get(charge.key, 0)) if charge.interval else held.get(charge.key, 0)) for charge in charges]


def standing(rules: Iterable[BudgetRule], charges: Iterable[Charge]) -> list[Line]:
    """A line for every window and rate these charges draw on, in the rules' order."""
    found = {charge.rule: (charge, number) for charge, number in used(charges)}
    return [_line(rule, *found[rule.id]) for rule in rules if rule.id in found]


def fullest(rule: BudgetRule, *, now: datetime, timezone: tzinfo = UTC, most: int = FULLEST) -> list[Line]:
    """The windows of one rule that are open now, the fullest first; a rate's are those that something is still held against."""
    prefix, ends_at = budgets.open_keys(rule, now, timezone=timezone)
    if rule.rate:
        moment = int(now.timestamp() * 1_000_000)
        late = select(Rate.key, Rate.tat).where(Rate.rule == rule.id, Rate.key.startswith(prefix, autoescape=True), Rate.tat > moment)
        found = db.session.execute(late.order_by(Rate.tat.desc()).limit(most))
        rows = [(key, _ahead(tat, moment, rule.interval), ends_at) for key, tat in found]
    else:
        held = Budget.spent + Budget.reserved
        open_ = (Budget.rule == rule.id, Budget.key.startswith(prefix, autoescape=True), Budget.ends_at > now, held > 0)
        statement = select(Budget.key, held, Budget.ends_at).where(*open_).order_by(held.desc(), Budget.key).limit(most)
        rows = [(key, number, end) for key, number, end in db.session.execute(statement)]
    return [
        _line(rule, Charge(key, rule.id, 0, rule.limit, rule.currency, end, rule.sentence, rule.interval), number)
        for key, number, end in rows
    ]


def names(lines: Iterable[Line], rule: BudgetRule) -> dict[str, str]:
    """Words for whose windows these are, by subject."""
    subjects = {line.subject for line in lines}
    if rule.per in ("agent", "session"):  # a session is a run, or an agent's id, alone or before a ticket's
        ids = {part for subject in subjects for part in subject.split(":")}
        known = {row[0]: row[1] for row in db.session.execute(select(Agent.id, Agent.name).where(Agent.id.in_(ids)))}
        tickets = select(Ticket.id, Ticket.external_id).where(Ticket.id.in_(ids))
        known |= {row[0]: f"ticket {row[1]}" for row in db.session.execute(tickets)}
        return {subject: _joined(subject, known) for subject in subjects}
    return {
        subject: "One whose name is too long to keep" if _HASHED.fullmatch(subject) else subject or _NOBODY[rule.per]
        for subject in subjects
    }


def _joined(subject: str, known: Mapping[str, str]) -> str:
    if subject.startswith("run_"):
        return f"Run {subject}"
    return ", ".join(known.get(part, part) for part in subject.split(":"))


def spelled(seconds: int) -> str:
    """A number of seconds as people say it: an hour, 90 minutes, 7 days."""
    for size, unit in _UNITS:
        if seconds % size == 0:
            number = seconds // size
            article = "an" if unit == "hour" else "a"
            return f"{article} {unit}" if number == 1 else f"{number:,} {unit}s"
    return f"{seconds:,} seconds"


def _line(rule: BudgetRule, charge: Charge, number: int) -> Line:
    outside = not rule.seconds and charge.ends_at != budgets.NEVER  # a rule about whole sessions, outside of any
    return Line(
        rule=rule.id,
        sentence=rule.sentence,
        used=number,
        limit=None if rule.measure else charge.limit,
        takes=charge.amount,
        fits=rule.measure or charge.fits(number),
        waits=bool(rule.rate),
        currency=charge.currency,
        span="today" if outside else _span(rule),
        whose="for all this agent does without a ticket" if outside else _WHOSE[rule.per],
        subject=budgets.subject_of(charge.key),
        ends_at=None if rule.rate or charge.ends_at == budgets.NEVER else charge.ends_at,
    )


def _span(rule: BudgetRule) -> str:
    if rule.rate:
        return "at this moment"
    if not rule.seconds:
        return ""
    return _SPANS.get(rule.seconds, f"in these {spelled(rule.seconds)}" if rule.seconds % 60 == 0 else "in this window")


def _held(keys: list[str]) -> dict[str, int]:
    if not keys:
        return {}
    rows = db.session.execute(select(Budget.key, Budget.spent + Budget.reserved).where(Budget.key.in_(keys)))
    return {row[0]: row[1] for row in rows}


def _rates(keys: list[str]) -> dict[str, int]:
    if not keys:
        return {}
    return {row[0]: row[1] for row in db.session.execute(select(Rate.key, Rate.tat).where(Rate.key.in_(keys)))}


def _waiting(charge: Charge, tat: int) -> int:
    return _ahead(tat, charge.at, charge.interval)


def _ahead(tat: int, at: int, interval: int) -> int:
    """How many calls a rate still holds against the next one, part of one counted whole."""
    return max(0, -(-(tat - at) // interval))
