"""How the sample company writes an amount for people to read."""

from __future__ import annotations

from typing import Literal

Currency = Literal["USD", "EUR", "GBP"]

SYMBOLS = {"USD": "$", "EUR": "€", "GBP": "£"}


def show(minor: int, currency: str) -> str:
    """Write integer minor units as text: 8000 EUR is «€80.00»."""
    whole, rest = divmod(abs(minor), 100)
    sign = "-" if minor < 0 else ""
    return f"{sign}{SYMBOLS.get(currency, currency + ' ')}{whole:,}.{rest:02d}"
