"""Claim and settle: the two short transactions around every call that changes something.

Nothing reaches a writing tool except through `claim`. A claim is one conditional UPDATE from APPROVED under the
approved digest; whoever gets no row stops. Settling happens under the same fence or leaves late evidence only.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import insert, select, update

from copilot import db as database
from copilot.audit import log
from copilot.db import db, new_id
from copilot.gate import arcs, check, facts, judgements, library, lifecycle, policy, switches, tools, turnstile
from copilot.gateway import aftermath, breaker, limits, recheck, refusals, reserve, slots, tooltoken
from copilot.gateway.adapters import Claim, Failed, Result, Succeeded, Unknown
from copilot.gateway.reads import Observed, intact
from copilot.models import Agent, Execution, Proposal
from copilot.notify import outbox
from copilot.toolkit import Tool


def claim(proposal_id: str, observed: Observed) -> Claim | refusals.NotClaimed | None:
    """Take the right to call the tool once, or say why not; None when there is nothing to claim.

    Judges everything again in this transaction: digest, age, tool, policy, entitlement, kill switch, revision, budget,
    and whether the tool has room and is well.
    """
    turnstile.enter()
    snap = facts.snapshot(proposal_id)
    proposal, version = snap.proposal, snap.version
    if proposal.state != arcs.APPROVED or version.version != observed.version:
        return None
    if check.switched_off(switches.thrown(), agent_id=proposal.agent_id, tool=proposal.tool):
        return None  # stays approved; the sweeper tries again once the switch is released
    if not intact(snap):
        return refusals.hold(snap)
    tool = tools.current().find(proposal.tool)
    policies = library.in_force()
    stale = recheck.stale(snap, tool, policies, observed)
    if stale is not None:
        return refusals.send_back(snap, *stale)
    assert tool is not None
    arguments = json.loads(version.arguments)
    request = facts.request(snap, tool, arguments, known=observed.preview.known if observed.preview else None)
    _take_turns(snap, tool, request, policies)
    known = facts.again(snap, tool, request, policies)
    given = check.policy_input(request, known)
    verdict = check.evaluate(given, arguments, policies)
    about = (proposal_id, version.version)
    claimed: Claim | refusals.NotClaimed | None
    if isinstance(verdict, check.Refused):
        claimed = refusals.refuse(snap, verdict.rule, verdict.reason, next_step=verdict.next_step)
    elif (unapproved := recheck.unapproved(snap, tool, check.policy_context(request, known), verdict, policies)) is not None:
        claimed = refusals.send_back(snap, *unapproved)
    elif slots.free(tool, snap.now):
        claimed = _take(snap, tool, arguments, request, policies)
    else:
        claimed = None  # stays approved until the tool has room; the sweeper tries again
    if claimed is not None:  # else it is judged anew the next time
        judgements.record(
            "claim", given, verdict, agent_id=snap.agent.id, policies=policies, at=snap.now, amount=request.amount, proposal=about
        )
    return claimed


class _NotNow(Exception):
    """The tool is left alone for the moment; undoes what the claim has done so far."""


def stopped(claim: Claim) -> Failed | None:
    """Whether a kill switch was thrown, or the agent disabled, between the claim and the call, which then is not made."""
    enabled = db.session.scalar(select(Agent.enabled).where(Agent.id == claim.agent_id))
    covered = check.switched_off(switches.thrown(), agent_id=claim.agent_id, tool=claim.tool.name)
    database.read_again()
    if enabled and not covered:
        return None
    why = "A kill switch was thrown" if covered else "The agent was disabled"
    return Failed(f"{why} before the call was made, so nothing happened. It can be proposed anew.")


def settle(claim: Claim, result: Result) -> str:
    """Record what is known about the call, under the claim's fence; returns the state the proposal now has.

    When the fence is lost nothing is overwritten: the evidence is added to the attempt, and a definite success
    still closes an outcome nobody knew.
    """
    now = database.now()
    if isinstance(result, Failed) and claim.attempt > 1:  # a refused repeat says nothing of the call before it
        result = Unknown(f"{result.message} An earlier attempt may have happened, so a person has to find out.")
    after = {Succeeded: arcs.SUCCEEDED, Failed: arcs.FAILED, Unknown: arcs.OUTCOME_UNKNOWN}[type(result)]
    outcome = aftermath.outcome_of(result)
    values: dict[str, Any] = {"outcome": outcome, "lease_until": None}
    if isinstance(result, Succeeded):
        values |= {"provider_id": result.provider_id, "intent_expires_at": now + timedelta(seconds=claim.tool.window)}
    moved = lifecycle.move(
        claim.proposal_id, before=arcs.EXECUTING, after=after, where=[Proposal.fence == claim.fence], values=values, at=now,
        event={"agent": claim.agent_id, "tool": claim.tool.name},
    )  # fmt: skip
    if moved is None:
        return _late(claim.proposal_id, claim.fence, claim.tool, result, now)
    state = {Succeeded: "succeeded", Failed: "failed", Unknown: "unknown"}[type(result)]
    _close_execution(claim.proposal_id, claim.fence, state, result, now)
    breaker.heard(claim.tool.name, result, now)
    aftermath.follow(moved, result)
    return after


def late(claim: Claim, result: Result) -> str:
    """Evidence from a call that was given up on: kept beside its attempt, never in place of an outcome."""
    return _late(claim.proposal_id, claim.fence, claim.tool, result, database.now())


def evidence(proposal_id: str, tool: Tool, found: Succeeded) -> bool:
    """A positive look-up under the proposal's key: closes an unknown outcome as succeeded. False when it was closed already."""
    moved = _confirm(proposal_id, tool, found, database.now())
    return moved is not None


