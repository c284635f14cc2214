"""Short fault tests with real worker processes, a real Valkey and both databases: kill, empty, race."""

from __future__ import annotations

import random
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import redis
from flask import Flask
from sqlalchemy import func, select

from copilot import doorbell, jobs
from copilot.db import db, new_id, now, transaction
from copilot.errors import AlreadyDecided, StaleDigest
from copilot.models import Decision, User
from copilot.people import tokens
from tests.conftest import Browser, Clock
from tests.support import children, crowd, invariants, work, workers
from tests.support.ledger import Ledger
from tests.support.people import People

pytestmark = pytest.mark.timeout(300)

Start = Callable[..., subprocess.Popen[bytes]]


@pytest.fixture
def start(app: Flask, environ: dict[str, str], tmp_path: Path) -> Iterator[Start]:
    """Start real workers; all are ended afterwards."""
    started: list[subprocess.Popen[bytes]] = []

    def one(number: int = 1) -> subprocess.Popen[bytes]:
        started.append(workers.start(environ, tmp_path, number=number))
        return started[-1]

    yield one
    for child in started:
        children.end(child, how=signal.SIGKILL)


def _approved(agent: str, people: People, tool: str = "pay_key") -> str:
    proposal_id = work.propose(agent, tool)
    work.approve(proposal_id, people.ana)
    jobs.proposal_changed(proposal_id)
    return proposal_id


def _sweep_later(clock: Clock) -> None:
    """Let leases lapse, and then let what waits be rung for again."""
    clock.advance(seconds=21)
    jobs.sweep()
    clock.advance(seconds=31)
    jobs.sweep()


@pytest.mark.both_databases
@pytest.mark.parametrize(
    ("tool", "fault", "end", "effects"),
    [
        ("pay_key", "pause_after", "SUCCEEDED", 1),
        ("pay_key", "pause_before", "SUCCEEDED", 1),
        ("pay_lookup", "pause_after", "SUCCEEDED", 1),
        ("pay_opaque", "pause_after", "OUTCOME_UNKNOWN", 1),
        ("pay_opaque", "pause_before", "OUTCOME_UNKNOWN", 0),
    ],
)
def test_a_worker_killed_between_call_and_settle(
    start: Start, agent: str, people: People, book: Ledger, clock: Clock, tool: str, fault: str, end: str, effects: int
) -> None:
    book.fail(tool, fault, seconds=60)
    proposal_id = _approved(agent, people, tool)
    first = start(1)
    workers.until(lambda: book.effects(proposal_id) if fault == "pause_after" else book.calls(proposal_id))
    first.kill()
    first.wait(5)
    start(2)
    assert work.state(proposal_id) == "EXECUTING"
    _sweep_later(clock)
    workers.until(lambda: work.state(proposal_id) == end)
    assert len(book.effects(proposal_id)) == effects
    invariants.check(book)
    assert invariants.stuck(book) == []


@pytest.mark.both_databases
def test_redis_emptied_with_jobs_queued(start: Start, agent: str, people: People, book: Ledger, clock: Clock, valkey: str) -> None:
    ids = [_approved(agent, people, tool) for tool in ("pay_key", "pay_lookup", "pay_both", "pay_opaque") * 3]
    with redis.Redis.from_url(valkey) as connection:
        assert connection.llen("rq:queue:execute") == len(ids)
        connection.flushall()
    start()
    _sweep_later(clock)
    workers.until(lambda: {work.state(proposal_id) for proposal_id in ids} == {"SUCCEEDED"})
    assert Counter(effect.key for effect in book.effects()) == Counter(ids)
    invariants.check(book)


@pytest.mark.both_databases
def test_two_workers_race_for_the_same_proposals(start: Start, agent: str, people: People, book: Ledger) -> None:
    """Every job is rung for ten times over, on tools that would happily pay twice."""
    ids = [_approved(agent, people, "pay_opaque") for _ in range(6)]
    for proposal_id in ids * 9:
        assert doorbell.enqueue("execute", proposal_id)
    for number in (1, 2):
        start(number)
    workers.until(lambda: {work.state(proposal_id) for proposal_id in ids} == {"SUCCEEDED"})
    workers.until(lambda: not doorbell._queues["execute"].job_ids)
    assert {book.calls(proposal_id) for proposal_id in ids} == {1}
    invariants.check(book)


