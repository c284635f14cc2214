"""Limits, rates and measures: what a rule may say, whose window is whose, and that no order of events gets around one."""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from flask import Flask
from flask.testing import FlaskClient
from hypothesis import example, given, settings
from hypothesis import strategies as st
from sqlalchemy import insert, select, update

from copilot import db as database
from copilot import jobs
from copilot.agents import intake
from copilot.db import db, new_id, transaction
from copilot.errors import SetupError
from copilot.gate import budgets, policy, tools, windows
from copilot.gate.budgets import BudgetRule, Charge
from copilot.gateway import reserve
from copilot.models import Agent, AuditEvent, Budget, Proposal, Rate, Reservation, Ticket, Verdict
from tests.conftest import Clock
from tests.support import api, browser, invariants, work
from tests.support.ledger import Ledger
from tests.support.people import People, add_agent

NOON = datetime(2026, 3, 4, 12, tzinfo=UTC)
YEARS = 315_360_000
DAY = 86_400
COUNT = BudgetRule(id="five", tools=("*",), per="agent", seconds=YEARS, limit=5, currency=None, sentence="At most five.")
MONEY = replace(COUNT, id="purse", limit=1000, currency="EUR", sentence="At most €10.00.")
PACE = replace(COUNT, id="pace", seconds=60, limit=3, rate=6, sentence="Six in a minute, three at once.")
SUM = replace(MONEY, id="sum", limit=budgets.UNLIMITED, measure=True, sentence="What was paid.")


def _text(**change: Any) -> str:
    fields: dict[str, Any] = {"id": "b", "tools": ["pay_key"], "per": "all", "seconds": 60, "count": 5, "sentence": "Five."} | change
    return "[[budget]]\n" + "\n".join(f"{key} = {json.dumps(value)}" for key, value in fields.items() if value is not None)


def _charges(*rules: BudgetRule, **change: Any) -> tuple[Charge, ...]:
    call: dict[str, Any] = {
        "tool": "pay_key", "agent_id": "agent_1", "customer_id": "cus_1", "team": "north", "session": "run_1",
        "amount_minor": 700, "currency": "EUR", "now": NOON,
    }  # fmt: skip
    return budgets.charges(rules, **call | change)


# -- what a rule may say


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (_text(), {"limit": 5, "rate": 0, "measure": False, "effects": ("write",), "currency": None}),
        (_text(count=None, rate=10), {"limit": 10, "rate": 10, "interval": 6_000_000}),
        (_text(count=None, rate=10, burst=2, effects=["read"]), {"limit": 2, "rate": 10, "effects": ("read",)}),
        (_text(count=None, rate=7, seconds=1), {"interval": 142_858}),  # rounded up: never faster than said
        (_text(count=None, measure=True), {"limit": budgets.UNLIMITED, "measure": True, "currency": None}),
        (_text(count=None, measure=True, currency="EUR"), {"measure": True, "currency": "EUR"}),
        (_text(per="session", seconds=None), {"seconds": 0}),
        (_text(seconds=DAY, day="local", next="Ask finance."), {"day": "local", "next_step": "Ask finance."}),
        (_text(effects=["read", "write"]), {"effects": ("read", "write")}),
    ],
)
def test_what_a_rule_says_is_read_as_it_is_meant(text: str, expected: dict[str, Any]) -> None:
    (rule,) = budgets.read(text)
    assert {name: getattr(rule, name) for name in expected} == expected


@pytest.mark.parametrize(
    ("text", "about"),
    [
        (_text(rate=5), "exactly one of"),
        (_text(measure=True), "exactly one of"),
        (_text(burst=5), "burst"),
        (_text(count=None, measure=False), "measure is true"),
        (_text(count=None, rate=5, currency="EUR"), "currency"),
        (_text(currency="EUR"), "currency"),
        (_text(count=None, amount_minor=5, currency="euro"), "three capital letters"),
        (_text(count=None, amount_minor=5, currency="EUR", effects=["read"]), "a read has no amount"),
        (_text(seconds=None), "needs seconds"),
        (_text(per="session", seconds=None, count=None, rate=5), "needs seconds"),
        (_text(day="local"), "86400"),
        (_text(day="local", seconds=DAY, count=None, rate=5), "86400"),
        (_text(day="mars"), "utc or local"),
        (_text(effects=[]), "effects"),
        (_text(effects=["look"]), "effects"),
        (_text(effects="read"), "effects"),
        (_text(tools=[]), "tools"),
        (_text(tools=[7]), "tools"),
        (_text(count=True), "positive whole"),
        (_text(count=10**16), "positive whole"),
        (_text(sentence=" "), "not empty"),
        (_text(sentence=7), "not empty"),
        (_text(id=7), "lower-case"),
        (_text(next=""), "not empty"),
        ("budget = 7", "tables"),
        ("[budgets]\na = 1", "tables"),
    ],
)
def test_a_rule_with_a_mistake_is_refused_with_a_sentence_about_it(text: str, about: str) -> None:
    with pytest.raises(SetupError, match=about) as caught:
        budgets.read(text, source="folder/budgets.toml")
    assert str(caught.value).startswith("folder/budgets.toml: ")


