"""Ways around the rules that somebody found once: each stays closed."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from datetime import timedelta

import pytest
from sqlalchemy import select, update

from copilot import db as database
from copilot import jobs
from copilot.agents import intake
from copilot.db import db, transaction
from copilot.errors import AlreadyDecided, NotEntitled
from copilot.gate import policy, switches, tools
from copilot.gateway import reads, writes
from copilot.gateway.adapters import Claim, Succeeded
from copilot.models import Notification, Proposal, ProposalVersion, Run, Ticket
from copilot.review import entitlement, inbox, outcomes
from copilot.toolkit import ToolError
from tests.conftest import Clock
from tests.support import invariants, work
from tests.support.ledger import Ledger
from tests.support.people import People
from tests.support.tools import counting

pytestmark = pytest.mark.both_databases


@pytest.fixture(autouse=True)
def _promises_hold(request: pytest.FixtureRequest, book: Ledger, app: object) -> Iterator[None]:
    yield
    if request.node.get_closest_marker("forged") is None:
        invariants.check(book)


def _replace(tool: str, **changes: object) -> None:
    tools.install(tools.Registry({**tools.current().by_name, tool: dataclasses.replace(counting.tools[tool], **changes)}))  # type: ignore[arg-type]


def _down(*_: object) -> str:
    raise ToolError("The bank is down.", happened=False)


def test_sent_back_voids_every_approval_even_while_the_tool_is_down(agent: str, people: People, clock: Clock, book: Ledger) -> None:
    proposal_id = work.propose(agent, amount_minor=20_000)
    work.approve(proposal_id, people.ana)
    work.approve(proposal_id, people.eli)
    clock.advance(hours=3)
    _replace("pay_key", preview=_down)  # so the fresh look that follows fails
    jobs.execute(proposal_id)
    assert work.state(proposal_id) == "PENDING"
    _replace("pay_key")
    decided = work.approve(proposal_id, people.bo)
    assert (decided.state, decided.missing) == ("PENDING", "one more person")
    assert work.approve(proposal_id, people.ana).state == "APPROVED", "and who approved before may approve again"
    assert book.calls(proposal_id) == 0


def test_a_trivial_edit_by_somebody_else_does_not_launder_a_raise(agent: str, people: People) -> None:
    proposal_id = work.propose(agent, amount_minor=1_000)
    assert work.edit(proposal_id, people.ana, save_only=True, amount_minor=9_000).state == "PENDING"
    assert work.edit(proposal_id, people.eli, save_only=True, memo="thanks").state == "PENDING"
    assert work.approve(proposal_id, people.ana).state == "PENDING"
    assert work.approve(proposal_id, people.eli).state == "APPROVED", "two who raised it are two people"


def test_who_types_a_message_into_a_ticket_never_approves_what_comes_of_it(agent: str, people: People) -> None:
    ticket_id = work.ticket()
    external_id = db.session.get_one(Ticket, ticket_id).external_id
    ana = people.ana.id
    with transaction():
        intake.message(external_id, external_id="m1", author="customer", body="please refund", source="person", requester_id=ana)
    proposal_id = work.propose(agent, ticket_id=ticket_id)
    with pytest.raises(NotEntitled) as refused:
        work.approve(proposal_id, people.ana)
    assert refused.value.rule == "requester-never-approves"
    assert work.approve(proposal_id, people.eli).state == "APPROVED"


def test_leaving_the_ticket_out_opens_no_second_budget(agent: str, people: People) -> None:
    rules = tuple(dataclasses.replace(rule, limit=5) if rule.id == "per-customer" else rule for rule in policy.current().budget_rules)
    policy.install(dataclasses.replace(policy.current(), budget_rules=rules))
    ran = []
    for number in range(7):
        proposal_id = work.propose(agent, ticket_id=work.ticket() if number % 2 else None)
        if work.state(proposal_id) == "PENDING":
            work.approve(proposal_id, people.ana)
            jobs.execute(proposal_id)
        ran.append(work.state(proposal_id))
    assert ran == ["SUCCEEDED"] * 5 + ["DENIED"] * 2


def test_past_its_deadline_nothing_is_decided_even_before_the_sweeper_comes(agent: str, people: People, clock: Clock) -> None:
    proposal_id = work.propose(agent)
    clock.advance(hours=30)
    with pytest.raises(AlreadyDecided, match="time to decide is over"):
        work.approve(proposal_id, people.ana)
    jobs.sweep()
    assert work.state(proposal_id) == "EXPIRED"


@pytest.mark.forged
@pytest.mark.parametrize("stored", ["{not json", '{"amount_minor":1}'])
def test_content_that_cannot_even_be_read_is_held_and_told(agent: str, people: People, stored: str) -> None:
    proposal_id = work.propose(agent)
    work.approve(proposal_id, people.ana)
    with transaction():
        db.session.execute(update(ProposalVersion).where(ProposalVersion.proposal_id == proposal_id).values(arguments=stored))
    jobs.execute(proposal_id)
    assert db.session.scalar(select(Proposal.state).where(Proposal.id == proposal_id)) == "HELD"
    assert "held" in set(db.session.scalars(select(Notification.kind)))


def test_an_amount_the_tool_reads_differently_today_is_looked_at_again(agent: str, people: People, book: Ledger) -> None:
    proposal_id = work.propose(agent)
    work.approve(proposal_id, people.ana)
    _replace("pay_key", amount=lambda _: None)  # the definition's hash does not see inside a hook
    jobs.execute(proposal_id)
    assert (work.state(proposal_id), book.calls(proposal_id)) == ("PENDING", 0)
    assert work.row(proposal_id).verdict["sent_back"]["rule"] == "tool-changed"


def test_a_target_nobody_can_look_at_comes_back_to_people_after_an_hour(agent: str, people: People, clock: Clock) -> None:
    proposal_id = work.propose(agent)
    work.approve(proposal_id, people.ana)
    _replace("pay_key", revision=_down)
    jobs.execute(proposal_id)
    assert work.state(proposal_id) == "APPROVED"
    clock.advance(hours=1, seconds=1)
    jobs.execute(proposal_id)
    assert work.state(proposal_id) == "PENDING"


def test_an_effect_after_people_said_it_did_not_happen_is_told(agent: str, people: People, clock: Clock) -> None:
    proposal_id = work.propose(agent, "pay_opaque")
    work.approve(proposal_id, people.ana)
    observed = reads.observe(proposal_id)
    assert observed is not None
    with transaction():
        claim = writes.claim(proposal_id, observed)
    assert isinstance(claim, Claim)
    clock.advance(minutes=2)
    jobs.sweep()
    with transaction():
        outcomes.resolve(proposal_id, reviewer=people.ana, happened=False, note="asked the bank")
    with transaction():
        assert writes.late(claim, Succeeded({"receipt": 1})) == "FAILED"
    assert "contradicted" in set(db.session.scalars(select(Notification.kind)))


def test_a_row_from_the_future_does_not_stop_the_sweeper(agent: str, people: People, clock: Clock) -> None:
    unknown, waiting = work.propose(agent, "pay_opaque"), work.propose(agent)
    with transaction():
        ahead = database.now() + timedelta(days=1)
        db.session.execute(update(Proposal).where(Proposal.id == unknown).values(state="OUTCOME_UNKNOWN", attempts=1, updated_at=ahead))
    clock.advance(hours=9)
    jobs.sweep()
    assert db.session.scalar(select(Proposal.state).where(Proposal.id == waiting)) == "EXPIRED"
    with transaction():
        db.session.execute(update(Proposal).where(Proposal.id == unknown).values(state="PENDING", attempts=0))


def test_two_switches_move_a_deadline_once(agent: str, people: People, clock: Clock) -> None:
    proposal_id = work.propose(agent)
    deadline = work.row(proposal_id).deadline_at
    for scope in ("all", "tool:pay_key"):
        with transaction():
            switches.throw(scope, by=people.bo, reason="an incident")
    clock.advance(hours=10)
    for scope in ("all", "tool:pay_key"):
        with transaction():
            switches.release(scope, by=people.bo, reason="it is over")
    moved = work.row(proposal_id).deadline_at - deadline
    assert abs(moved - timedelta(hours=10)) < timedelta(minutes=1)


def test_what_has_lost_its_tool_can_still_be_rejected_but_not_approved(agent: str, people: People) -> None:
    proposal_id = work.propose(agent)
    tools.install(tools.Registry({name: tool for name, tool in tools.current().by_name.items() if name != "pay_key"}))
    with pytest.raises(NotEntitled, match="only be rejected"):
        work.approve(proposal_id, people.ana)
    assert work.reject(proposal_id, people.ana).state == "REJECTED"


def test_the_page_says_when_too_few_people_could_ever_approve(agent: str, people: People) -> None:
    proposal_id = work.propose(agent, amount_minor=20_000)
    assert not entitlement.standing(work.row(proposal_id), people.ana).too_few_people
    with transaction():
        people.bo.active = people.eli.active = False  # Dee owns the agent, Cy only looks: Ana is left
    assert entitlement.standing(work.row(proposal_id), people.ana).too_few_people


def test_two_agents_that_need_a_person_are_both_on_the_page(agent: str, people: People) -> None:
    ticket_id = work.ticket()
    at = database.now()
    with transaction():
        for ahead in range(2):
            run = Run(ticket_id=ticket_id, agent_id=agent, state="NEEDS_HUMAN", code="stuck", reason="Stuck.")
            run.created_at, run.ended_at = at + timedelta(microseconds=ahead), at + timedelta(seconds=1)
            db.session.add(run)
    assert inbox.counts().needs_human == 2
