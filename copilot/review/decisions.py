"""One person's verdict on one version: the single function behind page, API and Slack.

What was seen is what is decided: the digest the reviewer had on screen must still be the proposal's own. Whoever is
second writes nothing and is told who was first.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import insert, select

from copilot.audit import log
from copilot.db import db, new_id
from copilot.errors import AlreadyDecided, BadInput, Conflict, NotEntitled, StaleDigest
from copilot.gate import approvals, arcs, check, facts, lifecycle, switches, tools
from copilot.models import Decision, Proposal, ProposalVersion, User
from copilot.review import edits, entitlement, feedback
from copilot.review.versions import Content

VERDICTS = ("approve", "edit", "reject")
MAX_NOTE = 4000


@dataclass(frozen=True, slots=True)
class Reason:
    """Why: a code from `approvals.REASONS` and a note, which `other` requires."""

    code: str
    note: str = ""


@dataclass(frozen=True, slots=True)
class Decided:
    """What a decision led to. `missing` says in words who else is needed while the proposal waits."""

    id: str
    proposal_id: str
    state: str
    version: int
    digest: str
    missing: str | None


def decide(
    proposal_id: str,
    *,
    reviewer: User,
    verdict: str,
    seen: str,
    reason: Reason | None = None,
    edit: edits.Edit | None = None,
    approve: bool = True,
    via: str = "page",
) -> Decided:
    """Record one person's decision, once.

    `seen` is the digest of what the reviewer had on screen. If the proposal changed since, or someone else decided
    first, nothing is written. An edit is a new version, judged again; with `approve` it counts as one approval too.
    """
    reason = _reason(verdict, reason)
    reviewer_id = reviewer.id
    snap = facts.snapshot(proposal_id, lock=True)
    reviewer = db.session.get_one(User, reviewer_id)
    if snap.proposal.state != arcs.PENDING:
        raise AlreadyDecided(_already(snap.proposal))
    if seen != snap.proposal.digest:
        raise StaleDigest("The proposal was changed after you opened it; nothing was decided. Look at it again.")
    if snap.proposal.deadline_at <= snap.now and not check.switched_off(
        switches.thrown(), agent_id=snap.proposal.agent_id, tool=snap.proposal.tool
    ):
        raise AlreadyDecided("The time to decide is over; it expires now. Nothing you sent was recorded.")
    entitlement.entitled(snap, reviewer, to_run=verdict != "reject")
    if verdict != "reject" and (moved := facts.outdated(snap)) is not None:
        raise StaleDigest(f"{moved[1]} Nothing was decided. Look at it again.")
    if verdict == "reject":
        return _reject(snap, reviewer, reason, via)
    if verdict == "approve":
        return _approve(snap.proposal, snap.version, reviewer, via, snap.now)
    if edit is None or edit.proposal_id != proposal_id:
        raise BadInput("An edit needs the changed arguments.", problems={"arguments": "are required for an edit"})
    return _edit(snap, reviewer, reason, edit.content, approve, via)


def withdraw(proposal_id: str, *, by_user: User | None = None, by_agent: str | None = None, note: str = "", via: str = "page") -> str:
    """Take a proposal back before anything happened; returns its state.

    The agent that proposed it, the person who asked for it and anyone who may decide can; once a call may have
    happened nobody can.
    """
    user_id = by_user.id if by_user else None
    snap = facts.snapshot(proposal_id, lock=True)
    proposal = snap.proposal
    if by_agent is not None:
        if proposal.agent_id != by_agent:
            raise NotEntitled("An agent withdraws only what it proposed itself.", rule="own-proposals-only")
    else:
        person = db.session.get_one(User, user_id)
        if proposal.requester_id != user_id:
            entitlement.entitled(snap, person, to_run=False)
    if proposal.state not in (arcs.PENDING, arcs.APPROVED) or proposal.attempts:
        raise Conflict(_already(proposal))
    decision_id = _write(
        proposal,
        "withdraw",
        user_id,
        None,
        note[:MAX_NOTE],
        via,
        snap.now,
        version=snap.version.version,
        digest=proposal.digest,
    )
    moved = lifecycle.move(
        proposal_id, before=proposal.state, after=arcs.WITHDRAWN, event={"decision": decision_id, "by": user_id or by_agent}, at=snap.now
    )
    if moved is None:
        raise Conflict("The proposal moved on in this moment; look at it again.")
    return moved.state


def _reject(snap: facts.Snapshot, reviewer: User, reason: Reason | None, via: str) -> Decided:
    proposal, version = snap.proposal, snap.version
    assert reason is not None
    shown = proposal.digest
    decision_id = _write(proposal, "reject", reviewer.id, reason.code, reason.note, via, snap.now, version=version.version, digest=shown)
    feedback.record(
        proposal, version, decision_id=decision_id, kind="reject", reason_code=reason.code, note=reason.note, final=None, at=snap.now
    )
    moved = lifecycle.move(
        proposal.id, before=arcs.PENDING, after=arcs.REJECTED, where=[Proposal.digest == shown],
        event={"decision": decision_id, "reason": reason.code}, at=snap.now,
    )  # fmt: skip
    if moved is None:
        raise AlreadyDecided("Someone else decided this in the same moment.")
    return Decided(decision_id, moved.id, moved.state, moved.version, moved.digest, None)


def _approve(proposal: Proposal, version: ProposalVersion, reviewer: User, via: str, now: datetime) -> Decided:
    shown = version.digest
    given_before = db.session.scalar(
        select(Decision.id).where(
            Decision.proposal_id == proposal.id,
            Decision.version == version.version,
            Decision.reviewer_id == reviewer.id,
            Decision.verdict == "approve",
        )
    )
    if given_before is not None:
        raise Conflict("You approved this already; it waits for somebody else.")
    decision_id = _write(proposal, "approve", reviewer.id, None, "", via, now, version=version.version, digest=shown)
    if version.editor_id is None:
        final = json.loads(version.arguments)
        feedback.record(proposal, version, decision_id=decision_id, kind="approve", reason_code=None, note="", final=final, at=now)
    snap = facts.snapshot(proposal.id)
    given = entitlement.approvers(snap, tools.current().find(proposal.tool))
    counted = facts.counted(snap, given, required=max(1, proposal.approvals_required))
    if not counted.satisfied:
        return Decided(decision_id, proposal.id, arcs.PENDING, version.version, shown, counted.missing)
    moved = lifecycle.move(
        proposal.id,
        before=arcs.PENDING,
        after=arcs.APPROVED,
        where=[Proposal.digest == shown, Proposal.version == version.version],
        values={"approved_at": now, "dispatched_at": now},
        event={"decision": decision_id},
        at=now,
    )
    if moved is None:
        raise AlreadyDecided("Someone else decided this in the same moment.")
    return Decided(decision_id, moved.id, moved.state, moved.version, moved.digest, None)


def _edit(snap: facts.Snapshot, reviewer: User, reason: Reason | None, what: Content, approve: bool, via: str) -> Decided:
    assert reason is not None
    proposal, version = snap.proposal, snap.version
    decision_id = _write(
        proposal, "edit", reviewer.id, reason.code, reason.note, via, snap.now, version=version.version, digest=proposal.digest
    )
    feedback.record(
        proposal,
        version,
        decision_id=decision_id,
        kind="edit",
        reason_code=reason.code,
        note=reason.note,
        final=what.arguments,
        at=snap.now,
    )
    moved = edits.apply(snap, what, editor_id=reviewer.id, decision_id=decision_id)
    if not approve:
        return Decided(decision_id, moved.id, moved.state, moved.version, moved.digest, "a decision on the edited version")
    fresh = facts.snapshot(moved.id)
    approved = _approve(fresh.proposal, fresh.version, reviewer, via, snap.now)
    return Decided(decision_id, approved.proposal_id, approved.state, approved.version, approved.digest, approved.missing)


def _write(
    proposal: Proposal,
    verdict: str,
    reviewer_id: str | None,
    code: str | None,
    note: str,
    via: str,
    now: datetime,
    *,
    version: int,
    digest: str,
) -> str:
    decision_id = new_id("dec")
    db.session.execute(
        insert(Decision).values(
            id=decision_id,
            proposal_id=proposal.id,
            version=version,
            digest=digest,
            verdict=verdict,
            reviewer_id=reviewer_id,
            automatic=False,
            evidence={},
            reason_code=code,
            note=note,
            via=via,
            created_at=now,
        )
    )
    event = {"decision": decision_id, "verdict": verdict, "version": version, "digest": digest, "reviewer": reviewer_id}
    log.append("decision.recorded", proposal.id, at=now, **event, automatic=False, reason=code, via=via)
    return decision_id


def _reason(verdict: str, reason: Reason | None) -> Reason | None:
    if verdict not in VERDICTS:
        raise BadInput(f"A decision is one of {', '.join(VERDICTS)}.", problems={"verdict": "is none of these"})
    if verdict == "approve":
        return None
    if reason is None or not reason.code:
        raise BadInput("Say why; the agent hears it and learns from it.", problems={"reason": "is required"})
    if reason.code not in approvals.REASONS:
        raise BadInput(f"The reason is one of {', '.join(approvals.REASONS)}.", problems={"reason": "is none of these"})
    note = reason.note.strip().replace("\0", "")[:MAX_NOTE]
    if reason.code == "other" and not note:
        raise BadInput("For “other”, a note says what it was.", problems={"note": "is required for other"})
    return Reason(reason.code, note)


def _already(proposal: Proposal) -> str:
    last = db.session.execute(
        select(User.name, Decision.automatic)
        .outerjoin(User, User.id == Decision.reviewer_id)
        .where(Decision.proposal_id == proposal.id)
        .order_by(Decision.version.desc(), Decision.created_at.desc())
    ).first()
    by = "" if last is None else " automatically" if last[1] else f" by {last[0]}" if last[0] else ""
    words = {
        arcs.APPROVED: f"It was approved{by} and is about to run.",
        arcs.EXECUTING: f"It was approved{by} and is running now.",
        arcs.SUCCEEDED: f"It was approved{by} and is done.",
        arcs.FAILED: f"It was approved{by}, and the tool refused it.",
        arcs.REJECTED: f"It was rejected{by}.",
        arcs.WITHDRAWN: f"It was withdrawn{by}.",
        arcs.EXPIRED: "Nobody decided in time, so it expired.",
        arcs.DENIED: "The gate denied it.",
        arcs.HELD: "It is held, because what is stored is not what was approved.",
        arcs.OUTCOME_UNKNOWN: "It was called and nobody knows whether it happened; see the outcome desk.",
    }
    return f"{words.get(proposal.state, 'It moved on.')} Nothing you sent was recorded."