# -- whose window is whose

WORDS = st.text(st.sampled_from("a:%#/1é "), max_size=6) | st.text(max_size=300)


@given(st.lists(st.tuples(st.sampled_from(budgets.PER), WORDS, st.sampled_from(["EUR", "USD", None]), st.booleans()), max_size=12))
@example(
    [("customer", "a:b", None, False), ("customer", "a", None, False), ("agent", "a:b", None, False), ("customer", "a%3Ab", None, False)]
)
@example([("customer", "é" * 300, None, False), ("customer", "é" * 299, None, False), ("team", "", None, False), ("all", "", None, False)])
def test_two_windows_have_one_key_only_if_they_are_one(seen: list[tuple[str, str, str | None, bool]]) -> None:
    """Whatever a customer or team is called, its key is nobody else's, fits the column and has no place for tricks."""
    keys: dict[str, tuple[object, ...]] = {}
    for per, name, currency, sliding in seen:
        rule = replace(COUNT, per=per, currency=currency, limit=1000, rate=6 if sliding else 0)
        (charge,) = _charges(rule, agent_id=name, customer_id=name, team=name, session=name or "run", currency=currency or "EUR", tool=name)
        subject = {"all": "", "session": name or "run"}.get(per, name)
        unit = "rate" if sliding else currency
        assert keys.setdefault(charge.key, (per, subject, unit)) == (per, subject, unit)
        assert len(charge.key) <= 256
        assert charge.key.isascii()
        assert budgets.subject_of(charge.key) == subject or re.fullmatch("#[0-9a-f]{64}", budgets.subject_of(charge.key))
        begins, _ = budgets.open_keys(rule, NOON)
        assert charge.key.startswith(begins)


@pytest.mark.parametrize("change", [{"currency": "EUR"}, {"seconds": 60}, {"per": "all"}, {"rate": 6}, {"day": "local"}])
def test_a_rule_that_counts_something_else_now_does_not_go_on_from_the_old_number(change: dict[str, Any]) -> None:
    daily = replace(COUNT, seconds=DAY)
    assert _charges(daily)[0].key != _charges(replace(daily, **change))[0].key


def test_each_call_draws_on_its_own_agent_team_session_and_customer() -> None:
    rules = [replace(COUNT, id=per, per=per) for per in budgets.PER]
    found = {charge.rule: budgets.subject_of(charge.key) for charge in _charges(*rules)}
    assert found == {"all": "", "agent": "agent_1", "tool": "pay_key", "customer": "cus_1", "team": "north", "session": "run_1"}


@pytest.mark.parametrize("session", ["", None, "agent_1"])
def test_leaving_something_out_opens_no_second_window(session: str | None) -> None:
    """What is about nobody shares one window, so every rule applies to every call."""
    by_session, by_team, by_customer = (replace(COUNT, id=per, per=per) for per in ("session", "team", "customer"))
    drawn = _charges(by_session, by_team, by_customer, session=session, team=None, customer_id=None)
    assert {charge.rule: budgets.subject_of(charge.key) for charge in drawn} == {"session": "agent_1", "team": "", "customer": ""}


