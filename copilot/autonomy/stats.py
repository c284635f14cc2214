"""Intervals people can trust: the Wilson score interval of a rate."""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt
from statistics import NormalDist


@dataclass(frozen=True, slots=True)
class Interval:
    """A rate's bounds, both in 0..1."""

    low: float
    high: float


def wilson(successes: int, n: int, *, confidence: float = 0.95) -> Interval:
    """The two-sided Wilson score interval of `successes` out of `n`. No data is no knowledge: 0 to 1.

    Wilson, E. B. (1927), Probable inference, the law of succession, and statistical inference.
    """
    if not 0 <= successes <= n:
        raise ValueError("successes lie between 0 and n")
    if not 0 < confidence < 1:
        raise ValueError("confidence lies strictly between 0 and 1")
    if n == 0:
        return Interval(0.0, 1.0)
    z = NormalDist().inv_cdf(0.5 + confidence / 2)
    rate = successes / n
    scale = 1 + z * z / n
    middle = (rate + z * z / (2 * n)) / scale
    half = z * sqrt(rate * (1 - rate) / n + z * z / (4 * n * n)) / scale
    return Interval(0.0 if successes == 0 else max(0.0, middle - half), 1.0 if successes == n else min(1.0, middle + half))


def clean_needed(successes: int, n: int, *, target: float, confidence: float = 0.95) -> int:
    """How many more successes in a row lift the lower bound to `target` (below 1); 0 when it is there already."""
    if not 0 < target < 1:
        raise ValueError("a target lies strictly between 0 and 1")
    low, high = 0, 1
    while wilson(successes + high, n + high, confidence=confidence).low < target:
        low, high = high, high * 2
    if wilson(successes, n, confidence=confidence).low >= target:
        return 0
    while high - low > 1:  # the bound rises with every further success, so halving finds the first that is enough
        middle = (low + high) // 2
        if wilson(successes + middle, n + middle, confidence=confidence).low < target:
            low = middle
        else:
            high = middle
    return high
