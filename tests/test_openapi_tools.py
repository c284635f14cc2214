"""A tool made of an HTTP API's operation: sends exactly what the document says, and is honest about what came of it."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import rfc8785
from flask import Flask
from sqlalchemy import select

from copilot import config, jobs
from copilot.audit import ownsecrets
from copilot.db import db, transaction
from copilot.errors import BadInput, Refused, SetupError, Unavailable
from copilot.gate import schema, tools
from copilot.gateway import adapters, asking, limits, oauth, outbound, outlog, reads, sources
from copilot.models import OutboundCall
from copilot.review import proposals
from copilot.toolkit import Call, Money, Tool, Toolbox, ToolError, ToolRefused
from tests.support import farend_api, work
from tests.support import people as staff
from tests.support.farend_api import ORDER, PASSWORD, REFUND, FarEnd
from tests.support.people import People


@pytest.fixture
def far() -> Iterator[FarEnd]:
    with farend_api.serve() as running:
        yield running


@pytest.fixture(autouse=True)
def _settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    environ = {"COPILOT_DATA_DIR": str(tmp_path), "SECRET_KEY": "x" * 40, "COPILOT_OUTBOUND_ALLOW": "127.0.0.1"}
    monkeypatch.setattr(config, "_current", config.load(environ))
    monkeypatch.setattr(ownsecrets, "_protected", {})
    monkeypatch.setenv("FAR_END_SECRET", PASSWORD)


@pytest.fixture
def more_environ(far: FarEnd, tmp_path: Path) -> dict[str, str]:
    """An application of these tests has the bank's tools beside its own."""
    file = farend_api.tools_file(
        tmp_path, far.url, tools=REFUND.replace('["refunds:write"]', '["refunds:write", "orders:read"]') + LOOK + ORDER
    )
    return {"COPILOT_TOOLS_FILE": str(file), "COPILOT_OUTBOUND_ALLOW": "127.0.0.1"}


OAUTH = f'{{ kind = "oauth2", token_url = "$URL/token", client_id = "{farend_api.CLIENT}", secret = "env:FAR_END_SECRET" }}'
LOOK = """revision = { operation = "getOrder", pointer = "/revision" }
[openapi.tool.preview]
operation = "getOrder"
consequence = "Refund {amount} on order {order_id}"
facts = { "Left to refund" = "/refundable_minor" }
before = { "Revision" = "/revision" }
customer = "/customer/id"
known = { refundable_minor = "/refundable_minor" }
"""
SEARCH = """
[[openapi.tool]]
operation = "GET /orders"
name = "find_orders"
scopes = []
fixed = { api-version = "2026-01" }
"""


def load(folder: Path, far: FarEnd, text: str = REFUND + ORDER + SEARCH, **options: Any) -> dict[str, Tool]:
    (box,) = sources.load(farend_api.tools_file(folder, far.url, tools=text, **options))
    tools.registry([box])
    limits.check(box.tools.values())
    return box.tools


def calling(key: str = "prop_1", seconds: float = 5) -> Call:
    return Call(
        idempotency_key=key, deadline=datetime.now(UTC) + timedelta(seconds=seconds), agent="desk", ticket_id="T-1", token="one-use-token"
    )


def refund(**changes: Any) -> dict[str, Any]:
    return {"order_id": "1043", "amount_minor": 800, "currency": "EUR"} | changes


def run(tool: Tool, arguments: dict[str, Any], call: Call | None = None) -> adapters.Result:
    return adapters.invoke(tool, schema.normalise(tool, arguments), call or calling())


# ---- what the document becomes


def test_an_operation_becomes_one_strict_object(tmp_path: Path, far: FarEnd) -> None:
    tool = load(tmp_path, far)["refund_order"]
    assert tool.parameters == {
        "type": "object",
        "additionalProperties": False,
        "required": ["order_id", "amount_minor", "currency"],
        "properties": {
            "order_id": {"type": "string", "maxLength": 40},
            "X-Region": {"type": "string", "maxLength": 200},
            "amount_minor": {"type": "integer", "exclusiveMinimum": 0, "description": "cents, not euros"},
            "currency": {"type": "string", "enum": ["EUR", "USD"]},
            "memo": {"type": ["string", "null"], "maxLength": 40},
            "notify": {"type": "boolean", "default": True},
        },
    }
    assert (tool.effect, tool.risk, tool.reversible, tool.honours_key, tool.source) == ("write", "high", False, True, "openapi:payments")
    assert tool.description == "Refund an order."
    assert tool.amount is not None
    assert tool.target is not None
    assert tool.business_key is not None
    assert tool.amount(refund()) == Money(800, "EUR")
    assert tool.target(refund()) == "order:1043"
    assert tool.business_key(refund()) == ("refund", "1043")
    with pytest.raises(BadInput):
        schema.normalise(tool, refund(id="re_mine"))
    with pytest.raises(BadInput):
        schema.normalise(tool, refund(amount_minor=0))


