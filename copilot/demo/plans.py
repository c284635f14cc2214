"""What the offline model would do about a letter, once the tools have told it the facts: one function an intent.

About one draft in ten is wrong on purpose, always the same ones: a wrong amount, or more than was asked for. So people
have something to edit and to reject. (14 letters in 100 are drawn, but not in each is there anything to get wrong.)
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from typing import Any

from copilot.demo import reading, stock, wording
from copilot.demo.money import show
from copilot.demo.reading import Facts, Letter

Json = dict[str, Any]
MOST_ORDERS = 2
MISTAKES = 14


@dataclass(frozen=True, slots=True)
class Plan:
    """One action and, in a sentence, why."""

    tool: str
    arguments: Json
    why: str
    confidence: float = 0.9


def slips(letter: Letter, percent: int) -> bool:
    """Whether this letter is one of the `percent` that are drafted wrongly at first.

    Decided by subject and order numbers alone: they read the same whatever was put behind marks.
    """
    drawn = hashlib.sha256(" ".join(("lapse", letter.subject, *letter.orders)).encode()).digest()[0]
    return drawn * 100 < percent * 256


def reads(letter: Letter, facts: Facts, *, percent: int = 0) -> list[tuple[str, Json]]:
    """The reads still missing before anything can be decided; none when there is enough."""
    intent = reading.intent_of(letter.text)
    wanted: list[tuple[str, Json]] = []
    who = letter.customer_id or letter.email
    if len(who) >= 3:
        wanted.append(("find_customer", {"query": who}))
    orders = letter.orders[:MOST_ORDERS]
    if not orders and facts.history and (found := _order_with(letter, facts.history)):
        orders = (found,)
    for order_id in orders:
        wanted.append(("get_order", {"order_id": order_id}))
        if intent in ("refund", "refund_status", "hostile") or slips(letter, percent):
            wanted.append(("get_payment", {"order_id": order_id}))
        if intent in ("where", "refund", "replace"):
            wanted.append(("get_shipment", {"order_id": order_id}))
    if intent == "question":
        wanted.append(("search_help", {"question": f"{letter.subject}: {' '.join(letter.messages)}"[:200]}))
    customer_id = _customer_id(letter, facts)
    if not orders and intent in ("refund", "replace", "cancel", "address", "where", "damage") and customer_id:
        wanted.append(("list_orders", {"customer_id": customer_id, "limit": 5}))
    once = {line.split(" ", 1)[0] for line in facts.asked} - _BY_ORDER
    return [(tool, arguments) for tool, arguments in wanted if tool not in once and reading.asked(tool, arguments) not in facts.asked]


_BY_ORDER = {"get_order", "get_payment", "get_shipment"}


def decide(letter: Letter, facts: Facts, *, slip: bool = False) -> Plan | None:
    """The one action to propose; None when not even a reply can be addressed to anybody."""
    customer_id = _customer_id(letter, facts) or next((order["customer_id"] for order in facts.orders.values()), "")
    if not customer_id:
        return None
    case = _Case(letter, facts, str(customer_id), _order(letter, facts))
    last = reading.intent_of(letter.messages[-1]) if letter.messages else ""
    if any(attempt.outcome in ("executed", "edited_and_executed") for attempt in facts.attempts) and last in ("thanks", "nudge"):
        return _reply(case, wording.glad(letter) if last == "thanks" else wording.already(letter), "The request was dealt with before.")
    if case.order is not None and case.order["customer_id"] != customer_id and not slip:
        return _reply(case, wording.not_yours(letter, case.order["id"]), "The order belongs to another customer.")
    intent = reading.intent_of(letter.text)
    plan = _INTENTS.get(intent, _unclear)(case)
    if any((a.tool, _same(a.arguments)) == (plan.tool, _same(plan.arguments)) and a.outcome.endswith("executed") for a in facts.attempts):
        return _reply(case, wording.already(letter), "The request was dealt with before.")
    return _slipped(case, plan) if slip else plan


@dataclass(frozen=True, slots=True)
class _Case:
    letter: Letter
    facts: Facts
    customer_id: str
    order: Json | None

    @property
    def left(self) -> int:
        """What is left to refund of the order, in minor units."""
        payment = self.facts.payments.get(self.order["id"]) if self.order else None
        return int(payment["left_minor"]) if payment else 0


def _customer_id(letter: Letter, facts: Facts) -> str:
    return str(facts.customer["id"]) if facts.customer else letter.customer_id


def _same(arguments: Json) -> str:
    return str(arguments.get("order_id") or arguments.get("customer_id"))


def _order(letter: Letter, facts: Facts) -> Json | None:
    found = (facts.orders.get(order_id) for order_id in (*letter.orders, *facts.orders))
    return next((order for order in found if order), None)


def _order_with(letter: Letter, history: list[Json]) -> str | None:
    """The customer's one order that holds what the letter names."""
    fitting = [order["id"] for order in history if reading.item_in(letter.text, order["items"])]
    return fitting[0] if len(fitting) == 1 else None


