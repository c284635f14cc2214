"""What policies may speak about: the facts, and the arguments of every registered tool, as one typed Cedar schema.

A word that is not in it is an error when policies are loaded, never a condition that silently never holds.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from copilot.gate import shapes
from copilot.gate.shapes import Shape
from copilot.toolkit import Tool

ROLES = ("admin", "auditor", "manager", "operator")
LEVELS = ("auto", "canary", "off", "shadow", "suggest")


@dataclass(frozen=True, slots=True)
class Fact:
    """One fact of the context: its name in policies, its Cedar type, whether it may be missing, and what people call it."""

    name: str
    type: str
    optional: bool
    label: str


FACTS = (
    Fact("level", "String", False, "the autonomy level of this action"),
    Fact("team", "String", False, "the agent's team"),
    Fact("region", "String", False, "the ticket's region"),
    Fact("channel", "String", False, "the ticket's channel"),
    Fact("ticket_status", "String", False, "the ticket's status"),
    Fact("ticket_hours", "Long", True, "the hours since the ticket came in"),
    Fact("customer_days", "Long", True, "the days since the customer was first heard of"),
    Fact("customer_tickets", "Long", True, "the number of the customer's open tickets"),
    Fact("hour", "Long", False, "the local hour"),
    Fact("weekday", "Long", False, "the local day of the week (1 is Monday)"),
    Fact("business_hours", "Bool", False, "business hours in the region"),
    Fact("suspicious_text", "Bool", False, "hidden or look-alike characters in the text"),
    Fact("tainted", "Bool", False, "customer-written text read by the agent before"),
    Fact("amount_minor", "Long", True, "the amount"),
    Fact("currency", "String", True, "the currency"),
    Fact("confidence_percent", "Long", True, "the agent's confidence in percent"),
    Fact("same_customer", "Bool", True, "the target belonging to the ticket's own customer"),
)
FACT = {fact.name: fact for fact in FACTS}
GROUPS = ("args", "known", "used")
_PYTHON: dict[str, type] = {"String": str, "Long": int, "Bool": bool}
RESOURCE = {"effect": "String", "risk": "String", "reversible": "Bool"}
CHOICES = {"level": LEVELS, "effect": ("read", "write"), "risk": ("high", "low", "medium")}  # words with a closed list of values

_HEAD = """\
// What policies may speak about. A word that is not listed here is an error when the policies are loaded.
entity Team, Role;
entity Agent in [Team];
entity Person in [Role, Team];
entity Tool = { effect: String, risk: String, reversible: Bool };
"""
_TAIL = """\
action read, propose, approve_alone, run_unattended appliesTo { principal: Agent, resource: Tool, context: Facts };
action approve appliesTo { principal: Person, resource: Tool, context: Facts };
"""


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """The words one installation's policies may use: arguments and known facts by tool, and the ids of its budgets."""

    args: Mapping[str, Shape] = field(default_factory=dict)
    known: Mapping[str, Shape] = field(default_factory=dict)
    used: tuple[str, ...] = ()
    tools: frozenset[str] | None = None  # None: tools are not known here, so their names are not checked

    def text(self) -> str:
        """The Cedar schema."""
        facts = [f"  {fact.name}{'?' if fact.optional else ''}: {fact.type},  // {fact.label}" for fact in FACTS]
        groups = [
            f"  args: {_optional(self.args)},  // what the tool was asked, by tool",
            f"  known: {_optional(self.known)},  // what the tool itself looked up, by tool",
            f"  used: {_optional({name: Shape('Long') for name in self.used})},  // so far in its window, by budget",
        ]
        return "\n".join([_HEAD, "type Facts = {", *facts, *groups, "};\n", _TAIL])

    def names(self) -> frozenset[str]:
        """Every fact a policy can ask for, budgets as `used.<id>` and tools as `args.<tool>` and `known.<tool>`."""
        grouped = {f"{group}.{name}" for group in GROUPS for name in getattr(self, group)}
        return frozenset(FACT) | grouped

    def typed(self, context: Mapping[str, Any]) -> dict[str, Any]:
        """The whole context in Cedar's JSON, without what this vocabulary has no words for; Untypable where a value does not fit."""
        given = self.facts(context)
        for group, typed in (("args", self.args), ("known", self.known)):
            wanted = context.get(group) or {}
            given[group] = {tool: shapes.value(typed[tool], fields) for tool, fields in wanted.items() if tool in typed}
        given["used"] = {name: count for name, count in (context.get("used") or {}).items() if name in self.used}
        return given

    def facts(self, context: Mapping[str, Any]) -> dict[str, Any]:
        """The single facts; Untypable where one is missing or of another type than promised."""
        given = {}
        for fact in FACTS:
            found = context.get(fact.name)
            if found is None:
                if not fact.optional:
                    raise shapes.Untypable(f"{fact.label} is missing")
            elif type(found) is not _PYTHON[fact.type]:
                raise shapes.Untypable(f"{fact.label} is of another type")
            else:
                given[fact.name] = found
        return given

    def part(self, context: Mapping[str, Any], facts: Mapping[str, Any], wanted: Iterable[tuple[tuple[str, ...], bool]]) -> dict[str, Any]:
        """As much of the typed context as is `wanted`: paths, each with whether only its existence matters.

        `facts` are the single facts of the same context, checked once for several questions.
        """
        given: dict[str, Any] = {}
        for path, exists in wanted:
            name = path[0]
            if name in FACT:
                if name in facts:
                    given[name] = facts[name]
                continue
            group = given.setdefault(name, {})
            source = context.get(name) or {}
            if len(path) == 1:
                group.update(self.typed(context)[name])
            elif path[1] in source:
                self._add(group, source[path[1]], path, exists)
        return given

    def _add(self, group: dict[str, Any], found: Any, path: tuple[str, ...], exists: bool) -> None:
        if path[0] == "used":
            group[path[1]] = shapes.whole(found)
            return
        shape = (self.args if path[0] == "args" else self.known)[path[1]]
        record = group.setdefault(path[1], {})
        if len(path) == 2:
            if not exists:
                record.update(shapes.value(shape, found))
        elif found.get(path[2]) is not None and path[2] in shape.fields:
            record[path[2]] = shapes.value(shape.fields[path[2]][0], found[path[2]])


def of(tools: Iterable[Tool], rules: Iterable[str]) -> Vocabulary:
    """The vocabulary of these tools and budgets. Arguments that Cedar cannot type (mixed unions, free-form objects) have no word."""
    tools = tuple(tools)
    args = {tool.name: shapes.record(tool.parameters) for tool in tools}
    known = {tool.name: shapes.record(tool.known) for tool in tools if tool.known is not None}
    return Vocabulary(args, known, tuple(sorted(rules)), frozenset(args) or None)


def _optional(typed: Mapping[str, Shape]) -> str:
    return shapes.Shape("Record", fields={name: (shape, False) for name, shape in typed.items()}).text()
