"""The outcome desk: what nobody knows is settled by people, with a note, and two of them where the stakes ask for it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import insert, select

from copilot.audit import log
from copilot.db import db, new_id
from copilot.errors import BadInput, Conflict, NotEntitled
from copilot.gate import approvals, arcs, facts, lifecycle, switches, tools
from copilot.gateway import aftermath, reserve
from copilot.gateway.adapters import Unknown
from copilot.models import Decision, User
from copilot.review import entitlement

HAPPENED = "happened"
DID_NOT = "did_not_happen"
RELEASE = "release_held"


@dataclass(frozen=True, slots=True)
class Resolved:
    """Where the proposal stands now, and who else has to confirm while it stays."""

    proposal_id: str
    state: str
    missing: str | None


def resolve(proposal_id: str, *, reviewer: User, happened: bool, note: str) -> Resolved:
    """Settle an unknown outcome by what a person found out.

    «It did not happen» frees the budget and lets the same be proposed again, so above the two-person threshold
    it takes two different people.
    """
    snap, person, note = _desk(proposal_id, reviewer, note, arcs.OUTCOME_UNKNOWN)
    verdict = HAPPENED if happened else DID_NOT
    _record(snap, person, verdict, note)
    two = not happened and snap.proposal.approvals_required > 1 and approvals.TWO_PEOPLE not in switches.rules_off()
    if two and _people(snap, verdict) < 2:
        return Resolved(proposal_id, arcs.OUTCOME_UNKNOWN, "one more person")
    tool = tools.current().find(snap.proposal.tool)
    values: dict[str, object] = {"outcome": {"known": "succeeded" if happened else "failed", "by": person.id, "message": note}}
    if happened:
        values["intent_expires_at"] = snap.now + timedelta(seconds=tool.window if tool else 86_400)
    moved = lifecycle.move(
        proposal_id, before=arcs.OUTCOME_UNKNOWN, after=arcs.SUCCEEDED if happened else arcs.FAILED, values=values,
        event={"evidence": "person", "by": person.id}, at=snap.now,
    )  # fmt: skip
    if moved is None:
        raise Conflict("The outcome became known in this moment; look at it again.")
    reserve.close(proposal_id, spent=happened)
    return Resolved(proposal_id, moved.state, None)


def withdraw_held(proposal_id: str, *, reviewer: User, note: str) -> Resolved:
    """End a held proposal: two people and a note. When a call may have happened, it goes to the unknown outcomes instead."""
    snap, person, note = _desk(proposal_id, reviewer, note, arcs.HELD)
    _record(snap, person, RELEASE, note)
    if _people(snap, RELEASE) < 2:
        return Resolved(proposal_id, arcs.HELD, "one more person")
    attempted = snap.proposal.attempts > 0
    after = arcs.OUTCOME_UNKNOWN if attempted else arcs.WITHDRAWN
    message = "It was held after an attempt, so nobody knows whether it happened."
    values: dict[str, object] = {"outcome": {"known": "unknown", "message": message}} if attempted else {}
    moved = lifecycle.move(proposal_id, before=arcs.HELD, after=after, values=values, event={"by": person.id}, at=snap.now)
    if moved is None:
        raise Conflict("It moved on in this moment; look at it again.")
    if attempted:
        aftermath.follow(moved, Unknown(message))
    return Resolved(proposal_id, moved.state, None)


def _desk(proposal_id: str, reviewer: User, note: str, state: str) -> tuple[facts.Snapshot, User, str]:
    reviewer_id, note = reviewer.id, note.strip()[:4000]
    if not note:
        raise BadInput("Say how you know; it stands in the record.", problems={"note": "is required"})
    snap = facts.snapshot(proposal_id, lock=True)
    person = db.session.get_one(User, reviewer_id)
    refusal = entitlement.person_refusal(snap, person)
    if refusal is not None:
        raise NotEntitled(refusal[1], rule=refusal[0])
    if snap.proposal.state != state:
        raise Conflict("Somebody settled this first; look at it again.")
    return snap, person, note


def _record(snap: facts.Snapshot, person: User, verdict: str, note: str) -> None:
    version = snap.version
    if db.session.scalar(
        select(Decision.id).where(
            Decision.proposal_id == snap.proposal.id,
            Decision.version == version.version,
            Decision.reviewer_id == person.id,
            Decision.verdict == verdict,
        )
    ):
        raise Conflict("You said so already; it waits for somebody else.")
    decision_id = new_id("dec")
    db.session.execute(
        insert(Decision).values(
            id=decision_id, proposal_id=snap.proposal.id, version=version.version, digest=version.digest, verdict=verdict,
            reviewer_id=person.id, automatic=False, evidence={}, note=note, via="page", created_at=snap.now,
        )
    )  # fmt: skip
    log.append(
        "decision.recorded",
        snap.proposal.id,
        at=snap.now,
        decision=decision_id,
        verdict=verdict,
        version=version.version,
        digest=version.digest,
        reviewer=person.id,
    )


def _people(snap: facts.Snapshot, verdict: str) -> int:
    found = select(Decision.reviewer_id).where(
        Decision.proposal_id == snap.proposal.id, Decision.version == snap.version.version, Decision.verdict == verdict
    )
    return len(set(db.session.scalars(found)))
