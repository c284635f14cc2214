"""The rules' raw material: schemas, policies, budgets, scopes and digests, each loud about what is wrong with it."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from copilot.errors import BadInput, SetupError
from copilot.gate import budgets, digest, identity, policy, schema, tools
from copilot.toolkit import Toolbox
from tests.support.tools import counting

PAY = counting.tools["pay_key"]
PERMIT = '@id("{0}") @sentence("S.") permit (principal, action == Action::"propose", resource){1};'


# -- schema


def test_defaults_are_filled_in_because_what_is_shown_is_what_runs() -> None:
    filled = schema.normalise(PAY, {"invoice": "i", "account": "a", "amount_minor": 5})
    assert filled == {"invoice": "i", "account": "a", "amount_minor": 5, "currency": "EUR", "memo": ""}


def test_every_problem_is_named_by_its_field() -> None:
    with pytest.raises(BadInput) as caught:
        schema.normalise(PAY, {"account": "", "amount_minor": -1, "currency": "EUR", "memo": "x" * 501})
    assert set(caught.value.problems) == {"invoice", "account", "amount_minor", "memo"}


@pytest.mark.parametrize("arguments", [None, [], "text", 7, {"memo": float("nan")}, {"memo": "\ud800"}, {"memo": "x" * 70_000}])
def test_what_is_not_plain_bounded_json_is_refused(arguments: Any) -> None:
    with pytest.raises(BadInput):
        schema.normalise(PAY, arguments)


def test_a_long_or_deceiving_value_stays_out_of_the_sentence_about_it() -> None:
    with pytest.raises(BadInput) as caught:
        schema.normalise(PAY, {"invoice": "i", "account": "a", "amount_minor": 5, "memo": "\u202e" + "x" * 600, "currency": "E\u200b"})
    assert caught.value.problems["memo"].endswith("is longer than 500 characters")
    assert len(caught.value.problems["memo"]) < 200
    assert "\u200b" not in caught.value.problems["currency"]


def _tool(parameters: dict[str, Any]) -> Toolbox:
    box = Toolbox("box")
    box.add("act", lambda **arguments: arguments, description="Act.", effect="write", parameters=parameters)
    return box


def test_unknown_fields_are_refused_at_every_depth() -> None:
    inner = {"type": "object", "properties": {"a": {"type": "integer"}}}
    act = _tool({"type": "object", "properties": {"one": inner, "many": {"type": "array", "items": inner}, "properties": inner}}).tools[
        "act"
    ]
    assert schema.normalise(act, {"one": {"a": 1}, "many": [{"a": 1}], "properties": {"a": 1}})
    for arguments in ({"b": 1}, {"one": {"b": 1}}, {"many": [{"a": 1}, {"b": 1}]}, {"properties": {"b": 1}}):
        with pytest.raises(BadInput):
            schema.normalise(act, arguments)


@pytest.mark.parametrize("reference", ["http://127.0.0.1:9/schema.json", "https://example.com/s", "file:///etc/passwd"])
def test_a_remote_reference_is_refused_and_never_fetched(reference: str) -> None:
    with pytest.raises(SetupError, match="act"):
        tools.registry([_tool({"type": "object", "properties": {"a": {"$ref": reference}}})])


def test_two_toolboxes_may_not_share_a_name() -> None:
    with pytest.raises(SetupError, match="act"):
        tools.registry([_tool({"type": "object"}), _tool({"type": "object"})])


# -- policies


def _load(folder: Path, text: str) -> policy.Policies:
    (folder / "p.cedar").write_text(text)
    return policy.load(folder)


@pytest.mark.parametrize(
    "text",
    [
        'permit (principal, action == Action::"propose", resource);',  # no @id
        '@id("a") permit (principal, action == Action::"propose", resource);',  # no @sentence
        PERMIT.format("a", "") + PERMIT.format("a", ""),  # an id twice
        PERMIT.format("a", " when { context.amuont_minor > 1 }"),  # a misspelt attribute
        PERMIT.format("a", " when { context.amount_minor > 1 }"),  # an optional attribute without asking for it
        PERMIT.format("a", " when { resource.risk == 3 }"),  # a wrong type
        "this is no policy",
    ],
)
def test_a_policy_with_a_mistake_is_not_loaded(tmp_path: Path, text: str) -> None:
    with pytest.raises(SetupError):
        _load(tmp_path, text)


def test_a_directory_without_policies_is_a_mistake(tmp_path: Path) -> None:
    with pytest.raises(SetupError):
        policy.load(tmp_path)
    with pytest.raises(SetupError):
        policy.load(tmp_path / "missing")


def test_the_hash_covers_policies_and_budgets(tmp_path: Path) -> None:
    first = _load(tmp_path, PERMIT.format("a", ""))
    (tmp_path / "budgets.toml").write_text(_budget())
    second = policy.load(tmp_path)
    third = _load(tmp_path, PERMIT.format("a", " when { context.hour > 8 }"))
    assert len({first.hash, second.hash, third.hash}) == 3
    assert third.sentence("a") == "S."


def test_the_starter_set_loads() -> None:
    assert policy.load(None).ids


# -- budgets


def _budget(**change: Any) -> str:
    fields: dict[str, Any] = {"id": "b", "tools": ["pay_key"], "per": "all", "seconds": 60, "count": 5, "sentence": "Five."} | change
    return "[[budget]]\n" + "\n".join(f"{key} = {json.dumps(value)}" for key, value in fields.items() if value is not None)


@pytest.mark.parametrize(
    "text",
    [
        _budget(id=None),
        _budget(sentence=None),
        _budget(per="planet"),
        _budget(count=0),
        _budget(count=-1),
        _budget(seconds=0),
        _budget(count=1.5),
        _budget(tools="pay_key"),
        _budget(amount_minor=5, currency="EUR"),  # count and amount
        _budget(count=None),  # neither
        _budget(count=None, amount_minor=5),  # no currency
        _budget(surprise=1),
        _budget() + "\n" + _budget(),
        "[[budget",
    ],
)
def test_a_budget_with_a_mistake_is_not_loaded(tmp_path: Path, text: str) -> None:
    (tmp_path / "budgets.toml").write_text(text)
    with pytest.raises(SetupError):
        budgets.load(tmp_path)


MORNING = datetime(2026, 3, 4, 9, 30, tzinfo=UTC)


def _charges(rule: Callable[[], str], folder: Path, **change: Any) -> tuple[budgets.Charge, ...]:
    (folder / "budgets.toml").write_text(rule())
    call: dict[str, Any] = {
        "tool": "pay_key",
        "agent_id": "agent_1",
        "customer_id": "cust_1",
        "amount_minor": 700,
        "currency": "EUR",
        "now": MORNING,
    }
    return budgets.charges(budgets.load(folder), **call | change)


@pytest.mark.parametrize(("per", "subject"), [("all", ""), ("agent", "agent_1"), ("customer", "cust_1"), ("tool", "pay_key")])
def test_a_window_is_the_subjects_own_and_aligned_to_the_epoch(tmp_path: Path, per: str, subject: str) -> None:
    (charge,) = _charges(lambda: _budget(per=per, seconds=86_400), tmp_path)
    day = int(datetime(2026, 3, 4, tzinfo=UTC).timestamp())
    assert (charge.key, charge.amount, charge.ends_at) == (f"b:calls:{per}:86400:{day}:{subject}", 1, datetime(2026, 3, 5, tzinfo=UTC))


def test_money_is_counted_in_its_own_currency_only(tmp_path: Path) -> None:
    euros = lambda: _budget(count=None, amount_minor=1000, currency="EUR")  # noqa: E731 -- a case, not a function
    assert [charge.amount for charge in _charges(euros, tmp_path)] == [700]
    assert _charges(euros, tmp_path, currency="USD") == ()
    assert _charges(euros, tmp_path, amount_minor=None, currency=None) == ()


def test_a_rule_for_other_tools_does_not_apply(tmp_path: Path) -> None:
    assert _charges(_budget, tmp_path, tool="pay_lookup") == ()
    assert len(_charges(lambda: _budget(tools=["*"]), tmp_path, tool="anything")) == 1


# -- scopes


@pytest.mark.parametrize(
    "scope", ["", "*", "*:write", "pay_key", "pay_key:", "pay_key:delete", "Pay:write", "a b:read", "pay_key:write\n", "*:*"]
)
def test_a_scope_that_is_none_is_refused(scope: str) -> None:
    with pytest.raises(BadInput):
        identity.parse(scope)


@pytest.mark.parametrize(
    ("scopes", "effect", "allowed"),
    [
        (["pay_key:write"], "write", True),
        (["pay_key:write"], "read", False),
        (["pay_key:read"], "write", False),
        (["*:read"], "read", True),
        (["*:read"], "write", False),
        (["pay_key_more:write", "pay:write"], "write", False),
        (["*:write"], "write", False),
        ([], "read", False),
    ],
)
def test_what_a_scope_covers(scopes: list[str], effect: str, allowed: bool) -> None:
    assert identity.allows(scopes, "pay_key", effect) is allowed


# -- digest

CONTENT: dict[str, Any] = {
    "proposal_id": "prop_a",
    "version": 1,
    "agent_id": "agent_a",
    "tool": "pay_key",
    "tool_hash": "1" * 64,
    "target": "account:c1",
    "target_revision": "7",
    "arguments": '{"amount_minor":5}',
    "salt": "2" * 64,
}


@pytest.mark.parametrize(
    ("field", "other"),
    [
        ("proposal_id", "prop_b"),
        ("version", 2),
        ("agent_id", "agent_b"),
        ("tool", "pay_both"),
        ("tool_hash", "3" * 64),
        ("target", None),
        ("target_revision", None),
        ("arguments", '{"amount_minor":6}'),
        ("salt", "4" * 64),
    ],
)
def test_the_digest_covers_every_part_of_what_was_approved(field: str, other: Any) -> None:
    assert digest.compute(**CONTENT) != digest.compute(**CONTENT | {field: other})


def test_salts_are_256_bits_and_never_the_same() -> None:
    salts = {digest.new_salt() for _ in range(100)}
    assert len(salts) == 100
    assert all(len(bytes.fromhex(salt)) == 32 for salt in salts)


@given(
    st.dictionaries(st.text(max_size=5), st.integers(-(2**53) + 1, 2**53 - 1) | st.text(max_size=9) | st.booleans() | st.none(), max_size=6)
)
def test_the_order_of_fields_never_matters(value: dict[str, Any]) -> None:
    try:
        expected = digest.canonical(value)
    except BadInput:  # a lone surrogate has no canonical form
        return
    assert digest.canonical(dict(reversed(value.items()))) == expected
    assert json.loads(expected) == value
