"""What an operator sees before each write: one sentence, before and after, and facts, all read from the shop just then.

Nothing here comes from the model but the arguments themselves; a target that does not exist raises ToolRefused.
"""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

from copilot.demo import farend, stock
from copilot.demo.money import show
from copilot.toolkit import Arguments, Call, Preview

Dossier = dict[str, Any]

# what these previews tell the policies beyond the arguments
REFUND_KNOWN = {
    "type": "object",
    "properties": {
        "refundable_minor": {"type": "integer", "description": "What is left to refund on the order"},
        "paid_in": {"type": "string", "description": "The currency the order was paid in"},
    },
}
GIFT_CARD_KNOWN = {
    "type": "object",
    "properties": {"to_own_address": {"type": "boolean", "description": "Whether it goes to the customer's own address"}},
}


def refund(a: Arguments, call: Call) -> Preview:
    """How much of what, to which card, and what this customer was given before."""
    dossier = _order_dossier(a, call)
    payment, currency = dossier["payment"], a["currency"]
    earlier = dossier["history"]["refunds_this_month"]
    sofar = sum(entry["amount_minor"] for entry in earlier if entry["currency"] == currency)
    left = payment["captured_minor"] - payment["refunded_minor"]
    total = show(dossier["order"]["total_minor"], payment["currency"])
    consequence = (
        f"Refund {show(a['amount_minor'], currency)} of {total} on order {a['order_id']} "
        f"to {payment['method']}; {_ordinal(len(earlier) + 1)} refund to this customer this month, "
        f"{show(sofar + a['amount_minor'], currency)} in total"
    )
    facts = _order_facts(dossier) | {
        "Paid": show(payment["captured_minor"], payment["currency"]),
        "Left to refund": show(left, payment["currency"]),
        "Refunds this month": len(earlier),
    }
    if payment["currency"] != currency:
        facts["Watch out"] = f"The order was paid in {payment['currency']}, not {currency}"
    before = {"Refunded": show(payment["refunded_minor"], payment["currency"]), "Kept by the shop": show(left, payment["currency"])}
    after = {
        "Refunded": show(payment["refunded_minor"] + a["amount_minor"], currency),
        "Kept by the shop": show(left - a["amount_minor"], payment["currency"]),
    }
    known = {"refundable_minor": left, "paid_in": payment["currency"]}
    return Preview(consequence, before, after, facts, dossier["customer"]["id"], known)


def cancellation(a: Arguments, call: Call) -> Preview:
    """Which order is stopped and what will not be charged."""
    dossier = _order_dossier(a, call)
    order, total = dossier["order"], show(dossier["order"]["total_minor"], dossier["order"]["currency"])
    consequence = f"Cancel order {order['id']} ({total}, {order['status']}); {dossier['payment']['method']} will not be charged"
    before = {"Status": order["status"], "To be charged": total if dossier["payment"]["state"] == "authorised" else "nothing"}
    after = {"Status": "cancelled", "To be charged": "nothing"}
    return Preview(consequence, before, after, _order_facts(dossier), dossier["customer"]["id"])


def replacement(a: Arguments, call: Call) -> Preview:
    """What is sent again, what it is worth, and how often that was done before."""
    dossier = _order_dossier(a, call)
    order = dossier["order"]
    item = next((item for item in order["items"] if item["sku"] == a["sku"]), None)
    sent = sum(row["quantity"] for row in order["sent_again"] if row["sku"] == a["sku"])
    name = item["name"] if item else f"{a['sku']} (not on this order)"
    worth = show(item["unit_minor"] * a["quantity"], order["currency"]) if item else "unknown"
    consequence = f"Send {a['quantity']} × {name} again on order {order['id']}, free of charge (worth {worth})"
    facts = _order_facts(dossier) | {"Ordered": item["quantity"] if item else 0, "Worth": worth}
    return Preview(consequence, {"Sent again": sent}, {"Sent again": sent + a["quantity"]}, facts, dossier["customer"]["id"])


