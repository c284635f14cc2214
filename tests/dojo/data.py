"""The suites as AgentDojo publishes them: tools, an environment, what users ask for and what attackers want."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SUITES = ("banking", "slack")


@dataclass(frozen=True, slots=True)
class Task:
    """What a user asks for or an attacker wants, in words, and the calls that do it. Arguments as the data gives them."""

    id: str
    text: str
    calls: tuple[tuple[str, dict[str, Any]], ...]


@dataclass(frozen=True, slots=True)
class Suite:
    """One suite. `tools` are names with description, JSON Schema and effect."""

    name: str
    tools: tuple[dict[str, Any], ...]
    environment: dict[str, Any]
    users: tuple[Task, ...]
    attacks: tuple[Task, ...]


def folder() -> Path | None:
    """Where the data is, or None when there is none here."""
    named = os.environ.get("COPILOT_TEST_DATA")
    found = Path(named) / "data" / "agentdojo" if named else None
    return found if found is not None and found.is_dir() else None


def load(name: str) -> Suite:
    """One suite by name."""
    place = folder()
    if place is None:
        raise FileNotFoundError("COPILOT_TEST_DATA names no folder with data/agentdojo in it")
    raw = json.loads((place / f"{name}.json").read_text(encoding="utf-8"))
    return Suite(
        raw["suite"],
        tuple(raw["tools"]),
        raw["environment"],
        tuple(_task(each, "prompt") for each in raw["user_tasks"]),
        tuple(_task(each, "goal") for each in raw["injection_tasks"]),
    )


def _task(raw: dict[str, Any], words: str) -> Task:
    return Task(raw["id"], raw[words], tuple((call["name"], call["args"]) for call in raw["calls"]))
