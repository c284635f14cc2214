"""The numbers autonomy rests on: intervals as published, one record per proposal, shortfalls in words."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from copilot.autonomy import ladder, slo, stats
from copilot.autonomy.slo import DecisionRecord, Verdict

START = datetime(2026, 1, 1, tzinfo=UTC)


def records(*verdicts: Verdict) -> list[DecisionRecord]:
    return [DecisionRecord(verdict, float(number + 1), START + timedelta(minutes=number)) for number, verdict in enumerate(verdicts)]


@pytest.mark.parametrize(
    ("successes", "n", "low", "high"),
    [  # Newcombe, R. G. (1998), Two-sided confidence intervals for the single proportion, table I, method 3
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0000, 0.1611),
        (1, 29, 0.0061, 0.1718),
        (3, 3, 0.4385, 1.0000),
        (35, 35, 0.9011, 1.0000),
    ],
)
def test_wilson_gives_the_published_bounds(successes: int, n: int, low: float, high: float) -> None:
    found = stats.wilson(successes, n)
    assert (round(found.low, 4), round(found.high, 4)) == (low, high)


def test_no_data_is_no_knowledge() -> None:
    assert stats.wilson(0, 0) == stats.Interval(0.0, 1.0)


@given(st.integers(0, 600), st.integers(0, 600), st.sampled_from([0.8, 0.9, 0.95, 0.99]))
def test_wilson_holds_the_rate_and_mirrors(good: int, bad: int, confidence: float) -> None:
    n = good + bad
    found, mirrored = stats.wilson(good, n, confidence=confidence), stats.wilson(bad, n, confidence=confidence)
    assert 0 <= found.low <= found.high <= 1
    if n:
        assert found.low <= good / n <= found.high
    assert found.low == pytest.approx(1 - mirrored.high)


@given(st.integers(0, 300), st.integers(0, 40), st.sampled_from([0.9, 0.93, 0.95]))
def test_clean_needed_is_the_first_number_that_is_enough(good: int, bad: int, target: float) -> None:
    more = stats.clean_needed(good, good + bad, target=target)
    assert stats.wilson(good + more, good + bad + more).low >= target
    assert more == 0 or stats.wilson(good + more - 1, good + bad + more - 1).low < target


@pytest.mark.parametrize("call", [lambda: stats.wilson(2, 1), lambda: stats.wilson(-1, 1), lambda: stats.wilson(1, 1, confidence=1.0)])
def test_impossible_counts_are_refused(call: object) -> None:
    assert callable(call)
    with pytest.raises(ValueError, match="between"):
        call()
    with pytest.raises(ValueError, match="between"):
        stats.clean_needed(0, 0, target=1.0)


def test_measures_count_what_people_made_of_the_proposals() -> None:
    found = slo.measure(records("approved", "edited", "rejected", "approved", "approved"), refusals=2, failures=1, unknowns=3)
    assert (found.count, found.approved_unchanged, found.edited, found.rejected, found.streak) == (5, 3, 1, 1, 2)
    assert (found.refusals, found.failures, found.unknowns) == (2, 1, 3)
    assert found.rate == 0.6
    assert found.interval == stats.wilson(3, 5)
    assert (found.first_at, found.last_at) == (START, START + timedelta(minutes=4))


def test_measures_do_not_depend_on_the_order_they_come_in() -> None:
    given_records = records("approved", "edited", "approved", "rejected", "approved")
    assert slo.measure(reversed(given_records)) == slo.measure(given_records)


def test_p95_is_a_time_that_somebody_really_waited() -> None:
    assert slo.measure(records(*["approved"] * 100)).p95_seconds == 95.0
    assert slo.measure(records("approved")).p95_seconds == 1.0
    assert slo.measure([]).p95_seconds is None


def test_reasons_are_counted_most_frequent_first() -> None:
    codes = [("wrong-amount",), ("tone",), ("wrong-amount", "tone"), ("wrong-amount",)]
    found = slo.measure(DecisionRecord("edited", 1.0, START, code) for code in codes)
    assert found.reasons == (("wrong-amount", 3), ("tone", 2))


def test_no_data_is_never_clear() -> None:
    for risk in ("low", "medium", "high", "unheard of"):
        assert ladder.shortfalls(slo.measure([]), ladder.target(risk))
    assert slo.measure([]).rate is None


@pytest.mark.parametrize(("risk", "enough"), [("low", 35), ("medium", 52), ("high", 73)])
def test_a_spotless_record_is_clear_at_exactly_the_minimum(risk: str, enough: int) -> None:
    target = ladder.target(risk)
    assert target.minimum == enough == stats.clean_needed(0, 0, target=target.lower_bound)
    assert ladder.shortfalls(slo.measure(records(*["approved"] * enough)), target) == []
    assert ladder.shortfalls(slo.measure(records(*["approved"] * (enough - 1))), target)


def test_shortfalls_say_in_words_what_is_missing() -> None:
    low = ladder.target("low")
    assert ladder.shortfalls(slo.measure(records(*["approved"] * 21)), low) == ["needs 35 clean decisions in a row for 90 %; has 21"]
    spoiled = slo.measure(records("rejected", *["approved"] * 40))
    assert ladder.shortfalls(spoiled, low) == [
        "needs 12 more clean decisions in a row for 90 %; 40 of 41 were approved unchanged, a lower bound of 87.4 %"
    ]
    assert ladder.shortfalls(slo.measure(records("rejected", *["approved"] * 52)), low) == []


def test_one_failure_or_unknown_stands_in_the_way_of_the_best_record() -> None:
    found = ladder.shortfalls(slo.measure(records(*["approved"] * 100), failures=1, unknowns=2), ladder.target("low"))
    assert found == ["needs every outcome known; 2 outcomes are unknown", "needs no failure in the window; 1 action failed"]
    assert ladder.shortfalls(slo.measure(records(*["approved"] * 100), refusals=9), ladder.target("low")) == []