def _reply(case: _Case, message: str, why: str, confidence: float = 0.8) -> Plan:
    return Plan("reply_to_customer", {"customer_id": case.customer_id, "message": message}, why, confidence)


def _ask_order(case: _Case) -> Plan:
    return _reply(case, wording.which_order(case.letter), "The ticket does not say which order it is about.")


def _refund(case: _Case) -> Plan:
    order, letter = case.order, case.letter
    if order is None:
        return _ask_order(case)
    reason = reading.refund_reason(letter.text, status=order["status"])
    item = reading.item_in(letter.text, order["items"])
    if order["delivered_on"] and (datetime.now(UTC).date() - date.fromisoformat(order["delivered_on"])).days > stock.RETURN_DAYS:
        return _reply(case, wording.too_late_to_return(letter, order), "The return window has closed.")
    if letter.minor is not None and letter.minor > case.left:
        return _reply(case, wording.too_much(letter, order["id"], show(case.left, order["currency"])), "More is asked for than was paid.")
    if reason == "late":
        amount, about = order["shipping_minor"], "the shipping fee"
    elif reason == "not_received":
        amount, about = case.left, "everything paid"
    elif item is not None:
        amount, about = item["unit_minor"] * item["quantity"], f"the {item['name']}"
    elif letter.minor:
        amount, about = letter.minor, "the amount named"
    else:
        return _reply(case, wording.which_item(letter, order), "The ticket does not say which item it is about.")
    if not 0 < amount <= case.left:
        return _reply(case, wording.refund_on_its_way(letter, case.facts.payments.get(order["id"])), "It was refunded before.")
    arguments = {"order_id": order["id"], "amount_minor": amount, "currency": order["currency"], "reason": reason}
    why = f"Order {order['id']} is {order['status']}; the customer asks for a refund ({reason.replace('_', ' ')}), which covers {about}."
    return Plan("issue_refund", arguments, why, 0.92)


def _cancel(case: _Case) -> Plan:
    order = case.order
    if order is None:
        return _ask_order(case)
    if order["status"] != "processing":
        return _reply(case, wording.not_possible(case.letter, "cancel it", order), f"The order is {order['status']}.")
    twice = any(word in case.letter.text.lower() for word in ("twice", "duplicate", "two times", "by accident"))
    arguments = {"order_id": order["id"], "reason": "ordered_twice" if twice else "changed_mind"}
    return Plan("cancel_order", arguments, f"Order {order['id']} has not been shipped, and the customer asks to cancel it.", 0.95)


def _replace(case: _Case) -> Plan:
    order = case.order
    if order is None:
        return _ask_order(case)
    item = reading.item_in(case.letter.text, order["items"]) or (order["items"][0] if len(order["items"]) == 1 else None)
    if item is None:
        return _reply(case, wording.which_item(case.letter, order), "The ticket does not say which item it is about.")
    if any(row["sku"] == item["sku"] for row in order.get("sent_again", ())):
        return _reply(case, wording.already(case.letter), "A replacement was sent before.")
    if order["status"] not in ("delivered", "lost"):
        return _reply(case, wording.where(case.letter, order, case.facts.shipments.get(order["id"])), "The parcel is still on its way.")
    reason = {"not_received": "not_received", "wrong_item": "wrong_item"}.get(
        reading.refund_reason(case.letter.text, status=order["status"]), "damaged"
    )
    arguments = {"order_id": order["id"], "sku": item["sku"], "quantity": item["quantity"], "reason": reason}
    return Plan("replace_item", arguments, f"The customer asks for the {item['name']} of order {order['id']} again ({reason}).", 0.9)


