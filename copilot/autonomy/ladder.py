"""What an action must have shown before it may run alone, and what is still missing, in words."""

from __future__ import annotations

from dataclasses import dataclass

from copilot.autonomy import stats
from copilot.autonomy.slo import Measures


@dataclass(frozen=True, slots=True)
class Target:
    """The lower bound of the approved-unchanged rate to clear, on at least `minimum` decisions by people."""

    lower_bound: float
    minimum: int


# The minimum is what a spotless record needs for the bound (Wilson, 95 %), so luck on a handful never suffices.
TARGETS = {"low": Target(0.90, 35), "medium": Target(0.93, 52), "high": Target(0.95, 73)}


def target(risk: str) -> Target:
    """The target for a tool of this risk; an unknown risk is a high one."""
    return TARGETS.get(risk, TARGETS["high"])


def shortfalls(measures: Measures, wanted: Target) -> list[str]:
    """What stands between this record and running alone; empty means clear. No data is never clear."""
    missing = []
    if measures.count < wanted.minimum or measures.interval.low < wanted.lower_bound:
        missing.append(_decisions(measures, wanted))
    if measures.unknowns:
        missing.append(f"needs every outcome known; {_many(measures.unknowns, 'outcome is', 'outcomes are')} unknown")
    if measures.failures:
        missing.append(f"needs no failure in the window; {_many(measures.failures, 'action', 'actions')} failed")
    return missing


def _decisions(measures: Measures, wanted: Target) -> str:
    share = f"{wanted.lower_bound * 100:g} %"
    if measures.approved_unchanged == measures.count:
        return f"needs {wanted.minimum} clean decisions in a row for {share}; has {measures.count}"
    more = stats.clean_needed(measures.approved_unchanged, measures.count, target=wanted.lower_bound)
    more = max(more, wanted.minimum - measures.count)
    bound = int(measures.interval.low * 1000) / 10  # cut, not rounded: 89.96 must not read as 90
    return (
        f"needs {more} more clean {'decision' if more == 1 else 'decisions'} in a row for {share}; "
        f"{measures.approved_unchanged} of {measures.count} were approved unchanged, a lower bound of {bound:g} %"
    )


def _many(number: int, one: str, more: str) -> str:
    return f"{number} {one if number == 1 else more}"
