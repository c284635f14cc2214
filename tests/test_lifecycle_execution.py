"""Claim, call, settle: what runs is what was approved, once, and what nobody knows goes to a person."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select, text, update

from copilot import jobs
from copilot.db import db, transaction
from copilot.errors import Conflict, NotEntitled
from copilot.gate import policy, switches, tools
from copilot.gateway import adapters, reads, writes
from copilot.gateway.adapters import Claim, Failed, Succeeded, Unknown
from copilot.models import Agent, Budget, Execution, Grant, Notification, Proposal, ProposalVersion
from copilot.review import outcomes
from tests.conftest import Clock
from tests.support import doorbell, invariants, work
from tests.support.ledger import Ledger
from tests.support.people import People
from tests.support.tools import counting

pytestmark = pytest.mark.both_databases

ALL_TOOLS = ["pay_key", "pay_lookup", "pay_both", "pay_opaque"]


@pytest.fixture(autouse=True)
def _promises_hold(request: pytest.FixtureRequest, book: Ledger, app: object) -> Iterator[None]:
    """Whatever a test did, the three records agree afterwards, unless it forged one of them."""
    yield
    if request.node.get_closest_marker("forged") is None:
        invariants.check(book)


@pytest.fixture
def approved(agent: str, people: People) -> Callable[..., str]:
    """Make a proposal Ana has approved."""

    def make(tool: str = "pay_key", **changes: Any) -> str:
        proposal_id = work.propose(agent, tool, **changes)
        assert work.approve(proposal_id, people.ana).state == "APPROVED"
        return proposal_id

    return make


def take(proposal_id: str) -> Claim:
    """Claim it as a worker does."""
    observed = reads.observe(proposal_id)
    assert observed is not None
    with transaction():
        claim = writes.claim(proposal_id, observed)
    assert isinstance(claim, Claim)
    return claim


def settle(claim: Claim, result: adapters.Result) -> str:
    with transaction():
        return writes.settle(claim, result)


def lapse(clock: Clock, tool: str = "pay_key") -> None:
    """Let the lease end and the sweeper see it."""
    clock.advance(seconds=2 * (counting.tools[tool].timeout + 5) + 1)
    jobs.sweep()


@pytest.mark.parametrize("tool", ALL_TOOLS)
def test_an_approved_action_runs_once_however_often_the_job_is_delivered(tool: str, approved: Callable[..., str], book: Ledger) -> None:
    proposal_id = approved(tool)
    for _ in range(3):
        jobs.execute(proposal_id)
    proposal = work.row(proposal_id)
    assert proposal.state == "SUCCEEDED"
    assert proposal.provider_id == f"rcpt-{book.effects(proposal_id)[0].id}"
    assert book.calls(proposal_id) == 1
    assert work.kinds(proposal_id)[-2:] == ["proposal.executing", "proposal.succeeded"]


def test_the_key_is_the_proposals_id_and_the_token_names_what_was_approved(approved: Callable[..., str]) -> None:
    import jwt

    proposal_id = approved()
    claim = take(proposal_id)
    token = jwt.decode(claim.token, options={"verify_signature": False})
    assert (token["digest"], token["target"], token["aud"]) == (work.seen(proposal_id), "account:c1/main", "tool:pay_key")
    assert token["exp"] - token["iat"] <= 60
    settle(claim, Failed("stopped"))


@pytest.mark.parametrize("before", ["PENDING", "REJECTED", "WITHDRAWN", "EXPIRED", "DENIED"])
def test_what_is_not_approved_is_never_called(before: str, agent: str, people: People, clock: Clock, book: Ledger) -> None:
    proposal_id = work.propose(agent, amount_minor=1_000_001 if before == "DENIED" else 1000)
    if before == "REJECTED":
        work.reject(proposal_id, people.ana)
    elif before == "WITHDRAWN":
        work.withdraw(proposal_id, people.ana)
    elif before == "EXPIRED":
        clock.advance(hours=9)
        jobs.sweep()
    assert work.state(proposal_id) == before
    jobs.execute(proposal_id)
    assert (work.state(proposal_id), book.calls(proposal_id)) == (before, 0)


def test_an_edited_away_version_cannot_run(agent: str, people: People, book: Ledger) -> None:
    proposal_id = work.propose(agent, amount_minor=1000)
    work.edit(proposal_id, people.ana, amount_minor=700)
    jobs.execute(proposal_id)
    assert [effect.amount_minor for effect in book.effects(proposal_id)] == [700]


def test_a_refusal_is_definite_and_frees_budget_and_intent(approved: Callable[..., str], book: Ledger, agent: str) -> None:
    book.fail("pay_opaque", "refuse")
    proposal_id = approved("pay_opaque", invoice="again")
    jobs.execute(proposal_id)
    proposal = work.row(proposal_id)
    assert (proposal.state, proposal.intent_key) == ("FAILED", None)
    assert work.state(work.propose(agent, invoice="again")) == "PENDING"


@pytest.mark.parametrize("tool", ALL_TOOLS)
@pytest.mark.parametrize(("fault", "state"), [("error_before", "FAILED"), ("error_after", "OUTCOME_UNKNOWN")])
def test_what_a_tool_says_of_an_error_decides(tool: str, fault: str, state: str, approved: Callable[..., str], book: Ledger) -> None:
    book.fail(tool, fault)
    proposal_id = approved(tool)
    jobs.execute(proposal_id)
    jobs.execute(proposal_id)
    assert work.state(proposal_id) == state
    assert book.calls(proposal_id) == 1, "a definite answer is not asked twice and an unknown one never repeated by itself"


# -- the claim judges again


def _back_in_the_queue(proposal_id: str, book: Ledger, *, rule: str) -> None:
    jobs.execute(proposal_id)
    proposal = work.row(proposal_id)
    assert (proposal.state, book.calls(proposal_id)) == ("PENDING", 0)
    assert proposal.verdict["sent_back"]["rule"] == rule
    assert proposal.version == 3, "one version voids the approvals, the next shows how things stand now"


def test_an_approval_too_old_is_asked_for_again(approved: Callable[..., str], people: People, clock: Clock, book: Ledger) -> None:
    proposal_id = approved()
    clock.advance(hours=1, seconds=1)
    _back_in_the_queue(proposal_id, book, rule="approval-too-old")
    assert work.approve(proposal_id, people.ana).state == "APPROVED"
    jobs.execute(proposal_id)
    assert work.state(proposal_id) == "SUCCEEDED"


def test_a_target_that_moved_is_looked_at_again(approved: Callable[..., str], book: Ledger) -> None:
    proposal_id = approved()
    book.move("c1/main")
    _back_in_the_queue(proposal_id, book, rule="target-moved")


def test_a_target_that_is_gone_goes_back_to_people(approved: Callable[..., str], people: People, book: Ledger) -> None:
    proposal_id = approved()
    book.close("c1/main")
    jobs.execute(proposal_id)
    proposal = work.row(proposal_id)
    assert (proposal.state, book.calls(proposal_id)) == ("PENDING", 0)
    assert proposal.verdict["sent_back"]["rule"] == "no-longer-possible"
    assert work.reject(proposal_id, people.ana).state == "REJECTED"


def test_changed_policies_ask_again(approved: Callable[..., str], book: Ledger) -> None:
    proposal_id = approved()
    policy.install(dataclasses.replace(policy.current(), hash="0" * 64))
    _back_in_the_queue(proposal_id, book, rule="policy-changed")


def test_a_changed_tool_asks_again(approved: Callable[..., str], book: Ledger) -> None:
    proposal_id = approved()
    changed = dataclasses.replace(counting.tools["pay_key"], description="Something else.")
    tools.install(tools.Registry({**tools.current().by_name, "pay_key": changed}))
    _back_in_the_queue(proposal_id, book, rule="tool-changed")


def test_an_approver_no_longer_entitled_counts_no_longer(approved: Callable[..., str], people: People, book: Ledger) -> None:
    proposal_id = approved()
    with transaction():
        people.ana.active = False
    _back_in_the_queue(proposal_id, book, rule="approver-not-entitled")


@pytest.mark.parametrize(("change", "rule"), [({"enabled": False}, "agent-disabled"), ({"scopes": ["*:read"]}, "scope")])
def test_an_agent_that_lost_its_rights_is_denied(
    approved: Callable[..., str], agent: str, book: Ledger, change: dict[str, Any], rule: str
) -> None:
    proposal_id = approved()
    with transaction():
        db.session.execute(update(Agent).where(Agent.id == agent).values(**change))
    jobs.execute(proposal_id)
    assert (work.state(proposal_id), book.calls(proposal_id)) == ("DENIED", 0)
    assert work.row(proposal_id).verdict["rule"] == rule


@pytest.mark.parametrize("scope", ["all", "tool:pay_key", "agent"])
def test_the_kill_switch_stops_at_the_next_claim_and_forgets_nothing(
    approved: Callable[..., str], agent: str, people: People, clock: Clock, book: Ledger, valkey: str, scope: str
) -> None:
    proposal_id, waiting = approved(), work.propose(agent)
    name = f"agent:{agent}" if scope == "agent" else scope
    deadline = work.row(waiting).deadline_at
    with transaction():
        switches.throw(name, by=people.bo, reason="drill")
    jobs.execute(proposal_id)
    assert (work.state(proposal_id), book.calls(proposal_id)) == ("APPROVED", 0)
    clock.advance(hours=9)
    jobs.sweep()
    assert work.state(waiting) == "PENDING", "the clocks stand still"
    with transaction():
        switches.release(name, by=people.bo, reason="drill over")
    assert work.row(waiting).deadline_at - deadline > timedelta(hours=8, minutes=59)
    jobs.sweep()
    doorbell.drain(valkey)
    assert work.state(proposal_id) == "PENDING", "the approval grew too old meanwhile"


@pytest.mark.forged
@pytest.mark.parametrize("column", ["arguments", "target", "salt"])
def test_stored_content_that_is_not_what_was_approved_is_held(
    approved: Callable[..., str], people: People, book: Ledger, column: str
) -> None:
    proposal_id = approved()
    with transaction():
        other = '{"account":"c9/x","amount_minor":1,"currency":"EUR","invoice":"i","memo":""}' if column == "arguments" else "other"
        db.session.execute(update(ProposalVersion).where(ProposalVersion.proposal_id == proposal_id).values({column: other}))
    jobs.execute(proposal_id)
    assert (work.state(proposal_id), book.calls(proposal_id)) == ("HELD", 0)
    assert "held" in [kind for (kind,) in db.session.execute(select(Notification.kind))]
    for who, state in ((people.ana, "HELD"), (people.bo, "WITHDRAWN")):
        with transaction():
            assert outcomes.withdraw_held(proposal_id, reviewer=who, note="tampering").state == state
        if state == "HELD":
            with pytest.raises(Conflict), transaction():
                outcomes.withdraw_held(proposal_id, reviewer=people.ana, note="me again")
    with pytest.raises(NotEntitled), transaction():
        outcomes.withdraw_held(proposal_id, reviewer=people.cy, note="may I")


@pytest.mark.forged
def test_a_changed_digest_alone_is_held_too(approved: Callable[..., str], book: Ledger) -> None:
    proposal_id = approved()
    with transaction():
        db.session.execute(text("UPDATE proposals SET digest = :d WHERE id = :i"), {"d": "f" * 64, "i": proposal_id})
    jobs.execute(proposal_id)
    assert (work.state(proposal_id), book.calls(proposal_id)) == ("HELD", 0)


# -- silence, leases and late answers


@pytest.mark.parametrize(
    ("tool", "state"),
    [("pay_key", "APPROVED"), ("pay_both", "APPROVED"), ("pay_lookup", "OUTCOME_UNKNOWN"), ("pay_opaque", "OUTCOME_UNKNOWN")],
)
@pytest.mark.parametrize("called", [False, True])
def test_a_worker_that_went_silent(
    tool: str, state: str, called: bool, approved: Callable[..., str], clock: Clock, book: Ledger, valkey: str
) -> None:
    """Tools that honour a key are called again under it; of the others only a look-up or a person may say."""
    proposal_id = approved(tool)
    claim = take(proposal_id)
    if called:
        adapters.perform(claim)
    jobs.sweep()
    assert work.state(proposal_id) == "EXECUTING", "not before its lease is over"
    lapse(clock, tool)
    assert work.state(proposal_id) == state
    clock.advance(seconds=11)
    jobs.sweep()
    doorbell.drain(valkey)
    wanted = {
        "pay_key": "SUCCEEDED",
        "pay_both": "SUCCEEDED",
        "pay_lookup": "SUCCEEDED" if called else "OUTCOME_UNKNOWN",
        "pay_opaque": "OUTCOME_UNKNOWN",
    }
    assert work.state(proposal_id) == wanted[tool]


def test_a_key_is_tried_three_times_and_then_a_person_asked(approved: Callable[..., str], clock: Clock) -> None:
    proposal_id = approved()
    for attempt in (1, 2, 3):
        assert take(proposal_id).attempt == attempt
        lapse(clock)
    proposal = work.row(proposal_id)
    assert (proposal.state, proposal.attempts, proposal.fence) == ("OUTCOME_UNKNOWN", 3, 3)


def test_an_expired_key_is_not_used_again(approved: Callable[..., str], clock: Clock, book: Ledger) -> None:
    proposal_id = approved()
    take(proposal_id)
    lapse(clock)
    assert work.state(proposal_id) == "APPROVED"
    clock.advance(days=1)
    jobs.execute(proposal_id)
    assert (work.state(proposal_id), book.calls(proposal_id)) == ("OUTCOME_UNKNOWN", 0)


def test_after_an_attempt_nothing_but_repeating_or_asking_is_possible(
    approved: Callable[..., str], people: People, clock: Clock, agent: str
) -> None:
    proposal_id = approved()
    take(proposal_id)
    lapse(clock)
    for verb in (work.withdraw, work.reject):
        with pytest.raises(Conflict):
            verb(proposal_id, people.ana)
    with pytest.raises(Conflict):
        work.edit(proposal_id, people.ana, amount_minor=1)
    with transaction():
        db.session.execute(update(Agent).where(Agent.id == agent).values(enabled=False))
    jobs.execute(proposal_id)
    assert work.state(proposal_id) == "OUTCOME_UNKNOWN", "refused now, but an earlier attempt may have happened"


@pytest.mark.parametrize("tool", ["pay_opaque", "pay_lookup"])
def test_late_evidence_closes_an_unknown_outcome(tool: str, approved: Callable[..., str], clock: Clock) -> None:
    proposal_id = approved(tool)
    claim = take(proposal_id)
    result = adapters.perform(claim)
    lapse(clock, tool)
    assert work.state(proposal_id) == "OUTCOME_UNKNOWN"
    assert settle(claim, result) == "SUCCEEDED"
    assert "evidence.late" in work.kinds(proposal_id)
    assert work.row(proposal_id).provider_id


def test_late_evidence_overwrites_nothing_that_is_settled(approved: Callable[..., str], clock: Clock) -> None:
    proposal_id = approved()
    slow, result = take(proposal_id), None
    lapse(clock)
    result = adapters.perform(take(proposal_id))
    fast = work.row(proposal_id).fence
    assert isinstance(result, Succeeded)
    claim = dataclasses.replace(slow, fence=fast)
    assert settle(claim, result) == "SUCCEEDED"
    outcome = work.row(proposal_id).outcome
    assert settle(slow, Failed("too late")) == "SUCCEEDED"
    assert work.row(proposal_id).outcome == outcome
    late = db.session.scalars(select(Execution).where(Execution.proposal_id == proposal_id, Execution.fence == slow.fence)).one()
    assert late.late is not None
    assert late.late["known"] == "failed"


def test_a_refusal_of_a_repeat_says_nothing_of_the_first_attempt(approved: Callable[..., str], clock: Clock, book: Ledger) -> None:
    """The first call is still on its way when the second is refused: only a person, or the first call's answer, can tell."""
    proposal_id = approved()
    first = take(proposal_id)
    lapse(clock)
    second = take(proposal_id)
    assert settle(second, Failed("The bank refused it.")) == "OUTCOME_UNKNOWN"
    assert settle(first, adapters.perform(first)) == "SUCCEEDED"