def test_a_read_knows_what_comes_back_and_a_schema_may_contain_itself(tmp_path: Path, far: FarEnd) -> None:
    made = load(tmp_path, far)
    returns = made["get_order"].returns
    assert returns is not None
    assert set(returns["properties"]) == {"id", "refundable_minor", "customer", "revision"}, "what is only written does not come back"
    assert returns["properties"]["customer"]["properties"]["email"] == {"type": ["string", "null"]}
    tree = made["find_orders"].returns
    assert tree is not None
    assert tree["$ref"] == "#/$defs/Tree"
    assert made["find_orders"].effect == "read"
    assert set(made["find_orders"].parameters["properties"]) == {"tag", "open", "fields"}, "a fixed argument is not offered"


BROKEN = [
    ("[[openapi.tool]]\noperation = 'nothing'\nname = 'a'\nscopes = []", "no operation 'nothing'"),
    ("[[openapi.tool]]\noperation = 'refund'\nname = 'a'\nscopes = []", 'say effect = "write"'),
    ("[[openapi.tool]]\noperation = 'refund'\nname = 'a'\neffect = 'write'", "name the scopes"),
    ("[[openapi.tool]]\noperation = 'getOrder'\nname = 'A'\nscopes = []", "lower-case"),
    ("[[openapi.tool]]\noperation = 'getOrder'\nscopes = []", "needs name"),
    ("[[openapi.tool]]\noperation = 'getOrder'\nname = 'a'\nscopes = []\ntimout = 5", "timout, which means nothing here"),
    (REFUND.replace("{order_id}", "{order}"), "no argument of it"),
    (REFUND.replace('"amount_minor"', '"amount"'), "no argument of it"),
    (REFUND.replace("key_lifetime = 86400", "key_lifetime = 60"), "key_lifetime"),
    (REFUND + "fixed = { nothing = 1 }", "takes no 'nothing'"),
    (REFUND + 'omit = ["amount_minor"]', "cannot be left out"),
    (REFUND + "max_bytes = 1000000", "max_bytes"),
    (REFUND + 'provider_id = "id"', "TOML"),
    (REFUND.replace('provider_id = "/id"', 'provider_id = "id"'), "JSON pointer"),
    (REFUND + 'revision = { operation = "refund", pointer = "/id" }', "may change something"),
    (REFUND + 'revision = { operation = "getOrder", arguments = {}, pointer = "/revision" }', "needs order_id"),
    (REFUND + "concurrency = 0", "concurrency"),
]


@pytest.mark.parametrize(("text", "said"), BROKEN)
def test_a_wrong_entry_is_named_with_what_to_change(tmp_path: Path, far: FarEnd, text: str, said: str) -> None:
    with pytest.raises(SetupError) as caught:
        load(tmp_path, far, text)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("auth", "said"),
    [
        ('{ kind = "magic" }', "auth has a kind"),
        ('{ kind = "bearer" }', "written with secret"),
        ('{ kind = "bearer", secret = "sk-live-abcdefgh" }', "by reference"),
        ('{ kind = "bearer", secret = "env:NOT_THERE" }', "NOT_THERE"),
        ('{ kind = "header", name = "X\\nY", secret = "env:FAR_END_SECRET" }', "no header's name"),
        ('{ kind = "bearer", secret = "env:FAR_END_SECRET" }', "scopes belong to"),
    ],
)
def test_wrong_credentials_are_named_without_showing_them(tmp_path: Path, far: FarEnd, auth: str, said: str) -> None:
    with pytest.raises(SetupError) as caught:
        load(tmp_path, far, auth=auth)
    assert said in str(caught.value)
    assert "abcdefgh" not in str(caught.value)
    assert PASSWORD not in str(caught.value)


def papers() -> list[tuple[Any, str]]:
    def paper(**changes: Any) -> dict[str, Any]:
        made = farend_api.document("https://example.com")
        made["paths"]["/orders/{order_id}/refunds"]["post"] |= changes
        return made

    place = {"name": "order_id", "in": "path", "required": True, "schema": {"type": "string"}}
    twice = [{"name": "currency", "in": "query", "schema": {}}]
    circle = paper()
    circle["components"]["responses"]["Order"] = {"$ref": "#/components/responses/Order"}
    return [
        ({"swagger": "2.0", "paths": {}}, "no OpenAPI 3.0 or 3.1"),
        (paper(parameters=twice), "has 'currency' in its query and in its body"),
        (paper(parameters=[{"name": "sid", "in": "cookie", "required": True}]), "cannot be sent"),
        (paper(parameters=[{"name": "q", "in": "query", "style": "deepObject", "schema": {}}]), "style deepObject"),
        (paper(parameters=[{"name": "q", "in": "query", "schema": {"type": "object"}}]), "is an object"),
        (paper(parameters=[{"$ref": "https://evil.example/p.json"}]), "leads out of the document"),
        (paper(parameters=[{"$ref": "#/components/nothing"}]), "leads nowhere"),
        (paper(requestBody={"required": True, "content": {"text/csv": {}}}), "no JSON"),
        (paper(parameters=[place, {"name": "call", "in": "query", "schema": {}}]), "'call'"),
        (circle, "circle"),
    ]


