"""A tool that keeps failing is left alone for a while, and no tool gets more calls at once than it can take."""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from flask import Flask

from copilot import db as database
from copilot.db import transaction
from copilot.errors import Refused, Unavailable
from copilot.gate import tools
from copilot.gateway import adapters, asking, breaker, reads, slots, writes
from copilot.gateway.adapters import Failed, Succeeded, Unknown
from copilot.toolkit import Call, Tool, Toolbox, ToolError, ToolRefused
from tests.conftest import Clock
from tests.support import work
from tests.support.ledger import Ledger
from tests.support.people import People

LOST = Unknown("The connection broke.")


def note(result: adapters.Result, times: int = 1) -> None:
    for _ in range(times):
        with transaction():
            breaker.heard("pay_key", result, database.now())


def allowed() -> bool:
    with transaction():
        return breaker.allows("pay_key", database.now())


def standing() -> breaker.Standing:
    database.read_again()
    return breaker.standing(["pay_key"], database.now())["pay_key"]


@pytest.mark.both_databases
def test_five_failures_in_a_row_open_it_and_success_in_between_does_not(app: Flask) -> None:
    note(LOST, 4)
    note(Succeeded({}))
    note(Failed("The bank refused."), 9)  # a refusal is a healthy answer
    note(LOST, 2)
    note(Failed("It could not be asked.", technical=True), 2)
    assert allowed()
    assert standing() == breaker.Standing("closed", 4, None, "It could not be asked.")
    note(LOST)
    assert not allowed()
    assert standing().state == "open"
    assert breaker.standing(["pay_both"], database.now())["pay_both"] == breaker.Standing("closed")


@pytest.mark.both_databases
def test_after_a_pause_one_call_is_tried_and_the_pause_doubles_up_to_ten_minutes(app: Flask, clock: Clock) -> None:
    note(LOST, 5)
    for pause in (30, 60, 120, 240, 480, 600, 600):
        clock.advance(seconds=pause - 2)
        assert not allowed(), pause
        clock.advance(seconds=3)
        assert standing().state == "trying"
        assert [allowed() for _ in range(3)] == [True, False, False], pause
        note(LOST)
    clock.advance(seconds=601)
    assert allowed()
    note(Succeeded({}))
    assert standing() == breaker.Standing("closed")
    note(LOST, 4)
    assert allowed(), "all is forgotten"


@pytest.mark.both_databases
def test_a_straggler_that_fails_while_it_is_open_changes_nothing(app: Flask, clock: Clock) -> None:
    note(LOST, 5)
    before = standing()
    note(LOST, 7)
    assert standing() == before


@pytest.mark.both_databases
def test_a_trial_that_is_never_heard_of_again_is_not_the_last(app: Flask, clock: Clock) -> None:
    note(LOST, 5)
    clock.advance(seconds=31)
    assert allowed()
    clock.advance(seconds=breaker.TRIAL.total_seconds() + 1)
    assert allowed()


