"""What processes tell each other through the database: who holds a job that must not run twice at once, and who lives."""

from __future__ import annotations

import os
import socket
from datetime import timedelta
from typing import Any

from sqlalchemy import or_
from sqlalchemy.dialects import postgresql, sqlite

from copilot.db import db, now
from copilot.models import Heartbeat, Holder

_holders: Any = Holder.__table__
_heartbeats: Any = Heartbeat.__table__


def hold(job: str, holder: str, seconds: float) -> bool:
    """Take or renew the job for so many seconds; False while somebody else holds it.

    Inside the transaction the row is locked either way, so with `seconds=0` it is a mutex that ends with the commit.
    """
    moment = now()
    insert = postgresql.insert if db.engine.dialect.name == "postgresql" else sqlite.insert
    new = insert(_holders).values(job=job, holder=holder, until=moment + timedelta(seconds=seconds))
    taken = new.on_conflict_do_update(
        index_elements=[_holders.c.job],
        set_={"holder": new.excluded.holder, "until": new.excluded.until},
        where=or_(_holders.c.holder == holder, _holders.c.until <= moment),
    ).returning(_holders.c.job)
    return db.session.execute(taken).first() is not None


def beat(name: str, kind: str) -> None:
    """Write down that this process lives."""
    insert = postgresql.insert if db.engine.dialect.name == "postgresql" else sqlite.insert
    row = insert(_heartbeats).values(name=name[:100], kind=kind, at=now())
    db.session.execute(
        row.on_conflict_do_update(index_elements=[_heartbeats.c.name], set_={"at": row.excluded.at, "kind": row.excluded.kind})
    )


def me() -> str:
    """This process's name among all machines of the installation."""
    return f"{socket.gethostname()[:80]}:{os.getpid()}"
