"""The gate's verdict as a pure function: identity, schema, policy, budgets, approvals; in that order, denying by default."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from copilot.gate import check, policy
from copilot.gate.budgets import Charge
from copilot.gate.check import Allowed, Facts, NeedsApproval, Refused, Request
from copilot.toolkit import Money, Tool
from tests.support import ROOT
from tests.support.tools import counting

NOON = datetime(2026, 3, 4, 12, 0, tzinfo=UTC)
PAY, READ = counting.tools["pay_key"], counting.tools["read_account"]
POLICIES = policy.load(ROOT / "tests" / "support" / "policies")
FACTS = Facts(
    local=NOON, agent_id="agent_1", agent_name="refund-desk", agent_enabled=True, scopes=("*:read", "pay_key:write"), level="suggest"
)


def ask(minor: int = 1000, *, tool: Tool = PAY, arguments: Mapping[str, Any] | None = None, **more: Any) -> Request:
    """A request to pay so many cents."""
    given = {"invoice": "i1", "account": "c1/main", "amount_minor": minor, "currency": "EUR", "memo": ""}
    return Request(tool, given if arguments is None else arguments, Money(minor, "EUR"), "account:c1/main", **more)


def judge(request: Request, facts: Facts = FACTS, policies: policy.Policies = POLICIES) -> check.Verdict:
    return check.check(request, facts, policies)


def test_verdicts_have_no_truth_value() -> None:
    """`if refusal := rule(...)` must not be able to open the gate."""
    for verdict in (Allowed((), ""), NeedsApproval(1, (), "", ""), Refused("", "")):
        assert "__bool__" not in type(verdict).__dict__
        assert "__len__" not in type(verdict).__dict__
        assert bool(verdict) is True


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ({"agent_enabled": False}, "agent-disabled"),
        ({"scopes": ()}, "scope"),
        ({"scopes": ("*:read",)}, "scope"),
        ({"scopes": ("pay_key:read",)}, "scope"),
        ({"scopes": ("pay_lookup:write",)}, "scope"),
        ({"level": "off"}, "level-off"),
    ],
)
def test_identity_comes_first(change: dict[str, Any], rule: str) -> None:
    verdict = judge(ask(arguments={"nonsense": True}), replace(FACTS, **change))
    assert isinstance(verdict, Refused)
    assert verdict.rule == rule
    assert verdict.reason


@pytest.mark.parametrize("scope", ["all", "agent:agent_1", "tool:pay_key"])
def test_inside_the_claim_a_kill_switch_refuses(scope: str) -> None:
    verdict = judge(ask(), replace(FACTS, switches=frozenset({scope}), recheck=True))
    assert isinstance(verdict, Refused)
    assert verdict.rule == "kill-switch"


@pytest.mark.parametrize("scope", ["agent:agent_2", "tool:pay_lookup"])
def test_a_kill_switch_of_something_else_does_not_matter(scope: str) -> None:
    assert isinstance(judge(ask(), replace(FACTS, switches=frozenset({scope}), recheck=True)), NeedsApproval)


def test_while_a_kill_switch_is_on_nothing_is_approved_without_a_person() -> None:
    auto = replace(FACTS, level="auto", switches=frozenset({"all"}))
    assert isinstance(judge(ask(), replace(auto, switches=frozenset())), Allowed)
    assert isinstance(judge(ask(), auto), NeedsApproval)


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"invoice": "i1"},
        {"invoice": "i1", "account": "c1", "amount_minor": 5, "currency": "EUR", "extra": 1},
        {"invoice": "i1", "account": "c1", "amount_minor": "5"},
        {"invoice": "i1", "account": "c1", "amount_minor": 5.5},
        {"invoice": "i1", "account": "c1", "amount_minor": 0},
        {"invoice": "i1", "account": "c1", "amount_minor": 5, "currency": "GBP"},
        {"invoice": "", "account": "c1", "amount_minor": 5},
        {"invoice": "i\0", "account": "c1", "amount_minor": 5},
    ],
)
def test_arguments_that_do_not_fit_are_refused(arguments: dict[str, Any]) -> None:
    verdict = judge(ask(arguments=arguments))
    assert isinstance(verdict, Refused)
    assert verdict.rule == "schema"


def test_a_forbid_wins_and_names_itself() -> None:
    verdict = judge(ask(1_000_001))
    assert isinstance(verdict, Refused)
    assert (verdict.rule, verdict.policies) == ("too-large", ("too-large",))
    assert verdict.reason == "Payments above 10,000.00 are never made here."


@pytest.mark.parametrize(("theirs", "refused"), [("c1", False), ("c2", True)])
def test_an_action_on_somebody_elses_things_is_refused(theirs: str, refused: bool) -> None:
    verdict = judge(ask(target_customer=theirs), replace(FACTS, ticket_customer="c1"))
    assert isinstance(verdict, Refused) is refused


def test_what_no_policy_permits_is_denied(tmp_path: Path) -> None:
    (tmp_path / "only.cedar").write_text('@id("reads") @sentence("Reads.") permit (principal, action == Action::"read", resource);')
    nothing_else = policy.load(tmp_path)
    verdict = judge(ask(), policies=nothing_else)
    assert isinstance(verdict, Refused)
    assert (verdict.rule, verdict.policies) == ("default-deny", ())
    assert isinstance(judge(Request(READ, {"account": "c1"}), policies=nothing_else), Allowed)


def test_a_policy_that_cannot_be_evaluated_is_a_persons_case(tmp_path: Path) -> None:
    """An overflow is an error of evaluation, and Cedar then skips the policy: a skipped forbid must not become a permit."""
    (tmp_path / "broken.cedar").write_text(
        '@id("permit") @sentence("Yes.") permit (principal, action == Action::"propose", resource);'
        '@id("broken") @sentence("No.") forbid (principal, action == Action::"propose", resource)'
        " when { 9223372036854775807 + context.weekday > 0 };"
    )
    for level in ("suggest", "auto"):
        verdict = judge(ask(), replace(FACTS, level=level), policy.load(tmp_path))
        assert isinstance(verdict, NeedsApproval)
        assert (verdict.rule, verdict.count, verdict.broken) == ("policy-broken", 2, True)


@pytest.mark.parametrize(
    ("level", "minor", "verdict", "count"),
    [
        ("suggest", 1, NeedsApproval, 1),
        ("suggest", 5_000, NeedsApproval, 1),
        ("suggest", 10_000, NeedsApproval, 1),
        ("suggest", 10_001, NeedsApproval, 2),
        ("auto", 5_000, Allowed, 0),
        ("auto", 5_001, NeedsApproval, 1),
        ("auto", 10_001, NeedsApproval, 2),
        ("shadow", 5_000, NeedsApproval, 1),
        ("canary", 5_000, NeedsApproval, 1),
        ("nonsense", 5_000, NeedsApproval, 1),
    ],
)
def test_approvals_follow_level_and_policy(level: str, minor: int, verdict: type, count: int) -> None:
    judged = judge(ask(minor), replace(FACTS, level=level))
    assert type(judged) is verdict
    assert getattr(judged, "count", 0) == count
    assert judged.reason


@pytest.mark.parametrize("text", ["pay\u202eppa", "zero\u200bwidth", "tag\U000e0041", "раypal"])  # the last mixes Cyrillic and Latin
def test_hidden_or_look_alike_characters_force_a_person(text: str) -> None:
    arguments = {"invoice": "i1", "account": "c1/main", "amount_minor": 100, "currency": "EUR", "memo": text}
    auto = replace(FACTS, level="auto")
    assert isinstance(judge(ask(100), auto), Allowed)
    verdict = judge(ask(100, arguments=arguments), auto)
    assert isinstance(verdict, NeedsApproval)
    assert verdict.rule == "suspicious-text"


def _charge(amount: int, limit: int) -> Charge:
    return Charge("k", "purse", amount, limit, "EUR", NOON + timedelta(days=1), "The purse holds 10.00.")


@pytest.mark.parametrize(
    ("used", "amount", "refused"), [(0, 1000, False), (0, 1001, True), (1, 1000, True), (999, 1, False), (1000, 1, True)]
)
def test_nobody_is_asked_to_approve_what_no_budget_has_room_for(used: int, amount: int, refused: bool) -> None:
    facts = replace(FACTS, charges=((_charge(amount, 1000), used),))
    assert isinstance(judge(ask(), facts), Refused) is refused
    assert isinstance(judge(ask(), replace(facts, recheck=True)), NeedsApproval), "inside the claim the reservation itself decides"


def test_reads_ask_nobody_and_need_their_own_scope() -> None:
    reading = Request(READ, {"account": "c1"})
    assert isinstance(judge(reading), Allowed)
    assert isinstance(judge(reading, replace(FACTS, scopes=("read_account:read",))), Allowed)
    assert isinstance(judge(reading, replace(FACTS, scopes=("read_account:write",))), Refused)
    assert isinstance(judge(reading, replace(FACTS, level="off")), Allowed), "a level is about changing things"


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from(["invoice", "account", "amount_minor", "currency", "memo", "x"]), json_values))
def test_whatever_a_model_writes_gets_a_verdict_and_never_runs_by_itself(arguments: dict[str, Any]) -> None:
    verdict = judge(Request(PAY, arguments, None, None))
    assert isinstance(verdict, Refused | NeedsApproval)
