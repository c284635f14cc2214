"""The record: proposals with their versions, decisions, executions, feedback, and the audit log."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, ForeignKey, Index, Integer, String, Text, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column, relationship

from copilot.db import Base, Json, new_id
from copilot.models.people import User
from copilot.models.work import Agent, Run, Ticket

_BIG = BigInteger().with_variant(Integer(), "sqlite")


class Proposal(Base):
    """One action somebody wants done. Its arguments stand in the versions; `digest` is that of the current one."""

    __tablename__ = "proposals"
    __table_args__ = (
        Index("ix_proposals_queue", "deadline_at", "id",
              sqlite_where=text("state = 'PENDING'"), postgresql_where=text("state = 'PENDING'")),
        Index("ix_proposals_moving", "state", "lease_until",
              sqlite_where=text("state IN ('APPROVED','EXECUTING','HELD','OUTCOME_UNKNOWN')"),
              postgresql_where=text("state IN ('APPROVED','EXECUTING','HELD','OUTCOME_UNKNOWN')")),
        Index("ix_proposals_intents", "intent_expires_at",
              sqlite_where=text("intent_key IS NOT NULL"), postgresql_where=text("intent_key IS NOT NULL")),
        Index(None, "agent_id", "tool", "created_at"),
        Index(None, "ticket_id"),
        Index(None, "run_id"),
        Index(None, "state", "created_at", "id"),
        Index(None, "created_at", "id"),
    )  # fmt: skip

    id: Mapped[str] = mapped_column(String(64), primary_key=True, default=lambda: new_id("prop"))
    state: Mapped[str] = mapped_column(String(20))
    agent_id: Mapped[str] = mapped_column(ForeignKey("agents.id"))
    ticket_id: Mapped[str | None] = mapped_column(ForeignKey("tickets.id"))
    run_id: Mapped[str | None] = mapped_column(ForeignKey("runs.id"))
    requester_id: Mapped[str | None] = mapped_column(ForeignKey("users.id"))
    retry_of: Mapped[str | None] = mapped_column(String(64))
    tool: Mapped[str] = mapped_column(String(130))
    risk: Mapped[str] = mapped_column(String(8))
    version: Mapped[int] = mapped_column(default=1)
    digest: Mapped[str] = mapped_column(String(64))
    intent_key: Mapped[str | None] = mapped_column(String(256), unique=True)
    intent_expires_at: Mapped[datetime | None]  # set on success: when the tool's window for the same intent ends
    approvals_required: Mapped[int] = mapped_column(default=1)
    level: Mapped[str] = mapped_column(String(16))  # the autonomy level when it was proposed
    automatic: Mapped[bool] = mapped_column(default=False)
    verdict: Mapped[dict[str, Any]] = mapped_column(Json, default=dict)  # kind, rule, reason, policies of the latest judgement
    rationale: Mapped[str] = mapped_column(Text, default="")  # the model's own words: hostile
    confidence: Mapped[float | None]
    attempts: Mapped[int] = mapped_column(default=0)
    fence: Mapped[int] = mapped_column(default=0)
    lease_until: Mapped[datetime | None]
    dispatched_at: Mapped[datetime | None]
    deadline_at: Mapped[datetime]
    reminded: Mapped[int] = mapped_column(default=0)  # how many of the 50 % and 90 % reminders went out
    escalated: Mapped[int] = mapped_column(default=0)  # how many of the unknown-outcome escalations went out
    outcome: Mapped[dict[str, Any] | None] = mapped_column(Json)  # what the tool or a person said happened
    provider_id: Mapped[str | None] = mapped_column(String(200))
    session: Mapped[str] = mapped_column(
        String(200), default=""
    )  # what a session's budget counts: the run, or an outside agent's work on a ticket
    tainted: Mapped[bool] = mapped_column(default=True)  # its author had read customer-written text
    token_scopes: Mapped[list[str] | None] = mapped_column(Json)  # of the access token it came with; None: no narrower than the agent
    request_key: Mapped[str | None] = mapped_column(String(200), unique=True)  # agent id + Idempotency-Key of the API, or run + tool call
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]
    approved_at: Mapped[datetime | None]
    called_at: Mapped[datetime | None]
    ended_at: Mapped[datetime | None]

    agent: Mapped[Agent] = relationship()
    ticket: Mapped[Ticket | None] = relationship()
    run: Mapped[Run | None] = relationship()
    versions: Mapped[list[ProposalVersion]] = relationship(back_populates="proposal", order_by="ProposalVersion.version")
    decisions: Mapped[list[Decision]] = relationship(
        back_populates="proposal", order_by="Decision.version, Decision.created_at, Decision.id"
    )
    executions: Mapped[list[Execution]] = relationship(back_populates="proposal", order_by="Execution.fence")


class ProposalVersion(Base):
    """The exact content of one version, immutable: what the digest covers, and what was known when it was written."""

    __tablename__ = "proposal_versions"
    __table_args__ = (UniqueConstraint("proposal_id", "version"),)

    id: Mapped[str] = mapped_column(String(64), primary_key=True, default=lambda: new_id("ver"))
    proposal_id: Mapped[str] = mapped_column(ForeignKey("proposals.id"))
    version: Mapped[int]
    arguments: Mapped[str] = mapped_column(Text)  # RFC 8785 canonical JSON
    salt: Mapped[str] = mapped_column(String(64))
    digest: Mapped[str] = mapped_column(String(64))
    tool_hash: Mapped[str] = mapped_column(String(64))
    policy_hash: Mapped[str] = mapped_column(String(64))
    target: Mapped[str | None] = mapped_column(String(256))
    target_revision: Mapped[str | None] = mapped_column(String(200))
    payee: Mapped[str | None] = mapped_column(String(256))
    amount_minor: Mapped[int | None] = mapped_column(BigInteger)
    currency: Mapped[str | None] = mapped_column(String(3))
    customer_ref: Mapped[str | None] = mapped_column(String(128))  # whose target it is, as the tool's preview said
    preview: Mapped[dict[str, Any]] = mapped_column(Json, default=dict)  # consequence, before, after, facts
    editor_id: Mapped[str | None] = mapped_column(ForeignKey("users.id"))  # None: the agent wrote it
    needs_other: Mapped[bool] = mapped_column(default=False)  # the edit raised the amount or moved target or payee
    seen_messages: Mapped[int | None]  # how many of the customer's messages its author had before them
    seen_status: Mapped[str | None] = mapped_column(String(16))  # and how the ticket stood then
    created_at: Mapped[datetime]

    proposal: Mapped[Proposal] = relationship(back_populates="versions")
    editor: Mapped[User | None] = relationship()


class Decision(Base):
    """One verdict on one version, by a person or automatic with its evidence."""

    __tablename__ = "decisions"
    __table_args__ = (UniqueConstraint("proposal_id", "version", "reviewer_id", "verdict"), Index(None, "reviewer_id", "created_at"))

    id: Mapped[str] = mapped_column(String(64), primary_key=True, default=lambda: new_id("dec"))
    proposal_id: Mapped[str] = mapped_column(ForeignKey("proposals.id"))
    version: Mapped[int]
    digest: Mapped[str] = mapped_column(String(64))
    verdict: Mapped[str] = mapped_column(String(16))  # approve, edit, reject, withdraw
    reviewer_id: Mapped[str | None] = mapped_column(ForeignKey("users.id"))
    automatic: Mapped[bool] = mapped_column(default=False)
    evidence: Mapped[dict[str, Any]] = mapped_column(Json, default=dict)
    reason_code: Mapped[str | None] = mapped_column(String(32))
    note: Mapped[str] = mapped_column(Text, default="")
    via: Mapped[str] = mapped_column(String(16), default="page")  # page, api, slack, automatic
    created_at: Mapped[datetime]

    proposal: Mapped[Proposal] = relationship(back_populates="decisions")
    reviewer: Mapped[User | None] = relationship()


class Execution(Base):
    """One attempt at the call, under one fence. `late` evidence never overwrites an outcome."""

    __tablename__ = "executions"
    __table_args__ = (UniqueConstraint("proposal_id", "fence"),)

    id: Mapped[str] = mapped_column(String(64), primary_key=True, default=lambda: new_id("exec"))
    proposal_id: Mapped[str] = mapped_column(ForeignKey("proposals.id"))
    fence: Mapped[int]
    digest: Mapped[str] = mapped_column(String(64))
    state: Mapped[str] = mapped_column(String(16), default="started")  # started, succeeded, failed, unknown
    late: Mapped[dict[str, Any] | None] = mapped_column(Json)
    result: Mapped[dict[str, Any] | None] = mapped_column(Json)
    error: Mapped[str | None] = mapped_column(Text)
    provider_id: Mapped[str | None] = mapped_column(String(200))
    deadline_at: Mapped[datetime]
    started_at: Mapped[datetime]
    ended_at: Mapped[datetime | None]

    proposal: Mapped[Proposal] = relationship(back_populates="executions")


class Feedback(Base):
    """What a person changed or refused and why, structured from the first day for training and failure data."""

    __tablename__ = "feedback"
    __table_args__ = (UniqueConstraint("decision_id"), Index(None, "agent_id", "created_at"))

    id: Mapped[str] = mapped_column(String(64), primary_key=True, default=lambda: new_id("fb"))
    proposal_id: Mapped[str] = mapped_column(ForeignKey("proposals.id"))
    decision_id: Mapped[str] = mapped_column(ForeignKey("decisions.id"))
    kind: Mapped[str] = mapped_column(String(16))  # approve, edit, reject
    agent_id: Mapped[str] = mapped_column(ForeignKey("agents.id"))
    tool: Mapped[str] = mapped_column(String(130))
    reason_code: Mapped[str | None] = mapped_column(String(32))
    note: Mapped[str] = mapped_column(Text, default="")
    drafted: Mapped[dict[str, Any]] = mapped_column(Json)
    final: Mapped[dict[str, Any] | None] = mapped_column(Json)
    changed: Mapped[list[Any]] = mapped_column(Json, default=list)  # names of the arguments an edit changed
    created_at: Mapped[datetime]


class AuditEvent(Base):
    """One leaf of the log: a canonical JSON line, ordered by the sequencer after it was committed."""

    __tablename__ = "audit_events"
    __table_args__ = (
        Index("ix_audit_events_waiting", "id", sqlite_where=text("leaf IS NULL"), postgresql_where=text("leaf IS NULL")),
        Index(None, "subject"),
        Index(None, "kind", "id"),
    )

    id: Mapped[int] = mapped_column(_BIG, primary_key=True, autoincrement=True)
    leaf: Mapped[int | None] = mapped_column(BigInteger, unique=True)
    kind: Mapped[str] = mapped_column(String(64))
    subject: Mapped[str] = mapped_column(String(130))  # the id the event is about
    line: Mapped[str] = mapped_column(Text)
    leaf_hash: Mapped[str] = mapped_column(String(64))
    created_at: Mapped[datetime]
