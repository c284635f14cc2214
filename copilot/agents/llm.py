"""One question to the model: an answer that can be used, or why there is none.

The model is a stranger on the network. Everything that comes back is measured and checked; nothing of it, and nothing
of what was sent, is ever logged. No transaction may be open here: an answer can take most of a minute.
"""

from __future__ import annotations

import functools
import os
import random
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import httpx2
import openai

from copilot import config
from copilot.gateway import outbound

TIMEOUT = 30.0
LONGEST_TEXT = 20_000
LONGEST_ARGUMENTS = 64_000
MOST_CALLS = 8
_LONGEST_BODY = 2_000_000
_ANSWER_TOKENS = 4096  # room for one action and for a reasoning model's thinking; doubled once when it was not enough
_SECOND_CHANCES = 2  # of an empty, truncated or refusing model, beside any number of passing faults before the deadline
_SHORTEST_TRY = 0.5
_NO_LABEL = re.compile(r"[^!-~]")


@dataclass(frozen=True, slots=True)
class Requested:
    """One tool call as the model wrote it: a name nobody checked and arguments that may not even be JSON."""

    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class Answer:
    """What the model said, cut to size, and what it cost. `milliseconds` counts every try."""

    text: str
    calls: tuple[Requested, ...]
    model: str
    input_tokens: int
    output_tokens: int
    milliseconds: int


@dataclass(frozen=True, slots=True)
class NoAnswer:
    """There is no usable answer. `code` for machines, `reason` a sentence of ours for people; the tries cost tokens too."""

    code: str
    reason: str
    input_tokens: int
    output_tokens: int
    milliseconds: int


@dataclass(frozen=True, slots=True)
class _Fault:
    """Why one try failed. `again` says whether another may help, `pause` what the server asked for in seconds."""

    code: str
    reason: str
    again: bool
    pause: float | None = None


_SENTENCES = {
    "model-truncated": "The model's answer was cut off before it was complete.",
    "model-refused": "The model refused to answer.",
    "model-empty": "The model gave an empty answer.",
    "model-garbled": "The model's service answered with something that is no chat completion.",
    "model-timeout": "The model did not answer in time.",
    "model-unreachable": "The model's service could not be reached.",
    "model-busy": "The model's service is limiting how often we may ask.",
    "model-down": "The model's service reported an error of its own.",
    "model-rejected": "The model's service did not accept our request; check OPENAI_API_KEY, OPENAI_BASE_URL and COPILOT_MODEL.",
}


def complete(messages: Sequence[Mapping[str, Any]], *, tools: Sequence[Mapping[str, Any]], deadline: float) -> Answer | NoAnswer:
    """Ask the model, again after passing faults, until there is an answer or `deadline` (of `time.monotonic`) has come.

    The caller has redacted the messages. Never raises for anything the model or the network does.
    """
    started = time.monotonic()
    used = [0, 0]
    tokens, chances, tries = _ANSWER_TOKENS, _SECOND_CHANCES, 0
    while True:
        remaining = deadline - time.monotonic()
        if remaining < _SHORTEST_TRY and not tries:
            return _none(_fault("model-timeout"), used, started)
        given = _try(messages, tools, tokens=tokens, seconds=min(TIMEOUT, remaining))
        tries += 1
        if isinstance(given, openai.types.chat.ChatCompletion):
            _count(given, used)
            read = _read(given)
            if isinstance(read, tuple):
                text, calls = read
                model = given.model if isinstance(given.model, str) else ""
                return Answer(text, calls, _NO_LABEL.sub("", model)[:100], used[0], used[1], _milliseconds(started))
            fault, chances = read, chances - 1
            tokens = _ANSWER_TOKENS * 2 if fault.code == "model-truncated" else tokens
            if chances < 0:
                return _none(fault, used, started)
        else:
            fault = given
        pause = _pause(fault, tries)
        if not fault.again or time.monotonic() + pause + _SHORTEST_TRY > deadline:
            return _none(fault, used, started)
        time.sleep(pause)


def _fault(code: str, *, again: bool = True, pause: float | None = None) -> _Fault:
    return _Fault(code, _SENTENCES[code], again, pause)


def _none(fault: _Fault, used: Sequence[int], started: float) -> NoAnswer:
    return NoAnswer(fault.code, fault.reason, used[0], used[1], _milliseconds(started))


def _milliseconds(started: float) -> int:
    return int((time.monotonic() - started) * 1000)


