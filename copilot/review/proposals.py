"""From a draft to a proposal: judged by the gate before anyone is asked, so that nobody approves what cannot run."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import insert, select
from sqlalchemy.exc import IntegrityError

from copilot import db as database
from copilot.audit import log
from copilot.autonomy import grants
from copilot.db import db, new_id
from copilot.errors import BadInput, Conflict, DuplicateIntent, NotFound, Refused
from copilot.gate import arcs, check, facts, judgements, lifecycle, rules, schema, tools
from copilot.models import Agent, Decision, Proposal, ProposalVersion, Ticket
from copilot.review import judging, versions
from copilot.review.versions import Content
from copilot.toolkit import Tool

REVIEW_TIME = {"high": timedelta(hours=4), "medium": timedelta(hours=8), "low": timedelta(hours=24)}
MAX_RATIONALE = 20_000


@dataclass(frozen=True, slots=True)
class Draft:
    """What an agent wants done. `request_key` makes a repeated request give the first proposal."""

    agent_id: str
    tool: str
    arguments: Any
    rationale: str = ""
    confidence: float | None = None
    ticket_id: str | None = None
    run_id: str | None = None
    requester_id: str | None = None
    request_key: str | None = None
    retry_of: str | None = None
    token_scopes: tuple[str, ...] | None = None  # of the access token it came with, where that is narrower than the agent
    heard: int | None = None  # how many of the customer's messages its author had read; None: those there are now


@dataclass(frozen=True, slots=True)
class Prepared:
    """A draft ready to be judged; `refused` carries a no from before or by the tool's own look, as (rule, sentence)."""

    draft: Draft
    content: Content
    refused: tuple[str, str] | None = None


def prepare(draft: Draft) -> Prepared:
    """Normalise the draft and ask the tool about it; no transaction may be open.

    Whom the gate stops anyway gets no look at the target. Raises NotFound for an unknown tool, BadInput for arguments
    that do not fit, Unavailable when the tool cannot be asked or a kill switch covers it.
    """
    tool = tools.current().get(draft.tool)
    if tool.effect != "write":
        raise BadInput("This tool only reads, so there is nothing to propose; call it.", problems={"tool": "only reads"})
    if draft.confidence is not None and not 0 <= draft.confidence <= 1:
        raise BadInput("Confidence lies between 0 and 1.", problems={"confidence": "must lie between 0 and 1"})
    arguments = _normalised(draft, tool)
    agent, ticket = _around(draft)
    stopped = judging.beforehand(tool, arguments, agent=agent, ticket=ticket, came=_origin(draft)).stopped
    agent_name, external_id, seen = agent.name, ticket.external_id if ticket else None, facts.seen(ticket)
    if draft.heard is not None:
        seen = replace(seen, messages=draft.heard)
    database.read_again()
    if stopped is not None:
        return Prepared(draft, versions.unseen(tool, arguments, seen=seen), refused=(stopped["rule"], stopped["reason"]))
    try:
        return Prepared(draft, versions.look(tool, arguments, agent_name=agent_name, ticket_id=external_id, seen=seen))
    except Refused as refusal:
        return Prepared(draft, versions.unseen(tool, arguments, seen=seen), refused=(refusal.rule, str(refusal)))


def _normalised(draft: Draft, tool: Tool) -> dict[str, Any]:
    """The arguments as they would run. Misshapen ones become no proposal, but the record keeps that they were asked for."""
    try:
        return schema.normalise(tool, draft.arguments)
    except BadInput:
        given = draft.arguments if isinstance(draft.arguments, dict) else {}
        with database.transaction():
            agent, ticket = _around(draft)
            asked = judging.beforehand(tool, given, agent=agent, ticket=ticket, came=_origin(draft))
            judging.keep_stopped(asked, agent_id=agent.id)
        raise


def _origin(draft: Draft) -> facts.Origin:
    return judging.origin(draft.agent_id, ticket_id=draft.ticket_id, run_id=draft.run_id, token_scopes=draft.token_scopes)


def propose(prepared: Prepared) -> Proposal:
    """Write the proposal in the state the gate gives it: PENDING, APPROVED by itself with its evidence, or DENIED.

    Raises DuplicateIntent when the same thing is already open or done elsewhere. A request repeated under its key,
    or the same action drafted again by the same run, gets the first proposal.
    """
    draft, what = prepared.draft, prepared.content
    first = _first(draft, what)
    if first is not None:
        return first
    agent, ticket = _around(draft)
    now = database.now()
    level, came = facts.level(agent.id, what.tool.name), _origin(draft)
    judged = judging.judge(what, agent=agent, ticket=ticket, level=level, confidence=draft.confidence, came=came, now=now)
    if prepared.refused is not None and not isinstance(judged.verdict, check.Refused):
        rule, reason = prepared.refused
        judged = replace(judged, verdict=check.Refused(rule, reason, next_step=rules.next_step(rule)))
    if not isinstance(judged.verdict, check.Refused):
        first = _same_intent(draft, what)
        if first is not None:
            return first
    try:
        with db.session.begin_nested():
            proposal_id = _write(draft, what, level=level, judged=judged, origin=came, now=now)
    except IntegrityError:  # somebody committed the same key since we looked
        first = _first(draft, what) or _same_intent(draft, what)
        if first is None:
            raise
        return first
    return db.session.get_one(Proposal, proposal_id)


