"""The sample shop's twelve tools, as a tool author would write them: six reads, six writes, over HTTP.

Each write says honestly what it can promise about repeats; `COPILOT_SHOP_URL` says where the shop is.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from copilot.demo import farend, previews
from copilot.demo.money import Currency
from copilot.toolkit import Arguments, Call, Money, Outcome, Toolbox, ToolRefused

shop = Toolbox("shop")

WEEK = 7 * 86_400

OrderId = Annotated[str, Field(pattern=r"^[0-9]{4,6}$", description="Order number, digits only")]
CustomerId = Annotated[str, Field(pattern=r"^cus_[0-9]{4,6}$", description="Customer id, such as cus_2001")]
Sku = Annotated[str, Field(pattern=r"^[A-Z]{3}-[0-9]{2}$", description="Item code from the order")]
Email = Annotated[str, Field(min_length=3, max_length=254, pattern=r"^[^@\s]+@[^@\s]+$")]
Minor = Annotated[int, Field(ge=1, le=1_000_000, description="Amount in cents or pence")]
GiftMinor = Annotated[int, Field(ge=100, le=50_000, description="Amount in cents or pence")]
Country = Literal["DE", "FR", "NL", "ES", "IE", "GB", "US"]


@shop.tool(effect="read", risk="low", timeout=5)
def find_customer(
    query: Annotated[str, Field(min_length=3, max_length=254, description="E-mail address or customer id")], *, call: Call
) -> Any:
    """Look a customer up by e-mail address or customer id: name, region, gift cards, number of orders."""
    return farend.get("/customers", call, query=query)


@shop.tool(effect="read", risk="low", timeout=5, target=lambda a: f"order:{a['order_id']}")
def get_order(order_id: OrderId, *, call: Call) -> Any:
    """Read one order: its customer, items, amounts in minor units, status, dates and delivery address."""
    return farend.get(farend.path("orders", order_id), call)


@shop.tool(effect="read", risk="low", timeout=5, target=lambda a: f"customer:{a['customer_id']}")
def list_orders(customer_id: CustomerId, limit: Annotated[int, Field(ge=1, le=20)], *, call: Call) -> Any:
    """List a customer's orders, newest first, with their items."""
    return farend.get(farend.path("customers", customer_id, "orders"), call, limit=str(limit))


@shop.tool(effect="read", risk="low", timeout=5, target=lambda a: f"order:{a['order_id']}")
def get_shipment(order_id: OrderId, *, call: Call) -> Any:
    """Read an order's parcel: carrier, tracking number, status and expected date."""
    return farend.get(farend.path("orders", order_id, "shipment"), call)


@shop.tool(effect="read", risk="low", timeout=5, target=lambda a: f"order:{a['order_id']}")
def get_payment(order_id: OrderId, *, call: Call) -> Any:
    """Read how an order was paid, what was refunded already and what is left to refund."""
    return farend.get(farend.path("orders", order_id, "payment"), call)


@shop.tool(effect="read", risk="low", timeout=5)
def search_help(question: Annotated[str, Field(min_length=3, max_length=200)], *, call: Call) -> Any:
    """Search the shop's help articles: returns, refunds, shipping, payment, gift cards, invoices, care, warranty."""
    return farend.get("/help", call, q=question)


def order_revision(arguments: Arguments, call: Call) -> str | None:
    """The order's revision, which every change to it raises; None when there is no such order."""
    try:
        return str(farend.get(farend.path("orders", arguments["order_id"]), call)["revision"])
    except ToolRefused:
        return None


def find_replacement(key: str, call: Call) -> Outcome | None:
    """What was done under a key, if the shop knows of it. None is no proof of nothing: a call may still be on its way."""
    try:
        found = farend.get(farend.path("effects", key), call)
    except ToolRefused:
        return None
    return _outcome(found["result"])


def _outcome(answer: dict[str, Any]) -> Outcome:
    revision = answer.get("revision")
    return Outcome(result=answer, provider_id=answer["id"], revision=None if revision is None else str(revision))


def _money(a: Arguments) -> Money:
    return Money(a["amount_minor"], a["currency"])


def _order(a: Arguments) -> str:
    return f"order:{a['order_id']}"


def _customer(a: Arguments) -> str:
    return f"customer:{a['customer_id']}"


