"""A replay judges history by the gate's own evaluator, and counts what it cannot know as unknown, never as allowed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from click.testing import CliRunner
from flask import Flask
from sqlalchemy import select

from copilot import cli, jobs
from copilot.autonomy import grants
from copilot.db import db, transaction
from copilot.gate import check, history, parallel, policy, tools, vocabulary
from copilot.gate.replay import Earlier, Lens, judge
from copilot.gate.replay import replay as over
from copilot.gate.tally import Row
from copilot.gateway import reads
from copilot.models import Grant, ProposalVersion, Verdict
from tests.conftest import Clock
from tests.support import ROOT, work
from tests.support.people import People
from tests.support.tools import counting

TOOLS = tuple(counting.tools.values())
FILES = {
    file.name: file.read_text()
    for file in sorted((ROOT / "tests" / "support" / "policies").iterdir())
    if file.suffix in (".cedar", ".toml")
}
NOW = POLICIES = policy.from_files(FILES, tools=TOOLS)
ZONE = ZoneInfo("Europe/Vienna")
MONDAY = datetime(2026, 11, 23, 9, 30, tzinfo=UTC)
FORBID = '\n@id("{0}")\n@sentence("{0}, in words.")\nforbid (principal, action == Action::"propose", resource) when {{ {1} }};\n'
BUDGET = (
    '\n[[budget]]\nid = "{id}"\ntools = ["pay_key"]\nper = "{per}"\nseconds = {seconds}\ncount = {count}\nsentence = "{id}, in words."\n'
)


def row(
    *,
    stage: str = "propose",
    kind: str = "needs_approval",
    count: int = 1,
    known: tuple[str, ...] | None = None,
    at: datetime = MONDAY,
    **given: Any,
) -> Row:
    """A verdict on a payment of 10.00, as the gate would have recorded it."""
    context: dict[str, Any] = {
        "level": "suggest", "team": "", "region": "EU", "channel": "email", "ticket_status": "open", "hour": 10, "weekday": 1,
        "business_hours": True, "suspicious_text": False, "tainted": True, "amount_minor": 1000, "currency": "EUR", "known": {},
        "used": {"per-customer": 3},
    }  # fmt: skip
    asked = check.Input(
        agent="refund-desk", team="", tool="pay_key", effect="write", risk="medium", reversible=False, level="suggest",
        context=context | given.pop("context", {}),
        charges=tuple(given.pop("charges", ({"rule": "per-customer", "amount": 1, "used": 3},))),
        facts_known=(*vocabulary.FACT, "used.per-customer") if known is None else known, stopped=given.pop("stopped", None),
    )  # fmt: skip
    made = Row(
        at=at, stage=stage, kind=kind, rule="level-suggest", count=count, policy_hash=POLICIES.hash, proposal_id="prop_1",
        amount_minor=1000, currency="EUR", input=json.dumps(asked.as_json()), arguments=json.dumps(work.arguments(memo="hello")),
    )  # fmt: skip
    return replace(made, **given)


def lens(more: str = "", *, files: Mapping[str, str] = FILES, budgets: str = "", calendar: str = "") -> Lens:
    """A draft: the test policies with something more."""
    changed = {**files, "tests.cedar": files["tests.cedar"] + more, "budgets.toml": files["budgets.toml"] + budgets}
    drafted = policy.from_files(changed | ({"calendar.toml": calendar} if calendar else {}), tools=TOOLS)
    earlier = {POLICIES.hash: Earlier({rule.id: rule for rule in POLICIES.budget_rules}, POLICIES.calendar)}
    return Lens(drafted, TOOLS, earlier, ZONE)


def forbidding(name: str, condition: str) -> str:
    """A policy that forbids proposals on this condition."""
    return FORBID.format(name, condition)


@pytest.fixture
def busy(app: Flask, agent: str, people: People) -> str:
    """Verdicts of every stage and kind."""
    for changes in (
        {},
        {"amount_minor": 6000},
        {"amount_minor": 60_000},
        {"amount_minor": 1_000_001},
        {"memo": "hid\u202eden"},
    ):
        work.propose(agent, ticket_id=work.ticket("c1"), **changes)
    for tool in ("pay_capped", "pay_lookup"):
        proposal = work.propose(agent, tool, ticket_id=work.ticket("c1"), amount_minor=600)
        work.approve(proposal, people.ana)
        jobs.execute(proposal)
    work.propose(agent, "pay_capped", amount_minor=900)
    reads.call("read_account", {"account": "c1/main"}, agent_id=agent, ticket_id=None)
    edited = work.propose(agent, ticket_id=work.ticket("c1"))
    work.edit(edited, people.ana, amount_minor=2000)
    jobs.execute(edited)
    with transaction():
        db.session.add(Grant(agent_id=agent, tool="pay_key", level="auto", percent=100, changed_at=MONDAY))
    assert grants.level(agent, "pay_key") == "auto"
    jobs.execute(work.propose(agent, ticket_id=work.ticket("c1"), amount_minor=900))
    return agent


@pytest.mark.both_databases
def test_what_was_in_force_changes_nothing_and_leaves_nothing_unknown(busy: str) -> None:
    db.session.rollback()
    result = history.replayed(dict(policy.current().files), days=30)
    kinds = set(db.session.scalars(select(Verdict.kind)))
    assert kinds == {"allowed", "needs_approval", "refused"}
    assert set(result["verdicts"]) == {"proposals", "last checks", "edits", "reads"}
    assert result["total"]["verdicts"] >= 14
    assert (result["flips"], result["unknown"]) == ([], [])
    assert result["reviewer"]["decisions"] == 0


@pytest.mark.both_databases
def test_flips_are_counted_with_direction_money_minutes_and_samples(busy: str) -> None:
    files = dict(policy.current().files)
    files["tests.cedar"] = files["tests.cedar"].replace("context.amount_minor <= 5000", "context.amount_minor <= 100")
    files["tests.cedar"] += forbidding("nothing-above-50", "context has amount_minor && context.amount_minor > 5500")
    result = history.replayed(files, days=30)
    flips = {(each["about"], each["before"], each["after"]): each for each in result["flips"]}
    refused = flips["proposals", "two", "refused"]
    assert (refused["count"], refused["money"], refused["direction"]) == (1, {"EUR": 60_000}, "stricter")
    assert refused["reasons"] == [{"reason": "nothing-above-50", "count": 1}]
    assert flips["proposals", "allowed", "one"]["money"] == {"EUR": 900}
    assert len(flips["proposals", "allowed", "one"]["samples"]) == 1
    assert flips["last checks", "allowed", "one"]["count"] == 1
    # one person more for what ran alone; one person fewer for 60.00 and two fewer for 600.00, which are refused now
    assert result["reviewer"]["decisions"] == 1 - 1 - 2
    assert result["reviewer"]["median_seconds"] is not None
    assert result["unknown"] == []


@pytest.mark.parametrize(
    ("condition", "known", "after"),
    [
        ("context has ticket_hours && context.ticket_hours > 48", None, "one"),
        ("context has ticket_hours && context.ticket_hours > 48", "ticket_hours", None),
        ("context.tainted", "tainted", None),
        ("context.tainted && context has amount_minor && context.amount_minor > 5000", "tainted", "one"),
        ("context.tainted || context.region == \"EU\"", "tainted", "refused"),
        ("!(context.tainted) && context.region == \"US\"", "tainted", "one"),
        ("if context.region == \"EU\" then context.tainted else false", "tainted", None),
        ("if context.region == \"US\" then context.tainted else false", "tainted", "one"),
        ("context.used has purse && context.used.purse > 3", None, "one"),
        ("context.hour > 9", "hour", "refused"),
    ],
)  # fmt: skip
def test_a_fact_that_was_not_recorded_makes_it_unknown_only_where_it_matters(condition: str, known: str | None, after: str | None) -> None:
    facts = (*(name for name in vocabulary.FACT if name != known), "used.per-customer")
    again = judge(row(known=facts), lens(forbidding("new-rule", condition)))
    assert (again.before, again.after) == ("one", after)
    assert bool(again.why) == (after is None)
    assert not any("_" in sentence for sentence in again.why)


def test_a_missing_fact_never_opens_the_gate() -> None:
    """A permit that asks for what was not recorded is not taken as granted, and not as refused either."""
    files = FILES | {
        "tests.cedar": FILES["tests.cedar"].replace("context has amount_minor && context.amount_minor <= 5000", "context.tainted == false")
    }
    facts = tuple(name for name in vocabulary.FACT if name != "tainted")
    recorded = row(known=facts, kind="allowed", count=0, charges=())
    given = json.loads(recorded.input) | {"level": "auto"}
    given["context"]["level"] = "auto"
    again = judge(replace(recorded, input=json.dumps(given)), lens(files=files))
    assert again.after is None
    assert "read by the agent" in again.why[0]


@pytest.mark.parametrize(
    ("budgets", "change", "after"),
    [
        ("", (), "one"),
        ("", ("count = 60", "count = 4"), "one"),
        ("", ("count = 60", "count = 3"), "refused"),
        ("", ("seconds = 315360000\ncount = 60", "seconds = 86400\ncount = 60"), None),
        ("", ('per = "customer"', 'per = "agent"'), None),
        (BUDGET.format(id="new", per="agent", seconds=60, count=5), (), None),
        (BUDGET.format(id="new", per="agent", seconds=60, count=5).replace("count = 5", 'amount_minor = 5\ncurrency = "USD"'), (), "one"),
        (BUDGET.format(id="new", per="agent", seconds=60, count=5).replace("count = 5", "measure = true"), (), "one"),
    ],
)  # fmt: skip
def test_budgets_are_reckoned_again_where_they_count_the_same(budgets: str, change: tuple[str, ...], after: str | None) -> None:
    files = FILES | {"budgets.toml": FILES["budgets.toml"].replace(*change) if change else FILES["budgets.toml"]}
    again = judge(row(), lens(files=files, budgets=budgets))
    assert again.after == after


def test_a_new_budget_matters_not_where_something_else_refuses() -> None:
    draft = lens(forbidding("never", 'context.region == "EU"'), budgets=BUDGET.format(id="new", per="agent", seconds=60, count=5))
    assert judge(row(), draft).after == "refused"


def test_policies_over_a_measure_that_is_new_are_unknown() -> None:
    more = BUDGET.format(id="new", per="agent", seconds=60, count=5).replace("count = 5", "measure = true")
    again = judge(row(), lens(forbidding("often", "context.used has new && context.used.new > 3"), budgets=more))
    assert again.after is None


def test_arguments_that_were_erased_are_unknown_where_a_policy_asks_for_them() -> None:
    draft = lens(forbidding("no-memo", 'context.args has pay_key && context.args.pay_key.memo == "hello"'))
    assert judge(row(), draft).after == "refused"
    assert judge(row(arguments=None), draft).after is None
    assert judge(row(arguments=None), lens()).after == "one"
    other = lens(forbidding("other", 'context.args has pay_both && context.args.pay_both.memo == "hello"'))
    assert judge(row(arguments=None), other).after == "one"


def test_another_calendar_is_reckoned_from_the_moment_itself() -> None:
    closed = forbidding("closed", "!context.business_hours")
    assert judge(row(), lens(closed)).after == "one"
    late = '[default]\ndays = [1, 2, 3, 4, 5]\nfrom = "11:00"\nto = "17:00"\n'
    assert judge(row(), lens(closed, calendar=late)).after == "refused"  # 10.30 in Vienna
    assert judge(row(at=MONDAY + timedelta(hours=2)), lens(closed, calendar=late)).after == "one"


@pytest.mark.parametrize("broken", ["{", "[]", "null", '{"agent": 1}'])
def test_what_cannot_be_read_is_unknown(broken: str) -> None:
    again = judge(row(input=broken, kind="allowed"), lens())
    assert (again.before, again.after) == ("allowed", None)


def test_what_no_policy_decides_stays_as_it_was() -> None:
    stopped = {"rule": "scope", "reason": "no scope"}
    permissive = lens()
    assert judge(row(stopped=stopped, kind="refused", rule="scope"), permissive).after == "refused"


def test_a_reservation_without_room_is_unknown_unless_the_limit_only_fell() -> None:
    refused = row(stage="claim", kind="refused", rule="per-customer", charges=())
    less = FILES | {"budgets.toml": FILES["budgets.toml"].replace("count = 60", "count = 6")}
    more = FILES | {"budgets.toml": FILES["budgets.toml"].replace("count = 60", "count = 600")}
    assert judge(refused, lens()).after == "refused"
    assert judge(refused, lens(files=less)).after == "refused"
    assert judge(refused, lens(files=more)).after is None
    full = {"context": {"used": {"per-customer": 6}}}
    assert judge(row(stage="claim", charges=(), **full), lens(files=less)).after == "refused"
    assert judge(row(stage="claim", charges=()), lens(files=less)).after == "one"


RATED = '\n[[budget]]\nid = "pace"\ntools = ["pay_key"]\nper = "agent"\nrate = {0}\nseconds = 60\nsentence = "Slowly, in words."\n'


def test_a_rate_decides_no_action_neither_then_nor_now() -> None:
    """It makes an action wait; only a verdict from before rates were marked shows one that refused."""
    files = FILES | {"budgets.toml": FILES["budgets.toml"] + RATED.format(5)}
    then = policy.from_files(files, tools=TOOLS)
    earlier = {each.hash: Earlier({rule.id: rule for rule in each.budget_rules}, each.calendar) for each in (then, POLICIES)}
    full = {"rule": "pace", "amount": 1, "used": 5}
    facts = {"policy_hash": then.hash, "context": {"used": {"per-customer": 3, "pace": 5}}}
    for rate in (5, 1, 50):
        drafted = policy.from_files(FILES | {"budgets.toml": FILES["budgets.toml"] + RATED.format(rate)}, tools=TOOLS)
        look = Lens(drafted, TOOLS, earlier, ZONE)
        assert judge(row(charges=({**full, "rate": True},), **facts), look).after == "one"
        assert judge(row(stage="claim", charges=(), **facts), look).after == "one"
        assert judge(row(), look).after == "one", "nor where nobody knows how full it was"
    same = Lens(then, TOOLS, earlier, ZONE)
    assert judge(row(kind="refused", count=0, charges=(full,), **facts), same).after == "refused"


def test_two_processes_find_what_one_does() -> None:
    rows = [row(amount_minor=number, context={"amount_minor": number}) for number in range(0, 20_000, 100)]
    pages = [rows[start : start + 30] for start in range(0, len(rows), 30)]
    draft = lens(forbidding("nothing-above-50", "context has amount_minor && context.amount_minor > 5500"))
    options: dict[str, Any] = {"tools": TOOLS, "earlier": draft.earlier, "zone": ZONE}
    one, two = (parallel.tally(pages, draft.policies.files, processes=number, **options) for number in (1, 2))
    assert one == over(rows, draft)
    assert (one.verdicts, {key: (pile.count, pile.money) for key, pile in one.flips.items()}) == (
        two.verdicts, {key: (pile.count, pile.money) for key, pile in two.flips.items()}
    )  # fmt: skip


@pytest.mark.both_databases
def test_every_page_of_history_is_read_once(busy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "_PAGE", 2)
    whole = len(db.session.scalars(select(Verdict.id)).all())
    result = history.replayed(dict(policy.current().files), days=30)
    assert result["total"]["verdicts"] == whole
    assert history.replayed(dict(policy.current().files), days=30, most=5)["left_out"] == whole - 5


def test_a_replay_that_cannot_be_done_says_so(app: Flask, people: People, monkeypatch: pytest.MonkeyPatch) -> None:
    from copilot.gate import library

    with transaction():
        library.adopt(policy.current())
        made = library.draft(FILES | {"tests.cedar": FILES["tests.cedar"] + "\n// more"}, by=people.bo, comment="more").id
        history.ask(made, days=90, by=people.bo)
    assert history.asked() == [made]

    def broken(*_: object, **__: object) -> None:
        raise OSError("no memory")

    monkeypatch.setattr(parallel, "tally", broken)
    jobs.replay(made)
    row = library.get(made)
    assert (row.replay_state, history.asked()) == ("failed", [])
    assert "problem" in (row.replay or {})
    jobs.replay(made)
    assert library.get(made).replay_state == "failed"


def test_erased_arguments_are_joined_as_none(busy: str) -> None:
    with transaction():
        for version in db.session.scalars(select(ProposalVersion)):
            version.arguments = "null"
    files = dict(policy.current().files)
    assert history.replayed(files, days=30)["flips"] == []
    files["tests.cedar"] += forbidding("no-memo", 'context.args has pay_key && context.args.pay_key.memo == "never"')
    assert history.replayed(files, days=30)["total"]["unknown"] > 0


def test_the_command_prints_what_would_have_gone_otherwise(busy: str, environ: dict[str, str], tmp_path: Any) -> None:
    folder = tmp_path / "draft"
    folder.mkdir()
    for name, text in FILES.items():
        (folder / name).write_text(text)
    (folder / "more.cedar").write_text(forbidding("nothing-above-50", "context has amount_minor && context.amount_minor > 5500"))
    db.session.rollback()
    answer = CliRunner().invoke(cli.main, ["policy", "replay", str(folder), "--days", "30", "--json"], env=environ)
    assert answer.exit_code == 0, answer.output
    result = json.loads(answer.stdout)
    assert any((each["before"], each["after"]) == ("two", "refused") for each in result["flips"])
    plain = CliRunner().invoke(cli.main, ["policy", "replay", str(folder), "--days", "30"], env=environ)
    assert "two people decide → is refused" in plain.output
    (folder / "more.cedar").write_text("permit (")
    wrong = CliRunner().invoke(cli.main, ["policy", "replay", str(folder)], env=environ)
    assert wrong.exit_code == 1
    assert "more.cedar line 1" in wrong.output
    assert tools.current().find("pay_key") is not None


class Killed(BaseException):
    """What ends a worker in the middle of it."""


def test_a_replay_whose_worker_was_killed_is_taken_up_by_another(
    app: Flask, people: People, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    from copilot.gate import library

    with transaction():
        library.adopt(policy.current())
        made = library.draft(FILES | {"tests.cedar": FILES["tests.cedar"] + "\n// more"}, by=people.bo, comment="more").id
        history.ask(made, days=30, by=people.bo)

    def killed(*_: object, **__: object) -> None:
        raise Killed

    with monkeypatch.context() as during:
        during.setattr(history, "replayed", killed)
        with pytest.raises(Killed):
            jobs.replay(made)
    assert (library.get(made).replay_state, history.asked()) == ("running", []), "it may still be under way"
    jobs.replay(made)
    assert library.get(made).replay_state == "running", "a second worker leaves it alone"
    clock.advance(minutes=6)
    assert history.asked() == [made]
    jobs.replay(made)
    assert (library.get(made).replay_state, history.asked()) == ("done", [])
