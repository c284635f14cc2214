"""Fixtures. Nothing is pretended but the far end: databases, the Valkey and the worker processes are real ones.

`app` is a whole application on a migrated database of the test's own, with its context pushed; a test marked
`both_databases` runs on SQLite and on PostgreSQL, every other on SQLite. `@pytest.mark.settings(NAME="value")`
changes the environment the application is made from.
"""

from __future__ import annotations

import contextvars
import os
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import redis
from argon2 import profiles
from flask import Flask, has_app_context
from flask.testing import FlaskClient
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings
from werkzeug.serving import make_server

from copilot import app as application
from copilot import config
from copilot import db as database
from copilot.agents import llm
from copilot.db import db
from copilot.gateway import outlog
from copilot.people import passwords
from tests import fake_model as fakes
from tests.support import ROOT, databases, ledger, servers, tools, workers
from tests.support import people as staff

hypothesis_settings.register_profile(
    "tests", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
)
hypothesis_settings.load_profile("tests")


def pytest_configure(config: pytest.Config) -> None:
    """Name our marks, and keep the machine's own settings out of the tests."""
    config.addinivalue_line("markers", "both_databases: runs on SQLite and on PostgreSQL")
    config.addinivalue_line("markers", "settings(**environ): the environment the application of this test is made from")
    config.addinivalue_line("markers", "forged: writes into the database by hand what the records then rightly disagree about")
    for name in list(os.environ):
        if name.startswith("COPILOT_") and name != "COPILOT_TEST_DATA":
            del os.environ[name]
    for name in ("DATABASE_URL", "REDIS_URL", "SECRET_KEY", "OPENAI_API_KEY", "OPENAI_BASE_URL", "SLACK_WEBHOOK_URL"):
        os.environ.pop(name, None)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test marked `both_databases` on both."""
    if "database_url" in metafunc.fixturenames and metafunc.definition.get_closest_marker("both_databases"):
        metafunc.parametrize("database_url", ["sqlite", "postgresql"], indirect=True)


@pytest.fixture(scope="session", autouse=True)
def _cheap_passwords() -> None:
    passwords.PROFILE = profiles.CHEAPEST


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated SQLite file to copy."""
    return databases.sqlite_template(tmp_path_factory.mktemp("template"))


@pytest.fixture(scope="session")
def postgres() -> Iterator[servers.Postgres]:
    """A PostgreSQL cluster in which tests may make databases."""
    with servers.postgres() as cluster:
        yield cluster


@pytest.fixture(scope="session")
def postgres_template(postgres: servers.Postgres) -> Iterator[str]:
    """The name of a migrated database to copy."""
    with databases.postgres_template(postgres) as name:
        yield name


@pytest.fixture
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A migrated database of this test's own."""
    if getattr(request, "param", "sqlite") == "sqlite":
        yield databases.sqlite_copy(request.getfixturevalue("sqlite_template"), tmp_path)
        return
    cluster, template = request.getfixturevalue("postgres"), request.getfixturevalue("postgres_template")
    with databases.postgres_copy(cluster, template) as url:
        yield url


@pytest.fixture(scope="session")
def valkey_server() -> Iterator[str]:
    """The URL of this process's own Valkey."""
    with servers.valkey() as url:
        yield url


@pytest.fixture
def valkey(valkey_server: str) -> str:
    """The URL of a real, empty Valkey server."""
    with redis.Redis.from_url(valkey_server) as client:
        client.flushall()
    return valkey_server


