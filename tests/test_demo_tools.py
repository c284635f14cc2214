"""The sample tools: what they declare, what they show an operator, and how honestly they fail."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from copilot.demo import farend, jsonhttp, stock
from copilot.demo.shop import Shop
from copilot.demo.stock import Order
from copilot.demo.tools import shop as box
from copilot.toolkit import Call, Money, Outcome, Preview, ToolError, ToolRefused
from tests.test_demo_shop import JWKS, token


@pytest.fixture
def far(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shop]:
    """The shop behind a socket, where the tools look for it."""
    made = Shop(tmp_path)
    with jsonhttp.Server(made.handle, port=0) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        monkeypatch.setenv("COPILOT_SHOP_URL", f"http://127.0.0.1:{server.server_port}")
        yield made
        farend.close()
        server.shutdown()
        thread.join()
    made.store.close()


def call(key: str = "p1", *, seconds: float = 10) -> Call:
    return Call(key, datetime.now(UTC) + timedelta(seconds=seconds), agent="desk", ticket_id="t1")


def order(status: str) -> Order:
    return next(order for order in stock.orders() if order.status == status and not order.refunded)


def samples() -> dict[str, dict[str, Any]]:
    """Arguments that work, for every tool."""
    done, waiting, person = order("delivered"), order("processing"), stock.customers()[0]
    where = {"line1": "1 Elm Street", "city": "Cork", "postal_code": "T12 W8KP", "country": "IE"}
    return {
        "find_customer": {"query": person.email},
        "get_order": {"order_id": done.id},
        "list_orders": {"customer_id": person.id, "limit": 5},
        "get_shipment": {"order_id": done.id},
        "get_payment": {"order_id": done.id},
        "search_help": {"question": "how long does a refund take"},
        "issue_refund": {"order_id": done.id, "amount_minor": 100, "currency": done.currency, "reason": "damaged"},
        "cancel_order": {"order_id": waiting.id, "reason": "changed_mind"},
        "replace_item": {"order_id": done.id, "sku": done.lines[0].product.sku, "quantity": 1, "reason": "damaged"},
        "change_address": {"order_id": waiting.id, **where},
        "send_gift_card": {
            "customer_id": person.id,
            "recipient_email": person.email,
            "amount_minor": 1500,
            "currency": "EUR",
            "note": "Sorry.",
        },
        "reply_to_customer": {"customer_id": person.id, "message": "Hello."},
    }


def test_there_are_six_reads_and_six_writes_with_one_opaque_and_one_lookup() -> None:
    reads = {name for name, tool in box.tools.items() if tool.effect == "read"}
    writes = set(box.tools) - reads
    assert len(reads) == len(writes) == 6
    assert {name for name in writes if not box.tools[name].idempotency} == {"send_gift_card"}
    assert {name for name in writes if "lookup" in box.tools[name].idempotency} == {"replace_item"}
    assert set(samples()) == set(box.tools)
    for tool in box.tools.values():
        assert tool.parameters["additionalProperties"] is False
        assert sorted(tool.parameters["required"]) == sorted(tool.parameters["properties"]), "strict models know no optional fields"


@pytest.mark.parametrize("name", samples())
def test_every_tool_works(far: Shop, name: str) -> None:
    answer = box.tools[name].invoke(samples()[name], call())
    if box.tools[name].effect == "write":
        assert isinstance(answer, Outcome)
        assert answer.provider_id
        assert answer.result["id"] == answer.provider_id
    else:
        assert answer


def test_declarations_are_read_from_the_arguments_alone() -> None:
    arguments, tools = samples(), box.tools
    refund, card = arguments["issue_refund"], arguments["send_gift_card"]
    assert tools["issue_refund"].amount is not None
    assert tools["issue_refund"].amount(refund) == Money(100, refund["currency"])
    assert tools["issue_refund"].target is not None
    assert tools["issue_refund"].target(refund) == f"order:{refund['order_id']}"
    assert tools["send_gift_card"].payee is not None
    assert tools["send_gift_card"].payee(card) == f"email:{card['recipient_email']}"
    assert tools["replace_item"].business_key is not None
    assert tools["replace_item"].business_key(arguments["replace_item"])[0] == "replace"  # type: ignore[index]


@pytest.mark.parametrize("name", [name for name, tool in box.tools.items() if tool.effect == "write"])
def test_every_write_shows_what_it_would_do_without_doing_it(far: Shop, name: str) -> None:
    preview = box.tools[name].preview
    assert preview is not None
    seen = preview(samples()[name], call())
    assert isinstance(seen, Preview)
    assert seen.consequence
    assert seen.facts["Customer"]
    assert seen.customer_id in {customer.id for customer in stock.customers()}
    assert box.tools["issue_refund"].preview is not None
    assert not _ledger(far)


def test_a_refund_says_how_much_of_what_to_whom_and_how_often(far: Shop) -> None:
    one = next(o for o in stock.orders() if o.status == "delivered" and o.customer.region == "EU" and not o.refunded and o.total > 9000
               and not any(other.refunded for other in stock.orders() if other.customer is o.customer))  # fmt: skip
    arguments = {"order_id": one.id, "amount_minor": 5000, "currency": "EUR", "reason": "damaged"}
    tool = box.tools["issue_refund"]
    assert tool.preview is not None
    tool.invoke(arguments, call())
    seen = tool.preview({**arguments, "amount_minor": 3000}, call("p2"))
    total = f"€{one.total // 100:,}.{one.total % 100:02d}"
    assert seen.consequence == (
        f"Refund €30.00 of {total} on order {one.id} to {one.method}; 2nd refund to this customer this month, €80.00 in total"
    )
    assert (seen.before["Refunded"], seen.after["Refunded"]) == ("€50.00", "€80.00")


def test_a_gift_card_to_a_stranger_says_so(far: Shop) -> None:
    tool = box.tools["send_gift_card"]
    assert tool.preview is not None
    seen = tool.preview(samples()["send_gift_card"] | {"recipient_email": "someone@example.net"}, call())
    assert "not this customer’s address" in seen.consequence
    assert seen.facts["Recipient is the customer"] == "no"


def test_a_change_of_the_order_moves_its_revision(far: Shop) -> None:
    arguments, tool = samples()["issue_refund"], box.tools["issue_refund"]
    assert tool.revision is not None
    before = tool.revision(arguments, call())
    after = tool.invoke(arguments, call()).revision
    assert before != after == tool.revision(arguments, call())
    assert tool.revision({"order_id": "999999"}, call()) is None


def test_a_repeat_under_one_key_gets_the_first_answer_where_the_tool_promises_it(far: Shop) -> None:
    for name in ("issue_refund", "change_address", "cancel_order", "reply_to_customer"):
        first = box.tools[name].invoke(samples()[name], call(name))
        assert box.tools[name].invoke(samples()[name], call(name)) == first
    assert len(_ledger(far)) == 4


def test_a_lookup_finds_what_was_done_under_a_key(far: Shop) -> None:
    tool = box.tools["replace_item"]
    assert tool.lookup is not None
    assert tool.lookup("p1", call()) is None
    done = tool.invoke(samples()["replace_item"], call())
    assert tool.lookup("p1", call()) == done


@pytest.mark.parametrize(
    ("mode", "happened"), [("error_before", False), ("error_after", True), ("reset_after", True), ("slow", True), ("slow_after", True)]
)
def test_a_fault_leaves_the_question_open_whatever_really_happened(far: Shop, mode: str, happened: bool) -> None:
    far.faults.plant({"tool": "send_gift_card", "mode": mode, "seconds": 0.5})
    with pytest.raises(ToolError) as caught:
        box.tools["send_gift_card"].invoke(samples()["send_gift_card"], call(seconds=0.2))
    assert caught.value.happened is None
    if mode.startswith("slow"):
        threading.Event().wait(0.6)
    assert bool(_ledger(far)) is happened


def test_a_refusal_by_the_shop_is_a_refusal_and_says_why(far: Shop) -> None:
    arguments = samples()["issue_refund"] | {"amount_minor": 900_000}
    with pytest.raises(ToolRefused, match="left to refund"):
        box.tools["issue_refund"].invoke(arguments, call())
    with pytest.raises(ToolRefused, match="no such order"):
        box.tools["get_order"].invoke({"order_id": "99999"}, call())


@pytest.mark.parametrize("url", ["", "http://127.0.0.1:1", "nonsense", "http://[::bad"])
def test_a_shop_that_was_never_reached_did_nothing(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("COPILOT_SHOP_URL", url)
    with pytest.raises(ToolError) as caught:
        box.tools["send_gift_card"].invoke(samples()["send_gift_card"], call())
    assert caught.value.happened is False


def test_no_time_left_means_no_call(far: Shop) -> None:
    with pytest.raises(ToolError) as caught:
        box.tools["issue_refund"].invoke(samples()["issue_refund"], replace(call(), deadline=datetime.now(UTC) - timedelta(seconds=1)))
    assert caught.value.happened is False
    assert not _ledger(far)


def test_every_write_passes_the_proof_on_and_without_one_the_shop_refuses(far: Shop) -> None:
    far.keys = JWKS
    owner_of = {each.id: each.customer.id for each in stock.orders()}
    for name, arguments in sorted(samples().items(), reverse=True):  # an address is changed before its order is cancelled
        if box.tools[name].effect == "read":
            continue
        with pytest.raises(ToolRefused, match="No proof of approval"):
            box.tools[name].invoke(arguments, call(name))
        customer = arguments.get("customer_id") or owner_of[arguments["order_id"]]
        proven = replace(call(name), token=token(arguments, customer=customer, tool=name, key=name))
        assert box.tools[name].invoke(arguments, proven)
    assert len(_ledger(far)) == 6


@pytest.mark.parametrize("text", ["../ledger", "..", "1001/payment", "%2e%2e", "\ud800", "1001?x=1", ""])
def test_hostile_ids_stay_in_their_place(far: Shop, text: str) -> None:
    with pytest.raises((ToolRefused, ToolError)):
        box.tools["get_order"].invoke({"order_id": text}, call())


def _ledger(far: Shop) -> list[dict[str, Any]]:
    with far.store.reading():
        return far.store.rows("SELECT * FROM ledger")
