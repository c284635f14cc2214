"""POST /proposals/{id}/decisions: a person's verdict, by the same function as the page's."""

from __future__ import annotations

from flask import Response

from copilot import db as database
from copilot import jobs
from copilot.api import answers, bodies, edge, proposals
from copilot.api.edge import bp
from copilot.db import db, transaction
from copilot.errors import BadInput
from copilot.models import User
from copilot.models.people import DECIDING_ROLES
from copilot.review import decisions, edits


@bp.post("/proposals/<proposal_id>/decisions")
def decide(proposal_id: str) -> Response:
    """Record a verdict on exactly what the digest names: 409 when it changed meanwhile or is decided."""
    reviewer_id = edge.person(*DECIDING_ROLES).id
    proposals.visible(proposal_id)
    sent = edge.body(bodies.DecisionBody)
    if sent.verdict != "reject":
        jobs.refresh(proposal_id)
    edit = None
    if sent.verdict == "edit":
        if sent.arguments is None:
            raise BadInput("An edit needs the changed arguments.", problems={"arguments": "are required for an edit"})
        database.read_again()
        edit = edits.prepare(proposal_id, sent.arguments)
    elif sent.arguments is not None:
        raise BadInput(f"Arguments belong to an edit, not to {sent.verdict}.", problems={"arguments": "belong to an edit"})
    reason = decisions.Reason(sent.reason.code, sent.reason.note) if sent.reason else None
    database.read_again()
    with transaction():
        reviewer = db.session.get_one(User, reviewer_id)
        decided = decisions.decide(
            proposal_id, reviewer=reviewer, verdict=sent.verdict, seen=sent.digest, reason=reason, edit=edit, via="api"
        )  # fmt: skip
    jobs.proposal_changed(proposal_id)
    answer = answers.DecisionAnswer(
        id=decided.id, state=decided.state, version=decided.version, digest=decided.digest, missing=decided.missing,
        proposal=answers.proposal(proposal_id),
    )  # fmt: skip
    return answers.reply(answer)
