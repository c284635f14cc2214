"""GET /proposals/{id}/trace: what the record holds about one proposal, from the ticket to the effect."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

from flask import Response
from pydantic import BaseModel, ConfigDict
from sqlalchemy import select

from copilot.api import answers, proposals
from copilot.api.edge import bp
from copilot.db import db
from copilot.models import AuditEvent, Decision, Execution, Proposal, ProposalVersion, Run, Step

MOST = 1_000  # of each kind; a proposal has far fewer


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, from_attributes=True)


class VersionAnswer(_Part):
    """One version, exactly."""

    version: int
    digest: str
    arguments: dict[str, Any]
    policy_hash: str
    tool_hash: str
    target_revision: str | None
    editor_id: str | None
    created_at: datetime


class VerdictAnswer(_Part):
    """One verdict, by a person or automatic with its evidence."""

    id: str
    version: int
    digest: str
    verdict: str
    reviewer_id: str | None
    automatic: bool
    evidence: dict[str, Any]
    reason_code: str | None
    note: str
    via: str
    created_at: datetime


class ExecutionAnswer(_Part):
    """One attempt at the call."""

    fence: int
    digest: str
    state: str
    provider_id: str | None
    error: str | None
    result: dict[str, Any] | None
    late: dict[str, Any] | None
    started_at: datetime
    ended_at: datetime | None


class StepAnswer(_Part):
    """One step of the run, as it was sent and received (redacted)."""

    number: int
    kind: str
    message: dict[str, Any] | None
    details: dict[str, Any]
    proposal_id: str | None
    milliseconds: int
    input_tokens: int
    output_tokens: int
    created_at: datetime


class RunAnswer(_Part):
    """The run that drafted it."""

    id: str
    state: str
    model: str | None
    prompt_version: str | None
    code: str | None
    reason: str | None
    created_at: datetime
    ended_at: datetime | None
    steps: list[StepAnswer]


class EventAnswer(_Part):
    """One event of the audit log; `line` is the leaf's text, `leaf` null until the log has ordered it."""

    leaf: int | None
    kind: str
    subject: str
    at: datetime
    leaf_hash: str
    line: str


class TraceAnswer(_Part):
    """One proposal with everything the record holds about it, each part in order of time."""

    proposal: answers.ProposalAnswer
    run: RunAnswer | None
    versions: list[VersionAnswer]
    decisions: list[VerdictAnswer]
    executions: list[ExecutionAnswer]
    events: list[EventAnswer]


@bp.get("/proposals/<proposal_id>/trace")
def show_trace(proposal_id: str) -> Response:
    """The trace; an agent sees that of its own proposals."""
    proposals.visible(proposal_id)
    proposal = db.session.get_one(Proposal, proposal_id)
    subjects = [one for one in (proposal_id, proposal.run_id, proposal.ticket_id) if one]
    of = {"proposal_id": proposal_id}
    trace = TraceAnswer(
        proposal=answers.proposal(proposal_id),
        run=_run(proposal.run_id) if proposal.run_id else None,
        versions=[_version(row) for row in _rows(select(ProposalVersion).filter_by(**of).order_by(ProposalVersion.version))],
        decisions=[
            VerdictAnswer.model_validate(row)
            for row in _rows(select(Decision).filter_by(**of).order_by(Decision.version, Decision.created_at, Decision.id))
        ],
        executions=[ExecutionAnswer.model_validate(row) for row in _rows(select(Execution).filter_by(**of).order_by(Execution.fence))],
        events=[_event(row) for row in _rows(select(AuditEvent).where(AuditEvent.subject.in_(subjects)).order_by(AuditEvent.id))],
    )
    return answers.reply(trace)


def _rows(statement: Any) -> Any:
    return db.session.execute(statement.limit(MOST)).scalars()


def _run(run_id: str) -> RunAnswer:
    run = db.session.get_one(Run, run_id)
    steps = [StepAnswer.model_validate(row) for row in _rows(select(Step).where(Step.run_id == run_id).order_by(Step.number))]
    return RunAnswer(
        id=run.id, state=run.state, model=run.model, prompt_version=run.prompt_version, code=run.code, reason=run.reason,
        created_at=run.created_at, ended_at=run.ended_at, steps=steps,
    )  # fmt: skip


def _version(row: ProposalVersion) -> VersionAnswer:
    return VersionAnswer(
        version=row.version, digest=row.digest, arguments=json.loads(row.arguments), policy_hash=row.policy_hash, tool_hash=row.tool_hash,
        target_revision=row.target_revision, editor_id=row.editor_id, created_at=row.created_at,
    )  # fmt: skip


def _event(row: AuditEvent) -> EventAnswer:
    return EventAnswer(leaf=row.leaf, kind=row.kind, subject=row.subject, at=row.created_at, leaf_hash=row.leaf_hash, line=row.line)
