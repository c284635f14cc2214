"""Every error of the API as application/problem+json (RFC 9457): what went wrong in words, never a stack trace."""

from __future__ import annotations

import json
import logging
import secrets
from collections.abc import Mapping

from flask import Blueprint, Response, request
from sqlalchemy.exc import OperationalError
from sqlalchemy.exc import TimeoutError as NoConnection
from werkzeug.exceptions import HTTPException

from copilot.db import db
from copilot.errors import CopilotError, NotAuthenticated, SetupError
from copilot.gate import policy, rules

_log = logging.getLogger(__name__)

_CODES = {
    400: "bad-request",
    404: "not-found",
    405: "method-not-allowed",
    408: "time-out",
    413: "too-large",
    415: "wrong-content-type",
    429: "too-many-requests",
}
_DETAILS = {413: "The body is larger than 256 KiB."}
_NEXT = {
    400: "Correct the request and send it again.",
    401: "Ask for a new token and send the request again with it.",
    403: "Ask a manager or an admin who may.",
    404: "Check the address; the OpenAPI document lists what there is.",
    405: "Use one of the methods this address takes.",
    408: "Send the request again.",
    409: "Read it again to see how it stands now, then decide anew.",
    413: "Send less at once.",
    415: "Send the body as JSON.",
    422: "Correct what is named and send it again.",
    429: "Wait a minute, then try again.",
    503: "Send the same request again in a moment; repeating it does no harm.",
}


def install(bp: Blueprint) -> None:
    """Register the handlers for everything that goes wrong in the API."""
    bp.register_error_handler(CopilotError, _ours)
    bp.register_error_handler(HTTPException, _http)
    bp.register_error_handler(OperationalError, _database)
    bp.register_error_handler(NoConnection, _database)
    bp.register_error_handler(Exception, _unexpected)


def problem(
    status: int, title: str, detail: str, *, code: str, problems: Mapping[str, str] | None = None, rule: str | None = None
) -> Response:
    """One problem document. `code` is what a program tells problems apart by, `problems` a sentence per field.

    `rule` names what said no where it was a rule, and `next_step` what can be done about it.
    """
    document: dict[str, object] = {"type": f"urn:copilot:problem:{code}", "title": title, "status": status, "detail": detail, "code": code}
    if rule:
        document["rule"] = rule
    document["problems"] = dict(problems or {})
    document["next_step"] = policy.current().next_step(rule) if rule else _NEXT.get(status, "")
    response = Response(json.dumps(document), status=status, mimetype="application/problem+json")
    response.headers["Cache-Control"] = "no-store"
    if status == 503:
        response.headers["Retry-After"] = "1"
    return response


def _ours(error: CopilotError) -> Response:
    db.session.rollback()
    if isinstance(error, SetupError) or error.status == 500:
        return _unexpected(error)
    rule = getattr(error, "rule", None) or (error.code if rules.known(error.code) else None)
    response = problem(error.status, error.title, str(error), code=error.code, problems=getattr(error, "problems", None), rule=rule)
    if isinstance(error, NotAuthenticated):
        sent = ', error="invalid_token"' if "Authorization" in request.headers else ""
        response.headers["WWW-Authenticate"] = f'Bearer realm="copilot"{sent}'
    return response


def _http(error: HTTPException) -> Response:
    db.session.rollback()
    status = error.code or 500
    if status < 400:
        return Response(status=status, headers=error.get_headers())  # a redirect is no problem
    detail = _DETAILS.get(status) or error.description or error.name
    response = problem(status, error.name, detail, code=_CODES.get(status, "http-error"))
    for name, value in error.get_headers():
        if name in ("Allow", "Retry-After"):
            response.headers[name] = value
    return response


def _database(error: Exception) -> Response:
    db.session.rollback()
    _log.warning("database not available to the API: %s", type(error).__name__)
    detail = "The database did not answer in time. Look again to see whether it was done; repeating the same request does no harm."
    return problem(503, "Not available at the moment", detail, code="unavailable")


def _unexpected(error: Exception) -> Response:
    db.session.rollback()
    incident = secrets.token_hex(6)
    _log.error("unexpected error %s on %s", incident, request.endpoint, exc_info=error)
    detail = f"This is our fault and is logged as {incident}. Look at the record before repeating anything."
    return problem(500, "Something went wrong on our side", detail, code="error")
