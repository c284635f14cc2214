"""A migrated database per test, copied from one that was migrated once."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from alembic import command
from alembic.config import Config
from flask import Flask

from copilot import config
from copilot.db import db, engine_options
from tests.support.servers import Postgres, fresh_name


def speaking(url: str) -> str:
    """The URL as Copilot itself writes it, with the driver's name."""
    return config.load({"DATABASE_URL": url}).database_url


@contextmanager
def bare(url: str) -> Iterator[Flask]:
    """An application with a database and nothing else, for migrations."""
    app = Flask("bare")
    app.config.update(SQLALCHEMY_DATABASE_URI=speaking(url), SQLALCHEMY_ENGINE_OPTIONS=engine_options(speaking(url)))
    db.init_app(app)
    with app.app_context():
        try:
            yield app
        finally:
            db.session.remove()
            db.engine.dispose()


def alembic() -> Config:
    """The project's own Alembic configuration."""
    return Config(config.files("migrations") / "alembic.ini")


def upgrade(url: str) -> None:
    """Bring an empty database to the head."""
    with bare(url):
        command.upgrade(alembic(), "head")


def sqlite_template(folder: Path) -> Path:
    """One migrated SQLite file; closing its last connection folds the write-ahead log into it."""
    path = folder / "template.sqlite3"
    upgrade(f"sqlite:///{path}")
    return path


def sqlite_copy(template: Path, folder: Path) -> str:
    """A fresh database in a folder of the test's own."""
    path = folder / "copilot.sqlite3"
    shutil.copyfile(template, path)
    return f"sqlite:///{path}"


@contextmanager
def postgres_template(cluster: Postgres) -> Iterator[str]:
    """One migrated PostgreSQL database; gives its name."""
    name = fresh_name()
    upgrade(cluster.create(name))
    yield name
    cluster.drop(name)


@contextmanager
def postgres_copy(cluster: Postgres, template: str) -> Iterator[str]:
    """A fresh database, dropped afterwards."""
    name = fresh_name()
    yield speaking(cluster.create(name, template=template))
    cluster.drop(name)
