"""The record of outbound calls: where to and how it went, never what was said.

A thread of its own writes it, after the call and in small transactions of its own, because noting a call must neither
delay nor fail it, nor run inside somebody's transaction. What an abruptly ended process had not written yet is lost:
this is for operators; what an action did stands in the execution and the audit log.
"""

from __future__ import annotations

import atexit
import logging
import os
import queue
import threading
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta

from sqlalchemy import delete, insert, select

from copilot import db as database
from copilot.db import db, transaction
from copilot.models import OutboundCall

KEPT = timedelta(days=30)
_MOST_WAITING = 10_000  # beyond it, with a database that is away for long, the record has gaps rather than the process no memory
_GATHER = 0.05  # seconds

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Called:
    """One request as it is recorded; `host` is name:port, `refused` the code of why it was not made."""

    at: datetime
    purpose: str
    method: str
    host: str
    status: int | None
    refused: str | None
    bytes: int
    milliseconds: int


class _Writer:
    """The queue and the thread that empties it; started with the first call, anew after a fork."""

    def __init__(self) -> None:
        self.waiting: queue.SimpleQueue[Called | threading.Event] = queue.SimpleQueue()
        self.starting = threading.Lock()
        self.thread: threading.Thread | None = None

    def put(self, item: Called | threading.Event) -> None:
        self.waiting.put(item)
        with self.starting:
            if self.thread is None or not self.thread.is_alive():
                self.thread = threading.Thread(target=self.run, daemon=True, name="outbound-record")
                self.thread.start()

    def run(self) -> None:
        while True:
            batch = [self.waiting.get()]
            if isinstance(batch[0], Called):
                time.sleep(_GATHER)
            while not self.waiting.empty():
                batch.append(self.waiting.get())
            _write([each for each in batch if isinstance(each, Called)])
            for each in batch:
                if isinstance(each, threading.Event):
                    each.set()


_writer = _Writer()


def note(call: Called) -> None:
    """Have one call recorded; returns at once and never raises."""
    if _writer.waiting.qsize() < _MOST_WAITING:
        _writer.put(call)


def flush(seconds: float = 5.0) -> bool:
    """Wait until everything noted so far is written; False when it took longer."""
    if _writer.thread is None:
        return True
    written = threading.Event()
    _writer.put(written)
    return written.wait(seconds)


def forget(now: datetime) -> int:
    """Delete what is older than 30 days, in the caller's transaction; returns how many rows."""
    gone = db.session.execute(
        delete(OutboundCall).where(OutboundCall.at < now - KEPT).returning(OutboundCall.id).execution_options(synchronize_session=False)
    )
    return len(gone.all())


def last(purposes: Iterable[str], *, limit: int = 5) -> list[OutboundCall]:
    """The newest recorded calls for any of these purposes, newest first."""
    wanted = select(OutboundCall).where(OutboundCall.purpose.in_(list(purposes)))
    return list(db.session.scalars(wanted.order_by(OutboundCall.at.desc(), OutboundCall.id).limit(limit)))


def _write(calls: list[Called]) -> None:
    if not calls:
        return
    try:
        context = database.fresh_context()
    except RuntimeError:  # a command without a database, such as doctor
        return
    try:
        with context, transaction():
            db.session.execute(insert(OutboundCall), [asdict(call) for call in calls])
    except Exception as error:  # noqa: BLE001 - a database that is away costs the record, never the calls
        logger.warning("%d outbound calls were not recorded (%s)", len(calls), type(error).__name__)


def _after_fork() -> None:
    global _writer
    _writer = _Writer()


os.register_at_fork(after_in_child=_after_fork)
atexit.register(flush, 2.0)
