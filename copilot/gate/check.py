"""The verdict: a pure function from a request and facts to Allowed, NeedsApproval or Refused.

Match on the type. Anything that is not an explicit Allowed, or a NeedsApproval whose approvals are there, does
not run. `policy_input` freezes what the policies are asked, `evaluate` answers it; history is replayed through the
same two.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from copilot.errors import BadInput
from copilot.gate import explain, glyphs, identity, rules, schema, vocabulary
from copilot.gate.budgets import Charge
from copilot.gate.policy import Answer, Policies, Subject
from copilot.gate.verdicts import Allowed, Facts, Input, NeedsApproval, Refused, Request, Verdict

__all__ = ["Allowed", "Answer", "Facts", "Input", "NeedsApproval", "Refused", "Request", "Verdict", "check", "evaluate", "policy_input"]

KILL_SWITCH = "kill-switch"
_WRITING = ("propose", "approve_alone")


def check(request: Request, facts: Facts, policies: Policies) -> Verdict:
    """Judge one request; the same function at proposal and inside the claim."""
    arguments, wrong = _normal(request)
    return evaluate(_input(request, facts, wrong), arguments, policies)


def policy_input(request: Request, facts: Facts) -> Input:
    """Everything about a request that decides, arguments aside; what stops it before any policy is asked is in it already."""
    return _input(request, facts, _normal(request)[1])


def _input(request: Request, facts: Facts, wrong: dict[str, str] | None) -> Input:
    tool = request.tool
    charges = () if facts.recheck else facts.charges  # inside the claim the reservation is exact; a reading could only be older
    return Input(
        agent=facts.agent_name,
        team=facts.agent_team,
        tool=tool.name,
        effect=tool.effect,
        risk=tool.risk,
        reversible=tool.reversible,
        level=facts.level,
        context=_context(request, facts),
        charges=tuple(drawn(charge, used) for charge, used in charges),
        facts_known=tuple(sorted([*vocabulary.FACT, *(f"used.{rule}" for rule in facts.used), *_told(request)])),
        stopped=_identity(request, facts) or wrong,
        killed=switched_off(facts.switches, agent_id=facts.agent_id, tool=tool.name),
    )


def drawn(charge: Charge, used: int) -> dict[str, Any]:
    """One charge as an input keeps it; a rate is marked, because it makes an action wait and never refuses it."""
    return {"rule": charge.rule, "amount": charge.amount, "used": used} | ({"rate": True} if charge.interval else {})


def evaluate(given: Input, arguments: Mapping[str, Any] | None, policies: Policies, *, explained: bool = True) -> Verdict:
    """Answer what was asked, with these policies and budgets; the one evaluator, of the gate and of a replay.

    `arguments` are normalised ones; without them (erased since) policies that ask for one find none. Without `explained`
    a refusal that no policy decided does not say what would have been needed, which saves half its time.
    """
    if given.stopped is not None:
        return Refused(given.stopped["rule"], given.stopped["reason"], next_step=rules.next_step(given.stopped["rule"]))
    context = {**given.context, "args": {} if arguments is None else {given.tool: arguments}}
    actions = ("read",) if given.effect == "read" else (*_WRITING, "run_unattended") if given.level == "auto" else _WRITING
    answers = policies.ask_all(actions, principal=("Agent", given.agent), parents=teams(given.team), tool=given, context=context)
    why = _Why(policies, given, context if explained else None)
    refused = _refusal(answers[0], why) or _budget(given, policies)
    if refused is not None:
        return refused
    if given.effect == "read":
        return Allowed(answers[0].policies, "a read within the agent's scopes")
    return _approvals(answers, why)


def switched_off(facts_switches: frozenset[str], *, agent_id: str, tool: str) -> bool:
    """Whether a kill switch covers this agent or tool."""
    return bool(facts_switches & {"all", f"agent:{agent_id}", f"tool:{tool}"})


def policy_context(request: Request, facts: Facts) -> dict[str, Any]:
    """The facts and arguments as the policy vocabulary names them, for a question about a person."""
    return {**_context(request, facts), "args": {request.tool.name: request.arguments}}


def may_approve(
    policies: Policies, *, user_id: str, role: str, tool: Subject, context: Mapping[str, Any], teams: Iterable[str] = ()
) -> Answer:
    """Whether the policies let this person approve this action."""
    parents = [("Role", role), *(("Team", team) for team in teams)]
    return policies.ask_all(["approve"], principal=("Person", user_id), parents=parents, tool=tool, context=context)[0]


def teams(team: str) -> tuple[tuple[str, str], ...]:
    """The team as the parents of a principal; none without one."""
    return (("Team", team),) if team else ()


def _context(request: Request, facts: Facts) -> dict[str, Any]:
    """Facts that may be missing are left out rather than invented."""
    context: dict[str, Any] = {
        "level": facts.level,
        "team": facts.agent_team,
        "region": facts.region,
        "channel": facts.channel,
        "ticket_status": facts.ticket_status,
        "hour": facts.local.hour,
        "weekday": facts.local.isoweekday(),
        "business_hours": facts.business_hours,
        "suspicious_text": any(glyphs.suspicious(text) for text in glyphs.strings(request.arguments)),
        "tainted": facts.tainted,
        "known": {request.tool.name: dict(request.known)} if request.known else {},
        "used": dict(facts.used),
    }
    for name in ("ticket_hours", "customer_days", "customer_tickets"):
        if (number := getattr(facts, name)) is not None:
            context[name] = number
    if request.amount is not None:
        context |= {"amount_minor": request.amount.minor, "currency": request.amount.currency}
    if request.confidence is not None:
        context["confidence_percent"] = round(100 * request.confidence)
    if request.target_customer is not None and facts.ticket_customer is not None:
        context["same_customer"] = request.target_customer == facts.ticket_customer
    return context


def _told(request: Request) -> list[str]:
    return [f"known.{request.tool.name}.{name}" for name in request.known]


def _identity(request: Request, facts: Facts) -> dict[str, str] | None:
    tool = request.tool
    if facts.recheck and switched_off(facts.switches, agent_id=facts.agent_id, tool=tool.name):
        return _stop(KILL_SWITCH, "The kill switch is on; nothing starts until it is released.")
    if not facts.agent_enabled:
        return _stop("agent-disabled", "This agent is disabled.")
    customer = request.target_customer or facts.ticket_customer
    if not identity.allows(facts.scopes, tool.name, tool.effect, region=facts.region or None, ticket=facts.ticket, customer=customer):
        elsewhere = " here" if identity.allows_somewhere(facts.scopes, tool.name, tool.effect) else ""
        return _stop("scope", f"This agent was not granted to {'read with' if tool.effect == 'read' else 'use'} this tool{elsewhere}.")
    if tool.effect == "write" and facts.level == "off":
        return _stop("level-off", "A manager switched this action off for this agent.")
    return None


def _normal(request: Request) -> tuple[Mapping[str, Any], dict[str, str] | None]:
    """The arguments with defaults filled in, as they are shown and run; or as they are, with what is wrong with them."""
    try:
        return schema.normalise(request.tool, dict(request.arguments)), None
    except BadInput as error:
        listed = "; ".join(f"{explain.plain(field) or 'arguments'} {problem}" for field, problem in sorted(error.problems.items()))
        return request.arguments, _stop("schema", f"The arguments do not fit the tool: {listed}.")


def _stop(rule: str, reason: str) -> dict[str, str]:
    return {"rule": rule, "reason": reason}


@dataclass(frozen=True, slots=True)
class _Why:
    """What a sentence needs; without a context nothing beyond the deciding sentences is said."""

    policies: Policies
    given: Input
    context: Mapping[str, Any] | None

    def said(self, answer: Answer, otherwise: str, action: str) -> str:
        """The deciding policies' sentences, or else why there is none and what would have been needed."""
        sentences = " ".join(self.policies.sentence(policy) for policy in answer.policies)
        if sentences or self.context is None:
            return sentences or otherwise
        return f"{otherwise} {explain.missing(self.policies, self.given, self.given.agent, self.context, action)}".strip()


