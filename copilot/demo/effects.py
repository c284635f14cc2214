"""What the shop does for the six write tools: its own rules, one ledger row an effect, and idempotency keys kept.

Three promises, on purpose different. Most tools honour the key: the same key gets the same stored answer, refusals
included, because a late first attempt must not succeed after a repeat was refused. `replace_item` ignores the key but
can be asked afterwards. `send_gift_card` ignores it and cannot be asked: it is opaque.

Where the shop has Copilot's public keys, nothing of this happens without the one-use token of an approved call.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from copilot import proof
from copilot.demo.money import show
from copilot.demo.store import Row, Store, now
from copilot.toolkit import ToolRefused

KEYED = frozenset({"issue_refund", "cancel_order", "change_address", "reply_to_customer"})
LARGEST_GIFT_CARD = 50_000
_OF_CUSTOMER = frozenset({"send_gift_card", "reply_to_customer"})  # the others are about an order
REASONS = ("damaged", "not_received", "wrong_item", "late", "goodwill")


class Refusal(Exception):
    """The shop says no and has changed nothing; the message is a sentence for people."""


@dataclass(frozen=True, slots=True)
class Effect:
    """What was done, for the ledger. `result` is the tool's JSON answer and holds its id under `id`."""

    result: Row
    business_key: str | None
    target: str
    amount_minor: int | None = None
    currency: str | None = None


@dataclass(frozen=True, slots=True)
class Approval:
    """What a call shows for itself: the public keys it is judged by, and the one-use token that came with it."""

    keys: Mapping[str, Any]
    token: str | None


def perform(
    store: Store, tool: str, arguments: Row, *, key: str | None, ticket: str | None, approval: Approval | None = None
) -> tuple[int, Row]:
    """Do one effect, at most once per key for the tools that honour it; return HTTP status and body.

    With an `approval` only what it covers is done; its token is used up in the same transaction as the effect.
    """
    if key is None and tool in KEYED:
        return 400, {"detail": "Send an Idempotency-Key."}
    request = hashlib.sha256(json.dumps([tool, arguments], sort_keys=True).encode()).hexdigest()
    with store.transaction():
        if approval is not None:
            try:
                _check(store, tool, arguments, key, approval)
            except ToolRefused as refused:
                return 403, {"detail": str(refused)}
        if tool in KEYED and (stored := store.one("SELECT * FROM answers WHERE key = ?", key)):
            if stored["request"] != request:
                return 409, {"detail": "This idempotency key was used for another request."}
            return stored["status"], json.loads(stored["body"])
        try:
            effect = _RULES[tool](store, arguments, ticket)
        except Refusal as refusal:
            status, body = 422, {"detail": str(refusal)}
        else:
            status, body = 200, effect.result
            _record(store, tool, key, effect)
        if tool in KEYED:
            store.put("answers", key=key, request=request, status=status, body=json.dumps(body))
    return status, body


def _check(store: Store, tool: str, arguments: Row, key: str | None, approval: Approval) -> None:
    """Raise ToolRefused unless the token was signed for this call and speaks for the customer whom it touches."""

    def used(token_id: str, expires_at: datetime) -> bool:
        store.change("DELETE FROM tokens WHERE until < ?", int(datetime.now(UTC).timestamp()))
        if store.one("SELECT 1 FROM tokens WHERE id = ?", token_id):
            return True
        store.put("tokens", id=token_id, until=int(expires_at.timestamp()))
        return False

    target, owner = _touched(store, tool, arguments)
    claims = proof.check(approval.token, keys=approval.keys, tool=tool, target=target, arguments=arguments, used=used)
    if claims.customer != owner:
        raise ToolRefused("The proof of approval speaks for another customer.")
    if claims.key != key:
        raise ToolRefused("The proof of approval is for a call under another key.")


def _touched(store: Store, tool: str, arguments: Row) -> tuple[str, Any]:
    """What a call would change, as the tool names its target, and the customer whose that is; None when it is nobody's."""
    if tool in _OF_CUSTOMER:
        return f"customer:{arguments.get('customer_id')}", arguments.get("customer_id")
    order_id = arguments.get("order_id")
    row = store.one("SELECT customer_id FROM orders WHERE id = ?", order_id) if isinstance(order_id, str) else None
    return f"order:{order_id}", row["customer_id"] if row else None


