"""Many at the same moment: each in a thread and a database session of its own, let go together."""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Callable, Sequence
from typing import Any

from flask import Flask

from copilot.db import db

PATIENCE = 90  # seconds


def at_once(app: Flask, works: Sequence[Callable[[], Any]]) -> list[Any]:
    """Run all of them at the same moment; gives what each returned or raised, in order."""
    gate = threading.Barrier(len(works))
    results: list[Any] = [TimeoutError("never ended")] * len(works)

    def one(index: int, work: Callable[[], Any]) -> None:
        with app.app_context():
            try:
                gate.wait(PATIENCE)
                results[index] = work()
            except Exception as error:  # noqa: BLE001 -- it is the result
                results[index] = error
            finally:
                db.session.remove()

    threads = [threading.Thread(target=contextvars.Context().run, args=(one, index, work), daemon=True) for index, work in enumerate(works)]
    db.session.rollback()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    return results
