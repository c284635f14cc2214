"""Asking Copilot again when it is away, busy or restarting, and no longer when it has said no."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from copilot.client import ApiError

_T = TypeVar("_T")

_PASSING = frozenset({0, 429, 500, 502, 503, 504})  # 0: no answer came


def passing(error: ApiError) -> bool:
    """Whether it is worth asking again later."""
    return error.status in _PASSING


def insist(ask: Callable[[], _T], *, seconds: float, sleep: Callable[[float], None] = time.sleep) -> _T:
    """Ask until there is an answer, for at most so many seconds; only for what may be repeated. Raises the last ApiError."""
    until, pause = time.monotonic() + seconds, 0.2
    while True:
        try:
            return ask()
        except ApiError as error:
            if not passing(error) or time.monotonic() + pause > until:
                raise
        sleep(pause)
        pause = min(pause * 2, 5.0)
