"""The verdict: a pure function from a request and facts to Allowed, NeedsApproval or Refused.

Match on the type. Anything that is not an explicit Allowed, or a NeedsApproval whose approvals are there, does
not run. The verdict classes have no `__bool__`, so that a truth test can never open the gate.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from copilot.errors import BadInput
from copilot.gate import glyphs, identity, schema
from copilot.gate.budgets import Charge
from copilot.gate.policy import Answer, Policies
from copilot.toolkit import Money, Tool

KILL_SWITCH = "kill-switch"


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
class Allowed:
    """It may run without a person."""

    policies: tuple[str, ...]
    reason: str


@dataclass(frozen=True, slots=True)
class NeedsApproval:
    """It may run when `count` entitled people have approved; `reason` says why they are asked."""

    count: int
    policies: tuple[str, ...]
    reason: str
    rule: str


@dataclass(frozen=True, slots=True)
class Refused:
    """It may not run. `rule` names what said so, `reason` is a sentence for people and for the agent."""

    rule: str
    reason: str
    policies: tuple[str, ...] = ()


Verdict = Allowed | NeedsApproval | Refused


def check(request: Request, facts: Facts, policies: Policies) -> Verdict:
    """Judge one request; the same function at proposal and inside the claim."""
    refused = _identity(request, facts) or _arguments(request)
    if refused is not None:
        return refused
    context = policy_context(request, facts)
    proposing = _ask(policies, facts, "read" if request.tool.effect == "read" else "propose", request.tool, context)
    if not proposing.allowed:
        return _policy_refusal(proposing, policies, request.tool)
    if request.tool.effect == "read":
        return Allowed(proposing.policies, "a read within the agent's scopes")
    over = _budget(facts)
    if over is not None:
        return over
    return _approvals(request, facts, policies, context)


def switched_off(facts_switches: frozenset[str], *, agent_id: str, tool: str) -> bool:
    """Whether a kill switch covers this agent or tool."""
    return bool(facts_switches & {"all", f"agent:{agent_id}", f"tool:{tool}"})


def policy_context(request: Request, facts: Facts) -> dict[str, Any]:
    """The facts as the policy vocabulary names them; optional ones are left out rather than invented."""
    context: dict[str, Any] = {
        "level": facts.level,
        "region": facts.region,
        "channel": facts.channel,
        "ticket_status": facts.ticket_status,
        "hour": facts.local.hour,
        "weekday": facts.local.isoweekday(),
        "suspicious_text": any(glyphs.suspicious(text) for text in glyphs.strings(dict(request.arguments))),
    }
    if request.amount is not None:
        context |= {"amount_minor": request.amount.minor, "currency": request.amount.currency}
    if request.confidence is not None:
        context["confidence_percent"] = round(100 * request.confidence)
    if request.target_customer is not None and facts.ticket_customer is not None:
        context["same_customer"] = request.target_customer == facts.ticket_customer
    return context


def may_approve(policies: Policies, *, user_id: str, role: str, tool: Tool, context: dict[str, Any]) -> Answer:
    """Whether the policies let this person approve this action."""
    person = {"type": "Person", "id": user_id}
    return policies.ask(principal=person, parents=[{"type": "Role", "id": role}], action="approve", tool=tool, context=context)


def _ask(policies: Policies, facts: Facts, action: str, tool: Tool, context: dict[str, Any]) -> Answer:
    return policies.ask(principal={"type": "Agent", "id": facts.agent_name}, parents=[], action=action, tool=tool, context=context)


def _identity(request: Request, facts: Facts) -> Refused | None:
    tool = request.tool
    if facts.recheck and switched_off(facts.switches, agent_id=facts.agent_id, tool=tool.name):
        return Refused(KILL_SWITCH, "The kill switch is on; nothing starts until it is released.")
    if not facts.agent_enabled:
        return Refused("agent-disabled", "This agent is disabled.")
    if not identity.allows(facts.scopes, tool.name, tool.effect):
        return Refused("scope", f"This agent was not granted to {'read with' if tool.effect == 'read' else 'use'} this tool.")
    if tool.effect == "write" and facts.level == "off":
        return Refused("level-off", "A manager switched this action off for this agent.")
    return None


def _arguments(request: Request) -> Refused | None:
    try:
        schema.normalise(request.tool, dict(request.arguments))
    except BadInput as error:
        listed = "; ".join(f"{field or 'arguments'} {problem}" for field, problem in sorted(error.problems.items()))
        return Refused("schema", f"The arguments do not fit the tool: {listed}.")
    return None


def _policy_refusal(answer: Answer, policies: Policies, tool: Tool) -> Refused:
    if answer.broken is not None:
        return Refused("policy-broken", "The policy could not be evaluated, so nothing runs; an engineer has to look.", answer.policies)
    if answer.policies:
        sentences = " ".join(policies.sentence(policy) for policy in answer.policies)
        return Refused(answer.policies[0], sentences, answer.policies)
    return Refused(
        "default-deny",
        f"No policy permits {'reading' if tool.effect == 'read' else 'this action'} here, and what is not permitted is denied.",
    )


def _budget(facts: Facts) -> Refused | None:
    if facts.recheck:
        return None  # the reservation that follows is exact; a reading here could only be older
    for charge, used in facts.charges:
        if used + charge.amount > charge.limit:
            return Refused(charge.rule, charge.sentence)
    return None


def _approvals(request: Request, facts: Facts, policies: Policies, context: dict[str, Any]) -> Verdict:
    alone = _ask(policies, facts, "approve_alone", request.tool, context)
    if not alone.allowed:
        why = " ".join(policies.sentence(policy) for policy in alone.policies) or "No policy lets one person decide this alone."
        return NeedsApproval(2, alone.policies, why, alone.policies[0] if alone.policies else "two-people-by-default")
    if facts.level != "auto":
        return NeedsApproval(1, alone.policies, "A person decides every action of this kind: its level is suggest.", "level-suggest")
    unattended = _ask(policies, facts, "run_unattended", request.tool, context)
    if not unattended.allowed:
        why = " ".join(policies.sentence(policy) for policy in unattended.policies) or "No policy lets this run without a person."
        return NeedsApproval(1, unattended.policies, why, unattended.policies[0] if unattended.policies else "attended-by-default")
    if context["suspicious_text"]:
        return NeedsApproval(1, (), "The text holds hidden or look-alike characters, so a person has to look.", "suspicious-text")
    if switched_off(facts.switches, agent_id=facts.agent_id, tool=request.tool.name):
        return NeedsApproval(1, (), "The kill switch is on, so nothing is approved without a person.", KILL_SWITCH)
    return Allowed(unattended.policies, " ".join(policies.sentence(policy) for policy in unattended.policies))
