"""The policy language: a vocabulary made from the tools, mistakes named with what was meant, and sentences for what was missing."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, date, datetime, time
from typing import Any
from zoneinfo import ZoneInfo

import cedarpy
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from copilot import cli
from copilot.errors import BadInput, SetupError
from copilot.gate import calendar, check, explain, policy, rules, shapes, vocabulary
from copilot.gate.check import Allowed, Facts, Input, NeedsApproval, Refused, Request
from copilot.toolkit import Money, Toolbox
from tests.support import ROOT
from tests.support.tools import counting

PAY = counting.tools["pay_key"]
NOON = datetime(2026, 3, 4, 12, 0, tzinfo=UTC)
FACTS = Facts(local=NOON, agent_id="a1", agent_name="desk", agent_enabled=True, scopes=("*:read", "act:write"), level="suggest")

SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["order_id", "amount", "tags", "where"],
    "properties": {
        "order_id": {"type": "string"},
        "amount": {"type": "integer"},
        "rate": {"type": "number"},
        "reason": {"enum": ["late", "damaged"]},
        "urgent": {"type": "boolean", "default": False},
        "note": {"anyOf": [{"type": "string"}, {"type": "null"}]},
        "tags": {"type": "array", "items": {"type": "string"}},
        "where": {"$ref": "#/$defs/Place"},
        "either": {"anyOf": [{"type": "string"}, {"type": "integer"}]},
        "anything": {"type": "object"},
        "__entity": {"type": "string"},
    },
    "$defs": {"Place": {"type": "object", "required": ["city"], "properties": {"city": {"type": "string"}, "zip": {"type": "string"}}}},
}
BUDGET = '[[budget]]\nid = "per-day"\ntools = ["*"]\nper = "customer"\nseconds = 86400\ncount = 4\nsentence = "Four a day."\n'


def _box() -> Toolbox:
    box = Toolbox("box")
    known = {"type": "object", "properties": {"left_minor": {"type": "integer"}}}
    box.add("act", lambda **given: given, description="Act.", effect="write", parameters=SCHEMA, known=known)
    return box


ACT = _box().tools["act"]
ARGUMENTS: dict[str, Any] = {"order_id": "1043", "amount": 7, "tags": ["a"], "where": {"city": "Graz"}}


def _policies(condition: str, *, effect: str = "permit", action: str = "propose", tools: bool = True) -> policy.Policies:
    text = f'@id("rule") @sentence("The rule.") {effect} (principal, action == Action::"{action}", resource) when {{ {condition} }};'
    if effect == "forbid":
        text += f'@id("else") @sentence("Else.") permit (principal, action == Action::"{action}", resource);'
    return policy.from_files({"p.cedar": text, "budgets.toml": BUDGET}, [ACT] if tools else [])


def _proposed(policies: policy.Policies, arguments: dict[str, Any] = ARGUMENTS, facts: Facts = FACTS, **more: Any) -> check.Verdict:
    return check.check(Request(ACT, arguments, **more), facts, policies)


# -- words


def test_the_vocabulary_is_made_from_the_tools() -> None:
    text = policy.vocabulary([ACT], ["per-day"])
    fields = vocabulary.of([ACT], []).args["act"].fields
    assert {name: (shape.text(), need) for name, (shape, need) in fields.items()} == {
        "order_id": ("String", True),
        "amount": ("Long", True),
        "rate": ("decimal", False),
        "reason": ("String", False),
        "urgent": ("Bool", True),  # its default is filled in
        "note": ("String", False),
        "tags": ("Set<String>", True),
        "where": ('{"city": String, "zip"?: String}', True),
    }
    assert '"per-day"?: Long' in text
    assert '"left_minor"?: Long' in text
    cedarpy.Schema.from_str(text)


@pytest.mark.parametrize(
    ("condition", "meant"),
    [
        ("context.amuont_minor > 1", "did you mean amount_minor?"),
        ("context has amuont_minor", "did you mean amount_minor?"),  # Cedar takes it for a condition that never holds
        ("context.business_hour", "did you mean business_hours?"),
        ('context.used has "per-dy"', "did you mean per-day?"),
        ("context.args has atc", "did you mean act?"),
        ('context.args has act && context.args.act.order == ""', "did you mean order_id?"),
        ('context.args has act.reason && context.args.act.reason == "lat"', "did you mean late?"),
        ("context.known has act.left_mino", "did you mean left_minor?"),
        ('resource == Tool::"atc"', "did you mean act?"),
        ('resource in [Tool::"atc"]', "did you mean act?"),
        ('principal in Team::"x" && resource.risc == "high"', "did you mean risk?"),
        ('resource.risk == "hihg"', "did you mean high?"),
        ('["atuo", "auto"].contains(context.level)', "did you mean auto?"),
        ('principal in Rolle::"admin"', "did you mean Role?"),
        ("context.args.act.amount > 1", "ask whether it is there first"),
        ("resource.risk == 3", "not compatible"),
        ("1 +", "does not parse"),
    ],
)
def test_every_mistake_names_file_policy_and_what_was_meant(condition: str, meant: str) -> None:
    with pytest.raises(BadInput) as caught:
        _policies(condition)
    assert set(caught.value.problems) == {"p.cedar"}
    assert meant in str(caught.value)
    assert "p.cedar line 1" in str(caught.value)


@pytest.mark.parametrize(
    ("files", "why"),
    [
        ({"p.cedar": '@id("kill-switch") @sentence("S.") permit (principal, action, resource);'}, "one of the gate's own rules"),
        (
            {"p.cedar": '@id("per-day") @sentence("S.") permit (principal, action, resource);', "budgets.toml": BUDGET},
            "a budget has the same",
        ),
        ({"p.cedar": '@id("a") @sentence("S.") permit (principal == ?principal, action, resource);'}, "templates"),
        ({"p.cedar": '@id("a") @sentence("S.") permit (principal, action, resource);', "calendar.toml": "[defaul]"}, "[default]"),
        ({"p.cedar": '@id("a") @sentence("S.") permit (principal in Role::"boss", action, resource);'}, "no role called 'boss'"),
        ({"p.cedar": '@id("a") @sentence("S.") permit (principal, action == Action::"propos", resource);'}, "did you mean propose?"),
        ({"p.cedar": "// nothing"}, ""),
        ({"budgets.toml": BUDGET}, "nothing could ever be allowed"),
    ],
)
def test_a_folder_with_a_mistake_is_not_read(files: dict[str, str], why: str) -> None:
    if not why:
        assert policy.from_files(files).ids == {}
        return
    with pytest.raises(BadInput) as caught:
        policy.from_files(files)
    assert why in str(caught.value)


def test_a_mistake_has_the_line_of_its_policy_whatever_strings_and_comments_hold() -> None:
    good = '// it\'s "one; two\n@id("a")\n@sentence("One; two // three.")\npermit (principal, action, resource);\n\n// next\n'
    with pytest.raises(BadInput) as caught:
        policy.from_files({"a.cedar": good, "b.cedar": good.replace('"a"', '"b"') + '@id("c") permit (principal, action, resource);'})
    assert "b.cedar line 7, policy c: every policy carries @id(…) and @sentence(…)" in str(caught.value)


def test_from_a_folder_a_mistake_stops_the_start(tmp_path: Any) -> None:
    (tmp_path / "p.cedar").write_text('@id("a") @sentence("S.") permit (principal, action, resource) when { context.hour };')
    with pytest.raises(SetupError, match=r"p\.cedar line 1, policy a"):
        policy.load(tmp_path)


def test_without_tools_their_names_are_not_checked_and_their_arguments_have_no_words() -> None:
    assert _policies('resource == Tool::"elsewhere"', tools=False).ids
    with pytest.raises(BadInput, match=r"context\.args\.act"):
        _policies("context.args has act", tools=False)


# -- values


@pytest.mark.parametrize(
    ("condition", "holds"),
    [
        ('context.args has act && context.args.act.order_id like "10*"', True),
        ("context.args has act && context.args.act.amount > 7", False),
        ('context.args has act && context.args.act.tags.contains("a")', True),
        ('context.args has act && context.args.act.where.city == "Graz"', True),
        ("context.args has act.note", False),  # null counts as missing
        ("context.args has act && context.args.act.urgent", False),
        ('context.args has act.rate && context.args.act.rate.lessThan(decimal("1.5001"))', True),
        ("context.known has act.left_minor && context.known.act.left_minor >= 900", True),
        ('context.used has "per-day" && context.used["per-day"] == 3', True),
        ("context.args has elsewhere", None),
        ('context.args == {"act": {"order_id": "1"}}', None),
        ("context.tainted && context.business_hours == false && context.weekday == 3 && context.hour == 12", True),
    ],
)
def test_policies_see_arguments_known_facts_and_counts(condition: str, holds: bool | None) -> None:
    if holds is None:
        with pytest.raises(BadInput):
            _policies(condition)
        return
    arguments = {**ARGUMENTS, "note": None, "rate": 1.5}
    facts = replace(FACTS, used={"per-day": 3, "forgotten": 1})
    verdict = _proposed(_policies(condition), arguments, facts, known={"left_minor": 900})
    assert isinstance(verdict, NeedsApproval) is holds


@pytest.mark.parametrize("rate", [1.00005, 1e300])
def test_a_number_that_decimals_cannot_hold_is_a_persons_case_where_a_policy_asks_for_it(rate: float) -> None:
    asking = _policies('context.args has act.rate && context.args.act.rate.lessThan(decimal("1.5"))', effect="forbid")
    verdict = _proposed(asking, {**ARGUMENTS, "rate": rate})
    assert isinstance(verdict, NeedsApproval)
    assert (verdict.rule, verdict.count, verdict.broken) == (rules.BROKEN, 2, True)
    assert isinstance(_proposed(_policies("true"), {**ARGUMENTS, "rate": rate}), NeedsApproval), "and nowhere else"


@pytest.mark.parametrize("change", [{"region": None}, {"ticket_hours": "3"}, {"level": 7}, {"tainted": "no"}])
def test_a_malformed_fact_is_a_persons_case_and_a_read_is_refused(change: dict[str, Any]) -> None:
    policies = policy.load(None)
    verdict = check.check(Request(ACT, ARGUMENTS), replace(FACTS, **change), policies)
    assert isinstance(verdict, NeedsApproval)
    assert (verdict.rule, verdict.count, verdict.broken) == (rules.BROKEN, 2, True)
    read = check.check(Request(counting.tools["read_account"], {"account": "c1"}), replace(FACTS, **change), policies)
    assert isinstance(read, Refused)
    assert (read.rule, read.broken) == (rules.BROKEN, True)
    assert read.next_step


def test_a_forbid_that_holds_refuses_even_where_another_policy_cannot_be_evaluated() -> None:
    text = (
        '@id("broken") @sentence("B.") forbid (principal, action, resource) when { 9223372036854775807 + context.weekday > 0 };'
        '@id("never") @sentence("Never.") forbid (principal, action == Action::"propose", resource);'
        '@id("all") @sentence("All.") permit (principal, action, resource);'
    )
    verdict = _proposed(policy.from_files({"p.cedar": text}))
    assert isinstance(verdict, Refused)
    assert verdict.rule == "never"


def test_people_are_in_their_role_and_teams() -> None:
    text = (
        '@id("a") @sentence("A.") permit (principal in Team::"billing", action == Action::"approve", resource) when { context.team == "" };'
    )
    policies = policy.from_files({"p.cedar": text})
    context = check.policy_context(Request(ACT, ARGUMENTS), FACTS)
    assert check.may_approve(policies, user_id="u", role="operator", teams=["billing"], tool=ACT, context=context).allowed
    assert not check.may_approve(policies, user_id="u", role="operator", teams=["sales"], tool=ACT, context=context).allowed


def test_an_agent_is_in_its_team() -> None:
    text = '@id("a") @sentence("A.") permit (principal in Team::"billing", action == Action::"propose", resource);'
    policies = policy.from_files({"p.cedar": text})
    assert isinstance(_proposed(policies, facts=replace(FACTS, agent_team="billing")), NeedsApproval)
    assert isinstance(_proposed(policies, facts=replace(FACTS, agent_team="sales")), Refused)


def test_what_stands_in_an_argument_never_becomes_an_entity_or_a_number_of_cedars() -> None:
    """Cedar's JSON reads objects with these names as something else; ours hold plain values only."""
    escape = {"fn": "decimal", "arg": "1.0"}
    assert shapes.value(shapes.record(SCHEMA), {**ARGUMENTS, "__entity": "x", "anything": {"__extn": escape}}) == ARGUMENTS


