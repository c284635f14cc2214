"""Deciding: once, on what was seen, by those who may; every path is this one function."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import func, select

from copilot.db import db, transaction
from copilot.errors import AlreadyDecided, BadInput, Conflict, DuplicateIntent, NotEntitled, NotFound, Refused, StaleDigest
from copilot.gate import switches
from copilot.models import Decision, Feedback, Proposal, ProposalVersion
from copilot.review import decisions, proposals
from copilot.review.decisions import Reason
from tests.support import invariants, work
from tests.support.ledger import Ledger
from tests.support.people import People, add_agent

pytestmark = pytest.mark.both_databases


def _count(table: type[Any], proposal_id: str) -> int:
    db.session.rollback()
    return db.session.scalar(select(func.count()).select_from(table).where(table.proposal_id == proposal_id)) or 0


def test_a_draft_waits_with_its_verdict_and_one_event(agent: str, book: Ledger) -> None:
    proposal = work.row(work.propose(agent))
    assert (proposal.state, proposal.version, proposal.approvals_required, proposal.level) == ("PENDING", 1, 1, "suggest")
    assert proposal.verdict["kind"] == "needs_approval"
    assert work.kinds(proposal.id) == ["proposal.proposed"]
    invariants.check(book)


@pytest.mark.parametrize(
    ("tool", "changes", "rule"),
    [("pay_key", {"amount_minor": 1_000_001}, "too-large"), ("pay_capped", {"amount_minor": 1001}, "purse")],
)
def test_what_cannot_run_is_denied_before_anybody_is_asked(agent: str, book: Ledger, tool: str, changes: dict[str, Any], rule: str) -> None:
    proposal = work.row(work.propose(agent, tool, **changes))
    assert (proposal.state, proposal.verdict["rule"], proposal.intent_key) == ("DENIED", rule, None)
    assert proposal.verdict["reason"]
    invariants.check(book)


def test_a_tool_out_of_scope_is_denied(people: People, book: Ledger) -> None:
    reader = add_agent(people.ids["dee"], name="reader")
    assert work.row(work.propose(reader)).verdict["rule"] == "scope"


def test_what_is_no_draft_at_all_is_refused(agent: str) -> None:
    for tool, changes, error in (
        ("no_such_tool", {}, NotFound),
        ("pay_key", {"amount_minor": "5"}, BadInput),
        ("read_account", {}, BadInput),
    ):
        with pytest.raises(error):
            work.propose(agent, tool, **changes)
    assert db.session.scalar(select(func.count()).select_from(Proposal)) == 0


def test_one_approval_suffices_for_a_small_amount(agent: str, people: People, book: Ledger) -> None:
    proposal_id = work.propose(agent)
    assert work.approve(proposal_id, people.ana).state == "APPROVED"
    assert work.kinds(proposal_id) == ["proposal.proposed", "decision.recorded", "proposal.approved"]
    with pytest.raises(AlreadyDecided):
        work.approve(proposal_id, people.bo)
    invariants.check(book)


def test_a_large_amount_needs_two_different_people(agent: str, people: People) -> None:
    proposal_id = work.propose(agent, amount_minor=10_001)
    first = work.approve(proposal_id, people.ana)
    assert (first.state, first.missing) == ("PENDING", "one more person")
    with pytest.raises(Conflict):
        work.approve(proposal_id, people.ana)
    assert work.approve(proposal_id, people.bo).state == "APPROVED"


def test_an_admin_may_switch_the_second_person_off_and_it_is_on_record(agent: str, people: People) -> None:
    with pytest.raises(NotEntitled), transaction():
        switches.set_rule("two-people", on=False, by=people.bo, reason="on holiday")
    with transaction():
        switches.set_rule("two-people", on=False, by=people.dee, reason="on holiday")
    assert work.kinds("two-people") == ["rule.changed"]
    assert work.approve(work.propose(agent, amount_minor=10_001), people.ana).state == "APPROVED"


@pytest.mark.parametrize(("who", "rule"), [("cy", "role"), ("dee", "owner-never-approves"), ("eli", "requester-never-approves")])
@pytest.mark.parametrize("verdict", ["approve", "reject", "edit"])
def test_who_may_never_decide(agent: str, people: People, who: str, rule: str, verdict: str) -> None:
    proposal_id = work.propose(agent, requester_id=people.ids["eli"])
    verbs: dict[str, Any] = {"approve": work.approve, "reject": work.reject, "edit": lambda p, u: work.edit(p, u, amount_minor=5)}
    with pytest.raises(NotEntitled) as caught:
        verbs[verdict](proposal_id, people.row(who))
    assert caught.value.rule == rule
    assert work.state(proposal_id) == "PENDING"
    assert _count(Decision, proposal_id) == 0


def test_the_policy_has_a_say_in_who_approves(agent: str, people: People) -> None:
    proposal_id = work.propose(agent, amount_minor=50_001)
    with pytest.raises(NotEntitled) as caught:
        work.approve(proposal_id, people.ana)
    assert caught.value.rule == "policy-approve"
    assert work.approve(proposal_id, people.bo).state == "PENDING"


def test_someone_disabled_may_not_decide_and_their_approval_counts_no_longer(agent: str, people: People) -> None:
    proposal_id = work.propose(agent, amount_minor=10_001)
    work.approve(proposal_id, people.ana)
    with transaction():
        people.ana.active = False
    with pytest.raises(NotEntitled):
        work.reject(proposal_id, people.ana)
    assert work.approve(proposal_id, people.bo).missing == "one more person"
    assert work.approve(proposal_id, people.eli).state == "APPROVED"


@pytest.mark.parametrize("verdict", ["approve", "reject", "edit"])
def test_what_changed_since_it_was_shown_is_not_decided(agent: str, people: People, verdict: str) -> None:
    proposal_id = work.propose(agent)
    shown = work.seen(proposal_id)
    work.edit(proposal_id, people.bo, save_only=True, amount_minor=500)
    verbs: dict[str, Any] = {
        "approve": lambda: work.approve(proposal_id, people.ana, digest=shown),
        "reject": lambda: work.reject(proposal_id, people.ana, digest=shown),
        "edit": lambda: work.edit(proposal_id, people.ana, digest=shown, amount_minor=400),
    }
    decided = _count(Decision, proposal_id)
    with pytest.raises(StaleDigest):
        verbs[verdict]()
    assert _count(Decision, proposal_id) == decided
    assert work.state(proposal_id) == "PENDING"


def test_an_edit_is_a_new_version_and_voids_earlier_approvals(agent: str, people: People, book: Ledger) -> None:
    proposal_id = work.propose(agent, amount_minor=20_000)
    first = work.seen(proposal_id)
    work.approve(proposal_id, people.ana)
    edited = work.edit(proposal_id, people.bo, amount_minor=15_000)
    assert (edited.version, edited.state, edited.missing) == (2, "PENDING", "one more person")
    assert edited.digest != first
    assert work.approve(proposal_id, people.ana).state == "APPROVED"
    assert _count(ProposalVersion, proposal_id) == 2
    invariants.check(book)


def test_save_and_approve_suffices_where_one_is_asked_for(agent: str, people: People, book: Ledger) -> None:
    proposal_id = work.propose(agent, amount_minor=1000)
    assert work.edit(proposal_id, people.ana, amount_minor=900).state == "APPROVED"
    assert work.kinds(proposal_id) == [
        "proposal.proposed",
        "decision.recorded",
        "proposal.pending",
        "decision.recorded",
        "proposal.approved",
    ]
    invariants.check(book)


@pytest.mark.parametrize("changes", [{"amount_minor": 1001}, {"account": "c1/other"}, {"currency": "USD"}])
def test_an_edit_that_raises_or_redirects_needs_somebody_else(agent: str, people: People, changes: dict[str, Any]) -> None:
    proposal_id = work.propose(agent, amount_minor=1000)
    edited = work.edit(proposal_id, people.ana, **changes)
    assert edited.state == "PENDING"
    assert edited.missing is not None
    assert work.approve(proposal_id, people.bo).state == "APPROVED"


def test_a_raise_in_two_small_steps_is_still_a_raise(agent: str, people: People) -> None:
    """Down first, then up to where it began is none; beyond the draft it is, whatever the last version said."""
    proposal_id = work.propose(agent, amount_minor=1000)
    work.edit(proposal_id, people.ana, save_only=True, amount_minor=2000)
    assert work.edit(proposal_id, people.ana, amount_minor=1500).state == "PENDING"
    assert work.approve(proposal_id, people.bo).state == "APPROVED"


def test_an_edit_is_judged_again_and_may_ask_for_more_people(agent: str, people: People) -> None:
    proposal_id = work.propose(agent, amount_minor=1000)
    work.edit(proposal_id, people.ana, amount_minor=10_001)
    proposal = work.row(proposal_id)
    assert (proposal.approvals_required, proposal.state) == (2, "PENDING")


@pytest.mark.parametrize(
    ("changes", "error"),
    [({"amount_minor": 1_000_001}, Refused), ({"amount_minor": 0}, BadInput), ({"surprise": 1}, BadInput), ({}, BadInput)],
)
def test_an_edit_that_could_not_run_changes_nothing(agent: str, people: People, changes: dict[str, Any], error: type[Exception]) -> None:
    proposal_id = work.propose(agent)
    before = work.seen(proposal_id)
    with pytest.raises(error):
        work.edit(proposal_id, people.ana, **changes)
    assert work.seen(proposal_id) == before
    assert _count(Decision, proposal_id) == 0
    assert _count(ProposalVersion, proposal_id) == 1


@pytest.mark.parametrize("reason", [None, Reason(""), Reason("no_such_code"), Reason("other"), Reason("other", "   ")])
def test_a_rejection_needs_a_reason(agent: str, people: People, reason: Reason | None) -> None:
    proposal_id = work.propose(agent)
    with pytest.raises(BadInput):
        work.reject(proposal_id, people.ana, reason=reason)  # type: ignore[arg-type]  # what a page could post
    assert work.state(proposal_id) == "PENDING"


def test_reasons_and_edits_are_kept_as_structured_feedback(agent: str, people: People) -> None:
    edited, rejected = work.propose(agent), work.propose(agent)
    work.edit(edited, people.ana, amount_minor=900, memo="less")
    work.reject(rejected, people.ana, reason=Reason("other", "the customer called"))
    db.session.rollback()
    one = db.session.scalars(select(Feedback).where(Feedback.proposal_id == edited, Feedback.kind == "edit")).one()
    assert (sorted(one.changed), one.reason_code, one.drafted["amount_minor"]) == (["amount_minor", "memo"], "wrong_amount", 1000)
    assert one.final is not None
    assert one.final["amount_minor"] == 900
    two = db.session.scalars(select(Feedback).where(Feedback.proposal_id == rejected)).one()
    assert (two.kind, two.reason_code, two.note) == ("reject", "other", "the customer called")


def test_a_note_never_reaches_the_log(agent: str, people: People) -> None:
    proposal_id = work.propose(agent, memo="secret-memo")
    work.reject(proposal_id, people.ana, reason=Reason("other", "secret-note"))
    assert "secret" not in str(work.events(proposal_id))


@pytest.mark.parametrize("verb", ["approve", "reject", "withdraw"])
def test_a_rejected_proposal_stays_rejected(agent: str, people: People, verb: str) -> None:
    proposal_id = work.propose(agent)
    work.reject(proposal_id, people.ana)
    verbs: dict[str, Any] = {"approve": work.approve, "reject": work.reject, "withdraw": work.withdraw}
    with pytest.raises(Conflict):
        verbs[verb](proposal_id, people.bo)
    assert work.state(proposal_id) == "REJECTED"


def test_withdrawing_is_for_its_agent_its_requester_and_those_who_may_decide(agent: str, people: People) -> None:
    other = add_agent(people.ids["bo"], name="other")
    proposal_id = work.propose(agent, requester_id=people.ids["eli"])
    with pytest.raises(NotEntitled), transaction():
        decisions.withdraw(proposal_id, by_agent=other)
    with pytest.raises(NotEntitled):
        work.withdraw(proposal_id, people.cy)
    assert work.withdraw(proposal_id, people.eli) == "WITHDRAWN"
    second = work.propose(agent)
    work.approve(second, people.ana)
    with transaction():
        assert decisions.withdraw(second, by_agent=agent) == "WITHDRAWN"


def test_the_same_intent_is_proposed_once(agent: str, people: People, book: Ledger) -> None:
    other = add_agent(people.ids["dee"], name="other", scopes=("pay_both:write", "pay_key:write"))
    first = work.propose(agent, invoice="once")
    for by, tool in ((agent, "pay_key"), (other, "pay_key"), (other, "pay_both")):
        with pytest.raises(DuplicateIntent):
            work.propose(by, tool, invoice="once")
    work.reject(first, people.ana)
    second = work.propose(other, invoice="once")
    assert work.state(second) == "PENDING"
    third = work.propose(agent, invoice="else")
    with pytest.raises(Conflict):
        work.edit(third, people.ana, invoice="once")
    work.edit(second, people.ana, invoice="moved")
    assert work.state(work.propose(agent, invoice="once")) == "PENDING"
    invariants.check(book)


def test_a_request_repeated_under_its_key_gives_the_first_proposal(agent: str) -> None:
    drafts = [
        proposals.Draft(agent_id=agent, tool="pay_key", arguments=work.arguments(invoice=i), request_key="key") for i in ("a", "a", "b")
    ]
    made = []
    for draft in drafts[:2]:
        prepared = proposals.prepare(draft)
        with transaction():
            made.append(proposals.propose(prepared).id)
    assert made[0] == made[1]
    prepared = proposals.prepare(drafts[2])
    with pytest.raises(Conflict), transaction():
        proposals.propose(prepared)
