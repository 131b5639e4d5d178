"""refund.issue: money back for one order, to the way it was paid. Never more than what was paid.

Knows the order, its customer and a payment provider; knows no approval, no limit and no reservation of others.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import insert, select
from sqlalchemy.engine import Connection

from policy.model import Json, TenantId
from tools.actions import records
from tools.actions.args import day, reads, refuse, takes_effect, text
from tools.actions.payments import Payment, Payments, Refund, RefundOrder, refuse_over
from tools.business import Business, refunds
from tools.money import AMOUNT_PATTERN, CURRENCY_PATTERN, Money, MoneyError, parse, to_minor
from tools.spec import ActionError, Args, CallContext, Fact, OutputClass, Reservation, Resolved, ToolResult

REASON_LIMIT = 500

DESCRIPTION = (
    "Refund a customer for one order, in part or in full, to the way it was paid. People have to approve it before "
    "any money moves. Read the order first: the amount cannot be more than what was paid and not yet refunded, and "
    "the currency must be the one it was paid in. Ask for one refund with the whole amount, not for several."
)

SCHEMA: Mapping[str, Json] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "additionalProperties": False,
    "required": ["order_id", "amount", "currency", "reason"],
    "properties": {
        "order_id": {"type": "string", "minLength": 1, "maxLength": 32, "description": 'Order number, like "1042".'},
        "amount": {
            "type": "string",
            "pattern": AMOUNT_PATTERN,
            "description": 'Amount as a decimal string with two decimals, like "42.00".',
        },
        "currency": {
            "type": "string",
            "pattern": CURRENCY_PATTERN,
            "description": 'ISO 4217 code, like "USD"; the one the order was paid in.',
        },
        "reason": {
            "type": "string",
            "minLength": 1,
            "maxLength": REASON_LIMIT,
            "description": "Why, in the requester's words; the approver reads it.",
        },
    },
}

EXAMPLE = "Refund order 1042, 42 dollars, the parcel never came"


@dataclass(frozen=True, slots=True)
class _Case:
    """What a refund is about, as the systems of record have it now."""

    order: records.Order
    customer: records.Customer
    payment: Payment
    money: Money
    reason: str


@dataclass(frozen=True, slots=True)
class RefundIssue:
    business: Business
    payments: Payments

    @reads
    async def resolve(self, ctx: CallContext, args: Args) -> Resolved:
        case = await self._case(ctx, args)
        payment, money = case.payment, case.money
        return Resolved(
            arguments={
                "order_id": case.order.id,
                "amount": money.text,
                "currency": money.currency,
                "reason": case.reason,
            },
            headline=f"Refund {money} for order {case.order.id} to {case.customer.name}",
            facts=_facts(ctx, case),
            reservation=Reservation(
                resource=f"order:{case.order.id}",
                amount=money.amount,
                currency=money.currency,
                available=payment.left(ctx.call_id).amount,
                read_at=ctx.now,
            ),
            # Not what was refunded before: a second rightful refund must not void the first. That there is still
            # enough left is checked anew each time, here and by the provider's adapter.
            stable={
                "payment": payment.ref,
                "paid": payment.paid.text,
                "currency": payment.paid.currency,
                "customer_id": case.customer.id,
            },
        )

    @takes_effect
    async def run(self, ctx: CallContext, args: Args) -> ToolResult:
        # The provider's adapter reads the payment anew and refuses what does not fit it.
        order_id, money, reason = _read(args)
        _, _, ref = await self.business.read(lambda conn: _paid_order(conn, ctx.principal.tenant, order_id))
        order = RefundOrder(
            tenant=ctx.principal.tenant,
            order_id=order_id,
            payment_ref=ref,
            money=money,
            reason=reason,
            call_id=ctx.call_id,
            key=ctx.idempotency_key,
            now=ctx.now,
        )
        made = await self.payments.refund(order)
        noted = await self._note(order, made)
        return _result(order_id, made, noted)

    @reads
    async def look_up(self, ctx: CallContext, args: Args) -> ToolResult | None:
        order_id = records.order_number(text(args, "order_id", limit=40))
        row = await self.business.read(lambda conn: records.payment_of(conn, ctx.principal.tenant, order_id))
        if row is None:
            return None
        made = (await self.payments.payment(ctx.principal.tenant, row.provider_ref)).of(ctx.call_id)
        return None if made is None else _result(order_id, made, noted=True)

    async def _case(self, ctx: CallContext, args: Args) -> _Case:
        order_id, money, reason = _read(args)
        order, customer, ref = await self.business.read(lambda conn: _paid_order(conn, ctx.principal.tenant, order_id))
        payment = await self.payments.payment(ctx.principal.tenant, ref)
        refuse_over(payment, money, order_id, ctx.call_id)
        return _Case(order, customer, payment, money, reason)

    async def _note(self, order: RefundOrder, made: Refund) -> bool:
        """Keeps the business's own ledger in step with a provider elsewhere. The refund itself is done by now."""

        def unit(conn: Connection) -> None:
            key = (refunds.c.tenant == order.tenant) & (refunds.c.idempotency_key == order.key)
            if conn.execute(select(refunds.c.id).where(key)).one_or_none() is not None:
                return
            payment = records.payment_of(conn, order.tenant, order.order_id)
            conn.execute(
                insert(refunds).values(
                    tenant=order.tenant,
                    id=made.id,
                    order_id=order.order_id,
                    payment_id=order.payment_ref if payment is None else payment.id,
                    amount_minor=to_minor(made.money),
                    currency=made.money.currency,
                    reason=order.reason,
                    refunded_at=made.at,
                    call_id=order.call_id,
                    idempotency_key=order.key,
                )
            )

        try:
            await self.business.write(unit)
        except ActionError:
            return False
        return True


