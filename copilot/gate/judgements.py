"""Every verdict with what it was asked: written in the same transaction as what it led to, so that it can be replayed."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import insert

from copilot.db import db, new_id
from copilot.gate import check
from copilot.gate.policy import Policies
from copilot.models import Verdict
from copilot.toolkit import Money


def row(verdict: check.Verdict) -> dict[str, Any]:
    """The verdict as it is stored beside its proposal and in the record."""
    shared = {"reason": verdict.reason, "policies": list(verdict.policies)}
    if isinstance(verdict, check.Allowed):
        return {"kind": "allowed", "rule": verdict.policies[0] if verdict.policies else "", **shared}
    if isinstance(verdict, check.NeedsApproval):
        return {"kind": "needs_approval", "rule": verdict.rule, "count": verdict.count, **shared}
    return {"kind": "refused", "rule": verdict.rule, "next_step": verdict.next_step, **shared}


def record(
    stage: str,
    given: check.Input,
    verdict: check.Verdict,
    *,
    agent_id: str,
    policies: Policies,
    at: datetime,
    amount: Money | None = None,
    proposal: tuple[str, int] | None = None,
) -> None:
    """Keep one verdict; `proposal` is the id and the version it was about, None for a read."""
    said = row(verdict)
    values: Mapping[str, Any] = {
        "id": new_id("verd"),
        "at": at,
        "stage": stage,
        "agent_id": agent_id,
        "tool": given.tool,
        "proposal_id": proposal[0] if proposal else None,
        "version": proposal[1] if proposal else None,
        "kind": said["kind"],
        "rule": said["rule"],
        "reason": said["reason"],
        "count": said.get("count", 0),
        "policies": said["policies"],
        "input": given.as_json(),
        "policy_hash": policies.hash,
        "amount_minor": amount.minor if amount else None,
        "currency": amount.currency if amount else None,
    }
    db.session.execute(insert(Verdict).values(**values))
