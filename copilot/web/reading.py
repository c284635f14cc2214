"""A tool's arguments for reading: every value that will run, whole and in order, and what differs between two versions."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from copilot.toolkit import Money
from copilot.web import money
from copilot.web.text import label

Path = tuple[str, ...]

_LONG = 120


@dataclass(frozen=True, slots=True)
class Line:
    """One value that will run, for reading: `exact` is what the tool is given, where `text` shows it more kindly."""

    path: Path
    label: str
    text: str
    exact: str
    long: bool
    money: bool


def lines(arguments: Mapping[str, Any], path: Path = ()) -> tuple[Line, ...]:
    """Every value of the arguments in their order, nested ones by their path; nothing is left out or cut."""
    found: list[Line] = []
    for name, value in arguments.items():
        here = (*path, name)
        if isinstance(value, dict) and value:
            found.extend(lines(value, here))
            continue
        exact = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        amount = _amount(name, value, arguments)
        text = money.show(amount) if amount else _plain(value)
        stem = name.removesuffix("_minor") if amount else name
        words = " › ".join(label(part) for part in (*path, stem))
        found.append(Line(here, words, text, exact, "\n" in text or len(text) > _LONG, amount is not None))
    return tuple(found)


def _amount(name: str, value: Any, siblings: Mapping[str, Any]) -> Money | None:
    if not name.endswith("_minor") or isinstance(value, bool) or not isinstance(value, int):
        return None
    currency = siblings.get(f"{name.removesuffix('_minor')}_currency", siblings.get("currency"))
    try:
        return Money(value, str(currency))
    except ValueError:
        return None


def _plain(value: Any) -> str:
    if isinstance(value, bool):
        return "Yes" if value else "No"
    if value is None:
        return "(nothing)"
    if isinstance(value, str):
        return value or "(empty)"
    if isinstance(value, list) and value and all(isinstance(part, str | int | float) for part in value):
        return "\n".join(str(part) for part in value)
    return json.dumps(value, ensure_ascii=False, indent=2) if isinstance(value, dict | list) else str(value)


@dataclass(frozen=True, slots=True)
class Change:
    """One value that differs between two versions; None where it did not exist."""

    label: str
    before: str | None
    after: str | None
    long: bool


def changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> tuple[Change, ...]:
    """What differs between two sets of arguments, in the order of the newer."""
    old = {line.path: line for line in lines(before)}
    new = {line.path: line for line in lines(after)}
    found = []
    for path in [*new, *(path for path in old if path not in new)]:
        a, b = old.get(path), new.get(path)
        if (a and (a.text, a.exact)) != (b and (b.text, b.exact)):
            kept = b or a
            assert kept is not None
            found.append(Change(kept.label, a.text if a else None, b.text if b else None, bool((a and a.long) or (b and b.long))))
    return tuple(found)
