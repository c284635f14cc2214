"""JSON Schema as Cedar types, and JSON values as Cedar's: exactly, or not at all."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

_LARGEST = Decimal("922337203685477.5807")  # of Cedar's decimal


class Untypable(ValueError):
    """A value that Cedar's types cannot hold exactly; the evaluation it belongs to is broken."""


@dataclass(frozen=True, slots=True)
class Shape:
    """A Cedar type: String, Long, Bool or decimal; Set with `item`; Record with `fields` (shape, required)."""

    kind: str
    item: Shape | None = None
    fields: Mapping[str, tuple[Shape, bool]] = field(default_factory=dict)
    choices: tuple[str, ...] = field(default=(), compare=False)  # of a String that is one of few

    def text(self) -> str:
        """The type in Cedar's schema language."""
        if self.item is not None:
            return f"Set<{self.item.text()}>"
        if self.kind != "Record":
            return self.kind
        return "{" + ", ".join(f"{_quoted(name)}{'' if need else '?'}: {part.text()}" for name, (part, need) in self.fields.items()) + "}"


def value(shape: Shape, given: Any) -> Any:
    """One JSON value as Cedar's JSON of this type; a null counts as missing, and unknown fields are left out."""
    if shape.kind == "Record":
        if not isinstance(given, Mapping):
            raise Untypable("an object was expected")
        return {name: value(part, given[name]) for name, (part, _) in shape.fields.items() if given.get(name) is not None}
    if shape.item is not None:
        if not isinstance(given, list | tuple):
            raise Untypable("a list was expected")
        return [value(shape.item, each) for each in given]
    if shape.kind == "decimal":
        return {"__extn": {"fn": "decimal", "arg": _decimal(given)}}
    if shape.kind == "Long":
        return whole(given)
    if not isinstance(given, bool if shape.kind == "Bool" else str):
        raise Untypable(f"a {shape.kind} was expected")
    return given


def whole(given: Any) -> int:
    """A Long; Untypable for anything but a whole number of 64 bits."""
    if isinstance(given, bool) or not isinstance(given, int | float) or given != int(given) or abs(given) >= 2**63:
        raise Untypable("a whole number was expected")
    return int(given)


def _decimal(given: Any) -> str:
    """With the four places that Cedar has; a number that needs a fifth is refused rather than rounded."""
    if isinstance(given, bool) or not isinstance(given, int | float):
        raise Untypable("a number was expected")
    number = Decimal(repr(given))
    if not number.is_finite() or abs(number) > _LARGEST or number != number.quantize(Decimal("0.0001")):
        raise Untypable("a number with at most four places was expected")
    return f"{number:.4f}"


def record(schema: Mapping[str, Any]) -> Shape:
    """The type of a JSON Schema of an object; what Cedar cannot type (mixed unions, free-form objects) is left out."""
    found = _Reader(schema).shape(schema, 0)
    return found if found is not None and found.kind == "Record" else Shape("Record")


_SIMPLE = {"string": "String", "integer": "Long", "boolean": "Bool", "number": "decimal"}
_DEEPEST, _MOST_NODES = 8, 5_000


class _Reader:
    """Reads one schema with its references. A schema that goes in circles, or on for ever, has no type where the patience ends."""

    def __init__(self, root: Mapping[str, Any]) -> None:
        self._root = root
        self._left = _MOST_NODES

    def shape(self, schema: Any, depth: int) -> Shape | None:
        """The Cedar type, or None where it has none. Nulls are dropped: a null argument counts as missing."""
        if not isinstance(schema, Mapping) or self._lost(depth):
            return None
        if "$ref" in schema:
            return self.shape(_resolve(schema["$ref"], self._root), depth + 1)
        for union in ("anyOf", "oneOf"):
            if union in schema:
                parts = [part for part in schema[union] if not (isinstance(part, Mapping) and part.get("type") == "null")]
                shapes = [self.shape(part, depth + 1) for part in parts]
                return shapes[0] if shapes and all(shape == shapes[0] for shape in shapes) else None
        if "allOf" in schema:
            return self.shape(schema["allOf"][0], depth + 1) if len(schema["allOf"]) == 1 else None
        kinds = schema.get("type")
        if isinstance(kinds, list):
            kinds = [kind for kind in kinds if kind != "null"]
            kinds = kinds[0] if len(kinds) == 1 else None
        if kinds is None and ("enum" in schema or "const" in schema):
            return _listed(schema.get("enum", [schema.get("const")]))
        if kinds in _SIMPLE:
            return _named(_SIMPLE[kinds], schema)
        if kinds == "array":
            item = self.shape(schema.get("items"), depth + 1)
            return None if item is None else Shape("Set", item)
        return self._object(schema, depth) if kinds == "object" or "properties" in schema else None

    def _object(self, schema: Mapping[str, Any], depth: int) -> Shape | None:
        if not schema.get("properties"):
            return None  # free-form, or nothing to speak about
        required = set(schema.get("required", ()))
        fields = {}
        for name, part in schema["properties"].items():
            if name.startswith("__") or not name.isprintable():  # Cedar's JSON gives __entity and __extn a meaning
                continue
            shape = self.shape(part, depth + 1)
            if shape is not None:
                filled = depth == 0 and "default" in part  # defaults are filled in at the top only
                fields[name] = (shape, (name in required or filled) and not self._nullable(part, depth + 1))
        return Shape("Record", fields=fields)

    def _nullable(self, schema: Any, depth: int) -> bool:
        if not isinstance(schema, Mapping) or self._lost(depth):
            return True  # at worst a policy has to ask `has` first
        if "$ref" in schema and self._nullable(_resolve(schema["$ref"], self._root), depth + 1):
            return True
        kinds = schema.get("type")
        unions = [*schema.get("anyOf", ()), *schema.get("oneOf", ()), *schema.get("allOf", ())]
        return (
            "null" in (kinds if isinstance(kinds, list) else [kinds])
            or None in schema.get("enum", ())
            or ("default" in schema and schema["default"] is None)
            or any(self._nullable(part, depth + 1) for part in unions)
        )

    def _lost(self, depth: int) -> bool:
        self._left -= 1
        return depth > _DEEPEST or self._left < 0


def _named(kind: str, schema: Mapping[str, Any]) -> Shape:
    listed = [schema["const"]] if "const" in schema else schema.get("enum", [])
    strings = tuple(each for each in listed if isinstance(each, str))
    return Shape(kind, choices=strings if kind == "String" else ())


def _listed(values: list[Any]) -> Shape | None:
    kinds = {"Bool" if isinstance(each, bool) else {str: "String", int: "Long"}.get(type(each), "") for each in values if each is not None}
    if kinds not in ({"String"}, {"Long"}, {"Bool"}):
        return None
    kind = kinds.pop()
    return Shape(kind, choices=tuple(each for each in values if isinstance(each, str)))


def _resolve(reference: Any, root: Mapping[str, Any]) -> Any:
    if not isinstance(reference, str) or not reference.startswith("#/"):
        return None
    node: Any = root
    for part in reference[2:].split("/"):
        node = node.get(part.replace("~1", "/").replace("~0", "~")) if isinstance(node, Mapping) else None
    return node


def _quoted(name: str) -> str:
    return json.dumps(name, ensure_ascii=False)
