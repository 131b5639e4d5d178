"""A payment provider inside the business database, for the demo and tests. Keeps the contract of `Payments`.

Knows two tables, payments and refunds; every refund is one transaction that checks, and then writes.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from sqlalchemy import insert, select
from sqlalchemy.engine import Connection

from policy.model import TenantId
from tools.actions.args import refuse
from tools.actions.payments import Payment, Refund, RefundOrder, check
from tools.business import Business, payments, refunds
from tools.money import Money, from_minor, to_minor


@dataclass(frozen=True, slots=True)
class EmbeddedLedger:
    business: Business

    async def payment(self, tenant: TenantId, payment_ref: str) -> Payment:
        return await self.business.read(lambda conn: _payment(conn, tenant, payment_ref))

    async def refund(self, order: RefundOrder) -> Refund:
        def unit(conn: Connection) -> Refund:
            # Two refunds of one payment wait for each other here (SQLite has one writer anyway).
            row = select(payments.c.id).where(payments.c.tenant == order.tenant, payments.c.id == order.payment_ref)
            conn.execute(row.with_for_update())
            made = check(_payment(conn, order.tenant, order.payment_ref), order)
            return made if made is not None else _insert(conn, order)

        return await self.business.write(unit)


def _insert(conn: Connection, order: RefundOrder) -> Refund:
    used = select(refunds.c.id).where(refunds.c.tenant == order.tenant, refunds.c.idempotency_key == order.key)
    if conn.execute(used).one_or_none() is not None:
        raise refuse("This key already stands for another refund. Nothing was refunded; ask for it anew.")
    refund_id = "re_" + hashlib.sha256(f"{order.tenant}\0{order.key}".encode()).hexdigest()[:24]
    conn.execute(
        insert(refunds).values(
            tenant=order.tenant,
            id=refund_id,
            order_id=order.order_id,
            payment_id=order.payment_ref,
            amount_minor=to_minor(order.money),
            currency=order.money.currency,
            reason=order.reason,
            refunded_at=order.now,
            call_id=order.call_id,
            idempotency_key=order.key,
        )
    )
    return Refund(refund_id, order.money, order.now, order.call_id)


def _payment(conn: Connection, tenant: TenantId, payment_id: str) -> Payment:
    row = conn.execute(select(payments).where(payments.c.tenant == tenant, payments.c.id == payment_id)).one_or_none()
    if row is None:
        raise refuse(f"There is no payment {payment_id}. Nothing was refunded.")
    query = select(refunds).where(refunds.c.tenant == tenant, refunds.c.payment_id == payment_id)
    made = tuple(
        Refund(r.id, from_minor(r.amount_minor, r.currency), r.refunded_at, r.call_id)
        for r in conn.execute(query.order_by(refunds.c.refunded_at, refunds.c.id))
    )
    paid = from_minor(row.amount_minor, row.currency)
    total = sum((refund.money.amount for refund in made), start=paid.amount - paid.amount)
    return Payment(
        ref=row.id,
        paid=paid,
        method=row.method,
        last4=row.last4,
        at=row.paid_at,
        refunds=made,
        refunded=Money(total, paid.currency),
    )
