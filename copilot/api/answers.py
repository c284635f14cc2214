"""What answers hold. The same models write the answers and the OpenAPI document, so the two cannot differ."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import datetime
from typing import Any

from flask import Response
from pydantic import BaseModel, ConfigDict
from sqlalchemy import select
from sqlalchemy.orm import selectinload

from copilot.api import edge
from copilot.db import db
from copilot.errors import NotFound
from copilot.gate import policy
from copilot.models import Decision, Proposal, ProposalVersion, User


class _Answer(BaseModel):
    model_config = ConfigDict(frozen=True)


class TicketAnswer(_Answer):
    """A ticket that is here; `created` is false when it was already."""

    id: str
    external_id: str
    status: str
    created: bool


class MessageAnswer(_Answer):
    """A message that is here."""

    id: str
    ticket_id: str
    created: bool


class StatusAnswer(_Answer):
    """A ticket's status as it is now."""

    id: str
    external_id: str
    status: str


class AmountAnswer(_Answer):
    """Money in minor units (cents)."""

    minor: int
    currency: str


class ApprovalAnswer(_Answer):
    """One person's approval of the current version."""

    reviewer_id: str
    name: str
    at: datetime


class ProposalAnswer(_Answer):
    """One proposal as it stands; `consequence`, `before`, `after` and `facts` come from the tool, `rationale` from the agent."""

    id: str
    version: int
    state: str
    digest: str
    agent: str
    agent_id: str
    tool: str
    risk: str
    arguments: dict[str, Any]
    amount: AmountAnswer | None
    target: str | None
    payee: str | None
    consequence: str
    before: dict[str, Any]
    after: dict[str, Any]
    facts: dict[str, Any]
    verdict: dict[str, Any]
    level: str
    automatic: bool
    approvals_required: int
    approvals: list[ApprovalAnswer]
    rationale: str
    confidence: float | None
    ticket_id: str | None
    ticket_external_id: str | None
    run_id: str | None
    retry_of: str | None
    outcome: dict[str, Any] | None
    provider_id: str | None
    deadline_at: datetime
    created_at: datetime
    updated_at: datetime
    ended_at: datetime | None
    url: str


class ProposalsAnswer(_Answer):
    """One page; `next` is the cursor of the following one, null at the end."""

    items: list[ProposalAnswer]
    next: str | None


class DecisionAnswer(_Answer):
    """A decision that was recorded; `missing` says who else is needed, null when nobody is."""

    id: str
    state: str
    version: int
    digest: str
    missing: str | None
    proposal: ProposalAnswer


class ToolAnswer(_Answer):
    """One tool, and the level at which the calling agent has it (null for a person)."""

    name: str
    description: str
    effect: str
    risk: str
    reversible: bool
    idempotency: list[str]
    parameters: dict[str, Any]
    level: str | None


class ToolsAnswer(_Answer):
    """Tools by name."""

    items: list[ToolAnswer]


class ReadAnswer(_Answer):
    """A read's result."""

    tool: str
    result: Any


class ActionAnswer(_Answer):
    """One agent × action: its level, what people's decisions say, and what stands between it and auto, in words."""

    agent_id: str
    agent: str
    tool: str
    risk: str
    reversible: bool
    level: str
    percent: int
    count: int
    approved_unchanged: int
    edited: int
    rejected: int
    rate: float | None
    interval: tuple[float, float]
    target: float
    p95_seconds: float | None
    refusals: int
    failures: int
    unknowns: int
    shortfalls: list[str]
    settable: list[str]


class ActionsAnswer(_Answer):
    """Actions by agent and tool."""

    items: list[ActionAnswer]


class LevelAnswer(_Answer):
    """The level in force now; `waiting` is the change that a second person has to confirm before the wished one holds."""

    agent_id: str
    tool: str
    level: str
    waiting: str | None = None


def reply(answer: BaseModel, status: int = 200) -> Response:
    """The answer as a JSON response that nobody keeps."""
    response = Response(answer.model_dump_json(), status=status, mimetype="application/json")
    response.headers["Cache-Control"] = "no-store"
    return response


def proposal(proposal_id: str) -> ProposalAnswer:
    """One proposal's answer; NotFound when there is none."""
    for found in proposals([proposal_id]):
        return found
    raise NotFound("There is no such proposal.")


def proposals(ids: Iterable[str]) -> list[ProposalAnswer]:
    """The answers for these ids in this order, in a fixed number of queries."""
    order = list(ids)
    statement = (
        select(Proposal)
        .where(Proposal.id.in_(order))
        .options(
            selectinload(Proposal.agent),
            selectinload(Proposal.ticket),
            selectinload(Proposal.versions),
            selectinload(Proposal.decisions).selectinload(Decision.reviewer),
        )
        .execution_options(populate_existing=True)
    )
    found = {row.id: _proposal(row) for row in db.session.execute(statement).scalars()}
    return [found[one] for one in order if one in found]


def _proposal(row: Proposal) -> ProposalAnswer:
    current = next(version for version in row.versions if version.version == row.version)
    # What the tool showed is for the people who decide: an agent that may only propose must not read through it.
    preview = current.preview if isinstance(edge.caller(), User) else {}
    return ProposalAnswer(
        id=row.id,
        version=row.version,
        state=row.state,
        digest=row.digest,
        agent=row.agent.name,
        agent_id=row.agent_id,
        tool=row.tool,
        risk=row.risk,
        arguments=json.loads(current.arguments),
        amount=_amount(current),
        target=current.target,
        payee=current.payee,
        consequence=str(preview.get("consequence") or ""),
        before=preview.get("before") or {},
        after=preview.get("after") or {},
        facts=preview.get("facts") or {},
        verdict=_verdict(row.verdict),
        level=row.level,
        automatic=row.automatic,
        approvals_required=row.approvals_required,
        approvals=_approvals(row),
        rationale=row.rationale,
        confidence=row.confidence,
        ticket_id=row.ticket_id,
        ticket_external_id=row.ticket.external_id if row.ticket else None,
        run_id=row.run_id,
        retry_of=row.retry_of,
        outcome=row.outcome,
        provider_id=row.provider_id,
        deadline_at=row.deadline_at,
        created_at=row.created_at,
        updated_at=row.updated_at,
        ended_at=row.ended_at,
        url=edge.page_url(f"/proposals/{row.id}"),
    )


def _amount(version: ProposalVersion) -> AmountAnswer | None:
    if version.amount_minor is None or not version.currency:
        return None
    return AmountAnswer(minor=version.amount_minor, currency=version.currency)


def _approvals(row: Proposal) -> list[ApprovalAnswer]:
    """Save-and-approve writes an approval of the new version, so only approvals of the current version count."""
    return [
        ApprovalAnswer(reviewer_id=decision.reviewer_id, name=decision.reviewer.name, at=decision.created_at)
        for decision in row.decisions
        if decision.version == row.version and decision.verdict == "approve" and decision.reviewer_id and decision.reviewer
    ]


def _verdict(stored: dict[str, Any]) -> dict[str, Any]:
    """The stored verdict, and what can be done about the rule that decided it, or that sent it back to people."""
    policies, sent_back = policy.current(), stored.get("sent_back")
    known = {"next_step": stored.get("next_step") or (policies.next_step(stored["rule"]) if stored.get("rule") else "")}
    back = {"sent_back": {**sent_back, "next_step": policies.next_step(sent_back["rule"])}} if sent_back else {}
    return {**stored, **known, **back}