def _pause(fault: _Fault, tries: int) -> float:
    """Full jitter over a doubling ceiling, and never earlier than the server asked for."""
    ceiling = min(8.0, 0.25 * 2.0**tries)
    return max(random.uniform(0.05, ceiling), fault.pause or 0.0)  # noqa: S311 - spreads load, guards nothing


def _try(messages: Sequence[Any], tools: Sequence[Any], *, tokens: int, seconds: float) -> openai.types.chat.ChatCompletion | _Fault:
    settings = config.current()
    if not settings.model:
        return _fault("model-rejected", again=False)
    extra: dict[str, Any] = {"tools": list(tools)} if tools else {}
    try:
        client = _client(settings.openai_api_key, settings.openai_base_url, os.getpid())
        given: object = client.chat.completions.create(
            model=settings.model, messages=list(messages), max_completion_tokens=tokens, timeout=seconds, **extra,
        )  # fmt: skip
    except openai.APIStatusError as error:
        return _status(error)
    except openai.APITimeoutError:
        return _fault("model-timeout")
    except openai.APIConnectionError as error:
        return _fault("model-garbled" if isinstance(error.__cause__, outbound.TooLong) else "model-unreachable")
    except httpx2.TimeoutException:
        return _fault("model-timeout")
    except (openai.APIError, ValueError, TypeError, AttributeError, RecursionError, httpx2.HTTPError):
        return _fault("model-garbled")  # a body that is no JSON, or JSON of another shape, surfaces as any of these
    except openai.OpenAIError:
        return _fault("model-rejected", again=False)  # the client could not even be made: no key
    return given if isinstance(given, openai.types.chat.ChatCompletion) else _fault("model-garbled")  # plain text comes back as a str


def _status(error: openai.APIStatusError) -> _Fault:
    status = error.status_code
    pause = _retry_after(error.response.headers)
    if status == 429:
        return _fault("model-busy", pause=pause)
    if status >= 500 or status in (408, 409):
        return _fault("model-down", pause=pause)
    return _fault("model-rejected", again=False)


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds the server asks us to wait, from either header and either form."""
    for name, scale in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        text = headers.get(name)
        if not text:
            continue
        try:
            return max(0.0, float(text) * scale)
        except ValueError:
            pass
        try:
            moment = parsedate_to_datetime(text)
        except ValueError:
            continue
        aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        return max(0.0, (aware - datetime.now(UTC)).total_seconds())
    return None


def _count(given: openai.types.chat.ChatCompletion, used: list[int]) -> None:
    """Add what this try cost; the numbers are the service's claim, so nonsense counts as nothing."""
    for place, name in enumerate(("prompt_tokens", "completion_tokens")):
        number = getattr(given.usage, name, None)
        if isinstance(number, int) and 0 <= number <= 10_000_000:
            used[place] += number


def _read(given: Any) -> tuple[str, tuple[Requested, ...]] | _Fault:
    """The text and calls of an answer whose every part may be missing or of another type than declared."""
    choices = getattr(given, "choices", None)
    choice = choices[0] if isinstance(choices, list) and choices else None
    message = getattr(choice, "message", None)
    if message is None:
        return _fault("model-garbled")
    finish = getattr(choice, "finish_reason", None)
    if finish == "length":
        return _fault("model-truncated")
    if finish == "content_filter" or getattr(message, "refusal", None):
        return _fault("model-refused")
    content = getattr(message, "content", None)
    text = content.strip()[:LONGEST_TEXT] if isinstance(content, str) else ""
    asked = getattr(message, "tool_calls", None)
    calls = tuple(_requested(asked)) if isinstance(asked, list) else ()
    return (text, calls) if text or calls else _fault("model-empty")


def _requested(asked: Sequence[Any]) -> Iterator[Requested]:
    for call in asked[:MOST_CALLS]:
        function = getattr(call, "function", None)
        name, arguments = getattr(function, "name", None), getattr(function, "arguments", None)
        text = arguments if isinstance(arguments, str) else ""
        yield Requested(name[:64] if isinstance(name, str) else "", text if len(text) <= LONGEST_ARGUMENTS else "")


# ---- the wire: one guarded door; no redirects (they would carry prompts elsewhere), no endless or endlessly dripping bodies


@functools.lru_cache(maxsize=2)
def _client(key: str | None, base_url: str | None, process: int) -> openai.OpenAI:  # noqa: ARG001 - a forked child must not share its parent's client
    door = outbound.client(purpose="model", allow=base_url, limit=_LONGEST_BODY, timeout=TIMEOUT)
    return openai.OpenAI(api_key=key or "", base_url=base_url, max_retries=0, timeout=TIMEOUT, http_client=door)
