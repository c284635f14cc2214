"""The retail shop of tau2, written from its tool descriptions, its written policy and its expected records.

One oddity is kept because the expected records have it: items changed together all get the price and options of the
last new item; `earlier` is the same shop as tau1's records have it, without that. Neither asks whose order it is:
only an ownership policy does.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from functools import partial
from typing import Any

from copilot.toolkit import Arguments, ToolRefused
from tests.outside import data
from tests.outside.world import Reading, Record, World, Writing, calculate, cents, toolbox

REASONS = ("no longer needed", "ordered by mistake")
_LINES = ("address1", "address2", "city", "state", "country", "zip")
_TEXT, _COUNT, _YES = {"type": "string"}, {"type": "integer"}, {"type": "boolean"}


def _user_by_email(world: World, a: Arguments) -> str:
    for key, user in world.all("users"):
        if user["email"].lower() == a["email"].lower():
            return key
    raise ToolRefused("User not found")


def _user_by_name(world: World, a: Arguments) -> str:
    wanted = (a["first_name"].lower(), a["last_name"].lower(), a["zip"])
    for key, user in world.all("users"):
        if (user["name"]["first_name"].lower(), user["name"]["last_name"].lower(), user["address"]["zip"]) == wanted:
            return key
    raise ToolRefused("User not found")


def _variant(world: World, item_id: str, *, product_id: str | None = None) -> Record | None:
    for key, product in world.all("products"):
        if item_id in product["variants"] and product_id in (None, key):
            return {**product["variants"][item_id], "product_id": key}
    return None


def _item(world: World, a: Arguments) -> Record:
    found = _variant(world, a["item_id"])
    if found is None:
        raise ToolRefused("Item not found")
    return found


READS: dict[str, Reading] = {
    "calculate": calculate,
    "find_user_id_by_email": _user_by_email,
    "find_user_id_by_name_zip": _user_by_name,
    "get_order_details": lambda world, a: world.get("orders", a["order_id"]),
    "get_product_details": lambda world, a: world.get("products", a["product_id"]),
    "get_item_details": _item,
    "get_user_details": lambda world, a: world.get("users", a["user_id"]),
    "list_all_product_types": lambda world, a: {product["name"]: key for key, product in world.all("products")},
}


def _payment(world: World, order: Record, method: str) -> Record | None:
    """A payment method in the profile of the order's own customer, or None."""
    found: Record | None = world.get("users", order["user_id"])["payment_methods"].get(method)
    return found


def _on_order(order: Record, item_ids: list[str]) -> bool:
    """Whether the order holds these items, each as often as it is named, and any are named."""
    return bool(item_ids) and Counter(item_ids) <= Counter(item["item_id"] for item in order["items"])


def _pairs(world: World, order: Record, a: Arguments) -> list[tuple[Record, Record | None]]:
    """Each old item with the new one of the same product, or with None."""
    held = {item["item_id"]: item for item in order["items"]}
    pairs = zip(a["item_ids"], a["new_item_ids"], strict=False)
    return [(held[old], _variant(world, new, product_id=held[old]["product_id"])) for old, new in pairs if old in held]


def _difference(world: World, order: Record, a: Arguments) -> int:
    """What the new items cost more than the old ones, in cents."""
    return sum(cents(new["price"]) - cents(old["price"]) for old, new in _pairs(world, order, a) if new is not None)


def _covers(method: Record | None, needed: int) -> bool:
    return method is None or method["source"] != "gift_card" or cents(method["balance"]) >= needed


def _credit(world: World, order: Record, method: str, minor: int) -> None:
    """Add to a gift card's balance at once; other methods are settled elsewhere."""
    paid = world.edit("users", order["user_id"])["payment_methods"].get(method)
    if paid is not None and paid["source"] == "gift_card":
        paid["balance"] = (cents(paid["balance"]) + minor) / 100


def _entry(kind: str, minor: int, method: str) -> Record:
    return {"transaction_type": kind, "amount": minor / 100, "payment_method_id": method}


def _require(*claims: tuple[str, bool]) -> None:
    """Refuse with the sentence of the first claim that does not hold."""
    for sentence, holds in claims:
        if not holds:
            raise ToolRefused(sentence)


def _cancel(world: World, a: Arguments) -> Record:
    order = world.get("orders", a["order_id"])
    _require(
        ("Only a pending order can be cancelled", order["status"] == "pending"),
        ("Invalid reason", a["reason"] in REASONS),
    )
    order = world.edit("orders", a["order_id"])
    for paid in list(order["payment_history"]):
        order["payment_history"].append(_entry("refund", cents(paid["amount"]), paid["payment_method_id"]))
        _credit(world, order, paid["payment_method_id"], cents(paid["amount"]))
    order |= {"status": "cancelled", "cancel_reason": a["reason"]}
    return order


