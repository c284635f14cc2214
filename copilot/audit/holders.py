"""One holder at a time for the jobs that must not run twice at once (sequencing, sweeping)."""

from __future__ import annotations

import os
import socket
from datetime import timedelta
from typing import Any

from sqlalchemy import or_
from sqlalchemy.dialects import postgresql, sqlite

from copilot.db import db, now
from copilot.models import Holder

_holders: Any = Holder.__table__


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


def me() -> str:
    """This process's name among all machines of the installation."""
    return f"{socket.gethostname()[:80]}:{os.getpid()}"
