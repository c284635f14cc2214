"""What the commands about people, agents, tickets and the log do, each in a transaction of its own."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import select

from copilot import config, jobs
from copilot.agents import importer
from copilot.app import create_app
from copilot.audit import export
from copilot.db import db, now, transaction
from copilot.errors import BadInput, NotFound, SetupError
from copilot.gate import switches, tools
from copilot.models import ApiToken
from copilot.people import accounts, principals, privileges, tokens
from copilot.processes import migrate, policyfolder

Answer = dict[str, Any]


@contextmanager
def inside() -> Iterator[None]:
    """Work inside the application, on a database that is as this version needs it."""
    settings = config.load()
    migrate.require_file(settings)
    with create_app(settings, web=False).app_context():
        migrate.require()
        yield


def no_tools() -> str | None:
    """What to say where no tool is loaded, so that nobody takes an empty installation for a finding."""
    return None if tools.current().all() else policyfolder.NO_TOOLS


def add_user(email: str, *, name: str, role: str) -> Answer:
    """Add a person; the answer holds the one-time link."""
    with inside(), transaction():
        return {"email": email, "role": role, "link": _link(accounts.invite(email, name, role))}


def reset_user(email: str) -> Answer:
    """End a person's password and sessions; the answer holds a new one-time link."""
    with inside(), transaction():
        return {"email": email, "link": _link(accounts.reset(email))}


def disable_user(email: str) -> None:
    """Shut a person out."""
    with inside(), transaction():
        accounts.disable(email)


def list_users() -> list[Answer]:
    """Everybody."""
    with inside():
        return [{"email": user.email, "name": user.name, "role": user.role, "active": user.active} for user in accounts.listed()]


def issue_token(email: str, *, label: str) -> Answer:
    """Issue an API token; the answer holds its secret."""
    with inside(), transaction():
        user = accounts.find(email)
        if not user.active:
            raise BadInput(f"{user.email} is disabled and cannot use the API.")
        return {"email": user.email, "label": label, "token": tokens.issue_person(user, label)}


def revoke_tokens(email: str) -> int:
    """End every API token of a person; how many there were."""
    with inside(), transaction():
        user = accounts.find(email)
        query = select(ApiToken.id).where(ApiToken.user_id == user.id, ApiToken.revoked_at.is_(None), ApiToken.expires_at > now())
        live = list(db.session.execute(query).scalars())
        for token_id in live:
            tokens.withdraw_person(token_id, by=None)
        return len(live)


def add_agent(name: str, *, scopes: Iterable[str], owner: str, drafts: bool, team: str | None = None) -> Answer:
    """Add an agent; the answer holds its secret."""
    with inside(), transaction():
        secret = principals.add(name, scopes, owner, drafts, team=team)
        return {"name": name, "secret": secret, "doubts": _doubts(scopes)}


def rotate_agent(name: str, *, overlap: timedelta, reason: str = "") -> Answer:
    """Give an agent a new secret; the old one works on for `overlap`."""
    with inside(), transaction():
        secret = principals.rotate(name, overlap=overlap, reason=reason)
        until = principals.find(name).previous_until
        return {"name": name, "secret": secret, "old_secret_until": until.isoformat(timespec="seconds") if until else None}


def disable_agent(name: str, *, reason: str = "") -> None:
    """Shut an agent out."""
    with inside(), transaction():
        principals.disable(name, reason=reason)


def enable_agent(name: str, *, reason: str = "") -> None:
    """Let an agent in again."""
    with inside(), transaction():
        principals.enable(name, reason=reason)


def agent_scopes(name: str, *, scopes: Iterable[str] | None, reason: str) -> Answer:
    """What an agent may use, after giving it these scopes when any are given."""
    with inside(), transaction():
        if scopes is not None:
            principals.set_scopes(name, scopes, by=None, reason=reason)
        agent = principals.find(name)
        return {"name": agent.name, "scopes": list(agent.scopes), "doubts": _doubts(agent.scopes)}


def review_agent(name: str, *, days: int) -> Answer:
    """What an agent was granted beside what it used."""
    with inside():
        if missing := no_tools():
            raise SetupError(f"{missing} Without them every scope would look unused.")
        found = privileges.review(principals.find(name), days=days)
        rows = [
            {"scope": each.scope, "uses": each.uses, "last": each.last, "sentence": each.sentence, "instead": each.instead}
            for each in found.findings
        ]
        return {"name": found.agent, "days": days, "findings": rows, "before": list(found.before), "after": list(found.after)}


def list_agents() -> list[Answer]:
    """Every agent."""
    with inside():
        return [
            {
                "name": agent.name,
                "owner": agent.owner.email,
                "team": agent.team,
                "scopes": agent.scopes,
                "drafts": agent.drafts,
                "enabled": agent.enabled,
            }
            for agent in principals.listed()
        ]


def import_tickets(file: Path, *, source: str, progress: Callable[[int, int], None]) -> Answer:
    """Import the good rows of a file and report the others by line."""
    with inside():
        return dataclasses.asdict(importer.load(file, source=source, progress=progress, queued=jobs.run_queued))


def export_log(directory: Path) -> Answer:
    """Write the audit bundle."""
    with inside():
        return dataclasses.asdict(export.write(directory))


def switched_on() -> list[Answer]:
    """Every kill switch that is on."""
    with inside():
        names = {f"agent:{agent.id}": f"agent:{agent.name}" for agent in switches.agents()}
        people = {user.id: user.name for user in accounts.listed()}
        return [
            {
                "scope": names.get(row.scope, row.scope),
                "since": row.thrown_at.isoformat(timespec="seconds"),
                "by": people.get(row.thrown_by or "", "the command line"),
                "reason": row.reason,
            }
            for row in switches.listed()
        ]


def throw_switch(scope: str, *, reason: str) -> None:
    """Stop everything, one agent or one tool."""
    with inside(), transaction():
        switches.throw(_covered(scope, throwing=True), by=None, reason=reason)


def release_switch(scope: str, *, reason: str) -> None:
    """Let it start again; NotFound when that switch is not on."""
    with inside(), transaction():
        covered = _covered(scope, throwing=False)
        if covered not in switches.thrown():
            raise NotFound(f"There is no kill switch on for {scope[:80]}; `copilot switch list` shows those that are.")
        switches.release(covered, by=None, reason=reason)


def _covered(scope: str, *, throwing: bool) -> str:
    """The switch's scope with the agent's name resolved; a tool nobody knows would stop nothing, so it is refused."""
    kind, _, name = scope.partition(":")
    if kind == "agent":
        return f"agent:{principals.find(name).id}"
    known = [tool.name for tool in tools.current().all()]
    if throwing and kind == "tool" and known and name not in known:
        near = difflib.get_close_matches(name, known, n=1)
        raise NotFound(f"There is no tool called {name[:80]!r}." + (f" Did you mean {near[0]}?" if near else ""))
    return scope


def _doubts(scopes: Iterable[str]) -> list[str]:
    return list(principals.unknown(scopes).values()) if tools.current().all() else []


def _link(secret: str) -> str:
    return f"{config.current().base_url}/link/{secret}"
