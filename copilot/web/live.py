"""The event stream of a signed-in browser."""

from __future__ import annotations

from flask import Blueprint, Response, request
from flask.typing import ResponseReturnValue
from sqlalchemy.exc import SQLAlchemyError

from copilot.db import fresh_context
from copilot.errors import Unavailable
from copilot.live import events
from copilot.people import sessions
from copilot.web import access

bp = Blueprint("live", __name__)


@bp.get("/events")
def stream() -> ResponseReturnValue:
    """Server-sent events after the last one this browser saw; 503 with a sentence when too many watch."""
    key = access.viewer().key
    try:
        found = events.stream(request.headers.get("Last-Event-ID"), holder=key, may_go_on=lambda: _signed_in(key))
    except Unavailable as error:
        return Response(f"{error}\n", status=503, mimetype="text/plain", headers={"Retry-After": "30"})
    return Response(found, mimetype="text/event-stream", headers={"X-Accel-Buffering": "no"})


def _signed_in(key: str) -> bool:
    """Whether the session lives still; without a database nobody knows, and a browser that comes back is asked anew."""
    try:
        with fresh_context():
            return sessions.find(key) is not None
    except SQLAlchemyError:
        return False