@pytest.mark.parametrize(("paper", "said"), papers())
def test_a_document_that_cannot_be_followed_is_refused(tmp_path: Path, far: FarEnd, paper: Any, said: str) -> None:
    with pytest.raises(SetupError) as caught:
        load(tmp_path, far, paper=paper)
    assert said in str(caught.value)


def test_a_document_is_held_to_its_hash_and_kept(tmp_path: Path, far: FarEnd, monkeypatch: pytest.MonkeyPatch) -> None:
    file = farend_api.tools_file(tmp_path, far.url, tools=ORDER, more='sha256 = "00"')
    with pytest.raises(SetupError, match="has changed: its SHA-256 is") as caught:
        sources.load(file)
    hashed = str(caught.value).partition("SHA-256 is ")[2][:64]
    raw = (tmp_path / "payments.json").read_bytes()
    answers = [outbound.Answer(200, {}, raw)]
    monkeypatch.setattr(outbound, "request", lambda *args, **options: answers.pop())
    file.write_text(
        file.read_text()
        .replace('"payments.json"', '"https://bank.example/openapi.json"')
        .replace('"00"', f'"{hashed}"\nbase_url = "{far.url}"')
    )
    assert set(sources.load(file)[0].tools) == {"get_order"}
    assert set(sources.load(file)[0].tools) == {"get_order"}, "the second start needs nobody else to be up"
    assert answers == []


def test_the_definition_changes_with_the_document(tmp_path: Path, far: FarEnd) -> None:
    paper = farend_api.document(far.url)
    before = load(tmp_path, far, paper=paper)["refund_order"].definition_hash
    paper["components"]["schemas"]["Refund"]["allOf"][0]["properties"]["memo"]["maxLength"] = 41
    assert load(tmp_path, far, paper=paper)["refund_order"].definition_hash != before


def moved(paper: dict[str, Any]) -> None:
    paper["servers"][0]["url"] += "/v2"


def by_another_method(paper: dict[str, Any]) -> None:
    node = paper["paths"]["/orders/{order_id}/refunds"]
    node["put"] = node.pop("post")


def to_another_path(paper: dict[str, Any]) -> None:
    paper["paths"]["/orders/{order_id}/payouts"] = paper["paths"].pop("/orders/{order_id}/refunds")


def to_another_place(paper: dict[str, Any]) -> None:
    (region,) = (each for each in paper["paths"]["/orders/{order_id}/refunds"]["post"]["parameters"] if each["name"] == "X-Region")
    region["in"] = "query"


def look_elsewhere(paper: dict[str, Any]) -> None:
    paper["paths"]["/all/{order_id}"] = paper["paths"].pop("/orders/{order_id}")


@pytest.mark.parametrize("change", [moved, by_another_method, to_another_path, to_another_place, look_elsewhere])
def test_a_document_that_sends_calls_elsewhere_changes_the_definition(tmp_path: Path, far: FarEnd, change: Any) -> None:
    paper = farend_api.document(far.url)
    text = REFUND + LOOK
    before = load(tmp_path, far, text, paper=paper)["refund_order"]
    change(paper)
    after = load(tmp_path, far, text, paper=paper)["refund_order"]
    assert after.parameters == before.parameters
    assert after.definition_hash != before.definition_hash


FIXED = REFUND + "fixed = { notify = true }\n"
BEARER = '{ kind = "bearer", secret = "env:FAR_END_SECRET" }'
NO_SCOPES = FIXED.replace('scopes = ["refunds:write"]\n', "")


@pytest.mark.parametrize(
    ("text", "options"),
    [
        (FIXED.replace("true", "false"), {}),
        (FIXED.replace('["refunds:write"]', '["refunds:write", "orders:read"]'), {}),
        (FIXED.replace("Idempotency-Key", "Request-Key"), {}),
        (FIXED.replace("Copilot-Token", "Proof"), {}),
        (FIXED, {"more": 'base_url = "http://127.0.0.1:1"'}),
        (FIXED, {"more": 'headers = { X-Tenant = "acme" }'}),
        (FIXED, {"more": 'headers = { X-Tenant = "env:FAR_END_SECRET" }'}),
        (FIXED, {"auth": OAUTH.replace("/token", "/other")}),
        (FIXED, {"auth": OAUTH.replace('client_id = "', 'client_id = "another ')}),
        (FIXED, {"auth": OAUTH.replace("FAR_END_SECRET", "SECOND_SECRET")}),
        (NO_SCOPES, {"auth": BEARER}),
        (NO_SCOPES, {"auth": '{ kind = "header", name = "X-Key", secret = "env:FAR_END_SECRET" }'}),
    ],
)
def test_a_file_that_sends_calls_elsewhere_or_as_somebody_else_changes_the_definition(
    tmp_path: Path, far: FarEnd, monkeypatch: pytest.MonkeyPatch, text: str, options: dict[str, str]
) -> None:
    monkeypatch.setenv("SECOND_SECRET", "another-secret-2")
    options = {name: value.replace("$URL", far.url) for name, value in options.items()}
    before, after = load(tmp_path, far, FIXED)["refund_order"], load(tmp_path, far, text, **options)["refund_order"]
    assert (after.parameters, after.description) == (before.parameters, before.description)
    assert after.definition_hash != before.definition_hash
    assert load(tmp_path, far, FIXED)["refund_order"].definition_hash == before.definition_hash
    assert PASSWORD not in json.dumps([dict(before.binding), dict(after.binding)]), "only the reference is kept"


