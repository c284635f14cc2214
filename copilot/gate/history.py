"""Recorded verdicts for a replay, and replays of drafts as they are asked for, run and kept beside the version."""

from __future__ import annotations

import logging
import os
import statistics
import time
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from itertools import islice
from typing import Any

from sqlalchemy import Text, and_, cast, func, or_, select

from copilot import config
from copilot.audit import log
from copilot.db import db, now, read_again, transaction
from copilot.errors import BadInput, CopilotError, NotEntitled, SetupError
from copilot.gate import budgets, calendar, library, parallel, policy, tools
from copilot.gate.replay import ENDS, Earlier
from copilot.gate.tally import Pile, Row, Tally
from copilot.models import Decision, PolicyVersion, Proposal, ProposalVersion, User
from copilot.models import Verdict as Recorded

DAYS = (30, 90)
MOST = 100_000  # verdicts in a replay asked for on the page, the newest first, so that it ends within one job's time
HOW = "The number of decisions that would come in addition or fall away, times the median time from proposal to a person's decision."
_ENDS = {"allowed": "runs alone", "one": "one person decides", "two": "two people decide", "refused": "is refused"}

ABANDONED = timedelta(minutes=5)  # longer than any job may run

_PAGE = 1_000
_WORTH_TWO = 20_000  # verdicts from which a second process earns its start
_MEDIAN_OF = 5_000
_PEOPLE = {"allowed": 0, "one": 1, "two": 2, "refused": 0}
_MANAGING = frozenset({"manager", "admin"})

logger = logging.getLogger(__name__)


def replayed(files: Mapping[str, str], *, days: int, most: int | None = None, processes: int | None = None) -> dict[str, Any]:
    """Judge the recorded verdicts of so many days again with this policy folder; the result as JSON keeps it.

    Runs outside a transaction: it reads page by page, so that no snapshot stays open for long. BadInput when the
    folder has a mistake.
    """
    began, until = time.monotonic(), now()
    since = until - timedelta(days=days)
    draft = policy.from_files(files, tools=tools.current().all())
    total = db.session.scalar(select(func.count()).select_from(Recorded).where(Recorded.at >= since, Recorded.at < until)) or 0
    wanted = total if most is None else min(total, most)
    workers = processes or (min(2, os.cpu_count() or 1) if wanted >= _WORTH_TWO else 1)
    pages = recorded(since, until, most=wanted)
    tally = parallel.tally(
        pages, files, tools=tools.current().all(), earlier=_earlier(since), zone=config.current().timezone, processes=workers
    )
    median = _median_seconds(since)
    told = _told(tally) | {"reviewer": _reviewer(tally, median), "left_out": total - wanted, "seconds": round(time.monotonic() - began, 2)}
    return {"hash": draft.hash, "days": days, "since": since.isoformat(), "until": until.isoformat(), **told}


def words(about: str) -> dict[str, str]:
    """What each end of a judgement is called for people; a read that is allowed is answered."""
    return _ENDS | {"allowed": "is answered"} if about == "reads" else _ENDS


def recorded(since: datetime, until: datetime, *, most: int) -> Iterator[list[Row]]:
    """Pages of recorded verdicts, newest first, each with the arguments it was about where they are still kept."""
    columns = (
        Recorded.id, Recorded.at, Recorded.stage, Recorded.kind, Recorded.rule, Recorded.count.label("people"), Recorded.policy_hash,
        Recorded.proposal_id,
        Recorded.amount_minor, Recorded.currency, cast(Recorded.input, Text).label("input"), ProposalVersion.arguments,
    )  # fmt: skip
    mine = and_(ProposalVersion.proposal_id == Recorded.proposal_id, ProposalVersion.version == Recorded.version)
    query = select(*columns).outerjoin(ProposalVersion, mine).where(Recorded.at >= since).order_by(Recorded.at.desc(), Recorded.id.desc())
    at, last = until, ""
    while most > 0:
        older = and_(Recorded.at <= at, or_(Recorded.at < at, Recorded.id < last))  # the first part is what an index can be entered by
        rows = db.session.execute(query.where(older).limit(min(_PAGE, most))).all()
        read_again()
        if not rows:
            return
        yield [
            Row(
                row.at, row.stage, row.kind, row.rule, row.people, row.policy_hash, row.proposal_id, row.amount_minor, row.currency,
                row.input, row.arguments,
            )
            for row in rows
        ]  # fmt: skip
        most -= len(rows)
        at, last = rows[-1].at, rows[-1].id


def ask(version_id: str, *, days: int, by: User) -> None:
    """Ask for a replay of a draft; whoever rings for the job afterwards has it run."""
    if by.role not in _MANAGING or not by.active:
        raise NotEntitled("Only a manager or an admin asks for a replay.", rule="policy-manager")
    if days not in DAYS:
        raise BadInput("A replay covers 30 or 90 days.", problems={"days": "choose 30 or 90"})
    version = library.locked_draft(version_id)  # what a published one was published on stays as it is
    version.replay_state, version.replay = "asked", {"days": days, "asked_by": by.id}
    log.append("policy.replay_asked", version.id, number=version.number, hash=version.hash, days=days, by=by.id)