def _read(args: Args) -> tuple[str, Money, str]:
    """Order number, money and reason out of the arguments."""
    order_id = records.order_number(text(args, "order_id", limit=40))
    reason = text(args, "reason", limit=REASON_LIMIT, multiline=True)
    try:
        return order_id, parse(args.get("amount"), args.get("currency")), reason
    except MoneyError as error:
        raise refuse(str(error)) from error


def _paid_order(conn: Connection, tenant: TenantId, order_id: str) -> tuple[records.Order, records.Customer, str]:
    order = records.order_by_id(conn, tenant, order_id)
    if order is None:
        raise refuse(f"There is no order {order_id}. Check the number with crm.read.")
    row = records.payment_of(conn, tenant, order_id)
    if row is None:
        raise refuse(f"Order {order_id} ({order.total}) has not been paid, so there is nothing to refund.")
    customer = records.customer_by_id(conn, tenant, order.customer_id)
    if customer is None or row.customer_id != order.customer_id:
        raise refuse(f"The payment of order {order_id} is another customer's. Nothing was refunded; tell finance.")
    return order, customer, row.provider_ref


def _facts(ctx: CallContext, case: _Case) -> tuple[Fact, ...]:
    payment, order = case.payment, case.order
    before, left = payment.before(ctx.call_id), payment.left(ctx.call_id)
    others = [refund for refund in payment.refunds if refund.call_id != ctx.call_id]
    recent = sum(1 for refund in others if refund.at > ctx.now - timedelta(days=1))
    times = f" in {len(others)} refund{'' if len(others) == 1 else 's'}" if others else ""
    how = f"{payment.method} ending {payment.last4}" if payment.last4 else payment.method
    after = Money(left.amount - case.money.amount, left.currency)
    facts = [
        Fact("Customer", f"{case.customer.label}, {case.customer.email}"),
        Fact("Order", f"{order.id}, {_state(order)}, {', '.join(order.items) or 'no items'}"),
        Fact("Paid", f"{payment.paid} on {day(payment.at)}, {how}"),
        Fact("Refunded before", f"{before}{times}" if before.amount else "nothing", warning=before.amount > 0),
        Fact("Left to refund", f"{left}, {after} after this"),
        Fact("Reason, not checked", case.reason),
    ]
    if recent:
        word = "another refund" if recent == 1 else f"{recent} other refunds"
        facts.append(Fact("Repeated", f"There was {word} of this order in the last 24 hours.", warning=True))
    return tuple(facts)


def _state(order: records.Order) -> str:
    if order.delivered_at is not None:
        return f"{order.status} on {day(order.delivered_at)}"
    if order.shipped_at is not None:
        return f"{order.status} on {day(order.shipped_at)}"
    return f"{order.status}, placed on {day(order.placed_at)}"


def _result(order_id: str, made: Refund, noted: bool) -> ToolResult:
    state = "pending" if made.pending else "succeeded"
    later = " It is on its way; the provider has not confirmed it yet." if made.pending else ""
    gap = "" if noted else " The business ledger could not be updated; tell finance to add it."
    return ToolResult(
        content={
            "order_id": order_id,
            "refund_id": made.id,
            "amount": made.money.text,
            "currency": made.money.currency,
            "status": state,
        },
        sentence=f"Refunded {made.money} for order {order_id} ({made.id}).{later}{gap}",
        reference=made.id,
        output_class=OutputClass.INTERNAL,
    )