def _take_turns(snap: facts.Snapshot, tool: Tool, request: check.Request, policies: policy.Policies) -> None:
    """Claims whose policies look at a counter go one after the other: none is judged by a number that another is about to change."""
    asked = {fact.removeprefix("used.") for mentioned in policies.mentions.values() for fact in mentioned if fact.startswith("used.")}
    if asked:
        customer, session = request.target_customer, snap.proposal.session
        drawn = facts.charges_of(snap.agent, snap.ticket, tool, request.amount, snap.now, policies, customer=customer, session=session)
        turnstile.one_at_a_time(charge.key for charge in drawn if charge.rule in asked)


def _take(
    snap: facts.Snapshot, tool: Tool, arguments: dict[str, Any], request: check.Request, policies: policy.Policies
) -> Claim | refusals.NotClaimed | None:
    proposal, now = snap.proposal, snap.now
    proposal_id, version = proposal.id, proposal.version
    customer, session = request.target_customer, proposal.session
    charges = facts.charges_of(snap.agent, snap.ticket, tool, request.amount, now, policies, customer=customer, session=session)
    try:
        with db.session.begin_nested():
            moved = lifecycle.move(
                proposal_id,
                before=arcs.APPROVED,
                after=arcs.EXECUTING,
                where=[
                    Proposal.digest == snap.version.digest,
                    Proposal.version == version,
                    Proposal.fence == proposal.fence,
                    switches.none_thrown(proposal.agent_id, tool.name),
                ],
                values={
                    "fence": Proposal.fence + 1,
                    "attempts": Proposal.attempts + 1,
                    "lease_until": now + limits.lease(tool),
                    "called_at": proposal.called_at or now,
                },
                event={"agent": proposal.agent_id, "tool": tool.name, "policy": policies.hash},
                at=now,
            )
            if moved is None:
                return None
            reserve.reserve(proposal_id, charges)
            if not breaker.allows(tool.name, now):
                raise _NotNow
    except _NotNow:
        return None  # stays approved until the tool has recovered
    except reserve.OverBudget as over:
        if over.charge.interval:
            return None  # a rate: it stays approved until there is room
        return refusals.refuse(snap, over.charge.rule, over.charge.sentence, next_step=policies.next_step(over.charge.rule))
    return _attempt(snap, moved, tool, arguments)


def _attempt(snap: facts.Snapshot, moved: lifecycle.Moved, tool: Tool, arguments: dict[str, Any]) -> Claim:
    """Begin the attempt that the claim gave the right to."""
    now = snap.now
    db.session.execute(
        insert(Execution).values(
            id=new_id("exec"),
            proposal_id=moved.id,
            fence=moved.fence,
            digest=moved.digest,
            state="started",
            deadline_at=now + timedelta(seconds=tool.timeout),
            started_at=now,
        )
    )
    return Claim(
        proposal_id=moved.id,
        fence=moved.fence,
        attempt=moved.attempts,
        tool=tool,
        arguments=arguments,
        digest=moved.digest,
        agent_id=moved.agent_id,
        agent_name=snap.agent.name,
        ticket_id=snap.ticket.external_id if snap.ticket else None,
        automatic=moved.automatic,
        token=tooltoken.mint(snap, tool, arguments, moved.digest),
        expires_at=datetime.now(UTC) + timedelta(seconds=tool.timeout),
    )


def _late(proposal_id: str, fence: int, tool: Tool, result: Result, now: datetime) -> str:
    kept = aftermath.outcome_of(result)
    db.session.execute(
        update(Execution)
        .where(Execution.proposal_id == proposal_id, Execution.fence == fence, Execution.late.is_(None))
        .values(late=kept | {"at": now.isoformat()})
        .execution_options(synchronize_session=False)
    )
    log.append("evidence.late", proposal_id, at=now, fence=fence, known=kept["known"])
    if isinstance(result, Succeeded):
        _confirm(proposal_id, tool, result, now)
    state = facts.snapshot(proposal_id).proposal.state
    if isinstance(result, Succeeded) and state in (arcs.FAILED, arcs.WITHDRAWN):  # the same may have been proposed again since
        reason = "The tool says it did happen, although it was settled as not happened; look before the same is done twice."
        fields = {"tool": tool.name, "state": state, "reason": reason}
        outbox.add("contradicted", subject=proposal_id, dedupe=f"contradicted:{proposal_id}:{fence}", fields=fields)
    return state


def _confirm(proposal_id: str, tool: Tool, found: Succeeded, now: datetime) -> lifecycle.Moved | None:
    moved = lifecycle.move(
        proposal_id,
        before=arcs.OUTCOME_UNKNOWN,
        after=arcs.SUCCEEDED,
        values={
            "outcome": aftermath.outcome_of(found),
            "provider_id": found.provider_id,
            "intent_expires_at": now + timedelta(seconds=tool.window),
        },
        event={"evidence": "tool"},
        at=now,
    )
    if moved is not None:
        aftermath.follow(moved, found)
    return moved


def _close_execution(proposal_id: str, fence: int, state: str, result: Result, now: datetime) -> None:
    values: dict[str, Any] = {"state": state, "ended_at": now}
    if isinstance(result, Succeeded):
        values |= {"result": {"value": result.result, "note": result.note}, "provider_id": result.provider_id}
    else:
        values["error"] = result.message
    db.session.execute(
        update(Execution)
        .where(Execution.proposal_id == proposal_id, Execution.fence == fence)
        .values(values)
        .execution_options(synchronize_session=False)
    )
