"""A wish to end that a signal may set at any moment."""

from __future__ import annotations

import signal
import time

_SLICE = 0.1  # seconds


class Stop:
    """Set by SIGTERM or Ctrl-C. Not a `threading.Event`: its lock deadlocks when the handler interrupts a wait on it."""

    def __init__(self) -> None:
        self.asked = False

    def ask(self, *_: object) -> None:
        """Wish the end; also usable as a signal handler."""
        self.asked = True

    def listen(self) -> None:
        """Be asked by SIGTERM and Ctrl-C from now on."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self.ask)

    def sleep(self, seconds: float) -> None:
        """Sleep, but no longer than until asked."""
        until = time.monotonic() + seconds
        while not self.asked and (left := until - time.monotonic()) > 0:
            time.sleep(min(left, _SLICE))
