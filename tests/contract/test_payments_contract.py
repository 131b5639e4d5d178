"""One suite over every payment provider: never more back than what was paid, the same key never twice."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest
from sqlalchemy import insert

from policy.model import TenantId
from tests.rigs.localstripe_server import KEY, charge, localstripe
from tools.actions.embedded_ledger import EmbeddedLedger
from tools.actions.payments import Payments, Refund, RefundOrder
from tools.actions.stripe_payments import StripeAccount, StripePayments
from tools.business import Business, customers, open_business, orders, payments
from tools.credentials import Secret
from tools.money import Money, to_minor
from tools.spec import ActionError, Certainty

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
TENANT = TenantId("demo")


@dataclass(frozen=True, slots=True)
class Provider:
    payments: Payments
    pay: Callable[[Money], Awaitable[str]]
    """Somebody pays; the reference of the payment."""


@pytest.fixture(scope="module")
def stripe_base(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder: Path = tmp_path_factory.mktemp("localstripe")
    with localstripe(folder) as base:
        yield base


@pytest.fixture(params=["embedded-sqlite", "embedded-postgres", "stripe"])
async def provider(request: pytest.FixtureRequest) -> AsyncIterator[Provider]:
    if request.param == "stripe":
        base: str = request.getfixturevalue("stripe_base")
        account = StripeAccount(Secret("STRIPE_API_KEY", KEY), base)
        yield Provider(StripePayments(account), lambda money: charge(base, to_minor(money), money.currency))
        return
    kind = request.param.removeprefix("embedded-")
    business = open_business(request.getfixturevalue(f"{kind}_url"))
    try:
        yield Provider(EmbeddedLedger(business), lambda money: _pay(business, money))
    finally:
        business.close()


async def _pay(business: Business, money: Money, payment: str = "pay_1") -> str:
    who = {"tenant": TENANT, "id": "C-1", "name": "Ada", "email": "ada@example.com", "created_at": NOW}
    minor, code = to_minor(money), money.currency
    order = {"tenant": TENANT, "id": "1", "customer_id": "C-1", "status": "paid", "currency": code}
    paid = {"tenant": TENANT, "id": payment, "order_id": "1", "customer_id": "C-1", "amount_minor": minor}
    await business.write(lambda conn: conn.execute(insert(customers).values(who)).rowcount)
    await business.write(
        lambda conn: conn.execute(insert(orders).values({**order, "total_minor": minor, "placed_at": NOW})).rowcount
    )
    rest = {"currency": code, "method": "card", "last4": "4242", "paid_at": NOW, "provider_ref": payment}
    await business.write(lambda conn: conn.execute(insert(payments).values({**paid, **rest})).rowcount)
    return payment


def usd(amount: str) -> Money:
    return Money(Decimal(amount), "USD")


def order(ref: str, money: Money, call: str = "call-1", key: str | None = None) -> RefundOrder:
    return RefundOrder(TENANT, "1", ref, money, "The parcel never came", call, key or f"key-{ref}-{call}", NOW)


async def test_a_payment_is_read_as_it_was_made(provider: Provider) -> None:
    ref = await provider.pay(usd("84.00"))
    paid = await provider.payments.payment(TENANT, ref)
    assert (paid.ref, paid.paid, paid.refunded, paid.refunds) == (ref, usd("84.00"), usd("0.00"), ())
    assert paid.left("any") == usd("84.00")


async def test_partial_refunds_add_up(provider: Provider) -> None:
    ref = await provider.pay(usd("84.00"))
    first = await provider.payments.refund(order(ref, usd("42.00"), "a"))
    second = await provider.payments.refund(order(ref, usd("30.01"), "b"))
    paid = await provider.payments.payment(TENANT, ref)
    assert {refund.id for refund in paid.refunds} == {first.id, second.id}
    assert (paid.refunded, paid.left("c")) == (usd("72.01"), usd("11.99"))
    assert (paid.before("a"), paid.left("a")) == (usd("30.01"), usd("53.99"))
    assert paid.of("a") is not None
    assert paid.of("c") is None
    assert paid.of("") is None


async def test_the_same_key_pays_back_once(provider: Provider) -> None:
    ref = await provider.pay(usd("84.00"))
    first = await provider.payments.refund(order(ref, usd("84.00")))
    again = await provider.payments.refund(order(ref, usd("84.00")))
    assert first.id == again.id
    assert (await provider.payments.payment(TENANT, ref)).refunded == usd("84.00")


async def test_the_same_call_with_another_amount_pays_nothing_more(provider: Provider) -> None:
    ref = await provider.pay(usd("84.00"))
    await provider.payments.refund(order(ref, usd("10.00")))
    with pytest.raises(ActionError):
        await provider.payments.refund(order(ref, usd("20.00")))
    assert (await provider.payments.payment(TENANT, ref)).refunded == usd("10.00")


@pytest.mark.parametrize("amount", ["84.01", "999999.00", "0.00"])
async def test_never_more_than_what_was_paid(provider: Provider, amount: str) -> None:
    ref = await provider.pay(usd("84.00"))
    with pytest.raises(ActionError) as caught:
        await provider.payments.refund(order(ref, usd(amount)))
    assert caught.value.certainty is Certainty.NOT_DONE
    assert (await provider.payments.payment(TENANT, ref)).refunds == ()


async def test_many_at_once_never_pay_back_more_than_was_paid(provider: Provider) -> None:
    ref = await provider.pay(usd("84.00"))

    async def refund(call: int) -> Refund | ActionError:
        try:
            return await provider.payments.refund(order(ref, usd("30.00"), f"call-{call}"))
        except ActionError as error:
            return error

    results = await asyncio.gather(*(refund(call) for call in range(6)))
    assert sum(isinstance(result, Refund) for result in results) == 2
    assert all(r.certainty is Certainty.NOT_DONE for r in results if isinstance(r, ActionError))
    assert (await provider.payments.payment(TENANT, ref)).refunded == usd("60.00")


async def test_the_same_key_at_the_same_time_pays_back_once(provider: Provider) -> None:
    ref = await provider.pay(usd("84.00"))
    made = await asyncio.gather(*(provider.payments.refund(order(ref, usd("30.00"))) for _ in range(5)))
    assert len({refund.id for refund in made}) == 1
    assert (await provider.payments.payment(TENANT, ref)).refunded == usd("30.00")


async def test_another_currency_is_refused(provider: Provider) -> None:
    ref = await provider.pay(usd("84.00"))
    with pytest.raises(ActionError, match="paid in USD"):
        await provider.payments.refund(order(ref, Money(Decimal("1.00"), "EUR")))


async def test_a_currency_without_decimals_is_counted_in_whole_units(provider: Provider) -> None:
    ref = await provider.pay(Money(Decimal(5000), "JPY"))
    await provider.payments.refund(order(ref, Money(Decimal("1500.00"), "JPY")))
    paid = await provider.payments.payment(TENANT, ref)
    assert (paid.refunded.amount, paid.left("x").amount) == (Decimal(1500), Decimal(3500))


async def test_an_unknown_payment_is_refused(provider: Provider) -> None:
    for ref in ("ch_nothing", "nothing", "pi_nothing"):
        with pytest.raises(ActionError) as caught:
            await provider.payments.payment(TENANT, ref)
        assert caught.value.certainty is Certainty.NOT_DONE
        with pytest.raises(ActionError) as caught:
            await provider.payments.refund(order(ref, usd("1.00")))
        assert caught.value.certainty is Certainty.NOT_DONE
