"""Agents and ticket sources as principals: each its own row, secret, scopes and answerable owner.

`by` is the person who does it; None stands for the command line, which already owns the installation.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from datetime import timedelta
from typing import Any
from urllib.parse import quote

from sqlalchemy import select, update
from sqlalchemy.exc import IntegrityError

from copilot.audit import log, notes
from copilot.db import db, now
from copilot.errors import BadInput, Conflict, NotEntitled, NotFound
from copilot.gate import approvals, changes, identity, switches, tools, turnstile
from copilot.models import Agent, Change, User
from copilot.people import accounts, onetime

OVERLAP = timedelta(hours=24)
LONGEST_OVERLAP = timedelta(days=30)
MOST_SCOPES = 200
CHANGES = ("agent.added", "agent.scopes", "agent.rotated", "agent.disabled", "agent.enabled")  # what the log calls them
SOURCE = "tickets"  # what a ticket source holds: `tickets:write`

_NAME = re.compile(r"(?!agent_)[a-z][a-z0-9_-]{0,63}\Z")  # an id begins with agent_, and either may be given where one is asked
_NOBODY = onetime.hashed("")


def add(
    name: str,
    scopes: Iterable[str],
    owner_email: str,
    drafts: bool = False,
    *,
    team: str | None = None,
    reason: str = "",
    by: User | None = None,
) -> str:
    """Add an agent and return its secret, shown once. Its owner answers for it and never approves what it proposes.

    Added by a person while scopes need a second one, it begins with none: what it is to have waits in `changes`.
    """
    _admin(by)
    if not _NAME.match(name):
        raise BadInput(
            f"{name[:80]!r} is no name for an agent: use lower-case letters, digits, - and _, beginning with a letter (not agent_).",
            problems={"name": "lower-case letters, digits, - and _"},
        )
    wished = checked(scopes)
    owner = accounts.find(owner_email)
    if not owner.active:
        raise BadInput(f"{owner.email} is disabled and cannot own an agent.", problems={"owner": "is disabled"})
    if db.session.execute(select(Agent.id).where(Agent.name == name)).scalar() is not None:
        raise Conflict(f"There is an agent {name} already; rotate its secret or choose another name.")
    granted = [] if _second_person(by) else wished
    secret, hashed = onetime.fresh("cps")
    agent = Agent(
        name=name, owner_id=owner.id, scopes=granted, secret_hash=hashed, team=_team(team), enabled=True, drafts=drafts, created_at=now()
    )
    db.session.add(agent)
    try:
        db.session.flush()
    except IntegrityError as error:  # somebody added the same name at the same moment
        raise Conflict(f"There is an agent {name} already; rotate its secret or choose another name.") from error
    notes.append("agent.added", agent.id, why=reason, by=by, owner=owner.id, scopes=logged(granted), drafts=drafts)
    if by is not None and granted != wished:
        changes.ask("scopes", agent.id, {"before": [], "scopes": wished}, by=by, reason=reason or f"What the new agent {name} is to use.")
    return secret


def rotate(name: str, *, by: User | None = None, overlap: timedelta = timedelta(0), seen: str | None = None, reason: str = "") -> str:
    """Give the agent a new secret, shown once. The old one works on for `overlap`, and tokens given until now live to their end.

    Without an overlap the old secret and every token end at once. An older one that was still on its way out ends in
    either case: two secrets at most. `seen` is the `mark` of what a page showed; Conflict when it was rotated since.
    """
    _admin(by)
    agent = find(name, lock=True)
    if seen is not None and seen != mark(agent):
        raise Conflict(f"The secret of {agent.name} was rotated meanwhile; look at the page again before you do it once more.")
    if not timedelta(0) <= overlap <= LONGEST_OVERLAP:
        raise BadInput("The old secret can work on for up to 30 days.", problems={"overlap": "is 0 to 30 days"})
    secret, hashed = onetime.fresh("cps")
    at = now()
    until = at + overlap if overlap else None
    values = {"secret_hash": hashed, "rotated_at": at, "previous_hash": agent.secret_hash if until else None, "previous_until": until}
    db.session.execute(update(Agent).where(Agent.id == agent.id).values(values))
    notes.append("agent.rotated", agent.id, why=reason, by=by, at=at, overlap_seconds=int(overlap.total_seconds()))
    return secret


def disable(name: str, *, by: User | None = None, reason: str = "") -> None:
    """Shut the agent out at once: no token, no read, no draft and no claim of its proposals passes any more. Idempotent."""
    _admin(by)
    turnstile.bar()
    agent, at = find(name), now()
    values = {"enabled": False, "disabled_at": at, "previous_hash": None, "previous_until": None}
    done = update(Agent).where(Agent.id == agent.id, Agent.enabled).values(values).returning(Agent.id)
    if db.session.execute(done).scalar_one_or_none() is not None:
        notes.append("agent.disabled", agent.id, why=reason, by=by, at=at)


def enable(name: str, *, by: User | None = None, reason: str = "") -> None:
    """Let a disabled agent in again, with its secret and scopes as they are; tokens from before stay ended. Idempotent."""
    _admin(by)
    agent, at = find(name), now()
    if not agent.owner.active:
        raise Conflict(f"The owner of {agent.name} is disabled, so nobody would answer for it; enable {agent.owner.email} first.")
    done = update(Agent).where(Agent.id == agent.id, Agent.enabled.is_(False)).values(enabled=True).returning(Agent.id)
    if db.session.execute(done).scalar_one_or_none() is not None:
        notes.append("agent.enabled", agent.id, why=reason, by=by, at=at)


def set_scopes(name: str, scopes: Iterable[str], *, by: User | None, reason: str, seen: Iterable[str] | None = None) -> Change | None:
    """Give the agent these scopes instead of those it has; None when that is done, else the change that waits.

    What is no wider than before holds at once. Anything wider waits, whole, for a second person where that is the rule.
    `seen` are the scopes the page showed; Conflict when they changed meanwhile.
    """
    _admin(by)
    agent = find(name, lock=True)
    if seen is not None and set(seen) != set(agent.scopes):
        raise Conflict(f"What {agent.name} may use changed meanwhile; look at the page again.")
    if not reason.strip():
        raise BadInput("Say why; it stands in the record.", problems={"reason": "write a sentence"})
    wished = checked(scopes, least=0)
    if identity.widened(agent.scopes, wished) and by is not None and _second_person(by):
        return changes.ask("scopes", agent.id, {"before": list(agent.scopes), "scopes": wished}, by=by, reason=reason)
    _put(agent, wished, reason=reason, by=by)
    return None


def apply_scopes(change: Change, *, by: User) -> None:
    """Give an agent what a second person just confirmed; Conflict when it has other scopes by now than when it was asked."""
    agent = find(change.subject, lock=True)
    if set(agent.scopes) != set(change.payload["before"]):
        raise Conflict(f"What {agent.name} may use changed since this was asked for; refuse this and ask again.")
    _put(agent, checked(change.payload["scopes"], least=0), reason=change.reason, by=by, asked_by=change.asked_by, change=change.id)


def checked(scopes: Iterable[str], *, least: int = 1) -> list[str]:
    """Scopes each in its one spelling, sorted, each once; BadInput names the first that is none."""
    granted = set()
    for scope in scopes:
        try:
            granted.add(identity.parse(scope))
            if scope.startswith(f"{SOURCE}:") and scope != f"{SOURCE}:write":
                raise BadInput(
                    f"Handing in tickets is the scope {SOURCE}:write, without bounds.", problems={"scope": f"is {SOURCE}:write only"}
                )
        except BadInput as error:
            raise BadInput(str(error), problems={"scopes": f"{scope[:80]} {error.problems.get('scope', 'is no scope')}"}) from error
    if len(granted) < least:
        raise BadInput("An agent without a scope can do nothing: give it at least one.", problems={"scopes": "give at least one"})
    if len(granted) > MOST_SCOPES:
        raise BadInput(f"An agent has at most {MOST_SCOPES} scopes.", problems={"scopes": f"are more than {MOST_SCOPES}"})
    return sorted(granted)


def unknown(scopes: Iterable[str]) -> dict[str, str]:
    """Those of these scopes that no installed tool answers to, each with a sentence that says what was probably meant."""
    known = {tool.name: tool.effect for tool in tools.current().all()}
    found = {}
    for scope in scopes:
        parsed = identity.read(scope)
        if parsed is None or parsed.tool in (SOURCE, identity.EVERY_READ) or known.get(parsed.tool) == parsed.effect:
            continue
        near = [parsed.tool] if parsed.tool in known else difflib.get_close_matches(parsed.tool, known, n=1, cutoff=0.6)
        instead = f" Did you mean {near[0]}:{known[near[0]]}?" if near else ""
        found[scope] = f"No such tool is installed: {parsed.tool}:{parsed.effect}.{instead}"
    return found


def find(name_or_id: str, *, lock: bool = False) -> Agent:
    """The agent with this name or id; NotFound otherwise. `lock` keeps others from changing it until the commit."""
    agent = _either(name_or_id, lock=lock)
    if agent is None:
        raise NotFound(f"There is no agent {name_or_id[:80]!r}.")
    return agent


def listed() -> list[Agent]:
    """Every agent, by name."""
    return list(db.session.execute(select(Agent).order_by(Agent.name)).scalars())


def check(name_or_id: str, secret: str) -> Agent | None:
    """The enabled agent these credentials belong to, or None; as long for a name nobody has.

    The secret before the last rotation counts until its overlap ends.
    """
    agent = _either(name_or_id)
    current = onetime.matches(secret, agent.secret_hash if agent else _NOBODY)
    previous = onetime.matches(secret, (agent.previous_hash if agent else None) or _NOBODY)
    if agent is None or not agent.enabled:
        return None
    return agent if current or (previous and overlapping(agent)) else None


def overlapping(agent: Agent) -> bool:
    """Whether the secret before the last rotation still works."""
    return agent.previous_hash is not None and agent.previous_until is not None and agent.previous_until > now()


def mark(agent: Agent) -> str:
    """Changes with the agent's secret and gives nothing of it away, so that a form sent twice rotates once."""
    return onetime.hashed("copilot form mark\0" + agent.secret_hash)[:16]


