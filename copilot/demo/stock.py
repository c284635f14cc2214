"""The sample company's goods, customers and orders, the same for the same seed.

Ages are in days before the shop was first opened, so that a fresh shop always looks recent while ids, names, amounts and
statuses never change. Names, addresses, telephone numbers and e-mail addresses are made up (reserved ranges and domains).
"""

from __future__ import annotations

import functools
import random
from dataclasses import dataclass
from typing import Literal

from copilot.demo.money import Currency

Status = Literal["processing", "shipped", "lost", "delivered", "cancelled"]
Region = Literal["EU", "UK", "US"]

SEED = 1
CUSTOMERS = 240
ORDERS = 960
FIRST_ORDER = 1001
RETURN_DAYS = 60

CURRENCY: dict[str, Currency] = {"EU": "EUR", "UK": "GBP", "US": "USD"}


@dataclass(frozen=True, slots=True)
class Product:
    """One thing on sale; the price is in minor units and the same number in each currency."""

    sku: str
    name: str
    price: int


@dataclass(frozen=True, slots=True)
class Address:
    """Where a parcel goes; `country` is a two-letter code."""

    line1: str
    city: str
    postal_code: str
    country: str

    @property
    def text(self) -> str:
        """The address on one line, as people write it."""
        return f"{self.line1}, {self.city}, {self.postal_code}, {COUNTRIES[self.country]}"


@dataclass(frozen=True, slots=True)
class Customer:
    """One customer and where they live."""

    id: str
    name: str
    email: str
    phone: str
    region: Region
    address: Address
    since_days: int


@dataclass(frozen=True, slots=True)
class Line:
    """One line of an order."""

    product: Product
    quantity: int

    @property
    def total(self) -> int:
        """What the line cost, in minor units."""
        return self.product.price * self.quantity


@dataclass(frozen=True, slots=True)
class Order:
    """One order as the shop was opened with; `refunded` and `delivered_days` are 0 where there is nothing to say."""

    id: str
    customer: Customer
    lines: tuple[Line, ...]
    shipping: int
    status: Status
    method: str
    placed_days: int
    delivered_days: int
    late_days: int
    refunded: int

    @property
    def currency(self) -> Currency:
        """The currency of the customer's region."""
        return CURRENCY[self.customer.region]

    @property
    def total(self) -> int:
        """What was charged, shipping included, in minor units."""
        return sum(line.total for line in self.lines) + self.shipping

    @property
    def captured(self) -> bool:
        """Whether money was taken: at dispatch, and not for what was cancelled before."""
        return self.status in ("shipped", "lost", "delivered")


COUNTRIES = {
    "DE": "Germany",
    "FR": "France",
    "NL": "Netherlands",
    "ES": "Spain",
    "IE": "Ireland",
    "GB": "United Kingdom",
    "US": "United States",
}

_PRICES = """
KTL-01 6900 gooseneck kettle|MUG-02 1450 stoneware mug|GRN-03 11900 burr grinder|POT-04 8900 cast iron pot|PAN-05 5400 carbon steel pan
KNF-06 7600 chef's knife|BRD-07 3900 oak chopping board|LMP-08 6400 desk lamp|CHR-09 4900 folding chair|RUG-10 18900 wool rug
THR-11 5900 linen throw|PIL-12 4200 down pillow|SHT-13 7900 cotton sheet set|TWL-14 2100 bath towel|CLK-15 3600 wall clock
VAS-16 2900 glass vase|CND-17 1200 beeswax candle|BSK-18 2600 rattan basket|SHF-19 21900 bookshelf|TBL-20 12900 side table
SPK-21 8400 portable speaker|HDP-22 14900 wireless headphones|CHG-23 2400 travel charger|BPK-24 7200 canvas backpack
BTL-25 1900 steel water bottle|UMB-26 3300 storm umbrella|SCF-27 4600 merino scarf|WLT-28 5200 leather wallet
TNT-29 24900 two-person tent|ESP-30 64900 espresso machine
"""
PRODUCTS = tuple(
    Product(sku, name, int(price)) for sku, price, name in (entry.split(" ", 2) for entry in _PRICES.strip().replace("\n", "|").split("|"))
)

