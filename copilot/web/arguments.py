"""A tool's arguments as a form: what stands in each input, and what was typed turned back into exact values.

A field left as it was keeps its value exactly, byte for byte; only what a person changed is parsed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from copilot.toolkit import Money
from copilot.web import money
from copilot.web.fields import Field, Path, leaves

_ABSENT = object()


def value_at(arguments: Any, path: Path) -> Any:
    """The value at a path, or a marker that is none of JSON's values when there is nothing."""
    for part in path:
        if not isinstance(arguments, dict) or part not in arguments:
            return _ABSENT
        arguments = arguments[part]
    return arguments


def text_of(field: Field, arguments: Mapping[str, Any]) -> str:
    """What stands in the input for these arguments."""
    value = value_at(arguments, field.path)
    if value is _ABSENT or value is None:
        return ""
    code = _currency(field, arguments)
    if code is not None and isinstance(value, int) and not isinstance(value, bool):
        return money.major(value, code)
    if field.kind in ("choice", "boolean", "json"):
        return json.dumps(value, ensure_ascii=False, indent=2 if field.kind == "json" else None)
    if field.kind == "lines" and isinstance(value, list):
        return "\n".join(str(part) for part in value)
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def texts(all_fields: tuple[Field, ...], arguments: Mapping[str, Any]) -> dict[str, str]:
    """What stands in every input, by input name."""
    return {field.name: text_of(field, arguments) for field in leaves(all_fields)}


def parse(all_fields: tuple[Field, ...], form: Mapping[str, str], base: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
    """The arguments a person typed over `base`, and a sentence for each field that makes no sense, by dotted path."""
    result: dict[str, Any] = json.loads(json.dumps(base))
    problems: dict[str, str] = {}
    inputs = sorted(leaves(all_fields), key=lambda field: field.kind == "money")  # the currency first: amounts are read by it
    for field in inputs:
        posted = form.get(field.name)
        if posted is None:
            continue
        typed = posted.replace("\r\n", "\n")
        currency_moved = field.kind == "money" and _currency(field, result) != _currency(field, base)
        if typed == text_of(field, base).replace("\r\n", "\n") and not currency_moved:
            continue
        try:
            _put(result, field.path, _read(field, typed, result))
        except ValueError as error:
            problems[field.dotted] = str(error)
    return result, problems


def currency(field: Field, typed: Mapping[str, str]) -> str:
    """The currency an amount's input is in now, by what stands in the form."""
    posted = typed.get(replace(field, path=field.currency).name, "")
    return posted.strip('"') if field.currency else ""


def bounds(field: Field, typed: Mapping[str, str]) -> str:
    """What an amount may be, in its currency, as the start of a sentence; nothing when the schema does not say."""
    code = currency(field, typed)
    try:
        low, high = (None if bound is None else money.show(Money(int(bound), code)) for bound in (field.minimum, field.maximum))
    except ValueError:
        return ""
    if high is None:
        return "" if low is None else f"At least {low}."
    return f"At most {high}." if low is None else f"Between {low} and {high}."


def _read(field: Field, typed: str, arguments: Mapping[str, Any]) -> Any:
    if not typed.strip() and field.kind not in ("text", "long"):
        return _nothing(field)
    match field.kind:
        case "text" | "long":
            return typed if typed or field.required else _nothing(field)
        case "integer":
            return _number(typed, whole=True)
        case "number":
            return _number(typed, whole=False)
        case "money":
            code = _currency(field, arguments)
            if code is None:
                raise ValueError("needs its currency first")
            return money.parse(typed, code)
        case "lines":
            return [_scalar(line.strip(), field.item) for line in typed.splitlines() if line.strip()]
        case "choice" | "boolean":
            if typed not in {value for value, _ in field.choices}:
                raise ValueError("choose one of the values offered")
            return json.loads(typed)
    try:
        return json.loads(typed)
    except (ValueError, RecursionError) as error:
        raise ValueError("is not valid JSON") from error


def _nothing(field: Field) -> Any:
    if field.nullable and field.required:
        return None
    if field.required:
        raise ValueError("is required")
    return _ABSENT


def _number(typed: str, *, whole: bool) -> int | float:
    text = typed.strip()
    if re.fullmatch(r"-?[0-9]{1,16}", text):
        return int(text)
    if not whole and re.fullmatch(r"-?[0-9]{1,16}\.[0-9]{1,16}", text):
        return float(text)
    raise ValueError("must be a whole number, digits only" if whole else "must be a number, such as 12.5")


def _scalar(text: str, kind: str) -> Any:
    return _number(text, whole=kind == "integer") if kind in ("integer", "number") else text


def _put(target: dict[str, Any], path: Path, value: Any) -> None:
    if not path:
        if not isinstance(value, dict):
            raise ValueError("must be a JSON object")
        target.clear()
        target.update(value)
        return
    for part in path[:-1]:
        inner = target.get(part)
        if not isinstance(inner, dict):
            if value is _ABSENT:
                return
            inner = target[part] = {}
        target = inner
    if value is _ABSENT:
        target.pop(path[-1], None)
    else:
        target[path[-1]] = value


def _currency(field: Field, arguments: Mapping[str, Any]) -> str | None:
    """The currency an amount is in; None when there is none yet, so that no amount is read in a guessed one."""
    value = value_at(arguments, field.currency)
    return value if isinstance(value, str) and len(value) == 3 else None
