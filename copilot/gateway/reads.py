"""Reading through the gate: identity, schema and policy are judged, then the tool is asked; nothing is ever written."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from copilot import db as database
from copilot.db import db
from copilot.errors import BadInput, NotFound, Refused
from copilot.gate import arcs, check, digest, facts, judgements, library, schema, switches, tools
from copilot.gateway import asking, mcptools, reserve
from copilot.models import Agent, Ticket
from copilot.toolkit import Call, Preview, Tool


@dataclass(frozen=True, slots=True)
class Look:
    """What the tool itself said about an action beforehand, and its target's revision at that moment."""

    preview: Preview
    revision: str | None


def call(tool_name: str, arguments: Any, *, agent_id: str, ticket_id: str | None, origin: facts.Origin | None = None) -> Any:
    """Run one read for an agent and return its plain JSON result; no transaction may be open.

    The verdict is kept and the limits on reads are drawn on in a transaction of their own, before the tool is asked.
    Raises Refused with the gate's rule, BadInput with the fields, NotFound for a tool that does not exist,
    Unavailable when the tool could not answer. A write is refused here on every path.
    """
    tool, came = tools.current().get(tool_name), origin or facts.Origin(agent_id)
    normalised, misfit = arguments if isinstance(arguments, dict) else {}, None
    try:
        normalised = schema.normalise(tool, arguments)
    except BadInput as error:  # the record keeps that it was asked for, and by whom
        misfit = error
    _usable(tool)
    with database.transaction():
        agent_name, verdict = _judge(tool, normalised, agent_id=agent_id, ticket_id=ticket_id, origin=came)
    if isinstance(verdict, check.Refused) and verdict.rule == "schema" and misfit is not None:
        raise misfit
    if not isinstance(verdict, check.Allowed):
        raise Refused(verdict.reason, rule=verdict.rule)
    return asking.read(tool, normalised, _call_for(tool, agent_name, ticket_id))


def look(tool: Tool, arguments: dict[str, Any], *, agent_name: str, ticket_id: str | None) -> Look:
    """Ask a write tool what it would mean and how its target stands, without doing it.

    Raises Refused when the tool says the arguments cannot work, Unavailable when it cannot be asked.
    """
    _usable(tool)
    reading, show = _call_for(tool, agent_name, ticket_id), tool.preview
    preview = asking.hook(tool, lambda: show(arguments, reading)) if show else Preview(_generic(tool, arguments))
    return Look(preview, revision(tool, arguments, agent_name=agent_name, ticket_id=ticket_id))


def revision(tool: Tool, arguments: dict[str, Any], *, agent_name: str, ticket_id: str | None) -> str | None:
    """The target's revision right now, or None for a tool that keeps none; Unavailable when it cannot be asked."""
    if tool.revision is None:
        return None
    ask, reading = tool.revision, _call_for(tool, agent_name, ticket_id)
    found = asking.hook(tool, lambda: ask(arguments, reading))
    return None if found is None else str(found)[:200]


@dataclass(frozen=True, slots=True)
class Observed:
    """What was seen outside just before a claim: the version looked at, its target's revision, what the tool says now.

    `refused` is the tool's own no to what was approved; `preview` is None for a tool that has none, or on a repeat.
    """

    version: int
    revision: str | None
    refused: str | None = None
    preview: Preview | None = None


def observe(proposal_id: str) -> Observed | None:
    """Look at an approved proposal's target before it is claimed; None when it is not approved or a kill switch covers it.

    Raises Unavailable when the target cannot be looked at. A repeat under the same key is not compared: what moved
    since may be its own effect.
    """
    snap = facts.snapshot(proposal_id)
    proposal, version = snap.proposal, snap.version
    if proposal.state != arcs.APPROVED or check.switched_off(switches.thrown(), agent_id=proposal.agent_id, tool=proposal.tool):
        database.read_again()
        return None
    tool = tools.current().find(proposal.tool)
    number, expected, again = version.version, version.target_revision, proposal.attempts > 0
    if tool is None or again or not intact(snap):  # the claim says what becomes of these; the tool is not asked
        database.read_again()
        return Observed(number, expected)
    arguments = json.loads(version.arguments)
    agent_name, ticket_id = snap.agent.name, snap.ticket.external_id if snap.ticket else None
    database.read_again()
    try:
        seen = look(tool, arguments, agent_name=agent_name, ticket_id=ticket_id)
    except Refused as refusal:  # it knows of no such target any more, or it can no longer be done: an answer and not an outage
        return Observed(number, None, refused=str(refusal))
    return Observed(number, seen.revision, preview=seen.preview if tool.preview else None)


