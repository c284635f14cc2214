"""`make prove`: every figure the product claims, one command each, written to docs/figures.json with commit and machine.

Run alone on the machine. PostgreSQL figures need a server: the tests' own is started (system binaries or the wheel).
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
FILE = ROOT / "docs" / "figures.json"
PYTHON = sys.executable
COPILOT = str(Path(PYTHON).parent / "copilot")


@dataclass(frozen=True, slots=True)
class Figure:
    """One claim: the command that measures it prints one JSON object last, of which `keep` is written down (empty: all of it)."""

    name: str
    command: tuple[str, ...]
    keep: tuple[str, ...] = ()
    postgresql: bool = False
    outside: bool = False  # needs the data in COPILOT_TEST_DATA; says plainly that it was skipped without


_RUN = (COPILOT, "demo", "--headless", "--tickets", "200", "--json")
FIGURES = (
    Figure("approval to effect beside RQ alone, SQLite", (COPILOT, "bench", "--json")),
    Figure("approval to effect beside RQ alone, PostgreSQL", (COPILOT, "bench", "--json"), postgresql=True),
    Figure("200 tickets, SQLite", _RUN),
    Figure("200 tickets, PostgreSQL", _RUN, postgresql=True),
    Figure("200 tickets, a worker killed every 3 s, SQLite", (*_RUN, "--kill-every", "3")),
    Figure("200 tickets, a worker killed every 3 s, PostgreSQL", (*_RUN, "--kill-every", "3"), postgresql=True),
    Figure("the whole verdict beside bare Cedar, facts from SQLite", (PYTHON, "bench/gate.py")),
    Figure("the whole verdict beside bare Cedar, facts from PostgreSQL", (PYTHON, "bench/gate.py"), postgresql=True),
    Figure("recorded verdicts replayed", (PYTHON, "bench/replay.py")),
    Figure("tau2 retail and airline tasks", (PYTHON, "-m", "tests.outside.figures", "tau2", "--json"), outside=True),
    Figure("663 wrong calls", (PYTHON, "-m", "tests.outside.figures", "negative", "--json"), outside=True),
    Figure("133 writes that GPT-4o drafted", (PYTHON, "-m", "tests.outside.figures", "gpt4o", "--json"), outside=True),
    Figure(
        "AgentDojo with a compromised agent, every fourth pair",
        (PYTHON, "-m", "tests.dojo.figures", "--json", "--every", "4"),
        outside=True,
    ),
)


def main() -> int:
    """Measure them all and write the file, or only those whose name holds the first argument; fail if any command failed."""
    wanted = [figure for figure in FIGURES if not sys.argv[1:] or sys.argv[1] in figure.name]
    measured = []
    for figure in wanted:
        print(f"{figure.name} ...", flush=True)
        measured.append(_measure(figure))
        print(f"  {'ok' if measured[-1]['ok'] else 'FAILED'} {json.dumps(measured[-1]['values'])}", flush=True)
    if sys.argv[1:]:  # a part anew, beside what was measured before
        earlier = json.loads(FILE.read_text())
        anew = {each["name"]: each | {"commit": _git("rev-parse", "HEAD")} for each in measured}
        earlier["figures"] = [anew.pop(each["name"], each) for each in earlier["figures"]] + list(anew.values())
        FILE.write_text(json.dumps(earlier, indent=2) + "\n")
        return 0 if all(each["ok"] for each in measured) else 1
    written = {"commit": _git("rev-parse", "HEAD"), "changed": bool(_git("status", "--porcelain", "--untracked-files=no"))}
    written |= {"at": datetime.now(UTC).isoformat(timespec="seconds"), "machine": _machine(), "figures": measured}
    FILE.write_text(json.dumps(written, indent=2) + "\n")
    return 0 if all(each["ok"] for each in measured) else 1


def _measure(figure: Figure) -> dict[str, Any]:
    began = time.monotonic()
    command = " ".join([Path(figure.command[0]).name, *figure.command[1:]])
    if figure.outside and not os.environ.get("COPILOT_TEST_DATA"):
        return {
            "name": figure.name,
            "command": command,
            "seconds": 0.0,
            "ok": True,
            "values": {"skipped": "COPILOT_TEST_DATA names no folder"},
        }
    with _database(figure) as environ:
        done = subprocess.run(
            figure.command, env={**os.environ, **environ}, cwd=ROOT, capture_output=True, text=True, timeout=1800, check=False
        )
    try:
        values = json.loads(done.stdout.splitlines()[-1])
    except (IndexError, ValueError):
        values = {"error": done.stderr.strip()[-500:]}
    kept = {name: values.get(name) for name in figure.keep} if figure.keep else values
    return {
        "name": figure.name,
        "command": command,
        "seconds": round(time.monotonic() - began, 1),
        "ok": done.returncode == 0,
        "values": kept,
    }


@contextmanager
def _database(figure: Figure) -> Iterator[dict[str, str]]:
    if not figure.postgresql:
        yield {}
        return
    sys.path.insert(0, str(ROOT))
    from tests.support import servers

    with servers.postgres() as cluster:
        name = servers.fresh_name()
        url = cluster.create(name)
        try:
            yield {"DATABASE_URL": url}
        finally:
            cluster.drop(name)


def _machine() -> dict[str, Any]:
    return {"system": platform.platform(), "python": platform.python_version(), "cpus": os.cpu_count(), "cpu": _cpu()}


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.processor())


def _git(*words: str) -> str:
    return subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=False).stdout.strip()


if __name__ == "__main__":
    sys.exit(main())