def test_a_schema_in_circles_ends_and_odd_names_are_words_too() -> None:
    part = {"type": "object", "properties": {f"p{n}": {"$ref": "#/$defs/Part"} for n in range(20)} | {"name": {"type": "string"}}}
    circles = {"type": "object", "properties": {"part": {"$ref": "#/$defs/Part"}, "u": {"anyOf": [{"$ref": "#/$defs/U"}] * 9}}}
    circles["$defs"] = {"Part": part, "U": {"anyOf": [{"$ref": "#/$defs/U"}] * 9}}
    assert "part" in shapes.record(circles).fields
    odd = ("if", "has", 'we"ird', "ünï", "back\\slash", "a b")
    words = shapes.record({"type": "object", "properties": {name: {"type": "string"} for name in (*odd, "new\nline", "__extn")}})
    assert set(words.fields) == set(odd)
    cedarpy.Schema.from_str(vocabulary.Vocabulary(args={"act": words}).text())


# -- one evaluator


optional = st.fixed_dictionaries(
    {},
    optional={
        "ticket_hours": st.integers(0, 99),
        "customer_days": st.integers(0, 99),
        "amount_minor": st.integers(0, 2**40),
        "currency": st.sampled_from(["EUR", "USD"]),
        "confidence_percent": st.integers(0, 100),
        "same_customer": st.booleans(),
    },
)
certain = st.fixed_dictionaries(
    {
        "level": st.sampled_from(vocabulary.LEVELS),
        "team": st.sampled_from(["", "billing"]),
        "region": st.sampled_from(["", "EU", "US"]),
        "channel": st.just("mail"),
        "ticket_status": st.sampled_from(["open", "closed"]),
        "hour": st.integers(0, 23),
        "weekday": st.integers(1, 7),
        "business_hours": st.booleans(),
        "suspicious_text": st.booleans(),
        "tainted": st.booleans(),
        "used": st.dictionaries(st.sampled_from(["per-day", "writes-per-session", "other"]), st.integers(0, 9)),
        "known": st.just({"act": {"left_minor": 5}}),
        "args": st.just({"act": {**ARGUMENTS, "rate": 1.5, "urgent": False}}),
    }
)
SETS = [policy.load(folder, [ACT]) for folder in (policy.STARTER, policy.STARTER.parent / "examples" / "article")]
SETS += [
    _policies('context.args has act.rate && context.args.act.tags.contains("a") && context.known has act && context.used has "per-day"')
]


