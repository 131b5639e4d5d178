"""What a payment provider must answer, whoever it is (Protocol). Knows no provider and no order.

One suite, tests/contract/test_payments_contract.py, runs over every implementation. Each of them keeps, by itself
and whatever the provider accepts: never more back than what was paid; the same key never twice.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Protocol

from policy.model import TenantId
from tools.actions.args import refuse
from tools.money import Money
from tools.spec import ActionError, Certainty


@dataclass(frozen=True, slots=True)
class Refund:
    """Money that went back, or is on its way."""

    id: str
    money: Money
    at: datetime
    call_id: str
    """The call it was made for; empty when somebody made it elsewhere."""
    pending: bool = False


@dataclass(frozen=True, slots=True)
class Payment:
    """A payment as its provider has it now."""

    ref: str
    """What is refunded (``ch_…``): part of what an approver signs."""
    paid: Money
    method: str
    last4: str
    at: datetime
    refunds: tuple[Refund, ...]
    """Refunds that took effect or may still; failed ones are left out. Oldest first."""
    refunded: Money
    """The provider's own sum, at least that of `refunds`."""

    def before(self, call_id: str) -> Money:
        """What was refunded apart from `call_id`: asking again for a call that is done finds it as it was."""
        own = sum((r.money.amount for r in self.refunds if r.call_id == call_id), Decimal(0))
        return Money(self.refunded.amount - own, self.paid.currency)

    def left(self, call_id: str) -> Money:
        """What can still be refunded by `call_id`; never below zero."""
        return Money(max(Decimal(0), self.paid.amount - self.before(call_id).amount), self.paid.currency)

    def of(self, call_id: str) -> Refund | None:
        """The refund made for `call_id`."""
        return next((refund for refund in self.refunds if call_id and refund.call_id == call_id), None)


@dataclass(frozen=True, slots=True)
class RefundOrder:
    """One refund to be made, once, under `key`."""

    tenant: TenantId
    order_id: str
    payment_ref: str
    money: Money
    reason: str
    call_id: str
    key: str
    now: datetime


class Payments(Protocol):
    """A payment provider. Raises `ActionError` and nothing else."""

    async def payment(self, tenant: TenantId, payment_ref: str) -> Payment:
        """The payment, read anew. `payment_ref` may be any name the provider has for it."""

    async def refund(self, order: RefundOrder) -> Refund:
        """Pays back. Called again with the same key it returns the refund it made."""


def check(payment: Payment, order: RefundOrder) -> Refund | None:
    """Before anything is paid back: the refund that `order` has already become, None if it may be made now.

    Raises:
        ActionError: more than what is left, another currency, or a call that stands for another amount.
    """
    made = payment.of(order.call_id)
    if made is not None:
        if made.money != order.money:
            raise ActionError(
                f"This request has already refunded {made.money} ({made.id}), not {order.money}. Nothing more was "
                "paid back; somebody has to look.",
                Certainty.UNKNOWN,
            )
        return made
    refuse_over(payment, order.money, order.order_id, order.call_id)
    return None


def refuse_over(payment: Payment, money: Money, order_id: str, call_id: str) -> None:
    """Refuses what cannot be paid back out of `payment`.

    Raises:
        ActionError: nothing asked for, another currency, or more than what is left.
    """
    if money.amount <= 0:
        raise refuse("A refund must be more than zero.")
    if money.currency != payment.paid.currency:
        raise refuse(
            f"Order {order_id} was paid in {payment.paid.currency}, so it cannot be refunded in {money.currency}. "
            "Nothing was refunded."
        )
    left = payment.left(call_id)
    if money.amount > left.amount:
        rest = "nothing is left" if left.amount == 0 else f"at most {left} is left"
        raise refuse(
            f"{money} cannot be refunded for order {order_id}: {payment.paid} was paid, "
            f"{payment.before(call_id)} was refunded before, {rest}. Nothing was refunded."
        )
