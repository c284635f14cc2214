"""The model as a stranger on the network: whatever it does, there is an answer that can be used, or a reason why not."""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Iterator
from typing import Any

import pytest

from copilot import config
from copilot.agents import llm
from tests import fake_model
from tests.fake_model import FakeModel

KEY = "sk-test-0123456789abcdefghij"
ASKED = [{"role": "user", "content": "a very private sentence"}]


@pytest.fixture
def model(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeModel]:
    with fake_model.running() as model:
        environ = {"OPENAI_BASE_URL": model.url, "OPENAI_API_KEY": KEY, "COPILOT_MODEL": "scripted", "COPILOT_DATA_DIR": str(tmp_path)}
        config.install(config.load(environ))
        monkeypatch.setattr(llm, "_pause", lambda fault, tries: fault.pause or 0.01)
        yield model
        llm._client(KEY, model.url, os.getpid()).close()


def ask(seconds: float = 5, tools: list[dict[str, Any]] | None = None) -> llm.Answer | llm.NoAnswer:
    return llm.complete(ASKED, tools=tools or [], deadline=time.monotonic() + seconds)


def answered(seconds: float = 5) -> llm.Answer:
    given = ask(seconds)
    assert isinstance(given, llm.Answer)
    return given


def failed(seconds: float = 5) -> llm.NoAnswer:
    given = ask(seconds)
    assert isinstance(given, llm.NoAnswer)
    return given


def test_an_answer_says_what_it_cost(model: FakeModel) -> None:
    model.will(fake_model.calls(("get", {"a": 1}), ("get", "{broken"), text="Looking."))
    given = answered()
    assert (given.text, given.model, given.input_tokens, given.output_tokens) == ("Looking.", "scripted-1", 100, 10)
    assert given.calls == (llm.Requested("get", '{"a": 1}'), llm.Requested("get", "{broken"))


def test_the_request_is_what_the_protocol_wants_and_our_own_header_stays_here(model: FakeModel) -> None:
    tool = {"type": "function", "function": {"name": "get", "parameters": {}, "strict": True}}
    ask(tools=[tool])
    sent = model.requests[0]
    assert sent["model"] == "scripted"
    assert sent["tools"] == [tool]
    assert "x-copilot-deadline" not in sent["_headers"]


@pytest.mark.parametrize("kind", ["truncated", "refused", "filtered", "empty", "no choices", "choices null", "not an object", "no json",
                                  "plain text", "429", "500", "503", "reset"])  # fmt: skip
def test_a_passing_fault_is_tried_again(model: FakeModel, kind: str) -> None:
    model.will(fake_model.fault(kind), fake_model.says("here"))
    assert answered().text == "here"
    assert len(model.requests) == 2


@pytest.mark.parametrize(
    ("kind", "code"),
    [("truncated", "model-truncated"), ("refused", "model-refused"), ("filtered", "model-refused"), ("empty", "model-empty")],
)
def test_a_model_that_stays_useless_is_given_up_after_three_tries(model: FakeModel, kind: str, code: str) -> None:
    model.will(*[fake_model.fault(kind)] * 9)
    given = failed()
    assert given.code == code
    assert given.reason.endswith(".")
    assert len(model.requests) == 3
    assert given.input_tokens == 300  # the tries cost too


@pytest.mark.parametrize(
    ("kind", "code"), [("429", "model-busy"), ("500", "model-down"), ("reset", "model-unreachable"), ("no json", "model-garbled")]
)
def test_a_lasting_fault_ends_at_the_deadline_with_its_reason(model: FakeModel, kind: str, code: str) -> None:
    model.will(*[fake_model.fault(kind)] * 500)
    started = time.monotonic()
    assert failed(seconds=1).code == code
    assert time.monotonic() - started < 2


def test_a_truncated_answer_is_given_more_room(model: FakeModel) -> None:
    model.will(fake_model.fault("truncated"), fake_model.says("here"))
    answered()
    room = [request["max_completion_tokens"] for request in model.requests]
    assert room[1] == 2 * room[0]