def test_a_call_whose_time_is_over_is_not_made(approved: Callable[..., str], book: Ledger) -> None:
    proposal_id = approved()
    claim = take(proposal_id)
    overdue = dataclasses.replace(claim, expires_at=claim.expires_at - timedelta(seconds=6))
    result = adapters.perform(overdue)
    assert isinstance(result, Failed)
    assert book.calls(proposal_id) == 0
    assert settle(claim, result) == "FAILED"
    again = adapters.perform(dataclasses.replace(overdue, attempt=2))
    assert isinstance(again, Unknown), "of a repeat nobody can say that nothing happened"


def test_a_call_that_outlives_its_deadline_is_unknown_and_its_answer_still_counts(
    approved: Callable[..., str], book: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    import threading

    quick = dataclasses.replace(counting.tools["pay_opaque"], timeout=0.3)
    tools.install(tools.Registry({**tools.current().by_name, "pay_opaque": quick}))
    heard = threading.Event()
    late = jobs._late

    def hear(claim: Claim, result: adapters.Result) -> None:
        late(claim, result)
        heard.set()

    monkeypatch.setattr(jobs, "_late", hear)
    book.fail("pay_opaque", "pause_after", seconds=0.8)
    proposal_id = approved("pay_opaque")
    jobs.execute(proposal_id)
    assert work.state(proposal_id) == "OUTCOME_UNKNOWN"
    assert heard.wait(10)
    assert work.state(proposal_id) == "SUCCEEDED"


# -- what nobody knows


def _unknown(approved: Callable[..., str], book: Ledger, **changes: Any) -> str:
    book.fail("pay_opaque", "error_after")
    proposal_id = approved("pay_opaque", **changes)
    jobs.execute(proposal_id)
    assert work.state(proposal_id) == "OUTCOME_UNKNOWN"
    return proposal_id


def test_an_unknown_outcome_is_told_at_once_and_at_15_and_60_minutes(approved: Callable[..., str], clock: Clock, book: Ledger) -> None:
    proposal_id = _unknown(approved, book)

    def told() -> int:
        db.session.rollback()
        return len(
            db.session.execute(
                select(Notification).where(Notification.kind == "outcome_unknown", Notification.subject == proposal_id)
            ).all()
        )

    for minutes, times in ((0, 1), (10, 1), (6, 2), (30, 2), (15, 3), (300, 3)):
        clock.advance(minutes=minutes)
        jobs.sweep()
        jobs.sweep()
        assert told() == times


def test_its_budget_stays_reserved_until_a_person_says_what_happened(approved: Callable[..., str], people: People, book: Ledger) -> None:
    def reserved() -> tuple[int, int]:
        db.session.rollback()
        budget = db.session.scalars(select(Budget).where(Budget.rule == "purse")).one()
        return budget.reserved, budget.spent

    book.fail("pay_capped", "error_after")
    proposal_id = approved("pay_capped", amount_minor=400)
    jobs.execute(proposal_id)
    assert reserved() == (400, 0)
    with transaction():
        assert outcomes.resolve(proposal_id, reviewer=people.ana, happened=True, note="seen in the bank").state == "SUCCEEDED"
    assert reserved() == (0, 400)


def test_a_person_says_it_did_not_happen(approved: Callable[..., str], people: People, book: Ledger, clock: Clock) -> None:
    proposal_id = approved("pay_opaque", invoice="free")
    take(proposal_id)
    lapse(clock, "pay_opaque")
    for who, error in ((people.cy, NotEntitled), (people.dee, NotEntitled)):
        with pytest.raises(error), transaction():
            outcomes.resolve(proposal_id, reviewer=who, happened=False, note="no")
    with transaction():
        assert outcomes.resolve(proposal_id, reviewer=people.ana, happened=False, note="asked the bank").state == "FAILED"
    assert work.row(proposal_id).intent_key is None


def test_above_the_threshold_two_people_say_it_did_not_happen(agent: str, people: People, clock: Clock) -> None:
    proposal_id = work.propose(agent, "pay_opaque", amount_minor=20_000)
    work.approve(proposal_id, people.ana)
    work.approve(proposal_id, people.bo)
    take(proposal_id)
    lapse(clock, "pay_opaque")
    for who, state in ((people.ana, "OUTCOME_UNKNOWN"), (people.bo, "FAILED")):
        with transaction():
            assert outcomes.resolve(proposal_id, reviewer=who, happened=False, note="asked").state == state


def test_not_found_is_never_proof_of_nothing(approved: Callable[..., str], clock: Clock, valkey: str, book: Ledger) -> None:
    proposal_id = approved("pay_lookup")
    claim = take(proposal_id)
    lapse(clock, "pay_lookup")
    for _ in range(4):
        clock.advance(seconds=31)
        jobs.sweep()
        doorbell.drain(valkey)
        assert work.state(proposal_id) == "OUTCOME_UNKNOWN"
    book.effect(key=proposal_id, tool="pay_lookup", invoice=claim.arguments["invoice"], account="c1/main", amount_minor=1000, once=True)
    clock.advance(seconds=31)
    jobs.sweep()
    doorbell.drain(valkey)
    assert work.state(proposal_id) == "SUCCEEDED"
    assert book.calls(proposal_id) == 0


# -- the sweeper and the doorbell


def test_an_emptied_redis_delays_by_seconds_and_loses_nothing(approved: Callable[..., str], clock: Clock, valkey: str) -> None:
    import redis

    ids = [approved() for _ in range(3)]
    for proposal_id in ids:
        jobs.proposal_changed(proposal_id)
    with redis.Redis.from_url(valkey) as connection:
        connection.flushall()
    jobs.sweep()
    assert doorbell.rung(valkey) == [], "not before ten seconds have passed"
    clock.advance(seconds=11)
    jobs.sweep()
    jobs.sweep()
    assert sorted(ids) == sorted(i for _, (i,) in doorbell.rung(valkey)), "each once, however often it is swept"
    clock.advance(seconds=11)
    jobs.sweep()
    doorbell.drain(valkey)
    assert {work.state(proposal_id) for proposal_id in ids} == {"SUCCEEDED"}


@pytest.mark.settings(REDIS_URL="unix:///nowhere/at.all")
def test_without_redis_deciding_still_works(agent: str, people: People) -> None:
    proposal_id = work.propose(agent)
    work.approve(proposal_id, people.ana)
    jobs.proposal_changed(proposal_id)
    assert jobs.enqueue("execute", proposal_id) is False
    jobs.sweep()
    assert work.state(proposal_id) == "APPROVED"


def test_deadlines_remind_twice_and_then_mean_no(agent: str, people: People, clock: Clock) -> None:
    proposal_id = work.propose(agent)

    def told() -> int:
        db.session.rollback()
        return len(
            db.session.execute(select(Notification).where(Notification.kind == "deadline", Notification.subject == proposal_id)).all()
        )

    for hours, times, state in ((3.9, 0, "PENDING"), (0.2, 1, "PENDING"), (3, 1, "PENDING"), (0.2, 2, "PENDING"), (1, 3, "EXPIRED")):
        clock.advance(hours=hours)
        jobs.sweep()
        jobs.sweep()
        assert (told(), work.state(proposal_id)) == (times, state)
    with pytest.raises(Conflict):
        work.approve(proposal_id, people.ana)
    assert work.row(proposal_id).intent_key is None


def test_an_intent_is_free_again_when_its_window_is_over(approved: Callable[..., str], agent: str, clock: Clock, book: Ledger) -> None:
    first = approved(invoice="monthly")
    jobs.execute(first)
    with pytest.raises(Conflict):
        work.propose(agent, invoice="monthly")
    clock.advance(days=1, seconds=1)
    jobs.sweep()
    assert work.state(work.propose(agent, invoice="monthly")) == "PENDING"


# -- running alone


@pytest.fixture
def auto(agent: str) -> str:
    """The agent may use the paying tools alone."""
    with transaction():
        for tool in ALL_TOOLS:
            db.session.add(Grant(agent_id=agent, tool=tool, level="auto", changed_at=work.database.now()))
    return agent


def _level(agent: str, tool: str) -> str:
    db.session.rollback()
    return db.session.scalars(select(Grant.level).where(Grant.agent_id == agent, Grant.tool == tool)).one()


def test_an_automatic_approval_is_a_decision_with_its_evidence_and_passes_the_same_claim(auto: str, book: Ledger) -> None:
    proposal_id = work.propose(auto)
    proposal = work.row(proposal_id)
    assert (proposal.state, proposal.automatic, proposal.approvals_required) == ("APPROVED", True, 0)
    (decision,) = proposal.decisions
    assert (decision.automatic, decision.reviewer_id, decision.digest) == (True, None, proposal.digest)
    assert decision.evidence["policies"] == ["small-unattended"]
    jobs.execute(proposal_id)
    assert work.state(proposal_id) == "SUCCEEDED"
    assert _level(auto, "pay_key") == "auto"


@pytest.mark.parametrize(("changes", "needed"), [({"amount_minor": 5_001}, 1), ({"amount_minor": 10_001}, 2), ({"memo": "\u202eevil"}, 1)])
def test_auto_does_not_reach_beyond_what_policy_permits(auto: str, changes: dict[str, Any], needed: int) -> None:
    proposal = work.row(work.propose(auto, **changes))
    assert (proposal.state, proposal.approvals_required) == ("PENDING", needed)


@pytest.mark.parametrize("fault", ["refuse", "error_after"])
def test_a_failure_or_an_unknown_outcome_falls_back_to_suggest(auto: str, book: Ledger, fault: str) -> None:
    book.fail("pay_opaque", fault)
    jobs.execute(work.propose(auto, "pay_opaque"))
    assert (_level(auto, "pay_opaque"), _level(auto, "pay_key")) == ("suggest", "auto")
    assert work.state(work.propose(auto, "pay_opaque")) == "PENDING"


def test_a_world_that_moved_says_nothing_against_an_action_that_runs_alone(auto: str, book: Ledger) -> None:
    proposal_id = work.propose(auto)
    book.move("c1/main")
    jobs.execute(proposal_id)
    assert (work.state(proposal_id), _level(auto, "pay_key")) == ("PENDING", "auto")
    assert work.row(proposal_id).approvals_required == 1


def test_switching_auto_off_takes_effect_at_the_next_claim(auto: str, people: People, book: Ledger) -> None:
    proposal_id = work.propose(auto)
    with transaction():
        db.session.execute(update(Grant).values(level="suggest"))
    jobs.execute(proposal_id)
    assert (work.state(proposal_id), book.calls(proposal_id)) == ("PENDING", 0)
    assert work.approve(proposal_id, people.ana).state == "APPROVED"
    jobs.execute(proposal_id)
    assert work.state(proposal_id) == "SUCCEEDED"


@pytest.mark.forged
def test_a_stored_proposal_cannot_be_approved_by_writing_its_state(agent: str, book: Ledger) -> None:
    """Somebody with the database in hand, but no approval, still gets nothing past the claim."""
    proposal_id = work.propose(agent)
    with transaction():
        db.session.execute(update(Proposal).where(Proposal.id == proposal_id).values(state="APPROVED"))
    jobs.execute(proposal_id)
    assert (work.state(proposal_id), book.calls(proposal_id)) == ("PENDING", 0)


def test_save_and_approve_beyond_the_draft_never_suffices_even_where_auto_would(auto: str, people: People, book: Ledger) -> None:
    with transaction():
        db.session.execute(update(Grant).values(level="suggest"))
    proposal_id = work.propose(auto, amount_minor=1000)
    with transaction():
        db.session.execute(update(Grant).values(level="auto"))
    assert work.edit(proposal_id, people.ana, amount_minor=2000).state == "PENDING"
    assert work.approve(proposal_id, people.eli).state == "APPROVED"
    with transaction():
        people.eli.active = False
    jobs.execute(proposal_id)
    assert (work.state(proposal_id), book.calls(proposal_id)) == ("PENDING", 0)
