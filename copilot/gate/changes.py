"""Wishes that need a second person: who asked for what and why, and somebody else's word before it happens.

What is wished stands in `payload` and never changes, so what is confirmed is what was asked. The room that owns the
matter applies it: the edge hands its function in, because the gate imports nobody beside or above it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import rfc8785
from sqlalchemy import func, select

from copilot.audit import log
from copilot.db import db, new_id, now
from copilot.errors import BadInput, Conflict, NotEntitled, NotFound
from copilot.models import Agent, Change, User

KINDS = ("scopes", "level")
STATES = {"waiting": "Waiting for a second person", "applied": "Confirmed and done", "refused": "Refused", "withdrawn": "Withdrawn"}

_MANAGING = frozenset({"manager", "admin"})
_LONGEST = 2_000


class Applier(Protocol):
    """Makes a confirmed wish come true, or raises when the world moved since it was asked."""

    def __call__(self, change: Change, /, *, by: User) -> object:
        """Do what was asked, on the word of `by`."""


def ask(kind: str, subject: str, payload: Mapping[str, Any], *, by: User, reason: str) -> Change:
    """Keep a wish until a second person confirms or refuses it.

    One wish for a subject waits at a time: two that cross would make nobody sure what they confirm.
    """
    if kind not in KINDS:
        raise ValueError(f"a change is one of {', '.join(KINDS)}")
    _managing(by)
    reason = _said(reason, field="reason")
    db.session.execute(select(Agent.id).where(Agent.id == subject.partition(":")[0]).with_for_update())  # so that two cannot ask at once
    if db.session.scalar(select(Change.id).where(Change.kind == kind, Change.subject == subject, Change.state == "waiting")):
        raise Conflict("A change of this waits for a second person already; have it confirmed, refused or withdrawn first.")
    change = Change(
        id=new_id("chg"), kind=kind, subject=subject, payload=dict(payload), reason=reason, asked_by=by.id, asked_at=now(),
        state="waiting", note="",
    )  # fmt: skip
    db.session.add(change)
    db.session.flush()
    log.append("change.asked", change.id, at=change.asked_at, what=kind, about=subject, wish=_commitment(change), by=by.id)
    return change


def decide(change_id: str, *, by: User, apply: bool, note: str, appliers: Mapping[str, Applier]) -> Change:
    """Confirm or refuse a wish, once; what is confirmed happens in the same transaction or not at all.

    Never one's own, and never for an agent one owns.
    """
    change = _waiting(change_id)
    refused = refusal(change, by)
    if refused is not None:
        raise NotEntitled(refused[1], rule=refused[0])
    note = _said(note, field="note") if not apply else note.strip()[:_LONGEST]
    at = now()
    change.state, change.decided_by, change.decided_at, change.note = "applied" if apply else "refused", by.id, at, note
    log.append(
        f"change.{change.state}", change.id, at=at, what=change.kind, about=change.subject, wish=_commitment(change),
        asked_by=change.asked_by, by=by.id,
    )  # fmt: skip
    if apply:
        appliers[change.kind](change, by=by)
    return change


def withdraw(change_id: str, *, by: User, note: str = "") -> Change:
    """Take one's own wish back."""
    change = _waiting(change_id)
    if change.asked_by != by.id:
        raise NotEntitled("Only who asked for this can withdraw it; you can refuse it instead.", rule="change-own-withdrawal")
    change.state, change.decided_by, change.decided_at, change.note = "withdrawn", by.id, now(), note.strip()[:_LONGEST]
    log.append("change.withdrawn", change.id, at=change.decided_at, what=change.kind, about=change.subject, by=by.id)
    return change


def refusal(change: Change, person: User) -> tuple[str, str] | None:
    """Why this person may not decide this wish, as (rule, sentence), or None when they may."""
    if not person.active:
        return "inactive-account", "This account is disabled."
    if person.role not in _MANAGING:
        return "change-manager", "Only a manager or an admin confirms or refuses a change."
    if person.id == change.asked_by:
        return "change-second-person", "You asked for this yourself, so somebody else has to confirm it."
    if person.id == _owner(change):
        return "owner-never-approves", "You own the agent this is about, so somebody else has to confirm it."
    return None


def entitled(change: Change) -> int:
    """How many people could confirm this wish now."""
    people = db.session.scalars(select(User).where(User.active, User.role.in_(_MANAGING)))
    return sum(refusal(change, person) is None for person in people)


def get(change_id: str) -> Change:
    """One wish; NotFound when there is none."""
    change = db.session.get(Change, change_id)
    if change is None:
        raise NotFound("There is no such change.")
    return change


def waiting(limit: int = 200) -> list[Change]:
    """Everything that waits for a second person, oldest first."""
    return list(db.session.scalars(select(Change).where(Change.state == "waiting").order_by(Change.asked_at, Change.id).limit(limit)))


def count() -> int:
    """How many wishes wait."""
    return db.session.scalar(select(func.count()).select_from(Change).where(Change.state == "waiting")) or 0


def ended(limit: int = 50) -> list[Change]:
    """What was confirmed, refused or withdrawn, newest first."""
    return list(
        db.session.scalars(select(Change).where(Change.state != "waiting").order_by(Change.asked_at.desc(), Change.id).limit(limit))
    )


def _owner(change: Change) -> str | None:
    return db.session.scalar(select(Agent.owner_id).where(Agent.id == change.subject.partition(":")[0]))


def _waiting(change_id: str) -> Change:
    change = db.session.scalar(select(Change).where(Change.id == change_id).with_for_update().execution_options(populate_existing=True))
    if change is None:
        raise NotFound("There is no such change.")
    if change.state != "waiting":
        raise Conflict(f"This change was {change.state} already.")
    return change


def _commitment(change: Change) -> str:
    return log.commitment(rfc8785.dumps([change.kind, change.subject, change.payload]).decode())


def _managing(by: User) -> None:
    if by.role not in _MANAGING or not by.active:
        raise NotEntitled("Only a manager or an admin may ask for this.", rule="change-manager")


def _said(text: str, *, field: str) -> str:
    text = text.strip()
    if not text:
        raise BadInput("Say why; it stands in the record.", problems={field: "write a sentence"})
    return text[:_LONGEST]
