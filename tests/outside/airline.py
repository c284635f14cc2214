"""The airline of tau2, written from its tool descriptions, its written policy and its expected records.

It asks for seats, balances and sums; most of its written policy it leaves to whoever calls it, and says so there.
"""

from __future__ import annotations

from copilot.toolkit import Arguments, ToolRefused
from tests.outside import airline_facts as facts
from tests.outside import data
from tests.outside.world import Reading, Record, World, Writing, calculate, cents, toolbox

BAG, INSURANCE = 5000, 3000  # cents
_NEW_RESERVATIONS = ("HATHAT", "HATHAU", "HATHAV")
_NEW_CERTIFICATES = ("certificate_3221322", "certificate_3221323", "certificate_3221324")


def _found(world: World, origin: str, destination: str, date: str) -> list[Record]:
    """The flights between two places on a day that can still be booked."""
    return [
        {**{name: value for name, value in flight.items() if name != "dates"}, "date": date, **flight["dates"][date]}
        for _, flight in world.all("flights")
        if (flight["origin"], flight["destination"]) == (origin, destination) and flight["dates"].get(date, {}).get("status") == "available"
    ]


def _one_stop(world: World, a: Arguments) -> list[list[Record]]:
    """Pairs of flights that meet on one day, the second leaving after the first has landed."""
    stops = {flight["destination"] for _, flight in world.all("flights") if flight["origin"] == a["origin"]}
    return [
        [first, second]
        for stop in sorted(stops)
        for first in _found(world, a["origin"], stop, a["date"])
        for second in _found(world, stop, a["destination"], a["date"])
        if first["scheduled_arrival_time_est"] < second["scheduled_departure_time_est"]
    ]


def _status(world: World, a: Arguments) -> str:
    day = world.get("flights", a["flight_number"])["dates"].get(a["date"])
    if day is None:
        raise ToolRefused("Flight not found on this date")
    return str(day["status"])


READS: dict[str, Reading] = {
    "calculate": calculate,
    "get_reservation_details": lambda world, a: world.get("reservations", a["reservation_id"]),
    "get_user_details": lambda world, a: world.get("users", a["user_id"]),
    "get_flight_status": _status,
    "list_all_airports": lambda world, a: sorted({flight["origin"] for _, flight in world.all("flights")}),
    "search_direct_flight": lambda world, a: _found(world, a["origin"], a["destination"], a["date"]),
    "search_onestop_flight": _one_stop,
}


def _seat(world: World, wanted: Record, cabin: str, passengers: int) -> Record:
    """The flight of a day as a reservation keeps it; ToolRefused when it cannot be booked for so many."""
    flight = world.get("flights", str(wanted["flight_number"]))
    day = flight["dates"].get(wanted["date"])
    if day is None or day["status"] != "available":
        raise ToolRefused(f"Flight {wanted['flight_number']} is not available on date {wanted['date']}")
    if day["available_seats"][cabin] < passengers:
        raise ToolRefused(f"Not enough seats on flight {wanted['flight_number']}")
    kept = {name: flight[name] for name in ("flight_number", "origin", "destination")}
    return {**kept, "date": wanted["date"], "price": day["prices"][cabin]}


def _method(world: World, user_id: str, payment_id: str) -> Record:
    found: Record | None = world.get("users", user_id)["payment_methods"].get(payment_id)
    if found is None:
        raise ToolRefused("Payment method not found")
    return found


def _draw(world: World, user_id: str, payment_id: str, minor: int) -> None:
    """Take from a gift card (or give back to it); a certificate is used up whole."""
    methods = world.edit("users", user_id)["payment_methods"]
    if methods[payment_id]["source"] == "gift_card":
        methods[payment_id]["amount"] = (cents(methods[payment_id]["amount"]) - minor) / 100
    elif methods[payment_id]["source"] == "certificate":
        del methods[payment_id]


def _book(world: World, a: Arguments) -> Record:
    user, passengers = world.get("users", a["user_id"]), len(a["passengers"])
    flights = [_seat(world, flight, a["cabin"], passengers) for flight in a["flights"]]
    total = passengers * (sum(cents(flight["price"]) for flight in flights) + (INSURANCE if a["insurance"] == "yes" else 0))
    total += BAG * a["nonfree_baggages"]
    for payment in a["payment_methods"]:
        method = _method(world, a["user_id"], payment["payment_id"])
        if method["source"] != "credit_card" and cents(method["amount"]) < cents(payment["amount"]):
            raise ToolRefused(f"Not enough balance in payment method {method['id']}")
    if sum(cents(payment["amount"]) for payment in a["payment_methods"]) != total:
        raise ToolRefused(f"Payment amount does not add up, total price is {total / 100:g}")
    number = next((key for key in _NEW_RESERVATIONS if world.find("reservations", key) is None), None)
    if number is None:
        raise ToolRefused("Too many reservations")
    for flight in flights:
        world.edit("flights", flight["flight_number"])["dates"][flight["date"]]["available_seats"][a["cabin"]] -= passengers
    for payment in a["payment_methods"]:
        _draw(world, a["user_id"], payment["payment_id"], cents(payment["amount"]))
    user = world.edit("users", a["user_id"])
    user["reservations"].append(number)
    made = {name: a[name] for name in ("user_id", "origin", "destination", "flight_type", "cabin", "passengers", "insurance")}
    made |= {name: a[name] for name in ("total_baggages", "nonfree_baggages")}
    made |= {"reservation_id": number, "flights": flights, "created_at": facts.NOW, "status": None}
    made["payment_history"] = [{"payment_id": payment["payment_id"], "amount": payment["amount"]} for payment in a["payment_methods"]]
    world.put("reservations", number, made)
    return made