@settings(max_examples=150, deadline=None)
@given(certain, optional, st.sampled_from(SETS))
def test_giving_only_the_facts_that_are_asked_for_changes_no_answer(certain: Any, optional: Any, policies: policy.Policies) -> None:
    """Against Cedar with the whole context, validated by its own schema."""
    context = certain | optional
    actions = ("propose", "approve_alone", "run_unattended")
    whole = json.dumps(policies.vocabulary.typed(context))
    entities = policies.entities(("Agent", "desk"), (), ACT)
    for action, answer in zip(actions, policies.ask_all(actions, principal=("Agent", "desk"), tool=ACT, context=context), strict=True):
        request = {"principal": 'Agent::"desk"', "action": f'Action::"{action}"', "resource": 'Tool::"act"', "context": whole}
        result = cedarpy.is_authorized(request, policies.handle, entities, policies.schema)
        assert not result.diagnostics.errors
        assert (answer.allowed, answer.broken) == (result.allowed, None)
        assert answer.policies == tuple(sorted(policies.ids[reason] for reason in result.diagnostics.reasons))


def test_a_policy_that_compares_the_context_as_a_whole_is_given_the_whole() -> None:
    policies = _policies("context == context && context.args has act")
    assert isinstance(_proposed(policies), NeedsApproval)


