"""The verbs of a proposal's life as tests say them: propose, approve, edit, reject, withdraw, in one line each."""

from __future__ import annotations

import itertools
import json
from datetime import datetime
from typing import Any

from sqlalchemy import select

from copilot import db as database
from copilot.audit import log
from copilot.db import db, new_id, transaction
from copilot.gate import facts
from copilot.models import AuditEvent, Customer, Proposal, Ticket, User
from copilot.review import decisions, edits, proposals
from copilot.review.decisions import Decided, Reason

WRONG = Reason("wrong_amount")
_numbers = itertools.count(1)


def arguments(**changes: Any) -> dict[str, Any]:
    """A payment of 10.00 for an invoice of its own, with changes."""
    return {"invoice": f"inv-{next(_numbers)}", "account": "c1/main", "amount_minor": 1000, "currency": "EUR", "memo": ""} | changes


def ticket(customer: str = "c1", *, requester_id: str | None = None) -> str:
    """A ticket of a customer's; gives its id."""
    at = database.now()
    with transaction():
        found = db.session.scalar(select(Customer).where(Customer.external_id == customer))
        if found is None:
            found = Customer(id=new_id("cust"), external_id=customer, name="Una Customer", email=f"{customer}@example.com", created_at=at)
            db.session.add(found)
            db.session.flush()
        made = Ticket(
            id=new_id("tick"), external_id=new_id("ext"), subject="Please", customer_id=found.id, source="tests", details={},
            requester_id=requester_id, created_at=at, updated_at=at,
        )  # fmt: skip
        db.session.add(made)
    return made.id


def propose(agent_id: str, tool: str = "pay_key", *, ticket_id: str | None = None, requester_id: str | None = None, **changes: Any) -> str:
    """Let an agent propose a payment; gives the proposal's id, whatever the gate made of it."""
    draft = proposals.Draft(
        agent_id=agent_id, tool=tool, arguments=arguments(**changes), rationale="because", ticket_id=ticket_id, requester_id=requester_id
    )
    prepared = proposals.prepare(draft)
    with transaction():
        return proposals.propose(prepared).id


def row(proposal_id: str) -> Proposal:
    """The proposal as it stands now."""
    db.session.rollback()
    return db.session.get_one(Proposal, proposal_id)


def state(proposal_id: str) -> str:
    """Its state now."""
    return row(proposal_id).state


def seen(proposal_id: str) -> str:
    """The digest a page would show now."""
    return row(proposal_id).digest


def approve(proposal_id: str, who: User, *, digest: str | None = None) -> Decided:
    """Approve what is shown, or what was shown earlier."""
    shown = digest or seen(proposal_id)
    with transaction():
        return decisions.decide(proposal_id, reviewer=who, verdict="approve", seen=shown)


def reject(proposal_id: str, who: User, *, digest: str | None = None, reason: Reason = WRONG) -> Decided:
    """Reject what is shown."""
    shown = digest or seen(proposal_id)
    with transaction():
        return decisions.decide(proposal_id, reviewer=who, verdict="reject", seen=shown, reason=reason)


def edit(proposal_id: str, who: User, *, save_only: bool = False, digest: str | None = None, **changes: Any) -> Decided:
    """Change some arguments; save and approve unless told to save only."""
    shown = digest or seen(proposal_id)
    prepared = edits.prepare(proposal_id, current(proposal_id) | changes)
    with transaction():
        return decisions.decide(proposal_id, reviewer=who, verdict="edit", seen=shown, reason=WRONG, edit=prepared, approve=not save_only)


def withdraw(proposal_id: str, who: User) -> str:
    """Take it back."""
    with transaction():
        return decisions.withdraw(proposal_id, by_user=who)


def current(proposal_id: str) -> dict[str, Any]:
    """The arguments of the current version."""
    db.session.rollback()
    return dict(json.loads(facts.snapshot(proposal_id).version.arguments))


def events(subject: str) -> list[dict[str, Any]]:
    """The log's lines about one subject, in the order they were written."""
    db.session.rollback()
    lines = db.session.scalars(select(AuditEvent.line).where(AuditEvent.subject == subject).order_by(AuditEvent.id))
    return [json.loads(line) for line in lines]


def kinds(subject: str) -> list[str]:
    """The kinds of those events."""
    return [str(event["kind"]) for event in events(subject)]


def at(event: dict[str, Any]) -> datetime:
    """When an event happened."""
    return datetime.fromisoformat(str(event["at"]))


def sequence() -> None:
    """Give every event its leaf."""
    with transaction():
        log.sequence()
