"""The shipped policies beside an independent reading of their sentences in plain Python, over 100,000 random requests.

The readings below were written from the sentences and know nothing of Cedar; a difference means that one of the two
does not say what people read.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest

from copilot.demo.tools import shop
from copilot.gate import budgets, check, policy
from copilot.gate.check import Allowed, Input, NeedsApproval, Refused
from tests.support import ROOT

REQUESTS = 100_000
ROLES = ("operator", "manager", "admin", "auditor")
NOW = datetime(2026, 3, 4, 12, tzinfo=UTC)

Request = dict[str, Any]
Ids = set[str]


@dataclass(frozen=True)
class Reading:
    """One set in plain Python: who forbids and who permits each question, and which budget is full."""

    forbids: Callable[[str, Request], Ids]
    permits: Callable[[str, Request], Ids]
    full: Callable[[Request], Ids]


# -- the starter set


def starter_forbids(question: str, r: Request) -> Ids:
    if question == "propose" and r["same_customer"] is False:
        return {"never-across-customers"}
    if question == "approve_alone" and r["risk"] == "high":
        return {"high-risk-two-people"}
    return set()


def starter_permits(question: str, r: Request) -> Ids:
    return {
        "read": {"reads-in-scope"},
        "propose": {"propose-in-scope"} if r["effect"] == "write" else set(),
        "approve_alone": {"one-person-decides"} if r["risk"] in ("low", "medium") else set(),
        "run_unattended": set(),
        "approve": {"people-decide"} if r["role"] in ("operator", "manager", "admin") else set(),
    }[question]


# -- the sample company's set


def sample_forbids(question: str, r: Request) -> Ids:
    amount, paid_in = r["amount"], r["known"].get("paid_in")
    refund, gift = r["tool"] == "issue_refund", r["tool"] == "send_gift_card"
    small = amount is not None and amount <= 50_00
    said = {
        "propose": {
            "never-across-customers": r["same_customer"] is False,
            "no-refund-above-1000": refund and amount is not None and amount > 1000_00,
            "gift-cards-up-to-100": gift and amount is not None and amount > 100_00,
            "closed-tickets-rest": r["ticket_status"] == "closed",
        },
        "approve_alone": {
            "two-people-above-500": amount is not None and amount > 500_00,
            "third-refund-two-people": refund and r["used"].get("refunds-per-customer-day", 0) >= 2,
            "gift-card-elsewhere-two-people": gift and r["known"].get("to_own_address") is False,
        },
        "run_unattended": {
            "irreversible-is-attended": not r["reversible"] and r["risk"] == "high" and not small,
            "other-currency-is-attended": refund and None not in (paid_in, r["currency"]) and paid_in != r["currency"],
            "hidden-text-is-attended": r["suspicious_text"],
        },
    }
    return {name for name, holds in said.get(question, {}).items() if holds}


def sample_permits(question: str, r: Request) -> Ids:
    small = r["amount"] is not None and r["amount"] <= 50_00
    return {
        "read": {"reads-in-scope"},
        "propose": {"propose-in-scope"} if r["effect"] == "write" else set(),
        "approve_alone": {"one-person-decides"},
        "run_unattended": {"small-and-sure-runs-alone"} if r["risk"] == "low" or small else set(),
        "approve": {"people-decide"} if r["role"] in ("operator", "manager", "admin") else set(),
    }[question]


def sample_full(r: Request) -> Ids:
    found = set()
    used = r["used"]
    if r["effect"] != "write":
        return found
    if r["tool"] == "issue_refund" and used.get("refunds-per-customer-day", 0) + 1 > 4:
        found.add("refunds-per-customer-day")
    for currency in ("USD", "EUR", "GBP"):
        name = f"gift-cards-per-customer-day-{currency.lower()}"
        if r["tool"] == "send_gift_card" and r["currency"] == currency and used.get(name, 0) + r["amount"] > 200_00:
            found.add(name)
    if used.get("writes-per-agent-hour", 0) + 1 > 2000:
        found.add("writes-per-agent-hour")
    return found


# -- the five rules that people ask for first


def article_forbids(question: str, r: Request) -> Ids:
    amount, found = r["amount"], set()
    dollars = r["currency"] == "USD"
    if question == "propose" and r["same_customer"] is False:
        found.add("own-customer-only")
    if question == "approve_alone" and amount is not None and (amount > 500_00 or not dollars):
        found.add("two-people-above-500-dollars")
    if question == "run_unattended" and not r["reversible"]:
        found.add("irreversible-is-attended")
    if question == "run_unattended" and r["tainted"] and amount is not None:
        found.add("customer-text-and-money-are-attended")
    if question == "approve" and r["role"] == "operator" and amount is not None and amount > 2000_00:
        found.add("managers-decide-large")
    return found


def article_permits(question: str, r: Request) -> Ids:
    small = r["amount"] is None or (r["amount"] <= 50_00 and r["currency"] == "USD")
    sure = r["confidence"] is not None and r["confidence"] >= 90
    return {
        "read": {"reads-in-business-hours"} if r["region"] == "EU" and r["business_hours"] else set(),
        "propose": {"propose-in-scope"} if r["effect"] == "write" else set(),
        "approve_alone": {"one-person-decides"},
        "run_unattended": {"small-and-reversible-runs-alone"} if r["reversible"] and small and sure else set(),
        "approve": {"operators-decide"} if r["role"] in ("operator", "manager", "admin") else set(),
    }[question]


def article_full(r: Request) -> Ids:
    if r["effect"] == "read":
        return {"reads-per-minute"} if r["used"].get("reads-per-minute", 0) + 1 > 10 else set()
    found = set()
    if r["used"].get("writes-per-session", 0) + 1 > 5:
        found.add("writes-per-session")
    if r["tool"] == "send_gift_card" and r["currency"] == "USD" and r["used"].get("credits-per-customer-day", 0) + r["amount"] > 200_00:
        found.add("credits-per-customer-day")
    return found


GATE = ROOT / "copilot" / "gate"
SETS = {
    "starter": (GATE / "starter", Reading(starter_forbids, starter_permits, lambda r: set())),
    "sample": (ROOT / "copilot" / "demo" / "policies", Reading(sample_forbids, sample_permits, sample_full)),
    "article": (GATE / "examples" / "article", Reading(article_forbids, article_permits, article_full)),
}


# -- requests


def request(rng: random.Random) -> Request:
    """Anything, more often than not close to a line that a sentence draws."""
    tool = rng.choice(("issue_refund", "send_gift_card", "reply_to_customer", "get_order"))
    money = tool in ("issue_refund", "send_gift_card") and rng.random() < 0.95
    line = rng.choice((50_00, 100_00, 200_00, 500_00, 1000_00, 2000_00))
    amount = line + rng.choice((-1, 0, 1, rng.randint(-line + 1, line))) if money else None
    used = {
        "refunds-per-customer-day": rng.randint(0, 5),
        "writes-per-agent-hour": rng.choice((0, 1999, 2000, rng.randint(0, 2100))),
        "writes-per-session": rng.randint(0, 6),
        "reads-per-minute": rng.choice((0, 9, 10)),
        "credits-per-customer-day": rng.choice((0, 150_00, 200_00, rng.randint(0, 210_00))),
        **{
            f"gift-cards-per-customer-day-{each}": rng.choice((0, 100_00, 199_99, rng.randint(0, 210_00))) for each in ("usd", "eur", "gbp")
        },
    }
    known: dict[str, Any] = {}
    if tool == "issue_refund" and rng.random() < 0.7:
        known["paid_in"] = rng.choice(("USD", "EUR"))
    if tool == "send_gift_card" and rng.random() < 0.7:
        known["to_own_address"] = rng.random() < 0.5
    return {
        "tool": tool,
        "effect": "read" if tool == "get_order" else "write",
        "risk": rng.choice(("low", "medium", "high")),
        "reversible": rng.random() < 0.5,
        "level": rng.choice(("auto", "auto", "suggest")),
        "amount": amount,
        "currency": rng.choice(("USD", "EUR", "GBP", "CHF")) if money else None,
        "region": rng.choice(("EU", "EU", "US", "")),
        "ticket_status": rng.choice(("open", "open", "open", "closed", "")),
        "business_hours": rng.random() < 0.7,
        "suspicious_text": rng.random() < 0.1,
        "tainted": rng.random() < 0.5,
        "confidence": rng.choice((None, 50, 89, 90, 95, 100)),
        "same_customer": rng.choice((None, True, True, False)),
        "role": rng.choice(ROLES),
        "killed": rng.random() < 0.1,
        "used": {name: count for name, count in used.items() if rng.random() < 0.7},
        "known": known,
    }


def as_input(r: Request, policies: policy.Policies) -> Input:
    """The same request as the gate is asked it."""
    used = {rule.id: r["used"][rule.id] for rule in policies.budget_rules if rule.id in r["used"]}
    context: dict[str, Any] = {
        "level": r["level"],
        "team": "",
        "region": r["region"],
        "channel": "mail",
        "ticket_status": r["ticket_status"],
        "hour": 12,
        "weekday": 3,
        "business_hours": r["business_hours"],
        "suspicious_text": r["suspicious_text"],
        "tainted": r["tainted"],
        "known": {r["tool"]: r["known"]},
        "used": used,
    }
    optional = {"amount_minor": "amount", "currency": "currency", "confidence_percent": "confidence", "same_customer": "same_customer"}
    context |= {name: r[ours] for name, ours in optional.items() if r[ours] is not None}
    drawn = budgets.charges(
        policies.budget_rules, tool=r["tool"], agent_id="a", customer_id="c", amount_minor=r["amount"], currency=r["currency"], now=NOW,
        effect=r["effect"], session="s",
    )  # fmt: skip
    charges = tuple(check.drawn(each, used.get(each.rule, 0)) for each in drawn)
    shape = (r["tool"], r["effect"], r["risk"], r["reversible"], r["level"])
    return Input("desk", "", *shape, context, charges, (), killed=r["killed"])


# -- both answers


def read_in_python(r: Request, reading: Reading) -> tuple[Any, ...]:
    """(kind, people asked for, rules any of which may be named, deciding policies)."""

    def answer(question: str) -> tuple[bool, Ids]:
        forbids = reading.forbids(question, r)
        permits = reading.permits(question, r)
        return (False, forbids) if forbids else (bool(permits), permits)

    permitted, deciding = answer("read" if r["effect"] == "read" else "propose")
    if not permitted:
        return "refused", 0, deciding or {"default-deny"}, deciding
    if full := reading.full(r):
        return "refused", 0, full, set()
    if r["effect"] == "read":
        return "allowed", 0, None, deciding
    permitted, deciding = answer("approve_alone")
    if not permitted:
        return "approval", 2, deciding or {"two-people-by-default"}, deciding
    if r["level"] != "auto":
        return "approval", 1, {"level-suggest"}, deciding
    permitted, deciding = answer("run_unattended")
    if not permitted:
        return "approval", 1, deciding or {"attended-by-default"}, deciding
    if r["suspicious_text"]:
        return "approval", 1, {"suspicious-text"}, set()
    if r["killed"]:
        return "approval", 1, {"kill-switch"}, set()
    return "allowed", 0, None, deciding


def agrees(verdict: check.Verdict, read: tuple[Any, ...]) -> bool:
    kind, count, may_name, deciding = read
    if set(verdict.policies) != deciding or verdict.broken:
        return False
    match verdict:
        case Allowed():
            return kind == "allowed"
        case NeedsApproval(count=asked, rule=rule):
            return kind == "approval" and asked == count and rule in may_name
        case Refused(rule=rule):
            return kind == "refused" and rule in may_name


@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", SETS)
def test_the_policies_say_what_their_sentences_say(name: str) -> None:
    folder, reading = SETS[name]
    policies = policy.load(folder, shop.tools.values())
    rng, different, kinds = random.Random(name), [], set()  # seeded by the name: the same requests every time
    for number in range(REQUESTS // len(SETS) + 1):
        r = request(rng)
        given = as_input(r, policies)
        verdict = check.evaluate(given, {}, policies, explained=False)
        read = read_in_python(r, reading)
        kinds |= {(read[0], read[1], *sorted(read[2] or ()))}
        if not agrees(verdict, read):
            different.append((r, verdict, read))
        if number % 5 == 0:  # and whether this person may decide it
            answer = check.may_approve(policies, user_id="u", role=r["role"], tool=given, context={**given.context, "args": {}})
            forbids = reading.forbids("approve", r)
            if (answer.allowed, set(answer.policies)) != (
                not forbids and bool(reading.permits("approve", r)),
                forbids or reading.permits("approve", r),
            ):
                different.append((r, answer, forbids))
    assert different[:3] == []
    reached = {rule for kind in kinds for rule in kind[2:]}
    rest = {"default-deny", "two-people-by-default", "attended-by-default", "level-suggest", "suspicious-text", "kill-switch"}
    unreached = {rule.id for rule in policies.budget_rules} | {
        each.id for each in policies.statements if not each.permits and not each.concerns("approve")
    }
    assert unreached - reached - rest == set(), "every forbid and every budget decided at least one of these requests"
