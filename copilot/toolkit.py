"""What a tool author imports: a tool is one typed function on a `Toolbox`.

    shop = Toolbox("shop")

    @shop.tool(effect="write", risk="high", idempotency={"key"}, key_lifetime=86_400, timeout=10,
               amount=lambda a: Money(a["amount_minor"], a["currency"]),
               target=lambda a: f"order:{a['order_id']}")
    def issue_refund(order_id: str, amount_minor: int, currency: str, *, call: Call) -> dict:
        '''Refund an order to its original payment method.'''

The JSON Schema comes from the type hints, one Pydantic model, or is given. This module knows nothing of the rest of Copilot.
"""

from __future__ import annotations

import hashlib
import inspect
import re
import typing
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

import rfc8785
from pydantic import BaseModel, ConfigDict, create_model

Arguments = dict[str, Any]
Effect = Literal["read", "write"]
Risk = Literal["low", "medium", "high"]

_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}\Z")
_CURRENCY = re.compile(r"[A-Z]{3}\Z")
_EFFECTS, _RISKS = ("read", "write"), ("low", "medium", "high")
_PROMISES = frozenset({"key", "lookup"})


class ToolDefinitionError(ValueError):
    """A tool was declared wrongly; the message names the tool and what to change."""


class ToolRefused(Exception):
    """The tool said no and definitely did nothing. The message is shown to the operator and the agent."""


class ToolError(Exception):
    """The tool went wrong. `happened` is True, False, or None when nobody can tell (the default)."""

    def __init__(self, message: str, *, happened: bool | None = None) -> None:
        super().__init__(message)
        self.happened = happened


@dataclass(frozen=True, slots=True)
class Money:
    """An amount in integer minor units (cents) with its ISO 4217 currency. Never a float."""

    minor: int
    currency: str

    def __post_init__(self) -> None:
        if isinstance(self.minor, bool) or not isinstance(self.minor, int):
            raise TypeError("Money.minor is an integer count of minor units")
        if not isinstance(self.currency, str) or not _CURRENCY.match(self.currency):
            raise ValueError("Money.currency is three capital letters (ISO 4217)")


@dataclass(frozen=True, slots=True)
class Call:
    """What a tool is told about the call it serves. `deadline` is aware UTC; `token` proves the approval."""

    idempotency_key: str
    deadline: datetime
    agent: str
    ticket_id: str | None = None
    token: str | None = None

    def seconds_left(self, now: datetime) -> float:
        """How many seconds remain before the deadline, never below zero."""
        return max(0.0, (self.deadline - now).total_seconds())


@dataclass(frozen=True, slots=True)
class Outcome:
    """A tool's definite answer: its JSON `result`, the provider's own id, the target's revision afterwards."""

    result: Any = None
    provider_id: str | None = None
    revision: str | None = None


@dataclass(frozen=True, slots=True)
class Preview:
    """What an operator should know before the call, read by the tool itself and never by the model.

    `consequence` is one plain sentence; `before` and `after` hold the values that change, by label; `facts` are further ones;
    `customer_id` is whose target this is, for ownership policies; `known` are facts for policies, typed by the tool's `known=` schema.
    """

    consequence: str
    before: Mapping[str, Any] = field(default_factory=dict)
    after: Mapping[str, Any] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)
    customer_id: str | None = None
    known: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Tool:
    """One registered tool: what it does, what it may cost, and what it can promise about repeats.

    `binding` is where a configured tool's call goes and as whom (references of secrets): an approval holds for that alone.
    """

    toolbox: str
    name: str
    description: str
    function: Callable[..., Any]
    parameters: Mapping[str, Any]
    returns: Mapping[str, Any] | None
    effect: Effect
    risk: Risk
    reversible: bool
    idempotency: frozenset[str]
    key_lifetime: int | None
    timeout: float
    window: int
    amount: Callable[[Arguments], Money | None] | None = None
    target: Callable[[Arguments], str | None] | None = None
    payee: Callable[[Arguments], str | None] | None = None
    business_key: Callable[[Arguments], tuple[Any, ...] | None] | None = None
    lookup: Callable[[str, Call], Outcome | None] | None = None
    revision: Callable[[Arguments, Call], str | None] | None = None
    preview: Callable[[Arguments, Call], Preview] | None = None
    simulate: Callable[..., Any] | None = None
    undo: Callable[..., Any] | None = None
    model: type[BaseModel] | None = None
    takes_call: bool = False
    known: Mapping[str, Any] | None = None
    concurrency: int | None = None
    max_bytes: int | None = None
    source: str = "python"
    binding: Mapping[str, Any] = field(default_factory=dict)

    @property
    def honours_key(self) -> bool:
        """Whether a repeat under the same idempotency key has no second effect."""
        return "key" in self.idempotency

    @property
    def definition_hash(self) -> str:
        """SHA-256 (hex) over everything an approval relies on; it changes when the contract changes."""
        contract = {
            "toolbox": self.toolbox,
            "name": self.name,
            "description": self.description,
            "parameters": dict(self.parameters),
            "returns": dict(self.returns) if self.returns is not None else None,
            "effect": self.effect,
            "risk": self.risk,
            "reversible": self.reversible,
            "idempotency": sorted(self.idempotency),
        } | ({"binding": dict(self.binding)} if self.binding else {})
        return hashlib.sha256(rfc8785.dumps(contract)).hexdigest()

    def invoke(self, arguments: Arguments, call: Call) -> Any:
        """Call the function with validated arguments; what it returns or raises is the caller's to judge."""
        given: dict[str, Any] = {"call": call} if self.takes_call else {}
        if self.model is not None:
            return self.function(self.model.model_validate(arguments), **given)
        return self.function(**arguments, **given)


