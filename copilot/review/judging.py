"""The gate's verdict before anybody is asked: what stops a draft at once, and what the policies say of what the tool showed."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from copilot import db as database
from copilot.errors import Unavailable
from copilot.gate import check, facts, judgements, library, policy, switches
from copilot.models import Agent, Ticket
from copilot.review.versions import Content
from copilot.toolkit import Tool


@dataclass(frozen=True, slots=True)
class Judged:
    """The gate's preflight verdict with what it was asked, ready to be kept."""

    verdict: check.Verdict
    given: check.Input
    policies: policy.Policies

    def keep(self, stage: str, what: Content, *, agent_id: str, proposal: tuple[str, int], at: datetime) -> None:
        """Write it into the record."""
        judgements.record(
            stage, self.given, self.verdict, agent_id=agent_id, policies=self.policies, at=at, amount=what.amount, proposal=proposal
        )  # fmt: skip


def origin(agent_id: str, *, ticket_id: str | None, run_id: str | None, token_scopes: tuple[str, ...] | None) -> facts.Origin:
    """How a draft came about. An outside agent's session is its work on one ticket; what else it has read nobody knows."""
    session = run_id or (f"{agent_id}:{ticket_id}" if ticket_id else agent_id)
    return facts.Origin(session, run_id is None or facts.read_customer_text(run_id), token_scopes)


def beforehand(tool: Tool, arguments: dict[str, Any], *, agent: Agent, ticket: Ticket | None, came: facts.Origin) -> check.Input:
    """What the gate knows without a look at the target; its `stopped` says whether that is a no already.

    Unavailable under a kill switch: then nothing is looked at either.
    """
    if check.switched_off(switches.thrown(), agent_id=agent.id, tool=tool.name):
        sentence = "The kill switch is on, so nothing is looked at or taken up. Try again once it is released."
        raise Unavailable(sentence, rule=check.KILL_SWITCH)
    known = facts.load(
        agent=agent,
        ticket=ticket,
        tool=tool,
        amount=None,
        now=database.now(),
        policies=library.in_force(),
        level=facts.level(agent.id, tool.name),
        origin=came,
        recheck=True,
    )
    return check.policy_input(check.Request(tool, arguments), known)


def keep_stopped(given: check.Input, *, agent_id: str) -> None:
    """Keep the verdict on a draft that becomes no proposal, because something stopped it before any policy was asked."""
    if given.stopped is not None:
        verdict = check.Refused(given.stopped["rule"], given.stopped["reason"])
        judgements.record("propose", given, verdict, agent_id=agent_id, policies=library.in_force(), at=database.now())


def judge(
    what: Content, *, agent: Agent, ticket: Ticket | None, level: str, confidence: float | None, came: facts.Origin, now: datetime
) -> Judged:
    """The gate's preflight verdict on a content."""
    policies = library.in_force()
    known = facts.load(
        agent=agent,
        ticket=ticket,
        tool=what.tool,
        amount=what.amount,
        now=now,
        policies=policies,
        level=level,
        origin=came,
        customer=what.preview.customer_id,
    )
    shown = what.preview
    request = check.Request(what.tool, what.arguments, what.amount, what.target, shown.customer_id, confidence, shown.known)
    given = check.policy_input(request, known)
    return Judged(check.evaluate(given, what.arguments, policies), given, policies)
