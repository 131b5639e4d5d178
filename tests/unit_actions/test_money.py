"""Money is exact in every currency, and nothing but money is money."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policy.model import Json
from tools.money import Money, MoneyError, from_minor, parse, to_minor


@pytest.mark.parametrize(
    ("amount", "currency", "minor", "text"),
    [
        ("42.00", "USD", 4200, "42.00 USD"),
        ("0.01", "EUR", 1, "0.01 EUR"),
        ("1500.00", "JPY", 1500, "1500.00 JPY"),
        ("1.50", "KWD", 1500, "1.500 KWD"),
        ("999999999.99", "USD", 99999999999, "999999999.99 USD"),
    ],
)
def test_minor_units_follow_the_currency(amount: str, currency: str, minor: int, text: str) -> None:
    money = parse(amount, currency)
    assert to_minor(money) == minor
    assert from_minor(minor, currency) == money
    assert str(money) == text


@pytest.mark.parametrize(
    ("amount", "currency"),
    [
        ("42", "USD"),
        ("42.0", "USD"),
        ("-1.00", "USD"),
        ("+1.00", "USD"),
        ("1e3.00", "USD"),
        ("NaN", "USD"),
        ("1,000.00", "USD"),
        (" 1.00", "USD"),
        ("1.00\n", "USD"),
        ("\u0661.00", "USD"),
        ("1.00", "usd"),
        ("1.00", "US"),
        ("1.00", "USD\n"),
        ("1000000000.00", "USD"),
        (42, "USD"),
        (4.2, "USD"),
        (None, None),
        (["1.00"], "USD"),
        ("10.50", "JPY"),
    ],
)
def test_what_is_no_money_is_refused(amount: Json, currency: Json) -> None:
    with pytest.raises(MoneyError):
        parse(amount, currency)


@given(st.integers(0, 10**12), st.sampled_from(["USD", "JPY", "KWD", "EUR"]))
def test_minor_units_come_back_unchanged(minor: int, currency: str) -> None:
    assert to_minor(from_minor(minor, currency)) == minor


def test_a_fraction_of_a_minor_unit_is_never_rounded_away() -> None:
    with pytest.raises(MoneyError):
        to_minor(Money(Decimal("1.005"), "USD"))
