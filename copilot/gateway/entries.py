"""Reading tables of the tools file: what must be there, what may be, and a sentence for everything else. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from copilot.errors import SetupError


def known(table: Any, options: Iterable[str], *, where: str) -> None:
    """SetupError when it is no table or has an option nobody knows: a misspelt one would silently mean nothing."""
    if not isinstance(table, Mapping):
        raise SetupError(f"{where} is a table.")
    strange = sorted(set(table) - set(options))
    if strange:
        raise SetupError(f"{where} has {', '.join(strange)}, which means nothing here; there are {', '.join(sorted(options))}.")


def text(table: Any, option: str, *, where: str) -> str:
    """A text that must be there."""
    found = table.get(option) if isinstance(table, Mapping) else None
    if not isinstance(found, str) or not found.strip():
        raise SetupError(f"{where} needs {option}, a text.")
    return found


def tables(table: Mapping[str, Any], option: str, *, where: str) -> list[Mapping[str, Any]]:
    """A list of tables that must not be empty."""
    found = table.get(option)
    if not isinstance(found, list) or not found or not all(isinstance(part, Mapping) for part in found):
        raise SetupError(f"{where} needs at least one {option}.")
    return found
