"""What a replay reads and what it counts: recorded verdicts in, piles of flips and of unknowns out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime

_SAMPLES = 5


@dataclass(frozen=True, slots=True)
class Row:
    """One recorded verdict; `input` and `arguments` are JSON text, the arguments those of the proposal's version."""

    at: datetime
    stage: str
    kind: str
    rule: str
    count: int
    policy_hash: str
    proposal_id: str | None
    amount_minor: int | None
    currency: str | None
    input: str
    arguments: str | None


@dataclass(slots=True)
class Pile:
    """Verdicts of one kind: how many, what money they were about by currency, what decided, and a few to look at."""

    count: int = 0
    money: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    samples: list[str] = field(default_factory=list)

    def add(self, row: Row, reasons: Iterable[str]) -> None:
        """Put one more on it."""
        self.count += 1
        if row.amount_minor is not None and row.currency is not None:
            self.money[row.currency] += row.amount_minor
        self.reasons.update(reasons)
        if row.proposal_id is not None and len(self.samples) < _SAMPLES and row.proposal_id not in self.samples:
            self.samples.append(row.proposal_id)

    def merge(self, other: Pile) -> None:
        """Put another pile on it."""
        self.count += other.count
        self.money.update(other.money)
        self.reasons.update(other.reasons)
        self.samples = list(dict.fromkeys([*self.samples, *other.samples]))[:_SAMPLES]


@dataclass(slots=True)
class Tally:
    """How a replay went so far: verdicts by what they were about, flips by (about, before, after), unknowns by about."""

    verdicts: Counter[str] = field(default_factory=Counter)
    flips: dict[tuple[str, str, str], Pile] = field(default_factory=dict)
    unknown: dict[str, Pile] = field(default_factory=dict)

    def merge(self, other: Tally) -> None:
        """Add another part of the same replay."""
        self.verdicts.update(other.verdicts)
        for key, pile in other.flips.items():
            self.flips.setdefault(key, Pile()).merge(pile)
        for about, pile in other.unknown.items():
            self.unknown.setdefault(about, Pile()).merge(pile)
