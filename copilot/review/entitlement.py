"""Who may decide a proposal and how its approvals stand: the one rule of the gate, asked with today's people."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

from sqlalchemy import select

from copilot.db import db
from copilot.errors import NotEntitled
from copilot.gate import approvals, arcs, check, facts, library, tools
from copilot.models import Proposal, User
from copilot.models.people import DECIDING_ROLES
from copilot.toolkit import Tool

TOOL_MISSING = "tool-missing"


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
    counted = facts.counted(snap, given, required=max(1, snap.proposal.approvals_required))
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
        too_few_people=snap.proposal.state == arcs.PENDING and _too_few(snap, tool, 2 if short else 1),
    )


def entitled(snap: facts.Snapshot, person: User, *, to_run: bool = True) -> None:
    """Raise NotEntitled with the rule when this person may not decide this proposal.

    Saying no needs no tool and no policy, so `to_run=False` leaves a proposal rejectable whose tool is gone, or whose
    policies cannot be read or evaluated.
    """
    refused = refusal(snap, person, tools.current().find(snap.proposal.tool), to_run=to_run)
    if refused is not None:
        raise NotEntitled(refused[1], rule=refused[0])


def person_refusal(snap: facts.Snapshot, person: User) -> tuple[str, str] | None:
    """Why this person may have no say in this proposal, policies aside; None when they may."""
    judged = approvals.Reviewer(person.id, person.role, person.active, policy=True)
    return approvals.refusal(judged, requesters=facts.requesters(snap), owner_id=snap.agent.owner_id)


def _too_few(snap: facts.Snapshot, tool: Tool | None, needed: int) -> bool:
    """Whether fewer people than needed could approve this at all."""
    everyone = db.session.scalars(select(User).where(User.active, User.role.in_(sorted(DECIDING_ROLES))))
    able = (person for person in everyone if refusal(snap, person, tool) is None)
    return len(list(islice(able, needed))) < needed


def _context(snap: facts.Snapshot, tool: Tool) -> dict[str, Any]:
    request = facts.request(snap, tool, json.loads(snap.version.arguments))
    known = facts.again(snap, tool, request, library.in_force())
    return check.policy_context(request, known)


def refusal(snap: facts.Snapshot, person: User, tool: Tool | None, *, to_run: bool = True) -> tuple[str, str] | None:
    """Why this person may not decide, as (rule, sentence); None when they may."""
    if tool is None:
        gone = TOOL_MISSING, "The tool is no longer installed, so this can only be rejected."
        return gone if to_run else person_refusal(snap, person)
    judged = facts.reviewer(person, tool=tool, context=_context(snap, tool), policies=library.in_force())
    if not judged.policy and library.problem() is not None:  # what stands in for an unreadable version forbids, and decides nothing
        judged = replace(judged, broken=True)
    if judged.broken and not to_run:
        return person_refusal(snap, person)
    return approvals.refusal(judged, requesters=facts.requesters(snap), owner_id=snap.agent.owner_id)


def approvers(snap: facts.Snapshot, tool: Tool | None) -> tuple[User, ...]:
    """The people whose approval of the current version counts at this moment."""
    if tool is None:
        return ()
    return facts.approved_by(snap, tool=tool, context=_context(snap, tool), policies=library.in_force()).people
