"""What a run is told when it is claimed: the prompt at first, later what happened since it last worked."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select

from copilot.agents import memory, outcomes, prompts
from copilot.agents.drafts import ChatMessage, Entry, storable
from copilot.audit import redaction
from copilot.audit.redaction import Known
from copilot.db import db
from copilot.gate import facts, identity, tools
from copilot.models import Agent, Message, Proposal, Run, Step, Ticket
from copilot.toolkit import Tool


@dataclass(frozen=True, slots=True)
class Brief:
    """The whole conversation, redacted, and which part of it is new; what may be used; what must be hidden."""

    messages: tuple[ChatMessage, ...]
    entries: tuple[Entry, ...]
    tools: tuple[Tool, ...]
    known: tuple[Known, ...]
    marks: Mapping[str, str]
    prompt_version: str
    heard: int


def prepare(run: Run) -> Brief:
    """Read what the run needs for its next draft; writes nothing."""
    ticket, agent = run.ticket, run.agent
    known = (*redaction.names(ticket.customer.name), *_email(ticket.customer.email), *redaction.known_in(ticket.details))
    cover = _Cover(known, run.placeholders)
    steps = db.session.execute(select(Step.kind, Step.message, Step.details).where(Step.run_id == run.id).order_by(Step.number)).all()
    told = [step.message for step in steps if step.message is not None]
    unheard = _unheard(run.id, ticket.id)
    entries = _since(run, told, unheard, cover) if told else _first(run, ticket, agent, unheard, cover)
    new = [entry.message for entry in entries if entry.message is not None]
    told_now = {message_id for entry in entries for message_id in entry.details.get("messages", ())}
    heard_now = len(_customers(ticket.id) & (heard(run.id) | told_now))
    return Brief((*told, *new), tuple(entries), offered(agent, ticket), known, cover.marks, prompts.version(), heard_now)


def offered(agent: Agent, ticket: Ticket) -> tuple[Tool, ...]:
    """The tools this agent may use on this ticket: within its scopes, and not switched off for it."""
    here = {"region": ticket.region or None, "ticket": ticket.external_id, "customer": ticket.customer.external_id}
    return tuple(
        tool
        for tool in tools.current().all()
        if identity.allows(agent.scopes, tool.name, tool.effect, **here)
        and (tool.effect == "read" or facts.level(agent.id, tool.name) != "off")
    )


def told(call_id: str, *, outcome: str, message: str, known: Sequence[Known], marks: Mapping[str, str]) -> tuple[Entry, dict[str, str]]:
    """The tool's answer for a call that became no proposal, and the marks with those it added."""
    cover = _Cover(known, marks)
    content = {"proposal": None, "outcome": outcome, "arguments": None, "result": None, "reason": None, "message": message}
    return Entry("outcome", prompts.answer(call_id, cover(content)), {"outcome": outcome}), cover.marks


def heard(run_id: str) -> frozenset[str]:
    """The ids of the ticket's messages this run has been told."""
    rows = db.session.execute(select(Step.details).where(Step.run_id == run_id, Step.kind == "prompt")).scalars()
    return frozenset(message_id for details in rows for message_id in details.get("messages", ()))


def _customers(ticket_id: str) -> frozenset[str]:
    return frozenset(db.session.scalars(select(Message.id).where(Message.ticket_id == ticket_id, Message.author == "customer")))


class _Cover:
    """Redacts one text after the other with the same marks."""

    def __init__(self, known: Sequence[Known], marks: Mapping[str, str]) -> None:
        self.known, self.marks = known, dict(marks)

    def __call__(self, value: Any) -> Any:
        covered = redaction.redact_value(storable(value), known=self.known, marks=self.marks)
        self.marks = dict(covered.marks)
        return covered.text


def _email(address: str) -> tuple[Known, ...]:
    return (Known("email", address),) if address else ()


def _unheard(run_id: str, ticket_id: str) -> list[Message]:
    known = heard(run_id)
    query = select(Message).where(Message.ticket_id == ticket_id).order_by(Message.at, Message.created_at, Message.id)
    return [message for message in db.session.execute(query).scalars() if message.id not in known]


def _first(run: Run, ticket: Ticket, agent: Agent, messages: Sequence[Message], cover: _Cover) -> list[Entry]:
    earlier = [cover(sentence) for sentence in memory.recall(customer_id=ticket.customer_id, agent_id=agent.id)]
    text = prompts.TicketText(
        external_id=cover(ticket.external_id),
        subject=cover(ticket.subject),
        channel=ticket.channel,
        region=ticket.region,
        customer_id=cover(ticket.customer.external_id),
        customer_name=cover(ticket.customer.name),
        customer_email=cover(ticket.customer.email),
        metadata=json.dumps(cover(ticket.details), ensure_ascii=False) if ticket.details else "",
        messages=_said(messages, cover),
    )
    about: dict[str, Any] = {"prompt_version": prompts.version(), "messages": [message.id for message in messages]}
    return [
        Entry("prompt", prompts.system(cover(agent.instructions)), {"prompt_version": prompts.version()}),
        Entry("prompt", prompts.ticket(text, fence=_fence(run.id), earlier=earlier), about),
    ]


def _since(run: Run, messages: Sequence[ChatMessage], unheard: Sequence[Message], cover: _Cover) -> list[Entry]:
    """The outcome the run was parked on, then what was said meanwhile.

    A claim that died between a call and its answer goes on there; what was said waits, for nothing may stand between.
    """
    answered = {message["tool_call_id"] for message in messages if message["role"] == "tool"}
    calls = [call["id"] for message in messages for call in message.get("tool_calls", ()) if call["id"] not in answered]
    proposal = db.session.get(Proposal, run.parked_on, populate_existing=True) if run.parked_on else None
    entries = []
    if calls:
        if proposal is None:
            return []
        content = cover(outcomes.of(proposal))
        entries.append(Entry("outcome", prompts.answer(calls[-1], content), {"outcome": content["outcome"]}, proposal.id))
    if unheard:
        text = prompts.news(_said(unheard, cover), fence=_fence(run.id))
        entries.append(Entry("prompt", text, {"messages": [message.id for message in unheard]}))
    return entries


def _said(messages: Sequence[Message], cover: _Cover) -> tuple[prompts.Said, ...]:
    return tuple(prompts.Said(message.author, cover(message.body), message.at) for message in messages)


def _fence(run_id: str) -> str:
    """A word that nobody outside can guess, in letters only, so that it is never taken for a number."""
    return hashlib.sha256(run_id.encode()).hexdigest()[:12].translate(str.maketrans("0123456789", "ghijklmnop"))
