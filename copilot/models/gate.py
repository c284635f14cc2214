"""The gate: every verdict with what it was asked, policy versions, wishes that need a second person, and tools' state."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, ForeignKey, Index, String, Text, text
from sqlalchemy.orm import Mapped, mapped_column

from copilot.db import Base, Json, new_id


class Verdict(Base):
    """One judgement of the gate: what it was asked (without arguments, which stand in the proposal's version) and what it said."""

    __tablename__ = "verdicts"
    __table_args__ = (Index(None, "at", "id"), Index(None, "agent_id", "tool", "at"), Index(None, "proposal_id"))

    id: Mapped[str] = mapped_column(String(64), primary_key=True, default=lambda: new_id("verd"))
    at: Mapped[datetime]
    stage: Mapped[str] = mapped_column(String(16))  # read, propose, edit, refresh, claim
    agent_id: Mapped[str] = mapped_column(ForeignKey("agents.id"))
    tool: Mapped[str] = mapped_column(String(130))
    proposal_id: Mapped[str | None] = mapped_column(ForeignKey("proposals.id"))
    version: Mapped[int | None]
    kind: Mapped[str] = mapped_column(String(16))  # allowed, needs_approval, refused
    rule: Mapped[str] = mapped_column(String(130), default="")
    reason: Mapped[str] = mapped_column(Text, default="")
    count: Mapped[int] = mapped_column(default=0)  # how many people it asked for
    policies: Mapped[list[str]] = mapped_column(Json, default=list)
    input: Mapped[dict[str, Any]] = mapped_column(Json)
    policy_hash: Mapped[str] = mapped_column(String(64))
    amount_minor: Mapped[int | None] = mapped_column(BigInteger)
    currency: Mapped[str | None] = mapped_column(String(3))


class PolicyVersion(Base):
    """One version of the policy folder, immutable once published. In force: the published one with the highest number."""

    __tablename__ = "policy_versions"
    __table_args__ = (
        Index("ix_policy_versions_published", "number",
              sqlite_where=text("state = 'published'"), postgresql_where=text("state = 'published'")),
    )  # fmt: skip

    id: Mapped[str] = mapped_column(String(64), primary_key=True, default=lambda: new_id("polv"))
    number: Mapped[int] = mapped_column(unique=True)
    hash: Mapped[str] = mapped_column(String(64))
    source: Mapped[str] = mapped_column(String(16))  # files, page
    files: Mapped[dict[str, Any]] = mapped_column(Json)  # file name -> text
    author_id: Mapped[str | None] = mapped_column(ForeignKey("users.id"))  # None: it came with the folder
    comment: Mapped[str] = mapped_column(Text, default="")
    state: Mapped[str] = mapped_column(String(16), default="draft")  # draft, published, discarded
    replay_state: Mapped[str] = mapped_column(String(16), default="")  # asked, running, done, failed
    replay: Mapped[dict[str, Any] | None] = mapped_column(Json)
    replayed_at: Mapped[datetime | None]
    created_at: Mapped[datetime]
    published_at: Mapped[datetime | None]
    published_by: Mapped[str | None] = mapped_column(ForeignKey("users.id"))


class Change(Base):
    """A change somebody wants that needs a second person before it happens."""

    __tablename__ = "changes"
    __table_args__ = (Index(None, "state", "asked_at", "id"), Index(None, "kind", "subject"))

    id: Mapped[str] = mapped_column(String(64), primary_key=True, default=lambda: new_id("chg"))
    kind: Mapped[str] = mapped_column(String(16))  # scopes, level
    subject: Mapped[str] = mapped_column(String(200))
    payload: Mapped[dict[str, Any]] = mapped_column(Json)
    reason: Mapped[str] = mapped_column(Text)
    asked_by: Mapped[str] = mapped_column(ForeignKey("users.id"))
    asked_at: Mapped[datetime]
    state: Mapped[str] = mapped_column(String(16), default="waiting")  # waiting, applied, refused, withdrawn
    decided_by: Mapped[str | None] = mapped_column(ForeignKey("users.id"))
    decided_at: Mapped[datetime | None]
    note: Mapped[str] = mapped_column(Text, default="")


class Note(Base):
    """Why somebody did what one event of the log is about, in their words; the database refuses to change one."""

    __tablename__ = "notes"
    __table_args__ = (Index(None, "subject", "at"),)

    id: Mapped[str] = mapped_column(String(64), primary_key=True, default=lambda: new_id("why"))
    at: Mapped[datetime]  # the event's own moment
    event: Mapped[str] = mapped_column(String(64))  # its kind
    subject: Mapped[str] = mapped_column(String(130))
    by: Mapped[str | None] = mapped_column(ForeignKey("users.id"))  # None: the command line
    text: Mapped[str] = mapped_column(Text)


class Rate(Base):
    """One sliding rate limit's theoretical arrival time (GCRA), in microseconds since the epoch."""

    __tablename__ = "rates"

    key: Mapped[str] = mapped_column(String(256), primary_key=True)
    rule: Mapped[str] = mapped_column(String(64))
    tat: Mapped[int] = mapped_column(BigInteger)


class Breaker(Base):
    """A tool's circuit breaker, shared by all processes. No row: closed and healthy."""

    __tablename__ = "breakers"

    tool: Mapped[str] = mapped_column(String(130), primary_key=True)
    failures: Mapped[int] = mapped_column(default=0)  # technical failures in a row
    opened: Mapped[int] = mapped_column(default=0)  # how often it opened since it was last healthy
    opened_at: Mapped[datetime | None]
    until: Mapped[datetime | None]  # no call before this moment; afterwards one trial
    last_error: Mapped[str] = mapped_column(String(200), default="")


class ToolPin(Base):
    """The definition of a foreign tool that a person accepted, and a different one that was seen since."""

    __tablename__ = "tool_pins"

    tool: Mapped[str] = mapped_column(String(130), primary_key=True)
    source: Mapped[str] = mapped_column(String(130))
    definition: Mapped[dict[str, Any]] = mapped_column(Json)
    hash: Mapped[str] = mapped_column(String(64))
    accepted_by: Mapped[str | None] = mapped_column(ForeignKey("users.id"))  # None: the first one seen, as configured
    accepted_at: Mapped[datetime]
    seen: Mapped[dict[str, Any] | None] = mapped_column(Json)  # differs from `definition`: the tool is suspended
    seen_hash: Mapped[str | None] = mapped_column(String(64))
    seen_at: Mapped[datetime | None]


class OutboundCall(Base):
    """One request Copilot made to the outside: where to and how it went, never what was said."""

    __tablename__ = "outbound_calls"
    __table_args__ = (Index(None, "purpose", "at"), Index(None, "at"))

    id: Mapped[str] = mapped_column(String(64), primary_key=True, default=lambda: new_id("out"))
    at: Mapped[datetime]
    purpose: Mapped[str] = mapped_column(String(130))  # a tool's name, slack, oauth, model, mcp:<name>
    method: Mapped[str] = mapped_column(String(8))
    host: Mapped[str] = mapped_column(String(260))  # name:port
    status: Mapped[int | None]
    refused: Mapped[str | None] = mapped_column(String(64))  # why it was not made, as a code
    bytes: Mapped[int] = mapped_column(default=0)
    milliseconds: Mapped[int] = mapped_column(default=0)
