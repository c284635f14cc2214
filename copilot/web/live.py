"""The event stream of a signed-in browser."""

from __future__ import annotations

from flask import Blueprint, Response, request
from flask.typing import ResponseReturnValue

from copilot.errors import Unavailable
from copilot.live import events

bp = Blueprint("live", __name__)


@bp.get("/events")
def stream() -> ResponseReturnValue:
    """Server-sent events after the last one this browser saw; 503 with a sentence when too many watch."""
    try:
        found = events.stream(request.headers.get("Last-Event-ID"))
    except Unavailable as error:
        return Response(f"{error}\n", status=503, mimetype="text/plain", headers={"Retry-After": "30"})
    return Response(found, mimetype="text/event-stream", headers={"X-Accel-Buffering": "no"})