def _charge(world: World, reservation: Record, payment_id: str, minor: int, *, certificates: bool) -> None:
    """Pay (or be paid) a difference with one method; ToolRefused before anything is changed."""
    method = _method(world, reservation["user_id"], payment_id)
    if method["source"] == "certificate" and not certificates:
        raise ToolRefused("Certificate cannot be used to update reservation")
    if method["source"] == "gift_card" and cents(method["amount"]) < minor:
        raise ToolRefused("Gift card balance is not enough")
    if minor:
        _draw(world, reservation["user_id"], payment_id, minor)
        kept = world.edit("reservations", reservation["reservation_id"])
        kept["payment_history"].append({"payment_id": payment_id, "amount": minor / 100})


def _reroute(world: World, a: Arguments) -> Record:
    reservation = world.get("reservations", a["reservation_id"])
    passengers, kept = len(reservation["passengers"]), facts.kept_flights(reservation, a)
    flights = [old or _seat(world, wanted, a["cabin"], passengers) for wanted, old in zip(a["flights"], kept, strict=True)]
    difference = facts.price(flights) - facts.price(reservation["flights"])
    _charge(world, reservation, a["payment_id"], passengers * difference, certificates=False)
    reservation = world.edit("reservations", a["reservation_id"])
    reservation |= {"flights": flights, "cabin": a["cabin"]}
    return reservation


def _bags(world: World, a: Arguments) -> Record:
    reservation = world.get("reservations", a["reservation_id"])
    more = max(0, a["nonfree_baggages"] - reservation["nonfree_baggages"])
    _charge(world, reservation, a["payment_id"], BAG * more, certificates=False)
    reservation = world.edit("reservations", a["reservation_id"])
    reservation |= {"total_baggages": a["total_baggages"], "nonfree_baggages": a["nonfree_baggages"]}
    return reservation


def _rename(world: World, a: Arguments) -> Record:
    reservation = world.get("reservations", a["reservation_id"])
    if len(a["passengers"]) != len(reservation["passengers"]):
        raise ToolRefused("Number of passengers does not match")
    reservation = world.edit("reservations", a["reservation_id"])
    reservation["passengers"] = a["passengers"]
    return reservation


def _cancel(world: World, a: Arguments) -> Record:
    reservation = world.edit("reservations", a["reservation_id"])
    paid = reservation["payment_history"]
    paid += [{"payment_id": entry["payment_id"], "amount": -entry["amount"]} for entry in paid]
    reservation["status"] = "cancelled"
    return reservation


def _certify(world: World, a: Arguments) -> str:
    methods = world.get("users", a["user_id"])["payment_methods"]
    number = next((key for key in _NEW_CERTIFICATES if key not in methods), None)
    if number is None:
        raise ToolRefused("Too many certificates")
    world.edit("users", a["user_id"])["payment_methods"][number] = {"source": "certificate", "id": number, "amount": a["amount"]}
    return f"Certificate {number} added to user {a['user_id']} with amount {a['amount']}."


def _reservation(a: Arguments) -> tuple[str, str]:
    return "reservations", a["reservation_id"]


def _user(a: Arguments) -> tuple[str, str]:
    return "users", a["user_id"]


def _paid(world: World, a: Arguments) -> int:
    return sum(cents(entry["amount"]) for entry in world.get("reservations", a["reservation_id"])["payment_history"])


def _offered(_: World, a: Arguments) -> int | None:
    amounts = [payment.get("amount") for payment in a["payment_methods"]]
    return sum(map(cents, amounts)) if all(isinstance(amount, int) for amount in amounts) else None


WRITES = {
    "book_reservation": Writing(
        _book, _user, "Book {origin} to {destination} in {cabin} for {user_id}", facts.BOOKING, facts.booking, _offered,
    ),
    "update_reservation_flights": Writing(
        _reroute, _reservation, "Change the flights of {reservation_id}, in {cabin}", facts.REROUTING, facts.rerouting,
    ),
    "update_reservation_baggages": Writing(
        _bags, _reservation, "Change the bags of {reservation_id} to {total_baggages}", facts.BAGS, facts.bags,
        lambda _, a: BAG * max(0, a["nonfree_baggages"]),
    ),
    "update_reservation_passengers": Writing(
        _rename, _reservation, "Change the passengers of {reservation_id}", facts.PASSENGERS, facts.passengers,
    ),
    "cancel_reservation": Writing(_cancel, _reservation, "Cancel {reservation_id}", facts.CANCELLING, facts.cancelling, _paid),
    "send_certificate": Writing(
        _certify, _user, "Send {user_id} a certificate of ${amount}", facts.CERTIFICATE, facts.certificate, lambda _, a: cents(a["amount"]),
    ),
}  # fmt: skip

airline = toolbox(
    "airline",
    tools=data.read("tau2", "airline", "tools.json") if data.folder("tau2", "airline", "tools.json") else [],
    base=data.tables("airline"),
    reads=READS,
    writes=WRITES,
)
