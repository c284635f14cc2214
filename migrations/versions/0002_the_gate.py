"""The gate: verdicts, policy versions, second-person changes, rates, tools' state; agents' teams and overlapping secrets.

Revision ID: 0002
Revises: 0001
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

TIME = sa.DateTime().with_variant(sa.DateTime(timezone=True), "postgresql")
JSON = sa.JSON().with_variant(JSONB(), "postgresql")

TABLES = ("verdicts", "policy_versions", "changes", "notes", "rates", "breakers", "tool_pins", "outbound_calls")
COLUMNS = {
    "agents": ("previous_hash", "previous_until", "team", "disabled_at"),
    "proposals": ("session", "tainted", "token_scopes"),
    "proposal_versions": ("seen_messages", "seen_status"),
}


IMMUTABLE = {
    "sqlite": ("CREATE TRIGGER notes_immutable BEFORE UPDATE ON notes BEGIN SELECT RAISE(ABORT, 'a note is immutable'); END",),
    "postgresql": (
        "CREATE FUNCTION notes_refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'a note is immutable'; END $$",
        "CREATE TRIGGER notes_immutable BEFORE UPDATE ON notes FOR EACH ROW EXECUTE FUNCTION notes_refuse()",
    ),
}


def _columns() -> None:
    """What older rows did not say: no session, tainted (the careful side), no narrower token."""
    op.add_column("agents", sa.Column("previous_hash", sa.String(64), nullable=True))
    op.add_column("agents", sa.Column("previous_until", TIME, nullable=True))
    op.add_column("agents", sa.Column("team", sa.String(64), nullable=True))
    op.add_column("agents", sa.Column("disabled_at", TIME, nullable=True))
    op.add_column("proposals", sa.Column("session", sa.String(200), nullable=False, server_default=""))
    op.add_column("proposals", sa.Column("tainted", sa.Boolean(), nullable=False, server_default=sa.true()))
    op.add_column("proposals", sa.Column("token_scopes", JSON, nullable=True))
    op.add_column("proposal_versions", sa.Column("seen_messages", sa.Integer(), nullable=True))
    op.add_column("proposal_versions", sa.Column("seen_status", sa.String(16), nullable=True))


def _verdicts() -> None:
    op.create_table(
        "verdicts",
        sa.Column("id", sa.String(64), nullable=False),
        sa.Column("at", TIME, nullable=False),
        sa.Column("stage", sa.String(16), nullable=False),
        sa.Column("agent_id", sa.String(64), nullable=False),
        sa.Column("tool", sa.String(130), nullable=False),
        sa.Column("proposal_id", sa.String(64), nullable=True),
        sa.Column("version", sa.Integer(), nullable=True),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("rule", sa.String(130), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("count", sa.Integer(), nullable=False),
        sa.Column("policies", JSON, nullable=False),
        sa.Column("input", JSON, nullable=False),
        sa.Column("policy_hash", sa.String(64), nullable=False),
        sa.Column("amount_minor", sa.BigInteger(), nullable=True),
        sa.Column("currency", sa.String(3), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_verdicts"),
        sa.ForeignKeyConstraint(["agent_id"], ["agents.id"], name="fk_verdicts_agent_id_agents"),
        sa.ForeignKeyConstraint(["proposal_id"], ["proposals.id"], name="fk_verdicts_proposal_id_proposals"),
    )
    op.create_index("ix_verdicts_at_id", "verdicts", ["at", "id"])
    op.create_index("ix_verdicts_agent_id_tool_at", "verdicts", ["agent_id", "tool", "at"])
    op.create_index("ix_verdicts_proposal_id", "verdicts", ["proposal_id"])


def _changes() -> None:
    """Policy versions and what waits for a second person."""
    op.create_table(
        "policy_versions",
        sa.Column("id", sa.String(64), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("hash", sa.String(64), nullable=False),
        sa.Column("source", sa.String(16), nullable=False),
        sa.Column("files", JSON, nullable=False),
        sa.Column("author_id", sa.String(64), nullable=True),
        sa.Column("comment", sa.Text(), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("replay_state", sa.String(16), nullable=False),
        sa.Column("replay", JSON, nullable=True),
        sa.Column("replayed_at", TIME, nullable=True),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("published_at", TIME, nullable=True),
        sa.Column("published_by", sa.String(64), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_policy_versions"),
        sa.UniqueConstraint("number", name="uq_policy_versions_number"),
        sa.ForeignKeyConstraint(["author_id"], ["users.id"], name="fk_policy_versions_author_id_users"),
        sa.ForeignKeyConstraint(["published_by"], ["users.id"], name="fk_policy_versions_published_by_users"),
    )
    op.create_index(
        "ix_policy_versions_published", "policy_versions", ["number"],
        sqlite_where=sa.text("state = 'published'"), postgresql_where=sa.text("state = 'published'"),
    )  # fmt: skip
    op.create_table(
        "changes",
        sa.Column("id", sa.String(64), nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("subject", sa.String(200), nullable=False),
        sa.Column("payload", JSON, nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("asked_by", sa.String(64), nullable=False),
        sa.Column("asked_at", TIME, nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("decided_by", sa.String(64), nullable=True),
        sa.Column("decided_at", TIME, nullable=True),
        sa.Column("note", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_changes"),
        sa.ForeignKeyConstraint(["asked_by"], ["users.id"], name="fk_changes_asked_by_users"),
        sa.ForeignKeyConstraint(["decided_by"], ["users.id"], name="fk_changes_decided_by_users"),
    )
    op.create_index("ix_changes_state_asked_at_id", "changes", ["state", "asked_at", "id"])
    op.create_index("ix_changes_kind_subject", "changes", ["kind", "subject"])


def _notes() -> None:
    """Why somebody did something; and a kill switch may be thrown from the command line, by nobody in `users`."""
    op.create_table(
        "notes",
        sa.Column("id", sa.String(64), nullable=False),
        sa.Column("at", TIME, nullable=False),
        sa.Column("event", sa.String(64), nullable=False),
        sa.Column("subject", sa.String(130), nullable=False),
        sa.Column("by", sa.String(64), nullable=True),
        sa.Column("text", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_notes"),
        sa.ForeignKeyConstraint(["by"], ["users.id"], name="fk_notes_by_users"),
    )
    op.create_index("ix_notes_subject_at", "notes", ["subject", "at"])
    for statement in IMMUTABLE[op.get_bind().dialect.name]:
        op.execute(statement)
    with op.batch_alter_table("switches") as switches:
        switches.alter_column("thrown_by", existing_type=sa.String(64), nullable=True)


def _tools() -> None:
    """Rates, breakers, pinned definitions, and where requests went."""
    op.create_table(
        "rates",
        sa.Column("key", sa.String(256), nullable=False),
        sa.Column("rule", sa.String(64), nullable=False),
        sa.Column("tat", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("key", name="pk_rates"),
    )
    op.create_table(
        "breakers",
        sa.Column("tool", sa.String(130), nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("opened", sa.Integer(), nullable=False),
        sa.Column("opened_at", TIME, nullable=True),
        sa.Column("until", TIME, nullable=True),
        sa.Column("last_error", sa.String(200), nullable=False),
        sa.PrimaryKeyConstraint("tool", name="pk_breakers"),
    )
    op.create_table(
        "tool_pins",
        sa.Column("tool", sa.String(130), nullable=False),
        sa.Column("source", sa.String(130), nullable=False),
        sa.Column("definition", JSON, nullable=False),
        sa.Column("hash", sa.String(64), nullable=False),
        sa.Column("accepted_by", sa.String(64), nullable=True),
        sa.Column("accepted_at", TIME, nullable=False),
        sa.Column("seen", JSON, nullable=True),
        sa.Column("seen_hash", sa.String(64), nullable=True),
        sa.Column("seen_at", TIME, nullable=True),
        sa.PrimaryKeyConstraint("tool", name="pk_tool_pins"),
        sa.ForeignKeyConstraint(["accepted_by"], ["users.id"], name="fk_tool_pins_accepted_by_users"),
    )
    op.create_table(
        "outbound_calls",
        sa.Column("id", sa.String(64), nullable=False),
        sa.Column("at", TIME, nullable=False),
        sa.Column("purpose", sa.String(130), nullable=False),
        sa.Column("method", sa.String(8), nullable=False),
        sa.Column("host", sa.String(260), nullable=False),
        sa.Column("status", sa.Integer(), nullable=True),
        sa.Column("refused", sa.String(64), nullable=True),
        sa.Column("bytes", sa.Integer(), nullable=False),
        sa.Column("milliseconds", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_outbound_calls"),
    )
    op.create_index("ix_budgets_rule_ends_at", "budgets", ["rule", "ends_at"])
    op.create_index("ix_tickets_source_created_at", "tickets", ["source", "created_at"])
    op.create_index("ix_outbound_calls_purpose_at", "outbound_calls", ["purpose", "at"])
    op.create_index("ix_outbound_calls_at", "outbound_calls", ["at"])


def upgrade() -> None:
    """Add the tables and the columns."""
    _columns()
    _verdicts()
    _changes()
    _notes()
    _tools()


def downgrade() -> None:
    """Drop them again; what they held is lost."""
    op.execute("UPDATE switches SET thrown_by = (SELECT min(id) FROM users) WHERE thrown_by IS NULL")  # a switch stays on
    with op.batch_alter_table("switches") as switches:
        switches.alter_column("thrown_by", existing_type=sa.String(64), nullable=False)
    op.drop_index("ix_tickets_source_created_at", "tickets")
    op.drop_index("ix_budgets_rule_ends_at", "budgets")
    for table in reversed(TABLES):
        op.drop_table(table)
    if op.get_bind().dialect.name == "postgresql":
        op.execute("DROP FUNCTION notes_refuse()")
    for table, names in COLUMNS.items():
        for name in names:
            op.drop_column(table, name)
