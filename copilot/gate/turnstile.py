"""Order between claims and what must stop them: after a kill switch or a disabling commits, no claim under way slips through.

SQLite has one writer at a time, so there everything is in order already; on PostgreSQL these are advisory locks that
the transaction holds until it ends.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from sqlalchemy import func, select

from copilot.db import db


def enter() -> None:
    """A claim passes, beside any number of others, as long as nobody bars the way."""
    if _postgresql():
        db.session.execute(select(func.pg_advisory_xact_lock_shared(_key("claims"))))


def bar() -> None:
    """Wait for the claims under way to end, and let none begin before this transaction has ended."""
    if _postgresql():
        db.session.execute(select(func.pg_advisory_xact_lock(_key("claims"))))


def one_at_a_time(names: Iterable[str]) -> None:
    """Whoever judges by these counters goes one after the other; names are taken in one order, so that nobody waits in a circle."""
    if _postgresql():
        for name in sorted(set(names)):
            db.session.execute(select(func.pg_advisory_xact_lock(_key(f"counter {name}"))))


def _postgresql() -> bool:
    return db.engine.dialect.name == "postgresql"


def _key(name: str) -> int:
    return int.from_bytes(hashlib.sha256(f"copilot {name}".encode()).digest()[:8], signed=True)
