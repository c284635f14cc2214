"""Money in sentences, from integer minor units; never through a float."""

from __future__ import annotations

from decimal import Decimal

from copilot.toolkit import Money

# ISO 4217 exponents other than 2
_NO_MINOR = frozenset(
    {"BIF", "CLP", "DJF", "GNF", "ISK", "JPY", "KMF", "KRW", "PYG", "RWF", "UGX", "UYI", "VND", "VUV", "XAF", "XOF", "XPF"}
)
_THREE = frozenset({"BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND"})
_SIGNS = {"EUR": "€", "USD": "$", "GBP": "£", "JPY": "¥"}


def exponent(currency: str) -> int:
    """How many decimal places this currency has."""
    return 0 if currency in _NO_MINOR else 3 if currency in _THREE else 2


def show(amount: Money) -> str:
    """Money for reading: €1,250.00, or 1,250.00 CHF where a sign would be ambiguous."""
    places = exponent(amount.currency)
    number = f"{abs(Decimal(amount.minor).scaleb(-places)):,.{places}f}"
    sign = "\N{MINUS SIGN}" if amount.minor < 0 else ""
    if amount.currency in _SIGNS:
        return f"{sign}{_SIGNS[amount.currency]}{number}"
    return f"{sign}{number} {amount.currency}"