def test_people_can_see_where_a_call_goes_and_as_whom(tmp_path: Path, far: FarEnd) -> None:
    made = load(tmp_path, far, FIXED + LOOK, more='headers = { X-Tenant = "acme" }')["refund_order"]
    assert made.binding == {
        "address": f"POST {far.url}/orders/{{order_id}}/refunds",
        "arguments": {
            "order_id": "path", "X-Region": "header", "amount_minor": "body", "currency": "body", "memo": "body", "notify": "body",
        },
        "fixed": {"notify": True},
        "headers": {"X-Tenant": "acme"},
        "idempotency_header": "Idempotency-Key",
        "token_header": "Copilot-Token",
        "auth": {
            "kind": "oauth2", "token_url": f"{far.url}/token", "client_id": farend_api.CLIENT, "secret": "env:FAR_END_SECRET",
            "scopes": ["refunds:write"],
        },
        "revision": f"GET {far.url}/orders/{{order_id}}",
        "preview": f"GET {far.url}/orders/{{order_id}}",
    }  # fmt: skip


def test_a_tool_written_in_python_is_defined_as_before() -> None:
    def pay(to: str) -> None:
        """Pay somebody."""

    made = Toolbox("plain").add("pay", pay, effect="write")
    contract = {
        "toolbox": "plain", "name": "pay", "description": "Pay somebody.", "parameters": dict(made.parameters), "returns": None,
        "effect": "write", "risk": "medium", "reversible": False, "idempotency": [],
    }  # fmt: skip
    assert made.definition_hash == hashlib.sha256(rfc8785.dumps(contract)).hexdigest()
    assert dataclasses.replace(made, binding={"address": "elsewhere"}).definition_hash != made.definition_hash


# ---- where calls may go at all


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ('base_url = "http://bank.example/v1"', "begin with https"),
        ('base_url = "https://bank.example/v1?x=1"', "without a query"),
        ('base_url = "https://me@bank.example/v1"', "is a web address"),
        ('base_url = "ftp://bank.example"', "is a web address"),
        ('base_url = "https://bank.example:many"', "is a web address"),
        ("base_url = 7", "is a web address"),
    ],
)
def test_an_address_that_is_not_safe_to_call_is_refused(tmp_path: Path, far: FarEnd, more: str, said: str) -> None:
    with pytest.raises(SetupError, match=said):
        load(tmp_path, far, more=more)


def test_credentials_go_to_no_token_service_without_https(tmp_path: Path, far: FarEnd) -> None:
    with pytest.raises(SetupError, match="token_url has to begin with https"):
        load(tmp_path, far, auth=OAUTH.replace("$URL", "http://login.example"))


def test_plain_http_goes_to_hosts_that_are_listed(tmp_path: Path, far: FarEnd, monkeypatch: pytest.MonkeyPatch) -> None:
    environ = {"COPILOT_DATA_DIR": str(tmp_path), "SECRET_KEY": "x" * 40, "COPILOT_OUTBOUND_ALLOW": "127.0.0.1,bank.internal:8080"}
    monkeypatch.setattr(config, "_current", config.load(environ))
    assert load(tmp_path, far, more='base_url = "http://bank.internal:8080/v1"')
    with pytest.raises(SetupError, match="begin with https"):
        load(tmp_path, far, more='base_url = "http://bank.internal:8081/v1"')


def test_a_fetched_document_does_not_say_where_calls_go(tmp_path: Path, far: FarEnd, monkeypatch: pytest.MonkeyPatch) -> None:
    raw = json.dumps(farend_api.document("https://evil.example")).encode()
    monkeypatch.setattr(outbound, "request", lambda *args, **options: outbound.Answer(200, {}, raw))
    file = farend_api.tools_file(tmp_path, far.url, tools=ORDER)
    file.write_text(file.read_text().replace('"payments.json"', '"https://bank.example/openapi.json"'))
    with pytest.raises(SetupError, match="does not decide where calls go"):
        sources.load(file)
    file.write_text(file.read_text().replace("timeout = 5", f'timeout = 5\nbase_url = "{far.url}"'))
    made = sources.load(file)[0].tools["get_order"]
    assert made.binding["address"] == f"GET {far.url}/orders/{{order_id}}"
    assert "held to no hash" in made.binding["document"]
    assert any("held to no hash" in sentence for sentence in sources.warnings(file))
    file.write_text(file.read_text().replace("https://bank.example/openapi", "http://bank.example/openapi"))
    with pytest.raises(SetupError, match="document has to begin with https"):
        sources.load(file)


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("@evil.example/orders/{order_id}", "none that can follow"),
        (".evil.example/orders/{order_id}", "none that can follow"),
        ("/../admin/{order_id}", "none that can follow"),
        ("/v1%2F..%2Fadmin/{order_id}", "none that can follow"),
        ("/orders/{order_id}?all=1", "none that can follow"),
        ("/orders/{order_id}#", "none that can follow"),
        ("/orders", "'order_id' in its path, which has no place"),
        ("/orders/{order_id}/{line}", "which no parameter of it declares"),
    ],
)
def test_a_path_stays_below_its_base_and_names_its_parameters(tmp_path: Path, far: FarEnd, path: str, said: str) -> None:
    paper = farend_api.document(far.url)
    paper["paths"] = {path: paper["paths"]["/orders/{order_id}"]}
    with pytest.raises(SetupError, match=said):
        load(tmp_path, far, ORDER, paper=paper)


