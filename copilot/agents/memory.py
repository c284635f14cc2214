"""What our reviewers decided before, for the same customer or the same agent, as sentences for the prompt. First form: small.

A note of a reviewer is repeated only for the same customer: about anybody else it could tell one customer's story in
another's ticket.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Row, select

from copilot.db import db
from copilot.gate import approvals
from copilot.models import Decision, Feedback, Proposal, ProposalVersion, Ticket

_OF_THIS_CUSTOMER = 6
_OF_THIS_AGENT = 40
_LESSONS = 5
_LONGEST_NOTE = 200


def recall(*, customer_id: str, agent_id: str) -> tuple[str, ...]:
    """Sentences about past decisions: on this customer's tickets, newest first, then why this agent was corrected lately.

    Not redacted; the caller does that.
    """
    own = _decisions().where(Ticket.customer_id == customer_id).limit(_OF_THIS_CUSTOMER)
    sentences = [_about(row) for row in db.session.execute(own)]
    corrected = (
        select(Feedback.tool, Feedback.kind.label("verdict"), Feedback.reason_code)
        .where(Feedback.agent_id == agent_id, Feedback.kind.in_(("edit", "reject")))
        .order_by(Feedback.created_at.desc())
        .limit(_OF_THIS_AGENT)
    )
    return (*sentences, *_lessons(list(db.session.execute(corrected))))


def _decisions() -> Any:
    return (
        select(
            Decision.verdict, Decision.reason_code, Decision.note, Decision.created_at,
            Proposal.tool, Proposal.state, ProposalVersion.target, ProposalVersion.amount_minor, ProposalVersion.currency,
        )
        .join(Proposal, Proposal.id == Decision.proposal_id)
        .join(ProposalVersion, (ProposalVersion.proposal_id == Decision.proposal_id) & (ProposalVersion.version == Decision.version))
        .join(Ticket, Ticket.id == Proposal.ticket_id)
        .where(Decision.verdict.in_(("approve", "edit", "reject")))
        .order_by(Decision.created_at.desc(), Decision.id)
    )  # fmt: skip


_VERDICTS = {"approve": "approved", "edit": "changed by a reviewer", "reject": "rejected"}


def _about(row: Row[Any]) -> str:
    amount = f" of {row.amount_minor} {row.currency} (minor units)" if row.amount_minor is not None else ""
    target = f" on {row.target}" if row.target else ""
    reason = f": {_label(row.reason_code)}" if row.reason_code else ""
    note = f" ({' '.join(row.note.split())[:_LONGEST_NOTE]})" if row.note.strip() else ""
    verdict, state = _VERDICTS[row.verdict], row.state.lower().replace("_", " ")
    return f"{row.created_at:%Y-%m-%d}, same customer: {row.tool}{amount}{target} was {verdict}{reason}{note}; now {state}"


def _lessons(rows: Sequence[Any]) -> list[str]:
    """How often each tool's drafts were corrected for which reason; the most frequent first."""
    counted: dict[tuple[str, str, str], int] = {}
    for row in rows:
        key = (row.tool, _VERDICTS[row.verdict], _label(row.reason_code))
        counted[key] = counted.get(key, 0) + 1
    often = sorted(counted.items(), key=lambda item: -item[1])[:_LESSONS]
    return [
        f"Other tickets: {tool} drafts were {verdict} {number} times lately: {label}"
        for (tool, verdict, label), number in often
        if number > 1
    ]


def _label(code: str | None) -> str:
    return approvals.REASONS.get(code or "other", "Other").lower()
