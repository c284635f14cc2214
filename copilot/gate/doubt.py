"""What policies would say where a fact is not known: the strictest and the loosest answer any value of it could lead to.

Where the two agree the fact does not matter; where they differ the answer is unknown. Each condition is widened or
narrowed piece by piece: what asks for an unknown fact counts once as true and once as false, the rest stays as it is.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

import cedarpy

from copilot.gate import policy
from copilot.gate.policy import Policies
from copilot.toolkit import Tool

_TRUE: dict[str, Any] = {"Value": True}
_FALSE: dict[str, Any] = {"Value": False}

Path = tuple[str, ...]


def bounds(policies: Policies, unknown: Iterable[str], tools: Iterable[Tool]) -> tuple[Policies, Policies]:
    """These policies as strictly and as loosely as the facts that are not known allow; names as in `Policies.mentions`."""
    names = {_name(each) for each in unknown}
    tools = tuple(tools)
    return _variant(policies, names, tools, strict=True), _variant(policies, names, tools, strict=False)


def _name(mentioned: str) -> Path:
    group, _, rest = mentioned.partition(".")
    return (group, rest) if group == "used" else tuple(mentioned.split("."))  # a budget's id may hold dots


def _variant(policies: Policies, unknown: set[Path], tools: tuple[Tool, ...], *, strict: bool) -> Policies:
    text = "\n".join(source for name, source in sorted(policies.files.items()) if name.endswith(".cedar"))
    parsed = json.loads(cedarpy.policies_to_json_str(text))
    for each in parsed["staticPolicies"].values():
        wide = (each["effect"] == "permit") != strict  # a permit that holds more often is looser, a forbid that does is stricter
        each["conditions"] = [_condition(condition, unknown, wide=wide) for condition in each["conditions"]]
    files: dict[str, str] = {name: source for name, source in policies.files.items() if name.endswith(".toml")}
    return policy.from_files(files | {"bounded.cedar": cedarpy.policies_from_json_str(json.dumps(parsed))}, tools=tools)


def _condition(condition: Mapping[str, Any], unknown: set[Path], *, wide: bool) -> dict[str, Any]:
    holds = condition["kind"] == "when"
    return {"kind": condition["kind"], "body": _bound(condition["body"], unknown, wide=wide == holds)}


def _bound(node: Any, unknown: set[Path], *, wide: bool) -> Any:
    """The expression with what is unknown in it counted as true (`wide`) or as false."""
    if not _asks(node, unknown):
        return node
    if "&&" in node or "||" in node:
        ((operator, sides),) = node.items()
        return {operator: {side: _bound(part, unknown, wide=wide) for side, part in sides.items()}}
    if "!" in node:
        return {"!": {"arg": _bound(node["!"]["arg"], unknown, wide=not wide)}}
    if "if-then-else" in node and not _asks(node["if-then-else"]["if"], unknown):
        parts = node["if-then-else"]
        return {"if-then-else": {"if": parts["if"]} | {name: _bound(parts[name], unknown, wide=wide) for name in ("then", "else")}}
    return _TRUE if wide else _FALSE


def _asks(node: Any, unknown: set[Path]) -> bool:
    """Whether the expression asks for an unknown fact anywhere in it."""
    if isinstance(node, Mapping):
        path = _path(node)
        if path is not None and path[0] == "context":
            return any(len(path) > min(2, len(name)) and path[1 : 1 + len(name)] == name[: len(path) - 1] for name in unknown)
        return any(_asks(part, unknown) for part in node.values())
    return isinstance(node, list) and any(_asks(part, unknown) for part in node)


def _path(node: Any) -> Path | None:
    """`context.args.pay` as its names; None for anything that is no such chain."""
    if not isinstance(node, Mapping) or len(node) != 1:
        return None
    if "Var" in node:
        return (str(node["Var"]),)
    reached = node.get(".") or node.get("has")
    if not isinstance(reached, Mapping) or "attr" not in reached:
        return None
    base = _path(reached.get("left"))
    return None if base is None else (*base, str(reached["attr"]))
