"""Edits: a new version of a proposal, judged again, which voids the approvals of the one before."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError

from copilot import db as database
from copilot.db import db
from copilot.errors import BadInput, Conflict, Refused, StaleDigest
from copilot.gate import arcs, check, facts, judgements, lifecycle, schema, tools
from copilot.models import Proposal, ProposalVersion
from copilot.notify import outbox
from copilot.review import judging, versions
from copilot.review.versions import Content
from copilot.toolkit import Tool


@dataclass(frozen=True, slots=True)
class Edit:
    """An edited content ready to be judged: what the tool says about the new arguments."""

    proposal_id: str
    content: Content


def prepare(proposal_id: str, arguments: Any) -> Edit:
    """Normalise edited arguments and ask the tool what they mean; no transaction may be open.

    An edit keeps the tool. Raises BadInput with the fields, Refused when the tool says it cannot work, Unavailable.
    """
    snap = facts.snapshot(proposal_id)
    tool = tools.current().get(snap.proposal.tool)
    normalised = schema.normalise(tool, arguments)
    seen = facts.Seen(snap.version.seen_messages or 0, snap.version.seen_status)  # whoever edits has seen what the version shows
    return _looked(snap, tool, normalised, seen=seen)


def prepare_refresh(proposal_id: str) -> Edit:
    """Ask the tool again what the current arguments mean; no transaction may be open."""
    snap = facts.snapshot(proposal_id)
    tool = tools.current().get(snap.proposal.tool)
    return _looked(snap, tool, json.loads(snap.version.arguments), seen=facts.seen(snap.ticket))


def _looked(snap: facts.Snapshot, tool: Tool, arguments: dict[str, Any], *, seen: facts.Seen) -> Edit:
    proposal_id, agent_name, ticket_id = snap.proposal.id, snap.agent.name, snap.ticket.external_id if snap.ticket else None
    database.read_again()
    return Edit(proposal_id, versions.look(tool, arguments, agent_name=agent_name, ticket_id=ticket_id, seen=seen))


def refresh(proposal_id: str, edit: Edit) -> bool:
    """Write a new version with the same arguments after the world moved, so that people decide on how things stand now.

    What moved stands on the card. Earlier approvals are void with their version. False when somebody changed or decided
    the proposal meanwhile.
    """
    snap = facts.snapshot(proposal_id, lock=True)
    if snap.proposal.state != arcs.PENDING or edit.content.canonical != snap.version.arguments:
        return False
    judged = _judged(snap, edit.content)
    verdict = judged.verdict
    if isinstance(verdict, check.Refused):
        judged.keep("refresh", edit.content, agent_id=snap.agent.id, proposal=(proposal_id, snap.version.version), at=snap.now)
        moved = lifecycle.move(
            proposal_id,
            before=arcs.PENDING,
            after=arcs.DENIED,
            values={"verdict": judgements.row(verdict)},
            event={"rule": verdict.rule},
        )
        if moved is not None:
            fields = {"tool": moved.tool, "rule": verdict.rule, "reason": verdict.reason}
            outbox.add("denied", subject=proposal_id, dedupe=f"denied:{proposal_id}", fields=fields)
        return moved is not None
    moved_on = facts.outdated(snap)
    sent_back = snap.proposal.verdict.get("sent_back") or (
        {"rule": moved_on[0], "reason": moved_on[1], "approved": False} if moved_on is not None else None
    )
    said = judgements.row(verdict) | ({"sent_back": sent_back} if sent_back else {})
    editor, needs_other = snap.version.editor_id, snap.version.needs_other
    _new_version(snap, edit.content, judged, said, editor_id=editor, needs_other=needs_other, decision_id=None)
    return True


def apply(snap: facts.Snapshot, what: Content, *, editor_id: str, decision_id: str) -> lifecycle.Moved:
    """Write the edited version. Raises Refused when the gate would not let it run, BadInput when nothing was changed."""
    if what.canonical == snap.version.arguments:
        raise BadInput("Nothing was changed; approve it as it is, or change something.", problems={"": "nothing was changed"})
    if what.intent is not None and what.intent != snap.proposal.intent_key:
        _free_intent(snap, what.intent)
    judged = _judged(snap, what)
    if isinstance(judged.verdict, check.Refused):
        raise Refused(f"With these changes it could not run: {judged.verdict.reason}", rule=judged.verdict.rule)
    said = judgements.row(judged.verdict)
    return _new_version(snap, what, judged, said, editor_id=editor_id, needs_other=_raises(snap, what), decision_id=decision_id)


def _new_version(
    snap: facts.Snapshot,
    what: Content,
    judged: judging.Judged,
    said: dict[str, Any],
    *,
    editor_id: str | None,
    needs_other: bool,
    decision_id: str | None,
) -> lifecycle.Moved:
    proposal, number = snap.proposal, snap.version.version + 1
    row = versions.row(
        what, proposal_id=proposal.id, agent_id=proposal.agent_id, version=number, editor_id=editor_id, needs_other=needs_other, at=snap.now
    )
    versions.write(row)
    stage = "refresh" if decision_id is None else "edit"
    judged.keep(stage, what, agent_id=proposal.agent_id, proposal=(proposal.id, number), at=snap.now)
    verdict = judged.verdict
    values = {
        "version": number,
        "digest": row["digest"],
        "verdict": said,
        "intent_key": what.intent,
        "approvals_required": verdict.count if isinstance(verdict, check.NeedsApproval) else 1,
    }
    try:
        moved = lifecycle.move(
            proposal.id,
            before=arcs.PENDING,
            after=arcs.PENDING,
            where=[Proposal.digest == proposal.digest, Proposal.version == snap.version.version],
            values=values,
            event={"decision": decision_id, "rule": said["rule"], "edited": decision_id is not None},
            at=snap.now,
        )
    except IntegrityError as error:  # another proposal took the same business key since `_free_intent` looked
        raise Conflict("The same was proposed in this moment by somebody else.") from error
    if moved is None:
        raise StaleDigest("The proposal was changed in the same moment; look at it again.")
    return moved


def _judged(snap: facts.Snapshot, what: Content) -> judging.Judged:
    """A person is deciding, so the level that would let it run alone plays no part."""
    level = "suggest" if snap.level == "auto" else snap.level
    return judging.judge(
        what,
        agent=snap.agent,
        ticket=snap.ticket,
        level=level,
        confidence=snap.proposal.confidence,
        came=facts.origin(snap.proposal),
        now=snap.now,
    )


def _raises(snap: facts.Snapshot, what: Content) -> bool:
    """Whether the edit raised the amount or moved target or payee, against the draft or against the last version."""
    drafted = db.session.scalars(
        select(ProposalVersion).where(ProposalVersion.proposal_id == snap.proposal.id, ProposalVersion.version == 1)
    ).one()
    for earlier in (drafted, snap.version):
        if (what.target, what.payee) != (earlier.target, earlier.payee):
            return True
        before = (earlier.amount_minor or 0, earlier.currency)
        after = (what.amount.minor if what.amount else 0, what.amount.currency if what.amount else None)
        if after[0] > before[0] or (after[1] != before[1] and after[1] is not None):
            return True
    return False


def _free_intent(snap: facts.Snapshot, intent: str) -> None:
    other = db.session.scalar(select(Proposal.id).where(Proposal.intent_key == intent, Proposal.id != snap.proposal.id))
    if other is not None:
        raise Conflict(f"The same is already proposed or done: see proposal {other}.")
