"""The main job, whole and headless, as `copilot demo --headless` runs it: short forms of the figures that `make prove` measures."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

COPILOT = str(Path(sys.executable).parent / "copilot")

pytestmark = [pytest.mark.timeout(400), pytest.mark.xdist_group("main job")]  # one at a time: each is a dozen processes


def run(*words: str, seconds: float = 380, **environ: str) -> tuple[int, dict[str, Any], str]:
    """The exit code, the JSON object, and what was said on standard error."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR") if name in os.environ}
    done = subprocess.run([COPILOT, *words, "--json"], env=kept | environ, capture_output=True, text=True, timeout=seconds, check=False)
    lines = done.stdout.splitlines()
    return done.returncode, json.loads(lines[-1]) if lines else {}, done.stderr


def check(found: dict[str, Any], said: str, *, tickets: int) -> None:
    assert found, said
    assert (found["lost"], found["duplicate_effects"], found["audit_verified"]) == (0, 0, True), found["findings"]
    assert found["tickets"] == tickets
    assert found["complete"]
    assert found["proposals"] >= tickets / 2
    assert found["executed"] >= tickets / 4


@pytest.mark.both_databases
def test_nothing_is_lost_or_doubled(database_url: str, tmp_path: Path) -> None:
    code, found, said = run("demo", "--headless", "--tickets", "12", "--data", str(tmp_path / "demo"), DATABASE_URL=database_url)
    check(found, said, tickets=12)
    assert code == 0


def test_nothing_is_lost_or_doubled_while_workers_are_killed(tmp_path: Path) -> None:
    code, found, said = run("demo", "--headless", "--tickets", "12", "--data", str(tmp_path / "demo"), "--kill-every", "2")
    check(found, said, tickets=12)
    assert code == 0
    assert "SIGKILL" in (tmp_path / "demo" / "logs" / "copilot.log").read_text()


def test_the_second_run_on_the_same_data_goes_on_from_there(tmp_path: Path) -> None:
    for seed, tickets in (("1", 5), ("2", 10)):
        code, found, said = run("demo", "--headless", "--tickets", "5", "--seed", seed, "--data", str(tmp_path / "demo"))
        assert code == 0, (found, said)
        assert found["tickets"] == tickets


def test_the_bench_measures_beside_the_queue_alone() -> None:
    code, figures, said = run("bench", "--proposals", "20")
    assert code == 0, said
    assert figures["actions"] == 20
    assert 0 < figures["rq_enqueue_to_start_p50_ms"] < figures["approval_to_effect_p50_ms"]