@pytest.mark.both_databases
def test_of_many_who_come_at_once_one_gets_the_trial(app: Flask, clock: Clock) -> None:
    note(LOST, 5)
    clock.advance(seconds=31)
    got: list[bool] = []

    def come() -> None:
        with app.app_context():
            got.append(allowed())

    threads = [threading.Thread(target=come) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(got) == [False] * 7 + [True]


# ---- reads

shaky = Toolbox("shaky")
answers: list[Exception | Any] = []
inside: list[int] = [0, 0]  # now, at most


@shaky.tool(effect="read", risk="low", timeout=5)
def ask_shaky() -> dict[str, Any]:
    """Read something that is often away."""
    given = answers.pop(0) if answers else {"fine": True}
    if isinstance(given, Exception):
        raise given
    return given  # type: ignore[no-any-return]


@shaky.tool(effect="read", risk="low", timeout=8, concurrency=2)
def ask_narrow() -> dict[str, Any]:
    """Read something that takes two at a time."""
    inside[0] += 1
    inside[1] = max(inside)
    time.sleep(0.2)
    inside[0] -= 1
    return {}


def call() -> Call:
    return Call(idempotency_key="read", deadline=datetime.now(UTC) + timedelta(seconds=5), agent="desk")


def ask(tool: Tool = shaky.tools["ask_shaky"]) -> Any:
    return asking.read(tool, {}, call())


@pytest.fixture
def calm() -> Iterator[None]:
    answers.clear()
    yield
    answers.clear()


@pytest.mark.both_databases
def test_a_read_that_keeps_failing_is_answered_at_once(app: Flask, clock: Clock, calm: None) -> None:
    answers.extend([ToolError("away"), ConnectionResetError(), ToolRefused("no such thing"), *[ToolError("away", happened=False)] * 5])
    for _ in range(2):
        with pytest.raises(Unavailable, match="could not answer"):
            ask()
    with pytest.raises(Refused, match="no such thing"):
        ask()
    for _ in range(5):
        with pytest.raises(Unavailable, match="could not answer"):
            ask()
    answers.append({"never": "asked"})
    with pytest.raises(Unavailable, match="left alone for the moment") as caught:
        ask()
    assert "_" not in str(caught.value)
    assert answers == [{"never": "asked"}]
    clock.advance(seconds=31)
    assert ask() == {"never": "asked"}
    assert ask() == {"fine": True}


def test_a_read_that_is_healthy_writes_nothing(app: Flask, monkeypatch: pytest.MonkeyPatch, calm: None) -> None:
    monkeypatch.setattr(breaker, "transaction", lambda: pytest.fail("a transaction was opened"))
    assert ask() == {"fine": True}


def test_an_answer_beyond_the_tools_own_limit_is_none(app: Flask, calm: None) -> None:
    answers.append({"text": "x" * 200})
    with pytest.raises(Unavailable, match="longer than 100 bytes"):
        ask(dataclasses.replace(shaky.tools["ask_shaky"], max_bytes=100))


def test_reads_of_one_process_share_its_slots(app: Flask) -> None:
    inside[:] = [0, 0]

    def come() -> None:
        with app.app_context():
            ask(shaky.tools["ask_narrow"])

    threads = [threading.Thread(target=come) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert inside == [0, 2]


def test_a_read_without_a_free_slot_says_so(app: Flask) -> None:
    tool = dataclasses.replace(shaky.tools["ask_shaky"], name="ask_stuck", concurrency=1, timeout=0.4)
    stuck, go = threading.Event(), threading.Event()

    def hold() -> None:
        stuck.set()
        go.wait(30)

    holder = threading.Thread(target=lambda: slots.held(tool, hold))
    holder.start()
    stuck.wait(30)
    with pytest.raises(Unavailable, match="busy"):
        ask(tool)
    go.set()
    holder.join(30)
    assert ask(tool) == {"fine": True}


# ---- writes


@pytest.fixture
def narrow(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    """`pay_key` takes two calls at a time."""
    known = dict(tools.current().by_name)
    known["pay_key"] = dataclasses.replace(known["pay_key"], concurrency=2)
    monkeypatch.setattr(tools, "_current", tools.Registry(known))


def claim(proposal_id: str) -> adapters.Claim | None:
    observed = reads.observe(proposal_id)
    assert observed is not None
    with transaction():
        given = writes.claim(proposal_id, observed)
    assert given is None or isinstance(given, adapters.Claim)
    return given


def approved(agent: str, people: People, number: int) -> list[str]:
    made = [work.propose(agent) for _ in range(number)]
    for each in made:
        work.approve(each, people.ana)
    return made


@pytest.mark.both_databases
def test_no_more_calls_start_than_a_tool_takes_at_once(
    narrow: None, app: Flask, agent: str, people: People, book: Ledger, clock: Clock
) -> None:
    waiting = approved(agent, people, 6)
    got: list[adapters.Claim | None] = []
    failed: list[BaseException] = []

    def come(each: str) -> None:
        try:
            with app.app_context():
                got.append(claim(each))
        except BaseException as error:  # noqa: BLE001 - shown below
            failed.append(error)

    threads = [threading.Thread(target=come, args=(each,)) for each in waiting]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(90)
    assert failed == []
    claims = [each for each in got if each is not None]
    assert len(claims) == 2
    assert sorted(work.state(each) for each in waiting) == ["APPROVED"] * 4 + ["EXECUTING"] * 2
    with transaction():
        writes.settle(claims[0], Succeeded({}))
    left = [each for each in waiting if work.state(each) == "APPROVED"]
    assert claim(left[0]) is not None
    assert claim(left[1]) is None, "it waits, approved, for the next free place"
    clock.advance(minutes=5)
    assert claim(left[1]) is not None, "a lapsed lease holds no place"


@pytest.mark.both_databases
def test_an_open_breaker_keeps_approved_writes_waiting(app: Flask, agent: str, people: People, book: Ledger, clock: Clock) -> None:
    waiting = approved(agent, people, 7)
    for each in waiting[:5]:
        claimed = claim(each)
        assert claimed is not None
        with transaction():
            writes.settle(claimed, LOST)
    assert claim(waiting[5]) is None
    assert work.state(waiting[5]) == "APPROVED"
    clock.advance(seconds=31)
    trial = claim(waiting[5])
    assert trial is not None
    assert claim(waiting[6]) is None
    with transaction():
        writes.settle(trial, Succeeded({}))
    assert claim(waiting[6]) is not None
