"""Asking a read tool: behind its breaker, in one of its slots, before its deadline, and only an answer that fits is passed on."""

from __future__ import annotations

from typing import Any

from copilot.errors import Refused, Unavailable
from copilot.gateway import adapters, breaker, slots
from copilot.toolkit import Call, Tool


def read(tool: Tool, arguments: dict[str, Any], call: Call) -> Any:
    """The tool's plain JSON answer. No transaction may be open.

    Refused when the tool said no. Unavailable when it could not be asked, or when its answer is not what it declares: an
    agent would build on it, so half an answer is none.
    """
    breaker.enter(tool.name)
    answered = adapters.bounded(lambda: slots.held(tool, lambda: adapters.invoke(tool, arguments, call)), seconds=tool.timeout)
    breaker.leave(tool.name, answered)
    name = tool.name.replace("_", " ").capitalize()
    match answered:
        case adapters.Succeeded(result=result, note=None):
            return result
        case adapters.Succeeded(note=note):
            raise Unavailable(f"{name} gave no usable answer. {note}")
        case adapters.Failed(message=message, technical=False):
            raise Refused(message, rule="tool-refused")
        case _:
            raise Unavailable(f"{name} could not answer. {answered.message}")
