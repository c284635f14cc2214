"""The evidence about one agent and one tool, read from the record: people's decisions only, one per proposal."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import and_, case, func, select

from copilot.autonomy import slo
from copilot.db import db
from copilot.models import Decision, Proposal

WINDOW = timedelta(days=90)
MOST = 500  # proposals; with two-person approvals there are more decisions than that

_decisions: Any = Decision.__table__
_proposals: Any = Proposal.__table__

_STANDS = frozenset({"APPROVED", "EXECUTING", "SUCCEEDED", "FAILED", "OUTCOME_UNKNOWN", "HELD"})


def measure(agent_id: str, tool: str, *, at: datetime, since: datetime | None = None) -> slo.Measures:
    """The measures of the last 500 decided proposals within 90 days before `at`, nothing older than `since`."""
    begin = at - WINDOW
    after = begin if since is None else max(begin, since)
    refusals, failures, unknowns = _incidents(agent_id, tool, begin=begin, after=after)
    return slo.measure(_records(agent_id, tool, begin=begin, after=after), refusals=refusals, failures=failures, unknowns=unknowns)


def _records(agent_id: str, tool: str, *, begin: datetime, after: datetime) -> list[slo.DecisionRecord]:
    by_people = (
        select(
            _decisions.c.proposal_id,
            _decisions.c.verdict,
            _decisions.c.reason_code,
            _decisions.c.created_at.label("at"),
            _proposals.c.state,
            _proposals.c.created_at.label("proposed_at"),
        )
        .join(_proposals, _proposals.c.id == _decisions.c.proposal_id)
        .where(_proposals.c.agent_id == agent_id, _proposals.c.tool == tool, _proposals.c.created_at >= begin)
        .where(_decisions.c.automatic.is_(False), _decisions.c.verdict.in_(("approve", "edit", "reject")), _decisions.c.created_at > after)
        .order_by(_decisions.c.created_at.desc(), _decisions.c.id)
        .limit(2 * MOST)
    )
    per_proposal: dict[str, list[Any]] = {}
    for row in db.session.execute(by_people):
        per_proposal.setdefault(row.proposal_id, []).append(row)
    records = (_record(rows) for rows in per_proposal.values())
    return [record for record in records if record is not None][:MOST]


def _record(rows: Iterable[Any]) -> slo.DecisionRecord | None:
    """What people made of one proposal; None while it waits, and when it went away after an approval."""
    newest_first = list(rows)
    verdicts = {row.verdict for row in newest_first}
    state, last = newest_first[0].state, newest_first[0]
    verdict: slo.Verdict
    if "reject" in verdicts:
        verdict = "rejected"
    elif state == "PENDING":
        return None
    elif "edit" in verdicts:
        verdict = "edited"
    elif state in _STANDS:
        verdict = "approved"
    else:
        return None
    codes = tuple(sorted({row.reason_code for row in newest_first if row.reason_code is not None and row.verdict != "approve"}))
    return slo.DecisionRecord(verdict, max(0.0, (last.at - last.proposed_at).total_seconds()), last.at, codes)


def _incidents(agent_id: str, tool: str, *, begin: datetime, after: datetime) -> tuple[int, int, int]:
    """Refusals, failures and unknowns. An unknown or held outcome counts until somebody settled it, however old."""
    state, called = _proposals.c.state, func.coalesce(_proposals.c.called_at, _proposals.c.updated_at)
    counted = (
        func.count(case((and_(state == "DENIED", _proposals.c.created_at > after), 1))),
        func.count(case((and_(state == "FAILED", called > after), 1))),
        func.count(case((state.in_(("OUTCOME_UNKNOWN", "HELD")), 1))),
    )
    where = (_proposals.c.agent_id == agent_id, _proposals.c.tool == tool, _proposals.c.created_at >= begin)
    refusals, failures, unknowns = db.session.execute(select(*counted).where(*where)).one()
    return refusals, failures, unknowns
