"""Every error as a page: what happened, why, and what to do next.

A page of ours asks the database who is looking and what waits. So when the database is away, or a page about an error
runs into an error itself, a simpler one takes over, down to plain text: the reader always gets an answer.
"""

from __future__ import annotations

import logging

from flask import Flask, Response, current_app, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from flask_login import current_user
from flask_wtf.csrf import CSRFError
from sqlalchemy.exc import InterfaceError, OperationalError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as NoConnection
from werkzeug.exceptions import HTTPException

from copilot.db import db
from copilot.errors import CopilotError, NotAuthenticated
from copilot.gate import policy, rules

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
_LOOKERS = frozenset({"manager", "admin", "auditor"})
_TITLES = {
    400: ("That request made no sense here", "The browser sent something this page cannot read."),
    404: ("There is nothing here", "No page has this address."),
    405: ("That is not how this page is used", "The address exists, but not for this kind of request."),
    413: ("That is too much at once", "What was sent is larger than this page accepts."),
    429: ("Too many tries", "There were too many tries in a short time, so the door is shut for a moment."),
}


_LISTS = {
    "tools": ("tools.index", "the list of tools"),
    "policies": ("policies.index", "the versions of the policies"),
    "agents": ("agents.index", "the list of agents"),
    "changes": ("changes.index", "the changes"),
    "budgets": ("budgets.index", "the budgets"),
}  # what lists the things below an address, for whoever looked for one that is not there

_AWAY = (OperationalError, InterfaceError, NoConnection)


def install(app: Flask) -> None:
    """Register the handlers for everything that goes wrong on a page, and `next_step(rule)` for templates."""
    app.add_template_global(_next_step, "next_step")
    app.register_error_handler(CSRFError, _forged)
    app.register_error_handler(CopilotError, _ours)
    app.register_error_handler(HTTPException, _http)
    for away in _AWAY:
        app.register_error_handler(away, _database)
    app.register_error_handler(Exception, _unexpected)


def told(error: CopilotError) -> tuple[str, str]:
    """A refusal as a page shows it beside what it was about: its title, and in one text what happened, what next, and by which rule."""
    rule = _rule(error)
    parts = [str(error), *([_next_step(rule), f"Rule: {rule}."] if rule else [])]
    return error.title, " ".join(part for part in parts if part)


def _rule(error: CopilotError) -> str | None:
    """The name of the rule that said no, where it was one."""
    named: str | None = getattr(error, "rule", None)
    return named or (error.code if rules.known(error.code) else None)


def _next_step(rule: str) -> str:
    """What can be done about a refusal by this policy, budget or rule."""
    return policy.current().next_step(rule)


def page(status: int, title: str, why: str, *, what_next: str | None = None, rule: str | None = None) -> ResponseReturnValue:
    """The error page, or plain text for a page's own script."""
    if _for_scripts():
        return Response(f"{title}. {why}\n", status=status, mimetype="text/plain")
    listed = _listed() if status == 404 else None
    text = what_next or (f"Check the link, or find it in {listed[1]}." if listed else _NEXT.get(status, _NEXT[500]))
    try:
        return render_template("problem.html", status=status, title=title, why=why, what_next=text, rule=rule, listed=listed), status
    except _AWAY as error:
        return _database(error)
    except Exception as error:  # noqa: BLE001 - a page about an error may not fail: whatever it was, say it more simply
        _log.exception("the page for status %s could not be made", status, exc_info=error)
        return _simple(status, title, why, text)


def _listed() -> tuple[str, str] | None:
    """The page that lists what this address is one of, with words for it, when there is one and the reader may open it."""
    found = _LISTS.get(request.path.split("/")[1])
    if found is None or found[0] not in current_app.view_functions or not current_user.is_authenticated:
        return None
    return found if found[0] == "budgets.index" or current_user.role in _LOOKERS else None


def _for_scripts() -> bool:
    return request.headers.get("X-Requested-With") == "fragment" or request.path.startswith("/events")


def _simple(status: int, title: str, why: str, what_next: str) -> ResponseReturnValue:
    """A page that needs no database; plain text when even that cannot be made."""
    _let_go()
    if not _for_scripts():
        try:
            return render_template("away.html", status=status, title=title, why=why, what_next=what_next), status
        except Exception as error:  # noqa: BLE001 - the same
            _log.exception("not even the simple page could be made", exc_info=error)
    return Response(f"{title}. {why} {what_next}\n", status=status, mimetype="text/plain")


def _let_go() -> None:
    """Give the connection back; one that is broken cannot even be rolled back."""
    try:
        db.session.rollback()
    except SQLAlchemyError as error:
        _log.warning("could not roll back: %s", type(error).__name__)
        db.session.remove()


def _database(error: Exception) -> ResponseReturnValue:
    _log.error("database not available on %s: %s", request.endpoint, type(error).__name__)
    why = "The database does not answer, or is not set up yet. What you sent last was not recorded, unless a page said so."
    answer = current_app.make_response(_simple(503, "Not available at the moment", why, _NEXT[503]))
    answer.headers["Retry-After"] = "5"
    return answer


def _forged(error: CSRFError) -> ResponseReturnValue:
    _log.info("form refused: %s", error.description)
    if not current_user.is_authenticated:
        flash("That form was too old, so nothing was done. Please try once more.", "warning")
        return redirect(url_for("signin.form"), code=303)
    return page(400, "This form is no longer good", "It was opened in an earlier session, so nothing was done.", what_next=_NEXT[400])


def _ours(error: CopilotError) -> ResponseReturnValue:
    _let_go()
    if isinstance(error, NotAuthenticated) and not current_user.is_authenticated:
        return redirect(url_for("signin.form"), code=303)
    if error.status >= 500:
        _log.error("%s on %s: %s", error.code, request.endpoint, error)
    rule = _rule(error)
    return page(error.status, error.title, str(error), what_next=_next_step(rule) if rule else None, rule=rule)


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
    _let_go()
    _log.exception("unexpected error on %s", request.endpoint, exc_info=error)
    return page(
        500, "Something went wrong on our side", "The page could not be made. Nothing you entered was carried out, unless a page said so."
    )
