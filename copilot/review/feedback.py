"""What people changed or refused, kept structured: the raw material for failure data, golden tasks and training files."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

from sqlalchemy import insert

from copilot.db import db, new_id
from copilot.models import Feedback, Proposal, ProposalVersion


def record(
    proposal: Proposal,
    version: ProposalVersion,
    *,
    decision_id: str,
    kind: str,
    reason_code: str | None,
    note: str,
    final: dict[str, Any] | None,
    at: datetime,
) -> None:
    """Keep one verdict with what was drafted and what it became. `final` is None for a rejection."""
    drafted = json.loads(version.arguments)
    db.session.execute(
        insert(Feedback).values(
            id=new_id("fb"),
            proposal_id=proposal.id,
            decision_id=decision_id,
            kind=kind,
            agent_id=proposal.agent_id,
            tool=proposal.tool,
            reason_code=reason_code,
            note=note,
            drafted=drafted,
            final=final,
            changed=changed(drafted, final) if final is not None else [],
            created_at=at,
        )
    )


def changed(drafted: dict[str, Any], final: dict[str, Any]) -> list[str]:
    """Names of the arguments whose value differs, in order."""
    return sorted(name for name in {*drafted, *final} if drafted.get(name) != final.get(name))
