"""Strict JSON Schema: unknown fields refused, remote references refused, the normalised value is what is shown, hashed and run."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import jsonschema_rs

from copilot.errors import BadInput, SetupError
from copilot.gate import glyphs
from copilot.toolkit import Tool

MAX_BYTES = 64_000
_LONGEST = 160  # characters of one sentence about a value, which may itself be long
_MAX_INTEGER = 2**53 - 1  # beyond it RFC 8785 numbers are no longer exact


def _no_remote(uri: str) -> Any:
    raise ValueError(f"remote reference {uri} refused")


@lru_cache(maxsize=512)
def _validator(schema: str) -> Any:
    return jsonschema_rs.validator_for(json.loads(schema), retriever=_no_remote)


@dataclass(frozen=True, slots=True)
class _Compiled:
    """A tool's parameters, closed and ready to judge with."""

    tool: Tool
    validator: Any
    defaults: Mapping[str, Any]


_compiled: dict[int, _Compiled] = {}
_MOST_COMPILED = 2048


def _strict_of(tool: Tool) -> _Compiled:
    """Compiled once for each tool: closing and printing its schema costs more than judging by it."""
    found = _compiled.get(id(tool))
    if found is None or found.tool is not tool:  # another tool may have taken the place of one that is gone
        closed = strict(tool.parameters)
        defaults = {name: part["default"] for name, part in closed.get("properties", {}).items() if "default" in part}
        if len(_compiled) >= _MOST_COMPILED:
            _compiled.clear()
        found = _compiled[id(tool)] = _Compiled(tool, _validator(json.dumps(closed, sort_keys=True)), defaults)
    return found


def compile_for(tool: Tool) -> None:
    """Check a tool's schemas when it is registered; SetupError names the tool."""
    for schema in (strict(tool.parameters), tool.returns):
        if schema is not None:
            try:
                _validator(json.dumps(schema, sort_keys=True))
            except Exception as error:
                raise SetupError(f"Tool {tool.name}: its JSON Schema is not usable: {error}") from error


def strict(schema: Mapping[str, Any]) -> dict[str, Any]:
    """The schema with unknown fields refused wherever an object's properties are named."""
    closed: dict[str, Any] = copy.deepcopy(dict(schema))
    _close(closed)
    return closed


_MAPS = ("properties", "$defs", "definitions", "patternProperties", "dependentSchemas")  # name -> schema, not schemas themselves


def _close(node: Any) -> None:
    if isinstance(node, list):
        for value in node:
            _close(value)
    if not isinstance(node, dict):
        return
    if isinstance(node.get("properties"), dict) and "additionalProperties" not in node and "unevaluatedProperties" not in node:
        node["additionalProperties"] = False
    for key, value in node.items():
        _close(list(value.values()) if key in _MAPS and isinstance(value, dict) else value)


def normalise(tool: Tool, arguments: Any) -> dict[str, Any]:
    """The validated arguments with the schema's defaults filled in; BadInput.problems names each field."""
    if not isinstance(arguments, dict):
        raise BadInput(f"The arguments of {_called(tool)} are an object.", problems={"": "must be an object"})
    problems = _unusable(arguments)
    if problems:
        raise BadInput(f"The arguments of {_called(tool)} do not fit.", problems=problems)
    compiled = _strict_of(tool)
    filled = {name: copy.deepcopy(value) for name, value in compiled.defaults.items()} | arguments
    if not compiled.validator.is_valid(filled):
        problems = {_path(error): _sentence(error) for error in compiled.validator.iter_errors(filled)}
        raise BadInput(f"The arguments of {_called(tool)} do not fit.", problems=problems)
    return filled


def check_result(tool: Tool, result: Any) -> dict[str, str]:
    """Problems of a tool's own answer against its declared `returns`, by field; empty when it fits or declares none."""
    if tool.returns is None:
        return {}
    return {_path(error): _sentence(error) for error in _validator(json.dumps(dict(tool.returns), sort_keys=True)).iter_errors(result)}


def _unusable(arguments: dict[str, Any]) -> dict[str, str]:
    try:
        text = json.dumps(arguments, ensure_ascii=False, allow_nan=False)
        text.encode()
    except (ValueError, UnicodeError, RecursionError, TypeError):
        return {"": "must be plain JSON without NaN or broken characters"}
    if len(text) > MAX_BYTES:
        return {"": f"must be at most {MAX_BYTES:,} characters in all"}
    return _unfit(arguments, "")


def _unfit(value: Any, path: str) -> dict[str, str]:
    if isinstance(value, str) and "\0" in value:
        return {path: "must not contain the character NUL"}
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) > _MAX_INTEGER:
        return {path: "is too large a number"}
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    problems: dict[str, str] = {}
    for key, part in inner:
        problems |= _unfit(part, f"{path}.{key}".lstrip("."))
    return problems


def _path(error: Any) -> str:
    path = ".".join(str(part) for part in error.instance_path)
    if type(error.kind).__name__ == "Required":
        path = f"{path}.{error.kind.property}".lstrip(".")
    return path


def _sentence(error: Any) -> str:
    kind = type(error.kind).__name__
    if kind == "Required":
        return "is required"
    if kind == "AdditionalProperties":
        return f"has unknown fields: {', '.join(error.kind.unexpected)}"
    message = "".join("\ufffd" if glyphs.hidden(character) else character for character in str(error.message)[-_LONGEST:])
    return message if len(message) < _LONGEST else f"…{message}"  # the value stands first, what is wrong with it last


def _called(tool: Tool) -> str:
    return f"“{tool.name.replace('_', ' ')}”"