@pytest.mark.parametrize("level", ["suggest", "auto", "off"])
@pytest.mark.parametrize("arguments", [ARGUMENTS, {}])
def test_what_was_asked_can_be_kept_and_asked_again(level: str, arguments: dict[str, Any]) -> None:
    facts = replace(FACTS, level=level, used={"per-day": 1}, ticket_hours=3)
    given = check.policy_input(Request(ACT, arguments, Money(900, "EUR"), known={"left_minor": 1}), facts)
    again = Input.from_json(json.loads(json.dumps(given.as_json())))
    assert again == given
    policies = policy.load(None, [ACT])
    assert check.evaluate(again, arguments, policies) == check.check(Request(ACT, arguments, Money(900, "EUR")), facts, policies)
    assert {"level", "amount_minor", "tainted", "used.per-day", "known.act.left_minor"} <= set(given.facts_known)
    assert "args" not in given.context


def test_every_policy_says_which_facts_it_asks_about() -> None:
    asked = _policies(
        'context has amount_minor && context.used has "per-day" && context.args has act && context.args.act.amount > 1'
    ).mentions
    assert asked["rule"] == {"amount_minor", "used.per-day", "args.act.amount"}


def test_allowed_is_never_broken() -> None:
    assert Allowed((), "").broken is False


