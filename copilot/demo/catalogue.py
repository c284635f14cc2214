"""What the shop can be asked: customers, orders, shipments, payments, help, and dossiers for previews."""

from __future__ import annotations

import re

from copilot.demo import stock
from copilot.demo.store import Row, Store, now

HELP: tuple[tuple[str, str, str], ...] = (
    ("returns", "return send back window days opened unused exchange policy",
     f"You may return unused goods within {stock.RETURN_DAYS} days of delivery. Refunds go back to the original payment method."),
    ("refunds", "refund money back how long take bank card days account",
     "A refund reaches Visa, Mastercard and Amex within 3 to 5 working days, and PayPal within one day."),
    ("shipping times", "shipping delivery long take time days express standard dispatch deliver",
     "Orders leave our warehouse within 2 working days and arrive 3 to 6 working days later."),
    ("shipping countries", "ship abroad country countries international norway switzerland canada customs",
     "We deliver within the EU, the United Kingdom and the United States. We do not ship to other countries yet."),
    ("payment methods", "pay payment methods card paypal invoice instalments klarna apple accept",
     "We take Visa, Mastercard, Amex and PayPal. Your card is charged when the parcel leaves, not before."),
    ("gift cards", "gift card expire expiry voucher balance combine use valid",
     "Gift cards are valid for three years, can be used in parts, and can be combined with any other payment."),
    ("invoices", "invoice vat receipt company tax document download bill",
     "You will find the invoice with VAT in your account under Orders, as soon as the parcel has left."),
    ("care", "wash clean dishwasher oven safe care seasoning machine induction",
     "Stoneware and glass may go in the dishwasher; cast iron, carbon steel, knives and oak are washed by hand."),
    ("warranty", "warranty guarantee years repair spare parts broken after",
     "Everything electrical has a two-year warranty, everything else one year. Write to us with the order number."),
)  # fmt: skip


def find_customer(store: Store, query: str) -> Row | None:
    """A customer by id or e-mail address, with what they hold; None when there is none."""
    with store.reading():
        row = store.one("SELECT * FROM customers WHERE id = ? OR email = ?", query.strip(), query.strip().lower())
        if row is None:
            return None
        query = "SELECT id, amount_minor, currency, at FROM gift_cards WHERE customer_id = ? ORDER BY at DESC LIMIT 5"
        cards = store.rows(query, row["id"])
        count = store.one("SELECT COUNT(*) AS n FROM orders WHERE customer_id = ?", row["id"]) or {}
    shown = {key: row[key] for key in ("id", "name", "email", "phone", "region", "since")}
    return {**shown, "address": _address(row), "orders": count["n"], "gift_cards": cards}


def list_orders(store: Store, customer_id: str, *, limit: int) -> list[Row] | None:
    """The customer's orders, newest first; None when there is no such customer."""
    with store.reading():
        if store.one("SELECT 1 FROM customers WHERE id = ?", customer_id) is None:
            return None
        found = store.rows("SELECT * FROM orders WHERE customer_id = ? ORDER BY placed_on DESC, id LIMIT ?", customer_id, limit)
        shown = ("id", "status", "placed_on", "total_minor", "currency")
        return [{key: row[key] for key in shown} | {"items": _items(store, row["id"])} for row in found]


def get_order(store: Store, order_id: str) -> Row | None:
    """One order whole, or None."""
    with store.reading():
        return _order(store, order_id)


def get_shipment(store: Store, order_id: str) -> Row | None:
    """The parcel of an order; {"status": "not shipped"} before it left; None when there is no such order."""
    with store.reading():
        order = store.one("SELECT status FROM orders WHERE id = ?", order_id)
        if order is None:
            return None
        return store.one("SELECT * FROM shipments WHERE order_id = ?", order_id) or {"order_id": order_id, "status": "not shipped"}


def get_payment(store: Store, order_id: str) -> Row | None:
    """How an order was paid and what was given back, with each refund; None when there is no such order."""
    with store.reading():
        row = store.one("SELECT * FROM payments WHERE order_id = ?", order_id)
        if row is None:
            return None
        refunds = store.rows("SELECT id, amount_minor, currency, reason, at FROM refunds WHERE order_id = ? ORDER BY at", order_id)
    return {**row, "left_minor": row["captured_minor"] - row["refunded_minor"], "refunds": refunds}


def search_help(question: str) -> list[Row]:
    """At most two articles that share words with the question, best first."""
    words = set(re.findall(r"[a-z]{3,}", question.lower()))
    scored = sorted(((len(words & set(keys.split())), title, text) for title, keys, text in HELP), key=lambda hit: -hit[0])
    return [{"title": title, "text": text} for score, title, text in scored[:2] if score]


def customer_dossier(store: Store, customer_id: str) -> Row | None:
    """A customer and what they were given this month, for a preview; None when there is none."""
    with store.reading():
        row = store.one("SELECT * FROM customers WHERE id = ?", customer_id)
        return None if row is None else {"customer": row, "history": _history(store, customer_id)}


def order_dossier(store: Store, order_id: str) -> Row | None:
    """Everything a preview of an action on this order needs, read at one moment; None when there is no such order."""
    with store.reading():
        order = _order(store, order_id)
        if order is None:
            return None
        return {
            "order": order,
            "customer": store.one("SELECT * FROM customers WHERE id = ?", order["customer_id"]),
            "payment": store.one("SELECT * FROM payments WHERE order_id = ?", order_id),
            "shipment": store.one("SELECT * FROM shipments WHERE order_id = ?", order_id),
            "history": _history(store, order["customer_id"]),
        }


def _address(row: Row) -> Row:
    return {key: row[key] for key in ("line1", "city", "postal_code", "country")}


def _items(store: Store, order_id: str) -> list[Row]:
    return store.rows("SELECT sku, name, quantity, unit_minor FROM items WHERE order_id = ? ORDER BY sku", order_id)


def _order(store: Store, order_id: str) -> Row | None:
    row = store.one("SELECT * FROM orders WHERE id = ?", order_id)
    if row is None:
        return None
    shown = ("id", "customer_id", "status", "currency", "shipping_minor", "total_minor", "placed_on", "delivered_on", "revision")
    sent = store.rows("SELECT sku, SUM(quantity) AS quantity FROM replacements WHERE order_id = ? GROUP BY sku", order_id)
    return {key: row[key] for key in shown} | {"address": _address(row), "items": _items(store, order_id), "sent_again": sent}


def _history(store: Store, customer_id: str) -> Row:
    """What this customer was given since the first of the month (UTC), each as amount and currency."""
    month = now()[:7]
    refunds = store.rows("SELECT amount_minor, currency FROM refunds WHERE customer_id = ? AND at >= ?", customer_id, month)
    cards = store.rows("SELECT amount_minor, currency FROM gift_cards WHERE customer_id = ? AND at >= ?", customer_id, month)
    orders = store.one("SELECT COUNT(*) AS n FROM orders WHERE customer_id = ?", customer_id) or {}
    return {"orders": orders["n"], "refunds_this_month": refunds, "gift_cards_this_month": cards}