def test_outside_of_any_session_a_rule_about_whole_sessions_counts_by_the_day() -> None:
    """Where an agent's own id stands for its session, the one window would never end."""
    whole = replace(COUNT, per="session", seconds=0)
    (run,), (ticket,) = _charges(whole, session="run_1"), _charges(whole, session="agent_1:tick_1")
    (early,), (late,), (next_day,) = (
        _charges(whole, session="agent_1", now=datetime(2026, 3, day, hour, tzinfo=UTC)) for day, hour in ((4, 0), (4, 23), (5, 0))
    )
    assert run.ends_at == ticket.ends_at == budgets.NEVER
    assert (early.key, early.ends_at) == (late.key, datetime(2026, 3, 5, tzinfo=UTC))
    assert (next_day.key == early.key, next_day.ends_at) == (False, datetime(2026, 3, 6, tzinfo=UTC))
    assert len({run.key, ticket.key, early.key, next_day.key}) == 4
    assert _charges(replace(whole, seconds=DAY))[0].key.split(":")[3] == str(DAY), "a rule with a window of its own keeps it"


def test_reads_count_only_where_a_rule_names_them() -> None:
    rules = [replace(COUNT, id=name, effects=effects) for name, effects in (("w", ("write",)), ("r", ("read",)), ("rw", ("read", "write")))]
    assert {charge.rule for charge in _charges(*rules)} == {"w", "rw"}
    assert {charge.rule for charge in _charges(*rules, effect="read", amount_minor=None, currency=None)} == {"r", "rw"}


def test_money_the_other_way_makes_no_room() -> None:
    assert [charge.amount for charge in _charges(MONEY, SUM, amount_minor=-700)] == [700, 700]


def test_a_local_day_begins_and_ends_at_midnight_there_also_when_the_clocks_change() -> None:
    vienna = ZoneInfo("Europe/Vienna")
    rule = replace(COUNT, seconds=DAY, day="local")
    late, early = (
        datetime(2026, 3, 28, 23, 30, tzinfo=UTC),
        datetime(2026, 3, 29, 21, 30, tzinfo=UTC),
    )  # 00:30 and 23:30 of a day of 23 hours
    before = datetime(2026, 3, 28, 22, 30, tzinfo=UTC)
    first, second, earlier = (_charges(rule, now=at, timezone=vienna)[0] for at in (late, early, before))
    assert first.key == second.key != earlier.key
    assert (first.ends_at, earlier.ends_at) == (datetime(2026, 3, 29, 22, tzinfo=UTC), datetime(2026, 3, 28, 23, tzinfo=UTC))


# -- in the database


@pytest.fixture
def room(app: Flask, agent: str) -> str:
    """An agent in whose name proposals are put into the database as they are."""
    return agent


def _proposal(agent: str) -> str:
    """A bare proposal for a reservation to hang on; gives its id."""
    at, proposal_id = database.now(), new_id("prop")
    db.session.execute(
        insert(Proposal).values(
            id=proposal_id, state="PENDING", agent_id=agent, tool="pay_key", risk="low", digest="0" * 64, level="suggest",
            deadline_at=at, created_at=at, updated_at=at,
        )
    )  # fmt: skip
    return proposal_id


def _try(agent: str, *charges: Charge) -> str | None:
    """Reserve for a new proposal as a claim does; gives its id, or None when there was no room."""
    with transaction():
        proposal_id = _proposal(agent)
        try:
            with db.session.begin_nested():
                reserve.reserve(proposal_id, charges)
        except reserve.OverBudget:
            return None
    return proposal_id


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("reserve"), st.integers(1, 600)),
        st.tuples(st.just("close"), st.integers(0, 9)),
        st.tuples(st.just("release"), st.integers(0, 9)),
        st.tuples(st.just("wait"), st.sampled_from([0, 1, 7, 13, 61, 100])),
        st.tuples(st.just("limit"), st.sampled_from([200, 500, 1000, 2000])),
    ),
    min_size=4,
    max_size=22,
)