# -- sentences


@pytest.mark.parametrize(
    ("condition", "sentence"),
    [
        ("context has amount_minor && context.amount_minor <= 10000", "if the amount were at most €100.00 (it is €250.00)."),
        ('["EU", "UK"].contains(context.region)', "if the ticket's region were one of “EU”, “UK” (it is “US”)."),
        (
            "context.business_hours && !context.tainted",
            "if it were business hours in the region and the agent had read no customer-written text before.",
        ),
        ("context has ticket_hours", "if the hours since the ticket came in were known."),
        ("context has ticket_hours && context.ticket_hours > 3", "if the hours since the ticket came in were above 3 (there is none)."),
        ("context.hour == 9 || context.hour == 10", "if the local hour were 9 (it is 12)."),
        ('context.used has "per-day" && context.used["per-day"] < 3', "if what counts for “Four a day” were below 3 (it is 3)."),
        ('context.args has act && context.args.act.order_id != "1043"', "if the order id asked for were not “1043”."),
        ('context.args has act && context.args.act.order_id like "2*"', "if the order id asked for were of the form “2*” (it is “1043”)."),
        ('context.args has act && context.args.act.tags.contains("b")', "if the tags asked for held “b”."),
        ("context.known has act.left_minor && context.known.act.left_minor > 100", "if the left on record were above €1.00."),
        ("if context.tainted then context.hour < 5 else true", "would apply if the"),
        ("context.hour + 1 > 20", "if one more of its conditions held."),
        ("context has same_customer && context.same_customer", "if the target belonged to the ticket's own customer."),
    ],
)
def test_a_default_deny_says_what_would_have_been_needed(condition: str, sentence: str) -> None:
    facts = replace(FACTS, region="US", used={"per-day": 3})
    verdict = _proposed(_policies(condition), facts=facts, amount=Money(25_000, "EUR"), known={"left_minor": 5})
    assert isinstance(verdict, Refused)
    assert verdict.rule == "default-deny"
    assert "The nearest rule, “The rule”, would apply if " in verdict.reason
    assert sentence in verdict.reason
    assert verdict.next_step
    assert not any(mark in verdict.reason for mark in ("_", "context", "::", "&&"))