@pytest.mark.parametrize(("headers", "least"), [({"retry_after": "1"}, 1.0), ({"retry_after_ms": "300"}, 0.3)])
def test_retry_after_is_honoured(model: FakeModel, headers: dict[str, str], least: float) -> None:
    model.will(fake_model.status(429, **headers), fake_model.says("here"))
    assert answered().text == "here"
    assert model.at[1] - model.at[0] >= least


def test_a_retry_after_beyond_the_deadline_is_not_waited_for(model: FakeModel) -> None:
    model.will(fake_model.status(429, retry_after="60"))
    started = time.monotonic()
    assert failed().code == "model-busy"
    assert time.monotonic() - started < 1


def test_retry_after_understands_dates_and_survives_nonsense() -> None:
    assert llm._retry_after({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}) == 0.0
    assert llm._retry_after({"retry-after": "soon"}) is None
    assert llm._retry_after({}) is None


def test_a_slow_model_meets_the_deadline(model: FakeModel) -> None:
    model.will(fake_model.slow(3, fake_model.says("late")))
    started = time.monotonic()
    assert failed(seconds=1).code == "model-timeout"
    assert time.monotonic() - started < 2


def test_a_dripping_model_meets_the_deadline(model: FakeModel) -> None:
    model.will(fake_model.drips(4))
    started = time.monotonic()
    assert failed(seconds=1).code == "model-timeout"
    assert time.monotonic() - started < 2


@pytest.mark.parametrize("code", [400, 401, 403, 404])
def test_a_rejected_request_is_not_repeated(model: FakeModel, code: int) -> None:
    model.will(fake_model.status(code))
    given = failed()
    assert given.code == "model-rejected"
    assert "OPENAI_API_KEY" in given.reason
    assert KEY not in given.reason
    assert len(model.requests) == 1


def test_a_redirect_is_not_followed(model: FakeModel) -> None:
    with fake_model.running() as elsewhere:
        model.will(fake_model.raw("", status=307, headers={"location": f"{elsewhere.url}/chat/completions"}))
        assert failed().code == "model-rejected"
        assert elsewhere.requests == []


def test_an_endless_body_is_cut_off(model: FakeModel) -> None:
    model.will(*[fake_model.says("x" * 3_000_000)] * 50)
    assert failed(seconds=1).code == "model-garbled"


def test_a_large_answer_is_cut_to_size(model: FakeModel) -> None:
    model.will(fake_model.calls(*[("n" * 500, "a" * 70_000)] * 12, text="x" * 50_000))
    given = answered()
    assert len(given.text) == llm.LONGEST_TEXT
    assert len(given.calls) == llm.MOST_CALLS
    assert {(len(call.name), call.arguments) for call in given.calls} == {(64, "")}


@pytest.mark.parametrize("usage", [{"prompt_tokens": -5, "completion_tokens": 10**12}, {"prompt_tokens": "many"}, []])
def test_nonsense_usage_counts_as_nothing(model: FakeModel, usage: Any) -> None:
    model.will(fake_model.completion({"content": "here"}, usage=usage))
    given = answered()
    assert (given.input_tokens, given.output_tokens) == (0, 0)


def test_nothing_of_prompt_or_key_is_logged(model: FakeModel, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    model.will(fake_model.fault("500"), fake_model.calls(("get", {"secret": "argument"}), text="private answer"))
    answered()
    for private in (KEY, "very private", "private answer", "argument"):
        assert private not in caplog.text


def test_a_hidden_model_setting_is_a_reason_not_a_crash(model: FakeModel, tmp_path: Any) -> None:
    config.install(config.load({"COPILOT_DATA_DIR": str(tmp_path), "OPENAI_BASE_URL": model.url}))
    assert failed().code == "model-rejected"
    config.install(config.load({"COPILOT_DATA_DIR": str(tmp_path), "OPENAI_BASE_URL": model.url, "COPILOT_MODEL": "m"}))
    assert failed().code == "model-rejected"
    assert json.dumps(model.requests) == "[]"


def test_the_model_is_asked_through_the_guarded_door(model: FakeModel, monkeypatch: pytest.MonkeyPatch) -> None:
    from copilot.gateway import addresses

    monkeypatch.setattr(addresses, "origin_of", lambda url: addresses.Listed())  # as if nobody had set its address
    llm._client.cache_clear()
    assert failed(1).code == "model-unreachable"
    assert model.requests == []
    llm._client.cache_clear()
