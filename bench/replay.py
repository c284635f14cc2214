"""How fast recorded verdicts are replayed: fills a fresh SQLite database with varied ones and judges them all again.

Every verdict is made by the gate's own evaluator from generated facts and stored as the gate stores it; the replay is
the production one, database and processes included. Prints one JSON object.

    python bench/replay.py [--verdicts 100000] [--processes 2]
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import installation
import rfc8785
from sqlalchemy import insert

from copilot.db import db, new_id, now, transaction
from copilot.gate import budgets, check, history, judgements, library, policy, tools
from copilot.gate.policy import Policies
from copilot.models import Agent, Proposal, ProposalVersion, User
from copilot.models import Verdict as Recorded
from copilot.toolkit import Money, Tool

AGENTS = 12
DAYS = 28
AT_ONCE = 2_000
# A draft that changes something of each kind: a limit, a threshold, and a fact that a third of the records do not hold.
CHANGES = (
    ("context.amount_minor <= 5000", "context.amount_minor <= 3000"),
    ("context.amount_minor > 50000", "context.amount_minor > 40000"),
)
MORE = """
@id("new-customers-are-attended")
@sentence("For customers of less than a week a person decides.")
forbid (principal, action == Action::"run_unattended", resource)
when { context has customer_days && context.customer_days < 7 };
"""


def main() -> None:
    """Fill, replay, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--verdicts", type=int, default=100_000)
    parser.add_argument("--processes", type=int, default=2)
    chosen = parser.parse_args()
    with installation.fresh():
        _fill(chosen.verdicts)
        result = history.replayed(_draft(), days=30, processes=chosen.processes)
    seconds = result["seconds"]
    figures = {
        "verdicts": result["total"]["verdicts"],
        "processes": chosen.processes,
        "seconds": seconds,
        "per_minute": round(60 * result["total"]["verdicts"] / seconds),
        "flips": result["total"]["flips"],
        "unknown": result["total"]["unknown"],
    }
    print(json.dumps(figures))


def _draft() -> dict[str, str]:
    files = dict(policy.current().files)
    for old, new in CHANGES:
        if old not in files["policies.cedar"]:
            raise SystemExit(f"the sample company's policies hold no {old!r} any more; change this bench")
        files["policies.cedar"] = files["policies.cedar"].replace(old, new)
    files["policies.cedar"] += MORE
    files["budgets.toml"] = files["budgets.toml"].replace("count = 4\n", "count = 3\n")
    return files