def test_a_sentence_never_holds_what_nobody_can_see() -> None:
    policies = _policies('context.args has act && context.args.act.order_id == "1043"')
    reason = _proposed(policies, {**ARGUMENTS, "order_id": "10\u202e43" + "x" * 99}).reason
    assert "“10\ufffd43xxx" in reason
    assert "\u202e" not in reason
    assert "x" * 60 not in reason


def test_the_nearest_permit_is_the_one_that_lacks_least() -> None:
    one = '@id("{0}") @sentence("Rule {0}.") permit (principal, action == Action::"propose", resource) when {{ {1} }};'
    text = one.format("far", "context.hour > 20 && context.weekday == 7") + one.format("near", "context.hour > 20")
    text += one.format("never", 'resource.risk == "low" && context.hour > 20')
    verdict = _proposed(policy.from_files({"p.cedar": text}))
    assert "“Rule near”" in verdict.reason


def test_where_no_permit_speaks_of_the_tool_that_is_said() -> None:
    assert "None of the rules" in _proposed(_policies('resource.risk == "low"')).reason
    assert "No rule permits it for anybody." in _proposed(_policies("true", action="read")).reason


def test_two_people_by_default_are_explained_too() -> None:
    text = (
        '@id("a") @sentence("A.") permit (principal, action == Action::"propose", resource);'
        '@id("b") @sentence("One person decides in the morning.") permit (principal, action == Action::"approve_alone", resource) '
        "when { context.hour < 10 };"
    )
    verdict = _proposed(policy.from_files({"p.cedar": text}))
    assert isinstance(verdict, NeedsApproval)
    assert (verdict.count, verdict.rule) == (2, "two-people-by-default")
    assert "would apply if the local hour were below 10 (it is 12)." in verdict.reason


def test_a_policy_and_a_budget_may_name_the_next_step() -> None:
    text = '@id("no") @sentence("No.") @next("Ask Ana.") forbid (principal, action, resource);'
    budget = BUDGET + 'next = "Wait for tomorrow."\n'
    policies = policy.from_files({"p.cedar": text, "budgets.toml": budget})
    verdict = _proposed(policies)
    assert isinstance(verdict, Refused)
    assert (verdict.reason, verdict.next_step) == ("No.", "Ask Ana.")
    assert policies.next_step("per-day") == "Wait for tomorrow."
    assert policies.next_step("scope") == rules.RULES["scope"].next_step
    assert _policies("true").next_step("rule") == rules.POLICY_NEXT


@pytest.mark.parametrize("rule", sorted(rules.RULES))
def test_every_rule_has_a_sentence_and_a_next_step_without_code_in_them(rule: str) -> None:
    told = rules.RULES[rule]
    for text in (told.sentence, told.next_step):
        assert text.endswith(".")
        assert text[0].isupper()
        assert not any(mark in text for mark in ("_", "::", "()", "context."))
    assert told.who


def test_field_names_are_read_as_words() -> None:
    assert (explain.plain("items.0.order_id"), explain.plain("amount_minor"), explain.plain("")) == ("order id", "amount minor", "")


# -- calendar

