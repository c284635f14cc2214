"""Every table.

Revision ID: 0001
Revises:
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

from copilot.audit import log

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

TIME = sa.DateTime().with_variant(sa.DateTime(timezone=True), "postgresql")
JSON = sa.JSON().with_variant(JSONB(), "postgresql")
ROW_NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")  # SQLite numbers rows by itself only in an INTEGER primary key

# in the order they are made, so that each finds those it points to
TABLES = (
    "users", "api_tokens", "user_sessions", "customers", "agents", "tickets", "messages", "runs",
    "steps", "audit_events", "proposals", "decisions", "executions", "proposal_versions",
    "feedback", "budgets", "heartbeats", "holders", "notifications", "rules", "switches",
    "grant_changes", "grants", "reservations",
)


def _where(condition: str) -> dict[str, Any]:
    """A partial index on both databases."""
    return {"sqlite_where": sa.text(condition), "postgresql_where": sa.text(condition)}


def _people() -> None:
    """People and how they prove who they are."""
    op.create_table(
        "users",
        sa.Column("id", sa.String(64), nullable=False),
        sa.Column("email", sa.String(254), nullable=False),
        sa.Column("name", sa.String(200), nullable=False),
        sa.Column("role", sa.String(20), nullable=False),
        sa.Column("team", sa.String(64), nullable=True),
        sa.Column("password_hash", sa.String(256), nullable=True),
        sa.Column("link_hash", sa.String(64), nullable=True),
        sa.Column("link_expires_at", TIME, nullable=True),
        sa.Column("active", sa.Boolean(), nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_users"),
        sa.UniqueConstraint("email", name="uq_users_email"),
        sa.UniqueConstraint("link_hash", name="uq_users_link_hash"),
    )
    op.create_table(
        "api_tokens",
        sa.Column("id", sa.String(64), nullable=False),
        sa.Column("user_id", sa.String(64), nullable=False),
        sa.Column("label", sa.String(100), nullable=False),
        sa.Column("secret_hash", sa.String(64), nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("expires_at", TIME, nullable=False),
        sa.Column("revoked_at", TIME, nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_api_tokens"),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name="fk_api_tokens_user_id_users"),
        sa.UniqueConstraint("secret_hash", name="uq_api_tokens_secret_hash"),
    )
    op.create_index("ix_api_tokens_user_id", "api_tokens", ["user_id"])
    op.create_table(
        "user_sessions",
        sa.Column("id", sa.String(64), nullable=False),
        sa.Column("user_id", sa.String(64), nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("seen_at", TIME, nullable=False),
        sa.Column("expires_at", TIME, nullable=False),
        sa.Column("ended_at", TIME, nullable=True),
        sa.Column("user_agent", sa.String(200), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_user_sessions"),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name="fk_user_sessions_user_id_users"),
    )
    op.create_index("ix_user_sessions_user_id", "user_sessions", ["user_id"])


def _work() -> None:
    """Agents, customers, tickets, runs."""
    op.create_table(
        "customers",
        sa.Column("id", sa.String(64), nullable=False),
        sa.Column("external_id", sa.String(128), nullable=False),
        sa.Column("name", sa.String(200), nullable=False),
        sa.Column("email", sa.String(254), nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_customers"),
        sa.UniqueConstraint("external_id", name="uq_customers_external_id"),
    )
    op.create_table(
        "agents",
        sa.Column("id", sa.String(64), nullable=False),
        sa.Column("name", sa.String(64), nullable=False),
        sa.Column("owner_id", sa.String(64), nullable=False),
        sa.Column("scopes", JSON, nullable=False),
        sa.Column("secret_hash", sa.String(64), nullable=False),
        sa.Column("enabled", sa.Boolean(), nullable=False),
        sa.Column("drafts", sa.Boolean(), nullable=False),
        sa.Column("instructions", sa.Text(), nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("rotated_at", TIME, nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_agents"),
        sa.ForeignKeyConstraint(["owner_id"], ["users.id"], name="fk_agents_owner_id_users"),
        sa.UniqueConstraint("name", name="uq_agents_name"),
    )
    op.create_table(
        "tickets",
        sa.Column("id", sa.String(64), nullable=False),
        sa.Column("external_id", sa.String(128), nullable=False),
        sa.Column("subject", sa.String(500), nullable=False),
        sa.Column("customer_id", sa.String(64), nullable=False),
        sa.Column("region", sa.String(16), nullable=False),
        sa.Column("channel", sa.String(16), nullable=False),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("details", JSON, nullable=False),
        sa.Column("source", sa.String(64), nullable=False),
        sa.Column("requester_id", sa.String(64), nullable=True),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("updated_at", TIME, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_tickets"),
        sa.ForeignKeyConstraint(["customer_id"], ["customers.id"], name="fk_tickets_customer_id_customers"),
        sa.ForeignKeyConstraint(["requester_id"], ["users.id"], name="fk_tickets_requester_id_users"),
        sa.UniqueConstraint("external_id", name="uq_tickets_external_id"),
    )
    op.create_index("ix_tickets_created_at_id", "tickets", ["created_at", "id"])
    op.create_index("ix_tickets_customer_id", "tickets", ["customer_id"])
    op.create_table(
        "messages",
        sa.Column("id", sa.String(64), nullable=False),
        sa.Column("ticket_id", sa.String(64), nullable=False),
        sa.Column("external_id", sa.String(128), nullable=False),
        sa.Column("author", sa.String(16), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("requester_id", sa.String(64), nullable=True),
        sa.Column("at", TIME, nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_messages"),
        sa.ForeignKeyConstraint(["requester_id"], ["users.id"], name="fk_messages_requester_id_users"),
        sa.ForeignKeyConstraint(["ticket_id"], ["tickets.id"], name="fk_messages_ticket_id_tickets"),
        sa.UniqueConstraint("ticket_id", "external_id", name="uq_messages_ticket_id_external_id"),
    )
    op.create_table(
        "runs",
        sa.Column("id", sa.String(64), nullable=False),
        sa.Column("ticket_id", sa.String(64), nullable=False),
        sa.Column("agent_id", sa.String(64), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("fence", sa.Integer(), nullable=False),
        sa.Column("lease_until", TIME, nullable=True),
        sa.Column("dispatched_at", TIME, nullable=True),
        sa.Column("parked_on", sa.String(64), nullable=True),
        sa.Column("refusals", sa.Integer(), nullable=False),
        sa.Column("code", sa.String(64), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("model", sa.String(100), nullable=True),
        sa.Column("prompt_version", sa.String(64), nullable=True),
        sa.Column("placeholders", JSON, nullable=False),
        sa.Column("input_tokens", sa.Integer(), nullable=False),
        sa.Column("output_tokens", sa.Integer(), nullable=False),
        sa.Column("requester_id", sa.String(64), nullable=True),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("started_at", TIME, nullable=True),
        sa.Column("parked_at", TIME, nullable=True),
        sa.Column("ended_at", TIME, nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_runs"),
        sa.ForeignKeyConstraint(["agent_id"], ["agents.id"], name="fk_runs_agent_id_agents"),
        sa.ForeignKeyConstraint(["requester_id"], ["users.id"], name="fk_runs_requester_id_users"),
        sa.ForeignKeyConstraint(["ticket_id"], ["tickets.id"], name="fk_runs_ticket_id_tickets"),
    )
    op.create_index("ix_runs_ticket_id", "runs", ["ticket_id"])
    op.create_index("ix_runs_state_lease_until", "runs", ["state", "lease_until"])
    op.create_index("ix_runs_parked_on", "runs", ["parked_on"])
    op.create_index("uq_runs_open", "runs", ["ticket_id", "agent_id"], unique=True, **_where("state IN ('QUEUED','DRAFTING','PARKED')"))
    op.create_table(
        "steps",
        sa.Column("id", sa.String(64), nullable=False),
        sa.Column("run_id", sa.String(64), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("message", JSON, nullable=True),
        sa.Column("details", JSON, nullable=False),
        sa.Column("proposal_id", sa.String(64), nullable=True),
        sa.Column("milliseconds", sa.Integer(), nullable=False),
        sa.Column("input_tokens", sa.Integer(), nullable=False),
        sa.Column("output_tokens", sa.Integer(), nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_steps"),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name="fk_steps_run_id_runs"),
        sa.UniqueConstraint("run_id", "number", name="uq_steps_run_id_number"),
    )


def _record() -> None:
    """Proposals with their decisions and executions, and the audit log."""
    op.create_table(
        "audit_events",
        sa.Column("id", ROW_NUMBER, nullable=False),
        sa.Column("leaf", sa.BigInteger(), nullable=True),
        sa.Column("kind", sa.String(64), nullable=False),
        sa.Column("subject", sa.String(130), nullable=False),
        sa.Column("line", sa.Text(), nullable=False),
        sa.Column("leaf_hash", sa.String(64), nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_audit_events"),
        sa.UniqueConstraint("leaf", name="uq_audit_events_leaf"),
    )
    op.create_index("ix_audit_events_kind_id", "audit_events", ["kind", "id"])
    op.create_index("ix_audit_events_subject", "audit_events", ["subject"])
    op.create_index("ix_audit_events_waiting", "audit_events", ["id"], **_where("leaf IS NULL"))
    op.create_table(
        "proposals",
        sa.Column("id", sa.String(64), nullable=False),
        sa.Column("state", sa.String(20), nullable=False),
        sa.Column("agent_id", sa.String(64), nullable=False),
        sa.Column("ticket_id", sa.String(64), nullable=True),
        sa.Column("run_id", sa.String(64), nullable=True),
        sa.Column("requester_id", sa.String(64), nullable=True),
        sa.Column("retry_of", sa.String(64), nullable=True),
        sa.Column("tool", sa.String(130), nullable=False),
        sa.Column("risk", sa.String(8), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("intent_key", sa.String(256), nullable=True),
        sa.Column("intent_expires_at", TIME, nullable=True),
        sa.Column("approvals_required", sa.Integer(), nullable=False),
        sa.Column("level", sa.String(16), nullable=False),
        sa.Column("automatic", sa.Boolean(), nullable=False),
        sa.Column("verdict", JSON, nullable=False),
        sa.Column("rationale", sa.Text(), nullable=False),
        sa.Column("confidence", sa.Double(), nullable=True),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("fence", sa.Integer(), nullable=False),
        sa.Column("lease_until", TIME, nullable=True),
        sa.Column("dispatched_at", TIME, nullable=True),
        sa.Column("deadline_at", TIME, nullable=False),
        sa.Column("reminded", sa.Integer(), nullable=False),
        sa.Column("escalated", sa.Integer(), nullable=False),
        sa.Column("outcome", JSON, nullable=True),
        sa.Column("provider_id", sa.String(200), nullable=True),
        sa.Column("request_key", sa.String(200), nullable=True),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("updated_at", TIME, nullable=False),
        sa.Column("approved_at", TIME, nullable=True),
        sa.Column("called_at", TIME, nullable=True),
        sa.Column("ended_at", TIME, nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_proposals"),
        sa.ForeignKeyConstraint(["agent_id"], ["agents.id"], name="fk_proposals_agent_id_agents"),
        sa.ForeignKeyConstraint(["requester_id"], ["users.id"], name="fk_proposals_requester_id_users"),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name="fk_proposals_run_id_runs"),
        sa.ForeignKeyConstraint(["ticket_id"], ["tickets.id"], name="fk_proposals_ticket_id_tickets"),
        sa.UniqueConstraint("intent_key", name="uq_proposals_intent_key"),
        sa.UniqueConstraint("request_key", name="uq_proposals_request_key"),
    )
    op.create_index("ix_proposals_intents", "proposals", ["intent_expires_at"], **_where("intent_key IS NOT NULL"))
    op.create_index("ix_proposals_agent_id_tool_created_at", "proposals", ["agent_id", "tool", "created_at"])
    op.create_index(
        "ix_proposals_moving", "proposals", ["state", "lease_until"], **_where("state IN ('APPROVED','EXECUTING','HELD','OUTCOME_UNKNOWN')")
    )
    op.create_index("ix_proposals_queue", "proposals", ["deadline_at", "id"], **_where("state = 'PENDING'"))
    op.create_index("ix_proposals_run_id", "proposals", ["run_id"])
    op.create_index("ix_proposals_state_created_at_id", "proposals", ["state", "created_at", "id"])
    op.create_index("ix_proposals_created_at_id", "proposals", ["created_at", "id"])
    op.create_index("ix_proposals_ticket_id", "proposals", ["ticket_id"])
    op.create_table(
        "decisions",
        sa.Column("id", sa.String(64), nullable=False),
        sa.Column("proposal_id", sa.String(64), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("verdict", sa.String(16), nullable=False),
        sa.Column("reviewer_id", sa.String(64), nullable=True),
        sa.Column("automatic", sa.Boolean(), nullable=False),
        sa.Column("evidence", JSON, nullable=False),
        sa.Column("reason_code", sa.String(32), nullable=True),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("via", sa.String(16), nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_decisions"),
        sa.ForeignKeyConstraint(["proposal_id"], ["proposals.id"], name="fk_decisions_proposal_id_proposals"),
        sa.ForeignKeyConstraint(["reviewer_id"], ["users.id"], name="fk_decisions_reviewer_id_users"),
        sa.UniqueConstraint("proposal_id", "version", "reviewer_id", "verdict", name="uq_decisions_proposal_id_version_reviewer_id_verdict"),
    )
    op.create_index("ix_decisions_reviewer_id_created_at", "decisions", ["reviewer_id", "created_at"])
    op.create_table(
        "executions",
        sa.Column("id", sa.String(64), nullable=False),
        sa.Column("proposal_id", sa.String(64), nullable=False),
        sa.Column("fence", sa.Integer(), nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("late", JSON, nullable=True),
        sa.Column("result", JSON, nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("provider_id", sa.String(200), nullable=True),
        sa.Column("deadline_at", TIME, nullable=False),
        sa.Column("started_at", TIME, nullable=False),
        sa.Column("ended_at", TIME, nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_executions"),
        sa.ForeignKeyConstraint(["proposal_id"], ["proposals.id"], name="fk_executions_proposal_id_proposals"),
        sa.UniqueConstraint("proposal_id", "fence", name="uq_executions_proposal_id_fence"),
    )
    op.create_table(
        "proposal_versions",
        sa.Column("id", sa.String(64), nullable=False),
        sa.Column("proposal_id", sa.String(64), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("arguments", sa.Text(), nullable=False),
        sa.Column("salt", sa.String(64), nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("tool_hash", sa.String(64), nullable=False),
        sa.Column("policy_hash", sa.String(64), nullable=False),
        sa.Column("target", sa.String(256), nullable=True),
        sa.Column("target_revision", sa.String(200), nullable=True),
        sa.Column("payee", sa.String(256), nullable=True),
        sa.Column("amount_minor", sa.BigInteger(), nullable=True),
        sa.Column("currency", sa.String(3), nullable=True),
        sa.Column("customer_ref", sa.String(128), nullable=True),
        sa.Column("preview", JSON, nullable=False),
        sa.Column("editor_id", sa.String(64), nullable=True),
        sa.Column("needs_other", sa.Boolean(), nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_proposal_versions"),
        sa.ForeignKeyConstraint(["editor_id"], ["users.id"], name="fk_proposal_versions_editor_id_users"),
        sa.ForeignKeyConstraint(["proposal_id"], ["proposals.id"], name="fk_proposal_versions_proposal_id_proposals"),
        sa.UniqueConstraint("proposal_id", "version", name="uq_proposal_versions_proposal_id_version"),
    )
    op.create_table(
        "feedback",
        sa.Column("id", sa.String(64), nullable=False),
        sa.Column("proposal_id", sa.String(64), nullable=False),
        sa.Column("decision_id", sa.String(64), nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("agent_id", sa.String(64), nullable=False),
        sa.Column("tool", sa.String(130), nullable=False),
        sa.Column("reason_code", sa.String(32), nullable=True),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("drafted", JSON, nullable=False),
        sa.Column("final", JSON, nullable=True),
        sa.Column("changed", JSON, nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_feedback"),
        sa.ForeignKeyConstraint(["agent_id"], ["agents.id"], name="fk_feedback_agent_id_agents"),
        sa.ForeignKeyConstraint(["decision_id"], ["decisions.id"], name="fk_feedback_decision_id_decisions"),
        sa.ForeignKeyConstraint(["proposal_id"], ["proposals.id"], name="fk_feedback_proposal_id_proposals"),
        sa.UniqueConstraint("decision_id", name="uq_feedback_decision_id"),
    )
    op.create_index("ix_feedback_agent_id_created_at", "feedback", ["agent_id", "created_at"])


def _control() -> None:
    """Grants, budgets, switches, and the rows processes coordinate by."""
    op.create_table(
        "budgets",
        sa.Column("key", sa.String(256), nullable=False),
        sa.Column("rule", sa.String(64), nullable=False),
        sa.Column("ceiling", sa.BigInteger(), nullable=False),
        sa.Column("spent", sa.BigInteger(), nullable=False),
        sa.Column("reserved", sa.BigInteger(), nullable=False),
        sa.Column("ends_at", TIME, nullable=False),
        sa.PrimaryKeyConstraint("key", name="pk_budgets"),
        sa.CheckConstraint("spent >= 0 AND reserved >= 0", name=op.f("ck_budgets_not_negative")),
        sa.CheckConstraint("spent + reserved <= ceiling", name=op.f("ck_budgets_within_ceiling")),
    )
    op.create_table(
        "heartbeats",
        sa.Column("name", sa.String(100), nullable=False),
        sa.Column("kind", sa.String(32), nullable=False),
        sa.Column("at", TIME, nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_heartbeats"),
    )
    op.create_table(
        "holders",
        sa.Column("job", sa.String(32), nullable=False),
        sa.Column("holder", sa.String(100), nullable=False),
        sa.Column("until", TIME, nullable=False),
        sa.PrimaryKeyConstraint("job", name="pk_holders"),
    )
    op.create_table(
        "notifications",
        sa.Column("id", sa.String(64), nullable=False),
        sa.Column("kind", sa.String(32), nullable=False),
        sa.Column("subject", sa.String(130), nullable=False),
        sa.Column("dedupe", sa.String(200), nullable=False),
        sa.Column("channel", sa.String(16), nullable=False),
        sa.Column("payload", JSON, nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("next_at", TIME, nullable=False),
        sa.Column("last_error", sa.Text(), nullable=True),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("sent_at", TIME, nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_notifications"),
        sa.UniqueConstraint("dedupe", name="uq_notifications_dedupe"),
    )
    op.create_index("ix_notifications_waiting", "notifications", ["next_at"], **_where("state = 'waiting'"))
    op.create_table(
        "rules",
        sa.Column("name", sa.String(64), nullable=False),
        sa.Column("changed_by", sa.String(64), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("changed_at", TIME, nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_rules"),
        sa.ForeignKeyConstraint(["changed_by"], ["users.id"], name="fk_rules_changed_by_users"),
    )
    op.create_table(
        "switches",
        sa.Column("scope", sa.String(200), nullable=False),
        sa.Column("thrown_by", sa.String(64), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("thrown_at", TIME, nullable=False),
        sa.PrimaryKeyConstraint("scope", name="pk_switches"),
        sa.ForeignKeyConstraint(["thrown_by"], ["users.id"], name="fk_switches_thrown_by_users"),
    )
    op.create_table(
        "grant_changes",
        sa.Column("id", sa.String(64), nullable=False),
        sa.Column("agent_id", sa.String(64), nullable=False),
        sa.Column("tool", sa.String(130), nullable=False),
        sa.Column("before", sa.String(16), nullable=False),
        sa.Column("after", sa.String(16), nullable=False),
        sa.Column("changed_by", sa.String(64), nullable=True),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("evidence", JSON, nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_grant_changes"),
        sa.ForeignKeyConstraint(["agent_id"], ["agents.id"], name="fk_grant_changes_agent_id_agents"),
        sa.ForeignKeyConstraint(["changed_by"], ["users.id"], name="fk_grant_changes_changed_by_users"),
    )
    op.create_index("ix_grant_changes_agent_id_tool_created_at", "grant_changes", ["agent_id", "tool", "created_at"])
    op.create_table(
        "grants",
        sa.Column("agent_id", sa.String(64), nullable=False),
        sa.Column("tool", sa.String(130), nullable=False),
        sa.Column("level", sa.String(16), nullable=False),
        sa.Column("percent", sa.Integer(), nullable=False),
        sa.Column("changed_at", TIME, nullable=False),
        sa.Column("evidence_from", TIME, nullable=True),
        sa.PrimaryKeyConstraint("agent_id", "tool", name="pk_grants"),
        sa.ForeignKeyConstraint(["agent_id"], ["agents.id"], name="fk_grants_agent_id_agents"),
    )
    op.create_table(
        "reservations",
        sa.Column("id", sa.String(64), nullable=False),
        sa.Column("proposal_id", sa.String(64), nullable=False),
        sa.Column("budget_key", sa.String(256), nullable=False),
        sa.Column("amount", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_reservations"),
        sa.ForeignKeyConstraint(["budget_key"], ["budgets.key"], name="fk_reservations_budget_key_budgets"),
        sa.ForeignKeyConstraint(["proposal_id"], ["proposals.id"], name="fk_reservations_proposal_id_proposals"),
        sa.UniqueConstraint("proposal_id", "budget_key", name="uq_reservations_proposal_id_budget_key"),
    )


def upgrade() -> None:
    """Make every table, then the triggers that keep the log as it was written."""
    _people()
    _work()
    _record()
    _control()
    for statement in log.guards(op.get_bind().dialect.name):
        op.execute(sa.text(statement))


def downgrade() -> None:
    """Drop every table; their indexes and triggers go with them, PostgreSQL's trigger functions do not."""
    for table in reversed(TABLES):
        op.drop_table(table)
    if op.get_bind().dialect.name == "postgresql":
        op.execute(sa.text("DROP FUNCTION IF EXISTS audit_events_refuse()"))
