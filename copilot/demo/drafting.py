"""One step of the offline model: from the messages of a request to reads, to one action, or to last words."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from copilot.demo import plans, reading, wording
from copilot.demo.plans import Plan
from copilot.demo.reading import Attempt, Facts, Letter

Json = dict[str, Any]

_MOST_ATTEMPTS = 3
_NOTHING_LEFT = frozenset({"injection", "duplicate"})


@dataclass(frozen=True, slots=True)
class Step:
    """What the model says: words, and the tools it calls by name with arguments."""

    text: str
    calls: tuple[tuple[str, Json], ...] = ()


def step(messages: Sequence[Mapping[str, Any]], tools: Collection[str], *, mistakes: int) -> Step:
    """The next step. `mistakes` is how many letters in a hundred are drafted wrongly at first."""
    letter, facts = reading.letter(messages), reading.facts(messages)
    fresh = [attempt for attempt in facts.attempts if attempt.fresh]
    if fresh:
        return _after(letter, facts, fresh, tools)
    missing = [call for call in plans.reads(letter, facts, percent=mistakes) if call[0] in tools]
    if missing:
        return Step("Let me look at the facts first.", tuple(missing))
    return _proposed(letter, plans.decide(letter, facts, slip=not facts.attempts and plans.slips(letter, mistakes)), tools)


def _proposed(letter: Letter, plan: Plan | None, tools: Collection[str]) -> Step:
    if plan is None:
        return Step("I could not find out who the customer is, so a person needs to answer this ticket.")
    if plan.tool not in tools:
        customer_id = letter.customer_id or plan.arguments.get("customer_id")
        if plan.tool == "reply_to_customer" or "reply_to_customer" not in tools or not customer_id:
            return Step(f"This ticket needs {plan.tool}, which is not mine to use; a person needs to take it over. {plan.why}")
        declined = {"customer_id": customer_id, "message": wording.declined(letter)}
        plan = Plan("reply_to_customer", declined, f"{plan.tool} is not mine to use.", 0.5)
    return Step(f"{plan.why}\nconfidence: {plan.confidence}", ((plan.tool, plan.arguments),))


def _after(letter: Letter, facts: Facts, fresh: list[Attempt], tools: Collection[str]) -> Step:
    """Go on after a decision: confirm, try once more, or stop."""
    last = fresh[-1]
    if last.outcome in ("executed", "edited_and_executed"):
        return _confirmed(letter, facts, fresh, tools)
    again = None
    if len(fresh) < _MOST_ATTEMPTS and last.outcome in ("rejected", "denied", "failed"):
        tried = sum(attempt.outcome == last.outcome for attempt in fresh)
        again = _second_try(letter, facts, last) if tried < 2 else None
    if again is not None:
        return _proposed(letter, again, tools)
    because = f" ({last.code.replace('_', ' ')})" if last.code else ""
    return Step(
        f"{last.tool} ended as {last.outcome}{because}, and I have nothing better to propose. A person needs to look at this ticket."
    )


def _confirmed(letter: Letter, facts: Facts, fresh: list[Attempt], tools: Collection[str]) -> Step:
    last = fresh[-1]
    told = any(attempt.tool == "reply_to_customer" for attempt in fresh)
    customer = facts.customer or {}
    customer_id = customer.get("id") or letter.customer_id
    if not told and customer_id and "reply_to_customer" in tools and hashlib.sha256(letter.text.encode()).digest()[1] % 3 == 0:
        arguments = {"customer_id": customer_id, "message": wording.done(letter, last.tool)}
        return _proposed(letter, Plan("reply_to_customer", arguments, "It is done, and the customer should know.", 0.95), tools)
    changed = " as a reviewer changed it" if last.outcome == "edited_and_executed" else ""
    return Step(f"{last.tool} was done{changed}. Nothing else is open on this ticket.")


def _second_try(letter: Letter, facts: Facts, last: Attempt) -> Plan | None:
    """Something different from what was refused, or None."""
    if last.code in _NOTHING_LEFT:
        return None
    if last.code == "wrong_amount" and "amount_minor" in last.arguments and (named := _amount(last)):
        arguments = {**last.arguments, "amount_minor": named}
        return Plan(last.tool, arguments, "A reviewer named the right amount.", 0.9)
    right = plans.decide(letter, facts)
    if right is None:
        return None
    if (right.tool, right.arguments) != (last.tool, last.arguments) and (right.tool != last.tool or last.code in ("", "wrong_amount")):
        return replace(right, why=f"The first draft was wrong. {right.why}")
    customer_id = (facts.customer or {}).get("id") or letter.customer_id
    if not customer_id or last.tool == "reply_to_customer":
        return None
    words = wording.what_would_help(letter, None) if last.code == "missing_information" else wording.declined(letter)
    return Plan(
        "reply_to_customer", {"customer_id": customer_id, "message": words}, f"{last.tool} was refused; the customer should hear.", 0.7
    )


def _amount(last: Attempt) -> int | None:
    """The amount a reviewer's note names, when it is another than the one refused."""
    found = re.search(r"(\d[\d,]*)(?:\.(\d\d))\b", last.note)
    if found is None:
        return None
    minor = int(found[1].replace(",", "")) * 100 + int(found[2])
    return minor if minor > 0 and minor != last.arguments["amount_minor"] else None
