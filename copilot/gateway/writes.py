"""Claim and settle: the two short transactions around every call that changes something.

Nothing reaches a writing tool except through `claim`. A claim is one conditional UPDATE from APPROVED under the
approved digest; whoever gets no row stops. Settling happens under the same fence or leaves late evidence only.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt
from sqlalchemy import insert, update

from copilot import config
from copilot import db as database
from copilot.audit import log
from copilot.db import db, new_id
from copilot.gate import arcs, check, facts, lifecycle, policy, switches, tools
from copilot.gateway import aftermath, limits, recheck, refusals, reserve
from copilot.gateway.adapters import Claim, Failed, Result, Succeeded, Unknown
from copilot.gateway.reads import Observed, intact
from copilot.models import Execution, Proposal
from copilot.notify import outbox
from copilot.toolkit import Tool

TOKEN_SECONDS = 60


def claim(proposal_id: str, observed: Observed) -> Claim | refusals.NotClaimed | None:
    """Take the right to call the tool once, or say why not; None when there is nothing to claim.

    Judges everything again in this transaction: digest, age, tool, policy, entitlement, kill switch, revision, budget.
    """
    snap = facts.snapshot(proposal_id)
    proposal, version = snap.proposal, snap.version
    if proposal.state != arcs.APPROVED or version.version != observed.version:
        return None
    if check.switched_off(switches.thrown(), agent_id=proposal.agent_id, tool=proposal.tool):
        return None  # stays approved; the sweeper tries again once the switch is released
    if not intact(snap):
        return refusals.hold(snap)
    tool = tools.current().find(proposal.tool)
    policies = policy.current()
    stale = recheck.stale(snap, tool, policies, observed)
    if stale is not None:
        return refusals.send_back(snap, *stale)
    assert tool is not None
    arguments = json.loads(version.arguments)
    request = facts.request(snap, tool, arguments)
    known = facts.load(
        agent=snap.agent,
        ticket=snap.ticket,
        tool=tool,
        amount=request.amount,
        now=snap.now,
        policies=policies,
        level=snap.level,
        recheck=True,
    )
    verdict = check.check(request, known, policies)
    if isinstance(verdict, check.Refused):
        return refusals.refuse(snap, verdict.rule, verdict.reason)
    unapproved = recheck.unapproved(snap, tool, check.policy_context(request, known), verdict, policies)
    if unapproved is not None:
        return refusals.send_back(snap, *unapproved)
    return _take(snap, tool, arguments, request)


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
    aftermath.follow(moved, result)
    return after


def late(claim: Claim, result: Result) -> str:
    """Evidence from a call that was given up on: kept beside its attempt, never in place of an outcome."""
    return _late(claim.proposal_id, claim.fence, claim.tool, result, database.now())


def evidence(proposal_id: str, tool: Tool, found: Succeeded) -> bool:
    """A positive look-up under the proposal's key: closes an unknown outcome as succeeded. False when it was closed already."""
    moved = _confirm(proposal_id, tool, found, database.now())
    return moved is not None


def _take(snap: facts.Snapshot, tool: Tool, arguments: dict[str, Any], request: check.Request) -> Claim | refusals.NotClaimed | None:
    proposal, now = snap.proposal, snap.now
    proposal_id, version, automatic = proposal.id, proposal.version, proposal.automatic
    charges = facts.charges_of(
        proposal.agent_id, snap.ticket, tool, request.amount, now, policy.current(), customer=request.target_customer
    )
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
                event={"agent": proposal.agent_id, "tool": tool.name, "policy": policy.current().hash},
                at=now,
            )
            if moved is None:
                return None
            reserve.reserve(proposal_id, charges)
    except reserve.OverBudget as over:
        return refusals.refuse(snap, over.charge.rule, over.charge.sentence)
    deadline = now + timedelta(seconds=tool.timeout)
    db.session.execute(
        insert(Execution).values(
            id=new_id("exec"),
            proposal_id=proposal_id,
            fence=moved.fence,
            digest=moved.digest,
            state="started",
            deadline_at=deadline,
            started_at=now,
        )
    )
    return Claim(
        proposal_id=proposal_id,
        fence=moved.fence,
        attempt=moved.attempts,
        tool=tool,
        arguments=arguments,
        digest=moved.digest,
        agent_id=moved.agent_id,
        agent_name=snap.agent.name,
        ticket_id=snap.ticket.external_id if snap.ticket else None,
        automatic=automatic,
        token=_token(snap, tool, moved.digest),
        expires_at=datetime.now(UTC) + timedelta(seconds=tool.timeout),
    )


def _token(snap: facts.Snapshot, tool: Tool, approved: str) -> str:
    """A one-use proof for the tool, good for a minute: this agent, this tool, this target, exactly this digest."""
    key = hmac.new(config.current().secret.encode(), b"copilot tool token v1", hashlib.sha256).digest()
    issued = datetime.now(UTC)
    return jwt.encode(
        {
            "iss": "copilot",
            "aud": f"tool:{tool.name}",
            "sub": snap.customer.external_id if snap.customer else "",
            "act": {"sub": snap.agent.name},
            "jti": new_id("use"),
            "target": snap.version.target,
            "digest": approved,
            "iat": issued,
            "exp": issued + timedelta(seconds=TOKEN_SECONDS),
        },
        key,
        algorithm="HS256",
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
