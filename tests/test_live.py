"""The event stream: it resumes, it is capped, it gives its places back, and it never gets in anybody's way."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Callable, Iterator

import pytest
from flask import Flask
from flask.testing import FlaskClient

from copilot import jobs
from copilot.errors import Unavailable
from copilot.live import events
from tests.support import browser, work
from tests.support.people import People


@pytest.fixture
def live(valkey: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The stream on a real server, impatient."""
    monkeypatch.setattr(events, "BEAT", 0.05)
    events.connect(valkey)
    yield
    events.connect(None)


_numbers = itertools.count()


def _open(last_id: str | None = None, *, holder: str = "", may_go_on: Callable[[], bool] = lambda: True) -> events.Stream:
    """A stream of a holder of its own, who may listen for ever."""
    return events.stream(last_id, holder=holder or f"holder {next(_numbers)}", may_go_on=may_go_on)


def _told(line: str) -> tuple[str, dict[str, object]]:
    found = re.fullmatch(r"id: (\S+)\ndata: (.*)\n\n", line)
    assert found, line
    return found[1], json.loads(found[2])


def test_a_page_hears_what_happens_after_it_opened(live: None) -> None:
    events.publish("proposal", "prop_before", state="PENDING")
    stream = _open()
    assert "event: hello" in next(stream)
    events.publish("proposal", "prop_a", state="APPROVED")
    assert _told(next(stream))[1] == {"kind": "proposal", "subject": "prop_a", "state": "APPROVED"}
    assert next(stream) == ": still here\n\n"
    stream.close()


def test_a_page_that_was_away_hears_what_it_missed(live: None) -> None:
    first = _open()
    next(first)
    for name in ("a", "b", "c"):
        events.publish("run", f"run_{name}")
    last_id, told = _told(next(first))
    assert told["subject"] == "run_a"
    first.close()
    again = _open(last_id)
    next(again)
    assert [_told(next(again))[1]["subject"] for _ in range(2)] == ["run_b", "run_c"]
    again.close()


@pytest.mark.parametrize("nonsense", ["", "$", "0", "1-1\nx", "-", "99999999999999999999999-1"])
def test_a_last_id_that_is_none_starts_now(live: None, nonsense: str) -> None:
    events.publish("run", "run_old")
    stream = _open(nonsense)
    next(stream)
    assert next(stream) == ": still here\n\n"
    stream.close()


def test_places_are_counted_and_given_back(live: None) -> None:
    opened = [_open() for _ in range(events.MOST_STREAMS)]
    with pytest.raises(Unavailable):
        _open()
    opened.pop().close()
    opened.append(_open())  # one never read from gives its place back as well
    for stream in opened:
        stream.close()
        stream.close()
    more = [_open() for _ in range(events.MOST_STREAMS)]
    del opened
    more.clear()
    last = [_open() for _ in range(events.MOST_STREAMS)]
    last.clear()


def test_one_session_cannot_take_every_place(live: None) -> None:
    opened = [_open(holder="ana") for _ in range(events.MOST_EACH)]
    with pytest.raises(Unavailable):
        _open(holder="ana")
    opened.append(_open(holder="bo"))
    opened.pop(0).close()
    opened.append(_open(holder="ana"))
    for stream in opened:
        stream.close()


def test_a_stream_ends_when_its_session_did(live: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "CHECK", 0.0)
    answers = iter([True, True, False])
    assert len(list(_open(may_go_on=lambda: next(answers)))) == 3, "the greeting and two beats"


def test_a_stream_asks_only_now_and_then(live: None) -> None:
    asked: list[bool] = []
    stream = _open(may_go_on=lambda: bool(asked.append(True)))  # type: ignore[func-returns-value]  # a no, if it were asked
    for _ in range(3):
        next(stream)
    stream.close()
    assert not asked


def test_a_stream_ends_by_itself(live: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "LONGEST", 0.0)
    assert len(list(_open())) == 1


def test_without_redis_nothing_breaks() -> None:
    events.connect("unix:///nowhere/at/all.sock")
    events.publish("run", "run_x")
    assert not events.reachable()
    with pytest.raises(Unavailable):
        _open()
    events.connect(None)
    events.publish("run", "run_x")
    with pytest.raises(Unavailable):
        _open()


def test_the_page_streams_only_to_people_and_says_when_it_is_full(
    app: Flask, client: FlaskClient, people: People, agent: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "BEAT", 0.05)
    monkeypatch.setattr(events, "CHECK", 0.0)
    assert client.get("/events").status_code == 401
    browser.sign_in(client, "cy@example.com")
    answer = client.get("/events")
    assert answer.mimetype == "text/event-stream"
    lines = answer.iter_encoded()
    assert b"hello" in next(lines)
    proposal = work.propose(agent)
    jobs.proposal_changed(proposal)
    assert proposal in next(lines).decode()
    browser.post(client, "/sign-out", {})
    assert list(lines) == [], "signing out ends what the session listened to"
    answer.close()
    browser.sign_in(client, "cy@example.com")
    opened = [_open() for _ in range(events.MOST_STREAMS)]
    full = client.get("/events")
    assert (full.status_code, full.headers["Retry-After"]) == (503, "30")
    for stream in opened:
        stream.close()
