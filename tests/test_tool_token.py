"""The one-use token of a call: what it says, and everything its reader refuses."""

from __future__ import annotations

import base64
import json
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from flask.testing import FlaskClient

from copilot import config, jobs, proof
from copilot.errors import NotAuthenticated
from copilot.gate import facts, tools
from copilot.gateway import reads, tooltoken
from copilot.people import tokens
from copilot.toolkit import Call, Tool, ToolRefused
from tests.support import work
from tests.support.people import People

TARGET = "account:c1/main"


@pytest.fixture
def minted(agent: str) -> tuple[str, dict[str, Any]]:
    """A token for a payment on c1's ticket, and the payment's arguments."""
    return mint(agent, ticket_id=work.ticket())


def mint(agent: str, *, ticket_id: str | None, **changes: Any) -> tuple[str, dict[str, Any]]:
    proposal_id = work.propose(agent, ticket_id=ticket_id, **changes)
    snap, arguments = facts.snapshot(proposal_id), work.current(proposal_id)
    snap = facts.snapshot(proposal_id)
    return tooltoken.mint(snap, tools.current().get("pay_key"), arguments, snap.version.digest), arguments


def check(token: str | None, arguments: dict[str, Any], **changes: Any) -> proof.Claims:
    usual = {"keys": tooltoken.public_jwks(), "tool": "pay_key", "target": TARGET, "arguments": arguments}
    return proof.check(token, **(usual | changes))


def forged(token: str, *, key: Any = None, algorithm: str = "EdDSA", headers: dict[str, Any] | None = None, **changes: Any) -> str:
    """The token again with other claims, signed by our key or by another."""
    claims = jwt.decode(token, options={"verify_signature": False}) | changes
    own, _ = tooltoken._pair(config.current().secret)
    kept = jwt.get_unverified_header(token)
    header = {name: kept[name] for name in ("kid", "typ")} | (headers or {})
    left = {name: value for name, value in claims.items() if value != "(gone)"}
    return jwt.encode(left, own if key is None else key, algorithm=algorithm, headers=header)


def test_it_says_who_acts_for_whom_on_what_under_which_approval(minted: tuple[str, dict[str, Any]]) -> None:
    token, arguments = minted
    claims = check(token, arguments)
    assert (claims.agent, claims.customer, claims.tool, claims.target) == ("refund-desk", "c1", "pay_key", TARGET)
    assert len(claims.digest) == 64
    assert claims.key.startswith("prop_")
    assert timedelta(0) < claims.expires_at - datetime.now(UTC) <= timedelta(seconds=60)
    said = jwt.decode(token, options={"verify_signature": False})
    assert arguments["invoice"] not in json.dumps(said), "the arguments are there as a hash only"


def test_without_a_ticket_it_speaks_for_whose_target_it_is(agent: str) -> None:
    token, arguments = mint(agent, ticket_id=None, account="c9/main")
    assert check(token, arguments, target="account:c9/main").customer == "c9"