def _around(draft: Draft) -> tuple[Agent, Ticket | None]:
    agent = db.session.get(Agent, draft.agent_id)
    if agent is None:
        raise NotFound("There is no such agent.")
    ticket = db.session.get(Ticket, draft.ticket_id) if draft.ticket_id else None
    if draft.ticket_id and ticket is None:
        raise NotFound("There is no such ticket.")
    return agent, ticket


def _first(draft: Draft, what: Content) -> Proposal | None:
    """The proposal an earlier request with this key made; Conflict when that one asked for something else."""
    if draft.request_key is None:
        return None
    found = db.session.scalar(select(Proposal).where(Proposal.request_key == draft.request_key))
    if found is not None and not _same(found, what):
        raise Conflict("This idempotency key was used before for another proposal; use a new key.")
    return found


def _same_intent(draft: Draft, what: Content) -> Proposal | None:
    if what.intent is None:
        return None
    found = db.session.scalar(select(Proposal).where(Proposal.intent_key == what.intent))
    if found is None:
        return None
    if draft.run_id is not None and found.run_id == draft.run_id and _same(found, what):
        return found
    if draft.request_key is not None and found.request_key == draft.request_key:  # committed since `_first` looked
        return _first(draft, what)
    how = "done" if found.state in arcs.TERMINAL else "waiting or under way"
    where = f"see proposal {found.id}" if found.agent_id == draft.agent_id else "somebody else proposed it"
    raise DuplicateIntent(f"The same is already {how}: {where}.")


def _same(found: Proposal, what: Content) -> bool:
    drafted = select(ProposalVersion.arguments).where(ProposalVersion.proposal_id == found.id, ProposalVersion.version == 1)
    return found.tool == what.tool.name and db.session.scalar(drafted) == what.canonical


def _write(draft: Draft, what: Content, *, level: str, judged: judging.Judged, origin: facts.Origin, now: datetime) -> str:
    proposal_id, verdict = new_id("prop"), judged.verdict
    automatic = isinstance(verdict, check.Allowed)
    state = arcs.APPROVED if automatic else arcs.DENIED if isinstance(verdict, check.Refused) else arcs.PENDING
    required = verdict.count if isinstance(verdict, check.NeedsApproval) else 0
    version = versions.row(what, proposal_id=proposal_id, agent_id=draft.agent_id, version=1, editor_id=None, needs_other=False, at=now)
    said = judgements.row(verdict)
    lifecycle.begin(
        {
            "id": proposal_id,
            "state": state,
            "agent_id": draft.agent_id,
            "ticket_id": draft.ticket_id,
            "run_id": draft.run_id,
            "requester_id": draft.requester_id,
            "retry_of": draft.retry_of,
            "tool": what.tool.name,
            "risk": what.tool.risk,
            "version": 1,
            "digest": version["digest"],
            "intent_key": None if state == arcs.DENIED else what.intent,
            "approvals_required": required,
            "level": level,
            "automatic": automatic,
            "verdict": said,
            "rationale": draft.rationale[:MAX_RATIONALE].replace("\0", "\ufffd"),
            "confidence": draft.confidence,
            "deadline_at": now + REVIEW_TIME[what.tool.risk],
            "session": origin.session,
            "tainted": origin.tainted,
            "token_scopes": None if origin.token_scopes is None else list(origin.token_scopes),
            "request_key": draft.request_key,
            "created_at": now,
            "updated_at": now,
            "approved_at": now if automatic else None,
            "dispatched_at": now if automatic else None,
            "ended_at": now if state == arcs.DENIED else None,
        },
        event={
            "agent": draft.agent_id,
            "tool": what.tool.name,
            "ticket": draft.ticket_id,
            "run": draft.run_id,
            "verdict": said["kind"],
            "rule": said["rule"],
            "policies": said["policies"],
            "approvals_required": required,
            "level": level,
        },
        at=now,
    )
    versions.write(version)
    judged.keep("propose", what, agent_id=draft.agent_id, proposal=(proposal_id, 1), at=now)
    if automatic:
        _decide_automatically(proposal_id, draft.agent_id, what.tool.name, version["digest"], said, now)
    return proposal_id


def _decide_automatically(proposal_id: str, agent_id: str, tool: str, digest: str, judged: dict[str, Any], now: datetime) -> None:
    """An automatic approval is a decision row like any other, naming its evidence, and passes the same claim."""
    decision_id = new_id("dec")
    evidence = {"policies": judged["policies"], **grants.evidence(agent_id, tool)}
    db.session.execute(
        insert(Decision).values(
            id=decision_id,
            proposal_id=proposal_id,
            version=1,
            digest=digest,
            verdict="approve",
            reviewer_id=None,
            automatic=True,
            evidence=evidence,
            via="automatic",
            created_at=now,
        )
    )
    log.append("decision.recorded", proposal_id, at=now, decision=decision_id, verdict="approve", version=1, digest=digest, automatic=True)
