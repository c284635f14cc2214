"""The sample tickets: many, different, about the real stock, and without a word of what is expected."""

from __future__ import annotations

import json
from collections import Counter

from copilot.demo import reading, stock, tickets

MANY = tickets.generate(1, 600)


def test_six_hundred_tickets_are_hundreds_of_different_texts_over_all_tools() -> None:
    assert len({ticket.body for ticket in MANY}) >= 500
    assert len({ticket.external_id for ticket in MANY}) == 600
    per_tool = Counter(ticket.expected.tool for ticket in MANY)
    assert set(per_tool) == {"issue_refund", "cancel_order", "replace_item", "change_address", "send_gift_card", "reply_to_customer"}
    assert min(per_tool.values()) >= 20
    assert {ticket.expected.kind for ticket in MANY} == {"plain", "answer", "ambiguous", "forbidden", "hostile"}
    assert sum(bool(ticket.followups) for ticket in MANY) >= 30
    assert {ticket.region for ticket in MANY} == {"EU", "UK", "US"}


def test_lengths_and_moods_differ() -> None:
    lengths = sorted(len(ticket.body) for ticket in MANY)
    assert lengths[0] < 50
    assert lengths[-1] > 250
    assert any(ticket.body.isupper() for ticket in MANY)
    assert any("recieved" in ticket.body or "pls" in ticket.body for ticket in MANY)


def test_the_same_seed_gives_the_same_tickets_and_a_shorter_list_is_the_beginning_of_a_longer() -> None:
    assert tickets.generate(1, 50) == MANY[:50]
    assert tickets.generate(2, 50) != MANY[:50]


def test_no_text_has_a_hole_in_it() -> None:
    for ticket in MANY:
        for text in (ticket.subject, ticket.body, *(followup.body for followup in ticket.followups)):
            assert text.strip()
            assert "{" not in text


def test_what_is_expected_is_never_sent() -> None:
    for ticket in MANY:
        sent = json.dumps(ticket.payload())
        assert set(ticket.payload()) == {"external_id", "subject", "body", "customer", "region", "channel"}
        assert "expected" not in sent
        assert ticket.expected.tool not in sent or ticket.expected.kind == "hostile"


def test_what_is_expected_can_be_done_in_the_shop_and_only_once_an_order() -> None:
    orders = {order.id: order for order in stock.orders()}
    changed = Counter()  # type: ignore[var-annotated]
    for ticket in MANY:
        arguments = ticket.expected.arguments
        if "order_id" not in arguments:
            continue
        order = orders[arguments["order_id"]]
        changed[order.id] += 1
        assert order.customer.id == ticket.customer["id"]
        if ticket.expected.tool == "issue_refund":
            assert 0 < arguments["amount_minor"] <= order.total - order.refunded
            assert arguments["currency"] == order.currency
            assert order.captured
        elif ticket.expected.tool in ("cancel_order", "change_address"):
            assert order.status == "processing"
        else:
            assert arguments["sku"] in [line.product.sku for line in order.lines]
    assert max(changed.values()) == 1


def test_the_order_a_ticket_is_about_can_be_read_out_of_it() -> None:
    for ticket in MANY:
        if "order_id" in ticket.expected.arguments:
            messages = (ticket.body, *(followup.body for followup in ticket.followups))
            letter = reading.Letter(ticket.customer["id"], "", ticket.customer["email"], ticket.subject, messages)
            assert letter.orders[0] == ticket.expected.arguments["order_id"]
