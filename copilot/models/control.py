"""Control: autonomy grants, budgets, switches and rules, and the small rows processes coordinate by."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Index, String, Text, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from copilot.db import Base, Json, new_id

LEVELS = ("off", "shadow", "suggest", "canary", "auto")


class Grant(Base):
    """How much one agent may do alone with one tool. No row means `suggest`."""

    __tablename__ = "grants"

    agent_id: Mapped[str] = mapped_column(ForeignKey("agents.id"), primary_key=True)
    tool: Mapped[str] = mapped_column(String(130), primary_key=True)
    level: Mapped[str] = mapped_column(String(16))
    percent: Mapped[int] = mapped_column(default=100)
    changed_at: Mapped[datetime]
    evidence_from: Mapped[datetime | None]  # evidence older than this does not count (set by a fall-back)


class GrantChange(Base):
    """One change of a grant, for the board's history."""

    __tablename__ = "grant_changes"
    __table_args__ = (Index(None, "agent_id", "tool", "created_at"),)

    id: Mapped[str] = mapped_column(String(64), primary_key=True, default=lambda: new_id("gc"))
    agent_id: Mapped[str] = mapped_column(ForeignKey("agents.id"))
    tool: Mapped[str] = mapped_column(String(130))
    before: Mapped[str] = mapped_column(String(16))
    after: Mapped[str] = mapped_column(String(16))
    changed_by: Mapped[str | None] = mapped_column(ForeignKey("users.id"))  # None: the system, falling back
    reason: Mapped[str] = mapped_column(Text, default="")
    evidence: Mapped[dict[str, Any]] = mapped_column(Json, default=dict)
    created_at: Mapped[datetime]


class Budget(Base):
    """One window of one limit: `spent + reserved <= limit`, held by the database itself."""

    __tablename__ = "budgets"
    __table_args__ = (
        CheckConstraint("spent >= 0 AND reserved >= 0", name="not_negative"),
        CheckConstraint("spent + reserved <= ceiling", name="within_ceiling"),
        Index(None, "rule", "ends_at"),
    )

    key: Mapped[str] = mapped_column(String(256), primary_key=True)
    rule: Mapped[str] = mapped_column(String(64))
    ceiling: Mapped[int] = mapped_column(BigInteger)
    spent: Mapped[int] = mapped_column(BigInteger, default=0)
    reserved: Mapped[int] = mapped_column(BigInteger, default=0)
    ends_at: Mapped[datetime]


class Reservation(Base):
    """What one proposal holds of one budget window: reserved, then spent or released, once."""

    __tablename__ = "reservations"
    __table_args__ = (UniqueConstraint("proposal_id", "budget_key"),)

    id: Mapped[str] = mapped_column(String(64), primary_key=True, default=lambda: new_id("res"))
    proposal_id: Mapped[str] = mapped_column(ForeignKey("proposals.id"))
    budget_key: Mapped[str] = mapped_column(ForeignKey("budgets.key"))
    amount: Mapped[int] = mapped_column(BigInteger)
    state: Mapped[str] = mapped_column(String(16), default="reserved")


class Switch(Base):
    """A kill switch that is on: `scope` is `all`, `agent:<id>` or `tool:<name>`. No row: off."""

    __tablename__ = "switches"

    scope: Mapped[str] = mapped_column(String(200), primary_key=True)
    thrown_by: Mapped[str | None] = mapped_column(ForeignKey("users.id"))  # None: the command line
    reason: Mapped[str] = mapped_column(Text)
    thrown_at: Mapped[datetime]


class Rule(Base):
    """A second-person rule that an admin made differ from its default. No row: the default holds."""

    __tablename__ = "rules"

    name: Mapped[str] = mapped_column(String(64), primary_key=True)
    changed_by: Mapped[str] = mapped_column(ForeignKey("users.id"))
    reason: Mapped[str] = mapped_column(Text)
    changed_at: Mapped[datetime]


class Heartbeat(Base):
    """The last sign of life of one process."""

    __tablename__ = "heartbeats"

    name: Mapped[str] = mapped_column(String(100), primary_key=True)
    kind: Mapped[str] = mapped_column(String(32))
    at: Mapped[datetime]


class Holder(Base):
    """Who may do a one-holder-at-a-time job (sweeping, sequencing) until when."""

    __tablename__ = "holders"

    job: Mapped[str] = mapped_column(String(32), primary_key=True)
    holder: Mapped[str] = mapped_column(String(100))
    until: Mapped[datetime]


class Notification(Base):
    """One message to somebody outside, written with the change it tells of and sent afterwards."""

    __tablename__ = "notifications"
    __table_args__ = (
        UniqueConstraint("dedupe"),
        Index("ix_notifications_waiting", "next_at",
              sqlite_where=text("state = 'waiting'"), postgresql_where=text("state = 'waiting'")),
    )  # fmt: skip

    id: Mapped[str] = mapped_column(String(64), primary_key=True, default=lambda: new_id("note"))
    kind: Mapped[str] = mapped_column(String(32))
    subject: Mapped[str] = mapped_column(String(130))
    dedupe: Mapped[str] = mapped_column(String(200))
    channel: Mapped[str] = mapped_column(String(16), default="slack")
    payload: Mapped[dict[str, Any]] = mapped_column(Json)
    state: Mapped[str] = mapped_column(String(16), default="waiting")  # waiting, sent, dead, unsent (no channel is set up)
    attempts: Mapped[int] = mapped_column(default=0)
    next_at: Mapped[datetime]
    last_error: Mapped[str | None] = mapped_column(Text)
    created_at: Mapped[datetime]
    sent_at: Mapped[datetime | None]
