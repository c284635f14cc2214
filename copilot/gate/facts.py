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
from copilot.models import Agent, Budget, Customer, Decision, Grant, Proposal, ProposalVersion, Ticket, User
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
    recheck: bool = False,
) -> check.Facts:
    """The facts of one judgement. Budgets are read only where no reservation follows."""
    charges = () if recheck or tool.effect == "read" else charges_of(agent.id, ticket, tool, amount, now, policies)
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
    agent_id: str, ticket: Ticket | None, tool: Tool, amount: Money | None, now: datetime, policies: Policies
) -> tuple[budgets.Charge, ...]:
    """What this call would draw on which budget windows."""
    return budgets.charges(
        policies.budget_rules,
        tool=tool.name,
        agent_id=agent_id,
        customer_id=ticket.customer_id if ticket else None,
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


@dataclass(frozen=True, slots=True)
class Approvals:
    """The decisions that count for a version now, and since when the oldest of them has stood."""

    people: tuple[User, ...]
    automatic: bool
    oldest: datetime | None


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
    times: list[datetime] = []
    automatic = False
    for decision, user in rows:
        if decision.automatic:
            automatic = True
            times.append(decision.created_at)
        elif user is not None:
            judged = reviewer(user, tool=tool, context=context, policies=policies)
            if approvals.refusal(judged, requester_id=snap.proposal.requester_id, owner_id=snap.agent.owner_id) is None:
                people.append(user)
                times.append(decision.created_at)
    return Approvals(tuple(people), automatic, min(times, default=None))
