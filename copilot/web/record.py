"""The record: every state change as the log keeps it, found by an id of anything it touched."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from flask import Blueprint, render_template, request, url_for
from flask.typing import ResponseReturnValue
from sqlalchemy import func, select

from copilot.audit import log, notes
from copilot.db import db
from copilot.models import Agent, AuditEvent, Decision, Proposal, Run, Ticket, User

bp = Blueprint("record", __name__, url_prefix="/record")

GROUPS = (
    "ticket",
    "run",
    "proposal",
    "decision",
    "grant",
    "policy",
    "change",
    "switch",
    "rule",
    "user",
    "agent",
    "session",
    "signin",
    "notification",
)
_ABOVE = frozenset({"at", "kind", "subject", "event"})  # shown in columns of their own
_AT_ONCE = 100
_RELATED = 300


@dataclass(frozen=True, slots=True)
class Entry:
    """One event for reading; `fields` are what the line holds beyond time, kind and subject."""

    id: int
    leaf: int | None
    kind: str
    subject: str
    fields: tuple[tuple[str, Any], ...]
    at: datetime
    leaf_hash: str
    line: str
    link: str | None
    why: str


@bp.get("")
def index() -> ResponseReturnValue:
    """Events, newest first, or everything about one thing."""
    wanted = request.args.get("q", "").strip()[:130]
    group = request.args.get("kind", "")
    before = request.args.get("before", "")
    statement = select(AuditEvent)
    subjects = related(wanted) if wanted else ()
    if wanted:
        statement = statement.where(AuditEvent.subject.in_(subjects))
    if group in GROUPS:
        statement = statement.where(AuditEvent.kind >= f"{group}.", AuditEvent.kind < f"{group}/")
    if before.isascii() and before.isdigit() and len(before) < 19:
        statement = statement.where(AuditEvent.id < int(before))
    rows = db.session.scalars(statement.order_by(AuditEvent.id.desc()).limit(_AT_ONCE + 1)).all()
    why = notes.why(rows[:_AT_ONCE])
    entries = [entry(row, why=why.get(row.id, "")) for row in rows[:_AT_ONCE]]
    return render_template(
        "record.html",
        entries=entries,
        more=entries[-1].id if len(rows) > _AT_ONCE else None,
        q=wanted,
        kind=group,
        groups=GROUPS,
        subjects=subjects,
        size=db.session.execute(select(func.max(AuditEvent.leaf))).scalar_one_or_none(),
        waiting=log.waiting(),
    )


def related(wanted: str) -> tuple[str, ...]:
    """The subjects that belong to what somebody looks for: a ticket brings its runs and proposals, a person their decisions.

    `wanted` is any id of ours, a ticket's number at its source, an agent's name or a person's e-mail address.
    """
    found = {wanted}
    ticket = select(Ticket.id).where((Ticket.external_id == wanted) | (Ticket.id == wanted))
    found.update(db.session.scalars(ticket))
    found.update(db.session.scalars(select(Ticket.id).join(Proposal, Proposal.ticket_id == Ticket.id).where(Proposal.id == wanted)))
    found.update(db.session.scalars(select(Ticket.id).join(Run, Run.ticket_id == Ticket.id).where(Run.id == wanted)))
    for column in (Proposal, Run):
        found.update(db.session.scalars(select(column.id).where(column.ticket_id.in_(sorted(found))).limit(_RELATED)))
    found.update(db.session.scalars(select(Agent.id).where(Agent.name == wanted)))
    people = set(db.session.scalars(select(User.id).where((User.email == wanted.lower()) | (User.id == wanted))))
    if people:
        decided = select(Decision.proposal_id).where(Decision.reviewer_id.in_(people)).order_by(Decision.created_at.desc()).limit(_RELATED)
        found |= people | set(db.session.scalars(decided))
    return tuple(sorted(found))


def entry(row: AuditEvent, *, why: str = "") -> Entry:
    """An event for reading, with a link to the page of what it is about."""
    event = json.loads(row.line)
    fields = tuple((name, _words(value)) for name, value in event.items() if name not in _ABOVE and value not in (None, "", []))
    return Entry(row.id, row.leaf, row.kind, row.subject, fields, row.created_at, row.leaf_hash, row.line, _link(row.subject), why)


def _words(value: Any) -> Any:
    return ", ".join(str(part) for part in value) if isinstance(value, list) else value


def _link(subject: str) -> str | None:
    match subject.partition("_")[0]:
        case "prop":
            return url_for("proposals.card", proposal_id=subject)
        case "run":
            return url_for("runs.show", run_id=subject)
        case "tick":
            return url_for("tickets.show", ticket_id=subject)
    return None