CALENDAR = """
[default]
days = [1, 2, 3, 4, 5, 6]
from = "08:00"
to = "18:00"

[region.EU]
timezone = "Europe/Vienna"
days = [1, 2, 3, 4, 5]
holidays = [2026-12-25]

[region.NIGHT]
from = 22:00:00
to = "06:00"
days = [5]
"""


@pytest.mark.parametrize(
    ("region", "at", "open_"),
    [
        ("", datetime(2026, 3, 7, 8, 0, tzinfo=UTC), True),  # a Saturday
        ("", datetime(2026, 3, 7, 18, 0, tzinfo=UTC), False),
        ("elsewhere", datetime(2026, 3, 8, 12, 0, tzinfo=UTC), False),
        ("EU", datetime(2026, 3, 6, 7, 0, tzinfo=UTC), True),  # 8:00 in Vienna
        ("EU", datetime(2026, 7, 6, 6, 0, tzinfo=UTC), True),  # in summer too
        ("EU", datetime(2026, 3, 7, 12, 0, tzinfo=UTC), False),
        ("EU", datetime(2026, 12, 25, 12, 0, tzinfo=UTC), False),
        ("NIGHT", datetime(2026, 3, 6, 23, 0, tzinfo=UTC), True),  # Friday night
        ("NIGHT", datetime(2026, 3, 7, 5, 59, tzinfo=UTC), True),  # which is still Friday's shift
        ("NIGHT", datetime(2026, 3, 7, 6, 0, tzinfo=UTC), False),
        ("NIGHT", datetime(2026, 3, 6, 5, 0, tzinfo=UTC), False),  # Thursday's is not worked
    ],
)
def test_business_hours_are_the_regions_own(region: str, at: datetime, open_: bool) -> None:
    assert calendar.read(CALENDAR).open(at, region, UTC) is open_


def test_without_a_calendar_the_week_is_the_usual_one() -> None:
    usual = calendar.read("")
    assert usual.open(NOON, "EU", UTC)
    assert not usual.open(NOON, "EU", ZoneInfo("Pacific/Auckland"))
    assert usual.local(NOON, "EU", ZoneInfo("Asia/Tokyo")).hour == 21
    assert calendar.read(CALENDAR).local(NOON, "EU", UTC).hour == 13
    assert usual.default == calendar.Hours(days=frozenset({1, 2, 3, 4, 5}), opens=time(9), closes=time(17), holidays=frozenset[date]())


@pytest.mark.parametrize(
    "text",
    [
        "[[default]]",
        "[default",
        "[other]",
        "[default]\nopens = 1",
        "[default]\ndays = [0]",
        "[default]\ndays = [true]",
        "[default]\ndays = 5",
        '[default]\nfrom = "25:00"',
        "[default]\nfrom = 9",
        '[default]\ntimezone = "Mars/Base"',
        "[default]\ntimezone = 1",
        '[default]\nholidays = ["2026-12-25"]',
        '[default]\nfrom = "09:00"\nto = "09:00"',
        "region = 3",
    ],
)
def test_a_calendar_with_a_mistake_is_not_read(text: str) -> None:
    with pytest.raises(BadInput) as caught:
        calendar.read(text)
    assert set(caught.value.problems) == {"calendar.toml"}


# -- command line


def test_the_command_prints_the_words_and_says_what_is_wrong(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COPILOT_TOOLKITS", "tests.support.tools:counting")
    monkeypatch.chdir(ROOT)
    shown = CliRunner().invoke(cli.main, ["policy", "vocabulary"])
    assert shown.exit_code == 0
    assert '"pay_key"?' in shown.output
    (tmp_path / "p.cedar").write_text('@id("a") @sentence("S.") permit (principal, action, resource == Tool::"pay_kye");')
    wrong = CliRunner().invoke(cli.main, ["policy", "check", str(tmp_path)])
    assert wrong.exit_code == 1
    assert "did you mean pay_key?" in wrong.output