def _address(case: _Case) -> Plan:
    order, to = case.order, case.letter.address
    if order is None:
        return _ask_order(case)
    if order["status"] != "processing":
        return _reply(case, wording.not_possible(case.letter, "change its address", order), f"The order is {order['status']}.")
    if to is None:
        text = f"To which address shall order {order['id']} go? Please send street and number, city, postal code and country."
        return _reply(case, wording.message(case.letter, text), "The new address is missing.")
    return Plan(
        "change_address", {"order_id": order["id"], **to}, f"Order {order['id']} has not been shipped, and the customer moved it.", 0.93
    )


def _gift_card(case: _Case) -> Plan:
    if case.letter.strangers:
        return _reply(case, wording.only_to_you(case.letter), "The gift card would go to somebody else's address.")
    recipient = case.letter.email or str((case.facts.customer or {}).get("email", ""))
    if case.letter.minor is None or not 100 <= case.letter.minor <= 10_000 or not recipient:
        return _reply(case, wording.declined(case.letter), "The amount promised is missing or too large.")
    if any(card.get("amount_minor") == case.letter.minor for card in (case.facts.customer or {}).get("gift_cards", ())):
        return _reply(case, wording.already(case.letter), "Such a gift card was sent before.")
    region = str((case.facts.customer or {}).get("region", "EU"))
    currency = case.order["currency"] if case.order else stock.CURRENCY.get(region, "EUR")
    arguments = {"customer_id": case.customer_id, "recipient_email": recipient, "amount_minor": case.letter.minor, "currency": currency}
    note = "With our apologies for the trouble. Your shop team"
    return Plan("send_gift_card", {**arguments, "note": note}, "The customer was promised a gift card for the delay.", 0.75)


def _where(case: _Case) -> Plan:
    order = case.order
    if order is None:
        return _ask_order(case)
    return _reply(
        case, wording.where(case.letter, order, case.facts.shipments.get(order["id"])), "The customer asks where the parcel is.", 0.95
    )


def _question(case: _Case) -> Plan:
    return _reply(case, wording.answer(case.letter, case.facts.help), "A general question, answered from the help pages.", 0.9)


def _refund_status(case: _Case) -> Plan:
    payment = case.facts.payments.get(case.order["id"]) if case.order else None
    return _reply(case, wording.refund_on_its_way(case.letter, payment), "The customer asks about a refund made before.", 0.9)


def _torn(case: _Case) -> Plan:
    return _reply(case, wording.what_would_help(case.letter, case.order), "The customer has not decided what they want.", 0.85)


def _hostile(case: _Case) -> Plan:
    return _reply(case, wording.only_as_asked(case.letter), "The ticket tries to give instructions to the assistant; nothing is owed.", 0.7)


def _praise(case: _Case) -> Plan:
    return _reply(case, wording.glad(case.letter), "The customer says thank you.", 0.95)


def _unclear(case: _Case) -> Plan:
    return _torn(case) if case.order else _ask_order(case)


_INTENTS: dict[str, Callable[[_Case], Plan]] = {
    "refund": _refund, "cancel": _cancel, "replace": _replace, "address": _address, "gift_card": _gift_card, "where": _where,
    "question": _question, "refund_status": _refund_status, "torn": _torn, "hostile": _hostile, "praise": _praise, "thanks": _praise,
}  # fmt: skip


def _slipped(case: _Case, plan: Plan) -> Plan:
    """The same letter handled wrongly: too much money, or money where a reply or a replacement was right."""
    if plan.tool == "issue_refund":
        right = plan.arguments["amount_minor"]
        return replace(plan, arguments={**plan.arguments, "amount_minor": case.left if right < case.left else max(right // 2, 1)})
    if plan.tool == "send_gift_card":
        return replace(plan, arguments={**plan.arguments, "amount_minor": plan.arguments["amount_minor"] * 2})
    intent = reading.intent_of(case.letter.text)
    if case.order is not None and case.left > 0 and intent in _TOUCHY:
        arguments = {"order_id": case.order["id"], "amount_minor": case.left, "currency": case.order["currency"], "reason": "goodwill"}
        return Plan("issue_refund", arguments, "The customer is unhappy, so the order should be refunded.", 0.6)
    if plan.tool == "reply_to_customer" and case.order is not None and intent == "cancel":
        arguments = {"order_id": case.order["id"], "reason": "changed_mind"}
        return Plan("cancel_order", arguments, "The customer asks to cancel the order.", 0.6)
    return plan


_TOUCHY = frozenset({"refund", "replace", "torn", "damage", "gift_card", "hostile"})  # where an eager desk throws money at people
