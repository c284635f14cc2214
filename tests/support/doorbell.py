"""The doorbell answered in this process: runs what was rung for, the way a worker would, one job after the other."""

from __future__ import annotations

import redis
import rq
from rq.serializers import JSONSerializer

from copilot import jobs
from copilot.db import db


def rung(url: str, queue: str = "execute") -> list[tuple[str, tuple[str, ...]]]:
    """Take every waiting job off a queue: its name and the ids it carries."""
    with redis.Redis.from_url(url) as connection:
        waiting = rq.Queue(queue, connection=connection, serializer=JSONSerializer)
        found = []
        for job in waiting.get_jobs():
            found.append((job.func_name.removeprefix("copilot.jobs."), tuple(job.args)))
            job.delete()
        return found


def drain(url: str, queue: str = "execute", *, rounds: int = 20) -> int:
    """Answer until nobody rings; gives how many jobs were done."""
    done = 0
    for _ in range(rounds):
        waiting = rung(url, queue)
        if not waiting:
            break
        for name, ids in waiting:
            getattr(jobs, name)(*ids)
            db.session.rollback()
            done += 1
    return done
