"""The reads of one answer of the model, each through the gate; what went wrong is an answer too."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Any

from copilot.agents import prompts
from copilot.db import fresh_context
from copilot.errors import CopilotError, Refused
from copilot.gate import facts
from copilot.gateway import reads

_AT_ONCE = 4


@dataclass(frozen=True, slots=True)
class Lookup:
    """One read with its real, schema-valid arguments."""

    tool: str
    arguments: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Found:
    """What the model is to be told, not yet redacted: the tool's result, or an error of `prompts.error`."""

    answer: Any
    milliseconds: int = 0


_LATE = Found(prompts.error("unavailable", "There was no time left to read this."))


def run(asked: Sequence[Lookup], *, agent_id: str, ticket_id: str, run_id: str, deadline: float) -> list[Found]:
    """Do these reads, in the order asked; what has not come by `deadline` (of `time.monotonic`) is reported as late.

    Talks to the outside. A defect in our own code is the only thing that raises.
    """
    if len(asked) < 2:
        return [_one(lookup, agent_id=agent_id, ticket_id=ticket_id, run_id=run_id, deadline=deadline) for lookup in asked]

    def apart(lookup: Lookup) -> Found:
        with fresh_context():  # sessions are never shared between threads
            return _one(lookup, agent_id=agent_id, ticket_id=ticket_id, run_id=run_id, deadline=deadline)

    pool = ThreadPoolExecutor(max_workers=_AT_ONCE, thread_name_prefix="read")
    try:
        futures = [pool.submit(apart, lookup) for lookup in asked]
        wait(futures, timeout=max(0.0, deadline - time.monotonic()))
        return [future.result() if future.done() else _LATE for future in futures]
    finally:
        pool.shutdown(wait=False, cancel_futures=True)  # a late read ends at its own time-out, unheard


def _one(lookup: Lookup, *, agent_id: str, ticket_id: str, run_id: str, deadline: float) -> Found:
    started = time.monotonic()
    if started >= deadline:
        return _LATE
    answer: Any
    try:
        answer = reads.call(
            lookup.tool, dict(lookup.arguments), agent_id=agent_id, ticket_id=ticket_id, origin=facts.Origin(session=run_id)
        )
    except Refused as refusal:
        answer = prompts.error("refused", str(refusal)) | {"rule": refusal.rule}
    except CopilotError as failure:
        answer = prompts.error(failure.code, str(failure))
    return Found(answer, int((time.monotonic() - started) * 1000))
