"""What people see of proposals: the queue, its counts, and one proposal's card. Reads only."""

from __future__ import annotations

import binascii
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Select, and_, func, or_, select
from sqlalchemy.orm import aliased

from copilot.db import db
from copilot.errors import BadInput
from copilot.gate import arcs
from copilot.models import Agent, Customer, Decision, Proposal, ProposalVersion, Run, Ticket, User
from copilot.review.cards import Card, card, find
from copilot.toolkit import Money

__all__ = ["COUNT_CAP", "Card", "Counts", "Item", "Page", "after", "card", "counts", "find", "needing_people", "of_ticket", "queue"]

COUNT_CAP = 1000


@dataclass(frozen=True, slots=True)
class Item:
    """One line of the queue."""

    id: str
    state: str
    tool: str
    risk: str
    agent: str
    agent_id: str
    ticket_id: str | None
    ticket_external_id: str | None
    subject: str
    customer: str
    consequence: str
    amount: Money | None
    target: str | None
    version: int
    digest: str
    approvals_required: int
    approvals: int
    edited: bool
    automatic: bool
    deadline_at: datetime
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class Page:
    """One page of items; `next` is the cursor of the following page, or None at the end."""

    items: tuple[Item, ...]
    next: str | None


@dataclass(frozen=True, slots=True)
class Counts:
    """How much waits for a person. Each is exact up to COUNT_CAP; one more means "more than that"."""

    pending: int
    unknown: int
    held: int
    needs_human: int


def queue(
    viewer: User | None,
    *,
    state: str | None = arcs.PENDING,
    tool: str | None = None,
    agent: str | None = None,
    risk: str | None = None,
    mine: bool = False,
    limit: int = 50,
    cursor: str | None = None,
    query: str | None = None,
) -> Page:
    """One keyset page: what waits, oldest deadline first; any other state, newest first.

    `mine` keeps what this viewer has a decision on or typed the ticket of. `agent` is an agent's id; `query` the
    id of a proposal, of a ticket, or the ticket's own number at its source. BadInput when the cursor is not one of ours.
    """
    waiting = state == arcs.PENDING
    statement = _lines()
    if state is not None:
        statement = statement.where(Proposal.state == state)
    for column, wanted in ((Proposal.tool, tool), (Proposal.agent_id, agent), (Proposal.risk, risk)):
        if wanted:
            statement = statement.where(column == wanted)
    if query:
        statement = statement.where(or_(Proposal.id == query, Proposal.ticket_id == query, Ticket.external_id == query))
    if mine and viewer is not None:
        touched = select(Decision.proposal_id).where(Decision.reviewer_id == viewer.id)
        statement = statement.where(or_(Proposal.id.in_(touched), Proposal.requester_id == viewer.id))
    order = Proposal.deadline_at if waiting else Proposal.created_at
    if cursor is not None:
        at, last = _uncursor(cursor)
        beyond = (order > at, Proposal.id > last) if waiting else (order < at, Proposal.id < last)
        statement = statement.where(or_(beyond[0], and_(order == at, beyond[1])))
    ordering = (order, Proposal.id) if waiting else (order.desc(), Proposal.id.desc())
    rows = db.session.execute(statement.order_by(*ordering).limit(limit + 1)).all()
    items = tuple(_item(row) for row in rows[:limit])
    if len(rows) <= limit or not items:
        return Page(items, None)
    return Page(items, _cursor(items[-1].deadline_at if waiting else items[-1].created_at, items[-1].id))


def of_ticket(ticket_id: str, *, limit: int = 50) -> tuple[Item, ...]:
    """Everything proposed on one ticket, newest first."""
    statement = _lines().where(Proposal.ticket_id == ticket_id).order_by(Proposal.created_at.desc(), Proposal.id).limit(limit)
    return tuple(_item(row) for row in db.session.execute(statement))


