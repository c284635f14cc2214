"""Compares three records of what happened (the shop's own ledger, the database, the audit log) and counts what does not agree.

`find` is the definition, over plain values; the rest reads them. As a program it waits until everything is quiet, then prints one
JSON object.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import func, select

from copilot.app import create_app
from copilot.audit import export, verify
from copilot.db import db, read_again
from copilot.gate import tools
from copilot.models import Decision, Proposal, Run, Ticket
from copilot.models.work import RUN_ENDED

_DAY = 86_400  # seconds; a tool's window when it declares none
_VISIBLE = frozenset({"PENDING", "HELD", "OUTCOME_UNKNOWN"})  # somebody has it on a page
_UNSETTLED = frozenset({"APPROVED", "EXECUTING"})
_EXPLAINS = frozenset({"SUCCEEDED", "OUTCOME_UNKNOWN"})  # states in which an effect outside is accounted for


@dataclass(frozen=True, slots=True)
class Effect:
    """One row of the shop's ledger. `key` is the proposal id the call carried."""

    key: str
    tool: str
    business_key: str | None
    at: datetime


@dataclass(frozen=True, slots=True)
class RunFact:
    """One run's state, and the proposal it is parked on."""

    ticket_id: str
    state: str
    parked_on: str | None


@dataclass(frozen=True, slots=True)
class Findings:
    """What was doubled and what was lost, as sentences for people; the figures are their counts."""

    doubled: tuple[str, ...]
    lost: tuple[str, ...]


def find(
    effects: Sequence[Effect],
    *,
    tickets: Iterable[str],
    runs: Iterable[RunFact],
    proposals: Mapping[str, str],
    windows: Mapping[str, int],
    accepted: int = 0,
) -> Findings:
    """Hold the ledger against the database. `proposals` maps id to state, `runs` is oldest first, `windows` is seconds by tool.

    `accepted` is how many tickets were acknowledged outside; fewer here means that acknowledged ones are gone.
    """
    latest = {run.ticket_id: run for run in runs}
    tickets = list(tickets)
    lost = [f"ticket {ticket}: {why}" for ticket in tickets if (why := _stuck(latest.get(ticket), proposals))]
    lost += [f"{accepted - len(tickets)} acknowledged tickets are not in the database"] * max(0, accepted - len(tickets))
    lost += [f"proposal {name}: still {state}" for name, state in proposals.items() if state in _UNSETTLED]
    lost += [
        f"effect of {effect.tool} for {effect.key}: the proposal is {proposals.get(effect.key, 'unknown here')}"
        for effect in effects
        if proposals.get(effect.key) not in _EXPLAINS
    ]
    return Findings(doubled=tuple(_doubled(effects, windows)), lost=tuple(lost))


def _stuck(run: RunFact | None, proposals: Mapping[str, str]) -> str | None:
    if run is None:
        return "no run"
    if run.state in RUN_ENDED or (run.state == "PARKED" and proposals.get(run.parked_on or "") in _VISIBLE):
        return None
    return f"its run is {run.state}" + (f" on {run.parked_on}" if run.state == "PARKED" else "")


def _doubled(effects: Iterable[Effect], windows: Mapping[str, int]) -> Iterable[str]:
    keys: set[str] = set()
    intents: dict[tuple[str, str], datetime] = {}
    for effect in sorted(effects, key=lambda each: each.at):
        intent = (effect.tool, effect.business_key) if effect.business_key else None
        open_until = intents.get(intent) if intent else None
        if effect.key in keys:
            yield f"{effect.tool}: a second effect for {effect.key}"
        elif open_until is not None and effect.at < open_until:
            yield f"{effect.tool}: a second effect for {effect.business_key} within its window"
        elif intent:
            intents[intent] = effect.at + timedelta(seconds=windows.get(effect.tool, _DAY))
        keys.add(effect.key)


