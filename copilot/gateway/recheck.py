"""Judging an approved action against the world once more: tool, policy, age, target, ticket, the customer, and who approved.

Each answer is None, or why the approval no longer holds as (rule, sentence).
"""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

from copilot.gate import check, digest, facts, policy
from copilot.gateway import limits, mcptools
from copilot.gateway.reads import Observed
from copilot.models import ProposalVersion
from copilot.toolkit import Money, Preview, Tool


def _means_the_same(version: ProposalVersion, tool: Tool) -> bool:
    """Whether the tool still reads the same amount, target and payee from the approved arguments."""
    arguments = json.loads(version.arguments)
    try:
        amount, target, payee = (read(arguments) if read else None for read in (tool.amount, tool.target, tool.payee))
    except Exception:  # noqa: BLE001 - a hook that breaks on approved arguments has changed
        return False
    money = (amount.minor, amount.currency) if isinstance(amount, Money) else (None, None)
    named = tuple(None if value is None else str(value)[:256] for value in (target, payee))
    return money == (version.amount_minor, version.currency) and named == (version.target, version.payee)


def stale(snap: facts.Snapshot, tool: Tool | None, policies: policy.Policies, observed: Observed) -> tuple[str, str] | None:
    """Why what was approved is no longer what would happen, as far as that needs no verdict."""
    version, proposal = snap.version, snap.proposal
    if tool is None:
        return "tool-missing", "The tool is no longer installed."
    if tool.source.startswith("mcp:") and (suspended := mcptools.suspended(tool.name)) is not None:
        return "tool-suspended", suspended
    if version.tool_hash != tool.definition_hash or not _means_the_same(version, tool):
        return "tool-changed", "The tool's definition changed since this was approved."
    if proposal.attempts:
        first = proposal.called_at or snap.now
        if not tool.honours_key or snap.now - first > timedelta(seconds=tool.key_lifetime or 0) - limits.lease(tool):
            return "key-expired", "The tool no longer honours the key of the first attempt, so repeating it would not be safe."
        return None  # a repeat under the same key: what moved since may be its own effect
    if version.policy_hash != policies.hash:
        return "policy-changed", "The policies changed since this was approved."
    if proposal.approved_at is not None and snap.now - proposal.approved_at > facts.APPROVAL_LIFETIME:
        return "approval-too-old", "The approval is too old."
    return _moved(snap, observed)


def _moved(snap: facts.Snapshot, observed: Observed) -> tuple[str, str] | None:
    """What changed in the world since people looked: the tool's own no, its target, the ticket, the customer's words."""
    version = snap.version
    if observed.refused is not None:
        return "no-longer-possible", f"The tool says this can no longer be done: {observed.refused}"
    if version.target_revision != observed.revision:
        return "target-moved", "The target changed since this was approved."
    shown = observed.preview
    if shown is not None and observed.revision is None and _values(shown) != (version.preview.get("before"), version.preview.get("after")):
        return "target-moved", "What this would change is not as it was when it was approved."
    if shown is not None and (shown.customer_id or None) != version.customer_ref:
        return "target-moved", "The target belongs to another customer than when this was approved."
    return facts.outdated(snap)


def _values(preview: Preview) -> tuple[Any, Any]:
    """The values that would change, as they are stored beside a version."""
    before, after = (json.loads(digest.canonical(dict(values))) for values in (preview.before, preview.after))
    return before, after


def unapproved(
    snap: facts.Snapshot, tool: Tool, context: dict[str, Any], verdict: check.Allowed | check.NeedsApproval, policies: policy.Policies
) -> tuple[str, str] | None:
    """Why the approvals given do not suffice for today's verdict."""
    given = facts.approved_by(snap, tool=tool, context=context, policies=policies)
    if isinstance(verdict, check.Allowed) and given.automatic:
        return None
    required = max(verdict.count if isinstance(verdict, check.NeedsApproval) else 1, snap.proposal.approvals_required)
    standing = facts.counted(snap, given.people, required=required)
    if standing.satisfied and given.people:
        return None
    if given.automatic:
        return "no-longer-automatic", "This may no longer run without a person."
    return "approver-not-entitled", f"The approvals no longer suffice: {standing.missing or 'a person'} is needed."
