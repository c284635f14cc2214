"""Child processes that end with the test run, even when the run is killed."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

# Drops root first: a change of user would clear the wish to die with the parent. A preexec_fn would warn under threads.
_LAUNCHER = """
import ctypes, os, signal, sys
parent, user, group = int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
if user >= 0:
    os.setgroups([]); os.setgid(group); os.setuid(user)
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)
if os.getppid() != parent:
    sys.exit(1)
os.execv(sys.argv[4], sys.argv[4:])
"""


def start(
    command: Sequence[str | Path],
    *,
    log: Path,
    environ: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    user: tuple[int, int] | None = None,
) -> subprocess.Popen[bytes]:
    """Start a child (its first word is an absolute path) that dies with us; what it says goes to `log`. `user` is uid and gid."""
    uid, gid = user or (-1, -1)
    launcher = [sys.executable, "-S", "-c", _LAUNCHER, str(os.getpid()), str(uid), str(gid)]
    with log.open("ab") as out:
        return subprocess.Popen(
            [*launcher, *map(str, command)],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            env=dict(os.environ if environ is None else environ),
            cwd=cwd,
        )


def end(child: subprocess.Popen[bytes], *, how: signal.Signals = signal.SIGTERM, seconds: float = 5) -> None:
    """End one child by its pid: politely, then not."""
    if child.poll() is not None:
        return
    child.send_signal(how)
    try:
        child.wait(seconds)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait(5)


@contextlib.contextmanager
def running(child: subprocess.Popen[bytes], *, how: signal.Signals = signal.SIGTERM) -> Iterator[subprocess.Popen[bytes]]:
    """Keep a child for a while and end it, whatever happens."""
    try:
        yield child
    finally:
        end(child, how=how)
