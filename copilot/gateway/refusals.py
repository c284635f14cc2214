"""What becomes of an approved proposal that may not run now: held, sent back, denied, or left for a person to find out."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from sqlalchemy import ColumnElement, insert

from copilot.autonomy import grants
from copilot.db import db, new_id
from copilot.gate import arcs, digest, facts, lifecycle
from copilot.gateway import aftermath
from copilot.gateway.adapters import Unknown
from copilot.models import Proposal, ProposalVersion
from copilot.notify import outbox


@dataclass(frozen=True, slots=True)
class NotClaimed:
    """No call. `state` is where the proposal stands now, `rule` and `reason` say why; `refresh` asks for a new version."""

    state: str
    rule: str
    reason: str
    refresh: bool = False


def hold(snap: facts.Snapshot) -> NotClaimed | None:
    """Stop a proposal whose stored content is not what was approved: an integrity incident."""
    reason = "What is stored is not what was approved; nothing runs until two people have looked."
    moved = lifecycle.move(
        snap.proposal.id,
        before=arcs.APPROVED,
        after=arcs.HELD,
        where=_as_seen(snap),
        values={"outcome": {"known": "held", "message": reason, "rule": "digest-mismatch"}},
        event={"rule": "digest-mismatch"},
    )
    if moved is None:
        return None
    outbox.add(
        "held", subject=moved.id, dedupe=f"held:{moved.id}", fields={"tool": moved.tool, "rule": "digest-mismatch", "reason": reason}
    )
    if snap.proposal.automatic:
        grants.fall_back(moved.agent_id, moved.tool, why="held", proposal_id=moved.id)
    return NotClaimed(arcs.HELD, "digest-mismatch", reason)


def send_back(snap: facts.Snapshot, rule: str, reason: str) -> NotClaimed | None:
    """Back to the queue, or to a person when an earlier attempt may have happened.

    It goes back as a new version with the same content, so that every approval it had is void in this transaction,
    whether or not the tool can be asked how things stand now.
    """
    if snap.proposal.attempts:
        return unknown_instead(snap, rule, reason)
    verdict = {**snap.proposal.verdict, "kind": "needs_approval", "sent_back": {"rule": rule, "reason": reason}}
    values: dict[str, Any] = {
        **_next_version(snap),
        "verdict": verdict,
        "approved_at": None,
        "automatic": False,
        "approvals_required": max(1, snap.proposal.approvals_required),
    }
    if snap.proposal.deadline_at <= snap.now:
        values |= {"deadline_at": snap.now + timedelta(hours=1), "reminded": 0}  # the wait was ours, so people get time to look again
    moved = lifecycle.move(
        snap.proposal.id, before=arcs.APPROVED, after=arcs.PENDING, where=_as_seen(snap), values=values, event={"rule": rule}
    )
    if moved is None:
        return None
    if snap.proposal.automatic and rule == "no-longer-automatic":  # a world that moved says nothing against the action
        grants.fall_back(moved.agent_id, moved.tool, why=rule, proposal_id=moved.id)
    return NotClaimed(arcs.PENDING, rule, reason, refresh=True)


def refuse(snap: facts.Snapshot, rule: str, reason: str, *, next_step: str = "") -> NotClaimed | None:
    """Deny it for good, or leave it to a person when an earlier attempt may have happened."""
    if snap.proposal.attempts:
        return unknown_instead(snap, rule, reason)
    automatic = snap.proposal.automatic
    verdict = {"kind": "refused", "rule": rule, "reason": reason, "next_step": next_step}
    moved = lifecycle.move(
        snap.proposal.id, before=arcs.APPROVED, after=arcs.DENIED, where=_as_seen(snap), values={"verdict": verdict}, event={"rule": rule}
    )
    if moved is None:
        return None
    outbox.add("denied", subject=moved.id, dedupe=f"denied:{moved.id}", fields={"tool": moved.tool, "rule": rule, "reason": reason})
    if automatic:
        grants.fall_back(moved.agent_id, moved.tool, why="refused", proposal_id=moved.id)
    return NotClaimed(arcs.DENIED, rule, reason)


def unknown_instead(snap: facts.Snapshot, rule: str, reason: str) -> NotClaimed | None:
    """A call may have happened under an earlier attempt, so nothing else may be said of it."""
    message = f"{reason} An earlier attempt may have happened, so a person has to find out."
    moved = lifecycle.move(
        snap.proposal.id,
        before=arcs.APPROVED,
        after=arcs.OUTCOME_UNKNOWN,
        where=_as_seen(snap),
        values={"outcome": {"known": "unknown", "message": message, "rule": rule}},
        event={"rule": rule},
    )
    if moved is None:
        return None
    aftermath.follow(moved, Unknown(message))
    return NotClaimed(arcs.OUTCOME_UNKNOWN, rule, message)


def unreachable(proposal_id: str) -> NotClaimed | None:
    """An approved proposal whose target cannot be looked at goes back to people once its approval is too old."""
    snap = facts.snapshot(proposal_id)
    since = snap.proposal.approved_at
    if snap.proposal.state != arcs.APPROVED or since is None or snap.now - since <= facts.APPROVAL_LIFETIME:
        return None
    return send_back(snap, "target-unreachable", "The target could not be looked at for too long, so the approval is too old.")


def _as_seen(snap: facts.Snapshot) -> list[ColumnElement[bool]]:
    return [Proposal.version == snap.version.version, Proposal.digest == snap.proposal.digest, Proposal.fence == snap.proposal.fence]


def _next_version(snap: facts.Snapshot) -> dict[str, Any]:
    """Store the version once more under the next number with a salt and digest of its own; gives the proposal's new values."""
    old, number, salt = snap.version, snap.version.version + 1, digest.new_salt()
    value = digest.compute(
        proposal_id=snap.proposal.id,
        version=number,
        agent_id=snap.proposal.agent_id,
        tool=snap.proposal.tool,
        tool_hash=old.tool_hash,
        target=old.target,
        target_revision=old.target_revision,
        arguments=old.arguments,
        salt=salt,
    )
    kept = {column.key: getattr(old, column.key) for column in ProposalVersion.__table__.columns}
    fresh = {"id": new_id("ver"), "version": number, "salt": salt, "digest": value, "created_at": snap.now}
    db.session.execute(insert(ProposalVersion).values(kept | fresh))
    return {"version": number, "digest": value}