@shop.tool(effect="write", risk="high", reversible=False, idempotency={"key"}, key_lifetime=WEEK, timeout=10, amount=_money, target=_order,
           business_key=lambda a: ("refund", a["order_id"]), revision=order_revision, preview=previews.refund,
           known=previews.REFUND_KNOWN)  # fmt: skip
def issue_refund(
    order_id: OrderId,
    amount_minor: Minor,
    currency: Currency,
    reason: Literal["damaged", "not_received", "wrong_item", "late", "goodwill"],
    *,
    call: Call,
) -> Outcome:
    """Refund part or all of an order to its original payment method. Cannot be taken back."""
    body = {"order_id": order_id, "amount_minor": amount_minor, "currency": currency, "reason": reason}
    return _outcome(farend.post("/effects/issue_refund", call, body))


@shop.tool(effect="write", risk="medium", reversible=False, idempotency={"key"}, key_lifetime=WEEK, timeout=10, target=_order,
           business_key=lambda a: ("cancel", a["order_id"]), revision=order_revision, preview=previews.cancellation)  # fmt: skip
def cancel_order(order_id: OrderId, reason: Literal["changed_mind", "ordered_twice", "too_slow", "wrong_item"], *, call: Call) -> Outcome:
    """Cancel an order that has not been shipped; the card is then never charged."""
    return _outcome(farend.post("/effects/cancel_order", call, {"order_id": order_id, "reason": reason}))


@shop.tool(effect="write", risk="medium", reversible=False, idempotency={"lookup"}, lookup=find_replacement, timeout=10, target=_order,
           business_key=lambda a: ("replace", a["order_id"], a["sku"]), revision=order_revision, preview=previews.replacement)  # fmt: skip
def replace_item(
    order_id: OrderId,
    sku: Sku,
    quantity: Annotated[int, Field(ge=1, le=10)],
    reason: Literal["damaged", "not_received", "wrong_item"],
    *,
    call: Call,
) -> Outcome:
    """Send an item of a delivered or lost order again, free of charge."""
    body = {"order_id": order_id, "sku": sku, "quantity": quantity, "reason": reason}
    return _outcome(farend.post("/effects/replace_item", call, body))


@shop.tool(effect="write", risk="medium", reversible=True, idempotency={"key"}, key_lifetime=WEEK, timeout=10, target=_order,
           revision=order_revision, preview=previews.address_change)  # fmt: skip
def change_address(
    order_id: OrderId,
    line1: Annotated[str, Field(min_length=3, max_length=120, description="House number and street")],
    city: Annotated[str, Field(min_length=2, max_length=80)],
    postal_code: Annotated[str, Field(min_length=3, max_length=16)],
    country: Country,
    *,
    call: Call,
) -> Outcome:
    """Change where an order goes, before it is shipped."""
    body = {"order_id": order_id, "line1": line1, "city": city, "postal_code": postal_code, "country": country}
    return _outcome(farend.post("/effects/change_address", call, body))


@shop.tool(effect="write", risk="high", reversible=False, timeout=10, amount=_money, target=_customer,
           payee=lambda a: f"email:{a['recipient_email'].lower()}", business_key=lambda a: ("gift_card", a["customer_id"]),
           preview=previews.gift_card, known=previews.GIFT_CARD_KNOWN)  # fmt: skip
def send_gift_card(
    customer_id: CustomerId,
    recipient_email: Email,
    amount_minor: GiftMinor,
    currency: Currency,
    note: Annotated[str, Field(min_length=1, max_length=300, description="Printed on the card")],
    *,
    call: Call,
) -> Outcome:
    """Send a gift card by e-mail, as an apology or a promise kept. The shop cannot tell a repeat from a second card."""
    money = {"amount_minor": amount_minor, "currency": currency}
    body = {"customer_id": customer_id, "recipient_email": recipient_email, "note": note, **money}
    return _outcome(farend.post("/effects/send_gift_card", call, body))


@shop.tool(
    effect="write",
    risk="low",
    reversible=False,
    idempotency={"key"},
    key_lifetime=WEEK,
    timeout=10,
    target=_customer,
    preview=previews.reply,
)
def reply_to_customer(customer_id: CustomerId, message: Annotated[str, Field(min_length=1, max_length=2000)], *, call: Call) -> Outcome:
    """Send the customer a message: answer, ask for what is missing, or say no."""
    return _outcome(farend.post("/effects/reply_to_customer", call, {"customer_id": customer_id, "message": message}))