_FIRST_NAMES = """Ana Bruno Clara Dmitri Elena Farid Greta Hugo Ines Jonas Karin Liam Maya Nadia Oskar Priya Quentin Rosa Samuel Tara Umar
Vera Wanda Xavier Yusuf Zoe Alice Ben Chloe Daniel"""
_LAST_NAMES = """Almeida Becker Conti Dubois Eriksen Fischer Garcia Hughes Ivanova Jansen Keller Lambert Moreau Novak Okafor Petrov Quinn
Rossi Sharma Tanaka Underwood Vogel Walsh Young Zimmer Ashworth Brandt Carver Doyle"""
_STREETS = "Elm Street|Station Road|Mill Lane|Church Street|High Street|Garden Row|Harbour View|Park Avenue|Linden Way|Bridge Street"
_CITIES: dict[str, tuple[tuple[str, str, str], ...]] = {
    "EU": (
        ("Hamburg", "20095", "DE"),
        ("Lyon", "69002", "FR"),
        ("Utrecht", "3511", "NL"),
        ("Valencia", "46001", "ES"),
        ("Cork", "T12 W8KP", "IE"),
    ),
    "UK": (("Leeds", "LS1 4DY", "GB"), ("Bristol", "BS1 5TR", "GB"), ("Glasgow", "G1 3SL", "GB"), ("Norwich", "NR2 1TF", "GB")),
    "US": (("Portland", "97205", "US"), ("Austin", "78701", "US"), ("Madison", "53703", "US"), ("Albany", "12207", "US")),
}
_METHODS = ("Visa ••4242", "Visa ••1881", "Mastercard ••5454", "Mastercard ••8210", "Amex ••0005", "PayPal")
_SHIPPING = {"EU": 590, "UK": 495, "US": 799}
_MAIL = ("example.com", "example.org", "example.net")


@functools.cache
def customers(seed: int = SEED) -> tuple[Customer, ...]:
    """All customers of the shop opened with this seed."""
    rng = random.Random(f"customers {seed}")
    pairs = rng.sample([(first, last) for first in _FIRST_NAMES.split() for last in _LAST_NAMES.split()], CUSTOMERS)
    return tuple(_customer(rng, number, first, last) for number, (first, last) in enumerate(pairs))


@functools.cache
def orders(seed: int = SEED) -> tuple[Order, ...]:
    """All orders of the shop opened with this seed, every customer having at least one."""
    rng = random.Random(f"orders {seed}")
    people = customers(seed)
    return tuple(_order(rng, number, people[number] if number < CUSTOMERS else rng.choice(people)) for number in range(ORDERS))


def address(rng: random.Random, region: str) -> Address:
    """A made-up address in the region."""
    city, postal_code, country = rng.choice(_CITIES[region])
    return Address(f"{rng.randint(1, 180)} {rng.choice(_STREETS.split('|'))}", city, postal_code, country)


def _customer(rng: random.Random, number: int, first: str, last: str) -> Customer:
    region: Region = rng.choice(("EU", "EU", "UK", "US"))
    phone = {
        "EU": f"+49 30 23125{rng.randint(100, 999)}",
        "UK": f"+44 7700 900{rng.randint(100, 999)}",
        "US": f"+1 202-555-01{rng.randint(10, 99)}",
    }[region]
    email = f"{first}.{last}@{rng.choice(_MAIL)}".lower()
    return Customer(f"cus_{2001 + number}", f"{first} {last}", email, phone, region, address(rng, region), rng.randint(20, 2200))


def _order(rng: random.Random, number: int, customer: Customer) -> Order:
    products = rng.sample(PRODUCTS, rng.choice((1, 1, 2, 2, 3, 4)))
    lines = tuple(Line(product, rng.choice((1, 1, 1, 2, 3))) for product in products)
    status: Status = rng.choices(("processing", "shipped", "lost", "delivered", "cancelled"), weights=(24, 14, 10, 48, 4))[0]
    placed = {
        "processing": rng.randint(0, 3),
        "shipped": rng.randint(3, 9),
        "lost": rng.randint(18, 40),
        "cancelled": rng.randint(2, 90),
    }.get(status, 0)
    delivered, late = 0, 0
    if status == "delivered":
        # one in seven is far outside the return window, none is near its edge: the right answer must not change overnight
        delivered = rng.randint(120, 400) if rng.random() < 0.14 else rng.randint(1, 40)
        late = rng.choice((0, 0, 0, 4, 6, 9))
        placed = delivered + rng.randint(3, 6) + late
    shipping = 0 if sum(line.total for line in lines) > 15_000 else _SHIPPING[customer.region]
    refunded = lines[0].product.price if status == "delivered" and len(lines) > 1 and rng.random() < 0.06 else 0
    return Order(str(FIRST_ORDER + number), customer, lines, shipping, status, rng.choice(_METHODS), placed, delivered, late, refunded)
