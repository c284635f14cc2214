"""An outside world in memory: the records it starts with are shared and never touched, its own changes lie above them."""

from __future__ import annotations

import ast
import copy
import hashlib
import json
import operator
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from copilot.toolkit import Arguments, Call, Money, Outcome, Preview, Toolbox, ToolRefused

Record = dict[str, Any]
Tables = Mapping[str, Mapping[str, Record]]


class World:
    """One task's own copy of the records. `find` and `get` give records to look at, `edit` gives one to change."""

    def __init__(self, base: Tables) -> None:
        self._base = base
        self._own: dict[str, dict[str, Record]] = {table: {} for table in base}
        self.answers: dict[str, Any] = {}  # by idempotency key

    def find(self, table: str, key: str) -> Record | None:
        """A record to look at, or None."""
        own = self._own[table].get(key)
        return own if own is not None else self._base[table].get(key)

    def get(self, table: str, key: str) -> Record:
        """A record to look at; ToolRefused when there is none."""
        found = self.find(table, key)
        if found is None:
            raise ToolRefused(f"{table.removesuffix('s').capitalize()} not found")
        return found

    def edit(self, table: str, key: str) -> Record:
        """A record to change."""
        if key not in self._own[table]:
            self._own[table][key] = copy.deepcopy(self.get(table, key))
        return self._own[table][key]

    def put(self, table: str, key: str, record: Record) -> None:
        """Add a record."""
        self._own[table][key] = record

    def all(self, table: str) -> Iterator[tuple[str, Record]]:
        """Every record of a table, to look at."""
        for key in {**self._base[table], **self._own[table]}:
            yield key, self.get(table, key)

    def changes(self) -> dict[str, dict[str, Record]]:
        """The records that are not as they were at the start, by table and id; tables without any are left out."""
        differing = {
            table: {key: record for key, record in own.items() if not same(record, self._base[table].get(key))}
            for table, own in self._own.items()
        }
        return {table: records for table, records in differing.items() if records}

    def state(self) -> dict[str, dict[str, Record]]:
        """Everything, as it stands."""
        return {table: dict(self.all(table)) for table in self._base}


def same(one: Any, other: Any) -> bool:
    """Whether two records say the same, numbers by value: 5 is 5.0, and binary noise below a hundredth of a cent is none."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(value, other[key]) for key, value in one.items())
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, int | float) and isinstance(other, int | float) and not isinstance(one, bool) and not isinstance(other, bool):
        return abs(one - other) < 0.0001
    return type(one) is type(other) and bool(one == other)


def cents(dollars: float) -> int:
    """Dollars as the records hold them, in cents."""
    return round(dollars * 100)


Reading = Callable[[World, Arguments], Any]


@dataclass(frozen=True, slots=True)
class Writing:
    """One write: how it is done, which record it changes, and what a policy and a person may know beforehand.

    `known` names the facts for policies with their JSON types, `facts` reads them, `amount` is in cents or None.
    """

    do: Callable[[World, Arguments], Any]
    target: Callable[[Arguments], tuple[str, str]]
    sentence: str
    known: Mapping[str, Any] = field(default_factory=dict)
    facts: Callable[[World, Arguments], dict[str, Any]] = lambda world, a: {}
    amount: Callable[[World, Arguments], int | None] = lambda world, a: None


@dataclass(slots=True)
class Stage:
    """Where the world of the moment stands; tools are called from threads of their own, so it is no context variable."""

    world: World | None = None

    @property
    def now(self) -> World:
        """The world of the moment."""
        if self.world is None:
            raise ToolRefused("There is no such world.")
        return self.world


def toolbox(name: str, *, tools: list[Record], base: Tables, reads: Mapping[str, Reading], writes: Mapping[str, Writing]) -> Toolbox:
    """A toolbox from the descriptions in `tools` and what we wrote ourselves; empty where there are no descriptions."""
    box, stage = Toolbox(name), Stage()

    @box.environment
    @contextmanager
    def fresh() -> Iterator[World]:
        before, stage.world = stage.world, World(base)
        try:
            yield stage.now
        finally:
            stage.world = before

    for tool in tools:
        if tool["name"] in reads:
            _add_read(box, stage, tool, reads[tool["name"]])
        elif tool["name"] in writes:
            _add_write(box, stage, tool, writes[tool["name"]])
    return box


def _add_read(box: Toolbox, stage: Stage, tool: Record, read: Reading) -> None:
    def ask(*, call: Call, **arguments: Any) -> Any:
        return read(stage.now, arguments)

    box.add(tool["name"], ask, effect="read", risk="low", description=tool["description"], parameters=tool["parameters"])


def _add_write(box: Toolbox, stage: Stage, tool: Record, write: Writing) -> None:
    def do(*, call: Call, **arguments: Any) -> Outcome:
        world = stage.now
        if call.idempotency_key not in world.answers:
            world.answers[call.idempotency_key] = write.do(world, arguments)
        return Outcome(world.answers[call.idempotency_key], revision=revision(arguments, call))

    def preview(arguments: Arguments, call: Call) -> Preview:
        record = stage.now.get(*write.target(arguments))
        known = write.facts(stage.now, arguments)
        labelled = {label.replace("_", " ").capitalize(): str(value) for label, value in known.items()}
        return Preview(write.sentence.format(**arguments), facts=labelled, customer_id=record["user_id"], known=known)

    def revision(arguments: Arguments, call: Call) -> str | None:
        record = stage.now.find(*write.target(arguments))
        return None if record is None else hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()

    def amount(arguments: Arguments) -> Money | None:
        if stage.now.find(*write.target(arguments)) is None:
            return None
        minor = write.amount(stage.now, arguments)
        return None if minor is None else Money(abs(minor), "USD")

    box.add(
        tool["name"],
        do,
        effect="write",
        description=tool["description"],
        parameters=tool["parameters"],
        idempotency={"key"},
        key_lifetime=86_400,
        known={"type": "object", "properties": dict(write.known), "required": list(write.known)} if write.known else None,
        target=lambda a: ":".join(write.target(a)),
        amount=amount,
        revision=revision,
        preview=preview,
    )


def calculate(_: World, a: Arguments) -> str:
    """The value of a sum of plain numbers, without ever running it as code."""
    signs = {ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv}

    def value(node: ast.AST) -> float:
        match node:
            case ast.Expression(body=body):
                return value(body)
            case ast.Constant(value=int() | float() as number):
                return float(number)
            case ast.BinOp(left=left, op=op, right=right) if type(op) in signs:
                return float(signs[type(op)](value(left), value(right)))
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                return -value(operand)
        raise ToolRefused("Invalid expression")

    try:
        return str(round(value(ast.parse(a["expression"], mode="eval")), 2))
    except (SyntaxError, ZeroDivisionError, RecursionError) as error:
        raise ToolRefused("Invalid expression") from error
