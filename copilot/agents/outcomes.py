"""How a proposal ended, in the words and the shape the agent hears it in."""

from __future__ import annotations

import json
from typing import Any

from sqlalchemy import select

from copilot.db import db
from copilot.gate import approvals, arcs
from copilot.models import Decision, Proposal, ProposalVersion

_OUTCOMES = {
    arcs.FAILED: "failed",
    arcs.REJECTED: "rejected",
    arcs.EXPIRED: "expired",
    arcs.WITHDRAWN: "withdrawn",
    arcs.DENIED: "denied",
}
_SENTENCES = {
    "executed": "It was approved and done.",
    "edited_and_executed": "A reviewer changed the arguments, and then it was done with those shown here.",
    "failed": "It was approved, but the tool refused it and nothing happened.",
    "rejected": "A reviewer rejected it. Take the reason to heart and do not propose the same again.",
    "expired": "Nobody decided in time, so it will not be done.",
    "withdrawn": "It was withdrawn and will not be done.",
    "denied": "A rule forbids it.",
    "unknown": "Nobody knows yet whether it was done; do not propose it again.",
}


def of(proposal: Proposal) -> dict[str, Any]:
    """The tool's answer for a proposal, not yet redacted: outcome, arguments as decided, result, the person's reason."""
    version = db.session.execute(
        select(ProposalVersion).where(ProposalVersion.proposal_id == proposal.id, ProposalVersion.version == proposal.version)
    ).scalar_one()
    if proposal.state == arcs.SUCCEEDED:
        outcome = "executed" if version.editor_id is None else "edited_and_executed"
    else:
        outcome = _OUTCOMES.get(proposal.state, "unknown")
    told = proposal.outcome or {}
    sentence = _SENTENCES[outcome]
    if outcome == "denied":
        sentence = f"{sentence} {proposal.verdict.get('reason', '')}".strip()
    elif told.get("message"):
        sentence = f"{sentence} {str(told['message'])[:1000]}"
    return {
        "proposal": proposal.id,
        "outcome": outcome,
        "arguments": json.loads(version.arguments),
        "result": told.get("result"),
        "reason": _reason(proposal.id),
        "message": sentence,
    }


def _reason(proposal_id: str) -> dict[str, str] | None:
    """The latest reason a person gave, for an edit or a rejection; None when nobody had to give one."""
    latest = (
        select(Decision.reason_code, Decision.note)
        .where(Decision.proposal_id == proposal_id, Decision.reason_code.is_not(None))
        .order_by(Decision.created_at.desc(), Decision.id.desc())
        .limit(1)
    )
    row = db.session.execute(latest).first()
    if row is None:
        return None
    return {"code": row.reason_code, "label": approvals.REASONS.get(row.reason_code, ""), "note": row.note}