def after(viewer: User, *, done: str) -> str | None:
    """The id of the next proposal this person could decide, leaving out the one just done and those they decided already."""
    mine = select(Decision.proposal_id).where(
        Decision.reviewer_id == viewer.id, Decision.proposal_id == Proposal.id, Decision.version == Proposal.version
    )
    statement = (
        select(Proposal.id)
        .join(Agent, Agent.id == Proposal.agent_id)
        .where(Proposal.state == arcs.PENDING, Proposal.id != done, Agent.owner_id != viewer.id, ~mine.exists())
        .where(or_(Proposal.requester_id.is_(None), Proposal.requester_id != viewer.id))
        .order_by(Proposal.deadline_at, Proposal.id)
        .limit(1)
    )
    return db.session.execute(statement).scalar_one_or_none()


def counts() -> Counts:
    """How much waits, each counted no further than one past COUNT_CAP, so a flood cannot make pages slow."""
    return Counts(
        pending=_capped(select(Proposal.id).where(Proposal.state == arcs.PENDING)),
        unknown=_capped(select(Proposal.id).where(Proposal.state == arcs.OUTCOME_UNKNOWN)),
        held=_capped(select(Proposal.id).where(Proposal.state == arcs.HELD)),
        needs_human=_capped(needing_people().with_only_columns(Run.id)),
    )


def needing_people() -> Select[Any]:
    """The runs that ended in a person's hands and that nobody has taken care of: the ticket is open and no later run took over."""
    later = aliased(Run)
    taken_over = select(later.id).where(later.ticket_id == Run.ticket_id, later.created_at > Run.ended_at)
    return (
        select(Run)
        .join(Ticket, Ticket.id == Run.ticket_id)
        .where(Run.state == "NEEDS_HUMAN", Ticket.status.in_(("open", "pending")), ~taken_over.exists())
    )


def _capped(statement: Select[Any]) -> int:
    some = statement.limit(COUNT_CAP + 1).subquery()
    return db.session.execute(select(func.count()).select_from(some)).scalar_one()


def _lines() -> Select[Any]:
    approvals = (
        select(func.count(func.distinct(Decision.reviewer_id)))
        .where(Decision.proposal_id == Proposal.id, Decision.version == Proposal.version, Decision.verdict == "approve")
        .scalar_subquery()
    )
    return (
        select(Proposal, ProposalVersion, Agent.name, Ticket.external_id, Ticket.subject, Customer.name, approvals)
        .join(ProposalVersion, and_(ProposalVersion.proposal_id == Proposal.id, ProposalVersion.version == Proposal.version))
        .join(Agent, Agent.id == Proposal.agent_id)
        .outerjoin(Ticket, Ticket.id == Proposal.ticket_id)
        .outerjoin(Customer, Customer.id == Ticket.customer_id)
    )


def _item(row: Any) -> Item:
    proposal, version, agent, external_id, subject, customer, approvals = row
    money = None
    if version.amount_minor is not None and version.currency:
        money = Money(version.amount_minor, version.currency)
    return Item(
        id=proposal.id,
        state=proposal.state,
        tool=proposal.tool,
        risk=proposal.risk,
        agent=agent,
        agent_id=proposal.agent_id,
        ticket_id=proposal.ticket_id,
        ticket_external_id=external_id,
        subject=subject or "",
        customer=customer or "",
        consequence=str(version.preview.get("consequence") or ""),
        amount=money,
        target=version.target,
        version=proposal.version,
        digest=proposal.digest,
        approvals_required=proposal.approvals_required,
        approvals=approvals,
        edited=version.editor_id is not None,
        automatic=proposal.automatic,
        deadline_at=proposal.deadline_at,
        created_at=proposal.created_at,
        updated_at=proposal.updated_at,
    )


def _cursor(at: datetime, last: str) -> str:
    return urlsafe_b64encode(f"{at.isoformat()}|{last}".encode()).decode().rstrip("=")


def _uncursor(cursor: str) -> tuple[datetime, str]:
    """Read a cursor back; BadInput for anything that is not one of ours."""
    try:
        text = urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode()
        at, _, last = text.partition("|")
        moment = datetime.fromisoformat(at)
        if moment.tzinfo is None or not last or "\0" in last:
            raise ValueError(cursor)
        moment = moment.astimezone(UTC)  # which the first and last day of the calendar may not survive
    except (ValueError, OverflowError, binascii.Error) as error:
        raise BadInput(
            "That page link is no longer valid; start again from the first page.", problems={"cursor": "is not valid"}
        ) from error
    return moment, last
