"""Who may decide a proposal and how its approvals stand: the one rule of the gate, asked with today's people."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from copilot.errors import NotEntitled
from copilot.gate import approvals, arcs, check, facts, policy, switches, tools
from copilot.models import Proposal, User
from copilot.toolkit import Tool


@dataclass(frozen=True, slots=True)
class Standing:
    """How a proposal stands for one viewer: whether they may decide and why not, who approved, who is missing."""

    may_decide: bool
    rule: str | None
    why_not: str | None
    approvals: tuple[str, ...]
    required: int
    missing: str | None
    too_few_people: bool


def standing(proposal: Proposal, viewer: User) -> Standing:
    """Whether this viewer may decide, and who approved already."""
    snap = facts.snapshot(proposal.id)
    tool = tools.current().find(snap.proposal.tool)
    refused = refusal(snap, viewer, tool)
    given = approvers(snap, tool)
    counted = approvals.standing(
        [user.id for user in given],
        required=max(1, snap.proposal.approvals_required),
        editor_id=snap.version.editor_id,
        needs_other=snap.version.needs_other,
        rules_off=switches.rules_off(),
    )
    if refused is None and viewer.id in {user.id for user in given}:
        refused = "already-approved", "You approved this already; it waits for somebody else."
    short = counted.required > 1 or snap.version.needs_other
    return Standing(
        may_decide=refused is None and snap.proposal.state == arcs.PENDING,
        rule=refused[0] if refused else None,
        why_not=refused[1] if refused else None,
        approvals=tuple(user.name for user in given),
        required=counted.required,
        missing=counted.missing,
        too_few_people=short and switches.entitled_people() < 2,
    )


def entitled(snap: facts.Snapshot, person: User) -> None:
    """Raise NotEntitled with the rule when this person may not decide this proposal."""
    refused = refusal(snap, person, tools.current().find(snap.proposal.tool))
    if refused is not None:
        raise NotEntitled(refused[1], rule=refused[0])


def _context(snap: facts.Snapshot, tool: Tool) -> dict[str, Any]:
    request = facts.request(snap, tool, json.loads(snap.version.arguments))
    known = facts.load(
        agent=snap.agent,
        ticket=snap.ticket,
        tool=tool,
        amount=request.amount,
        now=snap.now,
        policies=policy.current(),
        level=snap.level,
        recheck=True,
    )
    return check.policy_context(request, known)


def refusal(snap: facts.Snapshot, person: User, tool: Tool | None) -> tuple[str, str] | None:
    """Why this person may not decide, as (rule, sentence); None when they may."""
    if tool is None:
        return "tool-missing", "The tool is no longer installed, so this can only be withdrawn."
    judged = facts.reviewer(person, tool=tool, context=_context(snap, tool), policies=policy.current())
    return approvals.refusal(judged, requester_id=snap.proposal.requester_id, owner_id=snap.agent.owner_id)


def approvers(snap: facts.Snapshot, tool: Tool | None) -> tuple[User, ...]:
    """The people whose approval of the current version counts at this moment."""
    if tool is None:
        return ()
    return facts.approved_by(snap, tool=tool, context=_context(snap, tool), policies=policy.current()).people
