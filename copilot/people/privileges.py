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
ENOUGH = 20  # uses in the period, below which nothing is concluded from where they were


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
    known = tools.current().all()
    if not known:
        findings = tuple(
            Finding(scope, 0, None, "No tools are loaded here, so nothing can be said of it.", (scope,)) for scope in agent.scopes
        )
        return Review(agent.name, days, since, findings, tuple(agent.scopes), tuple(agent.scopes))
    used = (*_judged(agent.id, since), *_handed_in(agent, since))
    effects = {tool.name: tool.effect for tool in known} | {principals.SOURCE: "write"}
    granted = _granted(agent)
    findings = tuple(find(scope, used, effects=effects, days=days, young=granted[scope] > since) for scope in agent.scopes)
    after = tuple(sorted({scope for finding in findings for scope in finding.instead}))
    return Review(agent.name, days, since, findings, tuple(agent.scopes), after)


def find(scope: str, used: Iterable[Use], *, effects: Mapping[str, str], days: int, young: bool) -> Finding:
    """What is to be said of one scope: pure. `young`: it was granted within these days, so its use says nothing yet.

    A use is evidence for what is needed; only many of them, over a whole period, are evidence for what is not.
    """
    parsed = identity.read(scope)
    if parsed is None:
        return Finding(scope, 0, None, "This is no scope, so it grants nothing.", ())
    uses = [use for use in used if _covers(parsed, use)]
    count, last = sum(use.count for use in uses), max((use.last for use in uses), default=None)
    if not uses:
        return _unused(scope, parsed, effects=effects, days=days, young=young)
    if young:
        return Finding(
            scope, count, last, f"{_times(count)}; granted less than {_days(days)} ago, too lately to say that less would do.", (scope,)
        )
    left = _reads(parsed, uses, effects)
    bound = [_region(each, uses) for each in left]
    if bound == [parsed]:
        return Finding(scope, count, last, f"{_times(count)}, as granted.", (scope,))
    if count < ENOUGH:
        few = f"{_times(count)} in {_days(days)}: fewer than {ENOUGH}, too few to say that less would do."
        return Finding(scope, count, last, few, (scope,))
    return Finding(scope, count, last, _less(parsed, left, bound, uses, effects=effects, days=days), tuple(sorted(map(str, bound))))


def _unused(scope: str, parsed: Scope, *, effects: Mapping[str, str], days: int, young: bool) -> Finding:
    if parsed.tool != identity.EVERY_READ and effects.get(parsed.tool) != parsed.effect:
        return Finding(scope, 0, None, "No such tool is installed.", ())
    if young:
        return Finding(scope, 0, None, f"Not used yet; granted less than {_days(days)} ago.", (scope,))
    return Finding(scope, 0, None, f"Not used for {_days(days)} or longer.", ())


def _less(
    parsed: Scope, left: Sequence[Scope], bound: Sequence[Scope], uses: Sequence[Use], *, effects: Mapping[str, str], days: int
) -> str:
    """The numbers a narrowing rests on, in a sentence or two."""
    said = []
    if list(left) != [parsed]:
        total, count = sum(effect == "read" for effect in effects.values()), sum(use.count for use in uses)
        were = "was" if len(left) == 1 else "were"
        said.append(f"Covers {total} reads, of which {len(left)} {were} used, {count:,} times in {_days(days)}.")
    for region in sorted({each.region for each in bound if each.region is not None and parsed.region is None}):
        of = [each for each in bound if each.region == region]
        count = sum(use.count for use in uses for each in of if _covers(each, use))
        what = "" if list(left) == [parsed] else f" of {len(of)} of them" if len(of) < len(left) else ""
        said.append(f"All {count:,} uses{what} in {_days(days)} were in {region}.")
    return " ".join(said)


def last_used() -> dict[str, datetime]:
    """When each agent last asked the gate for something or handed a ticket in, by its id."""
    asked = select(Verdict.agent_id, func.max(Verdict.at)).group_by(Verdict.agent_id)
    newest = select(func.max(Ticket.created_at)).where(Ticket.source == Agent.name).scalar_subquery()
    brought = select(Agent.id, newest)
    found: dict[str, datetime] = {}
    for agent_id, at in (*db.session.execute(asked), *db.session.execute(brought)):
        if at is not None:
            found[agent_id] = max(at, found.get(agent_id, at))
    return found


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
    """The scope bound to the one region its uses were in; unchanged where there were several, too few, or none was known."""
    if scope.region is not None or scope.tool == principals.SOURCE:
        return scope
    covered = [use for use in uses if _covers(scope, use)]
    regions = {use.region for use in covered}
    if len(regions) != 1 or "" in regions or sum(use.count for use in covered) < ENOUGH:
        return scope
    return replace(scope, region=regions.pop())


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


def _times(count: int) -> str:
    return "Used once" if count == 1 else f"Used {count:,} times"
