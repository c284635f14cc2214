"""The doorbell: rings for a job by ids alone. Redis and RQ only wake workers; what a lost ring leaves undone, the sweeper finds."""

from __future__ import annotations

import logging

import redis
import rq
from rq.serializers import JSONSerializer

from copilot import config
from copilot.gateway import limits

logger = logging.getLogger(__name__)

QUEUE_OF = {
    "draft": "draft",
    "refresh": "draft",
    "execute": "execute",
    "look_up": "execute",
    "deliver": "upkeep",
    "roll_up": "upkeep",
    "replay": "upkeep",
    "look_again": "upkeep",
}

_queues: dict[str, rq.Queue] = {}


def connect(url: str | None) -> None:
    """Use this Redis; without one nothing rings and the sweeper still finds everything."""
    _queues.clear()
    if url is not None:
        connection = redis.Redis.from_url(url, socket_connect_timeout=1, socket_timeout=3)
        _queues.update({name: rq.Queue(name, connection=connection, serializer=JSONSerializer) for name in config.QUEUES})


def enqueue(name: str, *ids: str) -> bool:
    """Ring for one job of `copilot.jobs`; False, and a log line, when Redis is away. Never raises: the sweeper repairs."""
    queue = _queues.get(QUEUE_OF[name])
    if queue is None:
        return False
    try:
        queue.enqueue(f"copilot.jobs.{name}", args=ids, job_timeout=limits.JOB_TIMEOUT, result_ttl=0, failure_ttl=3600)
    except redis.RedisError as error:
        logger.warning("could not ring for %s (%s); the sweeper will", name, type(error).__name__)
        return False
    return True
