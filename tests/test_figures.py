"""The short form of the figures that are scripts of their own: each still measures, whatever the numbers are here."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

from tests.support import ROOT


def _run(*words: str) -> dict[str, Any]:
    done = subprocess.run([sys.executable, *words], cwd=ROOT, capture_output=True, text=True, timeout=110, check=False)
    assert done.stdout.strip(), done.stderr[-2000:]
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def test_the_verdict_is_measured_beside_bare_cedar() -> None:
    found = _run("bench/gate.py", "--verdicts", "60", "--facts", "10")
    assert all(found[part][name] > 0 for part in ("suggest", "auto") for name in ("verdict_us", "bare_single_us"))
    assert found["with_facts_p95_ms"] > 0


def test_recorded_verdicts_are_replayed() -> None:
    found = _run("bench/replay.py", "--verdicts", "400", "--processes", "1")
    assert found["verdicts"] == 400
    assert found["flips"] > 0
    assert found["unknown"] > 0