def test_every_claim_gets_a_token_of_its_own(minted: tuple[str, dict[str, Any]], agent: str) -> None:
    other, _ = mint(agent, ticket_id=None)
    ids = {jwt.decode(token, options={"verify_signature": False})["jti"] for token in (minted[0], other)}
    assert len(ids) == 2


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"tool": "pay_lookup"}, "another tool"),
        ({"target": "account:c2/main"}, "another target"),
        ({"target": None}, "another target"),
        ({"arguments": {}}, "other arguments"),
        ({"arguments": {"amount_minor": float("nan")}}, "cannot be compared"),
        ({"arguments": {"amount_minor": 2**60}}, "cannot be compared"),
        ({"now": timedelta(seconds=120)}, "has ended"),
        ({"now": timedelta(seconds=-120)}, "not valid"),
        ({"keys": {"keys": []}}, "a key this tool knows"),
        ({"keys": {}}, "a key this tool knows"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_token_for_something_else_is_refused(minted: tuple[str, dict[str, Any]], changes: dict[str, Any], said: str) -> None:
    token, arguments = minted
    if "now" in changes:
        changes = changes | {"now": datetime.now(UTC) + changes["now"]}
    with pytest.raises(ToolRefused, match=said) as caught:
        check(token, **({"arguments": arguments} | changes))
    assert str(caught.value).endswith(".")


@pytest.mark.parametrize("part", ["amount_minor", "account", "invoice", "memo"])
def test_one_changed_argument_is_another_call(minted: tuple[str, dict[str, Any]], part: str) -> None:
    token, arguments = minted
    changed = arguments | {part: 1 if part == "amount_minor" else "x"}
    with pytest.raises(ToolRefused, match="other arguments"):
        check(token, changed)
    with pytest.raises(ToolRefused, match="other arguments"):
        check(token, arguments | {"more": None})


def test_it_is_used_once_also_by_twenty_at_the_same_moment(minted: tuple[str, dict[str, Any]]) -> None:
    token, arguments = minted
    once, keys, answers = proof.Once(), tooltoken.public_jwks(), []

    def use() -> None:
        try:
            answers.append(check(token, arguments, used=once, keys=keys).id)
        except ToolRefused as refusal:
            answers.append(str(refusal))

    threads = [threading.Thread(target=use) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(answers) == 20
    assert answers.count("The proof of approval was used before.") == 19


def test_a_token_that_fits_nothing_is_not_used_up(minted: tuple[str, dict[str, Any]]) -> None:
    token, arguments = minted
    once = proof.Once()
    with pytest.raises(ToolRefused):
        check(token, arguments, target="account:c2/main", used=once)
    assert check(token, arguments, used=once).customer == "c1"


@pytest.mark.parametrize("token", [None, "", "a.b.c", "a.b", "....", "x" * 9000, "ä.ö.ü"])
def test_no_token_at_all_is_refused(minted: tuple[str, dict[str, Any]], token: str | None) -> None:
    with pytest.raises(ToolRefused):
        check(token, minted[1])


@pytest.mark.parametrize(
    "claims",
    [
        {"iss": "else"},
        {"aud": "copilot-api"},
        {"aud": "(gone)"},
        {"exp": "(gone)"},
        {"exp": 99_999_999_999},
        {"exp": 1},
        {"iat": 1.5},
        {"target": "(gone)"},
        {"sub": "(gone)"},
        {"act": "refund-desk"},
        {"act": {}},
        {"digest": 7},
        {"jti": "(gone)"},
        {"arguments": ["x"]},
    ],
    ids=str,
)
def test_our_own_signature_under_other_claims_is_refused(minted: tuple[str, dict[str, Any]], claims: dict[str, Any]) -> None:
    token, arguments = minted
    assert check(forged(token), arguments).customer == "c1", "the forger can forge"
    with pytest.raises(ToolRefused):
        check(forged(token, **claims), arguments)


def test_another_key_and_another_algorithm_are_refused(minted: tuple[str, dict[str, Any]]) -> None:
    token, arguments = minted
    jwk = tooltoken.public_jwks()["keys"][0]
    public = base64.urlsafe_b64decode(jwk["x"] + "==")
    claims = jwt.decode(token, options={"verify_signature": False})
    attacks = [
        forged(token, key=Ed25519PrivateKey.generate()),
        forged(token, key=Ed25519PrivateKey.generate(), headers={"kid": "mine", "jwk": jwk}),
        forged(token, key=public, algorithm="HS256"),
        forged(token, key=jwk["x"] * 2, algorithm="HS256"),
        forged(token, key=config.current().secret, algorithm="HS256"),
        forged(token, key="", algorithm="none"),
        forged(token, headers={"typ": "JWT"}),
        forged(token, headers={"kid": ""}),
        jwt.encode(claims, tooltoken._pair(config.current().secret)[0], algorithm="EdDSA"),
        token[:-3] + ("AAA" if token[-3:] != "AAA" else "BBB"),
        ".".join([*token.split(".")[:2], ""]),
    ]
    for attack in attacks:
        with pytest.raises(ToolRefused):
            check(attack, arguments)


def test_only_keys_of_our_kind_are_looked_at(minted: tuple[str, dict[str, Any]], tmp_path: Path) -> None:
    token, arguments = minted
    good = tooltoken.public_jwks()["keys"][0]
    strange = [
        {"kty": "oct", "k": good["x"], "kid": good["kid"], "alg": "HS256"},
        {"kty": "RSA", "n": "AQAB", "e": "AQAB", "kid": good["kid"]},
        {**good, "x": "AAAA"},
        {**good, "x": "*"},
        "nonsense",
    ]
    with pytest.raises(ToolRefused):
        check(token, arguments, keys={"keys": strange})
    file = tmp_path / "keys.json"
    file.write_text(json.dumps({"keys": [*strange, good]}))
    assert check(token, arguments, keys=proof.keys_from(str(file))).agent == "refund-desk"
    for useless in ('{"keys": []}', '{"keys": {}}', "{}", json.dumps({"keys": strange})):
        with pytest.raises(ValueError, match="JWKS"):
            proof.keys_from(useless)


def test_another_installations_keys_are_others(app: object) -> None:
    mine, theirs = tooltoken.public_jwks(), tooltoken.public_jwks("another secret, 32 or more characters")
    assert mine["keys"][0]["kid"] != theirs["keys"][0]["kid"]
    assert mine == tooltoken.public_jwks(), "the same for every process of one installation"
    assert set(mine["keys"][0]) == {"kty", "crv", "x", "kid", "use", "alg"}, "and nothing private"


def test_the_public_keys_are_there_for_everybody(client: FlaskClient) -> None:
    answer = client.get("/api/v1/jwks.json")
    assert answer.status_code == 200
    assert answer.json == tooltoken.public_jwks()
    assert answer.headers["Cache-Control"] == "public, max-age=300"
    assert "d" not in answer.json["keys"][0]


@pytest.mark.both_databases
def test_what_a_claim_hands_to_the_tool_is_such_a_token_and_never_the_agents_own(
    agent: str, people: People, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Call] = []
    kept = Tool.invoke

    def invoke(tool: Tool, arguments: dict[str, Any], call: Call) -> Any:
        seen.append(call)
        return kept(tool, arguments, call)

    monkeypatch.setattr(Tool, "invoke", invoke)
    proposal_id = work.propose(agent, ticket_id=work.ticket())
    arguments = work.current(proposal_id)
    work.approve(proposal_id, people.ana)
    jobs.execute(proposal_id)
    assert work.state(proposal_id) == "SUCCEEDED"
    (call,) = seen
    claims = check(call.token, arguments)
    assert (claims.digest, claims.key, claims.customer) == (work.row(proposal_id).digest, proposal_id, "c1")
    assert call.idempotency_key == proposal_id
    with pytest.raises(NotAuthenticated):
        tokens.agent_from(str(call.token))
    access, _ = tokens.agent_token(agent, ["*:read"])
    with pytest.raises(ToolRefused):
        check(access, arguments)
    seen.clear()
    reads.call("read_account", {"account": "c1/main"}, agent_id=agent, ticket_id=None)
    assert [call.token for call in seen] == [None], "a read changes nothing, so there is nothing to prove"
