"""Calling a tool: with its key, before its deadline, and telling what is known about the effect afterwards."""

from __future__ import annotations

import contextvars
import json
import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar, cast

from copilot.gate import schema
from copilot.gateway import limits
from copilot.toolkit import Call, Outcome, Tool, ToolError, ToolRefused

logger = logging.getLogger(__name__)

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Claim:
    """The right to call one tool once: what to call, under which key and fence, until when.

    `seconds` is the time the call has from the moment it is made; `expires_at` is by this machine's clock, so that
    a worker that was paused between claim and call does not call.
    """

    proposal_id: str
    fence: int
    attempt: int
    tool: Tool
    arguments: dict[str, Any]
    digest: str
    agent_id: str
    agent_name: str
    ticket_id: str | None
    automatic: bool
    token: str
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class Succeeded:
    """It definitely happened."""

    result: Any
    provider_id: str | None = None
    revision: str | None = None
    note: str | None = None


@dataclass(frozen=True, slots=True)
class Failed:
    """It definitely did not happen. `technical`: not because the tool said no, but because it could not be asked."""

    message: str
    technical: bool = False


@dataclass(frozen=True, slots=True)
class Unknown:
    """Nobody can tell; a person has to."""

    message: str


Result = Succeeded | Failed | Unknown


def technical(result: Result) -> bool:
    """Whether a call went wrong for a reason of machinery; a refusal is a healthy answer."""
    return isinstance(result, Unknown) or (isinstance(result, Failed) and result.technical)


def perform(claim: Claim, *, late: Callable[[Result], None] | None = None) -> Result:
    """Make the call and say what is known. Never raises; never called inside a transaction.

    A call that outlives its deadline is left behind in its thread and reported as unknown; if it still ends,
    `late` hears the evidence.
    """
    remaining = (claim.expires_at - datetime.now(UTC)).total_seconds()
    if remaining <= 0:
        if claim.attempt > 1:
            return Unknown("The time for this attempt was over before the call could be made; an earlier attempt may have happened.")
        return Failed("The time for the call was over before it could be made, so nothing happened.")
    call = Call(
        idempotency_key=claim.proposal_id,
        deadline=datetime.now(UTC) + timedelta(seconds=remaining),
        agent=claim.agent_name,
        ticket_id=claim.ticket_id,
        token=claim.token,
    )
    return bounded(lambda: invoke(claim.tool, claim.arguments, call), seconds=remaining, late=late)


def bounded(work: Callable[[], Result], *, seconds: float, late: Callable[[Result], None] | None = None) -> Result:
    """Run `work` for at most so many seconds; Unknown when it has not answered by then."""
    try:
        return within(seconds, work, late=late)
    except TimeoutError:
        return Unknown(f"The tool did not answer within {seconds:.0f} seconds; it may or may not have happened.")


def within(seconds: float, work: Callable[[], T], *, late: Callable[[T], None] | None = None) -> T:
    """Run a tool author's code in a thread of its own and wait so many seconds; TimeoutError when it takes longer.

    What it raises is raised here. Python cannot stop a thread, so a late one is left behind, and `late` hears its answer.
    """
    ended: list[tuple[T | None, BaseException | None]] = []
    gate, done = threading.Lock(), threading.Event()
    given_up = False

    def target() -> None:
        value: T | None = None
        error: BaseException | None = None
        try:
            value = work()
        except BaseException as raised:  # noqa: BLE001 - carried over to the thread that waits
            error = raised
        with gate:
            ended.append((value, error))
            too_late = given_up
        done.set()
        if too_late and late is not None and error is None:
            try:
                late(cast("T", value))
            except Exception:
                logger.exception("late evidence could not be stored")

    threading.Thread(target=contextvars.Context().run, args=(target,), daemon=True, name="tool-call").start()
    done.wait(seconds)
    with gate:
        given_up = not ended
    if given_up:
        raise TimeoutError
    value, error = ended[0]
    if error is not None:
        raise error
    return cast("T", value)


def look_up(tool: Tool, key: str, call: Call) -> Succeeded | None:
    """Ask a lookup tool whether a key was done; None when it does not know, which is never proof of nothing."""
    if tool.lookup is None:
        return None
    ask = tool.lookup
    try:
        outcome = within(tool.timeout, lambda: ask(key, call))
    except Exception as error:  # noqa: BLE001 - a tool may raise anything, and not knowing is an answer
        logger.warning("look-up of %s failed: %s", tool.name, type(error).__name__)
        return None
    return None if outcome is None else _succeeded(tool, outcome)


def invoke(tool: Tool, arguments: dict[str, Any], call: Call) -> Result:
    """Run the tool in this thread and say what is known about the effect. Never raises."""
    try:
        answer = tool.invoke(arguments, call)
    except ToolRefused as refusal:
        return Failed(_bounded_text(str(refusal)) or "The tool refused.")
    except ToolError as error:
        message = _bounded_text(str(error))
        if error.happened is True:
            return Succeeded(None, note=message)
        if error.happened is False:
            return Failed(message or "The tool failed before anything happened.", technical=True)
        return Unknown(message or "The tool failed and cannot say whether it happened.")
    except Exception as error:  # noqa: BLE001 - whatever a write raises, the effect may have happened
        logger.warning("tool %s raised %s", tool.name, type(error).__name__)
        return Unknown(f"The tool broke off ({type(error).__name__}); it may or may not have happened.")
    return _succeeded(tool, answer)


def _succeeded(tool: Tool, answer: Any) -> Succeeded:
    outcome = answer if isinstance(answer, Outcome) else Outcome(answer)
    result, note = plain(outcome.result, most=min(tool.max_bytes or limits.RESULT_BYTES, limits.RESULT_BYTES))
    if note is None and schema.check_result(tool, result):
        note = "The tool's answer does not fit its declared schema."
    provider_id = _bounded_text(str(outcome.provider_id), 200) if outcome.provider_id is not None else None
    revision = _bounded_text(str(outcome.revision), 200) if outcome.revision is not None else None
    return Succeeded(result, provider_id, revision, note)


def plain(value: Any, *, most: int = limits.RESULT_BYTES) -> tuple[Any, str | None]:
    """The value as plain JSON of at most so many bytes, or None with a note why it could not be kept."""
    try:
        text = json.dumps(value, allow_nan=False, ensure_ascii=False)
        size = len(text.encode())
    except (TypeError, ValueError, UnicodeError, RecursionError):
        return None, "The tool's answer is not plain JSON and was not kept."
    if size > most:
        return None, f"The tool's answer is longer than {most:,} bytes and was not kept."
    return json.loads(text.replace("\\u0000", "\\ufffd")), None


def _bounded_text(text: str, size: int = 2000) -> str:
    return text.replace("\0", "\ufffd").encode("utf-8", "replace").decode()[:size]
