"""Money as decimal strings and minor units (ISO 4217). Knows no provider and no account; uses no float anywhere."""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal

from policy.model import Json

AMOUNT_PATTERN = r"^[0-9]{1,9}\.[0-9]{2}$"
CURRENCY_PATTERN = r"^[A-Z]{3}$"

_AMOUNT = re.compile(r"[0-9]{1,9}\.[0-9]{2}", re.ASCII)
_CURRENCY = re.compile(r"[A-Z]{3}", re.ASCII)

_NO_DECIMALS = frozenset(
    {
        *("BIF", "CLP", "DJF", "GNF", "ISK", "JPY", "KMF", "KRW", "PYG"),
        *("RWF", "UGX", "UYI", "VND", "VUV", "XAF", "XOF", "XPF"),
    }
)
_THREE_DECIMALS = frozenset({"BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND"})


class MoneyError(ValueError):
    """Not an amount of money. `str(e)` is a sentence for people."""


@dataclass(frozen=True, slots=True)
class Money:
    """A non-negative amount. Two amounts are compared and added only in the same currency."""

    amount: Decimal
    currency: str

    def __str__(self) -> str:
        """``42.00 USD``: how cards, mails and sentences spell it."""
        return f"{self.text} {self.currency}"

    @property
    def text(self) -> str:
        """The decimal string of schemas and audit: two decimals, three where the currency has three."""
        return text_of(self.amount, self.currency)


def text_of(amount: Decimal, currency: str) -> str:
    """`amount` with the two decimals that every amount is written with here (three for ``KWD`` and its like)."""
    return f"{amount:.{max(2, exponent(currency))}f}"


def exponent(currency: str) -> int:
    """How many decimals the minor unit of `currency` stands for (ISO 4217)."""
    if currency in _NO_DECIMALS:
        return 0
    return 3 if currency in _THREE_DECIMALS else 2


def parse(amount: Json, currency: Json) -> Money:
    """The money that a call's arguments name.

    Raises:
        MoneyError: anything but ``"42.00"`` and a three-letter code; a fraction the currency does not have.
    """
    if not isinstance(amount, str) or not _AMOUNT.fullmatch(amount):
        raise MoneyError('An amount is written like "42.00": digits, a point and two decimals.')
    if not isinstance(currency, str) or not _CURRENCY.fullmatch(currency):
        raise MoneyError('A currency is written as its three-letter code, like "USD".')
    value = Decimal(amount)
    if exponent(currency) == 0 and value != value.to_integral_value():
        raise MoneyError(f"{currency} has no decimals, so the amount must end in .00.")
    return Money(value, currency)


def to_minor(money: Money, decimals: int | None = None) -> int:
    """`money` in minor units. `decimals`: where a provider counts otherwise than ISO 4217.

    Raises:
        MoneyError: the amount is no whole number of minor units.
    """
    scaled = money.amount.scaleb(exponent(money.currency) if decimals is None else decimals)
    if scaled != scaled.to_integral_value():
        raise MoneyError(f"{money.amount} {money.currency} is not a whole number of the currency's smallest unit.")
    return int(scaled)


def from_minor(minor: int, currency: str, decimals: int | None = None) -> Money:
    """The money that `minor` units of `currency` are."""
    return Money(Decimal(minor).scaleb(-(exponent(currency) if decimals is None else decimals)), currency)