def address_change(a: Arguments, call: Call) -> Preview:
    """Where the parcel was going and where it will go."""
    dossier = _order_dossier(a, call)
    order, old = dossier["order"], dossier["order"]["address"]
    fields = {"line1": "Street", "city": "City", "postal_code": "Postal code", "country": "Country"}
    country = stock.COUNTRIES.get(a["country"], a["country"])
    consequence = f"Send order {order['id']} to {a['line1']}, {a['city']}, {a['postal_code']}, {country}"
    if old["country"] != a["country"]:
        consequence += f" instead of {stock.COUNTRIES.get(old['country'], old['country'])}"
    before = {label: old[key] for key, label in fields.items()}
    after = {label: a[key] for key, label in fields.items()}
    return Preview(consequence, before, after, _order_facts(dossier), dossier["customer"]["id"])


def gift_card(a: Arguments, call: Call) -> Preview:
    """How much, to which address, and whether that address is the customer's own."""
    dossier = _customer_dossier(a, call)
    customer, earlier = dossier["customer"], dossier["history"]["gift_cards_this_month"]
    own = a["recipient_email"].strip().lower() == customer["email"].lower()
    sofar = sum(entry["amount_minor"] for entry in earlier if entry["currency"] == a["currency"])
    consequence = (
        f"Send a gift card of {show(a['amount_minor'], a['currency'])} to {a['recipient_email']}"
        f"{'' if own else ', which is not this customer’s address'}; {_ordinal(len(earlier) + 1)} this month"
    )
    facts = _customer_facts(dossier) | {"Recipient is the customer": "yes" if own else "no", "Gift cards this month": len(earlier)}
    before, after = show(sofar, a["currency"]), show(sofar + a["amount_minor"], a["currency"])
    known = {"to_own_address": own}
    return Preview(consequence, {"Given this month": before}, {"Given this month": after}, facts, customer["id"], known)


def reply(a: Arguments, call: Call) -> Preview:
    """To whom the message goes."""
    dossier = _customer_dossier(a, call)
    customer = dossier["customer"]
    words = len(a["message"].split())
    consequence = f"Write to {customer['name']} ({words} word{'' if words == 1 else 's'})"
    return Preview(consequence, facts=_customer_facts(dossier), customer_id=customer["id"])


def _order_dossier(a: Arguments, call: Call) -> Dossier:
    dossier: Dossier = farend.get(farend.path("orders", a["order_id"], "dossier"), call)
    return dossier


def _customer_dossier(a: Arguments, call: Call) -> Dossier:
    dossier: Dossier = farend.get(farend.path("customers", a["customer_id"], "dossier"), call)
    return dossier


def _customer_facts(dossier: Dossier) -> dict[str, Any]:
    customer = dossier["customer"]
    return {"Customer": f"{customer['name']} ({customer['id']}), since {customer['since'][:4]}", "Orders": dossier["history"]["orders"]}


def _order_facts(dossier: Dossier) -> dict[str, Any]:
    order, shipment = dossier["order"], dossier["shipment"]
    items = ", ".join(f"{item['quantity']} × {item['name']} at {show(item['unit_minor'], order['currency'])}" for item in order["items"])
    facts = _customer_facts(dossier) | {"Items": items, "Status": order["status"], "Ordered on": order["placed_on"]}
    if order["delivered_on"]:
        days = (datetime.now(UTC).date() - date.fromisoformat(order["delivered_on"])).days
        facts["Delivered on"] = f"{order['delivered_on']}, {days} days ago"
        facts["Return window"] = "open" if days <= stock.RETURN_DAYS else f"closed (over {stock.RETURN_DAYS} days)"
    elif shipment:
        facts["Parcel"] = f"{shipment['status']}, expected {shipment['expected_on']}"
    return facts


def _ordinal(number: int) -> str:
    suffix = "th" if 10 <= number % 100 <= 20 else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{suffix}"