def test_a_place_in_the_path_is_never_left_empty(tmp_path: Path, far: FarEnd) -> None:
    paper = farend_api.document(far.url)
    shared = paper["paths"].pop("/orders/{order_id}")
    shared["parameters"][0] |= {"schema": {"type": "string", "nullable": True}}
    paper["paths"]["/orders/o-{order_id}"] = shared
    assert end(run(load(tmp_path, far, ORDER, paper=paper)["get_order"], {"order_id": None})) == REFUSED
    assert far.calls == []


# ---- headers that nobody but the file may send


@pytest.mark.parametrize(
    ("text", "options"),
    [
        (REFUND, {"more": 'headers = { x-region = "EU" }'}),
        (REFUND.replace("Idempotency-Key", "X-Region"), {}),
        (REFUND.replace("Copilot-Token", "X-REGION"), {}),
        (
            REFUND.replace('scopes = ["refunds:write"]', ""),
            {"auth": '{ kind = "header", name = "X-Region", secret = "env:FAR_END_SECRET" }'},
        ),
    ],
)
def test_no_argument_takes_the_place_of_a_header_of_ours(tmp_path: Path, far: FarEnd, text: str, options: dict[str, str]) -> None:
    with pytest.raises(SetupError, match="No agent may choose it"):
        load(tmp_path, far, text, **options)
    with pytest.raises(SetupError, match="no fixed value"):
        load(tmp_path, far, text + 'fixed = { X-Region = "US" }\n', **options)
    tool = load(tmp_path, far, text + 'omit = ["X-Region"]\n', **options)["refund_order"]
    assert "X-Region" not in tool.parameters["properties"]
    assert "X-Region" not in tool.binding["arguments"]


def test_a_header_of_ours_that_the_document_requires_can_be_left_to_the_file(tmp_path: Path, far: FarEnd) -> None:
    paper = farend_api.document(far.url)
    tenant = {"name": "X-Tenant", "in": "header", "required": True, "schema": {"type": "string"}}
    paper["paths"]["/orders/{order_id}"]["parameters"].append(tenant)
    tool = load(
        tmp_path, far, ORDER + 'omit = ["X-Tenant"]\n' + REFUND.replace("refunds:write", "orders:read") + LOOK, paper=paper,
        more='headers = { X-Tenant = "acme" }',
    )  # fmt: skip
    run(tool["get_order"], {"order_id": "1"})
    assert tool["refund_order"].preview is not None
    tool["refund_order"].preview(refund(), calling())
    assert [each.headers["x-tenant"] for each in far.calls] == ["acme", "acme"]


def test_no_header_has_two_values(tmp_path: Path, far: FarEnd) -> None:
    for text, more in (
        (REFUND, 'headers = { Authorization = "env:FAR_END_SECRET" }'),
        (REFUND, 'headers = { copilot-token = "x" }'),
        (REFUND.replace("Copilot-Token", "idempotency-key"), ""),
    ):
        with pytest.raises(SetupError, match="two values"):
            load(tmp_path, far, text, more=more)


# ---- what is sent


def test_a_write_is_sent_with_key_token_and_least_scope(tmp_path: Path, far: FarEnd) -> None:
    made = load(tmp_path, far)
    done = run(made["refund_order"], refund(memo="ä", **{"X-Region": "EU"}))
    assert isinstance(done, adapters.Succeeded)
    assert done.provider_id == "re_1"
    (sent,) = far.calls
    assert (sent.method, sent.path) == ("POST", "/orders/1043/refunds")
    assert sent.json == {"amount_minor": 800, "currency": "EUR", "memo": "ä", "notify": True}
    assert sent.headers["idempotency-key"] == "prop_1"
    assert sent.headers["copilot-token"] == "one-use-token"
    assert sent.headers["x-region"] == "EU"
    assert far.granted == ["refunds:write"]
    run(made["refund_order"], refund())
    assert far.granted == ["refunds:write"], "a token is kept until shortly before it ends"
    assert len(far.refunds) == 1, "the same key has one effect"
    run(made["get_order"], {"order_id": "7"})
    assert far.granted == ["refunds:write", "orders:read"]
    assert "idempotency-key" not in far.calls[-1].headers
    assert "copilot-token" not in far.calls[-1].headers


@pytest.mark.parametrize(
    ("order", "path"),
    [
        ("a/b", "/orders/a%2Fb"),
        ("..a/b..", "/orders/..a%2Fb.."),
        ("a?x=1#y", "/orders/a%3Fx%3D1%23y"),
        ("ä %2F", "/orders/%C3%A4%20%252F"),
        ("a\r\nHost: evil", "/orders/a%0D%0AHost%3A%20evil"),
    ],
)
def test_a_value_stays_in_its_place_in_the_address(tmp_path: Path, far: FarEnd, order: str, path: str) -> None:
    run(load(tmp_path, far)["get_order"], {"order_id": order})
    assert [each.path for each in far.calls] == [path]