@pytest.mark.both_databases
def test_workers_killed_at_random_while_redis_is_emptied(
    start: Start, agent: str, people: People, book: Ledger, clock: Clock, valkey: str
) -> None:
    """Nothing is lost and nothing doubled; what nobody can know is on the outcome desk, and nowhere else."""
    chance = random.Random(7)
    for tool in ("pay_key", "pay_lookup", "pay_both", "pay_opaque"):
        book.fail(tool, "pause_after", times=6, seconds=0.15)
    ids = [_approved(agent, people, tool) for tool in ("pay_key", "pay_lookup", "pay_both", "pay_opaque") * 6]
    running = [start(1), start(2)]
    for _ in range(3):
        done = len(book.effects())
        workers.until(
            lambda done=done: len(book.effects()) > done or len(book.effects()) == len(ids) or jobs.sweep() or clock.advance(seconds=1)
        )
        time.sleep(chance.random() / 5)
        victim = chance.randrange(2)
        running[victim].kill()
        running[victim] = start(10 + victim)
        with redis.Redis.from_url(valkey) as connection:
            connection.flushall()
        _sweep_later(clock)

    def quiet() -> bool:
        jobs.sweep()
        clock.advance(seconds=6)
        return not invariants.stuck(book) and {work.state(i) for i in ids} <= {"SUCCEEDED", "OUTCOME_UNKNOWN"}

    workers.until(quiet, seconds=150, every=0.2)
    invariants.check(book)
    unknown = {work.row(i).tool for i in ids if work.state(i) == "OUTCOME_UNKNOWN"}
    assert unknown <= {"pay_opaque", "pay_lookup"}
    assert len(book.effects()) >= len(ids) - 3, "at most the calls that were killed did not happen"


def _operators() -> list[str]:
    """Forty operators, inside a transaction; gives their ids."""
    ids, at = [new_id("user") for _ in range(40)], now()
    for number, user_id in enumerate(ids):
        db.session.add(User(id=user_id, email=f"o{number}@example.com", name=f"O{number}", role="operator", active=True, created_at=at))
    db.session.flush()
    return ids


@pytest.mark.both_databases
def test_forty_decide_at_once_and_exactly_one_wins(app: Flask, agent: str, people: People, book: Ledger) -> None:
    with transaction():
        ids = _operators()
    proposal_id = work.propose(agent)
    shown = work.seen(proposal_id)

    def decide(number: int) -> Any:
        who = db.session.get_one(User, ids[number])
        if number % 4 == 3:
            return work.edit(proposal_id, who, digest=shown, amount_minor=500 + number)
        return (work.reject if number % 2 else work.approve)(proposal_id, who, digest=shown)

    results = crowd.at_once(app, [partial(decide, number) for number in range(40)])
    won = [result for result in results if not isinstance(result, Exception)]
    assert len(won) == 1
    assert all(isinstance(result, AlreadyDecided | StaleDigest) for result in results if result not in won), results
    assert work.state(proposal_id) == won[0].state
    db.session.rollback()
    decisions = db.session.execute(select(Decision.verdict, Decision.reviewer_id).where(Decision.proposal_id == proposal_id)).all()
    assert len({reviewer for _, reviewer in decisions}) == 1
    invariants.check(book)


@pytest.mark.both_databases
def test_forty_decide_at_once_by_the_api(app: Flask, agent: str, people: People, book: Ledger, valkey: str) -> None:
    """The same through the door programs use: one 200, thirty-nine 409, one effect."""
    with transaction():
        secrets = [tokens.issue_person(db.session.get_one(User, user_id), "race") for user_id in _operators()]
    proposal_id = work.propose(agent, "pay_opaque")
    shown = work.seen(proposal_id)

    def post(number: int) -> int:
        body: dict[str, Any] = {"verdict": "approve", "digest": shown}
        if number % 2:
            body = {"verdict": "reject", "digest": shown, "reason": {"code": "wrong_action"}}
        headers = {"Authorization": f"Bearer {secrets[number]}"}
        client = Browser(app)
        return int(client.post(f"/api/v1/proposals/{proposal_id}/decisions", json=body, headers=headers).status_code)

    codes = Counter(crowd.at_once(app, [partial(post, number) for number in range(40)]))
    assert codes == {200: 1, 409: 39}
    db.session.rollback()
    assert db.session.scalar(select(func.count()).select_from(Decision).where(Decision.proposal_id == proposal_id)) == 1
    jobs.execute(proposal_id)
    assert work.state(proposal_id) in ("SUCCEEDED", "REJECTED")
    invariants.check(book)
