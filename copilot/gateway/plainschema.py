"""Schemas of an OpenAPI document as plain JSON Schema 2020-12, written out, without the document around them. Pure."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from copilot.errors import SetupError
from copilot.gate import glyphs

_MOST_NODES, _DEEPEST = 20_000, 60
_LONGEST_HINT = 500
_DROPPED = frozenset(
    {"nullable", "example", "examples", "xml", "externalDocs", "discriminator", "readOnly", "writeOnly", "deprecated", "$schema", "$id"}
)
_MAPS = ("properties", "patternProperties", "$defs", "definitions", "dependentSchemas")
_SINGLE = ("items", "additionalProperties", "not", "contains", "propertyNames", "if", "then", "else")
_LISTS = ("allOf", "anyOf", "oneOf", "prefixItems")
_PLAIN_OBJECT = frozenset({"type", "properties", "required", "description", "title"})


class References:
    """Looks up references inside one document; SetupError for one that leads out of it, nowhere or in a circle."""

    def __init__(self, root: Mapping[str, Any], source: str) -> None:
        self.source = source
        self._root = root

    def resolved(self, node: Any) -> Mapping[str, Any]:
        """The object itself, behind any number of references."""
        for _ in range(20):
            if not isinstance(node, Mapping):
                return {}
            if not isinstance(node.get("$ref"), str):
                return node
            node = self.target(node["$ref"])
        raise SetupError(f"{self.source}: a reference leads in a circle.")

    def target(self, reference: str) -> Any:
        """What one reference points at."""
        if not reference.startswith("#/"):
            raise SetupError(f"{self.source}: the reference {reference[:100]!r} leads out of the document, which is refused.")
        node: Any = self._root
        for part in reference[2:].split("/"):
            node = node.get(part.replace("~1", "/").replace("~0", "~")) if isinstance(node, Mapping) else None
        if node is None:
            raise SetupError(f"{self.source}: the reference {reference[:100]!r} leads nowhere.")
        return node


def written_out(node: Any, references: References, *, what: str, skip: str, old: bool) -> dict[str, Any]:
    """The schema without references, but for one that contains itself, which keeps one into `$defs`.

    `skip` is readOnly for what is sent and writeOnly for what comes back; `old` says that the document speaks OpenAPI 3.0.
    """
    return _Writer(references, what, skip=skip, old=old).schema(node)


class _Writer:
    """One writing out, with what it met on the way."""

    def __init__(self, references: References, what: str, *, skip: str, old: bool) -> None:
        self._references, self._what, self._skip, self._old = references, what, skip, old
        self._nodes = 0
        self._circular: set[str] = set()
        self._defs: dict[str, Any] = {}

    def schema(self, node: Any) -> dict[str, Any]:
        made = self._node(node, ())
        written: dict[str, Any] = made if isinstance(made, dict) else {}
        return written | ({"$defs": self._defs} if self._defs else {})

    def _node(self, node: Any, above: tuple[str, ...]) -> Any:
        self._nodes += 1
        if self._nodes > _MOST_NODES or len(above) > _DEEPEST:
            raise SetupError(f"{self._references.source}: the schemas of {self._what} are too large to be shown to anybody.")
        if isinstance(node, bool):
            return node
        if not isinstance(node, Mapping):
            return {}
        reference = node.get("$ref")
        if isinstance(reference, str):
            return self._reference(reference, node, above)
        made: dict[str, Any] = {}
        for key, part in node.items():
            if key in _DROPPED or key.startswith("x-"):
                continue
            made[key] = self._part(key, part, above)
        hidden = (
            [name for name, part in node.get("properties", {}).items() if self._hidden(part)]
            if isinstance(node.get("properties"), Mapping)
            else []
        )
        for name in hidden:
            made["properties"].pop(name, None)
        if hidden and isinstance(made.get("required"), list):
            made["required"] = [name for name in made["required"] if name not in hidden]
        return _modern(_merged(made), nullable=bool(node.get("nullable")) and self._old)

    def _reference(self, reference: str, node: Mapping[str, Any], above: tuple[str, ...]) -> Any:
        name = reference.rsplit("/", 1)[-1]
        if reference in above:
            self._circular.add(reference)
            return {"$ref": f"#/$defs/{name}"}
        target = self._node(self._references.target(reference), (*above, reference))
        if reference in self._circular:
            self._defs[name] = target
            return {"$ref": f"#/$defs/{name}"}
        beside = {} if self._old else {key: self._part(key, part, above) for key, part in node.items() if key in ("description", "default")}
        return target | beside if isinstance(target, dict) else target

    def _part(self, key: str, part: Any, above: tuple[str, ...]) -> Any:
        if key in _MAPS and isinstance(part, Mapping):
            return {name: self._node(inner, above) for name, inner in part.items()}
        if key in _SINGLE:
            return self._node(part, above)
        if key in _LISTS and isinstance(part, list):
            return [self._node(inner, above) for inner in part]
        if key in ("description", "title") and isinstance(part, str):
            return cleaned(part, _LONGEST_HINT)
        return copy.deepcopy(part)

    def _hidden(self, part: Any) -> bool:
        return isinstance(part, Mapping) and bool(self._references.resolved(part).get(self._skip))


def _merged(schema: dict[str, Any]) -> dict[str, Any]:
    """An `allOf` of plain objects as one object, which can then be closed against unknown fields."""
    parts = schema.get("allOf")
    if not isinstance(parts, list) or not set(schema) - {"allOf"} <= _PLAIN_OBJECT:
        return schema
    own = {key: value for key, value in schema.items() if key != "allOf"}
    if not all(isinstance(part, dict) and set(part) <= _PLAIN_OBJECT and part.get("type", "object") == "object" for part in parts):
        only = len(parts) == 1 and isinstance(parts[0], dict) and not own.get("properties")
        return parts[0] | own if only else schema
    merged: dict[str, Any] = {"type": "object", "properties": {}, "required": []}
    for part in [*parts, own]:
        merged["properties"] |= part.get("properties", {})
        merged["required"] += [name for name in part.get("required", []) if name not in merged["required"]]
        merged |= {key: part[key] for key in ("description", "title") if key in part}
    return merged


def _modern(schema: dict[str, Any], *, nullable: bool) -> dict[str, Any]:
    """What OpenAPI 3.0 says its own way, as JSON Schema says it."""
    for bound, exclusive in (("minimum", "exclusiveMinimum"), ("maximum", "exclusiveMaximum")):
        if isinstance(schema.get(exclusive), bool) and schema.pop(exclusive) and bound in schema:
            schema[exclusive] = schema.pop(bound)
    if not nullable:
        return schema
    if isinstance(schema.get("enum"), list) and None not in schema["enum"]:
        schema["enum"] = [*schema["enum"], None]
    if isinstance(schema.get("type"), str):
        return schema | {"type": [schema["type"], "null"]}
    return schema if "type" in schema or not schema else {"anyOf": [schema, {"type": "null"}]}


def lift(schema: dict[str, Any]) -> None:
    """Move every `$defs` inside to the top, where references into it look."""
    found: dict[str, Any] = {}

    def visit(node: Any) -> None:
        if isinstance(node, list):
            for part in node:
                visit(part)
        if isinstance(node, dict):
            inner = node.pop("$defs", None)
            if isinstance(inner, dict):
                found.update(inner)
                visit(inner)
            for part in node.values():
                visit(part)

    visit(schema)
    if found:
        schema["$defs"] = found


def cleaned(text: str, most: int) -> str:
    """A document's words without hidden characters, on one line, cut to size."""
    seen = "".join(character for character in text[: 4 * most] if not glyphs.hidden(character))
    line = " ".join(seen.split())
    return line if len(line) <= most else line[: most - 1] + "…"
