"""The tables that migrations make are the tables the models describe, on both databases, up and down."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import CheckConstraint, Connection, inspect, select, text
from sqlalchemy.exc import DBAPIError

from copilot.audit import log
from copilot.db import Base, db, new_id, now, transaction
from copilot.models import AuditEvent, Budget
from tests.support import ROOT, databases, servers


@pytest.fixture(params=["sqlite", "postgresql"])
def empty(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of a database with nothing in it."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'empty.sqlite3'}"
        return
    cluster: servers.Postgres = request.getfixturevalue("postgres")
    with databases.postgres_copy(cluster, "template1") as url:
        yield url


def _everything(connection: Connection) -> set[tuple[str, str]]:
    """Every table, index, trigger and function of ours, as (kind, name)."""
    if connection.dialect.name == "sqlite":
        rows = connection.execute(text("SELECT type, name FROM sqlite_master WHERE name NOT LIKE 'sqlite_%'"))
    else:
        rows = connection.execute(
            text(
                "SELECT 'table', tablename FROM pg_tables WHERE schemaname = 'public' UNION ALL"
                " SELECT 'index', indexname FROM pg_indexes WHERE schemaname = 'public' UNION ALL"
                " SELECT 'trigger', tgname FROM pg_trigger WHERE NOT tgisinternal UNION ALL"
                " SELECT 'function', proname FROM pg_proc WHERE pronamespace = 'public'::regnamespace"
            )
        )
    return {(kind, name) for kind, name in rows}


def _look() -> set[tuple[str, str]]:
    with db.engine.connect() as connection:
        return _everything(connection)


def _differences(connection: Connection) -> list[Any]:
    context = MigrationContext.configure(connection, opts={"compare_type": True, "render_as_batch": True})
    return list(compare_metadata(context, Base.metadata))


def _checks(connection: Connection) -> set[tuple[str, str]]:
    inspector = inspect(connection)
    return {(table, str(check["name"])) for table in inspector.get_table_names() for check in inspector.get_check_constraints(table)}


def _partial(connection: Connection) -> set[str]:
    inspector = inspect(connection)
    option = f"{connection.dialect.name}_where"
    return {
        str(index["name"])
        for table in inspector.get_table_names()
        for index in inspector.get_indexes(table)
        if index.get("dialect_options", {}).get(option) is not None
    }


def test_there_is_one_head() -> None:
    assert len(ScriptDirectory.from_config(databases.alembic()).get_heads()) == 1


def test_up_makes_what_the_models_describe(empty: str) -> None:
    databases.upgrade(empty)
    with databases.bare(empty), db.engine.connect() as connection:
        assert _differences(connection) == []


def test_check_constraints_and_partial_indexes_are_there_too(empty: str) -> None:
    """Alembic's comparison looks at neither."""
    databases.upgrade(empty)
    with databases.bare(empty), db.engine.connect() as connection:
        dialect = connection.dialect.name
        wanted = {
            (table.name, str(connection.dialect.identifier_preparer.format_constraint(constraint)))
            for table in Base.metadata.tables.values()
            for constraint in table.constraints
            if isinstance(constraint, CheckConstraint)
        }
        assert _checks(connection) == wanted
        assert ("budgets", "ck_budgets_within_ceiling") in wanted
        partial = {
            str(index.name)
            for table in Base.metadata.tables.values()
            for index in table.indexes
            if index.dialect_options[dialect].get("where") is not None
        }
        assert _partial(connection) == partial


def test_down_leaves_nothing_and_up_again_makes_the_same(empty: str) -> None:
    databases.upgrade(empty)
    with databases.bare(empty):
        first = _look()
        command.downgrade(databases.alembic(), "base")
        assert _look() - {("table", "alembic_version"), ("index", "alembic_version_pkc")} == set()
        command.upgrade(databases.alembic(), "head")
        assert _look() == first


def test_upgrading_twice_changes_nothing(empty: str) -> None:
    databases.upgrade(empty)
    with databases.bare(empty):
        first = _look()
    databases.upgrade(empty)
    with databases.bare(empty):
        assert _look() == first


def test_two_upgrades_at_once_make_one(empty: str) -> None:
    code = "import sys; from tests.support import databases; databases.upgrade(sys.argv[1])"
    both = [subprocess.Popen([sys.executable, "-W", "error", "-c", code, empty], cwd=ROOT) for _ in range(2)]
    assert [process.wait(60) for process in both] == [0, 0]
    with databases.bare(empty), db.engine.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM alembic_version")).scalar() == 1
        assert _differences(connection) == []


@pytest.mark.both_databases
@pytest.mark.usefixtures("app")
@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE audit_events SET line = '{}'",
        "UPDATE audit_events SET kind = 'a.b'",
        "UPDATE audit_events SET subject = 'other'",
        "UPDATE audit_events SET leaf_hash = ''",
        "DELETE FROM audit_events",
    ],
)
def test_the_database_itself_refuses_to_change_the_log(statement: str) -> None:
    with transaction():
        log.append("test.event", "subject")
    with pytest.raises(DBAPIError, match="an audit event is"), transaction():
        db.session.execute(text(statement))
    with transaction():
        assert log.sequence() == 1
    with pytest.raises(DBAPIError, match="an audit event is"), transaction():
        db.session.execute(text("UPDATE audit_events SET leaf = 7"))
    assert db.session.execute(select(AuditEvent.leaf)).scalars().all() == [0]


@pytest.mark.both_databases
@pytest.mark.usefixtures("app")
@pytest.mark.parametrize(("spent", "reserved"), [(101, 0), (0, 101), (60, 41), (-1, 0), (0, -1)])
def test_the_database_itself_refuses_to_overdraw_a_budget(spent: int, reserved: int) -> None:
    with pytest.raises(DBAPIError, match="ck_budgets"), transaction():
        db.session.add(Budget(key=new_id("b"), rule="r", ceiling=100, spent=spent, reserved=reserved, ends_at=now()))