class Toolbox:
    """A named set of tools, and optionally an isolated environment of theirs for evaluations."""

    def __init__(self, name: str) -> None:
        if not _NAME.match(name):
            raise ToolDefinitionError(f"toolbox name {name!r}: use lower-case letters, digits and underscores")
        self.name = name
        self.tools: dict[str, Tool] = {}
        self.environment_factory: Callable[..., AbstractContextManager[Any]] | None = None

    def __repr__(self) -> str:
        return f"Toolbox({self.name!r}, {len(self.tools)} tools)"

    def tool(self, **options: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
        """Register the decorated function under its own name. Options are those of `add`."""

        def register(function: Callable[..., Any]) -> Callable[..., Any]:
            self.add(function.__name__, function, **options)
            return function

        return register

    def add(
        self,
        name: str,
        function: Callable[..., Any],
        *,
        effect: Effect,
        risk: Risk = "medium",
        description: str | None = None,
        parameters: Mapping[str, Any] | None = None,
        returns: Mapping[str, Any] | None = None,
        reversible: bool = False,
        idempotency: Iterable[str] = (),
        key_lifetime: int | None = None,
        timeout: float = 10,
        window: int = 86_400,
        **hooks: Any,
    ) -> Tool:
        """Register one tool. `timeout`, `key_lifetime` and `window` are seconds.

        `idempotency` is a set of `key` (repeats under one key have one effect, for `key_lifetime` seconds) and `lookup` (the tool can be
        asked whether a key was done). `known` is the JSON Schema of its previews' facts. Raises ToolDefinitionError with what to change.
        """
        model, takes_call, from_hints = _signature(name, function)
        promises = frozenset(idempotency)
        _check(self, name, effect, risk, promises, key_lifetime, timeout, window, hooks)
        text = description or inspect.getdoc(function)
        if not text:
            raise ToolDefinitionError(f"tool {name}: give it a docstring or description; the model and the operator read it")
        tool = Tool(
            toolbox=self.name,
            name=name,
            description=text,
            function=function,
            parameters=parameters if parameters is not None else from_hints,
            returns=returns,
            effect=effect,
            risk=risk,
            reversible=reversible,
            idempotency=promises,
            key_lifetime=key_lifetime,
            timeout=timeout,
            window=window,
            model=model if parameters is None else None,
            takes_call=takes_call,
            **hooks,
        )
        self.tools[name] = tool
        return tool

    def environment(self, factory: Callable[..., AbstractContextManager[Any]]) -> Callable[..., AbstractContextManager[Any]]:
        """Register a context manager that gives a fresh, seeded, isolated copy with `state()`, for evaluations."""
        self.environment_factory = factory
        return factory


_HOOKS = frozenset({"amount", "target", "payee", "business_key", "lookup", "revision", "preview", "simulate", "undo"})
_LIMITS = frozenset({"known", "concurrency", "max_bytes", "source", "binding"})


def _check(
    box: Toolbox,
    name: str,
    effect: str,
    risk: str,
    promises: frozenset[str],
    key_lifetime: int | None,
    timeout: float,
    window: int,
    hooks: Mapping[str, Any],
) -> None:
    problems = {
        "names are lower-case letters, digits and underscores, at most 64": not _NAME.match(name),
        f"the name is already taken in toolbox {box.name}": name in box.tools,
        f"effect is one of {', '.join(_EFFECTS)}": effect not in _EFFECTS,
        f"risk is one of {', '.join(_RISKS)}": risk not in _RISKS,
        f"idempotency holds only {' and '.join(sorted(_PROMISES))}": not promises <= _PROMISES,
        "a tool that honours a key says for how long (key_lifetime, seconds)": "key" in promises and not key_lifetime,
        "a tool that can be looked up gives lookup=": ("lookup" in promises) != (hooks.get("lookup") is not None),
        "timeout is a positive number of seconds, at most 60": not 0 < timeout <= 60,
        "window is a positive number of seconds": window <= 0,
        "concurrency is how many calls may run at once, at least 1": hooks.get("concurrency") is not None and hooks["concurrency"] < 1,
        f"unknown options: {', '.join(sorted(set(hooks) - _HOOKS - _LIMITS))}": not set(hooks) <= _HOOKS | _LIMITS,
    }
    for problem, present in problems.items():
        if present:
            raise ToolDefinitionError(f"tool {name}: {problem}")


def _signature(name: str, function: Callable[..., Any]) -> tuple[type[BaseModel] | None, bool, dict[str, Any]]:
    """Read the function's parameters: a Pydantic model if it takes one, whether it wants `call`, its JSON Schema."""
    parameters = dict(inspect.signature(function).parameters)
    hints = typing.get_type_hints(function, include_extras=True)
    takes_call = parameters.pop("call", None) is not None
    variadic = {inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD}
    named = {key: p for key, p in parameters.items() if p.kind not in variadic}
    if len(named) == 1:
        only = hints.get(next(iter(named)))
        if isinstance(only, type) and issubclass(only, BaseModel):
            return only, takes_call, {**only.model_json_schema(), "additionalProperties": False}
    fields: dict[str, Any] = {
        key: (hints.get(key, Any), ... if p.default is inspect.Parameter.empty else p.default) for key, p in named.items()
    }
    shape = create_model(name, __config__=ConfigDict(extra="forbid"), **fields)
    return None, takes_call, shape.model_json_schema()
