"""Least privilege, looked at afterwards: what an agent was granted and does not use, or holds wider than it uses it.

Use is what the gate judged and did not refuse. The review only ever proposes less; giving it is one click of a person.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from sqlalchemy import case, func, select

from copilot.db import db, now
from copilot.gate import identity, tools
from copilot.gate.identity import Scope
from copilot.models import Agent, AuditEvent, Ticket, Verdict
from copilot.people import principals

DAYS = 30


@dataclass(frozen=True, slots=True)
class Use:
    """How often one tool was used in one region (empty without a ticket), and when last. A source's use is the tickets it handed in."""

    tool: str
    effect: str
    region: str
    count: int
    last: datetime


@dataclass(frozen=True, slots=True)
class Finding:
    """One scope with its use. `instead` is what would do, and equals the scope alone when nothing is to be said of it."""

    scope: str
    uses: int
    last: datetime | None
    sentence: str
    instead: tuple[str, ...]

    @property
    def narrower(self) -> bool:
        """Whether less would do."""
        return self.instead != (self.scope,)


@dataclass(frozen=True, slots=True)
class Review:
    """What an agent holds beside what it used since `since`; `after` are the scopes that would have sufficed."""

    agent: str
    days: int
    since: datetime
    findings: tuple[Finding, ...]
    before: tuple[str, ...]
    after: tuple[str, ...]

    def without(self, finding: Finding) -> tuple[str, ...]:
        """The scopes with only this finding's narrowing done."""
        return tuple(sorted({*(scope for scope in self.before if scope != finding.scope), *finding.instead}))


def review(agent: Agent, *, days: int = DAYS) -> Review:
    """Compare an agent's scopes with what it did in these days."""
    at = now()
    since = at - timedelta(days=days)
    used = (*_judged(agent.id, since), *_handed_in(agent, since))
    effects = {tool.name: tool.effect for tool in tools.current().all()} | {principals.SOURCE: "write"}
    granted = _granted(agent)
    findings = tuple(find(scope, used, effects=effects, days=days, young=granted[scope] > since) for scope in agent.scopes)
    after = tuple(sorted({scope for finding in findings for scope in finding.instead}))
    return Review(agent.name, days, since, findings, tuple(agent.scopes), after)


def find(scope: str, used: Iterable[Use], *, effects: Mapping[str, str], days: int, young: bool) -> Finding:
    """What is to be said of one scope: pure. `young`: it was granted within these days, so its not being used says nothing yet."""
    parsed = identity.read(scope)
    if parsed is None:
        return Finding(scope, 0, None, "This is no scope, so it grants nothing.", ())
    uses = [use for use in used if _covers(parsed, use)]
    count, last = sum(use.count for use in uses), max((use.last for use in uses), default=None)
    if not uses:
        if parsed.tool != identity.EVERY_READ and effects.get(parsed.tool) != parsed.effect:
            return Finding(scope, 0, None, "No such tool is installed.", ())
        if young:
            return Finding(scope, 0, None, f"Not used yet; granted less than {_days(days)} ago.", (scope,))
        return Finding(scope, 0, None, f"Not used for {_days(days)} or longer.", ())
    said, left = [], _reads(parsed, uses, effects)
    if left != [parsed]:
        total = sum(effect == "read" for effect in effects.values())
        said.append(f"Covers {total} reads, of which {len(left)} {'was' if len(left) == 1 else 'were'} used.")
    bound = [_region(each, uses) for each in left]
    if bound != left:
        regions = sorted({each.region for each in bound if each.region is not None})
        said.append(
            f"Used in {' and '.join(regions)} only." if len(bound) == 1 else f"Some were used in one region only: {', '.join(regions)}."
        )
    instead = tuple(sorted(map(str, bound)))
    return Finding(scope, count, last, " ".join(said) or "Used as granted.", instead if said else (scope,))


def last_used() -> dict[str, datetime]:
    """When each agent last asked the gate for something, by its id."""
    return {row[0]: row[1] for row in db.session.execute(select(Verdict.agent_id, func.max(Verdict.at)).group_by(Verdict.agent_id))}


def _covers(scope: Scope, use: Use) -> bool:
    if scope.effect != use.effect or scope.tool not in (use.tool, identity.EVERY_READ):
        return False
    return scope.region is None or scope.region == use.region


def _reads(scope: Scope, uses: Sequence[Use], effects: Mapping[str, str]) -> list[Scope]:
    """Every read, taken apart into the reads that were used; any other scope as it is."""
    if scope.tool != identity.EVERY_READ:
        return [scope]
    names = {use.tool for use in uses}
    if names >= {name for name, effect in effects.items() if effect == "read"}:
        return [scope]
    return [replace(scope, tool=name) for name in sorted(names)]


def _region(scope: Scope, uses: Iterable[Use]) -> Scope:
    """The scope bound to the one region all its uses were in; unchanged where there were several, or none was known."""
    if scope.region is not None or scope.tool == principals.SOURCE:
        return scope
    regions = {use.region for use in uses if _covers(scope, use)}
    return replace(scope, region=regions.pop()) if len(regions) == 1 and "" not in regions else scope


def _judged(agent_id: str, since: datetime) -> list[Use]:
    region = func.coalesce(Verdict.input["context"]["region"].as_string(), "")
    effect = case((Verdict.stage == "read", "read"), else_="write")
    rows = db.session.execute(
        select(Verdict.tool, effect.label("effect"), region.label("region"), func.count(), func.max(Verdict.at))
        .where(Verdict.agent_id == agent_id, Verdict.at >= since, Verdict.kind != "refused")
        .group_by(Verdict.tool, "effect", "region")
    )
    return [Use(*row) for row in rows]


def _handed_in(agent: Agent, since: datetime) -> list[Use]:
    tickets = select(func.count(), func.max(Ticket.created_at)).where(Ticket.source == agent.name, Ticket.created_at >= since)
    count, last = db.session.execute(tickets).one()
    return [Use(principals.SOURCE, "write", "", count, last)] if count else []


def _granted(agent: Agent) -> dict[str, datetime]:
    """When each of its scopes was granted last, by the log; with the agent itself when the log names no later moment."""
    found = dict.fromkeys(agent.scopes, agent.created_at)
    written = dict(zip(agent.scopes, principals.logged(agent.scopes), strict=True))
    changes = select(AuditEvent.line, AuditEvent.created_at).where(AuditEvent.subject == agent.id, AuditEvent.kind == "agent.scopes")
    for line, at in db.session.execute(changes.order_by(AuditEvent.id)):
        event = json.loads(line)
        gained = set(identity.widened(event["before"], event["after"]))  # a narrower scope in place of a wider one is no new grant
        found |= {scope: at for scope, logged in written.items() if logged in gained}
    return found


def _days(days: int) -> str:
    return "a day" if days == 1 else f"{days} days"