@pytest.mark.both_databases
@settings(max_examples=40)
@given(STEPS)
@example([("reserve", 400)] * 3 + [("close", 0), ("limit", 200), ("reserve", 1), ("release", 1), ("limit", 2000), ("reserve", 600)])
@example([("reserve", 1)] * 5 + [("wait", 7), ("reserve", 1), ("wait", 13), ("reserve", 1), ("reserve", 1), ("reserve", 1)])
def test_no_order_of_events_gets_past_a_limit_or_a_rate(room: str, steps: list[tuple[str, int]]) -> None:
    """A model in plain Python says what each step must do; the database must agree after every one."""
    subject = new_id("agent")  # windows of this example's own
    now, limit = NOON, 1000
    held: dict[str, tuple[int, int]] = {}  # proposal -> amount, window
    spent: Counter[int] = Counter()
    passed: list[datetime] = []
    for verb, number in steps:
        open_ = sorted(held)
        window = int(now.timestamp()) // 100
        if verb == "wait":
            now += timedelta(seconds=number)
        elif verb == "limit":
            limit = number
        elif verb == "reserve":
            rules = (replace(MONEY, seconds=100, limit=limit), PACE)
            made = _try(room, *_charges(*rules, agent_id=subject, amount_minor=number, now=now))
            reserved = sum(amount for amount, at in held.values() if at == window)
            assert (made is not None) == (spent[window] + reserved + number <= limit and _paced(passed, now))
            if made is not None:
                held[made] = (number, window)
                passed.append(now)
        elif open_:
            proposal_id = open_[number % len(open_)]
            for _ in range(2):  # a second time does nothing
                with transaction():
                    reserve.close(proposal_id, spent=verb == "close")
            amount, at = held.pop(proposal_id)
            spent[at] += amount if verb == "close" else 0
        _agrees(subject, held, spent)


