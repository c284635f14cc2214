"""Who may approve, and when approvals suffice: one rule for every path.

The requester and the agent's owner never approve, and the owner never lets the agent run alone. Save-and-approve
counts as one approval by the editor; it suffices where one is asked for, unless the edit raised the amount or moved
target or payee, which always needs another person. Changes of policies, of agents' scopes and of autonomy may need a
second person too. An admin may switch each of these rules off or on by name; a rule in `DEFAULT_OFF` holds only once
somebody switched it on.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from copilot.gate import rules

TWO_PEOPLE = "two-people"
OTHER_THAN_EDITOR = "other-than-editor"
POLICY_SECOND_PERSON = "policy-second-person"
SCOPES_SECOND_PERSON = "scopes-second-person"
AUTONOMY_SECOND_PERSON = "autonomy-second-person"
RULES = {
    TWO_PEOPLE: "Actions above the policy's threshold need two different people.",
    OTHER_THAN_EDITOR: "An edit that raises the amount or changes target or payee needs another person than the editor.",
    POLICY_SECOND_PERSON: "A version of the policies is published by somebody else than its author.",
    SCOPES_SECOND_PERSON: "An agent is given more than it may use today only when a second person confirms it.",
    AUTONOMY_SECOND_PERSON: "An action is allowed to run alone only when a second person confirms it.",
}
DEFAULT_OFF = frozenset({AUTONOMY_SECOND_PERSON})

_DECIDING_ROLES = frozenset({"operator", "manager", "admin"})
_MANAGING_ROLES = frozenset({"manager", "admin"})
DECIDING = frozenset({TWO_PEOPLE, OTHER_THAN_EDITOR})  # the rules about actions; the others are a manager's or an admin's matter
PEOPLE = {name: _DECIDING_ROLES if name in DECIDING else _MANAGING_ROLES for name in RULES}  # who can be the second person

REASONS = {
    "wrong_action": "Wrong action",
    "wrong_amount": "Wrong amount",
    "wrong_target": "Wrong target",
    "missing_information": "Missing information",
    "against_policy": "Against policy",
    "tone": "Tone",
    "duplicate": "Duplicate",
    "injection": "Injection",
    "other": "Other",
}


@dataclass(frozen=True, slots=True)
class Reviewer:
    """A person as the rule sees them; `policy` says whether the policies let them approve this, `broken` that they could not say."""

    id: str
    role: str
    active: bool
    policy: bool
    broken: bool = False


@dataclass(frozen=True, slots=True)
class Standing:
    """How far the approvals of a version have come; `missing` says in words what is still needed."""

    satisfied: bool
    have: int
    required: int
    missing: str | None


def refusal(reviewer: Reviewer, *, requesters: Collection[str], owner_id: str) -> tuple[str, str] | None:
    """Why this person may not decide here, as (rule, sentence), or None when they may."""
    if not reviewer.active:
        return "inactive-account", "This account is disabled."
    if reviewer.role not in _DECIDING_ROLES:
        return "role", "Your role may look but not decide; ask an operator or a manager."
    if reviewer.id in requesters:
        return "requester-never-approves", "You asked for this yourself, so somebody else has to decide it."
    if reviewer.id == owner_id:
        return "owner-never-approves", "You own the agent that drafted this, so somebody else has to decide it."
    if reviewer.broken:
        return rules.BROKEN, "The rules about who may decide this could not be evaluated, so it can only be rejected until they are mended."
    if not reviewer.policy:
        return "policy-approve", "The policy does not let you decide this action; ask someone it names."
    return None


def standing(
    approvers: Iterable[str],
    *,
    required: int,
    raisers: Collection[str],
    rules_off: frozenset[str],
) -> Standing:
    """Count distinct valid approvers of one version against what the gate asks for.

    `raisers` are all who edited on the way to an amount, target or payee beyond the draft's: none of them suffices
    alone, however many trivial edits lie between, but two of them are two people.
    """
    people = set(approvers)
    needed = min(required, 1) if TWO_PEOPLE in rules_off else required
    if raisers and OTHER_THAN_EDITOR not in rules_off and len(people) < 2 and not people - set(raisers):
        return Standing(
            False, len(people), max(needed, 1), "another person than the editor, because the edit raised the amount or moved the target"
        )
    if len(people) >= needed:
        return Standing(True, len(people), needed, None)
    missing = needed - len(people)
    return Standing(
        False, len(people), needed, "one more person" if missing == 1 and people else f"{missing} {'person' if missing == 1 else 'people'}"
    )
