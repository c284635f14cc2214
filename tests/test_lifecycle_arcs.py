"""The state machine as one table: every pair of states, before and after a first attempt; what is not in it raises."""

from __future__ import annotations

import itertools

import pytest
from sqlalchemy import insert, select, update

from copilot.db import db, new_id, now, transaction
from copilot.errors import ForbiddenArc
from copilot.gate import arcs, lifecycle
from copilot.models import AuditEvent, Proposal

ALWAYS, BEFORE, AFTER = "always", "only before an attempt", "only after an attempt"

# Written from the specification, not from the code: who may go where, and whether an attempt at the call matters.
TABLE = {
    ("PENDING", "PENDING"): ALWAYS,
    ("PENDING", "APPROVED"): ALWAYS,
    ("PENDING", "REJECTED"): ALWAYS,
    ("PENDING", "EXPIRED"): ALWAYS,
    ("PENDING", "WITHDRAWN"): ALWAYS,
    ("PENDING", "DENIED"): ALWAYS,
    ("APPROVED", "EXECUTING"): ALWAYS,
    ("APPROVED", "HELD"): ALWAYS,
    ("APPROVED", "PENDING"): BEFORE,
    ("APPROVED", "WITHDRAWN"): BEFORE,
    ("APPROVED", "DENIED"): BEFORE,
    ("APPROVED", "OUTCOME_UNKNOWN"): AFTER,
    ("HELD", "WITHDRAWN"): BEFORE,
    ("HELD", "OUTCOME_UNKNOWN"): AFTER,
    ("EXECUTING", "SUCCEEDED"): ALWAYS,
    ("EXECUTING", "FAILED"): ALWAYS,
    ("EXECUTING", "APPROVED"): ALWAYS,
    ("EXECUTING", "OUTCOME_UNKNOWN"): ALWAYS,
    ("OUTCOME_UNKNOWN", "SUCCEEDED"): ALWAYS,
    ("OUTCOME_UNKNOWN", "FAILED"): ALWAYS,
}
PAIRS = list(itertools.product(arcs.STATES, repeat=2))
CASES = [
    (before, after, attempts, TABLE.get((before, after)) in ((ALWAYS, AFTER) if attempts else (ALWAYS, BEFORE)))
    for before, after in PAIRS
    for attempts in (0, 1, 2)
]


def test_the_table_knows_every_state() -> None:
    assert {state for pair in TABLE for state in pair} == set(arcs.STATES)
    assert len(PAIRS) == 121


def test_terminal_states_are_those_without_a_way_out() -> None:
    assert {state for state in arcs.STATES if not any(before == state for before, _ in TABLE)} == arcs.TERMINAL


@pytest.mark.parametrize(("before", "after", "attempts", "allowed"), CASES)
def test_an_arc_is_allowed_exactly_when_the_table_says_so(before: str, after: str, attempts: int, allowed: bool) -> None:
    assert arcs.allowed(before, after, attempts=attempts) is allowed


def test_an_unknown_state_leads_nowhere() -> None:
    assert not arcs.allowed("GONE", arcs.PENDING)
    assert not arcs.allowed(arcs.PENDING, "GONE")


def _row(agent: str) -> str:
    proposal_id = new_id("prop")
    with transaction():
        values = {"id": proposal_id, "state": "PENDING", "agent_id": agent, "tool": "pay_key", "risk": "medium", "version": 1}
        values |= {"digest": "0" * 64, "level": "suggest", "deadline_at": now(), "created_at": now(), "updated_at": now()}
        db.session.execute(insert(Proposal).values(**values))
    return proposal_id


@pytest.mark.both_databases
def test_a_move_writes_the_state_and_one_event_or_raises_or_does_nothing(agent: str) -> None:
    """All 121 pairs, before and after an attempt, on one row that is put into each state by hand."""
    proposal_id = _row(agent)
    for before, after, attempts, allowed in CASES:
        with transaction():
            db.session.execute(
                update(Proposal)
                .where(Proposal.id == proposal_id)
                .values(state=before, attempts=attempts, intent_key="intent", lease_until=now(), ended_at=None)
            )
        events = db.session.execute(select(AuditEvent.id)).scalars().all()
        if (before, after) not in TABLE:
            with pytest.raises(ForbiddenArc), transaction():
                lifecycle.move(proposal_id, before=before, after=after)
        else:
            with transaction():
                moved = lifecycle.move(proposal_id, before=before, after=after)
            assert (moved is not None) is allowed, (before, after, attempts)
        db.session.rollback()
        row = db.session.get_one(Proposal, proposal_id)
        assert row.state == (after if allowed else before), (before, after, attempts)
        new = db.session.execute(select(AuditEvent.kind).where(AuditEvent.id.not_in(events))).scalars().all()
        assert new == ([f"proposal.{after.lower()}"] if allowed else []), (before, after, attempts)
        freed = allowed and after in {"REJECTED", "EXPIRED", "WITHDRAWN", "DENIED", "FAILED"}
        assert (row.intent_key is None) is freed
        assert (row.ended_at is not None) is (allowed and after in arcs.TERMINAL)


@pytest.mark.both_databases
def test_whoever_comes_second_moves_nothing(agent: str) -> None:
    proposal_id = _row(agent)
    with transaction():
        assert lifecycle.move(proposal_id, before="PENDING", after="REJECTED") is not None
    with transaction():
        assert lifecycle.move(proposal_id, before="PENDING", after="APPROVED") is None
    assert db.session.get_one(Proposal, proposal_id).state == "REJECTED"


@pytest.mark.both_databases
@pytest.mark.parametrize("state", sorted(set(arcs.STATES) - arcs.INITIAL))
def test_a_proposal_begins_only_as_pending_approved_or_denied(agent: str, state: str) -> None:
    with pytest.raises(ForbiddenArc), transaction():
        lifecycle.begin({"id": new_id("prop"), "state": state, "version": 1, "digest": "0" * 64}, event={}, at=now())
