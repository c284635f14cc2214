r"""This process's own secrets: whatever was read to call a service is taken out of all that is said, kept or shown. Pure.

There is no mark and no way back. What comes as JSON is parsed first and cleaned afterwards: in its raw text one character
has many spellings (`\/`, `\u0063`), and a search in it would miss them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

_SHORTEST = 6  # a shorter one would take ordinary words out of every text
_GONE = "[secret]"

_protected: dict[str, None] = {}


def protect(value: str) -> None:
    """From now on take this value, a secret of our own, out of every text, also as JSON and logs usually write it."""
    if len(value) >= _SHORTEST:
        _protected.update(dict.fromkeys(_spellings(value)))


def unprotect(value: str) -> None:
    """Forget a secret that has expired, such as an access token."""
    for spelling in _spellings(value):
        _protected.pop(spelling, None)


def without(text: str) -> str:
    """The text without our own secrets and nothing else changed."""
    for value in sorted(_protected, key=len, reverse=True):
        if value in text:
            text = text.replace(value, _GONE)
    return text


def without_in(value: Any) -> Any:
    """A JSON value without our own secrets, in its keys and texts; a number that holds one becomes a text."""
    if isinstance(value, str):
        return without(value)
    if isinstance(value, Mapping):
        return {without_in(key): without_in(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [without_in(part) for part in value]
    if isinstance(value, int | float) and not isinstance(value, bool):
        written = str(value)
        found = without(written)
        return value if found == written else found
    return value


def _spellings(value: str) -> tuple[str, ...]:
    escaped = json.dumps(value)[1:-1]
    return tuple(dict.fromkeys((value, escaped, escaped.replace("/", "\\/"))))