def _fill(number: int) -> None:
    policies = policy.current()
    chance = random.Random(7)  # noqa: S311 -- repeatable, not secret
    with transaction():
        library.adopt(policies)
        owner = User(id=new_id("user"), email="owner@example.com", name="Owner", role="admin", active=True, created_at=now())
        db.session.add(owner)
        db.session.flush()
        agents = [
            Agent(id=new_id("agent"), name=f"desk-{n}", owner_id=owner.id, scopes=["*:read"], secret_hash=new_id("none"), created_at=now())
            for n in range(AGENTS)
        ]
        db.session.add_all(agents)
        names = [(agent.id, agent.name) for agent in agents]
    end = now()
    made = 0
    while made < number:
        rows = [row for _ in range(AT_ONCE // 2) for row in _case(chance, policies, names, end)][: number - made]
        with transaction():
            for table in (Proposal, ProposalVersion, Recorded):
                part = [values for kind, values in rows if kind is table]
                if part:
                    db.session.execute(insert(table), part)
            made += sum(kind is Recorded for kind, _ in rows)


def _case(chance: random.Random, policies: Policies, agents: list[tuple[str, str]], end: datetime) -> Iterator[tuple[Any, dict[str, Any]]]:
    """A read, or a proposal with its version, judged when proposed and mostly once more before its call."""
    agent_id, name = chance.choice(agents)
    at = end - timedelta(seconds=chance.randrange(3600, DAYS * 86_400))
    tool, arguments, amount, known = _wish(chance)
    if tool.effect == "read":
        yield Recorded, _judged("read", chance, policies, agent_id, name, tool, arguments, amount, known, at, None)
        return
    proposal = new_id("prop")
    shared = {"agent_id": agent_id, "tool": tool.name, "risk": tool.risk, "digest": "0" * 64, "level": "suggest", "verdict": {}}
    yield (
        Proposal,
        {"id": proposal, "state": "SUCCEEDED", "deadline_at": at, "created_at": at, "updated_at": at, "session": agent_id, **shared},
    )
    yield ProposalVersion, {
        "id": new_id("ver"), "proposal_id": proposal, "version": 1, "arguments": rfc8785.dumps(arguments).decode(), "salt": "0" * 64,
        "digest": "0" * 64, "tool_hash": "0" * 64, "policy_hash": policies.hash, "preview": {}, "created_at": at,
    }  # fmt: skip
    yield Recorded, _judged("propose", chance, policies, agent_id, name, tool, arguments, amount, known, at, proposal)
    if chance.random() < 0.7:
        later = at + timedelta(seconds=chance.randrange(5, 3000))
        yield Recorded, _judged("claim", chance, policies, agent_id, name, tool, arguments, amount, known, later, proposal)


def _wish(chance: random.Random) -> tuple[Tool, dict[str, Any], Money | None, dict[str, Any]]:
    shop = tools.current()
    order, customer = str(chance.randrange(1000, 9999)), f"cus_{chance.randrange(1000, 9999)}"
    currency, cents = chance.choice(("EUR", "USD", "GBP")), round(chance.lognormvariate(8.4, 1.1)) + 100
    match chance.randrange(7):
        case 0 | 1:
            arguments = {"order_id": order, "amount_minor": min(cents, 900_000), "currency": currency, "reason": "damaged"}
            return shop.get("issue_refund"), arguments, Money(arguments["amount_minor"], currency), {"paid_in": currency}
        case 2:
            arguments = {
                "customer_id": customer,
                "recipient_email": "una@example.com",
                "amount_minor": min(cents, 50_000),
                "currency": currency,
            }
            given = {"to_own_address": chance.random() < 0.8}
            return shop.get("send_gift_card"), arguments | {"note": "Sorry."}, Money(arguments["amount_minor"], currency), given
        case 3:
            return shop.get("cancel_order"), {"order_id": order, "reason": "too_slow"}, None, {}
        case 4:
            return (
                shop.get("reply_to_customer"),
                {"customer_id": customer, "message": "It is on its way. " * chance.randrange(1, 20)},
                None,
                {},
            )
        case _:
            return shop.get("get_order"), {"order_id": order}, None, {}


def _judged(
    stage: str, chance: random.Random, policies: Policies, agent_id: str, name: str, tool: Tool, arguments: dict[str, Any],
    amount: Money | None, known: dict[str, Any], at: datetime, proposal: str | None,
) -> dict[str, Any]:  # fmt: skip
    customer = f"cus_{chance.randrange(1000, 9999)}"
    drawn = budgets.charges(
        policies.budget_rules, tool=tool.name, agent_id=agent_id, customer_id=customer, amount_minor=amount.minor if amount else None,
        currency=amount.currency if amount else None, now=at, effect=tool.effect,
    )  # fmt: skip
    used = [(charge, chance.randrange(0, max(2, charge.limit // 4))) for charge in drawn]
    facts = check.Facts(
        local=at, agent_id=agent_id, agent_name=name, agent_enabled=True, scopes=("*:read", f"{tool.name}:write"),
        level=chance.choice(("suggest", "suggest", "auto")), region=chance.choice(("EU", "US", "UK")), channel="email",
        ticket_status="open", ticket="T-1", ticket_customer=customer, ticket_hours=chance.randrange(0, 90),
        customer_days=chance.randrange(0, 400),
        customer_tickets=chance.randrange(1, 4), business_hours=9 <= at.hour < 17, tainted=chance.random() < 0.9, charges=tuple(used),
        used={charge.rule: full for charge, full in used}, recheck=stage == "claim",
    )  # fmt: skip
    target = customer if chance.random() < 0.97 else "cus_1"
    request = check.Request(tool, arguments, amount, target_customer=target, confidence=chance.random(), known=known)
    given = check.policy_input(request, facts)
    said = judgements.row(check.evaluate(given, arguments, policies))
    kept = given.as_json()
    if chance.random() < 0.33:  # as an earlier Copilot would have kept it, which did not know this fact yet
        kept["facts_known"].remove("customer_days")
        kept["context"].pop("customer_days")
    return {
        "id": new_id("verd"), "at": at, "stage": stage, "agent_id": agent_id, "tool": tool.name, "proposal_id": proposal,
        "version": 1 if proposal else None, "kind": said["kind"], "rule": said["rule"], "reason": said["reason"],
        "count": said.get("count", 0), "policies": said["policies"], "input": kept, "policy_hash": policies.hash,
        "amount_minor": amount.minor if amount else None, "currency": amount.currency if amount else None,
    }  # fmt: skip


if __name__ == "__main__":
    main()
