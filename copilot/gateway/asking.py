"""Asking a tool without changing anything: behind its breaker, in one of its slots, before its deadline.

Only an answer that fits what a read declares is passed on.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from copilot.errors import BadInput, Refused, Unavailable
from copilot.gateway import adapters, breaker, slots
from copilot.toolkit import Call, Tool, ToolError, ToolRefused

T = TypeVar("T")


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


def hook(tool: Tool, ask: Callable[[], T]) -> T:
    """What a writing tool's own preview or revision says. No transaction may be open; errors as of `read`.

    Looking has a breaker apart from doing: a service may still tell what it can no longer do.
    """
    breaker.enter(_looking(tool))
    name = tool.name.replace("_", " ").capitalize()
    well: adapters.Result = adapters.Succeeded(None)
    try:
        answer = adapters.within(tool.timeout, lambda: slots.held(tool, ask))
    except ToolRefused as refusal:
        breaker.leave(_looking(tool), well)
        raise Refused(str(refusal)[:2000] or f"{name} refused.", rule="tool-refused") from refusal
    except (BadInput, Refused, Unavailable):
        raise
    except TimeoutError as error:
        raise _away(tool, f"{name} did not answer within {tool.timeout:.0f} seconds.") from error
    except ToolError as error:
        raise _away(tool, f"{name} could not be asked: {str(error)[:500]}") from error
    except Exception as error:
        raise _away(tool, f"{name} could not be asked ({type(error).__name__}).") from error
    breaker.leave(_looking(tool), well)
    return answer


def _away(tool: Tool, message: str) -> Unavailable:
    breaker.leave(_looking(tool), adapters.Unknown(message))
    return Unavailable(message)


def _looking(tool: Tool) -> str:
    return f"{tool.name} look"