@pytest.mark.parametrize("order", [".", "..", "", "../../admin", "a/..", "..\\b"])
def test_a_value_that_would_climb_is_not_sent(tmp_path: Path, far: FarEnd, order: str) -> None:
    assert isinstance(run(load(tmp_path, far)["get_order"], {"order_id": order}), adapters.Failed)
    assert far.calls == []


@pytest.mark.parametrize("region", ["EU\r\nX-Admin: 1", "EU\n", "\x00", "ü"])
def test_a_header_cannot_be_broken_out_of(tmp_path: Path, far: FarEnd, region: str) -> None:
    tool = load(tmp_path, far)["refund_order"]
    given = adapters.invoke(tool, refund(notify=True, **{"X-Region": region}), calling())
    assert isinstance(given, adapters.Failed)
    assert far.calls == []


def test_lists_and_booleans_go_into_the_query_as_documented(tmp_path: Path, far: FarEnd) -> None:
    done = run(load(tmp_path, far)["find_orders"], {"tag": ["a&b", "c"], "open": True, "fields": ["id", "x,y"]})
    assert isinstance(done, adapters.Succeeded)
    assert far.calls[0].path == "/orders?tag=a%26b&tag=c&open=true&fields=id,x%2Cy&api-version=2026-01"
    assert done.note is None


@pytest.mark.parametrize(
    ("auth", "header", "value"),
    [
        ('{ kind = "bearer", secret = "env:FAR_END_SECRET" }', "authorization", f"Bearer {PASSWORD}"),
        ('{ kind = "header", name = "X-Api-Key", secret = "env:FAR_END_SECRET" }', "x-api-key", PASSWORD),
        ('{ kind = "basic", user = "u", secret = "env:FAR_END_SECRET" }', "authorization", "Basic dTpmYXItZW5kLWNsaWVudC1zZWNyZXQtMQ=="),
        ('{ kind = "none" }', "authorization", None),
    ],
)
def test_credentials_go_where_they_belong(tmp_path: Path, far: FarEnd, auth: str, header: str, value: str | None) -> None:
    tool = load(tmp_path, far, "[[openapi.tool]]\noperation = 'getOrder'\nname = 'get_order'\n", auth=auth)["get_order"]
    far.plan = ["echo"]
    done = run(tool, {"order_id": "1"})
    assert far.calls[0].headers.get(header) == value
    assert isinstance(done, adapters.Succeeded)
    assert PASSWORD not in json.dumps(done.result), "what a service echoes of our secrets stays out of the record"
    if value is not None:
        assert value.rpartition(" ")[2] not in json.dumps(done.result)


@pytest.mark.parametrize("spelled", [PASSWORD, PASSWORD.replace("c", "\\u0063"), "".join(f"\\u{ord(each):04x}" for each in PASSWORD)])
@pytest.mark.parametrize("status", [200, 422])
def test_a_secret_that_comes_back_in_another_spelling_stays_out_too(
    tmp_path: Path, far: FarEnd, monkeypatch: pytest.MonkeyPatch, spelled: str, status: int
) -> None:
    auth = '{ kind = "bearer", secret = "env:FAR_END_SECRET" }'
    tool = load(tmp_path, far, "[[openapi.tool]]\noperation = 'getOrder'\nname = 'get_order'\n", auth=auth)["get_order"]
    raw = f'{{"id": "o1", "refundable_minor": 1, "message": "we got {spelled}", "{spelled}": 1}}'.encode()
    monkeypatch.setattr(outbound, "request", lambda *args, **options: outbound.Answer(status, {"content-type": "application/json"}, raw))
    done = run(tool, {"order_id": "1"})
    assert PASSWORD not in json.dumps(done.result if isinstance(done, adapters.Succeeded) else done.message)  # type: ignore[union-attr]
    assert "[secret]" in str(done)


# ---- what came of it

SUCCESS, REFUSED, MACHINERY, UNKNOWN = "succeeded", "refused", "nothing happened", "unknown"
ENDS: list[tuple[int | str, str, str]] = [
    # the service's answer, what a write's end is, what a read's end is
    (400, REFUSED, REFUSED),
    (403, REFUSED, REFUSED),
    (404, REFUSED, REFUSED),
    (405, REFUSED, REFUSED),
    (409, REFUSED, REFUSED),
    (410, REFUSED, REFUSED),
    (422, REFUSED, REFUSED),
    (429, MACHINERY, MACHINERY),
    (408, UNKNOWN, MACHINERY),
    (425, UNKNOWN, MACHINERY),
    (500, UNKNOWN, MACHINERY),
    (502, UNKNOWN, MACHINERY),
    (503, UNKNOWN, MACHINERY),
    (504, UNKNOWN, MACHINERY),
    ("redirect", UNKNOWN, MACHINERY),
    ("reset", UNKNOWN, MACHINERY),
    ("hang", UNKNOWN, MACHINERY),
    ("drip", SUCCESS, MACHINERY),
    ("no json", SUCCESS, MACHINERY),
    ("long", SUCCESS, MACHINERY),
    ("bomb", SUCCESS, MACHINERY),
]


