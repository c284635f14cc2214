"""One proposal as a person has to see it to decide: every value frozen, nothing the model wrote mixed with what we know."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import selectinload

from copilot.db import db, now
from copilot.errors import NotFound
from copilot.gate import arcs, facts, library, tools, windows
from copilot.models import Decision, Execution, Proposal, ProposalVersion, Ticket
from copilot.review import likeness
from copilot.toolkit import Money


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
    limits: tuple[windows.Line, ...]
    similar: tuple[likeness.Similar, ...]
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


_AS_STORED = (
    "id", "state", "tool", "risk", "agent_id", "run_id", "retry_of", "version", "digest", "level", "automatic", "approvals_required",
    "rationale", "confidence", "outcome", "provider_id", "attempts", "deadline_at", "created_at", "updated_at", "ended_at",
)  # fmt: skip


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
        **{name: getattr(proposal, name) for name in _AS_STORED},
        agent=proposal.agent.name,
        arguments=json.loads(current.arguments),
        drafted=json.loads(proposal.versions[0].arguments),
        amount=likeness.money(current),
        target=current.target,
        payee=current.payee,
        consequence=str(preview.get("consequence") or ""),
        before=dict(preview.get("before") or {}),
        after=dict(preview.get("after") or {}),
        facts=dict(preview.get("facts") or {}),
        verdict=dict(proposal.verdict),
        why=_why(proposal, policies),
        policies=policies,
        approvals=len(approving),
        editor=current.editor.name if current.editor else None,
        needs_other=current.needs_other,
        ticket=_ticket(proposal.ticket),
        limits=_limits(proposal, current),
        similar=likeness.to(proposal, current),
        versions=tuple(_version(v) for v in proposal.versions),
        decisions=tuple(_decision(d) for d in proposal.decisions),
        executions=tuple(_execution(e) for e in proposal.executions),
    )


_LEVELS = {
    "off": "This action is switched off for the agent.",
    "shadow": "This action runs in shadow: it is drafted for comparison and never runs.",
    "suggest": "This action is at level suggest: a person decides every time.",
    "canary": "This action is on trial: a share runs alone, the rest comes to a person.",
    "auto": "This action may run alone, but this one was held back for a person.",
}


_CAME_BACK = {True: "It was approved before and came back:", False: "Look again:"}


def _why(proposal: Proposal, policies: tuple[str, ...]) -> tuple[str, ...]:
    """Our own sentences for why a person is asked: the gate's reason, each deciding policy, the level, the count."""
    sent_back = proposal.verdict.get("sent_back") or {}
    sentences = [
        f"{_CAME_BACK[bool(sent_back.get('approved', True))]} {sent_back['reason']}" if sent_back.get("reason") else "",
        str(proposal.verdict.get("reason") or ""),
    ]
    sentences += [library.in_force().sentence(name) for name in policies]
    if proposal.automatic:
        sentences.append("It ran without asking: the action's level allowed it.")
    elif proposal.verdict.get("rule") != "level-suggest":  # whose own sentence says the same
        sentences.append(_LEVELS.get(proposal.level, ""))
    if proposal.approvals_required > 1:
        sentences.append(f"{proposal.approvals_required} different people have to approve it.")
    seen: dict[str, None] = dict.fromkeys(sentence for sentence in sentences if sentence)
    return tuple(seen)


def _limits(proposal: Proposal, current: ProposalVersion) -> tuple[windows.Line, ...]:
    """How the budgets this would draw on stand now, while it can still run."""
    tool = tools.current().find(proposal.tool)
    if tool is None or proposal.state not in (arcs.PENDING, arcs.APPROVED):
        return ()
    policies = library.in_force()
    customer, session, amount = current.customer_ref, proposal.session, likeness.money(current)
    charges = facts.charges_of(proposal.agent, proposal.ticket, tool, amount, now(), policies, customer=customer, session=session)
    return tuple(windows.standing(policies.budget_rules, charges))


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
