"""Draft policies over recorded verdicts: what would have gone otherwise, judged by the very evaluator of the gate.

A verdict is kept with what the policies were asked. Where a draft asks for something that was not recorded then, and
its answer depends on it, the result is unknown: it is counted apart, and never as allowed.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import tzinfo
from typing import Any

from cedarpy import pst

from copilot.errors import BadInput
from copilot.gate import check, doubt, rules, vocabulary
from copilot.gate.budgets import BudgetRule
from copilot.gate.calendar import Calendar
from copilot.gate.policy import Policies
from copilot.gate.tally import Pile, Row, Tally
from copilot.toolkit import Tool

ENDS = ("allowed", "one", "two", "refused")  # from the loosest to the strictest: alone, one person, two people, not at all
ABOUT = {"propose": "proposals", "edit": "edits", "refresh": "edits", "claim": "last checks", "read": "reads"}

_DEFAULTS: dict[str, Any] = {"String": "", "Long": 0, "Bool": False}
_OF_THE_CALENDAR = ("hour", "weekday", "business_hours")
_MOST_BOUNDS = 64


@dataclass(frozen=True, slots=True)
class Earlier:
    """What a version that once was in force said beside its policies."""

    rules: Mapping[str, BudgetRule]
    calendar: Calendar


@dataclass(frozen=True, slots=True)
class Lens:
    """The draft to look through, with the versions that were in force then by hash, and the installation's time zone."""

    policies: Policies
    tools: tuple[Tool, ...]
    earlier: Mapping[str, Earlier]
    zone: tzinfo
    _alike: dict[str, frozenset[str]] = field(init=False, default_factory=dict, repr=False, compare=False)
    _asked: dict[tuple[str, str, bool], tuple[str, ...]] = field(init=False, default_factory=dict, repr=False, compare=False)
    _bounds: dict[frozenset[str], tuple[Policies, Policies] | None] = field(init=False, default_factory=dict, repr=False, compare=False)

    def alike(self, policy_hash: str) -> frozenset[str]:
        """The draft's budgets that count just as they did in the version with this hash; only their limits may differ."""
        found = self._alike.get(policy_hash)
        if found is None:
            earlier = self.earlier.get(policy_hash)
            old = {} if earlier is None else earlier.rules
            same = (rule.id for rule in self.policies.budget_rules if rule.id in old and _same_windows(old[rule.id], rule))
            found = self._alike[policy_hash] = frozenset(same)
        return found

    def asked(self, given: check.Input) -> tuple[str, ...]:
        """The facts that the draft's policies ask about in such a case."""
        key = (given.tool, given.effect, given.level == "auto")
        found = self._asked.get(key)
        if found is None:
            actions = ("read",) if given.effect == "read" else ("propose", "approve_alone", *(("run_unattended",) if key[2] else ()))
            concerned = [each for each in self.policies.statements if any(map(each.concerns, actions)) and _covers(each.policy, given.tool)]
            found = self._asked[key] = tuple(sorted({name for each in concerned for name in each.mentions}))
        return found

    def bounds(self, unknown: frozenset[str]) -> tuple[Policies, Policies] | None:
        """The draft at its strictest and loosest without these facts; None where that cannot be said."""
        if not unknown:
            return self.policies, self.policies
        if unknown not in self._bounds:
            if len(self._bounds) >= _MOST_BOUNDS:
                return None
            try:
                self._bounds[unknown] = doubt.bounds(self.policies, unknown, self.tools)
            except (BadInput, ValueError):
                self._bounds[unknown] = None
        return self._bounds[unknown]


@dataclass(frozen=True, slots=True)
class Again:
    """One verdict judged again; `after` None: unknown, for want of what `why` names in words. `rule` decided."""

    before: str
    after: str | None
    rule: str = ""
    why: tuple[str, ...] = ()


def replay(rows: Iterable[Row], lens: Lens) -> Tally:
    """Judge every row again and count what would have gone otherwise."""
    tally = Tally()
    for row in rows:
        about = ABOUT.get(row.stage, row.stage)
        tally.verdicts[about] += 1
        again = judge(row, lens)
        if again.after is None:
            tally.unknown.setdefault(about, Pile()).add(row, again.why)
        elif again.after != again.before:
            tally.flips.setdefault((about, again.before, again.after), Pile()).add(row, (again.rule,))
    return tally


def judge(row: Row, lens: Lens) -> Again:
    """What the draft would have said to what was asked then."""
    before = _end(row.kind, row.count)
    try:
        given = check.Input.from_json(json.loads(row.input))
        arguments = None if row.arguments is None else json.loads(row.arguments)
        if given.stopped is not None or _decided_elsewhere(row):
            return Again(before, before)
        earlier = lens.earlier.get(row.policy_hash)
        if _stopped_by_a_reservation(row, given, earlier):
            return _reserved_again(row, before, earlier, lens)
        alike = lens.alike(row.policy_hash)
        unknown = frozenset(name for name in lens.asked(given) if not _known(name, given, arguments, alike, lens))
        charges, open_rules = _charges(given, alike, lens)
        given = replace(given, context=_completed(given, row, earlier, lens), charges=charges)
    except (ValueError, TypeError, KeyError, AttributeError):
        return Again(before, None, why=("what was asked then cannot be read any more",))
    return _judge(before, given, arguments, unknown, open_rules, lens)


