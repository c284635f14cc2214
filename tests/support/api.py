"""Talking to the API in tests: requests as an agent or as a person, with their own credentials."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from flask.testing import FlaskClient
from sqlalchemy import update
from werkzeug.test import TestResponse

from copilot.db import db, transaction
from copilot.models import Agent, User
from copilot.people import onetime, tokens

ROOT = "/api/v1"


@dataclass(frozen=True, slots=True)
class Caller:
    """One identity's requests; `token` empty means nobody's."""

    client: FlaskClient
    token: str = ""

    def __call__(self, method: str, path: str, body: Any = None, **options: Any) -> TestResponse:
        """Send one request with `body` as JSON."""
        headers = {**({"Authorization": f"Bearer {self.token}"} if self.token else {}), **options.pop("headers", {})}
        sent = {"json": body} if body is not None else {}
        return self.client.open(f"{ROOT}{path}", method=method, headers=headers, **sent, **options)


def as_agent(client: FlaskClient, agent_id: str, *scopes: str) -> Caller:
    """The agent with a token for these scopes, or for all it holds."""
    held = scopes or tuple(db.session.get_one(Agent, agent_id).scopes)
    token, _ = tokens.agent_token(agent_id, held)
    return Caller(client, token)


def as_person(client: FlaskClient, user: User) -> Caller:
    """The person with a fresh API token."""
    with transaction():
        token = tokens.issue_person(user, "tests")
    return Caller(client, token)


def new_secret(agent_id: str) -> str:
    """Give an agent made by the fixtures a secret one can sign in with."""
    secret, hashed = onetime.fresh("cps")
    with transaction():
        db.session.execute(update(Agent).where(Agent.id == agent_id).values(secret_hash=hashed))
    return secret
