"""The work: agents, customers, tickets with their messages, and runs with their steps."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, Index, String, Text, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column, relationship

from copilot.db import Base, Json, new_id
from copilot.models.people import User

TICKET_STATUSES = ("open", "pending", "solved", "closed")
CHANNELS = ("email", "chat", "phone", "web", "api")

RUN_OPEN = frozenset({"QUEUED", "DRAFTING", "PARKED"})
RUN_ENDED = frozenset({"DONE", "FAILED", "NEEDS_HUMAN"})


class Agent(Base):
    """A service principal: it acts as itself, within its scopes (`tool:effect`), and answers to its owner."""

    __tablename__ = "agents"

    id: Mapped[str] = mapped_column(String(64), primary_key=True, default=lambda: new_id("agent"))
    name: Mapped[str] = mapped_column(String(64), unique=True)
    owner_id: Mapped[str] = mapped_column(ForeignKey("users.id"))
    scopes: Mapped[list[str]]
    secret_hash: Mapped[str] = mapped_column(String(64))  # SHA-256 of a 256-bit random secret
    previous_hash: Mapped[str | None] = mapped_column(String(64))  # the secret before, which still works until `previous_until`
    previous_until: Mapped[datetime | None]
    team: Mapped[str | None] = mapped_column(String(64))  # whose budgets it draws on, and a fact for policies
    enabled: Mapped[bool] = mapped_column(default=True)
    drafts: Mapped[bool] = mapped_column(default=False)  # whether new tickets are given to it
    instructions: Mapped[str] = mapped_column(Text, default="")
    created_at: Mapped[datetime]
    rotated_at: Mapped[datetime | None]
    disabled_at: Mapped[datetime | None]

    owner: Mapped[User] = relationship()


class Customer(Base):
    """A customer as the ticket source names them."""

    __tablename__ = "customers"

    id: Mapped[str] = mapped_column(String(64), primary_key=True, default=lambda: new_id("cust"))
    external_id: Mapped[str] = mapped_column(String(128), unique=True)
    name: Mapped[str] = mapped_column(String(200), default="")
    email: Mapped[str] = mapped_column(String(254), default="")
    created_at: Mapped[datetime]


class Ticket(Base):
    """A customer's request; its text stands in the messages, the first of which is the body."""

    __tablename__ = "tickets"
    __table_args__ = (Index(None, "created_at", "id"), Index(None, "customer_id"), Index(None, "source", "created_at"))

    id: Mapped[str] = mapped_column(String(64), primary_key=True, default=lambda: new_id("tick"))
    external_id: Mapped[str] = mapped_column(String(128), unique=True)
    subject: Mapped[str] = mapped_column(String(500))
    customer_id: Mapped[str] = mapped_column(ForeignKey("customers.id"))
    region: Mapped[str] = mapped_column(String(16), default="")
    channel: Mapped[str] = mapped_column(String(16), default="api")
    status: Mapped[str] = mapped_column(String(16), default="open")
    details: Mapped[dict[str, Any]] = mapped_column(Json, default=dict)  # the source's metadata
    source: Mapped[str] = mapped_column(String(64))  # who brought it: an agent's, a person's or an import's name
    requester_id: Mapped[str | None] = mapped_column(ForeignKey("users.id"))  # the person who typed it in, who then may not approve
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]

    customer: Mapped[Customer] = relationship(lazy="joined")
    messages: Mapped[list[Message]] = relationship(back_populates="ticket", order_by="Message.at, Message.id")


class Message(Base):
    """One message of a ticket. `author` is customer, staff or agent."""

    __tablename__ = "messages"
    __table_args__ = (UniqueConstraint("ticket_id", "external_id"),)

    id: Mapped[str] = mapped_column(String(64), primary_key=True, default=lambda: new_id("msg"))
    ticket_id: Mapped[str] = mapped_column(ForeignKey("tickets.id"))
    external_id: Mapped[str] = mapped_column(String(128))
    author: Mapped[str] = mapped_column(String(16))
    body: Mapped[str] = mapped_column(Text)
    requester_id: Mapped[str | None] = mapped_column(ForeignKey("users.id"))  # the person who typed it in, who then may not approve
    at: Mapped[datetime]
    created_at: Mapped[datetime]

    ticket: Mapped[Ticket] = relationship(back_populates="messages")


class Run(Base):
    """One agent at work on one ticket; parked without a worker while it waits for a decision."""

    __tablename__ = "runs"
    __table_args__ = (
        Index(None, "ticket_id"),
        Index(None, "state", "lease_until"),
        Index(None, "parked_on"),
        Index("uq_runs_open", "ticket_id", "agent_id", unique=True,
              sqlite_where=text("state IN ('QUEUED','DRAFTING','PARKED')"),
              postgresql_where=text("state IN ('QUEUED','DRAFTING','PARKED')")),
    )  # fmt: skip

    id: Mapped[str] = mapped_column(String(64), primary_key=True, default=lambda: new_id("run"))
    ticket_id: Mapped[str] = mapped_column(ForeignKey("tickets.id"))
    agent_id: Mapped[str] = mapped_column(ForeignKey("agents.id"))
    state: Mapped[str] = mapped_column(String(16), default="QUEUED")
    attempts: Mapped[int] = mapped_column(default=0)
    fence: Mapped[int] = mapped_column(default=0)
    lease_until: Mapped[datetime | None]
    dispatched_at: Mapped[datetime | None]
    parked_on: Mapped[str | None] = mapped_column(String(64))  # the proposal's id
    refusals: Mapped[int] = mapped_column(default=0)
    code: Mapped[str | None] = mapped_column(String(64))  # why it ended, for machines
    reason: Mapped[str | None] = mapped_column(Text)  # why it ended, for people
    model: Mapped[str | None] = mapped_column(String(100))
    prompt_version: Mapped[str | None] = mapped_column(String(64))
    placeholders: Mapped[dict[str, Any]] = mapped_column(
        Json, default=dict
    )  # redaction mark -> value, so a draft can name what the model never saw
    input_tokens: Mapped[int] = mapped_column(default=0)
    output_tokens: Mapped[int] = mapped_column(default=0)
    requester_id: Mapped[str | None] = mapped_column(ForeignKey("users.id"))
    created_at: Mapped[datetime]
    started_at: Mapped[datetime | None]
    parked_at: Mapped[datetime | None]
    ended_at: Mapped[datetime | None]

    ticket: Mapped[Ticket] = relationship()
    agent: Mapped[Agent] = relationship()
    steps: Mapped[list[Step]] = relationship(back_populates="run", order_by="Step.number")


class Step(Base):
    """One step of a run, as it was sent and received (redacted); together they are the transcript."""

    __tablename__ = "steps"
    __table_args__ = (UniqueConstraint("run_id", "number"),)

    id: Mapped[str] = mapped_column(String(64), primary_key=True, default=lambda: new_id("step"))
    run_id: Mapped[str] = mapped_column(ForeignKey("runs.id"))
    number: Mapped[int]
    kind: Mapped[str] = mapped_column(String(16))  # prompt, model, read, proposal, outcome, note
    message: Mapped[dict[str, Any] | None] = mapped_column(Json)  # the chat message, when it is part of the conversation
    details: Mapped[dict[str, Any]] = mapped_column(Json, default=dict)
    proposal_id: Mapped[str | None] = mapped_column(String(64))
    milliseconds: Mapped[int] = mapped_column(default=0)
    input_tokens: Mapped[int] = mapped_column(default=0)
    output_tokens: Mapped[int] = mapped_column(default=0)
    created_at: Mapped[datetime]

    run: Mapped[Run] = relationship(back_populates="steps")
