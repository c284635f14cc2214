"""The database handle, the naming convention, the one clock for stored times, and `transaction`: the only commit."""

from __future__ import annotations

import contextvars
import secrets
import sqlite3
import threading
from base64 import b32encode
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar

from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import JSON, Connection, DateTime, Dialect, Engine, MetaData, event, text, types
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import DeclarativeBase

_CONVENTION = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}


class UTCDateTime(types.TypeDecorator[datetime]):
    """An aware UTC instant: stored naive on SQLite, with zone on PostgreSQL; a naive value is refused."""

    impl = DateTime
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> types.TypeEngine[Any]:
        """Store the zone where the database can."""
        return dialect.type_descriptor(DateTime(timezone=dialect.name != "sqlite"))

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Refuse a naive time rather than guess its zone."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a stored time must be aware")
        moment = value.astimezone(UTC)
        return moment.replace(tzinfo=None) if dialect.name == "sqlite" else moment

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002 - SQLAlchemy's signature
        """Give back aware UTC."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


Json = JSON().with_variant(JSONB(), "postgresql")


class Base(DeclarativeBase):
    """Base of every table."""

    metadata = MetaData(naming_convention=_CONVENTION)
    type_annotation_map: ClassVar[dict[Any, Any]] = {datetime: UTCDateTime(), dict[str, Any]: Json, list[Any]: Json, list[str]: Json}


db = SQLAlchemy(metadata=Base.metadata)  # for its session and engine; tables are plain typed classes on Base

_writing: contextvars.ContextVar[bool] = contextvars.ContextVar("copilot_writing", default=False)
_one_writer = threading.Lock()  # SQLite queues writers unfairly between threads; one lock in the process is several times faster
_offset = timedelta(0)


class NestedTransaction(RuntimeError):
    """`transaction` was entered inside another: two edges were mixed up."""


@contextmanager
def transaction() -> Iterator[None]:
    """One write transaction: commits at the end, rolls back on any exception.

    Whatever was read before is forgotten and read again inside, so a decision never rests on an old snapshot.
    Nothing that talks to the outside may run inside.
    """
    if _writing.get():
        raise NestedTransaction("transaction() does not nest")
    db.session.rollback()
    sqlite = db.engine.dialect.name == "sqlite"
    token = _writing.set(True)
    if sqlite:
        _one_writer.acquire()
    try:
        yield
        db.session.commit()
    except BaseException:
        db.session.rollback()
        raise
    finally:
        if sqlite:
            _one_writer.release()
        _writing.reset(token)


_fresh_context: Callable[[], AbstractContextManager[Any]] | None = None


def install_context(factory: Callable[[], AbstractContextManager[Any]]) -> None:
    """Tell the rooms below the edge how a thread gets a session of its own."""
    global _fresh_context
    _fresh_context = factory


def fresh_context() -> AbstractContextManager[Any]:
    """A context with its own session, for work in another thread; sessions are never shared between threads."""
    if _fresh_context is None:
        raise RuntimeError("no application was created in this process")
    return _fresh_context()


def read_again() -> None:
    """Leave the current read snapshot, so that what follows sees what others have committed since."""
    if _writing.get():
        raise NestedTransaction("read_again() inside transaction()")
    db.session.rollback()


def now() -> datetime:
    """The only clock for stored times: the database's, aware UTC, plus the sample company's offset."""
    if db.engine.dialect.name == "sqlite":
        moment = datetime.now(UTC)  # an SQLite database has the clock of the machine it is opened on
    else:
        moment = db.session.execute(text("SELECT clock_timestamp()")).scalar_one().astimezone(UTC)
    return moment + _offset


def set_clock_offset(offset: timedelta) -> None:
    """Shift `now`; only the sample company's settings lead here."""
    global _offset
    _offset = offset


def new_id(prefix: str) -> str:
    """A random opaque id of 160 bits in [a-z0-9_], such as `prop_x4…`."""
    return f"{prefix}_{b32encode(secrets.token_bytes(20)).decode().lower()}"


@event.listens_for(Engine, "connect")
def _prepare(connection: Any, _record: Any) -> None:
    if isinstance(connection, sqlite3.Connection):
        connection.isolation_level = None  # we say BEGIN ourselves: the driver's lazy one makes read-then-write racy
        cursor = connection.cursor()
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "busy_timeout=20000", "foreign_keys=ON"):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()


@event.listens_for(Engine, "begin")
def _begin(connection: Connection) -> None:
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql("BEGIN IMMEDIATE" if _writing.get() else "BEGIN")


def engine_options(url: str) -> dict[str, Any]:
    """Engine options for this URL; times are given as UTC, forgotten transactions end by themselves, errors never quote values."""
    if url.startswith("sqlite"):
        return {"connect_args": {"timeout": 20}, "hide_parameters": True}
    return {
        "pool_size": 10,
        "max_overflow": 40,
        "pool_pre_ping": True,
        "hide_parameters": True,
        "connect_args": {"options": "-c timezone=UTC -c idle_in_transaction_session_timeout=60000", "connect_timeout": 5},
    }
