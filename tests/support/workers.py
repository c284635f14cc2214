"""Real worker processes beside the test, on its database, its Valkey and its ledger."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from tests.support import ROOT, children


def start(environ: Mapping[str, str], folder: Path, *, queue: str = "execute", number: int = 1) -> subprocess.Popen[bytes]:
    """Start one worker process on one queue."""
    own = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    command = [sys.executable, "-W", "error::ResourceWarning", "-m", "copilot.processes.worker", queue, str(number)]
    return children.start(command, log=folder / f"{queue}-{number}.log", environ=own | environ, cwd=ROOT)


def until(what: Callable[[], object], *, seconds: float = 30, every: float = 0.05) -> None:
    """Wait until it is true; fails plainly when it never is."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if what():
            return
        time.sleep(every)
    raise AssertionError(f"not within {seconds:.0f} seconds")
