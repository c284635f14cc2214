"""Scopes: what an agent was granted, as `tool:effect`, and whether that covers a call."""

from __future__ import annotations

import re
from collections.abc import Iterable

from copilot.errors import BadInput

_SCOPE = re.compile(r"(\*|[a-z][a-z0-9_]{0,63}):(read|write)\Z")


def parse(scope: str) -> str:
    """The scope if it is one; BadInput says what it should look like. There is no `*:write` on purpose."""
    if not _SCOPE.match(scope) or scope == "*:write":
        raise BadInput(
            f"{scope[:80]!r} is no scope: write tool:read or tool:write, such as get_order:read (or *:read; each write by name).",
            problems={"scope": "is not tool:read or tool:write"},
        )
    return scope


def allows(scopes: Iterable[str], tool: str, effect: str) -> bool:
    """Whether these scopes cover this effect of this tool; a write scope does not imply read."""
    granted = set(scopes)
    return f"{tool}:{effect}" in granted or (effect == "read" and "*:read" in granted)
