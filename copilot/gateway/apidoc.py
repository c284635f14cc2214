"""An OpenAPI 3.0 or 3.1 document (JSON), read operation by operation: one strict JSON Schema in, one out. Pure.

References are resolved inside the document only. What an operation takes from path, query, headers and body becomes one
object; a name that stands in two places is an error, as is whatever cannot be sent faithfully. Texts of the document are
cut and cleaned of hidden characters, because operators and models read them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from copilot.errors import SetupError
from copilot.gateway import plainschema

METHODS = ("get", "put", "post", "delete", "head", "patch")
_PLACES = ("path", "query", "header")
_NOT_PARAMETERS = frozenset({"accept", "content-type", "authorization"})  # OpenAPI says to ignore these
_LONGEST_TEXT, _LONGEST_HINT = 2_000, 500
_JSON = "application/json"
_PATH = re.compile(r"/[^?#\\\s\x00-\x1f]*\Z")  # what follows the base address may not move the host or begin a query
_CLIMBS = re.compile(r"(?:/|%2f|%5c)(?:\.|%2e){1,2}(?:/|%2f|%5c|\Z)", re.IGNORECASE)

PLACE = re.compile(r"\{([^{}/]+)\}")  # one place of a path


@dataclass(frozen=True, slots=True)
class Parameter:
    """Where one argument goes: `place` is path, query or header."""

    name: str
    place: str
    explode: bool = True


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation as a tool: `body` are the arguments that form the JSON body, or None for none; `whole` the one that is the body.

    `kept` are the header parameters that the configuration sends itself, so that no argument may.
    """

    method: str
    path: str
    description: str
    schema: dict[str, Any]
    returns: dict[str, Any] | None
    parameters: tuple[Parameter, ...] = ()
    body: frozenset[str] | None = None
    whole: str | None = None
    fixed: Mapping[str, Any] = field(default_factory=dict)
    kept: tuple[str, ...] = ()

    @property
    def places(self) -> dict[str, str]:
        """Where each argument goes that is offered or fixed, for people and for the definition."""
        found = {each.name: each.place if each.explode or each.place != "query" else "query, as one list" for each in self.parameters}
        found |= dict.fromkeys(self.body or (), "body") | ({self.whole: "the whole body"} if self.whole else {})
        return {name: place for name, place in found.items() if name in self.schema["properties"] or name in self.fixed}


