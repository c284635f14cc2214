"""The world is looked at once more before a call, and every verdict is kept with what it was asked."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlalchemy import select

from copilot import jobs
from copilot.agents import intake
from copilot.db import db, transaction
from copilot.errors import BadInput, Refused, StaleDigest
from copilot.gate import check, library
from copilot.gateway import reads
from copilot.models import Proposal, Ticket, Verdict
from copilot.review import proposals
from copilot.toolkit import Preview, ToolRefused
from tests.conftest import Clock
from tests.support import tools as toolbox
from tests.support import work
from tests.support.ledger import Ledger
from tests.support.people import People

pytestmark = pytest.mark.both_databases


@pytest.fixture
def ticket_id(agent: str) -> str:
    return work.ticket()


def _external(ticket_id: str) -> str:
    external_id = db.session.get_one(Ticket, ticket_id).external_id
    db.session.rollback()
    return external_id


def _says(ticket_id: str, body: str = "Stop, I found it", author: str = "customer") -> None:
    external_id = _external(ticket_id)
    with transaction():
        intake.message(external_id, external_id=f"m-{len(body)}", author=author, body=body, at=None, source="tests")


def _sent_back(proposal_id: str, book: Ledger) -> str:
    jobs.execute(proposal_id)
    proposal = work.row(proposal_id)
    assert (proposal.state, book.calls(proposal_id)) == ("PENDING", 0)
    return str(proposal.verdict["sent_back"]["rule"])


def test_a_customer_who_wrote_again_sends_the_approved_action_back(
    agent: str, people: People, book: Ledger, clock: Clock, ticket_id: str
) -> None:
    proposal_id = work.propose(agent, ticket_id=ticket_id)
    work.approve(proposal_id, people.ana)
    clock.advance(seconds=5)
    _says(ticket_id)
    assert _sent_back(proposal_id, book) == "customer-wrote"
    clock.advance(seconds=5)
    work.approve(proposal_id, people.ana)
    jobs.execute(proposal_id)
    assert work.state(proposal_id) == "SUCCEEDED"


def test_what_waits_is_shown_anew_when_the_customer_writes(agent: str, people: People, clock: Clock, ticket_id: str) -> None:
    proposal_id = work.propose(agent, ticket_id=ticket_id)
    old = work.seen(proposal_id)
    clock.advance(seconds=5)
    _says(ticket_id)
    jobs.refresh(proposal_id)
    assert work.row(proposal_id).version == 2
    with pytest.raises(StaleDigest):
        work.approve(proposal_id, people.ana, digest=old)
    jobs.refresh(proposal_id)  # nothing new was said since
    assert work.row(proposal_id).version == 2
    work.approve(proposal_id, people.ana)
    jobs.execute(proposal_id)
    assert work.state(proposal_id) == "SUCCEEDED"


def test_an_edit_from_before_the_customer_wrote_decides_nothing(agent: str, people: People, clock: Clock, ticket_id: str) -> None:
    proposal_id = work.propose(agent, ticket_id=ticket_id)
    clock.advance(seconds=5)
    _says(ticket_id)
    with pytest.raises(StaleDigest, match="wrote again"):
        work.edit(proposal_id, people.ana, amount_minor=900)
    assert work.reject(proposal_id, people.ana).state == "REJECTED", "a no needs no second look"


def test_a_word_between_the_look_and_the_proposal_brings_it_back(
    agent: str, people: People, book: Ledger, clock: Clock, ticket_id: str
) -> None:
    prepared = proposals.prepare(proposals.Draft(agent_id=agent, tool="pay_key", arguments=work.arguments(), ticket_id=ticket_id))
    _says(ticket_id)
    clock.advance(seconds=5)
    with transaction():
        proposal_id = proposals.propose(prepared).id
    with pytest.raises(StaleDigest):
        work.approve(proposal_id, people.ana)
    jobs.refresh(proposal_id)
    assert work.row(proposal_id).verdict["sent_back"]["rule"] == "customer-wrote"
    work.approve(proposal_id, people.ana)
    jobs.execute(proposal_id)
    assert work.state(proposal_id) == "SUCCEEDED"


def test_misshapen_arguments_are_no_proposal_but_stand_in_the_record(agent: str) -> None:
    with pytest.raises(BadInput):
        work.propose(agent, amount_minor="much")
    assert [(each.stage, each.kind, each.rule, each.proposal_id) for each in _kept(tool="pay_key")] == [
        ("propose", "refused", "schema", None)
    ]


def test_staff_who_wrote_changes_nothing(agent: str, people: People, clock: Clock, ticket_id: str) -> None:
    proposal_id = work.propose(agent, ticket_id=ticket_id)
    work.approve(proposal_id, people.ana)
    clock.advance(seconds=5)
    _says(ticket_id, author="staff")
    jobs.execute(proposal_id)
    assert work.state(proposal_id) == "SUCCEEDED"


@pytest.mark.parametrize("status", ["solved", "closed"])
def test_a_ticket_that_ended_sends_it_back(
    agent: str, people: People, book: Ledger, clock: Clock, ticket_id: str, status: str
) -> None:  # fmt: skip
    proposal_id = work.propose(agent, ticket_id=ticket_id)
    work.approve(proposal_id, people.ana)
    clock.advance(seconds=5)
    external_id = _external(ticket_id)
    with transaction():
        intake.set_status(external_id, status)
    assert _sent_back(proposal_id, book) == "ticket-ended"


@pytest.fixture
def preview(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, object]]:
    """What the paying tool says of every payment from now on; a word under `refused` is its no."""
    said: dict[str, object] = {}

    def show(arguments: dict[str, object], call: object) -> Preview:
        if "refused" in said:
            raise ToolRefused(str(said["refused"]))
        return Preview("Pay", {"paid": said.get("paid", "0.00")}, {}, customer_id=str(said.get("customer", "c1")))

    tool = toolbox.counting.tools["pay_opaque"]
    object.__setattr__(tool, "preview", show)
    revision = tool.revision
    object.__setattr__(tool, "revision", None)
    yield said
    object.__setattr__(tool, "preview", toolbox._preview)
    object.__setattr__(tool, "revision", revision)


@pytest.mark.parametrize(
    ("moved", "rule"),
    [
        ({"refused": "Only 3.00 are left."}, "no-longer-possible"),
        ({"paid": "5.00"}, "target-moved"),
        ({"customer": "c2"}, "target-moved"),
        ({}, None),
    ],
)
def test_what_the_tool_says_just_before_the_call_counts(
    agent: str, people: People, book: Ledger, preview: dict[str, object], moved: dict[str, object], rule: str | None
) -> None:
    proposal_id = work.propose(agent, "pay_opaque")
    work.approve(proposal_id, people.ana)
    preview.update(moved)
    if rule is None:
        jobs.execute(proposal_id)
        assert work.state(proposal_id) == "SUCCEEDED"
    else:
        assert _sent_back(proposal_id, book) == rule


# ---- the record of verdicts


def _kept(**where: object) -> list[Verdict]:
    db.session.rollback()
    return list(db.session.scalars(select(Verdict).filter_by(**where).order_by(Verdict.at, Verdict.id)))


def test_every_verdict_of_an_action_is_kept_with_what_it_was_asked(agent: str, people: People, ticket_id: str) -> None:
    proposal_id = work.propose(agent, ticket_id=ticket_id)
    work.approve(proposal_id, people.ana)
    jobs.execute(proposal_id)
    kept = _kept(proposal_id=proposal_id)
    assert [(each.stage, each.kind, each.version, each.amount_minor) for each in kept] == [
        ("propose", "needs_approval", 1, 1000),
        ("claim", "needs_approval", 1, 1000),
    ]
    for each in kept:
        assert each.policy_hash == library.in_force().hash
        again = check.evaluate(check.Input.from_json(each.input), {"amount_minor": 1000}, library.in_force())
        assert isinstance(again, check.NeedsApproval)
        assert again.rule == each.rule
        assert "args" not in each.input["context"]  # they stand in the version, once


def test_a_refused_proposal_and_a_refused_read_are_kept_too(agent: str) -> None:
    proposal_id = work.propose(agent, amount_minor=2_000_000)
    assert [(each.kind, each.rule) for each in _kept(proposal_id=proposal_id)] == [("refused", "too-large")]
    assert reads.call("read_account", {"account": "c1/main"}, agent_id=agent, ticket_id=None) is not None
    db.session.rollback()
    with pytest.raises(Refused):
        reads.call("pay_key", work.arguments(), agent_id=agent, ticket_id=None)
    db.session.rollback()
    with pytest.raises(BadInput):
        reads.call("read_account", {"account": 7}, agent_id=agent, ticket_id=None)
    assert [(each.stage, each.kind, each.rule) for each in _kept(tool="read_account")] == [
        ("read", "allowed", "reads"),
        ("read", "refused", "schema"),
    ]
    assert ("read", "refused", "write-needs-proposal") in {(each.stage, each.kind, each.rule) for each in _kept(tool="pay_key")}


def test_an_outside_agents_session_is_its_work_on_a_ticket_and_it_counts_as_tainted(agent: str, ticket_id: str) -> None:
    bare, ticketed = work.row(work.propose(agent)), work.propose(agent, ticket_id=ticket_id)
    assert (bare.session, bare.tainted) == (agent, True)
    assert work.row(ticketed).session == f"{agent}:{ticket_id}"


def test_a_token_narrower_than_its_agent_is_narrower_at_the_claim_too(agent: str, people: People, book: Ledger) -> None:
    draft = proposals.Draft(agent_id=agent, tool="pay_key", arguments=work.arguments(), token_scopes=("pay_key:write",))
    prepared = proposals.prepare(draft)
    with transaction():
        proposal_id = proposals.propose(prepared).id
    work.approve(proposal_id, people.ana)
    with transaction():
        db.session.get_one(Proposal, proposal_id).token_scopes = ["read_account:read"]
    jobs.execute(proposal_id)
    proposal = work.row(proposal_id)
    assert (proposal.state, proposal.verdict["rule"], book.calls(proposal_id)) == ("DENIED", "scope", 0)
