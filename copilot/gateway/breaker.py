"""A circuit breaker per tool, shared by all processes through the database: a service that is down is left alone for a while.

Five technical failures in a row (no answer, an unknown outcome, an outage; never a refusal, which is a healthy answer) open
it for 30 seconds. Then one call is let through as a trial: success closes it, failure opens it for twice as long, up to ten
minutes. While a trial runs `opened_at` is empty and `until` is the moment at which another may be tried instead.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import and_, or_, select, update
from sqlalchemy.dialects import postgresql, sqlite

from copilot import db as database
from copilot.db import db, transaction
from copilot.errors import Unavailable
from copilot.gateway.adapters import Result, technical
from copilot.models import Breaker

FAILURES = 5
FIRST = timedelta(seconds=30)
LONGEST = timedelta(minutes=10)
TRIAL = timedelta(seconds=90)  # longer than any call may take

_rows: Any = Breaker.__table__


@dataclass(frozen=True, slots=True)
class Standing:
    """How a tool's breaker stands: `closed`, `open` or `trying`; `until` is when the next call may be made."""

    state: str
    failures: int = 0
    until: datetime | None = None
    last_error: str = ""


def allows(tool: str, now: datetime) -> bool:
    """Whether a call may be made now. Runs in the caller's transaction: when a trial is due, the caller has taken it."""
    until = db.session.execute(select(_rows.c.until).where(_rows.c.tool == tool)).scalar_one_or_none()
    if until is None:
        return True
    if until > now:
        return False
    trial = update(_rows).where(_rows.c.tool == tool, _rows.c.until == until).values(opened_at=None, until=now + TRIAL)
    return db.session.execute(trial.returning(_rows.c.tool)).one_or_none() is not None


def record(tool: str, ok: bool, now: datetime, *, error: str = "") -> None:
    """Take note of how a call went, in the caller's transaction. A straggler's failure while it is open changes nothing."""
    if ok:
        unhealthy = or_(_rows.c.failures > 0, _rows.c.until.is_not(None))
        db.session.execute(
            update(_rows).where(_rows.c.tool == tool, unhealthy).values(failures=0, opened=0, opened_at=None, until=None, last_error="")
        )
        return
    dialect = postgresql if db.engine.dialect.name == "postgresql" else sqlite
    first = dialect.insert(_rows).values(tool=tool, failures=1, opened=0, last_error=error[:200])
    more = first.on_conflict_do_update(
        index_elements=[_rows.c.tool],
        set_={"failures": _rows.c.failures + 1, "last_error": error[:200]},
        where=or_(_rows.c.until.is_(None), _rows.c.opened_at.is_(None), _rows.c.until <= now),
    ).returning(_rows.c.failures, _rows.c.opened)
    row = db.session.execute(more).one_or_none()
    if row is None or (row.failures < FAILURES and not row.opened):
        return
    pause = min(FIRST * 2 ** min(row.opened, 10), LONGEST)
    db.session.execute(update(_rows).where(_rows.c.tool == tool).values(opened=row.opened + 1, opened_at=now, until=now + pause))


def heard(tool: str, result: Result, now: datetime) -> None:
    """`record` for what came of a call."""
    failed = technical(result)
    record(tool, not failed, now, error=getattr(result, "message", "") if failed else "")


def enter(tool: str) -> None:
    """Before a read: Unavailable at once while the breaker is open. Opens a transaction of its own only to take a trial."""
    now = database.now()
    until = db.session.execute(select(_rows.c.until).where(_rows.c.tool == tool)).scalar_one_or_none()
    database.read_again()
    if until is None:
        return
    if until <= now:
        with transaction():
            if allows(tool, now):
                return
    name = tool.replace("_", " ")
    raise Unavailable(f"{name.capitalize()} has failed several times in a row and is left alone for the moment. Try again later.")


def leave(tool: str, result: Result) -> None:
    """After a read: writes only when there is something to write, in a transaction of its own."""
    if not technical(result):
        known = db.session.execute(select(_rows.c.failures, _rows.c.until).where(_rows.c.tool == tool)).one_or_none()
        database.read_again()
        if known is None or (not known.failures and known.until is None):
            return
    with transaction():
        heard(tool, result, database.now())


def standing(tools: Iterable[str], now: datetime) -> dict[str, Standing]:
    """How the breakers of these tools stand, for a page or for metrics; a tool without trouble is closed."""
    names = list(tools)
    found = {name: Standing("closed") for name in names}
    trouble = and_(_rows.c.tool.in_(names), or_(_rows.c.failures > 0, _rows.c.until.is_not(None)))
    for row in db.session.execute(select(_rows).where(trouble)):
        trying = row.until is not None and (row.opened_at is None or row.until <= now)
        state = "closed" if row.until is None else "trying" if trying else "open"
        found[row.tool] = Standing(state, row.failures, row.until, row.last_error)
    return found
