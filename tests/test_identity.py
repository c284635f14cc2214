"""Scopes with bounds: what they cover, what is narrower than what, and what a token leaves of its agent's."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from copilot.errors import BadInput
from copilot.gate import identity

HERE = {"region": "EU", "ticket": "T-1", "customer": "cus_1"}


@pytest.mark.parametrize(
    ("scope", "spelling"),
    [
        ("pay:write", "pay:write"),
        ("*:read;region=EU", "*:read;region=EU"),
        ("pay:write;customer=cus_1;region=EU", "pay:write;region=EU;customer=cus_1"),
        ("pay:write;customer=%63us%5F1", "pay:write;customer=cus_1"),
        ("pay:write;ticket=a%3Bb%3Dc%2F1", "pay:write;ticket=a%3Bb%3Dc%2F1"),
        ("pay:write;region=Z%C3%BCrich", "pay:write;region=Z%C3%BCrich"),
    ],
)
def test_a_scope_has_one_spelling(scope: str, spelling: str) -> None:
    assert identity.parse(scope) == spelling
    assert identity.parse(spelling) == spelling


@pytest.mark.parametrize(
    "scope",
    [
        "*:write;region=EU",
        "pay:write;",
        "pay:write;region",
        "pay:write;region=",
        "pay:write;Region=EU",
        "pay:write;team=a",
        "pay:write;region=EU;region=US",
        "pay:write;region=E U",
        "pay:write;region=EU;",
        "pay:write;region=%",
        "pay:write;region=%ff",
        "pay:write;region=%0A",
        "pay:write;region=%20",
        "pay:write;region=EU\n",
        "pay:write;customer=" + "a" * 129,
        "pay:write;customer=a=b",
    ],
)
def test_what_is_no_scope_is_refused_and_grants_nothing(scope: str) -> None:
    with pytest.raises(BadInput) as caught:
        identity.parse(scope)
    assert str(caught.value).endswith(".")
    assert identity.read(scope) is None
    assert not identity.allows([scope], "pay", "write", **HERE)
    assert not identity.allows_somewhere([scope], "pay", "write")
    assert not identity.within("pay:write;region=EU;ticket=T-1;customer=cus_1", [scope])
    assert identity.narrow([scope], ["pay:write"]) == identity.narrow(["pay:write"], [scope]) == ()


@pytest.mark.parametrize(
    ("scope", "facts", "allowed"),
    [
        ("pay:write;region=EU", {"region": "EU"}, True),
        ("pay:write;region=EU", {"region": "US"}, False),
        ("pay:write;region=EU", {"region": None}, False),
        ("pay:write;region=EU", {}, False),
        ("pay:write;region=EU", {"region": "eu"}, False),
        ("pay:write;region=EU;ticket=T-1", {"region": "EU"}, False),
        ("pay:write;region=EU;ticket=T-1", {"region": "EU", "ticket": "T-1"}, True),
        ("pay:write;customer=cus_1", {"customer": "cus_2"}, False),
        ("pay:write;customer=cus_1", HERE, True),
        ("*:read;customer=cus_1", HERE, False),
        ("pay:write", {}, True),
    ],
)
def test_a_bound_holds_and_an_unknown_fact_meets_none(scope: str, facts: dict[str, str | None], allowed: bool) -> None:
    assert identity.allows([scope], "pay", "write", **facts) is allowed
    assert identity.allows_somewhere([scope], "pay", "write") is scope.startswith("pay")


@pytest.mark.parametrize(
    ("asked", "granted", "inside"),
    [
        ("get:read", ["*:read"], True),
        ("*:read", ["get:read"], False),
        ("*:read;region=EU", ["*:read"], True),
        ("*:read", ["*:read;region=EU"], False),
        ("get:read", ["*:read;region=EU"], False),
        ("get:read;region=EU;ticket=T-1", ["*:read;region=EU"], True),
        ("pay:write", ["pay:read"], False),
        ("pay:write;region=EU", ["pay:write;region=US", "pay:write;ticket=T-1"], False),
    ],
)
def test_what_is_no_wider_than_what(asked: str, granted: list[str], inside: bool) -> None:
    assert identity.within(asked, granted) is inside
    assert identity.widened(granted, [asked]) == (() if inside else (asked,))


def test_a_token_leaves_what_both_cover() -> None:
    held = ["*:read", "pay:write;region=EU", "get:read;ticket=T-1"]
    assert identity.narrow(held, None) == tuple(held)
    assert identity.narrow(held, ["get:read", "pay:write", "send:write"]) == ("get:read", "pay:write;region=EU")
    assert identity.narrow(held, ["pay:write;region=US"]) == ()
    assert identity.narrow(held, ["pay:write;ticket=T-1"]) == ("pay:write;region=EU;ticket=T-1",)
    assert identity.narrow(["get:read"], ["*:read"]) == ("get:read",)


_VALUES = st.sampled_from([None, "a", "b"])
_SCOPES = st.builds(
    identity.Scope, st.sampled_from(["pay", "get", "*"]), st.just("read"), region=_VALUES, ticket=_VALUES, customer=_VALUES
).map(str)
_SETS = st.lists(_SCOPES, max_size=4)


@given(_SETS, _SETS)
def test_a_narrowed_token_allows_exactly_what_agent_and_token_both_allow(held: list[str], token: list[str]) -> None:
    left = identity.narrow(held, token)
    for tool, region, ticket, customer in itertools.product(("pay", "get", "other"), *[(None, "a", "b")] * 3):
        here = {"region": region, "ticket": ticket, "customer": customer}
        both = identity.allows(held, tool, "read", **here) and identity.allows(token, tool, "read", **here)
        assert identity.allows(left, tool, "read", **here) is both


@given(_SCOPES, _SETS)
def test_what_is_within_a_grant_never_allows_more_than_it(asked: str, held: list[str]) -> None:
    if not identity.within(asked, held):
        return
    for tool, region, ticket, customer in itertools.product(("pay", "get", "other"), *[(None, "a", "b")] * 3):
        here = {"region": region, "ticket": ticket, "customer": customer}
        assert identity.allows(held, tool, "read", **here) or not identity.allows([asked], tool, "read", **here)