def failed(name_or_id: str) -> None:
    """Record that somebody failed to prove to be this agent, under a keyed commitment of the name they gave."""
    log.append("signin.failed", "token", account=log.commitment(name_or_id[:80]))


def logged(scopes: Iterable[str]) -> list[str]:
    """Scopes as the log may hold them: a leaf is for ever, so whom one is bound to is there as a short commitment only."""
    written = []
    for text in scopes:
        scope = identity.read(text)
        if scope is None:
            written.append("no-scope")
        else:
            region = f";region={quote(scope.region, safe='')[:60]}" if scope.region is not None else ""
            named = ((name, getattr(scope, name)) for name in ("ticket", "customer"))
            bound = "".join(f";{name}={log.commitment(value)[:16]}" for name, value in named if value is not None)
            written.append(f"{scope.tool}:{scope.effect}{region}{bound}")
    return written


def _either(name_or_id: str, *, lock: bool = False) -> Agent | None:
    query = select(Agent).where((Agent.id == name_or_id) | (Agent.name == name_or_id))
    if lock:
        query = query.with_for_update().execution_options(populate_existing=True)
    return db.session.execute(query).scalar_one_or_none()


def _put(agent: Agent, scopes: list[str], *, reason: str, by: User | None, **fields: Any) -> None:
    before = sorted(agent.scopes)
    if before == scopes:
        return
    turnstile.bar()
    db.session.execute(update(Agent).where(Agent.id == agent.id).values(scopes=scopes))
    notes.append("agent.scopes", agent.id, why=reason, by=by, before=logged(before), after=logged(scopes), **fields)


def _second_person(by: User | None) -> bool:
    return by is not None and switches.holds(approvals.SCOPES_SECOND_PERSON)


def _admin(by: User | None) -> None:
    if by is not None and (by.role != "admin" or not by.active):
        raise NotEntitled("Only an admin adds, changes or disables an agent; ask one.", rule="admin-only")


def _team(team: str | None) -> str | None:
    named = (team or "").strip()
    if len(named) > 64 or not named.isprintable():
        raise BadInput("A team's name is 1 to 64 printable characters.", problems={"team": "1 to 64 printable characters"})
    return named or None
