"""Real worker processes beside the test, on its database, its Valkey and its ledger."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tests.support import ROOT, children


def start(environ: Mapping[str, str], folder: Path, *, queue: str = "execute", number: int = 1) -> subprocess.Popen[bytes]:
    """Start one worker process on one queue."""
    return _process(environ, folder / f"{queue}-{number}.log", "copilot.processes.worker", queue, str(number))


def clock(environ: Mapping[str, str], folder: Path) -> subprocess.Popen[bytes]:
    """Start the clock: without it a doorbell nobody heard stays unheard."""
    return _process(environ, folder / "clock.log", "copilot.processes.clock")


def _process(environ: Mapping[str, str], log: Path, module: str, *words: str) -> subprocess.Popen[bytes]:
    own = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    return children.start([sys.executable, "-m", module, *words], log=log, environ=own | environ, cwd=ROOT)


@contextmanager
def serving(module: str, folder: Path, *options: str) -> Iterator[str]:
    """Run one of the sample company's far ends on a free port; gives its address."""
    log = folder / f"{module}.log"
    command = [sys.executable, "-m", module, "--port", "0", *options]
    with children.running(children.start(command, log=log, cwd=ROOT)):
        until(lambda: _announced(log))
        yield f"http://127.0.0.1:{_announced(log)[0]['port']}"


def _announced(log: Path) -> list[dict[str, int]]:
    """What it said of itself on a line of its own, among whatever else it said."""
    lines = log.read_text().splitlines(keepends=True)
    return [json.loads(line) for line in lines if line.startswith('{"port"') and line.endswith("\n")]


def until(what: Callable[[], object], *, seconds: float = 60, every: float = 0.05) -> None:
    """Wait until it is true; fails plainly when it never is."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if what():
            return
        time.sleep(every)
    raise AssertionError(f"not within {seconds:.0f} seconds")
