"""`copilot bench`: how long from a decision to its effect, beside what RQ alone takes from enqueue to start, in the same run.

A whole installation with the sample shop is started on free ports. One approval and one empty job take turns, so that both see
the same machine in the same minute, the workers are warm, and nothing else runs.
"""

from __future__ import annotations

import json
import os
import secrets
import sys
import time
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import redis
from rq import Queue
from rq.serializers import JSONSerializer
from sqlalchemy import select

from copilot import config, jobs
from copilot.app import create_app
from copilot.db import db, read_again, transaction
from copilot.errors import SetupError
from copilot.models import Proposal
from copilot.people import accounts, principals
from copilot.processes import checker, logs, sample, start, supervisor
from copilot.processes.output import to_files
from copilot.review import decisions, proposals

MOST = 1500  # the sample company's own rate limit is 2,000 actions an hour
_WARM = 10
_PAUSE = 0.02  # seconds between two measurements
_PATIENCE = 30.0


def measure(proposals: int) -> dict[str, Any]:
    """Start an installation, measure inside it, and return the figures in milliseconds."""
    with TemporaryDirectory(prefix="copilot-bench-") as folder:
        plan = supervisor.Plan(Path(folder), port=0, demo=True)
        with supervisor.running(plan, to_files(plan.data_dir / "logs")) as made:
            child = supervisor.guest("bench", "copilot.processes.bench", str(proposals), environ=made.environ)
            code, said = made.family.task(child, seconds=60 + proposals)
            figures = start.last_object(said)
            if code != 0 or figures is None:
                raise SetupError(f"The measurement failed: {child.last or f'exit code {code}'}")
            return figures


def mark(token: str) -> None:
    """The empty job: says when it started."""
    began = time.time()
    with redis.Redis.from_url(str(config.current().redis_url)) as client:
        client.lpush(f"bench:{token}", repr(began))
        client.expire(f"bench:{token}", 60)


def inside(proposals: int, *, shop: str) -> dict[str, Any]:
    """Measure in the current application."""
    agent_id, reviewer = _cast()
    client = redis.Redis.from_url(str(config.current().redis_url))
    queue = Queue("execute", connection=client, serializer=JSONSerializer)
    started, approved = [], {}
    for number in range(_WARM + proposals):
        took = _ring(client, queue)
        proposal_id, at = _approve(number, agent_id, reviewer)
        if number >= _WARM:
            started.append(took)
            approved[proposal_id] = at
        time.sleep(_PAUSE)
    effects = {effect.key: effect.at for effect in checker.ledger(shop) if effect.key in approved}
    taken = [(effects[key] - at).total_seconds() * 1000 for key, at in approved.items()]
    effect, start_ = percentile(taken, 95), percentile(started, 95)
    return {
        "actions": len(taken),
        "approval_to_effect_p50_ms": percentile(taken, 50),
        "approval_to_effect_p95_ms": effect,
        "rq_enqueue_to_start_p50_ms": percentile(started, 50),
        "rq_enqueue_to_start_p95_ms": start_,
        "p95_above_rq_ms": round(effect - start_, 1),
        "database": db.engine.dialect.name,
        "worker": "SimpleWorker, one process on the execute queue",
    }


def percentile(values: list[float], rank: int) -> float:
    """The nearest-rank percentile, to a tenth."""
    return round(sorted(values)[max(0, -(-len(values) * rank // 100) - 1)], 1)


def _cast() -> tuple[str, Any]:
    """The sample company's drafting agent, and a reviewer."""
    return principals.find(sample.DRAFTER).id, accounts.find(sample.PEOPLE[0][0])


def _ring(client: redis.Redis, queue: Queue) -> float:
    token = secrets.token_hex(8)
    sent = time.time()
    queue.enqueue("copilot.processes.bench.mark", args=(token,), job_timeout=30, result_ttl=0)
    answer: Any = client.blpop([f"bench:{token}"], timeout=int(_PATIENCE))
    if answer is None:
        raise SetupError("The execute worker does not answer.")
    return (float(answer[1]) - sent) * 1000


def _approve(number: int, agent_id: str, reviewer: Any) -> tuple[str, datetime]:
    """Propose a reply, approve it as a person would, and wait until it is done; its id and when it was approved."""
    read_again()
    arguments = {"customer_id": f"cus_{2001 + number % 100}", "message": f"Your request number {number} is settled."}
    prepared = proposals.prepare(proposals.Draft(agent_id=agent_id, tool="reply_to_customer", arguments=arguments))
    with transaction():
        proposal = proposals.propose(prepared)
        proposal_id, digest = proposal.id, proposal.digest
    with transaction():
        decisions.decide(proposal_id, reviewer=reviewer, verdict="approve", seen=digest)
    jobs.proposal_changed(proposal_id)
    deadline = time.monotonic() + _PATIENCE
    while time.monotonic() < deadline:
        read_again()
        row = db.session.execute(select(Proposal.state, Proposal.approved_at).where(Proposal.id == proposal_id)).one()
        if row.state == "SUCCEEDED":
            return proposal_id, row.approved_at
        time.sleep(0.01)
    raise SetupError(f"Proposal {proposal_id} is still {row.state}.")


def main(arguments: list[str]) -> None:
    """Measure in the installation that the environment names, and print one JSON object."""
    logs.configure()
    with create_app(web=False).app_context():
        figures = inside(int(arguments[0]), shop=os.environ["COPILOT_SHOP_URL"])
    sys.stdout.write(json.dumps(figures) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