def _may_swap(world: World, order: Record, a: Arguments, *, status: str) -> Record:
    """The payment method of a change of items that can be done; ToolRefused otherwise."""
    method = _payment(world, order, a["payment_method_id"])
    pairs = _pairs(world, order, a)
    _require(
        ("The order is no longer in a state for this", order["status"] == status),
        ("Item not found", _on_order(order, a["item_ids"])),
        ("The number of items should match", len(a["item_ids"]) == len(a["new_item_ids"])),
        ("New item not found or not available", all(new is not None and new["available"] for _, new in pairs)),
        ("Payment method not found", method is not None),
        ("Insufficient gift card balance to pay for the price difference", _covers(method, _difference(world, order, a))),
    )
    assert method is not None
    return method


def _modify_items(world: World, a: Arguments, *, alike: bool = True) -> Record:
    order = world.get("orders", a["order_id"])
    method = _may_swap(world, order, a, status="pending")
    difference, new = _difference(world, order, a), [found for _, found in _pairs(world, order, a) if found is not None]
    order = world.edit("orders", a["order_id"])
    order["payment_history"].append(_entry("payment" if difference > 0 else "refund", abs(difference), method["id"]))
    _credit(world, order, method["id"], -difference)
    for old, wanted, found in zip(a["item_ids"], a["new_item_ids"], new, strict=True):
        shown = new[-1] if alike else found
        item = next(item for item in order["items"] if item["item_id"] == old)
        item |= {"item_id": wanted, "price": shown["price"], "options": shown["options"]}
    order["status"] = "pending (item modified)"
    return order


def _exchange(world: World, a: Arguments) -> Record:
    order = world.get("orders", a["order_id"])
    _may_swap(world, order, a, status="delivered")
    difference = _difference(world, order, a)
    order = world.edit("orders", a["order_id"])
    order |= {
        "status": "exchange requested",
        "exchange_items": sorted(a["item_ids"]),
        "exchange_new_items": sorted(a["new_item_ids"]),
        "exchange_payment_method_id": a["payment_method_id"],
        "exchange_price_difference": difference / 100,
    }
    return order


def _refund_to(world: World, order: Record, a: Arguments) -> str:
    """What the refund's method is to this order: `original`, `gift card` or `other`."""
    if any(paid["payment_method_id"] == a["payment_method_id"] for paid in order["payment_history"]):
        return "original"
    method = _payment(world, order, a["payment_method_id"])
    return "gift card" if method is not None and method["source"] == "gift_card" else "other"


def _return(world: World, a: Arguments) -> Record:
    order = world.get("orders", a["order_id"])
    _require(
        ("Only a delivered order can be returned", order["status"] == "delivered"),
        ("Payment method not found", _payment(world, order, a["payment_method_id"]) is not None),
        ("Payment method should be the original one or a gift card", _refund_to(world, order, a) != "other"),
        ("Item not found", _on_order(order, a["item_ids"])),
    )
    order = world.edit("orders", a["order_id"])
    order |= {
        "status": "return requested",
        "return_items": sorted(a["item_ids"]),
        "return_payment_method_id": a["payment_method_id"],
    }
    return order


def _modify_payment(world: World, a: Arguments) -> Record:
    order = world.get("orders", a["order_id"])
    method, known = _payment(world, order, a["payment_method_id"]), _payment_facts(world, a)
    _require(
        ("Only a pending order can be modified", order["status"] == "pending"),
        ("Payment method not found", method is not None),
        ("The order should have one payment only", len(order["payment_history"]) == 1),
        ("The new payment method should be another one", known["another_method"]),
        ("Insufficient gift card balance to pay for the order", known["gift_card_covers"]),
    )
    paid = order["payment_history"][0]
    total, old, new = cents(paid["amount"]), paid["payment_method_id"], a["payment_method_id"]
    order = world.edit("orders", a["order_id"])
    order["payment_history"] += [_entry("payment", total, new), _entry("refund", total, old)]
    _credit(world, order, new, -total)
    _credit(world, order, old, total)
    return order


def _move(table: str, key: str) -> Any:
    def move(world: World, a: Arguments) -> Record:
        record = world.get(table, a[key])
        _require(
            ("Only a pending order can be modified", record.get("status", "pending") == "pending"),
        )
        record = world.edit(table, a[key])
        record["address"] = {line: a[line] for line in _LINES}
        return record

    return move