def _record(store: Store, tool: str, key: str | None, effect: Effect) -> None:
    store.put(
        "ledger",
        effect_id=f"eff_{secrets.token_hex(12)}",
        key=key,
        tool=tool,
        business_key=effect.business_key,
        target=effect.target,
        amount_minor=effect.amount_minor,
        currency=effect.currency,
        at=now(),
        result=json.dumps(effect.result),
    )


def find(store: Store, key: str) -> Row | None:
    """The result of the first effect recorded under a key, or None. Not found is no proof: it may still be on its way."""
    with store.reading():
        row = store.one("SELECT * FROM ledger WHERE key = ? AND tool NOT IN ('send_gift_card') ORDER BY number", key)
    return None if row is None else {"tool": row["tool"], "at": row["at"], "result": json.loads(row["result"])}


def ledger(store: Store) -> list[Row]:
    """Every effect that ever happened, oldest first."""
    with store.reading():
        return store.rows("SELECT effect_id, key, tool, business_key, target, amount_minor, currency, at FROM ledger ORDER BY number")


def _order(store: Store, order_id: Any) -> Row:
    row = store.one("SELECT * FROM orders WHERE id = ?", order_id) if isinstance(order_id, str) else None
    if row is None:
        raise Refusal("There is no such order.")
    return row


def _customer(store: Store, customer_id: Any) -> Row:
    row = store.one("SELECT * FROM customers WHERE id = ?", customer_id) if isinstance(customer_id, str) else None
    if row is None:
        raise Refusal("There is no such customer.")
    return row


def _text(value: Any, *, name: str, longest: int) -> str:
    if not isinstance(value, str) or not value.strip() or len(value) > longest:
        raise Refusal(f"The {name} is a text of 1 to {longest} characters.")
    return value.strip()