def _judge(before: str, given: check.Input, arguments: Any, unknown: frozenset[str], open_rules: list[BudgetRule], lens: Lens) -> Again:
    if not unknown and not open_rules:
        verdict = check.evaluate(given, arguments, lens.policies, explained=False)
        return Again(before, _end_of(verdict), _rule(verdict))
    why = (*(_words(name) for name in sorted(unknown)), *(f"what was left then of: {rule.sentence}" for rule in open_rules))
    bounds = lens.bounds(unknown)
    if bounds is None:
        return Again(before, None, why=why)
    strict, loose = (check.evaluate(given, arguments, policies, explained=False) for policies in bounds)
    strictest = "refused" if open_rules else _end_of(strict)
    if strict.broken or loose.broken or strictest != _end_of(loose):
        return Again(before, None, why=why)
    return Again(before, strictest, _rule(loose))


def _decided_elsewhere(row: Row) -> bool:
    """Whether something refused it that no policy decides, such as a target that moved."""
    return row.kind == "refused" and rules.known(row.rule) and row.rule not in ("default-deny", rules.BROKEN)


def _stopped_by_a_reservation(row: Row, given: check.Input, earlier: Earlier | None) -> bool:
    """Whether the exact reservation found no room, which the recorded reading does not show."""
    if row.kind != "refused" or any(charge["rule"] == row.rule for charge in given.charges):
        return False
    return earlier is not None and row.rule in earlier.rules


def _reserved_again(row: Row, before: str, earlier: Earlier | None, lens: Lens) -> Again:
    old = earlier.rules[row.rule] if earlier is not None else None
    new = next((rule for rule in lens.policies.budget_rules if rule.id == row.rule), None)
    if old is not None and new is not None and row.rule in lens.alike(row.policy_hash) and old.limit >= new.limit:
        return Again(before, before)
    return Again(before, None, why=(f"what was left then of: {old.sentence}" if old else "what was left of a budget",))


def _known(name: str, given: check.Input, arguments: Any, alike: frozenset[str], lens: Lens) -> bool:
    """Whether this fact's value, or that it was missing, is on record."""
    group, _, rest = name.partition(".")
    if group in vocabulary.FACT:
        return name in given.facts_known or group in _OF_THE_CALENDAR
    if not rest:  # `context has args` asks nothing about this call
        return True
    if group == "used":
        return rest in alike or not any(rule.id == rest and rule.concerns(given.tool, given.effect) for rule in lens.policies.budget_rules)
    return rest.partition(".")[0] != given.tool or (arguments is not None if group == "args" else name in given.facts_known)


def _charges(given: check.Input, alike: frozenset[str], lens: Lens) -> tuple[tuple[dict[str, Any], ...], list[BudgetRule]]:
    """What it drew on budgets that still count the same, and the draft's budgets of which nobody knows how full they were.

    Inside a claim the reservation was exact and no draw is recorded, but how full each window was is.
    """
    context, kept, open_rules = given.context, [], []
    recorded = {charge["rule"]: charge for charge in given.charges}
    for rule in lens.policies.budget_rules:
        if rule.measure or not rule.concerns(given.tool, given.effect):
            continue
        if rule.rate and given.effect == "write" and recorded.get(rule.id, {"rate": True}).get("rate"):
            continue  # it makes an action wait and decides nothing; an unmarked one is from when it still did
        if rule.id in alike:
            full = context.get("used", {}).get(rule.id)
            if rule.id in recorded:
                kept.append(recorded[rule.id])
            elif full is not None:
                kept.append({"rule": rule.id, "amount": 1 if rule.currency is None else abs(context["amount_minor"]), "used": full})
        elif rule.currency is None or rule.currency == context.get("currency"):
            open_rules.append(rule)
    return tuple(kept), open_rules


def _same_windows(old: BudgetRule, new: BudgetRule) -> bool:
    """Whether two budgets count the same; only how much they hold may differ, and what they say to people."""
    return replace(old, limit=0, sentence="", next_step="") == replace(new, limit=0, sentence="", next_step="")


def _completed(given: check.Input, row: Row, earlier: Earlier | None, lens: Lens) -> dict[str, Any]:
    """The recorded facts, by the draft's calendar, with a blank for each that did not exist yet and must not be missing."""
    blank = {fact.name: _DEFAULTS[fact.type] for fact in vocabulary.FACTS if not fact.optional}
    context = {**blank, "used": {}, "known": {}, **given.context}
    if earlier is None or earlier.calendar != lens.policies.calendar or not set(_OF_THE_CALENDAR) <= set(given.facts_known):
        region, calendar = context["region"], lens.policies.calendar
        local = calendar.local(row.at, region, lens.zone)
        context |= {"hour": local.hour, "weekday": local.isoweekday(), "business_hours": calendar.open(row.at, region, lens.zone)}
    return context


def _covers(statement: pst.Template, tool: str) -> bool:
    scope = statement.resource
    return not isinstance(scope, pst.ScopeEq) or not isinstance(scope.entity, pst.EntityUid) or scope.entity.id == tool


def _end(kind: str, count: int) -> str:
    return kind if kind in ("allowed", "refused") else "one" if count < 2 else "two"


def _end_of(verdict: check.Verdict) -> str:
    match verdict:
        case check.Allowed():
            return "allowed"
        case check.NeedsApproval():
            return _end("needs_approval", verdict.count)
        case check.Refused():
            return "refused"


def _rule(verdict: check.Verdict) -> str:
    return " ".join(verdict.policies) if isinstance(verdict, check.Allowed) else verdict.rule


def _words(name: str) -> str:
    """What a fact is called in a sentence."""
    group, _, _ = name.partition(".")
    if group in vocabulary.FACT:
        return vocabulary.FACT[group].label
    return {"args": "what the tool was asked", "known": "what the tool itself looked up"}.get(group, "how full a budget was")
