"""Scopes: what an agent was granted, as `tool:effect` with optional bounds, and whether that covers a call.

`issue_refund:write;region=EU;customer=cus_2001` covers refunds to that customer in that region and nothing else. A bound
whose fact is unknown at the call does not let it through: what cannot be checked is not granted.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import quote, unquote_to_bytes

from copilot.errors import BadInput

BOUNDS = ("region", "ticket", "customer")  # in the order they are written
EVERY_READ = "*"

_HEAD = re.compile(r"(\*|[a-z][a-z0-9_]{0,63}):(read|write)\Z")
_ENCODED = re.compile(r"(?:[A-Za-z0-9._~-]|%[0-9A-Fa-f]{2}){1,384}\Z")
_LONGEST = 128  # characters of one bound's value
_EXAMPLE = "tool:read or tool:write, such as get_order:read or issue_refund:write;region=EU"


@dataclass(frozen=True, slots=True)
class Scope:
    """One scope, taken apart. A bound of None does not narrow."""

    tool: str
    effect: str
    region: str | None = None
    ticket: str | None = None
    customer: str | None = None

    def __str__(self) -> str:
        bounds = (f";{name}={quote(value, safe='')}" for name in BOUNDS if (value := getattr(self, name)) is not None)
        return f"{self.tool}:{self.effect}" + "".join(bounds)


def parse(scope: str) -> str:
    """The scope in its one spelling; BadInput says what it should look like. There is no `*:write` on purpose."""
    return str(_read(scope))


def read(scope: str) -> Scope | None:
    """The scope taken apart; None for text that is none, which therefore grants nothing."""
    try:
        return _read(scope)
    except BadInput:
        return None


def allows(
    scopes: Iterable[str],
    tool: str,
    effect: str,
    *,
    region: str | None = None,
    ticket: str | None = None,
    customer: str | None = None,
) -> bool:
    """Whether these scopes cover this effect of this tool here; a write scope does not imply read."""
    here = {"region": region, "ticket": ticket, "customer": customer}
    return any(all(_met(getattr(scope, name), here[name]) for name in BOUNDS) for scope in _covering(scopes, tool, effect))


def allows_somewhere(scopes: Iterable[str], tool: str, effect: str) -> bool:
    """Whether these scopes cover this effect of this tool at all, whatever they are bound to: for listings, never for a call."""
    return any(True for _ in _covering(scopes, tool, effect))


def within(asked: str, granted: Iterable[str]) -> bool:
    """Whether `asked` is no wider than one of these scopes."""
    wanted = read(asked)
    return wanted is not None and any(_inside(wanted, one) for one in map(read, granted) if one is not None)


def narrow(granted: Iterable[str], token: Iterable[str] | None) -> tuple[str, ...]:
    """What a token with these scopes still has of what its agent holds now; a token of None is no narrower than the agent."""
    if token is None:
        return tuple(granted)
    held = [one for one in map(read, granted) if one is not None]
    met: dict[str, None] = {}
    for asked in map(read, token):
        common = [part for one in held if asked is not None and (part := _meet(asked, one)) is not None]
        met |= dict.fromkeys(str(part) for part in common if not any(part != other and _inside(part, other) for other in common))
    return tuple(met)


def widened(before: Iterable[str], after: Iterable[str]) -> tuple[str, ...]:
    """Those of the scopes `after` that are wider than everything in `before`."""
    held = tuple(before)
    return tuple(scope for scope in after if not within(scope, held))


def _covering(scopes: Iterable[str], tool: str, effect: str) -> Iterable[Scope]:
    for scope in map(read, scopes):
        if scope is not None and scope.effect == effect and scope.tool in (tool, EVERY_READ):
            yield scope


def _met(bound: str | None, fact: str | None) -> bool:
    return bound is None or (fact is not None and bound == fact)


def _inside(wanted: Scope, granted: Scope) -> bool:
    if wanted.effect != granted.effect or granted.tool not in (wanted.tool, EVERY_READ):
        return False
    return all(_met(getattr(granted, name), getattr(wanted, name)) for name in BOUNDS)


def _meet(one: Scope, other: Scope) -> Scope | None:
    """What both cover, or None when that is nothing."""
    if one.effect != other.effect or (one.tool != other.tool and EVERY_READ not in (one.tool, other.tool)):
        return None
    bounds: dict[str, str | None] = {}
    for name in BOUNDS:
        mine, theirs = getattr(one, name), getattr(other, name)
        if mine is not None and theirs is not None and mine != theirs:
            return None
        bounds[name] = mine if mine is not None else theirs
    return Scope(other.tool if one.tool == EVERY_READ else one.tool, one.effect, **bounds)


@lru_cache(maxsize=4096)
def _read(scope: str) -> Scope:
    head, *parts = scope.split(";")
    found = _HEAD.match(head)
    if found is None or head == "*:write":
        raise _no_scope(scope, f"write {_EXAMPLE} (or *:read; each write by name)")
    bounds: dict[str, str] = {}
    for part in parts:
        name, equals, value = part.partition("=")
        if name not in BOUNDS or not equals:
            raise _no_scope(scope, f"what follows a semicolon is {', '.join(BOUNDS[:-1])} or {BOUNDS[-1]}, an equals sign and one value")
        if name in bounds:
            raise _no_scope(scope, f"{name} is named twice; write two scopes instead")
        bounds[name] = _value(scope, name, value)
    return Scope(found[1], found[2], **bounds)


def _value(scope: str, name: str, encoded: str) -> str:
    if not _ENCODED.match(encoded):
        raise _no_scope(scope, f"the {name} holds letters, digits and - . _ ~, anything else percent-encoded")
    try:
        value = unquote_to_bytes(encoded).decode()
    except UnicodeDecodeError:
        raise _no_scope(scope, f"the {name} is percent-encoded UTF-8") from None
    if len(value) > _LONGEST or not value.isprintable() or not value.strip():
        raise _no_scope(scope, f"the {name} is 1 to {_LONGEST} printable characters")
    return value


def _no_scope(scope: str, instead: str) -> BadInput:
    return BadInput(f"{scope[:80]!r} is no scope: {instead}.", problems={"scope": f"is no scope: {instead}"})
