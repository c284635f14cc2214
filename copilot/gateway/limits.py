"""How the clocks of a call fit together: tool deadline < lease / 2, lease < job time-out, key lifetime >= 4 x retry window."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta

from copilot.errors import SetupError
from copilot.toolkit import Tool

JOB_TIMEOUT = 180  # seconds RQ lets one job run
MAX_ATTEMPTS = 3
RESULT_BYTES = 64_000
MARGIN = 5  # seconds between a call's deadline and half its lease


def lease(tool: Tool) -> timedelta:
    """How long a claim keeps others away: more than twice the tool's own deadline."""
    return timedelta(seconds=2 * (tool.timeout + MARGIN))


def retry_window(tool: Tool) -> timedelta:
    """How long the sweeper may still repeat a call under its key, counted from the first attempt."""
    return MAX_ATTEMPTS * lease(tool)


def check(tools: Iterable[Tool]) -> None:
    """The start-up assertion; SetupError names the tool and the number to change."""
    for tool in tools:
        held = lease(tool).total_seconds()
        if not (tool.timeout < held / 2 and held < JOB_TIMEOUT):
            raise SetupError(f"Tool {tool.name}: timeout={tool.timeout} is too long; at most {JOB_TIMEOUT / 2 - MARGIN - 1:.0f} seconds.")
        if tool.honours_key and (tool.key_lifetime or 0) < 4 * retry_window(tool).total_seconds():
            needed = 4 * retry_window(tool).total_seconds()
            raise SetupError(
                f"Tool {tool.name}: key_lifetime={tool.key_lifetime} is shorter than four retry windows; at least {needed:.0f} seconds."
            )
