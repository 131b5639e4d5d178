"""Payments at Stripe, through the official SDK. Keeps the contract of `Payments` whatever the server accepts.

Knows charges, payment intents and refunds (https://docs.stripe.com/api/refunds); knows no order and no approval.
Stripe keeps idempotency keys for at least 24 hours (https://docs.stripe.com/api/idempotent_requests).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from weakref import WeakValueDictionary

import aiohttp
import stripe

from policy.model import TenantId
from tools.actions.args import refuse
from tools.actions.payments import Payment, Refund, RefundOrder, check
from tools.credentials import Secret
from tools.money import Money, exponent, from_minor, to_minor
from tools.spec import ActionError, Certainty

KEY_LIFETIME_S = 23 * 3600
"""Within Stripe's 24 hours, with an hour to spare for clocks."""

# Where Stripe counts minor units otherwise than ISO 4217 (https://docs.stripe.com/currencies, special cases).
_DECIMALS = {"ISK": 2, "UGX": 2, "MGA": 0}
_DEAD = frozenset({"failed", "canceled"})


@dataclass(frozen=True, slots=True)
class StripeAccount:
    """Whose money. `base` is another server that speaks the same API, for tests; None is Stripe itself."""

    api_key: Secret
    base: str | None = None
    timeout_s: float = 12.0
    """For reading the payment, and again for making the refund: together less than the door waits."""


@dataclass(frozen=True, slots=True)
class StripePayments:
    account: StripeAccount
    _locks: WeakValueDictionary[str, asyncio.Lock] = field(default_factory=WeakValueDictionary, repr=False)
    """One refund of a charge at a time in this process; across processes the door's reservations hold."""

    async def payment(self, tenant: TenantId, payment_ref: str) -> Payment:
        async with self._client(Certainty.NOT_DONE) as client:
            return await _read(client, payment_ref)

    async def refund(self, order: RefundOrder) -> Refund:
        lock = self._locks.setdefault(order.payment_ref, asyncio.Lock())
        async with lock:
            async with self._client(Certainty.NOT_DONE) as client:
                payment = await _read(client, order.payment_ref)
            made = check(payment, order)
            if made is not None:
                return made
            async with self._client(Certainty.UNKNOWN) as client:
                return await _create(client, payment.ref, order)

    @asynccontextmanager
    async def _client(self, lost: Certainty) -> AsyncIterator[stripe.StripeClient]:
        """A client for a few requests. `lost`: what is known when a request went out and no answer came."""
        timeout = aiohttp.ClientTimeout(total=self.account.timeout_s, connect=min(10.0, self.account.timeout_s))
        try:
            async with asyncio.timeout(self.account.timeout_s), aiohttp.ClientSession(timeout=timeout) as session:
                yield stripe.StripeClient(
                    self.account.api_key.reveal(),
                    base_addresses=None if self.account.base is None else {"api": self.account.base},
                    max_network_retries=0,  # a second try is the door's decision, never the SDK's
                    http_client=stripe.AIOHTTPClient(session=session, timeout=timeout),
                )
        except ActionError:
            raise
        except stripe.StripeError as error:
            raise _spoken(error, lost) from error
        except Exception as error:
            raise _silent(lost) from error


async def _read(client: stripe.StripeClient, ref: str) -> Payment:
    charge = await _charge(client, ref)
    if charge.status != "succeeded":
        raise refuse(f"Stripe has the payment {ref} as {charge.status}. Nothing can be refunded.")
    currency = charge.currency.upper()
    page = await client.v1.refunds.list_async({"charge": charge.id, "limit": 100})
    made = [_refund(refund, currency) async for refund in page.auto_paging_iter() if refund.status not in _DEAD]
    made.sort(key=lambda refund: (refund.at, refund.id))
    listed = sum(to_minor(refund.money, _decimals(currency)) for refund in made)
    card = _part(_part(charge, "payment_method_details"), "card")
    return Payment(
        ref=charge.id,
        paid=_money(charge.amount, currency),
        method="card" if card is not None else "payment",
        last4=_text(card, "last4"),
        at=datetime.fromtimestamp(charge.created, UTC),
        refunds=tuple(made),
        refunded=_money(max(listed, charge.amount_refunded), currency),
    )


