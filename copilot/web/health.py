"""Whether this installation lives and is ready, and its numbers for Prometheus. Open to anybody, and telling nothing else."""

from __future__ import annotations

from datetime import timedelta

from flask import Blueprint, Response, jsonify
from flask.typing import ResponseReturnValue
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Gauge, generate_latest
from sqlalchemy import func, select, text
from sqlalchemy.exc import SQLAlchemyError

from copilot import config
from copilot.db import db, now
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
    """Database, Redis, and for each queue a worker seen within the last minute; 503 names what is missing."""
    checks = {"database": _database(), "redis": events.reachable()}
    checks |= {f"worker {queue}": checks["database"] and _beating(queue) for queue in config.QUEUES}
    ok = all(checks.values())
    return jsonify(
        status="ready" if ok else "not ready", checks={name: "ok" if good else "missing" for name, good in checks.items()}
    ), 200 if ok else 503


@bp.get("/metrics")
def metrics() -> ResponseReturnValue:
    """What waits and what beats, read from the database at each scrape, so every process tells the same."""
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
    return Response(generate_latest(registry), content_type=CONTENT_TYPE_LATEST)


def _database() -> bool:
    try:
        db.session.execute(text("SELECT 1"))
    except SQLAlchemyError:
        db.session.rollback()
        return False
    return True


def _beating(kind: str) -> bool:
    newest = db.session.execute(select(func.max(Heartbeat.at)).where(Heartbeat.kind == kind)).scalar_one_or_none()
    return newest is not None and now() - newest <= FRESH