def _status(world: World, a: Arguments) -> dict[str, Any]:
    return {"order_status": world.get("orders", a["order_id"])["status"]}


def _swap_facts(world: World, a: Arguments) -> dict[str, Any]:
    order = world.get("orders", a["order_id"])
    method = _payment(world, order, a["payment_method_id"])
    pairs = _pairs(world, order, a)
    return {
        "order_status": order["status"],
        "old_items": len(a["item_ids"]),
        "new_items": len(a["new_item_ids"]),
        "items_on_order": _on_order(order, a["item_ids"]),
        "same_products": all(new is not None for _, new in pairs),
        "all_available": all(new is None or new["available"] for _, new in pairs),
        "payment_in_profile": method is not None,
        "gift_card_covers": _covers(method, _difference(world, order, a)),
    }


def _return_facts(world: World, a: Arguments) -> dict[str, Any]:
    order = world.get("orders", a["order_id"])
    return {
        "order_status": order["status"],
        "items_on_order": _on_order(order, a["item_ids"]),
        "payment_in_profile": _payment(world, order, a["payment_method_id"]) is not None,
        "refund_to": _refund_to(world, order, a),
    }


def _payment_facts(world: World, a: Arguments) -> dict[str, Any]:
    order = world.get("orders", a["order_id"])
    method, paid = _payment(world, order, a["payment_method_id"]), order["payment_history"][0]
    return {
        "order_status": order["status"],
        "payment_in_profile": method is not None,
        "another_method": a["payment_method_id"] != paid["payment_method_id"],
        "gift_card_covers": _covers(method, cents(paid["amount"])),
    }


def _order(a: Arguments) -> tuple[str, str]:
    return "orders", a["order_id"]


def _total(world: World, a: Arguments) -> int:
    return sum(cents(paid["amount"]) for paid in world.get("orders", a["order_id"])["payment_history"])


def _worth(world: World, a: Arguments) -> int:
    return sum(cents(item["price"]) for item in world.get("orders", a["order_id"])["items"] if item["item_id"] in a["item_ids"])


def _swap_amount(world: World, a: Arguments) -> int:
    return _difference(world, world.get("orders", a["order_id"]), a)


_SWAP_KNOWN = {
    "order_status": _TEXT, "old_items": _COUNT, "new_items": _COUNT, "items_on_order": _YES, "same_products": _YES,
    "all_available": _YES, "payment_in_profile": _YES, "gift_card_covers": _YES,
}  # fmt: skip

WRITES = {
    "cancel_pending_order": Writing(
        _cancel, _order, "Cancel order {order_id}: {reason}", {"order_status": _TEXT}, _status, _total,
    ),
    "modify_pending_order_address": Writing(
        _move("orders", "order_id"), _order, "Send order {order_id} to {address1}, {city}", {"order_status": _TEXT}, _status,
    ),
    "modify_pending_order_items": Writing(
        _modify_items, _order, "Change items {item_ids} of order {order_id} to {new_item_ids}", _SWAP_KNOWN, _swap_facts, _swap_amount,
    ),
    "modify_pending_order_payment": Writing(
        _modify_payment, _order, "Pay order {order_id} by {payment_method_id}",
        {"order_status": _TEXT, "payment_in_profile": _YES, "another_method": _YES, "gift_card_covers": _YES}, _payment_facts, _total,
    ),
    "exchange_delivered_order_items": Writing(
        _exchange, _order, "Exchange items {item_ids} of order {order_id} for {new_item_ids}", _SWAP_KNOWN, _swap_facts, _swap_amount,
    ),
    "return_delivered_order_items": Writing(
        _return, _order, "Take back items {item_ids} of order {order_id}, refund to {payment_method_id}",
        {"order_status": _TEXT, "items_on_order": _YES, "payment_in_profile": _YES, "refund_to": _TEXT}, _return_facts, _worth,
    ),
    "modify_user_address": Writing(
        _move("users", "user_id"), lambda a: ("users", a["user_id"]), "Change the address of {user_id} to {address1}, {city}",
    ),
}  # fmt: skip

_TOOLS = data.read("tau2", "retail", "tools.json") if data.folder("tau2", "retail", "tools.json") else []
_BASE = data.tables("retail")
_EARLIER = {"modify_pending_order_items": replace(WRITES["modify_pending_order_items"], do=partial(_modify_items, alike=False))}

retail = toolbox("retail", tools=_TOOLS, base=_BASE, reads=READS, writes=WRITES)
earlier = toolbox("earlier", tools=_TOOLS, base=_BASE, reads=READS, writes=WRITES | _EARLIER)