def end(result: adapters.Result) -> str:
    match result:
        case adapters.Succeeded():
            return SUCCESS
        case adapters.Failed(technical=True):
            return MACHINERY
        case adapters.Failed():
            return REFUSED
        case _:
            return UNKNOWN


@pytest.mark.parametrize(("answer", "write", "read"), ENDS, ids=[str(case[0]) for case in ENDS])
def test_every_end_of_a_call_is_what_is_known_of_it(tmp_path: Path, far: FarEnd, answer: int | str, write: str, read: str) -> None:
    made = load(tmp_path, far)
    far.plan = [answer]
    written = run(made["refund_order"], refund(), calling(seconds=1))
    far.plan = [answer]
    asked = run(made["get_order"], {"order_id": "1"}, calling(seconds=1))
    assert (end(written), end(asked)) == (write, read)
    if isinstance(written, adapters.Succeeded):
        assert written.note or written.result == "<h1>hello</h1>"
    if isinstance(answer, int):
        said = f"{written.message} {asked.message}"  # type: ignore[union-attr]
        assert f"planned {answer}" in said or answer == 429


def test_a_service_that_is_not_there_has_done_nothing(tmp_path: Path, far: FarEnd) -> None:
    made = load(
        tmp_path, far, REFUND.replace('scopes = ["refunds:write"]', ""), auth='{ kind = "none" }', more='base_url = "http://127.0.0.1:1"'
    )
    done = run(made["refund_order"], refund())
    assert end(done) == MACHINERY


def test_an_effect_behind_a_lost_answer_is_unknown_and_repeating_its_key_finds_it(tmp_path: Path, far: FarEnd) -> None:
    tool = load(tmp_path, far)["refund_order"]
    far.plan = ["reset after"]
    assert end(run(tool, refund())) == UNKNOWN
    again = run(tool, refund())
    assert isinstance(again, adapters.Succeeded)
    assert len(far.refunds) == 1
    assert again.provider_id == "re_1"


def test_a_call_past_its_time_is_not_made(tmp_path: Path, far: FarEnd) -> None:
    done = run(load(tmp_path, far)["refund_order"], refund(), calling(seconds=-1))
    assert end(done) == MACHINERY
    assert far.seen == []


# ---- access tokens


def test_a_token_that_is_no_longer_taken_is_fetched_once_more_where_that_is_safe(tmp_path: Path, far: FarEnd) -> None:
    opaque = REFUND.replace('idempotency_header = "Idempotency-Key"\nkey_lifetime = 86400\n', "").replace("refund_order", "refund_opaque")
    made = load(tmp_path, far, REFUND + ORDER + opaque)
    run(made["get_order"], {"order_id": "1"})
    run(made["refund_order"], refund())
    run(made["refund_opaque"], refund())
    far.tokens.clear()  # the bank forgot them all
    assert end(run(made["get_order"], {"order_id": "1"})) == SUCCESS
    assert end(run(made["refund_order"], refund())) == SUCCESS
    before = len(far.calls)
    assert end(run(made["refund_opaque"], refund())) == MACHINERY
    assert len(far.calls) == before + 1, "a write without a key is sent once, whatever the answer"


def test_a_token_is_renewed_shortly_before_its_end(far: FarEnd) -> None:
    seconds = [0.0]
    client = oauth.Client(f"{far.url}/token", farend_api.CLIENT, "env:FAR_END_SECRET")
    tokens = oauth.Tokens(client, ("orders:read",), clock=lambda: seconds[0])
    far.life = 100
    first = tokens.current(seconds=5)
    seconds[0] = 69
    assert tokens.current(seconds=5) == first
    seconds[0] = 71
    assert tokens.current(seconds=5) != first
    assert first not in ownsecrets._protected
    assert far.granted == ["orders:read"] * 2


