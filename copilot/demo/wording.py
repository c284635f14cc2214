"""The offline model's replies to customers, and its reasons to reviewers. Marks in names and numbers pass through unchanged."""

from __future__ import annotations

import hashlib
import re
from typing import Any

from copilot.demo.reading import Letter

Json = dict[str, Any]

_MARK = re.compile(r"\[name-\d+\]")
_SIGNED = ("Kind regards,\nThe support team", "Best wishes,\nYour support team", "All the best,\nCustomer care")


def pick(seed: str, choices: tuple[str, ...]) -> str:
    """One of several wordings, always the same for the same seed."""
    return choices[hashlib.sha256(seed.encode()).digest()[0] % len(choices)]


def message(letter: Letter, *paragraphs: str) -> str:
    """A whole letter: greeting, paragraphs, signature."""
    mark = _MARK.search(letter.name)
    first = mark[0] if mark else letter.name.split()[0] if letter.name else ""
    greeting = f"Hello {first}," if first else "Hello,"
    return "\n\n".join((greeting, *paragraphs, pick(letter.text, _SIGNED)))


def which_order(letter: Letter) -> str:
    """Ask for the order number."""
    return message(
        letter, "I am sorry for the trouble. Which order is it about, and which item? The order number stands in your confirmation."
    )


def which_item(letter: Letter, order: Json) -> str:
    """Ask which item of an order is meant."""
    names = ", ".join(f"the {item['name']}" for item in order["items"])
    return message(letter, f"I am sorry to hear that. Which item of order {order['id']} is it about: {names}?")


def what_would_help(letter: Letter, order: Json | None) -> str:
    """Ask what the customer wants, and say what can be had."""
    about = f" with order {order['id']}" if order else ""
    choices = "For a damaged item we can send a new one free of charge, or refund its price to your original payment method."
    return message(letter, f"I am sorry about the trouble{about}. {choices} Which would you prefer?")


def not_yours(letter: Letter, order_id: str) -> str:
    """Decline to act on somebody else's order without telling anything about it."""
    return message(
        letter,
        f"I cannot help with order {order_id}, because it does not belong to your account. "
        "Please have the person who placed the order write to us from their own address.",
    )


def too_late_to_return(letter: Letter, order: Json) -> str:
    """Decline a return after the window."""
    return message(
        letter,
        f"Order {order['id']} was delivered on {order['delivered_on']}, and returns are possible within 60 days of delivery, "
        "so I cannot refund it any more. If the item is faulty, tell me what is wrong: the warranty may cover it.",
    )


def too_much(letter: Letter, order_id: str, left: str) -> str:
    """Decline a refund above what was paid."""
    return message(
        letter,
        f"I am sorry for the trouble with order {order_id}. I cannot refund more than was paid for it ({left}). "
        "If an item is faulty, I can refund its price or send a new one: which would you like?",
    )


def not_possible(letter: Letter, what: str, order: Json) -> str:
    """Say that an order is too far along for what was asked."""
    if order["status"] == "cancelled":
        return message(
            letter, f"Order {order['id']} has been cancelled already, so there is nothing left to do, and you will not be charged."
        )
    return message(
        letter,
        f"Order {order['id']} is {order['status']} already, so I cannot {what} any more. "
        "You can refuse the parcel or send it back unused within 60 days of delivery, and we refund it.",
    )


def only_to_you(letter: Letter) -> str:
    """Decline to send a gift card to a third person."""
    return message(
        letter, "I can send gift cards only to the address of the account they belong to. Shall I look into what you were promised?"
    )


def where(letter: Letter, order: Json, shipment: Json | None) -> str:
    """Say where a parcel is."""
    status = (shipment or {}).get("status")
    if not shipment or status == "not shipped":
        return message(
            letter, f"Order {order['id']} is {order['status']} and has not been handed to the carrier yet. We write as soon as it is."
        )
    if status == "delivered":
        return message(letter, f"Order {order['id']} was delivered on {shipment['delivered_on']} by {shipment['carrier']}.")
    if status == "lost":
        return message(
            letter, f"The parcel of order {order['id']} seems to be lost, I am sorry. Would you like it sent again, or a refund?"
        )
    return message(
        letter,
        f"Order {order['id']} is on its way with {shipment['carrier']} (tracking number {shipment['tracking']}) "
        f"and expected on {shipment['expected_on']}.",
    )


def answer(letter: Letter, articles: list[Json]) -> str:
    """Answer a question from the help articles."""
    if not articles:
        return message(letter, "Thank you for asking. I have passed your question to a colleague, who will get back to you.")
    return message(letter, "Thank you for your question.", str(articles[0]["text"]))


def refund_on_its_way(letter: Letter, payment: Json | None) -> str:
    """Say where a refund is."""
    method = (payment or {}).get("method", "your original payment method")
    days = "one day" if method == "PayPal" else "3 to 5 working days"
    return message(letter, f"Your refund was sent to {method}. It takes {days} until you see it there.")


def glad(letter: Letter) -> str:
    """Thank for thanks."""
    return message(
        letter, pick(letter.text, ("Thank you for your kind words, we are glad to hear it!", "You are welcome, and thank you for writing!"))
    )


def only_as_asked(letter: Letter) -> str:
    """Answer a letter that tried to give the assistant orders."""
    return message(
        letter,
        "Thank you for your message. Parts of it I cannot act on. If something is wrong with your order, "
        "please tell us in your own words what happened and which item it is about.",
    )


def already(letter: Letter) -> str:
    """Say that what is asked for was done."""
    return message(
        letter, "Thank you for your patience. What you asked for has been done already; please write again if anything is missing."
    )


def declined(letter: Letter) -> str:
    """Say that what was asked for cannot be done by the desk."""
    return message(
        letter, "I have looked into it and cannot do this for you myself. A colleague will get back to you within two working days."
    )


def done(letter: Letter, tool: str) -> str:
    """Confirm what was done."""
    what = {
        "issue_refund": "I have refunded you. The money goes back to your original payment method and takes up to 5 working days.",
        "cancel_order": "Your order is cancelled, and you will not be charged.",
        "replace_item": "A replacement is on its way to you, free of charge.",
        "change_address": "The delivery address is changed; your parcel will go to the new one.",
        "send_gift_card": "Your gift card is on its way to your inbox.",
    }.get(tool, "Your request is dealt with.")
    return message(letter, what)