@pytest.fixture
def book(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ledger.Ledger:
    """The counting toolbox's own ledger, which worker processes share."""
    made = ledger.make(tmp_path / "ledger.sqlite3")
    monkeypatch.setenv(ledger.PLACE, str(made.path))
    return made


@pytest.fixture
def more_environ() -> dict[str, str]:
    """Settings that are known only when the test runs; a module overrides it."""
    return {}


@pytest.fixture
def environ(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    database_url: str,
    valkey: str,
    book: ledger.Ledger,
    more_environ: dict[str, str],
) -> dict[str, str]:
    """The settings of this test's installation, for the application here and for real processes beside it."""
    data = tmp_path / "data"
    data.mkdir()
    made = {
        "DATABASE_URL": database_url,
        "REDIS_URL": valkey,
        "SECRET_KEY": "tests only, 32 or more characters long",
        "COPILOT_DATA_DIR": str(data),
        "COPILOT_TOOLKITS": "tests.support.tools:counting",
        "COPILOT_POLICY_DIR": str(ROOT / "tests" / "support" / "policies"),
        "OPENAI_API_KEY": "none",
        "OPENAI_BASE_URL": "http://127.0.0.1:9/v1",
        "COPILOT_MODEL": "none",
        ledger.PLACE: str(book.path),
    }
    for mark in request.node.iter_markers("settings"):
        made |= mark.kwargs
    return made | more_environ


@pytest.fixture
def settings(environ: dict[str, str]) -> config.Settings:
    """The same, parsed."""
    return config.load(environ)


class Browser(FlaskClient):
    """A test client whose requests do not see the test's own application context, as a real one's would not."""

    def open(self, *args: Any, **kwargs: Any) -> Any:
        """Send one request in a context of its own; what the test had read before is forgotten."""
        if has_app_context():
            db.session.rollback()
        return contextvars.Context().run(super().open, *args, **kwargs)


@pytest.fixture
def app(settings: config.Settings) -> Iterator[Flask]:
    """The whole application, its context pushed."""
    made = application.create_app(settings)
    made.testing = True
    made.test_client_class = Browser
    with made.app_context():
        try:
            yield made
        finally:
            outlog.flush()  # it writes in a thread of its own
            db.session.remove()
            db.engine.dispose()


class Clock:
    """Moves `db.now()`: the only clock stored times are made by."""

    def __init__(self) -> None:
        self.offset = timedelta(0)

    def advance(self, **by: float) -> None:
        """Let time pass: `clock.advance(minutes=15)`."""
        self.offset += timedelta(**by)
        database.set_clock_offset(self.offset)


@pytest.fixture
def clock(app: Flask) -> Iterator[Clock]:
    """A clock the test moves."""
    yield Clock()
    database.set_clock_offset(timedelta(0))


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    """A browser or program that talks to the application."""
    return app.test_client()


@pytest.fixture
def people(app: Flask) -> staff.People:
    """Ana decides, Bo decides and manages, Cy may only look, Dee is the admin who owns the agent, Eli decides too."""
    return staff.add()


@pytest.fixture
def agent(people: staff.People) -> str:
    """The id of an agent of Dee's with every scope of the counting toolbox."""
    return staff.add_agent(people.ids["dee"], scopes=tuple(f"{tool}:write" for tool in tools.WRITES))


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[str]:
    """The address of the sample company's shop: a process of its own with its own data."""
    with workers.serving("copilot.demo.shop", tmp_path, "--data", str(tmp_path / "shop")) as url:
        yield url


@pytest.fixture
def offline_model(tmp_path: Path) -> Iterator[str]:
    """The address of the sample company's model, which here makes no mistakes."""
    with workers.serving("copilot.demo.model", tmp_path, "--mistakes", "0") as url:
        yield url


@pytest.fixture
def fake_model() -> Iterator[fakes.FakeModel]:
    """A model that does what its script says."""
    with fakes.running() as model:
        yield model


@pytest.fixture
def model(app: Flask, fake_model: fakes.FakeModel, monkeypatch: pytest.MonkeyPatch) -> Iterator[fakes.FakeModel]:
    """That model as the application's own, asked without long pauses."""
    old, key = config.current(), "sk-test-0123456789abcdefghij"
    config.install(replace(old, openai_api_key=key, openai_base_url=fake_model.url, model="scripted"))
    monkeypatch.setattr(llm, "_pause", lambda fault, tries: fault.pause or 0.01)
    yield fake_model
    llm._client(key, fake_model.url, os.getpid()).close()
    config.install(old)


@pytest.fixture
def url(app: Flask) -> Iterator[str]:
    """The application behind a real socket."""
    database.read_again()
    server = make_server("127.0.0.1", 0, app, threaded=True)
    thread = threading.Thread(target=contextvars.Context().run, args=(server.serve_forever,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join(timeout=20)
    server.server_close()


@pytest.fixture(scope="module")
def chrome() -> Iterator[Any]:
    """One browser for a file; only browser tests ask for it, and only where there is one."""
    from tests.support import chromium

    with chromium.launched() as browser:
        yield browser
