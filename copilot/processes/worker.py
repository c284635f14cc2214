"""The worker entry: one process, one queue, one job at a time, in this process (docs/adr/0002).

A job past its time-out is not interrupted by an exception, which would leave unknown halves behind in a process that goes on: the
process ends, as in any crash, and its supervisor starts another. Nothing is lost by that; the database is the record.
"""

from __future__ import annotations

import faulthandler
import logging
import secrets
import socket
import threading
import time
from typing import Any

import redis
from flask import Flask
from rq import Queue, SimpleWorker
from rq.exceptions import StopRequested
from rq.job import Job
from rq.serializers import JSONSerializer
from rq.timeouts import BaseDeathPenalty

from copilot import config, jobs
from copilot.app import create_app
from copilot.errors import SetupError
from copilot.processes import logs, ready
from copilot.processes.stopping import Stop

BEAT = 5.0  # seconds between signs of life
_TTL = 30  # seconds; bounds how long a dead connection can look alive

_log = logging.getLogger(__name__)


class HardDeadline(BaseDeathPenalty):
    """Ends the process, with every thread's stack in the log, when a job outlasts its time-out; works even while C code holds on."""

    def setup_death_penalty(self) -> None:
        """Start the timer."""
        if self._timeout > 0:
            faulthandler.dump_traceback_later(self._timeout, exit=True)

    def cancel_death_penalty(self) -> None:
        """The job was done in time."""
        faulthandler.cancel_dump_traceback_later()


class Worker(SimpleWorker):
    """RQ's in-process worker with an application context per job and no second wait for Redis to come back."""

    death_penalty_class = HardDeadline
    log_result_lifespan = False
    max_connection_wait_time = 2.0  # seconds; RQ's own minute would let a restarted server wait for its workers

    def __init__(self, queue: Queue, *, app: Flask, stop: Stop, **options: Any) -> None:
        super().__init__([queue], **options)
        self._app, self._ending, self._at_work = app, stop, False

    def perform_job(self, job: Job, queue: Queue, execution: Any) -> bool:
        """Run one job in a context of its own, so that it sees a fresh session and leaves none behind."""
        self._at_work = True
        try:
            with self._app.app_context():
                return super().perform_job(job, queue, execution)
        finally:
            self._at_work = False
            if self._ending.asked:  # RQ would first wait for a Redis that may be gone
                raise StopRequested

    def request_stop(self, signum: int, frame: Any) -> None:  # noqa: ARG002 -- a signal handler takes both
        """Finish the job in hand, then end. Unlike RQ's own, it asks Redis nothing: that may be why we are to stop.

        Nor does it ask RQ's state, which stays "busy" when Redis dies at the end of a job.
        """
        self._ending.ask()
        if not self._at_work:
            raise StopRequested
        self._stop_requested = True

    def _install_signal_handlers(self) -> None:
        super()._install_signal_handlers()  # type: ignore[no-untyped-call]  # rq is typed in part
        if self._ending.asked:  # while we were still getting ready
            raise StopRequested


def run(queue: str, *, name: str) -> None:
    """Work on one queue until told to stop, through any number of restarts of Redis."""
    if queue not in config.QUEUES:
        raise SetupError(f"There is no queue {queue}: use one of {', '.join(config.QUEUES)}.")
    logs.configure()
    app = create_app(web=False)
    url = ready.redis(config.current())
    if queue == "draft":
        ready.model(config.current())
    stop = Stop()
    threading.Thread(target=_beat, args=(app, name, queue, stop), daemon=True).start()
    stop.listen()
    while not stop.asked:
        try:
            _work(app, url, queue, name, stop)
        except StopRequested:
            break
        except (redis.RedisError, OSError) as error:
            _log.warning("worker %s: Redis is away (%s); waiting for it", name, type(error).__name__)
        stop.sleep(0.5)


def _work(app: Flask, url: str, queue: str, name: str, stop: Stop) -> None:
    connection = redis.Redis.from_url(url, socket_connect_timeout=5)
    with connection:
        connection.ping()
        worker = Worker(
            Queue(queue, connection=connection, serializer=JSONSerializer),
            app=app,
            stop=stop,
            name=f"{name}.{secrets.token_hex(4)}",  # RQ refuses a name whose last owner was killed
            connection=connection,
            serializer=JSONSerializer,
            default_result_ttl=0,
            worker_ttl=_TTL,
            log_job_description=False,
        )
        try:
            worker.work(logging_level="WARNING")
        finally:
            stop.listen()


def _beat(app: Flask, name: str, queue: str, stop: Stop) -> None:
    while not stop.asked:
        try:
            with app.app_context():
                jobs.beat(name, queue)
        except Exception as error:  # noqa: BLE001 -- a beat that fails shows as a missing beat
            _log.warning("worker %s: no heartbeat (%s)", name, type(error).__name__)
        time.sleep(BEAT)


def main(arguments: list[str]) -> None:
    """`worker QUEUE [NUMBER]`: the number tells the queue's workers on this machine apart."""
    queue, number = arguments[0], arguments[1] if len(arguments) > 1 else "1"
    run(queue, name=f"{queue}-{number}@{socket.gethostname()}"[:100])


if __name__ == "__main__":
    import sys

    main(sys.argv[1:])
