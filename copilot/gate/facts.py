"""The gate's one contact with the database: what the rules need to know, as frozen values."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import func, select

from copilot import config
from copilot import db as database
from copilot.db import db
from copilot.errors import NotFound
from copilot.gate import approvals, budgets, check, identity, switches, windows
from copilot.gate.policy import Policies
from copilot.models import Agent, Customer, Decision, Grant, Message, Proposal, ProposalVersion, Run, Step, Ticket, User
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


@dataclass(frozen=True, slots=True)
class Origin:
    """How a request came about: the session it counts in, whether its author had read customer text, its token's scopes."""

    session: str = ""
    tainted: bool = True
    token_scopes: tuple[str, ...] | None = None  # None: no narrower than the agent


def origin(proposal: Proposal) -> Origin:
    """How a stored proposal came about."""
    scopes = proposal.token_scopes
    return Origin(proposal.session, proposal.tainted, None if scopes is None else tuple(scopes))


def load(
    *,
    agent: Agent,
    ticket: Ticket | None,
    tool: Tool,
    amount: Money | None,
    now: datetime,
    policies: Policies,
    level: str,
    origin: Origin,
    customer: str | None = None,
    recheck: bool = False,
) -> check.Facts:
    """The facts of one judgement. With `recheck` a reservation follows, so budgets are facts only and refuse nothing here.

    `customer` is whose target it is, as the tool says.
    """
    zone, region = config.current().timezone, ticket.region if ticket else ""
    drawn = windows.used(charges_of(agent, ticket, tool, amount, now, policies, customer=customer, session=origin.session))
    return check.Facts(
        local=policies.calendar.local(now, region, zone),
        business_hours=policies.calendar.open(now, region, zone),
        agent_id=agent.id,
        agent_name=agent.name,
        agent_enabled=agent.enabled,
        agent_team=agent.team or "",
        scopes=identity.narrow(agent.scopes, origin.token_scopes),
        level=level,
        switches=switches.thrown(),
        region=region,
        channel=ticket.channel if ticket else "",
        ticket_status=ticket.status if ticket else "",
        ticket=ticket.external_id if ticket else None,
        ticket_customer=ticket.customer.external_id if ticket else None,
        ticket_hours=int((now - ticket.created_at).total_seconds() // 3600) if ticket else None,
        customer_days=(now - ticket.customer.created_at).days if ticket else None,
        customer_tickets=_open_tickets(ticket.customer_id) if ticket else None,
        tainted=origin.tainted,
        charges=() if recheck else tuple(drawn),
        used={charge.rule: number for charge, number in drawn},
        recheck=recheck,
    )


def again(snap: Snapshot, tool: Tool, request: check.Request, policies: Policies) -> check.Facts:
    """The facts about a stored proposal at this moment, with which its approval and its claim are judged."""
    return load(
        agent=snap.agent,
        ticket=snap.ticket,
        tool=tool,
        amount=request.amount,
        now=snap.now,
        policies=policies,
        level=snap.level,
        origin=origin(snap.proposal),
        customer=request.target_customer,
        recheck=True,
    )


def charges_of(
    agent: Agent,
    ticket: Ticket | None,
    tool: Tool,
    amount: Money | None,
    now: datetime,
    policies: Policies,
    *,
    customer: str | None,
    session: str,
) -> tuple[budgets.Charge, ...]:
    """What this call would draw on which budget windows.

    A customer's window is that of whose target it is, as the tool says, and only otherwise the ticket's: leaving the
    ticket out, or using somebody else's, opens no second window.
    """
    return budgets.charges(
        policies.budget_rules,
        tool=tool.name,
        effect=tool.effect,
        agent_id=agent.id,
        customer_id=customer or (ticket.customer.external_id if ticket else None),
        team=agent.team,
        session=session,
        amount_minor=amount.minor if amount else None,
        currency=amount.currency if amount else None,
        now=now,
        timezone=config.current().timezone,
    )


def _open_tickets(customer_id: str) -> int:
    query = select(func.count()).select_from(Ticket).where(Ticket.customer_id == customer_id, Ticket.status.in_(("open", "pending")))
    return db.session.scalar(query) or 0


def level(agent_id: str, tool: str) -> str:
    """The autonomy level of this agent for this tool; `suggest` unless somebody changed it."""
    return db.session.scalar(select(Grant.level).where(Grant.agent_id == agent_id, Grant.tool == tool)) or DEFAULT_LEVEL


def request(snap: Snapshot, tool: Tool, arguments: dict[str, object], *, known: Mapping[str, Any] | None = None) -> check.Request:
    """What the stored version asks for, as the rules see it; `known` is what the tool says now, else what it said then."""
    version = snap.version
    amount = Money(version.amount_minor, version.currency) if version.amount_minor is not None and version.currency else None
    told = version.preview.get("known", {}) if known is None else known
    return check.Request(tool, arguments, amount, version.target, version.customer_ref, snap.proposal.confidence, told)


def reviewer(user: User, *, tool: Tool, context: dict[str, object], policies: Policies) -> approvals.Reviewer:
    """A person as the approval rule sees them, the policies' opinion included."""
    teams = (user.team,) if user.team else ()
    answer = check.may_approve(policies, user_id=user.id, role=user.role, teams=teams, tool=tool, context=context)
    return approvals.Reviewer(user.id, user.role, user.active, answer.allowed, answer.broken is not None)


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


def read_customer_text(run_id: str) -> bool:
    """Whether a run has seen anything a customer may have written: a message of theirs, or what any tool read."""
    said = select(Message.id).join(Run, Run.ticket_id == Message.ticket_id).where(Run.id == run_id, Message.author == "customer")
    read = select(Step.id).where(Step.run_id == run_id, Step.kind == "read")
    return db.session.scalar(said.limit(1)) is not None or db.session.scalar(read.limit(1)) is not None


@dataclass(frozen=True, slots=True)
class Seen:
    """What the author of a version had before them: how many messages of the customer, and how the ticket stood."""

    messages: int = 0
    status: str | None = None


def seen(ticket: Ticket | None) -> Seen:
    """What there is to be seen now. Messages are counted and not timed: one may be committed after a later one."""
    return Seen() if ticket is None else Seen(_customer_messages(ticket.id), ticket.status)


def ticket_ended_since(snap: Snapshot) -> bool:
    """Whether the ticket was solved or closed since the current version's author looked."""
    ended = ("solved", "closed")
    return snap.ticket is not None and snap.ticket.status in ended and snap.version.seen_status not in (*ended, snap.ticket.status)


def customer_wrote_since(snap: Snapshot) -> bool:
    """Whether the customer sent a message since the current version's author looked."""
    return snap.ticket is not None and _customer_messages(snap.ticket.id) > (snap.version.seen_messages or 0)


def outdated(snap: Snapshot) -> tuple[str, str] | None:
    """Why people should look at this again before anything is decided or done, as (rule, sentence)."""
    if ticket_ended_since(snap):
        return "ticket-ended", "The ticket was closed or solved since this was drafted."
    if customer_wrote_since(snap):
        return "customer-wrote", "The customer wrote again since this was drafted; read it before you decide."
    return None


def _customer_messages(ticket_id: str) -> int:
    query = select(func.count()).select_from(Message).where(Message.ticket_id == ticket_id, Message.author == "customer")
    return db.session.scalar(query) or 0


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
