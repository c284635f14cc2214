"""The gate's one contact with the database: what the rules need to know, as frozen values."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import select

from copilot import config
from copilot import db as database
from copilot.db import db
from copilot.errors import NotFound
from copilot.gate import approvals, budgets, check, switches
from copilot.gate.policy import Policies
from copilot.models import Agent, Budget, Customer, Decision, Grant, Message, Proposal, ProposalVersion, Ticket, User
from copilot.toolkit import Money, Tool

APPROVAL_LIFETIME = timedelta(hours=1)
DEFAULT_LEVEL = "suggest"


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A proposal with its current version and everything around it, read in one moment."""

    proposal: Proposal
    version: ProposalVersion
    agent: Agent
    ticket: Ticket | None
    customer: Customer | None
    level: str
    now: datetime


def snapshot(proposal_id: str, *, lock: bool = False) -> Snapshot:
    """Read one proposal with what belongs to it; NotFound when there is none. `lock` keeps others from moving it meanwhile."""
    query = (
        select(Proposal, ProposalVersion, Agent, Ticket, Customer, Grant.level)
        .join(ProposalVersion, (ProposalVersion.proposal_id == Proposal.id) & (ProposalVersion.version == Proposal.version))
        .join(Agent, Agent.id == Proposal.agent_id)
        .outerjoin(Ticket, Ticket.id == Proposal.ticket_id)
        .outerjoin(Customer, Customer.id == Ticket.customer_id)
        .outerjoin(Grant, (Grant.agent_id == Proposal.agent_id) & (Grant.tool == Proposal.tool))
        .where(Proposal.id == proposal_id)
        .execution_options(populate_existing=True)
    )
    if lock:  # first, by itself: a join that waited for its row would look for the new version with the old one's eyes
        db.session.execute(select(Proposal.id).where(Proposal.id == proposal_id).with_for_update())
    row = db.session.execute(query).one_or_none()
    if row is None:
        raise NotFound("There is no such proposal.")
    proposal, version, agent, ticket, customer, level = row
    return Snapshot(proposal, version, agent, ticket, customer, level or DEFAULT_LEVEL, database.now())


def load(
    *,
    agent: Agent,
    ticket: Ticket | None,
    tool: Tool,
    amount: Money | None,
    now: datetime,
    policies: Policies,
    level: str,
    customer: str | None = None,
    recheck: bool = False,
) -> check.Facts:
    """The facts of one judgement. Budgets are read only where no reservation follows; `customer` is whose target it is."""
    charges = () if recheck or tool.effect == "read" else charges_of(agent.id, ticket, tool, amount, now, policies, customer=customer)
    return check.Facts(
        local=now.astimezone(config.current().timezone),
        agent_id=agent.id,
        agent_name=agent.name,
        agent_enabled=agent.enabled,
        scopes=tuple(agent.scopes),
        level=level,
        switches=switches.thrown(),
        region=ticket.region if ticket else "",
        channel=ticket.channel if ticket else "",
        ticket_status=ticket.status if ticket else "",
        ticket_customer=ticket.customer.external_id if ticket else None,
        charges=tuple(_used(charges)),
        recheck=recheck,
    )


def charges_of(
    agent_id: str, ticket: Ticket | None, tool: Tool, amount: Money | None, now: datetime, policies: Policies, *, customer: str | None
) -> tuple[budgets.Charge, ...]:
    """What this call would draw on which budget windows.

    A customer's window is that of whose target it is, as the tool says, and only otherwise the ticket's: leaving the
    ticket out, or using somebody else's, opens no second window.
    """
    return budgets.charges(
        policies.budget_rules,
        tool=tool.name,
        agent_id=agent_id,
        customer_id=customer or (ticket.customer.external_id if ticket else None),
        amount_minor=amount.minor if amount else None,
        currency=amount.currency if amount else None,
        now=now,
    )


