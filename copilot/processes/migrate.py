"""Brings the database to the tables this version needs, and tells how far it is."""

from __future__ import annotations

from dataclasses import dataclass

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
    if settings.sqlite:
        settings.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    app = Flask("copilot")
    app.config["SQLALCHEMY_DATABASE_URI"] = settings.database_url
    app.config["SQLALCHEMY_ENGINE_OPTIONS"] = engine_options(settings.database_url)
    db.init_app(app)
    return app


def upgrade(settings: Settings) -> Schema:
    """Migrate to head and say how far the database is now; SetupError with one sentence when that cannot be done."""
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
