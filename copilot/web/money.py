"""Money as people write it, to and from integer minor units; never through a float."""

from __future__ import annotations

import re
from decimal import Decimal

from copilot.gate.amounts import exponent, show

__all__ = ["exponent", "major", "parse", "show"]

_PLAIN = re.compile(r"(-?)([0-9]{1,15})(?:[.,]([0-9]{1,3}))?\Z")


def major(minor: int, currency: str) -> str:
    """Minor units as a plain decimal for an input field: 8000 EUR is 80.00."""
    places = exponent(currency)
    return f"{Decimal(minor).scaleb(-places):.{places}f}"


def parse(text: str, currency: str) -> int:
    """What a person typed, in minor units; ValueError says how to write it.

    A comma or a point may stand before the decimals. Thousands separators are refused, because 1,000 is a thousand
    in one country and one in another.
    """
    places = exponent(currency)
    found = _PLAIN.match(text.strip().replace("\N{MINUS SIGN}", "-"))
    example = "1250" if not places else "1250." + "0" * places
    if found is None:
        raise ValueError(f"write the amount as digits, such as {example}, without sign or thousands separator")
    sign, whole, decimals = found.groups()
    decimals = decimals or ""
    if len(decimals) > places or (len(decimals) == 3 and places == 2):
        raise ValueError(f"{currency} has {places or 'no'} decimal places: write it such as {example}")
    minor = int(whole) * (1, 10, 100, 1000)[places] + int(decimals.ljust(places, "0") or "0")
    return -minor if sign else minor
