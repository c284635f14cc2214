"""The gate's own rules by name: what each says, what can be done about it, and by whom."""

from __future__ import annotations

from dataclasses import dataclass

BROKEN = "policy-broken"
POLICY_NEXT = "Ask for something that fits the rule, or ask a manager whether the policy should change."
BUDGET_NEXT = "Wait until the limit has room again, ask for less, or ask a manager whether the limit should change."
_UNKNOWN = "Ask a manager or an admin."


@dataclass(frozen=True, slots=True)
class RuleText:
    """One rule in plain words. `who` can take the next step."""

    sentence: str
    next_step: str
    who: str


RULES: dict[str, RuleText] = {}


def known(rule: str) -> bool:
    """Whether this is the name of a rule of the gate itself."""
    return rule in RULES


def next_step(rule: str) -> str:
    """What can be done about a refusal by this rule, in one sentence."""
    found = RULES.get(rule)
    return found.next_step if found is not None else _UNKNOWN