def _count(value: Any, *, name: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise Refusal(f"The {name} is a whole number above zero.")
    return value


def _bump(store: Store, order: Row) -> int:
    store.change("UPDATE orders SET revision = revision + 1 WHERE id = ?", order["id"])
    return int(order["revision"]) + 1


def _refund(store: Store, a: Row, _ticket: str | None) -> Effect:
    order = _order(store, a.get("order_id"))
    payment = store.one("SELECT * FROM payments WHERE order_id = ?", order["id"]) or {}
    amount, left = _count(a.get("amount_minor"), name="amount"), payment["captured_minor"] - payment["refunded_minor"]
    if payment["state"] != "captured":
        raise Refusal(f"Nothing was charged for order {order['id']} ({order['status']}), so there is nothing to refund.")
    if a.get("currency") != order["currency"]:
        raise Refusal(f"Order {order['id']} was paid in {order['currency']}.")
    if amount > left:
        raise Refusal(f"Only {show(left, order['currency'])} of order {order['id']} is left to refund.")
    if a.get("reason") not in REASONS:
        raise Refusal("That is not a reason for a refund.")
    refund_id = f"re_{secrets.token_hex(8)}"
    about = {"order_id": order["id"], "customer_id": order["customer_id"], "currency": order["currency"]}
    store.put("refunds", id=refund_id, amount_minor=amount, reason=a["reason"], at=now(), **about)
    store.change("UPDATE payments SET refunded_minor = refunded_minor + ? WHERE order_id = ?", amount, order["id"])
    money = {"amount_minor": amount, "currency": order["currency"], "left_minor": left - amount}
    result = {"id": refund_id, "order_id": order["id"], "to": payment["method"], **money, "revision": _bump(store, order)}
    return Effect(result, f"refund:{order['id']}", f"order:{order['id']}", amount, order["currency"])


def _cancel(store: Store, a: Row, _ticket: str | None) -> Effect:
    order = _order(store, a.get("order_id"))
    if order["status"] != "processing":
        raise Refusal(f"Order {order['id']} is {order['status']} and can no longer be cancelled.")
    store.change("UPDATE orders SET status = 'cancelled' WHERE id = ?", order["id"])
    store.change("UPDATE payments SET state = 'voided' WHERE order_id = ?", order["id"])
    result = {"id": f"ca_{secrets.token_hex(8)}", "order_id": order["id"], "status": "cancelled", "revision": _bump(store, order)}
    return Effect(result, f"cancel:{order['id']}", f"order:{order['id']}")


def _replace(store: Store, a: Row, _ticket: str | None) -> Effect:
    order = _order(store, a.get("order_id"))
    quantity = _count(a.get("quantity"), name="quantity")
    item = store.one("SELECT * FROM items WHERE order_id = ? AND sku = ?", order["id"], a.get("sku"))
    if item is None:
        raise Refusal(f"Order {order['id']} has no such item.")
    if order["status"] not in ("delivered", "lost"):
        raise Refusal(f"Order {order['id']} is {order['status']}; only what was delivered or lost can be replaced.")
    sent = store.one("SELECT SUM(quantity) AS n FROM replacements WHERE order_id = ? AND sku = ?", order["id"], item["sku"]) or {}
    left = item["quantity"] - (sent["n"] or 0)
    if quantity > left:
        raise Refusal(f"Only {left} of that item on order {order['id']} can still be replaced.")
    replacement_id, reason = f"rp_{secrets.token_hex(8)}", _text(a.get("reason"), name="reason", longest=40)
    store.put("replacements", id=replacement_id, order_id=order["id"], sku=item["sku"], quantity=quantity, reason=reason, at=now())
    result = {"id": replacement_id, "order_id": order["id"], "sku": item["sku"], "quantity": quantity, "revision": _bump(store, order)}
    return Effect(result, f"replace:{order['id']}:{item['sku']}", f"order:{order['id']}")


def _address(store: Store, a: Row, _ticket: str | None) -> Effect:
    order = _order(store, a.get("order_id"))
    if order["status"] != "processing":
        raise Refusal(f"Order {order['id']} is {order['status']}; its address can no longer be changed.")
    line1, city = _text(a.get("line1"), name="street", longest=120), _text(a.get("city"), name="city", longest=80)
    postal_code, country = _text(a.get("postal_code"), name="postal code", longest=16), _text(a.get("country"), name="country", longest=2)
    to = (line1, city, postal_code, country)
    store.change("UPDATE orders SET line1 = ?, city = ?, postal_code = ?, country = ? WHERE id = ?", *to, order["id"])
    result = {"id": f"ad_{secrets.token_hex(8)}", "order_id": order["id"], "revision": _bump(store, order)}
    return Effect(result, None, f"order:{order['id']}")


def _gift_card(store: Store, a: Row, _ticket: str | None) -> Effect:
    customer = _customer(store, a.get("customer_id"))
    amount, recipient = _count(a.get("amount_minor"), name="amount"), _text(a.get("recipient_email"), name="e-mail address", longest=254)
    if amount > LARGEST_GIFT_CARD:
        raise Refusal(f"A gift card holds at most {show(LARGEST_GIFT_CARD, str(a.get('currency')))}.")
    if a.get("currency") not in ("USD", "EUR", "GBP"):
        raise Refusal("Gift cards are in USD, EUR or GBP.")
    if recipient.count("@") != 1:
        raise Refusal("The recipient's e-mail address is not valid.")
    card_id = f"gc_{secrets.token_hex(8)}"
    money, note = {"amount_minor": amount, "currency": a["currency"]}, _text(a.get("note"), name="note", longest=300)
    store.put("gift_cards", id=card_id, customer_id=customer["id"], recipient_email=recipient, note=note, at=now(), **money)
    result = {"id": card_id, "customer_id": customer["id"], **money}
    return Effect(result, f"gift_card:{customer['id']}", f"customer:{customer['id']}", amount, a["currency"])


def _reply(store: Store, a: Row, ticket: str | None) -> Effect:
    customer = _customer(store, a.get("customer_id"))
    reply_id, message = f"rl_{secrets.token_hex(8)}", _text(a.get("message"), name="message", longest=2000)
    store.put("replies", id=reply_id, customer_id=customer["id"], ticket=ticket, message=message, at=now())
    return Effect({"id": reply_id, "customer_id": customer["id"]}, None, f"customer:{customer['id']}")


_RULES: dict[str, Callable[[Store, Row, str | None], Effect]] = {
    "issue_refund": _refund,
    "cancel_order": _cancel,
    "replace_item": _replace,
    "change_address": _address,
    "send_gift_card": _gift_card,
    "reply_to_customer": _reply,
}
