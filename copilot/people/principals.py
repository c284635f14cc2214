"""Agents and ticket sources as principals: each its own row, secret, scopes and answerable owner."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from sqlalchemy import select, update
from sqlalchemy.exc import IntegrityError

from copilot.audit import log
from copilot.db import db, now
from copilot.errors import BadInput, Conflict, NotFound
from copilot.models import Agent, User
from copilot.people import accounts, onetime

_NAME = re.compile(r"(?!agent_)[a-z][a-z0-9_-]{0,63}\Z")  # an id begins with agent_, and either may be given where one is asked
_SCOPE = re.compile(r"(?!\*:write)(\*|[a-z][a-z0-9_]{0,63}):(read|write)\Z")
_NOBODY = onetime.hashed("")


def add(name: str, scopes: Iterable[str], owner_email: str, drafts: bool = False, *, by: User | None = None) -> str:
    """Add an agent and return its secret, shown once. Its owner answers for it and never approves what it proposes."""
    if not _NAME.match(name):
        raise BadInput(
            f"{name[:80]!r} is no name for an agent: use lower-case letters, digits, - and _, beginning with a letter (not agent_).",
            problems={"name": "lower-case letters, digits, - and _"},
        )
    granted = _scopes(scopes)
    owner = accounts.find(owner_email)
    if not owner.active:
        raise BadInput(f"{owner.email} is disabled and cannot own an agent.", problems={"owner": "is disabled"})
    if db.session.execute(select(Agent.id).where(Agent.name == name)).scalar() is not None:
        raise Conflict(f"There is an agent {name} already; rotate its secret or choose another name.")
    secret, hashed = onetime.fresh("cps")
    agent = Agent(name=name, owner_id=owner.id, scopes=granted, secret_hash=hashed, enabled=True, drafts=drafts, created_at=now())
    db.session.add(agent)
    try:
        db.session.flush()
    except IntegrityError as error:  # somebody added the same name at the same moment
        raise Conflict(f"There is an agent {name} already; rotate its secret or choose another name.") from error
    log.append("agent.added", agent.id, owner=owner.id, scopes=granted, drafts=drafts, **_by(by))
    return secret


def rotate(name: str, *, by: User | None = None) -> str:
    """Give the agent a new secret, shown once; the old one and every token it was given end."""
    agent = find(name)
    secret, hashed = onetime.fresh("cps")
    db.session.execute(update(Agent).where(Agent.id == agent.id).values(secret_hash=hashed, rotated_at=now()))
    log.append("agent.rotated", agent.id, **_by(by))
    return secret


def disable(name: str, *, by: User | None = None) -> None:
    """Shut the agent out at once: no token, no draft and no claim of its proposals passes any more."""
    agent = find(name)
    done = update(Agent).where(Agent.id == agent.id, Agent.enabled).values(enabled=False).returning(Agent.id)
    if db.session.execute(done).scalar_one_or_none() is not None:
        log.append("agent.disabled", agent.id, **_by(by))


def find(name_or_id: str) -> Agent:
    """The agent with this name or id; NotFound otherwise."""
    agent = _either(name_or_id)
    if agent is None:
        raise NotFound(f"There is no agent {name_or_id[:80]!r}.")
    return agent


def listed() -> list[Agent]:
    """Every agent, by name."""
    return list(db.session.execute(select(Agent).order_by(Agent.name)).scalars())


def check(name_or_id: str, secret: str) -> Agent | None:
    """The enabled agent these credentials belong to, or None; as long for a name nobody has."""
    agent = _either(name_or_id)
    matches = onetime.matches(secret, agent.secret_hash if agent else _NOBODY)
    return agent if agent is not None and matches and agent.enabled else None


def failed(name_or_id: str) -> None:
    """Record that somebody failed to prove to be this agent, under a keyed commitment of the name they gave."""
    log.append("signin.failed", "token", account=log.commitment(name_or_id[:80]))


def _either(name_or_id: str) -> Agent | None:
    return db.session.execute(select(Agent).where((Agent.id == name_or_id) | (Agent.name == name_or_id))).scalar_one_or_none()


def _scopes(scopes: Iterable[str]) -> list[str]:
    granted = sorted(set(scopes))
    for scope in granted:
        if not _SCOPE.match(scope):
            raise BadInput(
                f"{scope[:80]!r} is no scope: write tool:read or tool:write (or *:read; writes are named one by one).",
                problems={"scopes": "each is tool:read or tool:write"},
            )
    if not granted:
        raise BadInput("An agent without a scope can do nothing: give it at least one.", problems={"scopes": "give at least one"})
    return granted


def _by(person: User | None) -> dict[str, Any]:
    return {"by": person.id if person else "cli"}