def intact(snap: facts.Snapshot) -> bool:
    """Whether the stored bytes still give the digest that was approved."""
    version = snap.version
    try:
        recomputed = digest.compute(
            proposal_id=snap.proposal.id,
            version=version.version,
            agent_id=snap.proposal.agent_id,
            tool=snap.proposal.tool,
            tool_hash=version.tool_hash,
            target=version.target,
            target_revision=version.target_revision,
            arguments=version.arguments,
            salt=version.salt,
        )
    except (ValueError, RecursionError):  # no longer even JSON
        return False
    return recomputed == version.digest == snap.proposal.digest


@dataclass(frozen=True, slots=True)
class Question:
    """A look-up to be made: the tool and how to introduce ourselves."""

    tool: Tool
    call: Call


def question(proposal_id: str) -> Question | None:
    """The look-up an unknown outcome allows; None when it is known by now or its tool cannot be asked."""
    snap = facts.snapshot(proposal_id)
    tool = tools.current().find(snap.proposal.tool)
    unknown = snap.proposal.state == arcs.OUTCOME_UNKNOWN
    agent_name, ticket_id = snap.agent.name, snap.ticket.external_id if snap.ticket else None
    database.read_again()
    if not unknown or tool is None or tool.lookup is None:
        return None
    return Question(tool, _call_for(tool, agent_name, ticket_id))


def _usable(tool: Tool) -> None:
    """Refused while a foreign tool is suspended because its definition changed."""
    if not tool.source.startswith("mcp:"):
        return
    suspended = mcptools.suspended(tool.name)
    database.read_again()
    if suspended is not None:
        raise Refused(suspended, rule="tool-suspended")


def _judge(
    tool: Tool, arguments: dict[str, Any], *, agent_id: str, ticket_id: str | None, origin: facts.Origin
) -> tuple[str, check.Verdict]:
    """Judge a call, draw on the limits it has, and keep the verdict, a no included; gives the agent's name with it."""
    agent = db.session.get(Agent, agent_id)
    if agent is None:
        raise NotFound("There is no such agent.")
    ticket = db.session.get(Ticket, ticket_id) if ticket_id else None
    policies, now, request = library.in_force(), database.now(), check.Request(tool, arguments)
    known = facts.load(
        agent=agent,
        ticket=ticket,
        tool=tool,
        amount=None,
        now=now,
        policies=policies,
        level=facts.DEFAULT_LEVEL,
        origin=origin,
        recheck=True,
    )
    given = check.policy_input(request, known)
    if tool.effect != "read":
        called = {"rule": "write-needs-proposal", "reason": f"{_called(tool)} changes things, so it is proposed and not called."}
        given = replace(given, stopped=called)
    verdict = check.evaluate(given, arguments, policies)
    if isinstance(verdict, check.Allowed):
        try:
            with db.session.begin_nested():
                reserve.count_read(facts.charges_of(agent, ticket, tool, None, now, policies, customer=None, session=origin.session))
        except reserve.OverBudget as over:
            rule = over.charge.rule
            verdict = check.Refused(rule, over.charge.sentence, next_step=policies.next_step(rule))
    judgements.record("read", given, verdict, agent_id=agent.id, policies=policies, at=now)
    return agent.name, verdict


def _call_for(tool: Tool, agent_name: str, ticket_id: str | None) -> Call:
    return Call(idempotency_key="read", deadline=datetime.now(UTC) + timedelta(seconds=tool.timeout), agent=agent_name, ticket_id=ticket_id)


def _generic(tool: Tool, arguments: dict[str, Any]) -> str:
    """A consequence for a tool that previews nothing, built from its declarations only."""
    parts = [tool.name.replace("_", " ").capitalize()]
    amount = tool.amount(arguments) if tool.amount else None
    if amount is not None:
        parts.append(f"for {amount.minor / 100:.2f} {amount.currency}")
    target = tool.target(arguments) if tool.target else None
    if target:
        parts.append(f"on {target}")
    return " ".join(parts)


def _called(tool: Tool) -> str:
    """The tool's name as people read it."""
    return tool.name.replace("_", " ").capitalize()
