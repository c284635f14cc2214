"""The clock: everything that happens because time passes. One is enough; a second does no harm, every tick is a compare-and-set."""

from __future__ import annotations

import logging
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass

from flask import Flask

from copilot import doorbell, jobs
from copilot.app import create_app
from copilot.db import transaction
from copilot.errors import SetupError
from copilot.gate import library, policy
from copilot.processes import logs
from copilot.processes.stopping import Stop

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Tick:
    """Something to do every so many seconds."""

    name: str
    seconds: float
    do: Callable[[], object]


def ticks() -> tuple[Tick, ...]:
    """All of them, in the order in which they run when several are due."""
    return (
        Tick("beat", 5, lambda: jobs.beat(f"clock@{socket.gethostname()}", "clock")),
        Tick("sequence", 1, jobs.sequence),
        Tick("sweep", 5, jobs.sweep),
        Tick("deliver", 5, lambda: _ring_or_do("deliver", jobs.deliver)),
        Tick("roll_up", 60, lambda: _ring_or_do("roll_up", jobs.roll_up)),
        Tick("look_again", 300, lambda: doorbell.enqueue("look_again")),  # what is not heard now is noticed before the next call
    )


def _ring_or_do(name: str, do: Callable[[], None]) -> None:
    """Ring for a job; without Redis nobody would hear, and escalations matter most when something is down: do it here."""
    if not doorbell.enqueue(name):
        do()


def run(app: Flask, *, stop: Stop, wanted: tuple[Tick, ...] | None = None) -> None:
    """Tick until `stop`. A tick that fails is logged and comes again; it never stops the others."""
    due = dict.fromkeys(ticks() if wanted is None else wanted, 0.0)
    while not stop.asked:
        for tick, at in due.items():
            if time.monotonic() >= at and not stop.asked:
                due[tick] = time.monotonic() + tick.seconds
                _do(app, tick)
        stop.sleep(max(0.05, min(due.values()) - time.monotonic()))


def _do(app: Flask, tick: Tick) -> None:
    try:
        with app.app_context():
            tick.do()
    except Exception:  # noqa: BLE001 -- whatever went wrong, the next tick must come
        _log.exception("clock: %s failed and will be tried again", tick.name)


def _adopt() -> None:
    try:
        with transaction():
            library.adopt(policy.current())
    except SetupError as error:
        _log.error("clock: what is in force stays. %s", error)


def main() -> None:
    """Run the clock of this installation until SIGTERM or Ctrl-C."""
    stop = Stop()
    stop.listen()
    logs.configure()
    app = create_app(web=False)
    _do(app, Tick("adopt the policy folder", 0, _adopt))  # once: two clocks with different folders would take turns
    run(app, stop=stop)


if __name__ == "__main__":
    main()
