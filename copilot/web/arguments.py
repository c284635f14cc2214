"""A tool's arguments as a form: fields made from its JSON Schema, and what was typed turned back into exact values.

A field left as it was keeps its value exactly, byte for byte; only what a person changed is parsed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from copilot.web import money
from copilot.web.text import label

Path = tuple[str, ...]

_DEEPEST = 3  # objects within objects beyond this are edited as JSON
_LONG = 120  # strings that may be longer get a text area
_ABSENT = object()


@dataclass(frozen=True, slots=True)
class Field:
    """One input, or a group of them. `kind`: text, long, integer, number, money, boolean, choice, lines, json, group."""

    path: Path
    label: str
    kind: str
    required: bool = False
    nullable: bool = False
    help: str = ""
    choices: tuple[tuple[str, str], ...] = ()
    minimum: float | None = None
    maximum: float | None = None
    min_length: int | None = None
    max_length: int | None = None
    pattern: str | None = None
    currency: Path = ()
    item: str = "string"
    children: tuple[Field, ...] = ()

    @property
    def name(self) -> str:
        """The input's name in the posted form."""
        return "arg/" + "/".join(part.replace("~", "~0").replace("/", "~1") for part in self.path)

    @property
    def id(self) -> str:
        """The input's id in the page."""
        return "arg-" + "-".join("".join(c if c.isalnum() else "_" for c in part) for part in self.path)

    @property
    def dotted(self) -> str:
        """The path as the gate's schema check names it in its problems."""
        return ".".join(self.path)


def fields(schema: Mapping[str, Any]) -> tuple[Field, ...]:
    """The form of a tool's parameters; one JSON field when the schema names no properties."""
    node = _resolve(schema, schema)
    if not isinstance(node.get("properties"), dict) or not node["properties"]:
        return (Field(path=(), label="Arguments", kind="json", required=True, help="JSON"),)
    return _properties(node, schema, ())


def leaves(all_fields: tuple[Field, ...]) -> tuple[Field, ...]:
    """Every input of the form, groups opened."""
    found: list[Field] = []
    for field in all_fields:
        found.extend(leaves(field.children) if field.kind == "group" else (field,))
    return tuple(found)


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
    currency = _currency(field, arguments)
    if currency is not None and isinstance(value, int) and not isinstance(value, bool):
        return money.major(value, currency)
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
            currency = _currency(field, arguments)
            if currency is None:
                raise ValueError("needs its currency first")
            return money.parse(typed, currency)
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
    try:
        return int(text) if whole or text.lstrip("-").isdigit() else float(text)
    except ValueError:
        raise ValueError("must be a whole number, digits only" if whole else "must be a number, such as 12.5") from None


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


def _resolve(node: Any, root: Mapping[str, Any]) -> dict[str, Any]:
    """Follow local references and single-member unions; anything else stays as it is."""
    for _ in range(8):
        if not isinstance(node, Mapping):
            return {}
        reference = node.get("$ref")
        if isinstance(reference, str) and reference.startswith("#/"):
            target: Any = root
            for part in reference[2:].split("/"):
                target = target.get(part, {}) if isinstance(target, Mapping) else {}
            node = {**target, **{key: value for key, value in node.items() if key != "$ref"}}
        elif isinstance(node.get("allOf"), list) and len(node["allOf"]) == 1:
            node = {**node["allOf"][0], **{key: value for key, value in node.items() if key != "allOf"}}
        else:
            break
    return dict(node)


def _without_null(node: dict[str, Any], root: Mapping[str, Any]) -> tuple[dict[str, Any], bool]:
    """A schema that may be null as the schema beside null; JSON stays the input for real unions."""
    options = node.get("anyOf") or node.get("oneOf")
    if isinstance(options, list):
        others = [option for option in options if not (isinstance(option, Mapping) and option.get("type") == "null")]
        rest = {key: value for key, value in node.items() if key not in ("anyOf", "oneOf")}
        if len(others) == 1:
            return {**_resolve(others[0], root), **rest}, len(others) < len(options)
    kind = node.get("type")
    if isinstance(kind, list) and "null" in kind and len(kind) == 2:
        return {**node, "type": next(part for part in kind if part != "null")}, True
    return node, False


def _properties(node: Mapping[str, Any], root: Mapping[str, Any], path: Path) -> tuple[Field, ...]:
    properties: Mapping[str, Any] = node["properties"]
    required = set(node.get("required", ()))
    return tuple(_field((*path, name), part, root, name in required, properties) for name, part in properties.items())


def _field(path: Path, part: Any, root: Mapping[str, Any], required: bool, siblings: Mapping[str, Any]) -> Field:
    node, nullable = _without_null(_resolve(part, root), root)
    name = path[-1]
    base = Field(
        path=path,
        label=label(name),
        kind="json",
        required=required,
        nullable=nullable,
        help=str(node.get("description", "")),
        minimum=_bound(node, "minimum", "exclusiveMinimum", 1),
        maximum=_bound(node, "maximum", "exclusiveMaximum", -1),
        min_length=node.get("minLength"),
        max_length=node.get("maxLength"),
        pattern=node.get("pattern"),
    )
    if isinstance(node.get("enum"), list) or "const" in node:
        values = node.get("enum", [node.get("const")])
        return replace(base, kind="choice", choices=tuple((json.dumps(v, ensure_ascii=False), _choice(v)) for v in values))
    match node.get("type"):
        case "boolean":
            return replace(base, kind="boolean", choices=(("true", "Yes"), ("false", "No")))
        case "integer" if name.endswith("_minor"):
            return _money_field(base, siblings)
        case "integer" | "number" as kind:
            return replace(base, kind=str(kind))
        case "string":
            return replace(base, kind="long" if (base.max_length or 0) > _LONG else "text")
        case "array":
            item, _ = _without_null(_resolve(node.get("items", {}), root), root)
            if item.get("type") in ("string", "integer", "number") and "enum" not in item:
                return replace(base, kind="lines", item=str(item["type"]))
        case "object" if node.get("properties") and len(path) <= _DEEPEST:
            return replace(base, kind="group", children=_properties(node, root, path))
    return base


def _bound(node: Mapping[str, Any], inclusive: str, exclusive: str, step: int) -> float | None:
    if isinstance(node.get(inclusive), int | float):
        return float(node[inclusive])
    if isinstance(node.get(exclusive), int | float):
        return float(node[exclusive]) + (step if node.get("type") == "integer" else 0)
    return None


def _choice(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _money_field(base: Field, siblings: Mapping[str, Any]) -> Field:
    """An integer of minor units beside its currency, typed in major units; without a currency it stays an integer."""
    stem = base.path[-1].removesuffix("_minor")
    for name in (f"{stem}_currency", "currency"):
        if name in siblings:
            return replace(base, kind="money", label=label(stem), currency=(*base.path[:-1], name))
    return replace(base, kind="integer", label=label(stem), help=f"{base.help} In minor units, such as cents.".strip())
