"""A claim and what must stop it, at one moment: nothing slips past a switch, a disabling, or a counter that decides how many people."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import pytest
from flask import Flask

from copilot import jobs
from copilot.db import db, fresh_context, transaction
from copilot.gate import policy, switches
from copilot.gateway import reserve
from copilot.models import Agent
from copilot.people import principals
from tests.support import tools as toolbox
from tests.support import work
from tests.support.ledger import Ledger
from tests.support.people import People

pytestmark = pytest.mark.both_databases


@pytest.fixture
def held_up(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[threading.Event, threading.Event]]:
    """A claim that stands still just before it commits: whether it got there, and the word to go on."""
    inside, go = threading.Event(), threading.Event()
    real = reserve.reserve

    def slow(*args: object, **named: object) -> None:
        real(*args, **named)  # type: ignore[arg-type]  # whatever it is given
        inside.set()
        go.wait(20)

    monkeypatch.setattr(reserve, "reserve", slow)
    yield inside, go
    go.set()


def _apart(app: Flask, work_: Callable[[], None]) -> threading.Thread:
    def target() -> None:
        with fresh_context():
            work_()

    thread = threading.Thread(target=target)
    thread.start()
    return thread


def _throw(people: People) -> None:
    switches.throw("all", by=people.row("bo"), reason="an incident")


def _disable(people: People) -> None:
    principals.disable("refund-desk", by=people.row("dee"))


@pytest.mark.parametrize("stop", [_throw, _disable])
def test_what_must_stop_claims_waits_for_those_under_way_and_their_calls_are_not_made(
    app: Flask, agent: str, people: People, book: Ledger, held_up: tuple[threading.Event, threading.Event], stop: Callable[[People], None]
) -> None:
    inside, go = held_up
    proposal_id = work.propose(agent)
    work.approve(proposal_id, people.ana)
    stopped = threading.Event()

    def stopping() -> None:
        with transaction():
            stop(people)
        stopped.set()

    claiming = _apart(app, lambda: jobs.execute(proposal_id))
    assert inside.wait(20)
    barring = _apart(app, stopping)
    assert not stopped.wait(0.5), "it waits for the claim under way"
    go.set()
    claiming.join(30)
    barring.join(30)
    assert stopped.is_set()
    calls, state = book.calls(proposal_id), work.state(proposal_id)
    assert (calls, state) in ((1, "SUCCEEDED"), (0, "FAILED")), "the call was over before, or is not made"
    other = work.propose(agent) if stop is _disable else None
    if other is not None:
        assert work.state(other) == "DENIED"


def test_a_call_is_not_made_when_the_switch_was_thrown_since_the_claim(
    agent: str, people: People, book: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    proposal_id = work.propose(agent)
    work.approve(proposal_id, people.ana)
    real_stopped = jobs.writes.stopped

    def stopped(claimed: object) -> object:
        with transaction():
            switches.throw("tool:pay_key", by=people.row("bo"), reason="an incident")
        return real_stopped(claimed)  # type: ignore[arg-type]  # the claim

    monkeypatch.setattr(jobs.writes, "stopped", stopped)
    jobs.execute(proposal_id)
    proposal = work.row(proposal_id)
    assert (proposal.state, book.calls(proposal_id)) == ("FAILED", 0)
    assert "kill switch" in str(proposal.outcome)


SECOND_NEEDS_TWO = """
@id("second-needs-two")
@sentence("From the second payment in a day two people decide.")
forbid (principal, action == Action::"approve_alone", resource)
when { context.used has "payments-a-day" && context.used["payments-a-day"] >= 1 };
"""
COUNTED = """
[[budget]]
id = "payments-a-day"
tools = ["*"]
per = "agent"
seconds = 86_400
count = 100
sentence = "At most a hundred payments in a day."
"""


def test_two_claims_at_once_are_not_both_the_first(app: Flask, agent: str, people: People, book: Ledger) -> None:
    files = {**policy.current().files, "second.cedar": SECOND_NEEDS_TWO, "budgets.toml": COUNTED}
    policy.install(policy.from_files(files, toolbox.counting.tools.values()))
    both = [work.propose(agent), work.propose(agent)]
    for proposal_id in both:
        work.approve(proposal_id, people.ana)
    threads = [_apart(app, lambda proposal_id=proposal_id: jobs.execute(proposal_id)) for proposal_id in both]  # type: ignore[misc]  # a default binds it
    for thread in threads:
        thread.join(30)
    assert sorted(work.state(proposal_id) for proposal_id in both) == ["PENDING", "SUCCEEDED"]


# ---- no look for whom the gate stops anyway


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[object]]:
    """Every look at a target through the keyed tool's preview."""
    seen: list[object] = []
    tool = toolbox.counting.tools["pay_key"]
    real = tool.preview
    assert real is not None

    def show(arguments: dict[str, object], call: object) -> object:
        seen.append(arguments)
        return real(arguments, call)  # type: ignore[arg-type]  # as the tool is called

    object.__setattr__(tool, "preview", show)
    yield seen
    object.__setattr__(tool, "preview", real)


@pytest.mark.parametrize("scopes", [["read_account:read"], ["pay_key:write;region=EU"], ["pay_key:write;ticket=T-9"]])
def test_an_agent_without_the_scope_gets_no_look_at_the_target(
    agent: str, people: People, book: Ledger, looks: list[object], scopes: list[str]
) -> None:
    with transaction():
        db.session.get_one(Agent, agent).scopes = scopes
    proposal = work.row(work.propose(agent))
    assert (proposal.state, proposal.verdict["rule"], looks) == ("DENIED", "scope", [])


def test_nothing_is_looked_at_under_a_kill_switch(agent: str, people: People, book: Ledger, looks: list[object]) -> None:
    proposal_id = work.propose(agent)
    work.approve(proposal_id, people.ana)
    looks.clear()
    with transaction():
        switches.throw("all", by=people.bo, reason="an incident")
    jobs.execute(proposal_id)
    with pytest.raises(Exception, match="kill switch"):
        work.propose(agent)
    assert (looks, book.calls(proposal_id), work.state(proposal_id)) == ([], 0, "APPROVED")
