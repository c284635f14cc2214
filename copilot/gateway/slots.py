"""How many calls of one tool may run at once: exact for what changes something, per process for reads."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable
from datetime import datetime
from typing import TypeVar

from sqlalchemy import func, select

from copilot.db import db
from copilot.errors import Unavailable
from copilot.gate import arcs
from copilot.models import Proposal
from copilot.toolkit import Tool

T = TypeVar("T")

_reading: dict[tuple[str, int], threading.BoundedSemaphore] = {}
_making = threading.Lock()


def free(tool: Tool, now: datetime) -> bool:
    """Whether one more call of this tool may start. Runs in the claim's transaction and holds until it ends.

    Claims of the tool queue up here (an advisory lock on PostgreSQL, the one writer on SQLite), so that the count cannot
    change between the look and the claim. A lapsed lease no longer counts: nobody knows of a call behind it.
    """
    if tool.concurrency is None:
        return True
    if db.engine.dialect.name == "postgresql":
        db.session.execute(select(func.pg_advisory_xact_lock(_key(tool.name))))
    running = select(func.count()).where(Proposal.state == arcs.EXECUTING, Proposal.tool == tool.name, Proposal.lease_until > now)
    return db.session.execute(running).scalar_one() < tool.concurrency


def held(tool: Tool, work: Callable[[], T]) -> T:
    """Do a read's work in one of this process's slots for the tool; Unavailable when none comes free in time.

    Runs in the thread that works, so that a call that was given up on keeps its slot for as long as it really lasts.
    """
    if tool.concurrency is None:
        return work()
    with _making:
        slot = _reading.setdefault((tool.name, tool.concurrency), threading.BoundedSemaphore(tool.concurrency))
    if not slot.acquire(timeout=tool.timeout / 2):
        name = tool.name.replace("_", " ").capitalize()
        raise Unavailable(f"{name} is busy with as many calls as it may have at once. Try again in a moment.")
    try:
        return work()
    finally:
        slot.release()


def _key(name: str) -> int:
    return int.from_bytes(hashlib.sha256(f"copilot slot {name}".encode()).digest()[:8], signed=True)
