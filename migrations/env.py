"""Runs the migrations on the database of the current application.

All revisions of one upgrade are one transaction on both databases: a half-migrated database cannot come to be, and of
two upgrades started at once the second waits for the first and then finds nothing to do.
"""

from __future__ import annotations

from alembic import context
from sqlalchemy import Connection

from copilot import models  # noqa: F401 -- the tables register themselves on Base.metadata
from copilot.db import Base, db

_LOCK = 4_203_977_105  # any number, the same for every upgrade: PostgreSQL's advisory locks have no names


def _sqlite_foreign_keys(connection: Connection, *, on: bool) -> None:
    """SQLite alters a table by copying and dropping it, which must not cascade; the switch works only outside a transaction."""
    if connection.dialect.name == "sqlite":
        connection.connection.cursor().execute(f"PRAGMA foreign_keys={'ON' if on else 'OFF'}")


def _one_at_a_time(connection: Connection) -> None:
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql("PRAGMA user_version=1")  # a first write takes the file's write lock before anything is read
    else:
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_LOCK})")


def _nothing_dangles(connection: Connection) -> None:
    if connection.dialect.name == "sqlite":
        broken = connection.exec_driver_sql("PRAGMA foreign_key_check").fetchall()
        if broken:
            raise RuntimeError(f"the migration leaves rows that point nowhere: {broken[:5]}")


def run() -> None:
    """Run the wanted revisions, all or none."""
    with db.engine.connect() as connection:
        _sqlite_foreign_keys(connection, on=False)
        try:
            context.configure(
                connection=connection,
                target_metadata=Base.metadata,
                render_as_batch=connection.dialect.name == "sqlite",
                transactional_ddl=True,
                compare_type=True,
            )
            with context.begin_transaction():
                _one_at_a_time(connection)
                context.run_migrations()
                _nothing_dangles(connection)
        finally:
            _sqlite_foreign_keys(connection, on=True)


if context.is_offline_mode():
    raise SystemExit("Migrations run on a live database only: what they do depends on what they find.")
run()
