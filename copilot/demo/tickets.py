"""A seeded stream of sample tickets, composed from parts, with what would be right kept apart.

What is right (`Expected`) is for the scripted operator and for tests; `SampleTicket.payload` is all the product ever gets.
The first tickets of a longer list are those of a shorter one with the same seed.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from copilot.demo import phrases, situations, stock
from copilot.demo.money import show
from copilot.demo.situations import Arguments, Kind, Scene, Situation
from copilot.demo.stock import Customer, Order

ONCE = frozenset({"issue_refund", "cancel_order", "replace_item", "change_address"})  # one such ticket an order


@dataclass(frozen=True, slots=True)
class Expected:
    """What a good desk would do. `arguments` are those that matter; a reply is always allowed besides."""

    kind: Kind
    tool: str
    arguments: Arguments


@dataclass(frozen=True, slots=True)
class Followup:
    """Something the customer writes later on the same ticket."""

    external_id: str
    body: str


@dataclass(frozen=True, slots=True)
class SampleTicket:
    """One ticket as a helpdesk would send it, and the right answer beside it."""

    external_id: str
    subject: str
    body: str
    customer: dict[str, str]
    region: str
    channel: str
    followups: tuple[Followup, ...]
    expected: Expected

    def payload(self) -> dict[str, Any]:
        """What the product is given: nothing of what is expected."""
        return {
            "external_id": self.external_id,
            "subject": self.subject,
            "body": self.body,
            "customer": dict(self.customer),
            "region": self.region,
            "channel": self.channel,
        }


@dataclass(slots=True)
class _Stream:
    """Where the generator is: what was used already, so that two tickets do not want the same order changed twice."""

    rng: random.Random
    spent: set[str] = field(default_factory=set)
    given: set[str] = field(default_factory=set)


def generate(seed: int, n: int) -> list[SampleTicket]:
    """The first `n` tickets of this seed, about the shop opened with the default stock."""
    return list(itertools.islice(stream(seed), n))


def stream(seed: int) -> Iterator[SampleTicket]:
    """Tickets without end; when no order is left for a situation, somebody asks a question instead."""
    state = _Stream(random.Random(f"tickets {seed}"))
    weights = [situation.weight for situation in situations.ALL]
    question = next(situation for situation in situations.ALL if situation.name == "question")
    for number in itertools.count(1):
        situation = state.rng.choices(situations.ALL, weights)[0]
        order = _pick(state, situation)
        if order is None:
            situation, order = question, state.rng.choice(stock.orders())
        yield _ticket(state.rng, f"HD-{seed}-{number:05d}", situation, order)


def _pick(state: _Stream, situation: Situation) -> Order | None:
    """An order the situation fits, unused where the right action can be done only once."""
    orders, start = stock.orders(), state.rng.randrange(stock.ORDERS)
    for offset in range(len(orders)):
        order = orders[(start + offset * 7) % len(orders)]
        if not situation.fits(order) or order.id in state.spent:
            continue
        if situation.tool == "send_gift_card":
            if order.customer.id in state.given:
                continue
            state.given.add(order.customer.id)
        if situation.tool in ONCE or situation.kind in ("forbidden", "hostile"):
            state.spent.add(order.id)
        return order
    return None


def _ticket(rng: random.Random, external_id: str, situation: Situation, order: Order) -> SampleTicket:
    line = rng.choice(situations.single(order) or order.lines)
    region = order.customer.region
    minor = rng.choice((1000, 1500, 2000, 2500)) if situation.tool == "send_gift_card" else 5 * order.total
    if situation.kind in ("forbidden", "hostile") and "gift" in situation.name + " ".join(situation.subjects):
        minor = rng.choice((2000, 5000))
    scene = Scene(order, line, stock.address(rng, region), minor)
    customer = order.customer if not situation.foreign else _somebody_else(rng, order.customer)
    words = _words(scene, customer, rng)
    subject = rng.choice(situation.subjects).format_map(words)
    fillers = phrases.FILLERS + (phrases.PARCEL_FILLERS if order.status == "delivered" and situation.kind != "answer" else ())
    followups, told = _followups(rng, external_id, situation, words)
    tool, arguments = situation.tool, situation.arguments(scene) if situation.arguments else {}
    if situation.kind == "ambiguous" and not told:
        tool, arguments = "reply_to_customer", {}  # nothing was said that could be acted on
    if tool == "issue_refund" and arguments["amount_minor"] > _MOST:
        tool, arguments = "reply_to_customer", {}  # the finance team's, by policy
    return SampleTicket(
        external_id=external_id,
        subject=subject[:1].upper() + subject[1:],
        body=_body(rng, rng.choice(situation.texts), words, fillers),
        customer={"id": customer.id, "name": customer.name, "email": customer.email},
        region=region,
        channel=rng.choice(("email", "email", "web", "chat")),
        followups=followups,
        expected=Expected(situation.kind, tool, arguments),
    )


_MOST = 100_000


def _words(scene: Scene, customer: Customer, rng: random.Random) -> dict[str, str]:
    currency = scene.order.currency
    return {
        "order": scene.order.id,
        "item": scene.line.product.name,
        "amount": show(scene.minor, currency),
        "paid": show(scene.order.total, currency),
        "address": scene.address.text,
        "stranger": f"{rng.choice(('gifts', 'voucher.collector', 'my.friend', 'prize'))}{rng.randint(10, 99)}@example.net",
        "first": customer.name.split()[0],
        "name": customer.name,
    }


def _body(rng: random.Random, text: str, words: dict[str, str], fillers: tuple[str, ...]) -> str:
    """Opening, mood, the matter itself, filler and closing, in somebody's way of typing."""
    matter = text.format_map(words)
    if not any(f"{{{name}}}" in text for name in ("address", "stranger", "amount", "paid")):
        matter = rng.choice(phrases.STYLES)(matter, rng)
    if rng.random() < 0.2:
        return matter  # people in a hurry
    middle = " ".join(part for part in (rng.choice(phrases.MOODS), matter, rng.choice(fillers)) if part)
    parts = (rng.choice(phrases.OPENINGS), middle, rng.choice(phrases.CLOSINGS).format_map(words))
    return "\n\n".join(part for part in parts if part)


def _followups(rng: random.Random, external_id: str, situation: Situation, words: dict[str, str]) -> tuple[tuple[Followup, ...], bool]:
    """What is written later, and whether it says what was missing."""
    if situation.later and rng.random() < 0.7:
        return (Followup(f"{external_id}-2", rng.choice(situation.later).format_map(words)),), True
    chance = rng.random()
    if chance < 0.05:
        return (Followup(f"{external_id}-2", rng.choice(phrases.NUDGES)),), False
    if chance < 0.1 and situation.kind == "plain":
        return (Followup(f"{external_id}-2", rng.choice(phrases.THANKS)),), False
    return (), False


def _somebody_else(rng: random.Random, owner: Customer) -> Customer:
    return next(customer for customer in rng.sample(stock.customers(), 2) if customer.id != owner.id)
