"""One proposal as a person has to see it to decide: every value frozen, nothing the model wrote mixed with what we know."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import and_, select
from sqlalchemy.orm import selectinload

from copilot.db import db
from copilot.errors import NotFound
from copilot.gate import policy
from copilot.models import Decision, Execution, Proposal, ProposalVersion, Ticket
from copilot.toolkit import Money

_LOOKED_AT = 60  # how many earlier proposals are weighed for "similar"
_SIMILAR = 3


@dataclass(frozen=True, slots=True)
class Written:
    """One message of the ticket."""

    author: str
    body: str
    at: datetime


@dataclass(frozen=True, slots=True)
class TicketView:
    """The ticket a proposal is about."""

    id: str
    external_id: str
    subject: str
    status: str
    channel: str
    customer: str
    email: str
    messages: tuple[Written, ...]


@dataclass(frozen=True, slots=True)
class VersionView:
    """One version's exact content."""

    version: int
    digest: str
    arguments: dict[str, Any]
    editor: str | None
    needs_other: bool
    at: datetime


@dataclass(frozen=True, slots=True)
class DecisionView:
    """One verdict, by a person or automatic."""

    version: int
    verdict: str
    reviewer: str | None
    automatic: bool
    evidence: dict[str, Any]
    reason_code: str | None
    note: str
    via: str
    at: datetime


@dataclass(frozen=True, slots=True)
class ExecutionView:
    """One attempt at the call."""

    fence: int
    state: str
    provider_id: str | None
    error: str | None
    late: dict[str, Any] | None
    started_at: datetime
    ended_at: datetime | None


@dataclass(frozen=True, slots=True)
class Similar:
    """An earlier proposal of the same action, what was decided, and how this one differs."""

    id: str
    state: str
    verdict: str
    reviewer: str | None
    reason_code: str | None
    note: str
    consequence: str
    amount: Money | None
    differs: tuple[str, ...]
    at: datetime


@dataclass(frozen=True, slots=True)
class Card:
    """Everything about one proposal. `why` holds our sentences for asking; `rationale` is the model's and hostile."""

    id: str
    state: str
    tool: str
    risk: str
    agent_id: str
    agent: str
    run_id: str | None
    retry_of: str | None
    version: int
    digest: str
    arguments: dict[str, Any]
    drafted: dict[str, Any]
    amount: Money | None
    target: str | None
    payee: str | None
    consequence: str
    before: dict[str, Any]
    after: dict[str, Any]
    facts: dict[str, Any]
    verdict: dict[str, Any]
    why: tuple[str, ...]
    policies: tuple[str, ...]
    level: str
    automatic: bool
    approvals_required: int
    approvals: int
    editor: str | None
    needs_other: bool
    rationale: str
    confidence: float | None
    ticket: TicketView | None
    similar: tuple[Similar, ...]
    versions: tuple[VersionView, ...]
    decisions: tuple[DecisionView, ...]
    executions: tuple[ExecutionView, ...]
    outcome: dict[str, Any] | None
    provider_id: str | None
    attempts: int
    deadline_at: datetime
    created_at: datetime
    updated_at: datetime
    ended_at: datetime | None


def find(proposal_id: str) -> Proposal:
    """The proposal's row with its agent; NotFound with a sentence."""
    proposal = db.session.get(Proposal, proposal_id)
    if proposal is None:
        raise NotFound("There is no such proposal. It may belong to another installation, or the link is incomplete.")
    return proposal


def card(proposal_id: str) -> Card:
    """The card of one proposal; NotFound when there is none."""
    statement = (
        select(Proposal)
        .where(Proposal.id == proposal_id)
        .options(
            selectinload(Proposal.versions).selectinload(ProposalVersion.editor),
            selectinload(Proposal.decisions).selectinload(Decision.reviewer),
            selectinload(Proposal.executions),
            selectinload(Proposal.agent),
            selectinload(Proposal.ticket).selectinload(Ticket.messages),
        )
    )
    proposal = db.session.execute(statement).scalar_one_or_none() or find(proposal_id)
    current = next(v for v in proposal.versions if v.version == proposal.version)
    preview = current.preview
    approving = {d.reviewer_id for d in proposal.decisions if d.version == proposal.version and d.verdict == "approve"}
    policies = tuple(str(p) for p in proposal.verdict.get("policies", ()))
    return Card(
        id=proposal.id,
        state=proposal.state,
        tool=proposal.tool,
        risk=proposal.risk,
        agent_id=proposal.agent_id,
        agent=proposal.agent.name,
        run_id=proposal.run_id,
        retry_of=proposal.retry_of,
        version=proposal.version,
        digest=proposal.digest,
        arguments=json.loads(current.arguments),
        drafted=json.loads(proposal.versions[0].arguments),
        amount=_money(current),
        target=current.target,
        payee=current.payee,
        consequence=str(preview.get("consequence") or ""),
        before=dict(preview.get("before") or {}),
        after=dict(preview.get("after") or {}),
        facts=dict(preview.get("facts") or {}),
        verdict=dict(proposal.verdict),
        why=_why(proposal, policies),
        policies=policies,
        level=proposal.level,
        automatic=proposal.automatic,
        approvals_required=proposal.approvals_required,
        approvals=len(approving),
        editor=current.editor.name if current.editor else None,
        needs_other=current.needs_other,
        rationale=proposal.rationale,
        confidence=proposal.confidence,
        ticket=_ticket(proposal.ticket),
        similar=_similar(proposal, current),
        versions=tuple(_version(v) for v in proposal.versions),
        decisions=tuple(_decision(d) for d in proposal.decisions),
        executions=tuple(_execution(e) for e in proposal.executions),
        outcome=proposal.outcome,
        provider_id=proposal.provider_id,
        attempts=proposal.attempts,
        deadline_at=proposal.deadline_at,
        created_at=proposal.created_at,
        updated_at=proposal.updated_at,
        ended_at=proposal.ended_at,
    )


