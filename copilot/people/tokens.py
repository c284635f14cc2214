"""Credentials of the API: an agent's short-lived signed token, and a person's long-lived one.

Neither is trusted by itself: the agent's or the person's row is read on every request, so that disabling, a new
secret or a narrower scope takes effect at once and not when the token ends. A rotation with an overlap lets the tokens
given before it live on; one without, and disabling, end them all.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta

import jwt
from sqlalchemy import select, update

from copilot import config
from copilot.audit import log
from copilot.db import db, now
from copilot.errors import BadInput, NotAuthenticated, NotFound
from copilot.gate import identity
from copilot.models import Agent, ApiToken, User
from copilot.people import onetime

AUDIENCE = "copilot-api"
ISSUER = "copilot"
LIFETIME = 900  # seconds
PERSONAL_LIFETIME = timedelta(days=365)

_ALGORITHM = "HS256"
_REQUIRED = ["exp", "iat", "iss", "aud", "sub", "jti"]


@dataclass(frozen=True, slots=True)
class Principal:
    """An agent as it proved itself: its id, its name, and what its token and its own scopes both cover now."""

    agent_id: str
    name: str
    scopes: tuple[str, ...]


def agent_token(agent_id: str, scopes: Iterable[str]) -> tuple[str, int]:
    """A signed token for these scopes and the seconds it lives. The caller has checked the agent's secret."""
    agent = db.session.get(Agent, agent_id)
    if agent is None or not agent.enabled:
        raise NotAuthenticated("This agent is disabled.")
    issued = int(time.time())
    claims = {
        "iss": ISSUER, "aud": AUDIENCE, "sub": agent.id, "iat": issued, "exp": issued + LIFETIME,
        "jti": secrets.token_urlsafe(16), "scope": " ".join(scopes), "gen": _generation(agent, agent.secret_hash),
    }  # fmt: skip
    return jwt.encode(claims, _key(), algorithm=_ALGORITHM), LIFETIME


def agent_from(token: str) -> Principal:
    """The agent whose valid token this is; NotAuthenticated for any other reason without saying much."""
    try:
        claims = jwt.decode(
            token, _key(), algorithms=[_ALGORITHM], audience=AUDIENCE, issuer=ISSUER, options={"require": _REQUIRED}
        )  # fmt: skip
    except jwt.InvalidTokenError as error:
        raise NotAuthenticated("The access token is not valid or has ended; ask for a new one.") from error
    agent = db.session.get(Agent, claims["sub"])
    if agent is None or not agent.enabled or not _given_under(agent, str(claims.get("gen", ""))):
        raise NotAuthenticated("The access token was withdrawn.")
    return Principal(agent.id, agent.name, identity.narrow(agent.scopes, str(claims.get("scope", "")).split()))


def issue_person(user: User, label: str) -> str:
    """A new API token of this person, shown once and good for a year."""
    named = label.strip()
    if not 0 < len(named) <= 100 or not named.isprintable():
        raise BadInput("Give the token a short name that tells where it is used.", problems={"label": "1 to 100 printable characters"})
    secret, hashed = onetime.fresh("cpt")
    at = now()
    token = ApiToken(user_id=user.id, label=named, secret_hash=hashed, created_at=at, expires_at=at + PERSONAL_LIFETIME)
    db.session.add(token)
    db.session.flush()
    log.append("user.token_issued", user.id, token=token.id)
    return secret


def person_from(token: str) -> User:
    """The active person whose API token this is; NotAuthenticated otherwise."""
    query = (
        select(User)
        .join(ApiToken, ApiToken.user_id == User.id)
        .where(ApiToken.secret_hash == onetime.hashed(token), ApiToken.revoked_at.is_(None), ApiToken.expires_at > now(), User.active)
    )
    user = db.session.execute(query).scalar_one_or_none()
    if user is None:
        raise NotAuthenticated("The API token is not valid, has ended or was withdrawn.")
    return user


def withdraw_person(token_id: str, *, by: User | None) -> None:
    """End one API token at once. Its person or an admin may; nobody stands for the command line of the installation."""
    token = db.session.get(ApiToken, token_id)
    if token is None or (by is not None and token.user_id != by.id and by.role != "admin"):
        raise NotFound("There is no such token.")
    ended = update(ApiToken).where(ApiToken.id == token_id, ApiToken.revoked_at.is_(None)).values(revoked_at=now()).returning(ApiToken.id)
    if db.session.execute(ended).scalar_one_or_none() is not None:
        log.append("user.token_withdrawn", token.user_id, token=token_id, by=by.id if by else "cli")


def _key() -> bytes:
    """A key of its own for this purpose: a token's signature can never pass for a cookie's."""
    return hmac.digest(config.current().secret.encode(), b"copilot agent access tokens v1", "sha256")


def _given_under(agent: Agent, generation: str) -> bool:
    """Whether a token of this generation still counts: given since the last rotation, or before one that left an overlap.

    A token of the generation before needs no other end: it was given before the rotation, and none lives beyond 15 minutes.
    """
    current = hmac.compare_digest(generation.encode(), _generation(agent, agent.secret_hash).encode())
    earlier = agent.previous_hash is not None and hmac.compare_digest(generation.encode(), _generation(agent, agent.previous_hash).encode())
    return current or earlier


def _generation(agent: Agent, secret_hash: str) -> str:
    """Changes with the agent's secret and each time it is disabled, so that enabling it revives no token from before."""
    disabled = agent.disabled_at.isoformat() if agent.disabled_at else ""
    return hashlib.sha256(f"copilot token generation\0{secret_hash}\0{disabled}".encode()).hexdigest()[:16]
