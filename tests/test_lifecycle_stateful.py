"""The lifecycle under anything that can happen to it, in any order; after every step the three records must agree.

Hypothesis plays agents, people, workers that crash, pause and answer late, a Redis that is emptied, a clock and a
world that move, and checks the ledger, the database and the log against each other as it goes.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import redis
from hypothesis import assume, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule, run_state_machine_as_test

from copilot import app as application
from copilot import config, jobs
from copilot import db as database
from copilot.db import db, transaction
from copilot.errors import BadInput, Conflict, NotEntitled, Refused, Unavailable
from copilot.gate import switches
from copilot.gateway import adapters, reads, writes
from copilot.gateway.adapters import Claim
from copilot.models import Grant
from copilot.review import outcomes
from tests.support import ROOT, databases, doorbell, invariants, ledger, work
from tests.support import people as staff
from tests.support.tools import WRITES

DECIDERS = ("ana", "bo", "eli", "dee", "cy")
AMOUNTS = (100, 400, 5_000, 5_001, 10_000, 10_001, 60_000)
CHANGES: tuple[dict[str, Any], ...] = (
    {"amount_minor": 50},
    {"amount_minor": 9_001},
    {"amount_minor": 20_000},
    {"account": "c2/x"},
    {"invoice": "i1"},
    {"memo": "m"},
)
FAULTS = (None, None, None, "refuse", "error_before", "error_after")
EXPECTED = (BadInput, Conflict, NotEntitled, Refused, Unavailable)  # a no is an answer; whether it was the right one the records tell


@dataclass
class Hand:
    """A worker with a claim in its hands: perhaps called, perhaps paused for long."""

    claim: Claim
    taken_at: timedelta
    result: adapters.Result | None = None


class Lifecycle(RuleBasedStateMachine):
    """One installation on SQLite with everybody who acts on it."""

    template: Path
    valkey: str

    @initialize()
    def install(self) -> None:
        self.stack = ExitStack()
        self.folder = Path(self.stack.enter_context(tempfile.TemporaryDirectory(prefix="copilot-stateful-")))
        self.book = ledger.make(self.folder / "ledger.sqlite3")
        os.environ[ledger.PLACE] = str(self.book.path)
        with redis.Redis.from_url(self.valkey) as connection:
            connection.flushall()
        environ = {
            "DATABASE_URL": databases.sqlite_copy(self.template, self.folder),
            "REDIS_URL": self.valkey,
            "SECRET_KEY": "tests only, 32 or more characters long",
            "COPILOT_DATA_DIR": str(self.folder),
            "COPILOT_TOOLKITS": "tests.support.tools:counting",
            "COPILOT_POLICY_DIR": str(ROOT / "tests" / "support" / "policies"),
        }
        self.app = application.create_app(config.load(environ), web=False)
        self.stack.enter_context(self.app.app_context())
        self.people = staff.add()
        scopes = tuple(f"{tool}:write" for tool in WRITES)
        self.agents = [staff.add_agent(self.people.ids[owner], name=owner, scopes=scopes) for owner in ("dee", "bo")]
        self.offset = timedelta(0)
        self.ids: list[str] = []
        self.digests: dict[str, list[str]] = {}
        self.hands: list[Hand] = []

    def teardown(self) -> None:
        if not hasattr(self, "stack"):
            return
        try:
            self._become_quiet()
        finally:
            database.set_clock_offset(timedelta(0))
            db.session.remove()
            db.engine.dispose()
            self.stack.close()

    def _advance(self, seconds: float) -> None:
        self.offset += timedelta(seconds=seconds)
        database.set_clock_offset(self.offset)

    def _become_quiet(self) -> None:
        """After everything is quiet, nothing is stuck but what a person can see."""
        with transaction():
            for scope in ("all", "tool:pay_key"):
                switches.release(scope, by=self.people.bo, reason="over")
        self.book.heal()
        for _ in range(8):
            self._advance(31)
            jobs.sweep()
            doorbell.drain(self.valkey)
        invariants.check(self.book)
        assert invariants.stuck(self.book) == []

    def _some(self, data: st.DataObject) -> str:
        return data.draw(st.sampled_from(self.ids), label="proposal")

    def _one(self, data: st.DataObject, state: str) -> str:
        """A proposal in this state; a fresh one when there is none."""
        db.session.rollback()
        found = [proposal_id for proposal_id in self.ids if work.state(proposal_id) == state]
        if found:
            return data.draw(st.sampled_from(found), label=state)
        tool = data.draw(st.sampled_from(WRITES[:4]), label="tool")
        proposal_id = self._proposed(tool=tool, invoice=f"own-{len(self.ids)}", amount_minor=9_000)
        assume(proposal_id is not None)  # under a kill switch nothing is taken up
        assert proposal_id is not None
        if state == "APPROVED":
            work.approve(proposal_id, self.people.bo)
        return proposal_id

    def _proposed(self, *, agent: int = 0, **wanted: Any) -> str | None:
        try:
            made = work.propose(self.agents[agent], **wanted)
        except EXPECTED:
            db.session.rollback()
            return None
        self.ids.append(made)
        self._remember(made)
        return made

    def _remember(self, proposal_id: str) -> None:
        self.digests.setdefault(proposal_id, []).append(work.seen(proposal_id))

    # -- agents

    @rule(
        tool=st.sampled_from(WRITES),
        amount=st.sampled_from(AMOUNTS),
        invoice=st.integers(1, 6),
        agent=st.integers(0, 1),
        requester=st.sampled_from([None, "eli"]),
    )
    def propose(self, tool: str, amount: int, invoice: int, agent: int, requester: str | None) -> None:
        asked = self.people.ids[requester] if requester else None
        self._proposed(agent=agent, tool=tool, amount_minor=amount, invoice=f"i{invoice}", requester_id=asked)

    @rule(tool=st.sampled_from(WRITES), agent=st.integers(0, 1))
    def let_run_alone(self, tool: str, agent: int) -> None:
        with transaction():
            db.session.merge(Grant(agent_id=self.agents[agent], tool=tool, level="auto", percent=100, changed_at=database.now()))

    # -- people

    @precondition(lambda self: self.ids)
    @rule(data=st.data(), who=st.sampled_from(DECIDERS), verb=st.sampled_from(["approve", "approve", "approve", "reject", "withdraw"]))
    def decide(self, data: st.DataObject, who: str, verb: str) -> None:
        """On what is shown now, or on what a page has shown long ago."""
        proposal_id = self._some(data)
        shown = data.draw(st.sampled_from(self.digests[proposal_id]), label="seen")
        try:
            if verb == "withdraw":
                work.withdraw(proposal_id, self.people.row(who))
            else:
                {"approve": work.approve, "reject": work.reject}[verb](proposal_id, self.people.row(who), digest=shown)
        except EXPECTED:
            db.session.rollback()
        jobs.proposal_changed(proposal_id)

    @rule(data=st.data(), who=st.sampled_from(DECIDERS), changes=st.sampled_from(CHANGES), save_only=st.booleans())
    def edit(self, data: st.DataObject, who: str, changes: dict[str, Any], save_only: bool) -> None:
        proposal_id = self._one(data, "PENDING")
        try:
            work.edit(proposal_id, self.people.row(who), save_only=save_only, **changes)
        except EXPECTED:
            db.session.rollback()
        self._remember(proposal_id)
        jobs.proposal_changed(proposal_id)

    @rule(data=st.data(), who=st.sampled_from(["ana", "bo", "cy"]))
    def find_out_what_happened(self, data: st.DataObject, who: str) -> None:
        """A person who looks closely: no call of it is on its way any more, and they say what the bank's book says."""
        on_its_way = {hand.claim.proposal_id for hand in self.hands}
        unknown = [i for i in self.ids if i not in on_its_way and work.state(i) == "OUTCOME_UNKNOWN"]
        if not unknown:
            return
        proposal_id = data.draw(st.sampled_from(unknown), label="unknown")
        happened = bool(self.book.effects(proposal_id))
        try:
            with transaction():
                outcomes.resolve(proposal_id, reviewer=self.people.row(who), happened=happened, note="I looked")
        except EXPECTED:
            db.session.rollback()

    @rule(scope=st.sampled_from(["all", "tool:pay_key"]))
    def kill_switch(self, scope: str) -> None:
        on = scope in switches.thrown()
        with transaction():
            (switches.release if on else switches.throw)(scope, by=self.people.bo, reason="drill")

    @rule(who=st.sampled_from(["ana", "eli"]))
    def hire_or_fire(self, who: str) -> None:
        with transaction():
            self.people.row(who).active = not self.people.row(who).active

    # -- workers

    @rule(data=st.data(), stops=st.sampled_from(["before", "after", "paused", "slow", "never"]), fault=st.sampled_from(FAULTS))
    def work_on(self, data: st.DataObject, stops: str, fault: str | None) -> None:
        """A worker claims, calls and settles; or is killed before or after the call, or holds on to either for long."""
        hand = self._claim(self._one(data, "APPROVED"))
        if hand is None or stops == "before":
            return
        if stops != "paused":
            self._call(hand, fault)
        if stops in ("paused", "slow"):
            self.hands.append(hand)
        elif stops == "never":
            self._settle(hand)

    @rule(data=st.data(), called=st.booleans(), fault=st.sampled_from(FAULTS))
    def a_slow_worker_is_overtaken(self, data: st.DataObject, called: bool, fault: str | None) -> None:
        """Its lease lapses while it is paused; where the key is honoured another one calls, and it wakes later on."""
        slow = self._claim(self._one(data, "APPROVED"))
        if slow is None:
            return
        if called:
            self._call(slow, None)
        self.hands.append(slow)
        self.leases_lapse()
        quick = self._claim(slow.claim.proposal_id)
        if quick is not None:
            self._call(quick, fault)
            self._settle(quick)

    def _claim(self, proposal_id: str) -> Hand | None:
        observed = reads.observe(proposal_id)
        if observed is None:
            return None
        with transaction():
            taken = writes.claim(proposal_id, observed)
        return Hand(taken, self.offset) if isinstance(taken, Claim) else None

    @precondition(lambda self: self.hands)
    @rule(data=st.data(), crash=st.booleans(), fault=st.sampled_from(FAULTS))
    def go_on(self, data: st.DataObject, crash: bool, fault: str | None) -> None:
        """A paused worker wakes, however late: its fence may be long lost."""
        hand = data.draw(st.sampled_from(self.hands), label="hand")
        self.hands.remove(hand)
        if hand.result is None:
            self._call(hand, fault)
        if not crash:
            self._settle(hand)

    def _call(self, hand: Hand, fault: str | None) -> None:
        """It calls, unless its time is over; under a key that is honoured, a call may also arrive after a long delay."""
        tool, late = hand.claim.tool, self.offset - hand.taken_at
        arrives = late < timedelta(seconds=tool.key_lifetime or tool.timeout)
        if fault:
            self.book.fail(tool.name, fault)
        claim = hand.claim if arrives else replace(hand.claim, expires_at=hand.claim.expires_at - late)
        hand.result = adapters.perform(claim)
        self.book.heal()

    def _settle(self, hand: Hand) -> None:
        assert hand.result is not None
        with transaction():
            writes.settle(hand.claim, hand.result)

    @rule()
    def answer_the_doorbell(self) -> None:
        doorbell.drain(self.valkey)

    @precondition(lambda self: self.ids)
    @rule(data=st.data())
    def ring_for_nothing(self, data: st.DataObject) -> None:
        """A job delivered twice, or for something long over, or never approved."""
        jobs.execute(self._some(data))

    # -- the world

    @rule()
    def empty_redis(self) -> None:
        with redis.Redis.from_url(self.valkey) as connection:
            connection.flushall()

    @rule()
    def sweep(self) -> None:
        jobs.sweep()

    @rule(seconds=st.sampled_from([1, 12, 22, 40, 4_000, 30_000, 90_000]))
    def time_passes(self, seconds: int) -> None:
        self._advance(seconds)
        if seconds > 86_400:
            self.book.forget()

    @rule()
    def leases_lapse(self) -> None:
        self._advance(22)
        jobs.sweep()

    @rule(account=st.sampled_from(["c1/main", "c2/x"]))
    def the_target_moves(self, account: str) -> None:
        self.book.move(account)

    @invariant()
    def promises_hold(self) -> None:
        if hasattr(self, "book"):
            invariants.check(self.book)


@pytest.mark.timeout(600)
def test_the_lifecycle_survives_anything(sqlite_template: Path, valkey_server: str, tmp_path: Path) -> None:
    template = tmp_path / "template.sqlite3"
    shutil.copyfile(sqlite_template, template)
    machine = type("Installation", (Lifecycle,), {"template": template, "valkey": valkey_server})
    examples = int(os.environ.get("LIFECYCLE_EXAMPLES", "25"))
    profile = settings(max_examples=examples, stateful_step_count=50, deadline=None, derandomize=examples == 25, print_blob=True)
    run_state_machine_as_test(machine, settings=profile)
