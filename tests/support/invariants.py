"""The checker: compares the far end's ledger, the database and the audit log, and names every promise that is broken.

It knows the rules from the specification and from the test policies' numbers, not from the code it checks.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import rfc8785
from sqlalchemy import select

from copilot.db import db
from copilot.models import Agent, AuditEvent, Budget, Decision, Execution, Proposal, ProposalVersion, Reservation
from tests.support.ledger import Effect, Ledger

TERMINAL = {"SUCCEEDED", "FAILED", "REJECTED", "EXPIRED", "WITHDRAWN", "DENIED"}
UNTOUCHED = {"REJECTED", "EXPIRED", "WITHDRAWN", "DENIED", "PENDING"}
TWO_PEOPLE_ABOVE = 10_000
UNATTENDED_UP_TO = 5_000
_MOVES = {f"proposal.{state.lower()}": state for state in (*TERMINAL, "PENDING", "APPROVED", "EXECUTING", "OUTCOME_UNKNOWN", "HELD")}


@dataclass
class World:
    """The three records, read at one moment."""

    effects: list[Effect]
    calls: Counter[str]
    proposals: dict[str, Proposal]
    versions: dict[tuple[str, int], ProposalVersion]
    decisions: dict[str, list[Decision]]
    executions: dict[str, list[Execution]]
    owners: dict[str, str]
    budgets: list[Budget]
    reservations: list[Reservation]
    events: dict[str, list[dict[str, Any]]] = field(default_factory=lambda: defaultdict(list))


def read(book: Ledger) -> World:
    """Read the three records."""
    with book.open() as connection:
        calls = Counter(key for (key,) in connection.execute("SELECT key FROM calls"))
    effects = book.effects()
    db.session.rollback()
    world = World(
        effects=effects,
        calls=calls,
        proposals={row.id: row for row in db.session.scalars(select(Proposal))},
        versions={(row.proposal_id, row.version): row for row in db.session.scalars(select(ProposalVersion))},
        decisions=defaultdict(list),
        executions=defaultdict(list),
        owners={row.id: row.owner_id for row in db.session.scalars(select(Agent))},
        budgets=list(db.session.scalars(select(Budget))),
        reservations=list(db.session.scalars(select(Reservation))),
    )
    for decision in db.session.scalars(select(Decision).order_by(Decision.created_at)):
        world.decisions[decision.proposal_id].append(decision)
    for execution in db.session.scalars(select(Execution).order_by(Execution.fence)):
        world.executions[execution.proposal_id].append(execution)
    for line in db.session.scalars(select(AuditEvent.line).where(AuditEvent.kind.like("proposal.%")).order_by(AuditEvent.id)):
        event = json.loads(line)
        world.events[event["subject"]].append(event)
    return world


def check(book: Ledger) -> None:
    """Fail with every broken promise by name."""
    world = read(book)
    broken = [
        *_one_effect(world),
        *_effects_were_intended(world),
        *_intents_were_approved(world),
        *_versions_are_immutable(world),
        *_every_change_has_its_event(world),
        *_budgets_hold(world),
        *_denied_is_never_called(world),
        *_outcomes_are_true(world),
    ]
    assert not broken, "\n".join(broken)


def _one_effect(world: World) -> Iterator[str]:
    for key, count in Counter(effect.key for effect in world.effects).items():
        if count > 1:
            yield f"1: {count} effects for {key}"
    paid: dict[str, Proposal] = {}
    for effect in sorted(world.effects, key=lambda effect: effect.id):
        proposal, earlier = world.proposals[effect.key], paid.get(effect.invoice)
        free_at = earlier.intent_expires_at if earlier else None
        if earlier and not (earlier.state == "SUCCEEDED" and free_at and proposal.called_at and proposal.called_at >= free_at):
            yield f"1: invoice {effect.invoice} was paid by {earlier.id} and again by {proposal.id} inside its window"
        paid[effect.invoice] = proposal


def _effects_were_intended(world: World) -> Iterator[str]:
    for effect in world.effects:
        intents = [event for event in world.events[effect.key] if event["kind"] == "proposal.executing"]
        if not intents:
            yield f"2: effect of {effect.key} without an intent"
            continue
        version = world.versions[effect.key, intents[0]["version"]]
        meant = json.loads(version.arguments)
        if any(event["digest"] != version.digest for event in intents):
            yield f"2: {effect.key} was claimed under different digests"
        if (meant["invoice"], meant["account"], meant["amount_minor"]) != (effect.invoice, effect.account, effect.amount_minor):
            yield f"2: what ran for {effect.key} is not what was approved"


def _intents_were_approved(world: World) -> Iterator[str]:
    for proposal_id, events in world.events.items():
        for event in events:
            if event["kind"] == "proposal.executing" and (problem := _unapproved(world, proposal_id, event)):
                yield f"3: {proposal_id}: {problem}"


def _unapproved(world: World, proposal_id: str, intent: dict[str, Any]) -> str | None:
    proposal, version = world.proposals[proposal_id], world.versions[proposal_id, intent["version"]]
    before = datetime.fromisoformat(intent["at"])
    given = [
        decision
        for decision in world.decisions[proposal_id]
        if decision.verdict == "approve"
        and (decision.version, decision.digest) == (version.version, intent["digest"])
        and decision.created_at <= before
    ]
    amount = version.amount_minor or 0
    automatic = [decision for decision in given if decision.automatic]
    if automatic:
        ok = amount <= UNATTENDED_UP_TO and version.version == 1 and automatic[0].evidence
        return None if ok else "ran by itself without evidence or permission"
    people = {decision.reviewer_id for decision in given}
    if people & {proposal.requester_id, world.owners[proposal.agent_id]}:
        return "the requester or the owner approved"
    if len(people) < (2 if amount > TWO_PEOPLE_ABOVE else 1):
        return f"only {len(people)} approved {amount}"
    drafted = world.versions[proposal_id, 1]
    raised = amount > (drafted.amount_minor or 0) or version.target != drafted.target or version.payee != drafted.payee
    if version.editor_id and raised and not people - {version.editor_id}:
        return "the editor alone approved a raise or another payee"
    return None


def _versions_are_immutable(world: World) -> Iterator[str]:
    for (proposal_id, number), version in world.versions.items():
        proposal = world.proposals[proposal_id]
        content = {
            "agent": proposal.agent_id,
            "tool": proposal.tool,
            "tool_definition": version.tool_hash,
            "target": version.target,
            "target_revision": version.target_revision,
            "arguments": json.loads(version.arguments),
            "proposal": proposal_id,
            "version": number,
            "salt": version.salt,
        }
        if hashlib.sha256(rfc8785.dumps(content)).hexdigest() != version.digest:
            yield f"4: version {number} of {proposal_id} is not what its digest says"
        for event in world.events[proposal_id]:
            if event.get("version") == number and event.get("digest") != version.digest:
                yield f"4: {event['kind']} of {proposal_id} names another digest for version {number}"
    for proposal_id, events in world.events.items():
        fences = [event["fence"] for event in events if "fence" in event]
        if fences != sorted(fences):
            yield f"4: the fence of {proposal_id} went back: {fences}"
        if world.executions[proposal_id] and world.proposals[proposal_id].attempts != len(world.executions[proposal_id]):
            yield f"4: {proposal_id} counts other attempts than it has executions"


def _every_change_has_its_event(world: World) -> Iterator[str]:
    for proposal_id, proposal in world.proposals.items():
        events = world.events[proposal_id]
        if not events or events[0]["kind"] != "proposal.proposed":
            yield f"6: {proposal_id} does not begin with being proposed"
            continue
        state = events[0]["state"]
        for event in events[1:]:
            if event["kind"] not in _MOVES:
                continue
            if state in TERMINAL:
                yield f"4: {proposal_id} left {state} by {event['kind']}"
            if event["before"] != state:
                yield f"6: {proposal_id} was {state}, and {event['kind']} says it was {event['before']}"
            state = _MOVES[event["kind"]]
        if state != proposal.state:
            yield f"6: the log has {proposal_id} as {state}, the database as {proposal.state}"


def _budgets_hold(world: World) -> Iterator[str]:
    held: Counter[tuple[str, str]] = Counter()
    for reservation in world.reservations:
        held[reservation.budget_key, reservation.state] += reservation.amount
        state = world.proposals[reservation.proposal_id].state
        wanted = {"SUCCEEDED": "spent", "FAILED": "released"}.get(state, "reserved")
        if reservation.state != wanted:
            yield f"5: {reservation.proposal_id} is {state} and its reservation {reservation.state}"
    for budget in world.budgets:
        if budget.spent + budget.reserved > budget.ceiling or min(budget.spent, budget.reserved) < 0:
            yield f"5: {budget.key} holds {budget.spent} + {budget.reserved} of {budget.ceiling}"
        if (budget.spent, budget.reserved) != (held[budget.key, "spent"], held[budget.key, "reserved"]):
            yield f"5: {budget.key} does not add up with its reservations"


def _denied_is_never_called(world: World) -> Iterator[str]:
    for proposal_id, proposal in world.proposals.items():
        if proposal.state in UNTOUCHED and world.calls[proposal_id]:
            yield f"9: {proposal_id} is {proposal.state} and was called"


def _outcomes_are_true(world: World) -> Iterator[str]:
    done = {effect.key for effect in world.effects}
    for proposal_id, proposal in world.proposals.items():
        if proposal.state == "SUCCEEDED" and proposal_id not in done:
            yield f"{proposal_id} says SUCCEEDED and nothing happened"
        if proposal.state == "FAILED" and proposal_id in done:
            yield f"{proposal_id} says FAILED and it happened"
    for key in done - world.proposals.keys():
        yield f"an effect for {key}, which nobody proposed"


def stuck(book: Ledger) -> list[str]:
    """Proposals in a state that should have passed once everything is quiet; a person sees the others."""
    return [row.id for row in read(book).proposals.values() if row.state in ("APPROVED", "EXECUTING")]
