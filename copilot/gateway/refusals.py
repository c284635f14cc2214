"""What becomes of an approved proposal that may not run now: held, sent back, denied, or left for a person to find out."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from copilot.autonomy import grants
from copilot.gate import arcs, facts, lifecycle
from copilot.gateway import aftermath
from copilot.gateway.adapters import Unknown
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
        values={"outcome": {"known": "held", "message": reason}},
        event={"rule": "digest-mismatch"},
    )
    if moved is None:
        return None
    outbox.add(
        "held", subject=moved.id, dedupe=f"held:{moved.id}", fields={"tool": moved.tool, "rule": "digest-mismatch", "reason": reason}
    )
    return NotClaimed(arcs.HELD, "digest-mismatch", reason)


def send_back(snap: facts.Snapshot, rule: str, reason: str) -> NotClaimed | None:
    """Back to the queue, or to a person when an earlier attempt may have happened."""
    if snap.proposal.attempts:
        return unknown_instead(snap, rule, reason)
    verdict = {**snap.proposal.verdict, "kind": "needs_approval", "sent_back": {"rule": rule, "reason": reason}}
    values: dict[str, Any] = {
        "verdict": verdict,
        "approved_at": None,
        "automatic": False,
        "approvals_required": max(1, snap.proposal.approvals_required),
    }
    if snap.proposal.deadline_at <= snap.now:
        values |= {"deadline_at": snap.now + timedelta(hours=1), "reminded": 0}  # the wait was ours, so people get time to look again
    moved = lifecycle.move(snap.proposal.id, before=arcs.APPROVED, after=arcs.PENDING, values=values, event={"rule": rule})
    if moved is None:
        return None
    if snap.proposal.automatic:
        grants.fall_back(moved.agent_id, moved.tool, why=rule, proposal_id=moved.id)
    return NotClaimed(arcs.PENDING, rule, reason, refresh=True)


def refuse(snap: facts.Snapshot, rule: str, reason: str) -> NotClaimed | None:
    """Deny it for good, or leave it to a person when an earlier attempt may have happened."""
    if snap.proposal.attempts:
        return unknown_instead(snap, rule, reason)
    automatic = snap.proposal.automatic
    verdict = {"kind": "refused", "rule": rule, "reason": reason}
    moved = lifecycle.move(snap.proposal.id, before=arcs.APPROVED, after=arcs.DENIED, values={"verdict": verdict}, event={"rule": rule})
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
        values={"outcome": {"known": "unknown", "message": message}},
        event={"rule": rule},
    )
    if moved is None:
        return None
    aftermath.follow(moved, Unknown(message))
    return NotClaimed(arcs.OUTCOME_UNKNOWN, rule, message)
