"""How much the whole verdict costs beside bare Cedar in the same run, and with its facts read from the database.

The verdict is everything the gate does once the facts are loaded: identity, strict schema, the policies' questions,
budgets, sentences. Beside it, in turns, so that all see the same machine:

- `bare_single_us`: ONE question put to Cedar as its own documentation does it: parsed policies, entities and schema,
  the whole context validated against the schema. This is "the bare Cedar call" of the goal, the stricter reading,
  because a verdict needs two questions, and three for an action that may run alone.
- `bare_same_questions_us`: the very questions of this verdict in one batch, put the same way.

`with_facts_*` goes the product's own way of a preflight: agent, ticket, customer, level, budgets, kill switch and
policy version from the database (SQLite, or DATABASE_URL), then the verdict. Prints one JSON object.

    python bench/gate.py [--verdicts 4000] [--facts 400]
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import random
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import cedarpy
import installation
from sqlalchemy import insert

from copilot.db import db, new_id, now, transaction
from copilot.gate import check, facts, library, policy
from copilot.gateway import reads
from copilot.models import Agent, Customer, Grant, Ticket, User
from copilot.review import judging, versions
from copilot.toolkit import Money, Preview, Tool

GOAL = 1.5
TICKETS = 5_000
REFUND: dict[str, Any] = {"order_id": "1043", "amount_minor": 4_000, "currency": "EUR", "reason": "late"}
KNOWN = {"refundable_minor": 9_000, "paid_in": "EUR"}
FACTS = check.Facts(
    local=datetime(2026, 3, 4, 12, tzinfo=UTC),
    agent_id="agent_bench",
    agent_name="refund-desk",
    agent_enabled=True,
    scopes=("*:read", "issue_refund:write"),
    level="auto",
    region="EU",
    channel="mail",
    ticket_status="open",
    ticket="T-1",
    ticket_customer="cus_2001",
    ticket_hours=5,
    customer_days=400,
    customer_tickets=1,
    business_hours=True,
    used={"refunds-per-customer-day": 1, "writes-per-agent-hour": 120},
)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--verdicts", type=int, default=4_000)
    parser.add_argument("--facts", type=int, default=400)
    chosen = parser.parse_args()
    with installation.fresh(os.environ.get("DATABASE_URL")):
        tool = _tool()
        figures = {
            "suggest": _verdicts(tool, replace(FACTS, level="suggest"), chosen.verdicts),
            "auto": _verdicts(tool, FACTS, chosen.verdicts),
            **_with_facts(tool, chosen.facts),
            "database": db.engine.dialect.name,
            "goal": f"at most {GOAL} times the bare Cedar call",
        }
    figures["reached"] = all(figures[level]["times_bare_single"] <= GOAL for level in ("suggest", "auto"))
    print(json.dumps(figures))


def _tool() -> Tool:
    from copilot.gate import tools

    return tools.current().get("issue_refund")


def _verdicts(tool: Tool, known: check.Facts, count: int) -> dict[str, Any]:
    policies = policy.current()
    request = check.Request(tool, REFUND, Money(4_000, "EUR"), "order:1043", "cus_2001", 0.93, KNOWN)
    given = check.policy_input(request, known)
    context = json.dumps(policies.vocabulary.typed({**given.context, "args": {tool.name: REFUND}}))
    entities = policies.entities(("Agent", given.agent), (), given)
    actions = ("propose", "approve_alone", "run_unattended")[: 3 if known.level == "auto" else 2]

    def asked(action: str) -> dict[str, Any]:
        return {
            "principal": {"type": "Agent", "id": given.agent},
            "action": {"type": "Action", "id": action},
            "resource": {"type": "Tool", "id": tool.name},
            "context": context,
        }

    took = _in_turns(
        count,
        lambda: check.check(request, known, policies),
        lambda: cedarpy.is_authorized(asked("propose"), policies.handle, entities, policies.schema),
        lambda: cedarpy.is_authorized_batch([asked(action) for action in actions], policies.handle, entities, policies.schema),
    )
    verdict, single, same = (_rank(times, 50) for times in took)
    return {
        "questions": len(actions),
        "verdict_us": verdict,
        "verdict_p95_us": _rank(took[0], 95),
        "bare_single_us": single,
        "bare_same_questions_us": same,
        "times_bare_single": round(verdict / single, 2),
        "times_bare_same_questions": round(verdict / same, 2),
    }


def _in_turns(count: int, *calls: Callable[[], object]) -> list[list[float]]:
    """Microseconds of every call, one after the other in each round; the first tenth is warming up."""
    times: list[list[float]] = [[] for _ in calls]
    gc.disable()
    for number in range(count + count // 10):
        for call, taken in zip(calls, times, strict=True):
            began = time.perf_counter()
            call()
            if number >= count // 10:
                taken.append((time.perf_counter() - began) * 1e6)
    gc.enable()
    return times


def _with_facts(tool: Tool, count: int) -> dict[str, float]:
    """Milliseconds of a preflight of stored tickets, each in a transaction of its own as a request has it."""
    agent_id, tickets = _fill()
    rng, taken = random.Random(1), []  # noqa: S311 -- which ticket is next, no secret
    seen = reads.Look(Preview("Refund", customer_id=None, known=KNOWN), "7")
    content = versions.content(tool, REFUND, seen, seen=facts.Seen())
    for number in range(count + count // 10):
        ticket_id = rng.choice(tickets)
        db.session.remove()
        began = time.perf_counter()
        agent, ticket = db.session.get_one(Agent, agent_id), db.session.get_one(Ticket, ticket_id)
        judged = judging.judge(
            content, agent=agent, ticket=ticket, level=facts.level(agent_id, tool.name), confidence=0.93,
            came=facts.Origin(session="bench"), now=now(),
        )  # fmt: skip
        if number >= count // 10:
            taken.append((time.perf_counter() - began) * 1e3)
        if not isinstance(judged.verdict, check.Allowed):
            raise SystemExit(f"the bench expects an allowed refund and got {judged.verdict}")
    return {"with_facts_p50_ms": _rank(taken, 50), "with_facts_p95_ms": _rank(taken, 95)}


def _fill() -> tuple[str, list[str]]:
    """A desk with a few thousand tickets of customers of their own; the policies adopted as a start adopts them."""
    at = now()
    with transaction():
        owner = User(id=new_id("user"), email="owner@bench.example", name="Owner", role="admin", active=True, created_at=at)
        db.session.add(owner)
        db.session.flush()
        agent = Agent(
            id=new_id("agent"), name="refund-desk", owner_id=owner.id, scopes=list(FACTS.scopes), secret_hash="0" * 64, enabled=True,
            drafts=False, created_at=at,
        )  # fmt: skip
        db.session.add(agent)
        db.session.flush()
        customers = [
            {"id": new_id("cust"), "external_id": f"cus_{number}", "created_at": at - timedelta(days=number % 900)}
            for number in range(TICKETS)
        ]
        db.session.execute(insert(Customer), customers)
        tickets = [
            {
                "id": new_id("tick"), "external_id": f"T-{number}", "subject": "Late", "customer_id": customer["id"], "region": "EU",
                "source": "bench", "details": {}, "created_at": at - timedelta(hours=number % 50), "updated_at": at,
            }
            for number, customer in enumerate(customers)
        ]  # fmt: skip
        db.session.execute(insert(Ticket), tickets)
        db.session.add(Grant(agent_id=agent.id, tool="issue_refund", level="auto", changed_at=at))
        library.adopt(policy.current())
    return agent.id, [str(ticket["id"]) for ticket in tickets]


def _rank(values: list[float], rank: int) -> float:
    """The nearest-rank percentile."""
    return round(sorted(values)[max(0, -(-len(values) * rank // 100) - 1)], 2)


if __name__ == "__main__":
    main()