_LEVELS = {
    "off": "This action is switched off for the agent.",
    "shadow": "This action runs in shadow: it is drafted for comparison and never runs.",
    "suggest": "This action is at level suggest: a person decides every time.",
    "canary": "This action is on trial: a share runs alone, the rest comes to a person.",
    "auto": "This action may run alone, but this one was held back for a person.",
}


def _why(proposal: Proposal, policies: tuple[str, ...]) -> tuple[str, ...]:
    """Our own sentences for why a person is asked: the gate's reason, each deciding policy, the level, the count."""
    sent_back = proposal.verdict.get("sent_back") or {}
    sentences = [
        f"It was approved before and came back: {sent_back['reason']}" if sent_back.get("reason") else "",
        str(proposal.verdict.get("reason") or ""),
    ]
    sentences += [policy.current().sentence(name) for name in policies]
    if proposal.automatic:
        sentences.append("It ran without asking: the action's level allowed it.")
    elif proposal.verdict.get("rule") != "level-suggest":  # whose own sentence says the same
        sentences.append(_LEVELS.get(proposal.level, ""))
    if proposal.approvals_required > 1:
        sentences.append(f"{proposal.approvals_required} different people have to approve it.")
    seen: dict[str, None] = dict.fromkeys(sentence for sentence in sentences if sentence)
    return tuple(seen)


def _money(version: ProposalVersion) -> Money | None:
    if version.amount_minor is None or not version.currency:
        return None
    return Money(version.amount_minor, version.currency)


def _ticket(ticket: Ticket | None) -> TicketView | None:
    if ticket is None:
        return None
    return TicketView(
        id=ticket.id,
        external_id=ticket.external_id,
        subject=ticket.subject,
        status=ticket.status,
        channel=ticket.channel,
        customer=ticket.customer.name,
        email=ticket.customer.email,
        messages=tuple(Written(m.author, m.body, m.at) for m in ticket.messages),
    )


def _version(row: ProposalVersion) -> VersionView:
    editor = row.editor.name if row.editor else None
    return VersionView(row.version, row.digest, json.loads(row.arguments), editor, row.needs_other, row.created_at)


def _decision(row: Decision) -> DecisionView:
    reviewer = row.reviewer.name if row.reviewer else None
    return DecisionView(row.version, row.verdict, reviewer, row.automatic, row.evidence, row.reason_code, row.note, row.via, row.created_at)


def _execution(row: Execution) -> ExecutionView:
    return ExecutionView(row.fence, row.state, row.provider_id, row.error, row.late, row.started_at, row.ended_at)


def _similar(proposal: Proposal, current: ProposalVersion) -> tuple[Similar, ...]:
    """People's latest decisions on the same action: same customer first, then same target, then the nearest amount."""
    statement = (
        select(Proposal, ProposalVersion, Decision)
        .join(Decision, Decision.proposal_id == Proposal.id)
        .join(ProposalVersion, and_(ProposalVersion.proposal_id == Proposal.id, ProposalVersion.version == Decision.version))
        .where(Proposal.agent_id == proposal.agent_id, Proposal.tool == proposal.tool, Proposal.id != proposal.id)
        .where(Decision.automatic.is_(False), Decision.verdict.in_(("approve", "edit", "reject")))
        .order_by(Proposal.created_at.desc(), Decision.created_at.desc())
        .options(selectinload(Decision.reviewer))
        .limit(_LOOKED_AT)
    )
    latest: dict[str, tuple[Proposal, ProposalVersion, Decision]] = {}
    for row in db.session.execute(statement):
        latest.setdefault(row[0].id, (row[0], row[1], row[2]))
    nearest = sorted(latest.values(), key=lambda row: _distance(current, row[1]))
    return tuple(_likeness(current, *row) for row in nearest[:_SIMILAR])


def _distance(current: ProposalVersion, other: ProposalVersion) -> tuple[bool, bool, float]:
    apart = abs((current.amount_minor or 0) - (other.amount_minor or 0)) if current.currency == other.currency else float("inf")
    return (not current.customer_ref or current.customer_ref != other.customer_ref, current.target != other.target, apart)


def _likeness(current: ProposalVersion, proposal: Proposal, version: ProposalVersion, decision: Decision) -> Similar:
    differs = []
    if current.customer_ref and current.customer_ref == version.customer_ref:
        differs.append("same customer")
    elif current.customer_ref and version.customer_ref:
        differs.append("another customer")
    if current.target and current.target == version.target:
        differs.append("same target")
    if current.amount_minor is not None and version.amount_minor is not None and current.currency == version.currency:
        gap = current.amount_minor - version.amount_minor
        differs.append("same amount" if not gap else "this one is larger" if gap > 0 else "this one is smaller")
    return Similar(
        id=proposal.id,
        state=proposal.state,
        verdict=decision.verdict,
        reviewer=decision.reviewer.name if decision.reviewer else None,
        reason_code=decision.reason_code,
        note=decision.note,
        consequence=str(version.preview.get("consequence") or ""),
        amount=_money(version),
        differs=tuple(differs),
        at=decision.created_at,
    )