def asked(limit: int = 5) -> list[str]:
    """Versions whose replay waits for a worker, or was begun by one that died: a lost ring and a killed worker are repaired."""
    open_ones = select(PolicyVersion).where(PolicyVersion.replay_state.in_(("asked", "running"))).limit(limit)
    at = now()
    return [version.id for version in db.session.scalars(open_ones) if version.replay_state == "asked" or _abandoned(version, at)]


def _abandoned(version: PolicyVersion, at: datetime) -> bool:
    """Whether a replay began so long ago that whoever ran it is gone."""
    began = (version.replay or {}).get("began")
    return began is None or at - datetime.fromisoformat(began) > ABANDONED


def run(version_id: str) -> None:
    """Replay a version that was asked for and keep the result beside it; harmless when it runs twice."""
    with transaction():
        version = db.session.get(PolicyVersion, version_id, with_for_update=True)
        if version is None or version.replay is None:
            return
        at = now()
        if version.replay_state != "asked" and not (version.replay_state == "running" and _abandoned(version, at)):
            return
        version.replay_state, version.replay = "running", {**version.replay, "began": at.isoformat()}
        files, days, digest = dict(version.files), int(version.replay["days"]), version.hash
    try:
        result, state = replayed(files, days=days, most=MOST), "done"
        if result["hash"] != digest:
            raise SetupError("The stored text is not what was drafted.")
    except Exception as error:
        logger.exception("the replay of %s failed", version_id)
        result, state = {"days": days, "problem": str(error) if isinstance(error, CopilotError) else "It ended before its time."}, "failed"
    with transaction():
        version = db.session.get_one(PolicyVersion, version_id, with_for_update=True)
        if version.replay_state != "running":  # asked for again meanwhile; that one counts
            return
        version.replay_state, version.replay, version.replayed_at = state, result, now()
        counts = {name: result.get("total", {}).get(name, 0) for name in ("verdicts", "flips", "unknown")}
        log.append("policy.replayed", version.id, at=version.replayed_at, hash=version.hash, state=state, days=days, **counts)


def _earlier(since: datetime) -> dict[str, Earlier]:
    """The budgets and calendars of the versions that the recorded verdicts were judged by."""
    hashes = select(Recorded.policy_hash).where(Recorded.at >= since).distinct()
    found = {}
    for version in db.session.scalars(select(PolicyVersion).where(PolicyVersion.hash.in_(hashes))):
        rules = budgets.read(version.files.get("budgets.toml", ""))
        found[version.hash] = Earlier({rule.id: rule for rule in rules}, calendar.read(version.files.get("calendar.toml", "")))
    present = policy.current()
    found.setdefault(present.hash, Earlier({rule.id: rule for rule in present.budget_rules}, present.calendar))
    read_again()
    return found


def _median_seconds(since: datetime) -> float | None:
    """The median time from a proposal to the first decision of a person, over the newest of these days."""
    first = func.min(Decision.created_at).label("decided")
    rows = db.session.execute(
        select(Proposal.created_at, first)
        .join(Decision, Decision.proposal_id == Proposal.id)
        .where(Proposal.created_at >= since, Decision.automatic.is_(False), Decision.verdict.in_(("approve", "edit", "reject")))
        .group_by(Proposal.id, Proposal.created_at)
        .order_by(Proposal.created_at.desc())
        .limit(_MEDIAN_OF)
    ).all()
    read_again()
    return statistics.median((row.decided - row.created_at).total_seconds() for row in rows) if rows else None


def _reviewer(tally: Tally, median: float | None) -> dict[str, Any]:
    flips = [(before, after, pile.count) for (about, before, after), pile in tally.flips.items() if about == "proposals"]
    more = sum((_PEOPLE[after] - _PEOPLE[before]) * count for before, after, count in flips)
    minutes = None if median is None else round(more * median / 60)
    return {"decisions": more, "median_seconds": None if median is None else round(median), "minutes": minutes, "how": HOW}


def _told(tally: Tally) -> dict[str, Any]:
    """The tally as JSON: totals, flips with the strictest changes first, unknowns."""
    flips = [
        {"about": about, "before": before, "after": after, "direction": "stricter" if _tighter(before, after) else "looser"} | _pile(pile)
        for (about, before, after), pile in sorted(tally.flips.items(), key=lambda item: (item[0][0], -item[1].count))
    ]
    unknown = [{"about": about} | _pile(pile) for about, pile in sorted(tally.unknown.items())]
    total = {
        "verdicts": sum(tally.verdicts.values()),
        "flips": sum(pile.count for pile in tally.flips.values()),
        "unknown": sum(pile.count for pile in tally.unknown.values()),
    }
    return {"total": total, "verdicts": dict(tally.verdicts), "flips": flips, "unknown": unknown}


def _tighter(before: str, after: str) -> bool:
    return ENDS.index(after) > ENDS.index(before)


def _pile(pile: Pile) -> dict[str, Any]:
    reasons = [{"reason": reason, "count": count} for reason, count in islice(pile.reasons.most_common(), 5) if reason]
    return {"count": pile.count, "money": dict(sorted(pile.money.items())), "reasons": reasons, "samples": pile.samples}