def _paced(passed: list[datetime], now: datetime) -> bool:
    """Whether in no stretch of time that ends now more than the burst and one every ten seconds would have begun."""
    return all(len(passed) - index + 1 <= 3 + (now - begun) // timedelta(seconds=10) for index, begun in enumerate(passed))


def _agrees(subject: str, held: dict[str, tuple[int, int]], spent: Counter[int]) -> None:
    db.session.rollback()
    rows = {row.key: row for row in db.session.scalars(select(Budget).where(Budget.key.like(f"%:{subject}")))}
    for key, row in rows.items():
        window = int(key.split(":")[4]) // 100
        assert (row.spent, row.reserved) == (spent[window], sum(amount for amount, at in held.values() if at == window))
        assert row.spent + row.reserved <= row.ceiling


@pytest.mark.both_databases
def test_a_lowered_limit_breaks_nothing_and_lets_nothing_more_in(room: str) -> None:
    """What was promised before is kept and settled; a raised limit makes room at once."""
    first, second = (_try(room, *_charges(MONEY, amount_minor=400)) for _ in range(2))
    assert first
    assert second
    low = replace(MONEY, limit=300)
    assert _try(room, *_charges(low, amount_minor=1)) is None
    with transaction():
        reserve.close(first, spent=True)
        reserve.close(second, spent=False)
    assert _try(room, *_charges(low, amount_minor=1)) is None
    (line,) = windows.standing([low], _charges(low, amount_minor=1))
    assert (line.used, line.left, line.fits) == (400, 0, False)
    assert _try(room, *_charges(replace(MONEY, limit=401), amount_minor=1))
    row = db.session.scalars(select(Budget)).one()
    assert (row.spent, row.reserved, row.ceiling) == (400, 1, 401)


@pytest.mark.both_databases
def test_a_measure_counts_and_never_refuses_what_a_number_can_hold(room: str) -> None:
    calls = replace(COUNT, id="calls", limit=budgets.UNLIMITED, measure=True)
    for _ in range(3):
        assert _try(room, *_charges(SUM, calls, amount_minor=10**15))
    assert [(charge.rule, used) for charge, used in windows.used(_charges(SUM, calls))] == [("calls", 3), ("sum", 3 * 10**15)]
    assert _try(room, *_charges(SUM, amount_minor=2**70)) is None


@pytest.mark.both_databases
def test_a_part_is_never_kept(room: str) -> None:
    """One rule without room leaves the others, the rate included, as they were."""
    full = replace(COUNT, id="zz", limit=1)
    assert _try(room, *_charges(full))
    assert _try(room, *_charges(MONEY, PACE, full)) is None
    with transaction(), pytest.raises(reserve.OverBudget):
        reserve.count_read(_charges(replace(COUNT, id="reads", effects=("read",)), replace(full, effects=("read", "write")), effect="read"))
    assert {key.partition(":")[0] for key in db.session.scalars(select(Budget.key))} == {"zz"}
    assert db.session.scalars(select(Rate)).all() == []
    assert len(db.session.scalars(select(Reservation)).all()) == 1


@pytest.mark.both_databases
def test_a_refused_rate_says_when_it_has_room_again(room: str) -> None:
    for _ in range(3):
        assert _try(room, *_charges(PACE))
    with transaction(), pytest.raises(reserve.OverBudget) as caught:
        reserve.reserve(_proposal(room), _charges(PACE))
    assert caught.value.retry_at == NOON + timedelta(seconds=10)
    assert _try(room, *_charges(PACE, now=NOON + timedelta(seconds=9.999))) is None
    assert _try(room, *_charges(PACE, now=NOON + timedelta(seconds=10)))
    assert _try(room, *_charges(PACE, now=NOON - timedelta(days=1))) is None, "a clock that goes back makes no room"


def test_a_repeated_attempt_is_held_up_by_nothing(room: str) -> None:
    """Its call may have happened, so it has to be repeated under its key and not left in doubt."""
    first = _try(room, *_charges(PACE, MONEY))
    assert first
    for _ in range(2):
        assert _try(room, *_charges(PACE))
    again = _charges(PACE, MONEY, replace(COUNT, id="new", limit=1))
    with transaction():
        reserve.reserve(first, again)
    only_paced = _try(room, *_charges(PACE, agent_id="agent_2"))
    assert only_paced
    with transaction():
        db.session.execute(update(Proposal).where(Proposal.id == only_paced).values(attempts=2))
        reserve.reserve(only_paced, _charges(PACE))
    assert [row.rule for row in db.session.scalars(select(Budget))] == ["purse"]


@pytest.mark.both_databases
def test_old_counters_are_forgotten_but_never_what_a_proposal_drew_on(room: str) -> None:
    reads = replace(COUNT, id="reads", seconds=60, effects=("read",))
    assert _try(room, *_charges(replace(COUNT, seconds=60), PACE))
    with transaction():
        reserve.count_read(_charges(reads, replace(PACE, id="slow", effects=("read",)), effect="read"))
    for later, gone in (({"hours": 23}, 0), ({"hours": 25}, 3), ({"days": 900}, 0)):
        with transaction():
            assert reserve.forget(NOON + timedelta(**later)) == gone
    assert db.session.scalars(select(Budget.rule)).all() == ["five"]
    assert db.session.scalars(select(Rate)).all() == []


# -- in the product


def _install(*rules: BudgetRule) -> None:
    policy.install(replace(policy.current(), budget_rules=rules))


def _about_nobody(name: str) -> None:
    """Let a tool no longer say whose its target is."""
    present = tools.current()
    tool = present.by_name[name]
    assert tool.preview is not None
    shown = tool.preview
    silent = replace(tool, preview=lambda arguments, call: replace(shown(arguments, call), customer_id=None))
    tools.install(tools.Registry({**present.by_name, name: silent}))


def _run(agent: str, people: People, **changes: Any) -> str:
    proposal_id = work.propose(agent, **changes)
    if work.state(proposal_id) == "PENDING":
        work.approve(proposal_id, people.ana)
        jobs.execute(proposal_id)
    return work.state(proposal_id)


@pytest.mark.both_databases
def test_a_session_and_a_team_have_limits_of_their_own(agent: str, people: People, book: Ledger) -> None:
    """Five writes in a session, and the team's other agent draws on the same purse."""
    _install(replace(COUNT, id="session", per="session", seconds=0, limit=2), replace(COUNT, id="team", per="team", limit=3))
    mate = add_agent(people.ids["dee"], name="mate", scopes=("pay_key:write",))
    with transaction():
        db.session.execute(update(Agent).values(team="north"))
    one, other = work.ticket("c1"), work.ticket("c1")
    assert [_run(agent, people, ticket_id=one) for _ in range(3)] == ["SUCCEEDED", "SUCCEEDED", "DENIED"]
    assert _run(agent, people, ticket_id=other) == "SUCCEEDED"
    assert _run(mate, people) == "DENIED"
    with transaction():
        db.session.execute(update(Agent).where(Agent.id == mate).values(team="south"))
    assert _run(mate, people) == "SUCCEEDED"
    invariants.check(book)


@pytest.mark.both_databases
def test_outside_of_any_ticket_an_agent_has_room_for_a_day_at_a_time(agent: str, people: People, book: Ledger, clock: Clock) -> None:
    rule = replace(COUNT, id="session", per="session", seconds=0, limit=2)
    _install(rule)
    assert [_run(agent, people) for _ in range(3)] == ["SUCCEEDED", "SUCCEEDED", "DENIED"]
    assert _run(agent, people, ticket_id=work.ticket("c1")) == "SUCCEEDED"
    clock.advance(days=1)
    assert [_run(agent, people) for _ in range(3)] == ["SUCCEEDED", "SUCCEEDED", "DENIED"]
    today, ticket = windows.fullest(rule, now=database.now())  # the day before is over
    assert (today.used, today.words, today.left) == (2, "today for all this agent does without a ticket", 0)
    assert (ticket.used, ticket.words, ticket.ends_at) == (1, "in this session", None)
    assert today.ends_at is not None
    assert windows.names([today, ticket], rule)[today.subject] == "refund-desk"
    invariants.check(book)


@pytest.mark.both_databases
def test_naming_no_customer_gets_around_no_customers_limit(agent: str, people: People, book: Ledger) -> None:
    rule = replace(COUNT, id="customer", per="customer", limit=2)
    _install(rule)
    _about_nobody("pay_opaque")
    assert [_run(agent, people, tool="pay_opaque") for _ in range(3)] == ["SUCCEEDED", "SUCCEEDED", "DENIED"]
    assert _run(agent, people) == "SUCCEEDED", "a customer's own room is another"
    nobody, customer = windows.fullest(rule, now=database.now())
    assert (nobody.used, customer.used) == (2, 1)
    assert windows.names([nobody, customer], rule) == {"": "Actions about no customer", "c1": "c1"}
    invariants.check(book)


@pytest.mark.both_databases
def test_a_full_rate_makes_an_action_wait_and_never_ends_it(agent: str, people: People, book: Ledger, clock: Clock) -> None:
    """It says nothing when something is proposed or looked at anew; the claim waits until there is room."""
    _install(replace(PACE, rate=1, limit=1))
    ticket = work.ticket()
    first, second = (work.propose(agent, ticket_id=ticket) for _ in range(2))
    work.approve(first, people.ana)
    jobs.execute(first)
    third = work.propose(agent, ticket_id=ticket)
    assert [work.state(each) for each in (first, second, third)] == ["SUCCEEDED", "PENDING", "PENDING"]
    clock.advance(seconds=5)
    with transaction():
        external_id = db.session.get_one(Ticket, ticket).external_id
        intake.message(external_id, external_id="m-1", author="customer", body="Any news?", source="tests")
    jobs.refresh(second)
    assert (work.state(second), work.row(second).version) == ("PENDING", 2)
    recorded = db.session.scalars(select(Verdict.input).where(Verdict.proposal_id == third)).one()
    assert recorded["charges"] == [{"rule": "pace", "amount": 1, "used": 1, "rate": True}]
    work.approve(second, people.ana)
    jobs.execute(second)
    assert work.state(second) == "APPROVED"
    clock.advance(seconds=61)
    jobs.execute(second)
    assert work.state(second) == "SUCCEEDED"
    invariants.check(book)


def test_customers_stand_in_no_line_of_the_log(agent: str, people: People) -> None:
    _install(replace(COUNT, per="customer", limit=1))
    customer = "cus-very-secret"
    assert [_run(agent, people, account=f"{customer}/main") for _ in range(2)] == ["SUCCEEDED", "DENIED"]
    lines = "\n".join(db.session.scalars(select(AuditEvent.line)))
    assert customer not in lines
    assert customer in db.session.scalars(select(Budget.key)).one()


# -- what people and agents see


def test_the_card_says_what_is_left_and_until_when(client: FlaskClient, agent: str, people: People) -> None:
    _install(
        replace(MONEY, id="day", seconds=DAY, per="customer", limit=20_000, sentence="At most €200.00 a day."),
        replace(COUNT, id="session", per="session", seconds=0, sentence="Five writes a session."),
        replace(PACE, id="pace"),
        replace(SUM, id="sum", seconds=DAY),
        replace(COUNT, id="elsewhere", tools=("pay_opaque",)),
    )
    ticket = work.ticket("c1")
    assert _run(agent, people, ticket_id=ticket, amount_minor=10_000) == "SUCCEEDED"
    card = work.propose(agent, ticket_id=ticket, amount_minor=9_000)
    browser.sign_in(client, "ana@example.com")
    page = " ".join(client.get(f"/proposals/{card}").text.split())
    assert "<strong>€100.00 of €200.00</strong> left today for this customer" in page
    assert "<strong>4 of 5</strong> left in this session" in page
    assert "<strong>2 of 3</strong> left at this moment for this agent" in page
    assert "<strong>€100.00</strong> so far today for this agent" in page
    assert "At most €200.00 a day." in page
    assert "until <time" in page
    assert "no room for this" not in page
    assert _run(agent, people, ticket_id=ticket, amount_minor=5_000) == "SUCCEEDED"
    assert "no room for this" in client.get(f"/proposals/{card}").text
    work.reject(card, people.ana)
    assert "so far today" not in client.get(f"/proposals/{card}").text


def test_the_page_shows_every_rule_its_fullest_windows_and_when_they_begin_anew(client: FlaskClient, agent: str, people: People) -> None:
    _install(
        replace(MONEY, id="day", seconds=DAY, per="customer", limit=20_000, sentence="At most €200.00 <a> day."),
        replace(COUNT, id="session", per="session", seconds=0),
        PACE,
        replace(COUNT, id="idle", tools=("pay_opaque",), seconds=3600, per="tool"),
        replace(COUNT, id="measured", measure=True, limit=budgets.UNLIMITED, per="all"),
    )
    ticket = work.ticket("c1")
    assert _run(agent, people, ticket_id=ticket, amount_minor=1_500) == "SUCCEEDED"
    for customer, amount in (("c1", 1_000), ("<b>c2", 9_000)):
        assert _run(agent, people, account=f"{customer}/main", amount_minor=amount) == "SUCCEEDED"
    external_id = db.session.get_one(Ticket, ticket).external_id
    for name in ("ana", "cy", "bo"):
        browser.sign_in(client, f"{name}@example.com")
        page = " ".join(client.get("/budgets").text.split())
        assert "At most €200.00 &lt;a&gt; day." in page
        assert page.index("&lt;b&gt;c2") < page.index("c1</bdi>")
        assert "<strong>€110.00 of €200.00</strong> left today" in page
        assert "€200.00 within a day, for each customer. Begins anew <time" in page
        assert "<bdi>refund-desk</bdi>: <strong>3 of 5</strong> left" in page
        assert "6 calls in a minute, at most 3 at once, for each agent. One more call every 10 seconds." in page
        assert "Nothing is used at this moment." in page
        assert "<bdi>Everybody together</bdi>: <strong>3</strong> so far" in page
        assert f"<bdi>refund-desk, ticket {external_id}</bdi>: <strong>4 of 5</strong> left" in page


def test_an_agent_is_told_of_its_own_windows_and_people_of_the_fullest(client: FlaskClient, agent: str, people: People) -> None:
    _install(
        replace(COUNT, id="mine"),
        replace(MONEY, id="customers", per="customer", limit=3_000),
        replace(COUNT, id="reads", tools=("*",), effects=("read",)),
        replace(COUNT, id="tools", per="tool"),
        replace(COUNT, id="others", tools=("pay_opaque",)),
    )
    other = add_agent(people.ids["dee"], name="other", scopes=("pay_key:write",))
    assert [_run(each, people) for each in (agent, other, other)] == ["SUCCEEDED"] * 3
    items = {item["id"]: item for item in api.as_agent(client, agent, "pay_key:write")("GET", "/budgets").json["items"]}
    assert set(items) == {"mine", "customers", "tools"}
    assert items["mine"]["windows"] == [{"subject": agent, "used": 1, "left": 4, "ends_at": items["mine"]["windows"][0]["ends_at"]}]
    assert (items["mine"]["limit"], items["mine"]["tools"]) == (5, ["pay_key"])
    assert [(window["subject"], window["used"]) for window in items["tools"]["windows"]] == [("pay_key", 3)]
    assert items["customers"]["windows"] == []
    seen = {item["id"]: item for item in api.as_person(client, people.ana)("GET", "/budgets").json["items"]}
    assert set(seen) == {"mine", "customers", "reads", "tools", "others"}
    assert [(window["subject"], window["used"]) for window in seen["mine"]["windows"]] == [(other, 2), (agent, 1)]
    assert (seen["customers"]["currency"], seen["customers"]["windows"][0]["left"]) == ("EUR", 0)


@pytest.mark.parametrize(
    ("seconds", "words"), [(1, "a second"), (60, "a minute"), (3600, "an hour"), (5400, "90 minutes"), (DAY, "a day"), (7 * DAY, "7 days")]
)
def test_spans_are_said_as_people_say_them(seconds: int, words: str) -> None:
    assert windows.spelled(seconds) == words
