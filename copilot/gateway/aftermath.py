"""What every outcome leads to: what is kept of it, the budget, the autonomy of its action, and a person when nobody knows."""

from __future__ import annotations

from typing import Any

from copilot.autonomy import grants
from copilot.gate import lifecycle
from copilot.gateway import reserve
from copilot.gateway.adapters import Failed, Result, Succeeded, Unknown
from copilot.notify import outbox


def outcome_of(result: Result) -> dict[str, Any]:
    """What is kept of a result on the proposal."""
    if isinstance(result, Succeeded):
        return {
            "known": "succeeded",
            "result": result.result,
            "provider_id": result.provider_id,
            "revision": result.revision,
            "note": result.note,
        }
    return {"known": "failed" if isinstance(result, Failed) else "unknown", "message": result.message}


def follow(moved: lifecycle.Moved, result: Result) -> None:
    """What every outcome leads to, in its own transaction: budgets, autonomy, and a person when nobody knows."""
    if isinstance(result, Unknown):
        outbox.add(
            "outcome_unknown", subject=moved.id, dedupe=f"unknown:{moved.id}:{moved.fence}:0", fields={"tool": moved.tool, "minutes": 0}
        )
        grants.fall_back(moved.agent_id, moved.tool, why="outcome-unknown", proposal_id=moved.id)
        return
    reserve.close(moved.id, spent=isinstance(result, Succeeded))
    if isinstance(result, Failed) and moved.automatic:
        grants.fall_back(moved.agent_id, moved.tool, why="failed", proposal_id=moved.id)
