"""What people's decisions say about one agent and one tool, as numbers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from math import ceil
from typing import Literal

from copilot.autonomy import stats

Verdict = Literal["approved", "edited", "rejected"]


@dataclass(frozen=True, slots=True)
class DecisionRecord:
    """What people finally made of one proposal. `seconds` is from proposing to that decision."""

    verdict: Verdict
    seconds: float
    at: datetime
    reason_codes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Measures:
    """The record in numbers. `interval` is the Wilson interval of the approved-unchanged rate; `p95_seconds` None: no data."""

    count: int
    approved_unchanged: int
    edited: int
    rejected: int
    streak: int
    interval: stats.Interval
    p95_seconds: float | None
    refusals: int
    failures: int
    unknowns: int
    reasons: tuple[tuple[str, int], ...]
    first_at: datetime | None
    last_at: datetime | None

    @property
    def rate(self) -> float | None:
        """The share approved unchanged; None without data."""
        return self.approved_unchanged / self.count if self.count else None


def measure(records: Iterable[DecisionRecord], *, refusals: int = 0, failures: int = 0, unknowns: int = 0) -> Measures:
    """Sum up one record per proposal; `streak` counts the newest approved unchanged in a row.

    Refusals (the gate said no), failures and unknown outcomes are counts of proposals in the same window.
    """
    ordered = sorted(records, key=lambda record: record.at)
    verdicts = Counter(record.verdict for record in ordered)
    reasons = Counter(code for record in ordered for code in record.reason_codes)
    return Measures(
        count=len(ordered),
        approved_unchanged=verdicts["approved"],
        edited=verdicts["edited"],
        rejected=verdicts["rejected"],
        streak=_streak(ordered),
        interval=stats.wilson(verdicts["approved"], len(ordered)),
        p95_seconds=_p95([record.seconds for record in ordered]),
        refusals=refusals,
        failures=failures,
        unknowns=unknowns,
        reasons=tuple(sorted(reasons.items(), key=lambda pair: (-pair[1], pair[0]))),
        first_at=ordered[0].at if ordered else None,
        last_at=ordered[-1].at if ordered else None,
    )


def _streak(ordered: list[DecisionRecord]) -> int:
    streak = 0
    for record in reversed(ordered):
        if record.verdict != "approved":
            break
        streak += 1
    return streak


def _p95(seconds: list[float]) -> float | None:
    """The nearest-rank 95th percentile."""
    return sorted(seconds)[ceil(0.95 * len(seconds)) - 1] if seconds else None
