"""Faults on order: the far ends of the sample company break in named ways, a given number of times, for tests."""

from __future__ import annotations

import threading
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

ANY = "*"


class UnknownFault(ValueError):
    """The order names no such mode, or makes no sense; the message says what would."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing to do wrong, once. `seconds` matters to the slow modes only."""

    mode: str
    seconds: float


class Faults:
    """Orders by target (a tool's name, or `*` for all). Held in memory: a restart forgets them."""

    def __init__(self, modes: Collection[str]) -> None:
        self._modes = frozenset(modes)
        self._lock = threading.Lock()
        self._orders: list[tuple[str, Fault]] = []

    def plant(self, order: Any) -> int:
        """Add an order {tool, mode, times, seconds}; return how many faults are waiting. Raises UnknownFault."""
        if not isinstance(order, dict):
            raise UnknownFault("send {tool, mode, times, seconds}")
        tool, mode, times, seconds = order.get("tool", ANY), order.get("mode"), order.get("times", 1), order.get("seconds", 1)
        if mode not in self._modes:
            raise UnknownFault(f"mode is one of {', '.join(sorted(self._modes))}")
        if not isinstance(tool, str) or not isinstance(times, int) or not 0 < times <= 100_000:
            raise UnknownFault("tool is a name or *, times a count from 1 to 100000")
        if not isinstance(seconds, int | float) or not 0 <= seconds <= 600:
            raise UnknownFault("seconds is a number from 0 to 600")
        with self._lock:
            self._orders += [(tool, Fault(str(mode), float(seconds)))] * times
            return len(self._orders)

    def take(self, tool: str) -> Fault | None:
        """Take the oldest fault waiting for this tool, so that each strikes once."""
        if not self._orders:
            return None
        with self._lock:
            for index, (wanted, fault) in enumerate(self._orders):
                if wanted in (tool, ANY):
                    del self._orders[index]
                    return fault
        return None

    def clear(self) -> None:
        """Forget every order."""
        with self._lock:
            self._orders.clear()
