"""What the airline knows about a write beforehand: plain facts, read from the records, that its written policy speaks of.

The rules themselves stand in the Cedar policy; here is only what they are about.
"""

from __future__ import annotations

from collections import Counter
from datetime import datetime
from typing import Any

from copilot.toolkit import Arguments
from tests.outside.world import Record, World, cents

NOW = "2024-05-15T15:00:00"  # "The current time is 2024-05-15 15:00:00 EST."
_TEXT, _COUNT, _YES = {"type": "string"}, {"type": "integer"}, {"type": "boolean"}
_AMOUNTS = {"type": "array", "items": {"type": "integer"}}
_FREE = {"regular": 0, "silver": 1, "gold": 2}
_CABIN = {"basic_economy": 0, "economy": 1, "business": 2}
_GONE = ("landed", "flying")

BOOKING = {
    "passengers": _COUNT, "certificates": _COUNT, "credit_cards": _COUNT, "gift_cards": _COUNT, "payments_in_profile": _YES,
    "free_bags": _COUNT,
}  # fmt: skip
REROUTING = {
    "flights_changed": _YES, "cabin_now": _TEXT, "any_flown": _YES, "origin_kept": _YES, "destination_kept": _YES, "trip_type_kept": _YES,
    "payment_in_profile": _YES, "payment_kind": _TEXT,
}  # fmt: skip
BAGS = {"bags_now": _COUNT, "free_bags": _COUNT, "payment_in_profile": _YES}
PASSENGERS = {"passengers_now": _COUNT, "passengers_wanted": _COUNT}
CANCELLING = {"any_flown": _YES, "hours_since_booking": _COUNT, "cancelled_by_airline": _YES, "cabin": _TEXT, "insured": _YES}
CERTIFICATE = {"membership": _TEXT, "insured_or_business": _YES, "for_cancelled": _AMOUNTS, "for_delayed": _AMOUNTS}


def booking(world: World, a: Arguments) -> dict[str, Any]:
    """How many travel, how it is paid, and how many bags are free."""
    user = world.get("users", a["user_id"])
    methods = [user["payment_methods"].get(payment.get("payment_id")) for payment in a["payment_methods"]]
    kinds = Counter(method["source"] for method in methods if method is not None)
    return {
        "passengers": len(a["passengers"]),
        "certificates": kinds["certificate"],
        "credit_cards": kinds["credit_card"],
        "gift_cards": kinds["gift_card"],
        "payments_in_profile": None not in methods,
        "free_bags": _free_bags(user, a["cabin"], len(a["passengers"])),
    }


def rerouting(world: World, a: Arguments) -> dict[str, Any]:
    """What would change about the way: the flights, the cabin, where it starts and ends."""
    reservation = world.get("reservations", a["reservation_id"])
    numbers = [(flight["flight_number"], flight["date"]) for flight in reservation["flights"]]
    wanted = [(flight.get("flight_number"), flight.get("date")) for flight in a["flights"]]
    method = _method(world, reservation, a)
    return {
        "flights_changed": numbers != wanted,
        "cabin_now": reservation["cabin"],
        "any_flown": _any(world, reservation, _GONE),
        **_way(world, reservation, [str(number) for number, _ in wanted]),
        "payment_in_profile": method is not None,
        "payment_kind": method["source"] if method else "none",
    }


def bags(world: World, a: Arguments) -> dict[str, Any]:
    """How many bags there are, and how many the customer's level makes free."""
    reservation = world.get("reservations", a["reservation_id"])
    user = world.get("users", reservation["user_id"])
    return {
        "bags_now": reservation["total_baggages"],
        "free_bags": _free_bags(user, reservation["cabin"], len(reservation["passengers"])),
        "payment_in_profile": _method(world, reservation, a) is not None,
    }


def passengers(world: World, a: Arguments) -> dict[str, Any]:
    """How many travel, and how many would."""
    reservation = world.get("reservations", a["reservation_id"])
    return {"passengers_now": len(reservation["passengers"]), "passengers_wanted": len(a["passengers"])}


def cancelling(world: World, a: Arguments) -> dict[str, Any]:
    """Whether it was flown, how old it is, and what could make it refundable."""
    reservation = world.get("reservations", a["reservation_id"])
    age = datetime.fromisoformat(NOW) - datetime.fromisoformat(reservation["created_at"])
    return {
        "any_flown": _any(world, reservation, _GONE),
        "hours_since_booking": -int(-age.total_seconds() // 3600),  # a begun hour counts
        "cancelled_by_airline": _any(world, reservation, ("cancelled",)),
        "cabin": reservation["cabin"],
        "insured": reservation["insurance"] == "yes",
    }


def certificate(world: World, a: Arguments) -> dict[str, Any]:
    """What gestures this customer's disrupted reservations could earn, in dollars, and whether any of them is covered."""
    user = world.get("users", a["user_id"])
    held = [world.get("reservations", key) for key in user["reservations"]]
    cancelled = [one for one in held if _any(world, one, ("cancelled",))]
    delayed = [one for one in held if _any(world, one, ("delayed",)) and (one["status"] == "cancelled" or len(one["payment_history"]) > 1)]
    return {
        "membership": user["membership"],
        "insured_or_business": any(one["insurance"] == "yes" or one["cabin"] == "business" for one in [*cancelled, *delayed]),
        "for_cancelled": sorted({100 * len(one["passengers"]) for one in cancelled}),
        "for_delayed": sorted({50 * len(one["passengers"]) for one in delayed}),
    }


def price(flights: list[Record]) -> int:
    """What one passenger pays for these flights, in cents."""
    return sum(cents(flight["price"]) for flight in flights)


def kept_flights(reservation: Record, a: Arguments) -> list[Record | None]:
    """For each flight wanted, the one already booked in the same cabin, or None; a kept one keeps its price."""
    held = {(flight["flight_number"], flight["date"]): flight for flight in reservation["flights"] if a["cabin"] == reservation["cabin"]}
    return [held.get((flight.get("flight_number"), flight.get("date"))) for flight in a["flights"]]


def _free_bags(user: Record, cabin: str, travellers: int) -> int:
    return (_FREE[user["membership"]] + _CABIN[cabin]) * travellers


def _method(world: World, reservation: Record, a: Arguments) -> Record | None:
    found: Record | None = world.get("users", reservation["user_id"])["payment_methods"].get(a["payment_id"])
    return found


def _any(world: World, reservation: Record, states: tuple[str, ...]) -> bool:
    days = [world.get("flights", flight["flight_number"])["dates"].get(flight["date"], {}) for flight in reservation["flights"]]
    return any(day.get("status") in states for day in days)


def _way(world: World, reservation: Record, numbers: list[str]) -> dict[str, bool]:
    """Whether a new way starts where the old one starts, reaches what it reaches, and comes back or not as it does."""
    flights = [world.find("flights", number) for number in numbers]
    stops = [(flight["origin"], flight["destination"]) for flight in flights if flight is not None]
    round_trip = reservation["flight_type"] == "round_trip"
    if not stops:
        return {"origin_kept": False, "destination_kept": False, "trip_type_kept": False}
    start, end, reached = stops[0][0], stops[-1][1], {destination for _, destination in stops}
    return {
        "origin_kept": start == reservation["origin"],
        "destination_kept": reservation["destination"] in (reached if round_trip else {end}),
        "trip_type_kept": (end == start) == round_trip,
    }