async def _charge(client: stripe.StripeClient, ref: str) -> stripe.Charge:
    if not ref.startswith("pi_"):
        return await client.v1.charges.retrieve_async(ref)
    intent = await client.v1.payment_intents.retrieve_async(ref, {"expand": ["latest_charge"]})
    charge = intent.latest_charge
    if not isinstance(charge, stripe.Charge):
        raise refuse(f"Stripe has no payment behind {ref} yet. Nothing can be refunded.")
    return charge


async def _create(client: stripe.StripeClient, charge_id: str, order: RefundOrder) -> Refund:
    currency = order.money.currency
    made = await client.v1.refunds.create_async(
        {
            "charge": charge_id,
            "amount": to_minor(order.money, _decimals(currency)),
            "metadata": {
                "call_id": order.call_id,
                "tenant": order.tenant,
                "order_id": order.order_id,
                "reason": order.reason[:500],
            },
        },
        {"idempotency_key": order.key},
    )
    if made.status in _DEAD:
        raise refuse(f"Stripe did not make the refund: it is {made.status} ({made.id}). Nothing was paid back.")
    return _refund(made, currency)


def _refund(refund: stripe.Refund, currency: str) -> Refund:
    return Refund(
        id=refund.id,
        money=_money(refund.amount, currency),
        at=datetime.fromtimestamp(refund.created, UTC),
        call_id=_text(refund.metadata, "call_id"),
        pending=refund.status != "succeeded",
    )


def _spoken(error: stripe.StripeError, lost: Certainty) -> ActionError:
    """What Stripe answered, as a sentence, with what is known of the effect."""
    status = error.http_status or 0
    match error:
        case stripe.APIConnectionError():
            cause = error.__cause__
            if isinstance(cause, (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError)):
                return refuse("Stripe could not be reached. Nothing was refunded; try again later.", retryable=True)
            return _silent(lost)
        case stripe.RateLimitError():
            return refuse("Stripe is busy. Nothing was refunded; try again in a minute.", retryable=True)
        case stripe.AuthenticationError() | stripe.PermissionError():
            return refuse("Stripe refused Countersign's key. Nothing was refunded; tell an admin.")
        case stripe.IdempotencyError():
            return ActionError(
                "Stripe knows this request's key from a different refund. It is not known what was paid back under "
                "it; look at the payment in Stripe.",
                Certainty.UNKNOWN,
            )
        case stripe.InvalidRequestError() if status == 404:
            return refuse("Stripe does not know this payment. Nothing was refunded; check the order's payment.")
        case stripe.InvalidRequestError() | stripe.CardError() if status != 409:
            code = f" ({error.code})" if error.code else ""
            return refuse(f"Stripe refused the refund{code}. Nothing was paid back; look at the payment in Stripe.")
        case _:
            return _silent(lost)


def _silent(lost: Certainty) -> ActionError:
    if lost is Certainty.NOT_DONE:
        return refuse("Stripe did not answer. Nothing was refunded; try again later.", retryable=True)
    return ActionError(
        "Stripe did not answer after the refund had been sent to it. It is not known whether it was made; look at "
        "the payment in Stripe before repeating it.",
        Certainty.UNKNOWN,
    )


def _part(whole: stripe.StripeObject | None, name: str) -> stripe.StripeObject | None:
    """A nested object that not every payment method, nor every server, has."""
    part = whole[name] if whole is not None and name in whole else None
    return part if isinstance(part, stripe.StripeObject) else None


def _text(whole: stripe.StripeObject | None, name: str) -> str:
    value = whole[name] if whole is not None and name in whole else None
    return value if isinstance(value, str) else ""


def _decimals(currency: str) -> int:
    return _DECIMALS.get(currency, exponent(currency))


def _money(minor: int, currency: str) -> Money:
    return from_minor(minor, currency, _decimals(currency))
