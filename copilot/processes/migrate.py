"""Brings the database to the tables this version needs, and tells how far it is."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util.exc import CommandError
from flask import Flask
from sqlalchemy import inspect
from sqlalchemy.exc import DBAPIError

from copilot import config, models
from copilot.config import Settings
from copilot.db import Base, db, engine_options
from copilot.errors import SetupError


@dataclass(frozen=True, slots=True)
class Schema:
    """How far a database is. `problem` is a sentence when `db upgrade` cannot mend it."""

    revision: str | None
    head: str
    problem: str | None = None

    @property
    def current(self) -> bool:
        """Whether every table is as this version needs it."""
        return self.problem is None and self.revision == self.head


def bare(settings: Settings) -> Flask:
    """An application with the database and nothing else, for what must work when the rest does not."""
    app = Flask("copilot", instance_path=str(settings.data_dir))
    app.config["SQLALCHEMY_DATABASE_URI"] = settings.database_url
    app.config["SQLALCHEMY_ENGINE_OPTIONS"] = engine_options(settings.database_url)
    db.init_app(app)
    return app


def upgrade(settings: Settings) -> Schema:
    """Migrate to head and say how far the database is now; SetupError with one sentence when that cannot be done."""
    _make_file(settings)
    with bare(settings).app_context():
        before = schema()
        if before.problem is not None:
            raise SetupError(before.problem)
        if before.current:
            return before
        try:
            command.upgrade(_alembic(), "head")
        except (CommandError, DBAPIError) as error:
            raise SetupError(f"The database could not be migrated and is as it was before: {_short(error)}") from error
        db.session.remove()
        return schema()


def file(settings: Settings) -> Path | None:
    """Where the SQLite database lies; None when it is another database or none in a file."""
    path = settings.database_url.removeprefix("sqlite:///").split("?")[0]
    return settings.data_dir / path if settings.sqlite and path not in ("", ":memory:") else None


def _make_file(settings: Settings) -> None:
    """Nobody but its owner may read an SQLite database; what SQLite puts beside it follows its mode."""
    path = file(settings)
    if path is None:
        return
    try:
        settings.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600))
        path.chmod(0o600)
    except OSError as error:
        raise SetupError(f"The database file {path} cannot be written ({error.strerror}): DATABASE_URL says where it is.") from error


def require_file(settings: Settings) -> None:
    """Be content only when an SQLite database is there; asked before connecting, which would make it."""
    path = file(settings)
    if path is not None and not path.exists():
        raise SetupError(f"There is no database at {path}: run `copilot db upgrade` first, or name its folder with COPILOT_DATA_DIR.")


def require() -> None:
    """Be content only with a database that is as this version needs it."""
    found = schema()
    if not found.current:
        raise SetupError(found.problem or "The database is not migrated: run `copilot db upgrade` first.")


def schema() -> Schema:
    """How far the database of the current application is. SetupError when it cannot be reached."""
    script = ScriptDirectory.from_config(_alembic())
    head = script.get_current_head()
    assert head is not None
    try:
        with db.engine.connect() as connection:
            revision = MigrationContext.configure(connection).get_current_revision()
            ours = set(Base.metadata.tables) & set(inspect(connection).get_table_names())
    except DBAPIError as error:
        if "file is not a database" in str(error.orig) or "malformed" in str(error.orig):
            sentence = f"{db.engine.url.database} is not an SQLite database file: restore it from a backup, or move it away to begin anew."
            raise SetupError(sentence) from error
        raise SetupError(f"The database cannot be reached: {_short(error)} DATABASE_URL says where it is.") from error
    known = {found.revision for found in script.walk_revisions()}
    problem = None
    if revision is not None and revision not in known:
        problem = (
            f"The database was migrated by another version of Copilot (revision {revision}, which this one does not know): "
            "install that version, or point DATABASE_URL at another database."
        )
    elif revision is None and ours:
        problem = (
            f"The database is half-migrated: it holds the table {min(ours)} but no record of a migration. "
            "Restore it from a backup, or point DATABASE_URL at an empty database."
        )
    elif revision == head and (missing := set(models_tables()) - ours):
        problem = (
            f"The database is half-migrated: it says it is complete, but the table {min(missing)} is missing. "
            "Restore it from a backup, or point DATABASE_URL at an empty database."
        )
    return Schema(revision=revision, head=head, problem=problem)


def models_tables() -> list[str]:
    """The names of every table this version needs."""
    assert models.__all__  # importing the rooms' tables is what registers them
    return list(Base.metadata.tables)


def _alembic() -> Config:
    folder = config.files("migrations")
    made = Config(str(folder / "alembic.ini"))
    made.set_main_option("script_location", str(folder).replace("%", "%%"))
    return made


def _short(error: Exception) -> str:
    """The first line of a database's complaint, without the statement and its values."""
    cause = getattr(error, "orig", None) or error
    return (str(cause).strip().splitlines() or [type(cause).__name__])[0].rstrip(".") + "."
