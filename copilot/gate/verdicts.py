"""The values the gate speaks in: what is asked, what is known about it, and the three answers.

The verdict classes have no `__bool__`, so that a truth test can never open the gate.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from copilot.gate.budgets import Charge
from copilot.toolkit import Money, Tool


@dataclass(frozen=True, slots=True)
class Request:
    """What somebody wants done: the tool as registered now, its arguments, and what they amount to."""

    tool: Tool
    arguments: Mapping[str, Any]
    amount: Money | None = None
    target: str | None = None
    target_customer: str | None = None
    confidence: float | None = None
    known: Mapping[str, Any] = field(default_factory=dict)  # what the tool itself tells the policies


@dataclass(frozen=True, slots=True)
class Facts:
    """Everything the rules may know, loaded beforehand. `local` is the moment in the region's time zone."""

    local: datetime
    agent_id: str
    agent_name: str
    agent_enabled: bool
    scopes: tuple[str, ...]
    level: str
    agent_team: str = ""
    switches: frozenset[str] = frozenset()
    region: str = ""
    channel: str = ""
    ticket_status: str = ""
    ticket: str | None = None  # its external id
    ticket_customer: str | None = None
    ticket_hours: int | None = None  # whole hours since it came in
    customer_days: int | None = None  # whole days since we first heard of the customer
    customer_tickets: int | None = None  # open ones, this one included
    business_hours: bool = False
    tainted: bool = True  # whoever wrote this had read customer-written text
    charges: tuple[tuple[Charge, int], ...] = ()  # what it would draw, and what the window has used already
    used: Mapping[str, int] = field(default_factory=dict)  # by budget or measure: what its current window holds
    recheck: bool = False  # inside the claim, where the kill switch stops everything and reservations are exact


@dataclass(frozen=True, slots=True)
class Input:
    """What the policies are asked, as it can be kept: everything but the arguments, which stand in the proposal's version.

    `stopped` is a refusal before policy (identity, schema, kill switch), which no policy changes; `killed` says that a
    kill switch covers it, so that nothing is approved without a person; `facts_known` names every fact that was
    recorded, so that one which policies learn to ask about later is unknown and not missing.
    """

    agent: str
    team: str
    tool: str
    effect: str
    risk: str
    reversible: bool
    level: str
    context: dict[str, Any]
    charges: tuple[dict[str, Any], ...]
    facts_known: tuple[str, ...]
    stopped: dict[str, str] | None = None
    killed: bool = False

    @property
    def name(self) -> str:
        """The tool's name, so that an input can stand for the tool it remembers."""
        return self.tool

    def as_json(self) -> dict[str, Any]:
        """The input as JSON keeps it."""
        return {name: list(value) if isinstance(value := getattr(self, name), tuple) else value for name in self.__slots__}

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Input:
        """The input back from JSON."""
        return cls(**{**stored, "charges": tuple(stored["charges"]), "facts_known": tuple(stored["facts_known"])})


@dataclass(frozen=True, slots=True)
class Allowed:
    """It may run without a person."""

    policies: tuple[str, ...]
    reason: str
    broken: bool = False  # never True: what cannot be evaluated is a person's case


@dataclass(frozen=True, slots=True)
class NeedsApproval:
    """It may run when `count` entitled people have approved; `reason` says why they are asked."""

    count: int
    policies: tuple[str, ...]
    reason: str
    rule: str
    broken: bool = False


@dataclass(frozen=True, slots=True)
class Refused:
    """It may not run. `rule` names what said so, `reason` is a sentence for people and for the agent."""

    rule: str
    reason: str
    policies: tuple[str, ...] = ()
    next_step: str = ""
    broken: bool = False


Verdict = Allowed | NeedsApproval | Refused
