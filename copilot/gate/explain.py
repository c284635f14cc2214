"""What a default deny would have needed, in plain words: the nearest permit, and what keeps it from applying.

Cedar's partial evaluation, with the facts unknown, says which permits could still apply to this tool and agent; each
part of their conditions is then asked for by itself. Partial evaluation is experimental in Cedar and never decides
anything here: where it fails, the sentence is missing and the refusal stands.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import cedarpy

from copilot.gate import amounts, phrases
from copilot.gate.policy import Policies, Subject
from copilot.toolkit import Money

_MOST_PARTS = 60
_OTHER = "one more of its conditions held"
_OPPOSITE = {"==": "!=", "!=": "==", "<": ">=", ">=": "<", ">": "<=", "<=": ">"}
_MIRRORED = {"==": "==", "!=": "!=", "<": ">", ">": "<", "<=": ">=", ">=": "<="}
_DECIMALS = {"lessThan": "<", "lessThanOrEqual": "<=", "greaterThan": ">", "greaterThanOrEqual": ">="}

Path = tuple[str, ...]
Node = dict[str, Any]


@dataclass(frozen=True, slots=True)
class _Wish:
    """Something that would have to be different: about which fact, and the words after "if"."""

    path: Path
    words: str


@dataclass(frozen=True, slots=True)
class _Part:
    """A condition as `and`, `or` or a single `is`, with every negation pushed down to the single ones."""

    kind: str
    node: Node
    negated: bool = False
    parts: tuple[_Part, ...] = ()

    def singles(self) -> list[_Part]:
        """All single conditions inside."""
        return [self] if self.kind == "is" else [single for part in self.parts for single in part.singles()]


def missing(policies: Policies, tool: Subject, agent: str, context: Mapping[str, Any], action: str) -> str:
    """Which permit came nearest and what it would have needed, as sentences; "" when that cannot be said."""
    permits = [statement for statement in policies.statements if statement.permits and statement.concerns(action)]
    if not permits:
        return "No rule permits it for anybody."
    possible = _possible(policies, tool, agent, action)
    if possible is None:
        return ""
    found = []
    for statement in permits:
        if statement.id in possible:
            wishes = _wishes(policies, tool, agent, context, action, possible[statement.id])
            found.append((len(wishes), statement.sentence, wishes))
    if not found:
        return "None of the rules that permit it speaks of this tool and this agent."
    _, sentence, wishes = min(found, key=lambda each: each[0])
    if not wishes:
        return ""
    return f"The nearest rule, “{sentence.rstrip('.')}”, would apply if {phrases.joined(wishes)}."


def plain(name: str) -> str:
    """A field's name as people read it: `items.0.order_id` is order id."""
    last = next((part for part in reversed(name.split(".")) if not part.isdigit()), "")
    return last.replace("_", " ").strip()


def _possible(policies: Policies, tool: Subject, agent: str, action: str) -> dict[str, list[Node]] | None:
    """For each policy that depends on facts alone what is left of its conditions, and for each that always applies nothing."""
    request = {
        "principal": f"Agent::{json.dumps(agent)}",
        "action": f"Action::{json.dumps(action)}",
        "resource": f"Tool::{json.dumps(tool.name)}",
        "context": None,
    }
    entities = policies.entities(("Agent", agent), (), tool)
    try:
        residuals = cedarpy.is_authorized_partial(request, policies.handle, entities, policies.schema).residuals
    except (ValueError, AttributeError, TypeError):
        return None
    left = {}
    for name, residual in residuals.items():
        conditions = [_known(_positive(each)) for each in residual.get("conditions", [])]
        if not any(body == {"Value": False} for body in conditions):
            left[policies.ids.get(name, name)] = conditions
    return left


def _positive(condition: Mapping[str, Any]) -> Node:
    body: Node = condition["body"]
    return body if condition.get("kind") == "when" else {"!": {"arg": body}}


