"""Every error as a page: what happened, why, and what to do next."""

from __future__ import annotations

import logging

from flask import Flask, Response, current_app, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from flask_login import current_user
from flask_wtf.csrf import CSRFError
from werkzeug.exceptions import HTTPException

from copilot.db import db
from copilot.errors import CopilotError, NotAuthenticated

_log = logging.getLogger(__name__)

_NEXT = {
    400: "Go back, reload the page and try again.",
    401: "Sign in and try again.",
    403: "Ask somebody with the role it needs, or go back to the queue.",
    404: "Check the link, or find it from the queue or the record.",
    405: "Go back to the page you came from.",
    409: "Open it again to see how it stands now.",
    413: "Shorten it and send it again.",
    422: "Go back, correct it and send it again.",
    429: "Wait a minute, then try again.",
    500: "Try again. If it happens again, tell whoever runs this installation, with the time of this page.",
    503: "Try again in a moment. Nothing was lost.",
}
_TITLES = {
    400: ("That request made no sense here", "The browser sent something this page cannot read."),
    404: ("There is nothing here", "No page has this address."),
    405: ("That is not how this page is used", "The address exists, but not for this kind of request."),
    413: ("That is too much at once", "What was sent is larger than this page accepts."),
    429: ("Too many tries", "There were too many tries in a short time, so the door is shut for a moment."),
}


def install(app: Flask) -> None:
    """Register the handlers for everything that goes wrong on a page."""
    app.register_error_handler(CSRFError, _forged)
    app.register_error_handler(CopilotError, _ours)
    app.register_error_handler(HTTPException, _http)
    app.register_error_handler(Exception, _unexpected)


def page(status: int, title: str, why: str, *, what_next: str | None = None, rule: str | None = None) -> ResponseReturnValue:
    """The error page, or plain text for a page's own script."""
    if request.headers.get("X-Requested-With") == "fragment" or request.path.startswith("/events"):
        return Response(f"{title}. {why}\n", status=status, mimetype="text/plain")
    text = what_next or _NEXT.get(status, _NEXT[500])
    return render_template("problem.html", status=status, title=title, why=why, what_next=text, rule=rule), status


def _forged(error: CSRFError) -> ResponseReturnValue:
    _log.info("form refused: %s", error.description)
    if not current_user.is_authenticated:
        flash("That form was too old, so nothing was done. Please try once more.", "warning")
        return redirect(url_for("signin.form"), code=303)
    return page(400, "This form is no longer good", "It was opened in an earlier session, so nothing was done.", what_next=_NEXT[400])


def _ours(error: CopilotError) -> ResponseReturnValue:
    db.session.rollback()
    if isinstance(error, NotAuthenticated) and not current_user.is_authenticated:
        return redirect(url_for("signin.form"), code=303)
    if error.status >= 500:
        _log.error("%s on %s: %s", error.code, request.endpoint, error)
    return page(error.status, error.title, str(error), rule=getattr(error, "rule", None))


def _http(error: HTTPException) -> ResponseReturnValue:
    status = error.code or 500
    if status < 400:
        return error.get_response()
    title, why = _TITLES.get(status, ("Something went wrong", error.description or "The request could not be answered."))
    answer = current_app.make_response(page(status, title, why))
    for name, value in error.get_headers():
        if name in ("Allow", "Retry-After"):
            answer.headers[name] = value
    return answer


def _unexpected(error: Exception) -> ResponseReturnValue:
    db.session.rollback()
    _log.exception("unexpected error on %s", request.endpoint, exc_info=error)
    return page(
        500, "Something went wrong on our side", "The page could not be made. Nothing you entered was carried out, unless a page said so."
    )
