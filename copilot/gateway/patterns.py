"""What a tool's configuration says about its arguments: `order:{order_id}`, amounts and keys, as the toolkit's hooks. Pure.

Shared by every kind of tool that comes from configuration. A place is the name of an argument, with dots into objects:
`{customer.id}`. Every place is checked against the tool's parameters when the configuration is read.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from copilot.errors import SetupError
from copilot.toolkit import Arguments, Money

HOOKS = frozenset({"amount", "target", "payee", "business_key"})

_PLACE = re.compile(r"\{([A-Za-z0-9_.-]{1,100})\}")
_CURRENCY = re.compile(r"[A-Z]{3}\Z")
_LONGEST = 256


def hooks(tool: str, entry: Mapping[str, Any], parameters: Mapping[str, Any]) -> dict[str, Any]:
    """The hooks among a configured tool's options; SetupError names the tool, the option and the place that does not exist."""
    made: dict[str, Any] = {}
    for name in ("target", "payee"):
        if name in entry:
            made[name] = text(tool, name, entry[name], parameters)
    if "amount" in entry:
        made["amount"] = amount(tool, entry["amount"], parameters)
    if "business_key" in entry:
        parts = entry["business_key"]
        if not isinstance(parts, list) or not parts:
            raise SetupError(f'Tool {tool}: business_key is a list, such as ["refund", "{{order_id}}"].')
        reads = [text(tool, "business_key", part, parameters) for part in parts]
        made["business_key"] = lambda arguments: _all_or_none([read(arguments) for read in reads])
    return made


def text(tool: str, option: str, template: Any, parameters: Mapping[str, Any]) -> Callable[[Arguments], str | None]:
    """A text with places in it. It gives None when an argument it names was left out."""
    if not isinstance(template, str) or not template:
        raise SetupError(f'Tool {tool}: {option} is a text, such as "order:{{order_id}}".')
    places = _PLACE.findall(template)
    for place in places:
        check(tool, option, place, parameters)
    if not places and "{" in template:
        raise SetupError(f"Tool {tool}: {option} has a brace that is no place; write {{name}}.")

    def read(arguments: Arguments) -> str | None:
        values = {place: value(arguments, place) for place in places}
        if any(found is None or isinstance(found, dict | list) for found in values.values()):
            return None
        return _PLACE.sub(lambda found: _plain(values[found[1]]), template)[:_LONGEST]

    return read


def amount(tool: str, table: Any, parameters: Mapping[str, Any]) -> Callable[[Arguments], Money | None]:
    """Money from `{ minor = "amount_minor", currency = "currency" }`; three capital letters are a fixed currency."""
    if not isinstance(table, Mapping) or set(table) != {"minor", "currency"} or not all(isinstance(part, str) for part in table.values()):
        raise SetupError(f'Tool {tool}: amount is written {{ minor = "amount_minor", currency = "currency" }}, or currency = "EUR".')
    minor, currency = table["minor"], table["currency"]
    check(tool, "amount", minor, parameters)
    fixed = bool(_CURRENCY.match(currency))
    if not fixed:
        check(tool, "amount", currency, parameters)

    def read(arguments: Arguments) -> Money | None:
        found, unit = value(arguments, minor), currency if fixed else value(arguments, currency)
        if found is None or unit is None:
            return None
        return Money(found, str(unit).upper())

    return read


def check(tool: str, option: str, place: str, parameters: Mapping[str, Any]) -> None:
    """SetupError when the tool has no such argument."""
    node: Any = parameters
    for part in place.split("."):
        properties = node.get("properties") if isinstance(node, Mapping) else None
        if not isinstance(properties, Mapping) or part not in properties:
            known = ", ".join(sorted(properties)) if isinstance(properties, Mapping) else "none"
            raise SetupError(f"Tool {tool}: {option} names {place!r}, which is no argument of it; there are {known}.")
        node = properties[part]


def value(arguments: Any, place: str) -> Any:
    """The argument at a place, or None."""
    for part in place.split("."):
        arguments = arguments.get(part) if isinstance(arguments, Mapping) else None
    return arguments


def pointed(answer: Any, pointer: str) -> Any:
    """What a JSON pointer (RFC 6901) points at in a tool's answer, or None."""
    for part in pointer.split("/")[1:]:
        part = part.replace("~1", "/").replace("~0", "~")  # noqa: PLW2901 - the unescaped step is the one meant
        if isinstance(answer, Mapping):
            answer = answer.get(part)
        elif isinstance(answer, list) and part.isascii() and part.isdigit() and int(part) < len(answer):
            answer = answer[int(part)]
        else:
            return None
    return answer


def pointer(tool: str, option: str, given: Any) -> str:
    """The pointer, checked for its form; SetupError otherwise."""
    if not isinstance(given, str) or not (given == "" or given.startswith("/")):
        raise SetupError(f'Tool {tool}: {option} is a JSON pointer into the answer, such as "/customer/id".')
    return given


def _all_or_none(parts: list[str | None]) -> tuple[Any, ...] | None:
    return None if any(part is None for part in parts) else tuple(parts)


def _plain(found: Any) -> str:
    return str(found).lower() if isinstance(found, bool) else str(found)
