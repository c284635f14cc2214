"""Whether this installation lives and is ready, and its numbers for Prometheus. Open to anybody, and telling nothing else."""

from __future__ import annotations

from datetime import timedelta

from flask import Blueprint, Response, jsonify
from flask.typing import ResponseReturnValue
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Gauge, generate_latest
from sqlalchemy import func, inspect, select
from sqlalchemy.exc import SQLAlchemyError

from copilot import config
from copilot.db import Base, db, now
from copilot.gate import tools
from copilot.gateway import breaker
from copilot.live import events
from copilot.models import Heartbeat
from copilot.notify import outbox
from copilot.review import inbox

bp = Blueprint("health", __name__)

FRESH = timedelta(seconds=60)


@bp.get("/healthz")
def alive() -> ResponseReturnValue:
    """This process answers."""
    return jsonify(status="ok")


@bp.get("/readyz")
def ready() -> ResponseReturnValue:
    """Database, its tables, Redis, and for each queue a worker seen within the last minute; 503 names what is missing."""
    database, tables = _database()
    checks = {"database": database, "tables": tables, "redis": events.reachable()}
    beating = _beating() if tables else frozenset()
    checks |= {f"worker {queue}": queue in beating for queue in config.QUEUES}
    ok = all(checks.values())
    return jsonify(
        status="ready" if ok else "not ready", checks={name: "ok" if good else "missing" for name, good in checks.items()}
    ), 200 if ok else 503


@bp.get("/metrics")
def metrics() -> ResponseReturnValue:
    """What waits and what beats, read from the database at each scrape, so every process tells the same."""
    database, tables = _database()
    if not tables:
        why = "The database lacks tables: run `copilot db upgrade`." if database else "The database does not answer."
        return Response(f"{why}\n", status=503, mimetype="text/plain", headers={"Retry-After": "5"})
    registry = CollectorRegistry()
    counts, notes = inbox.counts(), outbox.counts()
    waiting = Gauge("copilot_waiting", "What waits for a person, capped", ["what"], registry=registry)
    for what in ("pending", "unknown", "held", "needs_human"):
        waiting.labels(what).set(getattr(counts, what))
    notifications = Gauge("copilot_notifications", "Notifications not sent, by state", ["state"], registry=registry)
    for state, number in notes.items():
        notifications.labels(state).set(number)
    beats = Gauge("copilot_heartbeat_age_seconds", "Seconds since the newest sign of life, by kind of process", ["kind"], registry=registry)
    moment = now()
    for kind, at in db.session.execute(select(Heartbeat.kind, func.max(Heartbeat.at)).group_by(Heartbeat.kind)):
        beats.labels(kind).set(max(0.0, (moment - at).total_seconds()))
    health = breaker.standing([tool.name for tool in tools.current().all()], moment).values()
    left_alone = Gauge("copilot_tools_left_alone", "Tools that keep failing and are not called for the moment", registry=registry)
    left_alone.set(sum(each.state != "closed" for each in health))  # which ones is nobody's business who is not signed in
    return Response(generate_latest(registry), content_type=CONTENT_TYPE_LATEST)


def _database() -> tuple[bool, bool]:
    """Whether the database answers, and whether it has every table."""
    try:
        present = inspect(db.session.connection()).get_table_names()
    except SQLAlchemyError:
        db.session.rollback()
        return False, False
    return True, set(Base.metadata.tables) <= set(present)


def _beating() -> frozenset[str]:
    """The kinds of processes that gave a sign of life within the last minute."""
    recently = select(Heartbeat.kind).where(Heartbeat.at >= now() - FRESH).distinct()
    return frozenset(db.session.scalars(recently))
