"""A tool's JSON Schema as the model's strict mode wants it, and the model's answer back in the tool's own shape.

Strict mode knows no optional fields: every property is required, and one that may be left out may be null instead.
Bounds it does not know are left out here; the gate's own schema check judges the real ones.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from copilot.toolkit import Tool

_KEPT = frozenset({
    "type", "properties", "required", "items", "enum", "const", "anyOf", "$ref", "$defs", "description",
    "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf", "minItems", "maxItems",
})  # fmt: skip
_DROPPED = frozenset({"title", "default", "examples", "format", "pattern", "minLength", "maxLength", "uniqueItems", "discriminator"})


class _Loose(Exception):
    """The schema says something strict mode cannot."""


def definition(tool: Tool) -> dict[str, Any]:
    """The tool as the chat completions protocol describes functions; strict wherever its schema can be."""
    function: dict[str, Any] = {"name": tool.name, "description": tool.description}
    try:
        function |= {"parameters": _tightened(tool.parameters), "strict": True}
    except _Loose:
        function["parameters"] = dict(tool.parameters)
    return {"type": "function", "function": function}


def relaxed(schema: Mapping[str, Any], value: Any, root: Mapping[str, Any] | None = None) -> Any:
    """The model's arguments without the nulls that strict mode put in place of what was left out."""
    root = schema if root is None else root
    schema = _resolved(schema, root)
    if isinstance(value, list):
        return [relaxed(schema.get("items", {}), part, root) for part in value]
    if not isinstance(value, dict):
        return value
    properties, required = schema.get("properties", {}), schema.get("required", ())
    return {
        name: relaxed(properties.get(name, {}), part, root)
        for name, part in value.items()
        if part is not None or name in required or name not in properties or _takes_null(properties[name], root)
    }


def _resolved(schema: Any, root: Mapping[str, Any]) -> Mapping[str, Any]:
    """The schema itself, behind references into the same document and an `anyOf` with only one real choice."""
    for _ in range(8):
        if not isinstance(schema, Mapping):
            return {}
        reference = schema.get("$ref")
        choices = [choice for choice in schema.get("anyOf", ()) if isinstance(choice, Mapping) and choice.get("type") != "null"]
        if isinstance(reference, str) and reference.startswith("#/$defs/"):
            schema = root.get("$defs", {}).get(reference.removeprefix("#/$defs/"))
        elif len(choices) == 1:
            schema = choices[0]
        else:
            return schema
    return {}


def _takes_null(schema: Any, root: Mapping[str, Any]) -> bool:
    if not isinstance(schema, Mapping):
        return True
    kinds = schema.get("type")
    if kinds == "null" or (isinstance(kinds, list) and "null" in kinds) or None in schema.get("enum", ()):
        return True
    if not {"type", "enum", "const", "anyOf", "$ref"} & set(schema):
        return True
    return any(_takes_null(choice, root) for choice in schema.get("anyOf", ()))


def _tightened(schema: Any) -> dict[str, Any]:
    if not isinstance(schema, Mapping):
        raise _Loose
    if set(schema) - _KEPT - _DROPPED - {"additionalProperties"}:
        raise _Loose
    tight = {key: value for key, value in schema.items() if key in _KEPT}
    if "$defs" in tight:
        tight["$defs"] = {name: _tightened(part) for name, part in schema["$defs"].items()}
    if "anyOf" in tight:
        tight["anyOf"] = [_tightened(part) for part in schema["anyOf"]]
    if "items" in tight:
        tight["items"] = _tightened(schema["items"])
    if schema.get("type") == "object" or "properties" in schema:
        if schema.get("additionalProperties", False) is not False:
            raise _Loose
        required = schema.get("required", ())
        parts = schema.get("properties", {}).items()
        tight |= {
            "type": "object",
            "properties": {name: _tightened(part) if name in required else _or_null(_tightened(part)) for name, part in parts},
            "required": [name for name, _ in parts],
            "additionalProperties": False,
        }
    if not {"type", "enum", "const", "anyOf", "$ref"} & set(tight):
        raise _Loose  # anything goes
    return tight


def _or_null(schema: dict[str, Any]) -> dict[str, Any]:
    if _takes_null(schema, {}):
        return schema
    described = {"description": schema["description"]} if "description" in schema else {}
    return {"anyOf": [{key: value for key, value in schema.items() if key != "description"}, {"type": "null"}], **described}