def _used(charges: Iterable[budgets.Charge]) -> list[tuple[budgets.Charge, int]]:
    charges = list(charges)
    if not charges:
        return []
    keys = [charge.key for charge in charges]
    rows = db.session.execute(select(Budget.key, Budget.spent + Budget.reserved).where(Budget.key.in_(keys)))
    used = {row[0]: row[1] for row in rows}
    return [(charge, used.get(charge.key, 0)) for charge in charges]


def level(agent_id: str, tool: str) -> str:
    """The autonomy level of this agent for this tool; `suggest` unless somebody changed it."""
    return db.session.scalar(select(Grant.level).where(Grant.agent_id == agent_id, Grant.tool == tool)) or DEFAULT_LEVEL


def request(snap: Snapshot, tool: Tool, arguments: dict[str, object]) -> check.Request:
    """What the stored version asks for, as the rules see it."""
    version = snap.version
    amount = Money(version.amount_minor, version.currency) if version.amount_minor is not None and version.currency else None
    return check.Request(tool, arguments, amount, version.target, version.customer_ref, snap.proposal.confidence)


def reviewer(user: User, *, tool: Tool, context: dict[str, object], policies: Policies) -> approvals.Reviewer:
    """A person as the approval rule sees them, the policies' opinion included."""
    answer = check.may_approve(policies, user_id=user.id, role=user.role, tool=tool, context=context)
    return approvals.Reviewer(user.id, user.role, user.active, answer.allowed)


def requesters(snap: Snapshot) -> frozenset[str]:
    """Everyone who asked for this: who started it, who typed the ticket in, and who typed a message into it."""
    asked = {snap.proposal.requester_id}
    if snap.ticket is not None:
        asked.add(snap.ticket.requester_id)
        typed = select(Message.requester_id).where(Message.ticket_id == snap.ticket.id, Message.requester_id.is_not(None))
        asked |= set(db.session.scalars(typed))
    return frozenset(person for person in asked if person is not None)


def counted(snap: Snapshot, people: Iterable[User], *, required: int) -> approvals.Standing:
    """How these people's approvals of the current version stand against what is required."""
    raisers: frozenset[str | None] = frozenset()
    if snap.version.needs_other:
        edited = select(ProposalVersion.editor_id).where(ProposalVersion.proposal_id == snap.proposal.id, ProposalVersion.needs_other)
        raisers = frozenset(db.session.scalars(edited))
    return approvals.standing(
        [user.id for user in people],
        required=required,
        raisers=[person for person in raisers if person is not None],
        rules_off=switches.rules_off(),
    )


def ticket_ended_since(snap: Snapshot) -> bool:
    """Whether the ticket was solved or closed after the current version was written."""
    ticket = snap.ticket
    return ticket is not None and ticket.status in ("solved", "closed") and ticket.updated_at > snap.version.created_at


def customer_wrote_since(snap: Snapshot) -> bool:
    """Whether the customer sent a message after the current version was written."""
    if snap.ticket is None:
        return False
    later = select(Message.id).where(
        Message.ticket_id == snap.ticket.id, Message.author == "customer", Message.created_at > snap.version.created_at
    )
    return db.session.scalar(later.limit(1)) is not None


@dataclass(frozen=True, slots=True)
class Approvals:
    """The decisions that count for a version now."""

    people: tuple[User, ...]
    automatic: bool


def approved_by(snap: Snapshot, *, tool: Tool, context: dict[str, object], policies: Policies) -> Approvals:
    """Approvals bound to the current version and digest whose givers are entitled at this moment."""
    rows = db.session.execute(
        select(Decision, User)
        .outerjoin(User, User.id == Decision.reviewer_id)
        .where(
            Decision.proposal_id == snap.proposal.id,
            Decision.version == snap.version.version,
            Decision.digest == snap.version.digest,
            Decision.verdict == "approve",
        )
    ).all()
    people: list[User] = []
    automatic = False
    asked = requesters(snap)
    for decision, user in rows:
        if decision.automatic:
            automatic = True
        elif user is not None:
            judged = reviewer(user, tool=tool, context=context, policies=policies)
            if approvals.refusal(judged, requesters=asked, owner_id=snap.agent.owner_id) is None:
                people.append(user)
    return Approvals(tuple(people), automatic)