class Document:
    """A checked document; SetupError says what is wrong with it."""

    def __init__(self, content: Any, *, source: str) -> None:
        version = str(content.get("openapi", "")) if isinstance(content, Mapping) else ""
        if not version.startswith(("3.0", "3.1")) or not isinstance(content.get("paths"), Mapping):
            raise SetupError(f"{source} is no OpenAPI 3.0 or 3.1 document in JSON.")
        self.source = source
        self._root: Mapping[str, Any] = content
        self._references = plainschema.References(content, source)
        self._old = version.startswith("3.0")

    @property
    def server(self) -> str | None:
        """The first server's address, when it is a whole one without variables."""
        servers = self._root.get("servers")
        url = servers[0].get("url") if isinstance(servers, list) and servers and isinstance(servers[0], Mapping) else None
        return url if isinstance(url, str) and url.startswith(("https://", "http://")) and "{" not in url else None

    def operation(
        self, wanted: str, *, fixed: Mapping[str, Any], omit: frozenset[str] = frozenset(), ours: frozenset[str] = frozenset()
    ) -> Operation:
        """One operation by its operationId or as `POST /refunds/{id}`.

        `fixed` arguments are sent as they are and not offered; optional ones in `omit` are neither. Header parameters named in
        `ours` (lower case) are never arguments: they are listed as `kept`.
        """
        method, path, node, shared = self._find(wanted)
        properties: dict[str, Any] = {}
        required: list[str] = []
        parameters: list[Parameter] = []
        places: dict[str, str] = {}
        kept: list[str] = []
        for given in self._parameters(shared, node, wanted):
            name, place = given["name"], given["in"]
            if place == "header" and name.lower() in ours:
                if name in fixed:
                    raise SetupError(f"{self.source}: {wanted}: the header {name} is sent anyway, so it can have no fixed value.")
                kept.append(name)
                continue
            self._once(wanted, places, name, place)
            parameters.append(Parameter(name, place, self._style(wanted, given)))
            properties[name] = self._described(given, self._schema(given.get("schema", {}), wanted, skip="readOnly"))
            if given.get("required") or place == "path":
                required.append(name)
        body, whole = self._body(node, wanted, properties, required, places)
        self._fits(wanted, path, {each.name for each in parameters if each.place == "path"})
        self._reduce(wanted, properties, required, fixed, omit - frozenset(kept))
        if "call" in properties:
            raise SetupError(
                f"{self.source}: {wanted} takes an argument named 'call', a name tools keep for themselves; give it a fixed value."
            )
        schema: dict[str, Any] = {"type": "object", "properties": properties, "required": required, "additionalProperties": False}
        plainschema.lift(schema)
        text = " ".join(part for part in (node.get("summary"), node.get("description")) if isinstance(part, str))
        return Operation(
            method=method.upper(), path=path, description=plainschema.cleaned(text, _LONGEST_TEXT), schema=schema,
            returns=self._returns(node, wanted), parameters=tuple(parameters), body=body, whole=whole, fixed=dict(fixed),
            kept=tuple(kept),
        )  # fmt: skip

    def _find(self, wanted: str) -> tuple[str, str, Mapping[str, Any], Any]:
        found = []
        for path, entry in self._root["paths"].items():
            entry = self._references.resolved(entry)  # noqa: PLW2901 - a path may be a reference
            for method in METHODS:
                node = entry.get(method)
                if isinstance(node, Mapping) and wanted in (node.get("operationId"), f"{method.upper()} {path}"):
                    found.append((method, path, node, entry.get("parameters", [])))
        if len(found) != 1:
            many = "more than one operation" if found else "no operation"
            raise SetupError(f"{self.source} has {many} {wanted!r}; write its operationId, or method and path such as POST /refunds.")
        return found[0]

    def _fits(self, wanted: str, path: str, declared: set[str]) -> None:
        """SetupError unless the path stays below the base address and its places are exactly the declared path parameters."""
        if not _PATH.match(path) or _CLIMBS.search(path):
            raise SetupError(f"{self.source}: the path {path[:100]!r} of {wanted} is none that can follow a base address.")
        named = set(PLACE.findall(path))
        if named - declared:
            raise SetupError(f"{self.source}: the path of {wanted} has {{{min(named - declared)}}}, which no parameter of it declares.")
        if declared - named:
            raise SetupError(f"{self.source}: {wanted} declares {min(declared - named)!r} in its path, which has no place for it.")

    def _parameters(self, shared: Any, node: Mapping[str, Any], wanted: str) -> list[Mapping[str, Any]]:
        merged: dict[tuple[str, str], Mapping[str, Any]] = {}
        for given in [*(shared or []), *(node.get("parameters") or [])]:
            given = self._references.resolved(given)  # noqa: PLW2901 - a parameter may be a reference
            name, place = given.get("name"), given.get("in")
            if not isinstance(name, str) or not name or not isinstance(place, str):
                raise SetupError(f"{self.source}: a parameter of {wanted} has no name or place.")
            if place == "header" and name.lower() in _NOT_PARAMETERS:
                continue
            if place not in _PLACES or "content" in given:
                if given.get("required"):
                    raise SetupError(f"{self.source}: {wanted} needs the parameter {name} in its {place}, which cannot be sent.")
                continue
            merged[name, place] = given
        return list(merged.values())

    def _once(self, wanted: str, places: dict[str, str], name: str, place: str) -> None:
        if name in places:
            raise SetupError(
                f"{self.source}: {wanted} has {name!r} in its {places[name]} and in its {place}; one tool cannot tell them apart."
            )
        places[name] = place

    def _style(self, wanted: str, given: Mapping[str, Any]) -> bool:
        place, name = given["in"], given["name"]
        usual = {"path": "simple", "header": "simple", "query": "form"}[place]
        if given.get("style", usual) != usual:
            raise SetupError(
                f"{self.source}: the parameter {name} of {wanted} is written in the style {given['style']}, which is not supported."
            )
        kind = self._references.resolved(given.get("schema", {})).get("type")
        if kind == "object":
            raise SetupError(f"{self.source}: the parameter {name} of {wanted} is an object, which cannot be sent in a {place}.")
        return bool(given.get("explode", place == "query"))

    def _body(
        self, node: Mapping[str, Any], wanted: str, properties: dict[str, Any], required: list[str], places: dict[str, str]
    ) -> tuple[frozenset[str] | None, str | None]:
        body = self._references.resolved(node.get("requestBody") or {})
        content = body.get("content") or {}
        media = next((part for kind, part in content.items() if _is_json(kind)), None)
        if media is None:
            if body.get("required"):
                raise SetupError(f"{self.source}: {wanted} takes a body that is no JSON, which is not supported.")
            return None, None
        schema = self._schema(media.get("schema", {}), wanted, skip="readOnly")
        inner = schema.get("properties")
        composed = {"oneOf", "anyOf", "allOf"} & set(schema)
        if not isinstance(inner, dict) or schema.get("type", "object") != "object" or composed:
            self._once(wanted, places, "body", "body")
            properties["body"] = schema
            required += ["body"] if body.get("required") else []
            return None, "body"
        for number, (name, part) in enumerate(inner.items()):
            self._once(wanted, places, name, "body")
            properties[name] = part | {"$defs": schema["$defs"]} if not number and "$defs" in schema else part  # lifted up later
        required += [name for name in schema.get("required", []) if name in inner]
        return frozenset(inner), None

    def _reduce(self, wanted: str, properties: dict[str, Any], required: list[str], fixed: Mapping[str, Any], omit: frozenset[str]) -> None:
        for name in (*fixed, *omit):
            if name not in properties:
                raise SetupError(f"{self.source}: {wanted} takes no {name!r}; it takes {', '.join(sorted(properties)) or 'nothing'}.")
            if name in omit and name in required:
                raise SetupError(f"{self.source}: {wanted} needs {name!r}, so it cannot be left out; give it a fixed value instead.")
            del properties[name]
            if name in required:
                required.remove(name)

    def _returns(self, node: Mapping[str, Any], wanted: str) -> dict[str, Any] | None:
        """What a JSON answer that means success looks like, or None where it may be empty or is not declared."""
        found: list[dict[str, Any]] = []
        for status, answer in sorted((node.get("responses") or {}).items()):
            if not str(status).startswith("2"):
                continue
            content = self._references.resolved(answer).get("content") or {}
            media = next((part for kind, part in content.items() if _is_json(kind)), None)
            if media is None or "schema" not in media:
                return None  # an empty success: the answer may be nothing at all
            schema = self._schema(media["schema"], wanted, skip="writeOnly")
            plainschema.lift(schema)
            found.append(schema)
        return found[0] if len(found) == 1 else {"anyOf": found} if found and not any("$defs" in each for each in found) else None

    def _described(self, given: Mapping[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
        text = given.get("description")
        return schema | (
            {"description": plainschema.cleaned(text, _LONGEST_HINT)} if isinstance(text, str) and "description" not in schema else {}
        )

    def _schema(self, node: Any, wanted: str, *, skip: str) -> dict[str, Any]:
        return plainschema.written_out(node, self._references, what=wanted, skip=skip, old=self._old)


def _is_json(kind: str) -> bool:
    media = kind.partition(";")[0].strip().lower()
    return media == _JSON or media.endswith("+json")