def _refusal(answer: Answer, why: _Why) -> Refused | None:
    reading = why.given.effect == "read"
    if answer.allowed or (answer.broken is not None and not answer.policies and not reading):
        return None
    if answer.policies:
        rule = answer.policies[0]
        return Refused(rule, why.said(answer, "", ""), answer.policies, why.policies.next_step(rule))
    if answer.broken is not None:
        reason = "The rules could not be evaluated for this, so nothing is read; an engineer has to look."
        return Refused(rules.BROKEN, reason, (), rules.next_step(rules.BROKEN), broken=True)
    otherwise = f"No policy permits {'reading this' if reading else 'this action'} here, and what is not permitted is denied."
    reason = why.said(answer, otherwise, "read" if reading else "propose")
    return Refused("default-deny", reason, (), rules.next_step("default-deny"))


def _budget(given: Input, policies: Policies) -> Refused | None:
    """A full rate refuses a read; an action waits for it when it is approved, so here it says nothing."""
    for charge in given.charges:
        if given.effect == "write" and charge.get("rate"):  # inputs from before rates were marked are judged as they were then
            continue
        limit = policies.limit(charge["rule"])
        if limit is not None and charge["used"] + charge["amount"] > limit:
            sentence = next(rule.sentence for rule in policies.budget_rules if rule.id == charge["rule"])
            return Refused(charge["rule"], sentence, next_step=policies.next_step(charge["rule"]))
    return None


def _approvals(answers: list[Answer], why: _Why) -> Verdict:
    proposing, alone = answers[:2]
    if proposing.broken is not None or alone.broken is not None:
        reason = "The rules could not be evaluated for this, so two people have to look and an engineer has to mend them."
        return NeedsApproval(2, () if alone.allowed else alone.policies, reason, rules.BROKEN, broken=True)
    if not alone.allowed:
        reason = why.said(alone, "No policy lets one person decide this alone.", "approve_alone")
        return NeedsApproval(2, alone.policies, reason, alone.policies[0] if alone.policies else "two-people-by-default")
    if why.given.level != "auto":
        reason = f"A person decides every action of this kind: its level is {why.given.level}."
        return NeedsApproval(1, alone.policies, reason, "level-suggest")
    unattended = answers[2]
    if not unattended.allowed:
        reason = why.said(unattended, "No policy lets this run without a person.", "run_unattended")
        rule = unattended.policies[0] if unattended.policies else rules.BROKEN if unattended.broken else "attended-by-default"
        return NeedsApproval(1, unattended.policies, reason, rule, broken=unattended.broken is not None)
    if why.given.context["suspicious_text"]:
        return NeedsApproval(1, (), "The text holds hidden or look-alike characters, so a person has to look.", "suspicious-text")
    if why.given.killed:
        return NeedsApproval(1, (), "The kill switch is on, so nothing is approved without a person.", KILL_SWITCH)
    return Allowed(unattended.policies, why.said(unattended, "", ""))
