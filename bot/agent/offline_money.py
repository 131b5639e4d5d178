"""How the offline stand-in writes money: ``42.00 USD``, ``6800 JPY``. Knows currencies' decimals; knows no record."""

from __future__ import annotations

from decimal import ROUND_DOWN, Decimal, InvalidOperation

from policy.model import Json
from tools.money import exponent, from_minor


def decimal(value: Json) -> Decimal | None:
    """A decimal string as a number. None: it is none."""
    try:
        found = Decimal(str(value))
    except InvalidOperation:
        return None
    return found if found.is_finite() else None


def money(value: Json | Decimal, currency: Json) -> str:
    """An amount for people to read, with the decimals the currency has."""
    code = str(currency)
    number = value if isinstance(value, Decimal) else decimal(value)
    return f"{value} {code}" if number is None else f"{number:.{exponent(code)}f} {code}"


def from_units(minor: int, currency: Json) -> str:
    """The same from minor units, as db.query returns them."""
    return money(from_minor(minor, str(currency)).amount, currency)


def part(of: Decimal, percent: Decimal, currency: Json) -> Decimal:
    """`percent` of an amount, rounded down to what the currency can pay."""
    places = Decimal(1).scaleb(-min(2, exponent(str(currency))))
    return (of * percent / 100).quantize(places, rounding=ROUND_DOWN)