def report(effects: Sequence[Effect], *, accepted: int) -> dict[str, Any]:
    """Every figure of the current database beside this ledger."""
    proposals = {row.id: row.state for row in db.session.execute(select(Proposal.id, Proposal.state))}
    runs = [RunFact(*row) for row in db.session.execute(select(Run.ticket_id, Run.state, Run.parked_on).order_by(Run.created_at, Run.id))]
    found = find(
        effects,
        tickets=db.session.execute(select(Ticket.id)).scalars(),
        runs=runs,
        proposals=proposals,
        windows={tool.name: tool.window for tool in tools.current().all()},
        accepted=accepted,
    )
    verdicts = {
        row.verdict: row.count
        for row in db.session.execute(
            select(Decision.verdict, func.count().label("count")).where(~Decision.automatic).group_by(Decision.verdict)
        )
    }
    states = list(proposals.values())
    verified = _audit_verified()
    return {
        "tickets": len({run.ticket_id for run in runs}),
        "proposals": len(proposals),
        "approved": verdicts.get("approve", 0),
        "edited": verdicts.get("edit", 0),
        "rejected": verdicts.get("reject", 0),
        "executed": states.count("SUCCEEDED"),
        "failed": states.count("FAILED"),
        "unknown": states.count("OUTCOME_UNKNOWN"),
        "escalated": sum(run.state == "NEEDS_HUMAN" for run in runs),
        "duplicate_effects": len(found.doubled),
        "lost": len(found.lost),
        "p95_draft_ms": _p95(_spans(Run.created_at, Proposal.created_at, Run)),
        "p95_decision_to_effect_ms": _p95(_spans(Proposal.approved_at, Proposal.ended_at)),
        "audit_verified": not verified,
        "findings": [*found.doubled, *found.lost, *verified][:50],
    }


def _spans(start: Any, end: Any, joined: Any = None) -> list[float]:
    """Milliseconds from `start` to `end`: from a run to its first proposal, or within one executed proposal."""
    query = select(start, end).where(start.is_not(None), end.is_not(None))
    if joined is not None:
        query = select(start, func.min(end)).join(Proposal, Proposal.run_id == joined.id).group_by(joined.id, start)
    else:
        query = query.where(Proposal.state == "SUCCEEDED")
    return [
        (after - before).total_seconds() * 1000 for before, after in db.session.execute(query) if before is not None and after is not None
    ]


def _p95(values: Sequence[float]) -> int | None:
    """The nearest-rank 95th percentile, in whole milliseconds; None without values."""
    return round(sorted(values)[math.ceil(0.95 * len(values)) - 1]) if values else None


def _audit_verified() -> list[str]:
    """What the verifier finds wrong with an export of the log as it is now; nothing when all is well."""
    with tempfile.TemporaryDirectory(prefix="copilot-audit-") as folder:
        target = Path(folder) / "bundle"
        export.write(target)
        checks = [verify.bundle(target), verify.database()]
    return [f"audit: {problem}" for check in checks for problem in (check.problems or ([] if check.ok else ["does not verify"]))]


def quiet() -> bool:
    """Whether nothing is on its way: no run is queued or drafting, nothing approved waits, nothing runs, nobody's decision is due."""
    read_again()
    runs = db.session.execute(select(func.count()).where(Run.state.in_(("QUEUED", "DRAFTING")))).scalar_one()
    moving = db.session.execute(select(func.count()).where(Proposal.state.in_(("APPROVED", "EXECUTING")))).scalar_one()
    stranded = db.session.execute(
        select(func.count()).select_from(Run).join(Proposal, Proposal.id == Run.parked_on)
        .where(Run.state == "PARKED", Proposal.state.not_in(_VISIBLE))
    ).scalar_one()  # fmt: skip
    return not (runs or moving or stranded)


def ledger(url: str) -> list[Effect]:
    """Every effect the shop knows of."""
    with urllib.request.urlopen(f"{url}/ledger", timeout=30) as response:  # noqa: S310 -- the sample shop's own address
        rows = json.load(response)
    rows = rows["effects"] if isinstance(rows, dict) else rows
    return [
        Effect(key=row["key"], tool=row["tool"], business_key=row["business_key"], at=datetime.fromisoformat(row["at"])) for row in rows
    ]


def main(arguments: list[str]) -> int:
    """Wait for quiet, compare, print; exit code 0 only if nothing was lost or doubled and the log verifies."""
    parser = argparse.ArgumentParser(prog="copilot.processes.checker")
    parser.add_argument("--shop", required=True)
    parser.add_argument("--accepted", type=int, default=0)
    parser.add_argument("--wait", type=float, default=120)
    options = parser.parse_args(arguments)
    with create_app(web=False).app_context():
        deadline = time.monotonic() + options.wait
        while not quiet() and time.monotonic() < deadline:
            time.sleep(0.5)
        found = report(ledger(options.shop), accepted=options.accepted)
    sys.stdout.write(json.dumps(found) + "\n")
    return 0 if not found["lost"] and not found["duplicate_effects"] and found["audit_verified"] else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