def _known(node: Any) -> Any:
    """The residual with its unknown context named `context` again, so that its parts can be asked for."""
    if isinstance(node, list):
        return [_known(each) for each in node]
    if not isinstance(node, dict):
        return node
    if node.get("unknown") == [{"Value": "context"}]:
        return {"Var": "context"}
    return {key: _known(value) for key, value in node.items()}


def _wishes(policies: Policies, tool: Subject, agent: str, context: Mapping[str, Any], action: str, conditions: list[Node]) -> list[str]:
    whole = _Part("and", {}, parts=tuple(_part(body, negated=False) for body in conditions))
    singles = whole.singles()
    if len(singles) > _MOST_PARTS:
        return [_OTHER]
    holding = _holding(policies, tool, agent, context, action, singles)
    if holding is None:
        return [_OTHER]
    say = _Speaker(policies, context)
    wishes = _failing(whole, {id(part): holds for part, holds in zip(singles, holding, strict=True)}, say.wish)
    told = {wish.path for wish in wishes if not wish.words.endswith(phrases.KNOWN)}
    kept = [
        wish.words
        for wish in wishes
        if not (wish.words.endswith(phrases.KNOWN) and any(path[: len(wish.path)] == wish.path for path in told))
    ]
    return list(dict.fromkeys(kept))


def _part(node: Node, *, negated: bool) -> _Part:
    if "!" in node:
        return _part(node["!"]["arg"], negated=not negated)
    for word, kind, opposite in (("&&", "and", "or"), ("||", "or", "and")):
        if word in node:
            sides = (_part(node[word][side], negated=negated) for side in ("left", "right"))
            return _Part(opposite if negated else kind, {}, parts=tuple(sides))
    if "if-then-else" in node:
        asked, then, otherwise = (node["if-then-else"][name] for name in ("if", "then", "else"))
        held = _Part("and", {}, parts=(_part(asked, negated=False), _part(then, negated=negated)))
        missed = _Part("and", {}, parts=(_part(asked, negated=True), _part(otherwise, negated=negated)))
        return _Part("or", {}, parts=(held, missed))
    return _Part("is", node, negated)


def _holding(
    policies: Policies, tool: Subject, agent: str, context: Mapping[str, Any], action: str, singles: list[_Part]
) -> list[bool] | None:
    """Which single conditions hold, each asked of Cedar as a policy of its own; one that cannot be evaluated does not."""
    bodies = [{"!": {"arg": part.node}} if part.negated else part.node for part in singles]
    anybody = {"principal": {"op": "All"}, "action": {"op": "All"}, "resource": {"op": "All"}, "effect": "permit", "annotations": {}}
    rules = {f"part{number}": {**anybody, "conditions": [{"kind": "when", "body": body}]} for number, body in enumerate(bodies)}
    try:
        handle = cedarpy.PolicySet.from_json_str(json.dumps({"templates": {}, "staticPolicies": rules, "templateLinks": []}))
        given = json.dumps(policies.vocabulary.typed(context))
    except (ValueError, ArithmeticError, TypeError):
        return None
    request = {
        "principal": {"type": "Agent", "id": agent},
        "action": {"type": "Action", "id": action},
        "resource": {"type": "Tool", "id": tool.name},
        "context": given,
    }
    reasons = set(cedarpy.is_authorized(request, handle, policies.entities(("Agent", agent), (), tool)).diagnostics.reasons)
    return [f"part{number}" in reasons for number in range(len(bodies))]


def _failing(part: _Part, holds: Mapping[int, bool], wish: Callable[[_Part], _Wish]) -> list[_Wish]:
    """The fewest wishes that would make this part hold; none when it does."""
    if part.kind == "is":
        return [] if holds[id(part)] else [wish(part)]
    inner = [_failing(each, holds, wish) for each in part.parts]
    return min(inner, key=len) if part.kind == "or" else [each for wishes in inner for each in wishes]


