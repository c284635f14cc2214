"""The notifications outbox: what was sent, what waits, and what gave up."""

from __future__ import annotations

from flask import Blueprint, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from sqlalchemy import select

from copilot import config, doorbell
from copilot.db import transaction
from copilot.models import Notification
from copilot.notify import messages, outbox
from copilot.web import access
from copilot.web.forms import PlainForm
from copilot.web.paging import keyset

bp = Blueprint("notifications", __name__, url_prefix="/notifications")

STATES = ("waiting", "sent", "dead", "unsent")


@bp.get("")
@access.managers
def index() -> ResponseReturnValue:
    """Notifications, newest first."""
    state = request.args.get("state", "")
    statement = select(Notification)
    if state in STATES:
        statement = statement.where(Notification.state == state)
    page = keyset(statement, Notification.created_at, Notification.id, cursor=request.args.get("cursor"))
    return render_template(
        "notifications.html",
        page=page,
        state=state,
        states=STATES,
        counts=outbox.counts(),
        titles=messages.TITLES,
        connected=config.current().slack_webhook_url is not None,
        form=PlainForm(),
    )


@bp.post("/<note_id>/retry")
@access.managers
def retry(note_id: str) -> ResponseReturnValue:
    """Send one again from the start."""
    person = access.viewer()
    with transaction():
        outbox.retry(note_id, by=person.user_id)
    doorbell.enqueue("deliver")
    flash("It goes out again.", "success")
    return redirect(url_for("notifications.index"), code=303)
