"""A form's fields from a tool's JSON Schema: what kind of input each argument gets, and within what bounds."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from copilot.web.text import label

Path = tuple[str, ...]

_DEEPEST = 3  # objects within objects beyond this are edited as JSON
_LONG = 120  # strings that may be longer get a text area


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