@dataclass(frozen=True, slots=True)
class _Speaker:
    """Puts one single condition into words, with what the fact is now."""

    policies: Policies
    context: Mapping[str, Any]

    def wish(self, part: _Part) -> _Wish:
        """What would have to be different for this condition to hold."""
        node, negated = part.node, part.negated
        path = _path(node)
        if path is not None:
            return self._yes_or_no(path, not negated)
        if "has" in node:
            path = _path({".": node["has"]})
            return _Wish((), _OTHER) if path is None else _Wish(path, phrases.known(self.label(path), not negated))
        for word, inside in node.items():
            if word in _OPPOSITE:
                return self._compared(word, inside["left"], inside["right"], negated)
            if word in _DECIMALS and isinstance(inside, list) and len(inside) == 2:
                return self._compared(_DECIMALS[word], inside[0], inside[1], negated)
            if word in ("contains", "in") and isinstance(inside, dict):
                return self._among(word, inside, negated)
            if word == "like":
                pattern = "".join("*" if each == "Wildcard" else each["Literal"] for each in inside["pattern"])
                return self._said(_path(inside["left"]), phrases.like(pattern, not negated))
        return _Wish((), _OTHER)

    def label(self, path: Path) -> str:
        """What people call this fact."""
        if path[0] == "used" and len(path) == 2:
            sentence = next((rule.sentence for rule in self.policies.budget_rules if rule.id == path[1]), "")
            return f"what counts for “{sentence.rstrip('.')}”"
        return phrases.label(path)

    def _yes_or_no(self, path: Path, wanted: bool) -> _Wish:
        return _Wish(path, phrases.yes_or_no(path, self.label(path), wanted))

    def _compared(self, word: str, left: Node, right: Node, negated: bool) -> _Wish:
        path, literal = _path(left), _literal(right)
        if path is None:
            path, literal, word = _path(right), _literal(left), _MIRRORED[word]
        if path is None or literal is None:
            return _Wish((), _OTHER)
        word = _OPPOSITE[word] if negated else word
        if isinstance(literal, bool):
            return self._yes_or_no(path, literal == (word == "=="))
        return self._said(path, phrases.compared(word, self._shown(path, literal)), now=word != "!=")

    def _among(self, word: str, inside: Node, negated: bool) -> _Wish:
        """`[…].contains(fact)` or `fact.contains(…)`; membership of a team or role has been resolved before."""
        left, right = (inside["left"], inside["right"]) if word == "contains" else (inside["right"], inside["left"])
        if "Set" in left and (path := _path(right)) is not None:
            listed = [self._shown(path, _literal(each)) for each in left["Set"]]
            return self._said(path, phrases.among(listed, not negated), now=not negated)
        path, literal = _path(left), _literal(right)
        if path is None or literal is None:
            return _Wish((), _OTHER)
        return _Wish(path, phrases.held(self.label(path), self._shown(path, literal), not negated))

    def _said(self, path: Path | None, predicate: str, *, now: bool = True) -> _Wish:
        if path is None:
            return _Wish((), _OTHER)
        value: Any = self.context
        for name in path:
            value = value.get(name) if isinstance(value, Mapping) else None
        now = now and path[0] != "known"  # what a tool looked up is for the policies; this agent may not be allowed to read it
        current = phrases.NONE if value is None else f"it is {self._shown(path, value)}"
        return _Wish(path, f"{self.label(path)} {predicate}" + (f" ({current})" if now or value is None else ""))

    def _shown(self, path: Path, value: Any) -> str:
        if path[-1].endswith("_minor") and isinstance(value, int):
            currency = self.context.get("currency")
            return amounts.show(Money(value, currency)) if currency else f"{value / 100:,.2f}"
        return phrases.shown(value)


def _path(node: Any) -> Path | None:
    """`context.args.pay` as ("args", "pay"); None for anything that is not such a chain."""
    names: list[str] = []
    while isinstance(node, dict) and "." in node:
        names.append(node["."]["attr"])
        node = node["."]["left"]
    return tuple(reversed(names)) if names and node == {"Var": "context"} else None


def _literal(node: Any) -> Any:
    if not isinstance(node, dict):
        return None
    if "decimal" in node:
        return _literal(node["decimal"][0])
    value = node.get("Value")
    return None if isinstance(value, dict) else value