def test_many_calls_at_once_fetch_one_token(far: FarEnd) -> None:
    tokens = oauth.Tokens(oauth.Client(f"{far.url}/token", farend_api.CLIENT, "env:FAR_END_SECRET"), ("orders:read",))
    got: list[str] = []
    threads = [threading.Thread(target=lambda: got.append(tokens.current(seconds=20))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(got) == 8
    assert len(set(got)) == len(far.granted) == 1


def test_no_token_means_nothing_happened(far: FarEnd, monkeypatch: pytest.MonkeyPatch) -> None:
    secret = "a wrong secret"
    monkeypatch.setenv("FAR_END_SECRET", secret)
    tokens = oauth.Tokens(oauth.Client(f"{far.url}/token", farend_api.CLIENT, "env:FAR_END_SECRET"), ())
    with pytest.raises(ToolError, match="nothing happened") as caught:
        tokens.current(seconds=5)
    assert caught.value.happened is False
    assert secret not in str(caught.value)


@pytest.mark.parametrize("auth", [None, '{ kind = "bearer", secret = "env:FAR_END_SECRET" }'])
def test_a_secret_that_is_gone_by_the_time_of_the_call_means_nothing_happened(
    tmp_path: Path, far: FarEnd, monkeypatch: pytest.MonkeyPatch, auth: str | None
) -> None:
    text = REFUND if auth is None else REFUND.replace('scopes = ["refunds:write"]', "")
    tool = load(tmp_path, far, text, auth=auth)["refund_order"]
    monkeypatch.delenv("FAR_END_SECRET")
    done = run(tool, refund())
    assert end(done) == MACHINERY
    assert "env:FAR_END_SECRET" in str(done)
    assert far.seen == []


# ---- previews, revisions and reads through the gate


def test_a_write_can_be_looked_at_by_a_read_of_the_same_api(tmp_path: Path, far: FarEnd) -> None:
    tool = load(tmp_path, far, REFUND.replace('["refunds:write"]', '["orders:read"]') + LOOK)["refund_order"]
    assert tool.preview is not None
    assert tool.revision is not None
    shown = tool.preview(refund(), calling())
    assert shown.consequence == "Refund €8.00 on order 1043"
    assert (shown.facts, shown.before, shown.customer_id) == ({"Left to refund": 5000}, {"Revision": 1}, "c1")
    assert shown.known == {"refundable_minor": 5000}
    assert tool.known == {"type": "object", "properties": {"refundable_minor": {"type": "integer"}}, "additionalProperties": False}
    assert tool.revision(refund(), calling()) == "1"
    with pytest.raises(ToolRefused, match="no such order"):
        tool.revision(refund(order_id="none"), calling())
    assert all(each.method == "GET" for each in far.calls)


@pytest.mark.both_databases
def test_a_read_that_does_not_fit_is_not_passed_on(app: Flask, far: FarEnd) -> None:
    tool = tools.current().get("get_order")
    assert asking.read(tool, {"order_id": "1"}, calling())["refundable_minor"] == 5000
    far.plan = ["misfit", 500, 422]
    with pytest.raises(Unavailable, match="gave no usable answer"):
        asking.read(tool, {"order_id": "1"}, calling())
    with pytest.raises(Unavailable, match="could not answer"):
        asking.read(tool, {"order_id": "1"}, calling())
    with pytest.raises(Refused, match="planned 422"):
        asking.read(tool, {"order_id": "1"}, calling())
    assert outlog.flush()
    db.session.rollback()
    recorded = db.session.execute(select(OutboundCall.purpose, OutboundCall.status).order_by(OutboundCall.at)).all()
    assert [tuple(row) for row in recorded] == [("oauth", 200), *(("get_order", status) for status in (200, 200, 500, 422))]


def propose(agent_id: str, **changes: Any) -> str:
    prepared = proposals.prepare(proposals.Draft(agent_id=agent_id, tool="refund_order", arguments=refund(**changes), rationale="because"))
    with transaction():
        return proposals.propose(prepared).id


@pytest.mark.both_databases
def test_a_refund_goes_through_the_gate_to_the_bank_and_back(app: Flask, far: FarEnd, people: People) -> None:
    agent = staff.add_agent(people.ids["dee"], name="bank-desk", scopes=("refund_order:write",))
    made, moved, lost, refused = [propose(agent, order_id=order) for order in ("o1", "o2", "o3", "o4")]
    assert work.state(made) == "PENDING"
    for each in (made, moved, lost, refused):
        work.approve(each, people.ana)
    jobs.execute(made)
    assert work.state(made) == "SUCCEEDED"
    assert work.row(made).provider_id == "re_1"
    (effect,) = far.refunds.items()
    assert effect[0] == made, "the key is the proposal's id"
    far.revision = 2  # somebody changed the orders since they were looked at
    jobs.execute(moved)
    assert work.state(moved) == "PENDING"
    far.revision = 1
    far.writes = ["reset after"]
    jobs.execute(lost)
    assert work.state(lost) == "OUTCOME_UNKNOWN"
    far.writes = [422]
    jobs.execute(refused)
    assert work.state(refused) == "FAILED"
    assert set(far.refunds) == {made, lost}


@pytest.mark.both_databases
def test_an_agent_reads_from_an_api_through_the_gate(app: Flask, far: FarEnd, people: People) -> None:
    agent = staff.add_agent(people.ids["dee"], name="bank-desk")
    assert reads.call("get_order", {"order_id": "o1"}, agent_id=agent, ticket_id=None)["refundable_minor"] == 5000
    with pytest.raises(Refused, match="no such order"):
        reads.call("get_order", {"order_id": "none"}, agent_id=agent, ticket_id=None)


def test_doctor_hears_of_secrets_that_are_missing_or_open_to_all(tmp_path: Path, far: FarEnd) -> None:
    key = tmp_path / "key"
    key.write_text("a plain key")
    key.chmod(0o644)
    file = farend_api.tools_file(
        tmp_path, far.url, tools=ORDER, auth=f'{{ kind = "bearer", secret = "file:{key}" }}', more='headers = { X = "env:GONE" }'
    )
    said = sources.warnings(file)
    assert any("GONE" in sentence for sentence in said)
    assert any("every user of this machine" in sentence for sentence in said)
    assert sources.warnings(None) == []
