"""POST /token: OAuth 2.0 client credentials (RFC 6749, section 4.4), with that standard's own error answers."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from flask import Response, request
from werkzeug.exceptions import BadRequest

from copilot.api import edge
from copilot.api.edge import bp
from copilot.db import transaction
from copilot.gate import identity
from copilot.models import Agent
from copilot.people import principals, tokens

MOST_FAILURES = 30  # a minute and address; the secrets cannot be guessed, this keeps the log from being flooded

_LONGEST = 2_000
_failures: dict[str, int] = {}
_minute = 0
_lock = threading.Lock()


class _No(Exception):
    """An OAuth 2.0 error on its way to the answer."""

    def __init__(self, error: str, description: str, *, status: int = 400) -> None:
        super().__init__(description)
        self.error = error
        self.status = status


@dataclass(frozen=True, slots=True)
class _Credentials:
    client_id: str
    client_secret: str


@bp.post("/token")
def give_token() -> Response:
    """Exchange an agent's id (or name) and secret for a token of at most 15 minutes."""
    try:
        asked = _parameters()
        if asked.get("grant_type") != "client_credentials":
            raise _No("unsupported_grant_type", "grant_type is client_credentials.")
        agent = _agent(asked)
        scopes = _scopes(agent, asked.get("scope", ""))
        access, seconds = tokens.agent_token(agent.id, scopes)
    except _No as no:
        return _answer({"error": no.error, "error_description": str(no)}, no.status)
    return _answer({"access_token": access, "token_type": "Bearer", "expires_in": seconds, "scope": " ".join(scopes)}, 200)


def _parameters() -> Mapping[str, str]:
    """The parameters, from a form as the standard says or from JSON; each a string, given once."""
    pairs: list[tuple[str, Any]]
    if request.mimetype == "application/json":
        data = request.get_data(cache=False)
        try:
            problems = edge.unsound(data)
        except BadRequest as error:
            raise _No("invalid_request", str(error.description)) from error
        value = json.loads(data)
        if problems or not isinstance(value, dict):
            raise _No("invalid_request", "The body is an object of strings.")
        pairs = list(value.items())
    elif request.mimetype == "application/x-www-form-urlencoded":
        pairs = list(request.form.items(multi=True))
    else:
        raise _No("invalid_request", "Send a form or JSON.")
    if len({name for name, _ in pairs}) != len(pairs):
        raise _No("invalid_request", "A parameter is given twice.")
    if not all(isinstance(value, str) and len(value) <= _LONGEST and "\0" not in value for _, value in pairs):
        raise _No("invalid_request", "Every parameter is a string of ordinary length.")
    return dict(pairs)


def _agent(asked: Mapping[str, str]) -> Agent:
    given = _credentials(asked)
    address = request.remote_addr or ""
    if _too_many(address):
        raise _No("invalid_client", "Too many failed attempts from here; wait a minute.", status=429)
    agent = principals.check(given.client_id, given.client_secret)
    if agent is None:
        _count(address)
        with transaction():
            principals.failed(given.client_id)
        raise _No("invalid_client", "These client credentials are not valid.", status=401)
    return agent


def _credentials(asked: Mapping[str, str]) -> _Credentials:
    basic = request.authorization
    in_body = "client_id" in asked or "client_secret" in asked
    if basic is not None and basic.type == "basic":
        if in_body:
            raise _No("invalid_request", "Send the client credentials in one place, not in two.")
        name, secret = str(basic.username or ""), str(basic.password or "")
    else:
        name, secret = asked.get("client_id", ""), asked.get("client_secret", "")
    if not name or not secret or "\0" in name + secret or len(name) > _LONGEST or len(secret) > _LONGEST:
        raise _No("invalid_client", "Send client_id and client_secret.", status=401)
    return _Credentials(name, secret)


def _scopes(agent: Agent, wanted: str) -> tuple[str, ...]:
    """The scopes asked for, each no wider than one the agent holds; all of its own when none are asked for."""
    asked = tuple(dict.fromkeys(wanted.split()))
    lacking = [scope for scope in asked if not identity.within(scope, agent.scopes)]
    if lacking:
        raise _No("invalid_scope", f"This client does not hold {' '.join(lacking)[:200]}.")
    return tuple(map(identity.parse, asked)) or tuple(agent.scopes)


def _too_many(address: str) -> bool:
    global _minute
    with _lock:
        minute = int(time.monotonic() // 60)
        if minute != _minute:
            _minute = minute
            _failures.clear()
        return _failures.get(address, 0) >= MOST_FAILURES


def _count(address: str) -> None:
    with _lock:
        _failures[address] = _failures.get(address, 0) + 1


def _answer(content: dict[str, Any], status: int) -> Response:
    response = Response(json.dumps(content), status=status, mimetype="application/json")
    response.headers["Cache-Control"] = "no-store"
    if status == 401:
        response.headers["WWW-Authenticate"] = 'Basic realm="copilot"'
    if status == 429:
        response.headers["Retry-After"] = "60"
    return response
