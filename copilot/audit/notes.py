"""Why somebody did what the log holds: the log keeps a keyed commitment of the words, `notes` the words themselves.

A note is written with its event, in the same transaction, and outlives the row it was about: a released kill switch
leaves none. The database itself refuses to change one; that it can be deleted is what lets a person's words be erased.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import select

from copilot.audit import log
from copilot.db import db, now
from copilot.models import AuditEvent, Note, User

LONGEST = 2_000


@dataclass(frozen=True, slots=True)
class Said:
    """One event with who did it, by name, and why. `event` is the log's whole line; `why` is empty where nothing was said."""

    kind: str
    subject: str
    at: datetime
    who: str
    why: str
    event: dict[str, Any]


def append(kind: str, subject: str, *, why: str, by: User | None, at: datetime | None = None, **fields: Any) -> None:
    """Append one event to the log and keep its reason beside it; `by` None is the command line."""
    moment, said = at or now(), why.strip()[:LONGEST]
    if said:
        fields["reason"] = log.commitment(said)
        db.session.add(Note(at=moment, event=kind, subject=subject, by=by.id if by else None, text=said))
    log.append(kind, subject, at=moment, by=by.id if by else "cli", **fields)


def why(rows: Iterable[AuditEvent]) -> dict[int, str]:
    """What was said about these events, by the event's id; those about which nothing was said are left out."""
    events = list(rows)
    found = db.session.scalars(select(Note).where(Note.subject.in_({row.subject for row in events}))) if events else ()
    said = {(note.event, note.subject, note.at): note.text for note in found}
    told = ((row.id, said.get((row.kind, row.subject, row.created_at))) for row in events)
    return {event_id: text for event_id, text in told if text is not None}


def latest(kinds: Iterable[str], *, subject: str | None = None, limit: int = 20) -> list[Said]:
    """The newest events of these kinds with who and why."""
    query = select(AuditEvent).where(AuditEvent.kind.in_(tuple(kinds))).order_by(AuditEvent.id.desc()).limit(limit)
    rows = list(db.session.scalars(query if subject is None else query.where(AuditEvent.subject == subject)))
    events, said = {row.id: json.loads(row.line) for row in rows}, why(rows)
    people = {str(event.get("by")) for event in events.values()}
    names = {row.id: row.name for row in db.session.execute(select(User.id, User.name).where(User.id.in_(people)))}
    names["cli"] = "the command line"
    return [
        Said(
            row.kind,
            row.subject,
            row.created_at,
            names.get(str(events[row.id].get("by")), "somebody"),
            said.get(row.id, ""),
            events[row.id],
        )
        for row in rows
    ]
