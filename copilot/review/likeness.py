"""What people decided on the same action before, and how the one at hand differs from it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import and_, select
from sqlalchemy.orm import selectinload

from copilot.db import db
from copilot.models import Decision, Proposal, ProposalVersion
from copilot.toolkit import Money

_LOOKED_AT = 60  # how many earlier decisions are weighed
_SHOWN = 3


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


def to(proposal: Proposal, current: ProposalVersion) -> tuple[Similar, ...]:
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
    return tuple(_likeness(current, *row) for row in nearest[:_SHOWN])


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
        amount=money(version),
        differs=tuple(differs),
        at=decision.created_at,
    )


def money(version: ProposalVersion) -> Money | None:
    """What a version amounts to, where its tool says so."""
    if version.amount_minor is None or not version.currency:
        return None
    return Money(version.amount_minor, version.currency)
