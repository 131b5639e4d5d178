"""Reading the business records that several actions need: customers and orders of one tenant.

Knows the tables of `tools.business`; knows no tool. Answers are JSON for the model, money as decimal strings.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Select, func, or_, select
from sqlalchemy.engine import Connection, Row

from audit.types import iso
from policy.model import Json, TenantId
from tools.business import customers, order_items, orders, payments, refunds
from tools.money import Money, from_minor

_CUSTOMER_ID = re.compile(r"[Cc]-[0-9]{1,10}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Customer:
    """A customer as the CRM has them now. `note` is untrusted."""

    id: str
    name: str
    email: str
    phone: str
    address: str
    tier: str
    note: str
    created_at: datetime
    version: int

    @property
    def label(self) -> str:
        """``Ada Lindqvist (C-1007)``."""
        return f"{self.name} ({self.id})"

    def json(self) -> dict[str, Json]:
        return {
            "customer_id": self.id,
            "name": self.name,
            "email": self.email,
            "phone": self.phone,
            "address": self.address,
            "tier": self.tier,
            "note": self.note,
            "customer_since": iso(self.created_at)[:10],
        }


@dataclass(frozen=True, slots=True)
class Order:
    id: str
    customer_id: str
    status: str
    total: Money
    placed_at: datetime
    shipped_at: datetime | None
    delivered_at: datetime | None
    tracking: str
    items: tuple[str, ...]
    """``2 x Ceramic mug``."""


@dataclass(frozen=True, slots=True)
class PaymentRow:
    """What the business recorded of a payment; the provider has the last word on amounts."""

    id: str
    order_id: str
    customer_id: str
    amount: Money
    method: str
    last4: str
    paid_at: datetime
    provider_ref: str


def is_customer_id(key: str) -> bool:
    return _CUSTOMER_ID.fullmatch(key) is not None


def order_number(key: str) -> str:
    """``1042`` out of ``#1042``, ``order 1042`` or ``1042``."""
    return re.sub(r"^(order\s*)?#?\s*", "", key.strip(), flags=re.IGNORECASE)


def customer_by_id(conn: Connection, tenant: TenantId, customer_id: str) -> Customer | None:
    return _one(conn, select(customers).where(customers.c.tenant == tenant, customers.c.id == customer_id.upper()))


def customers_by_email(conn: Connection, tenant: TenantId, email: str) -> tuple[Customer, ...]:
    """Everybody with that address, whatever its case."""
    query = select(customers).where(customers.c.tenant == tenant, func.lower(customers.c.email) == email.lower())
    return tuple(_customer(row) for row in conn.execute(query.order_by(customers.c.id)))


def customer_of(conn: Connection, tenant: TenantId, key: str) -> Customer | None:
    """By customer id or e-mail address. An address that two customers share finds neither."""
    if is_customer_id(key):
        return customer_by_id(conn, tenant, key)
    found = customers_by_email(conn, tenant, key)
    return found[0] if len(found) == 1 else None


def search_customers(conn: Connection, tenant: TenantId, words: str, limit: int) -> tuple[Customer, ...]:
    """Customers in whose name, address, e-mail, phone or id every one of `words` occurs."""
    query = select(customers).where(customers.c.tenant == tenant)
    for word in words.split()[:8]:
        like = f"%{_escaped(word.lower())}%"
        columns = (customers.c.name, customers.c.email, customers.c.phone, customers.c.address, customers.c.id)
        query = query.where(or_(*(func.lower(column).like(like, escape="\\") for column in columns)))
    return tuple(_customer(row) for row in conn.execute(query.order_by(customers.c.id).limit(limit)))


def order_by_id(conn: Connection, tenant: TenantId, order_id: str) -> Order | None:
    row = conn.execute(select(orders).where(orders.c.tenant == tenant, orders.c.id == order_id)).one_or_none()
    return None if row is None else _order(conn, row)


def orders_of(conn: Connection, tenant: TenantId, customer_id: str, limit: int) -> tuple[Order, ...]:
    """The customer's orders, newest first."""
    query = select(orders).where(orders.c.tenant == tenant, orders.c.customer_id == customer_id)
    query = query.order_by(orders.c.placed_at.desc(), orders.c.id.desc()).limit(limit)
    return tuple(_order(conn, row) for row in conn.execute(query).all())


def payment_of(conn: Connection, tenant: TenantId, order_id: str) -> PaymentRow | None:
    """The payment of an order, None when it was never paid."""
    query = select(payments).where(payments.c.tenant == tenant, payments.c.order_id == order_id)
    row = conn.execute(query).one_or_none()
    if row is None:
        return None
    return PaymentRow(
        id=row.id,
        order_id=row.order_id,
        customer_id=row.customer_id,
        amount=from_minor(row.amount_minor, row.currency),
        method=row.method,
        last4=row.last4,
        paid_at=row.paid_at,
        provider_ref=row.provider_ref,
    )


def refunded_minor(conn: Connection, tenant: TenantId, order_id: str) -> int:
    """What the business's own ledger says was refunded of an order, in minor units."""
    query = select(func.coalesce(func.sum(refunds.c.amount_minor), 0))
    return int(conn.execute(query.where(refunds.c.tenant == tenant, refunds.c.order_id == order_id)).scalar_one())


def order_json(conn: Connection, tenant: TenantId, order: Order) -> dict[str, Json]:
    """An order with what was paid and refunded."""
    payment = payment_of(conn, tenant, order.id)
    body: dict[str, Json] = {
        "order_id": order.id,
        "customer_id": order.customer_id,
        "status": order.status,
        "total": order.total.text,
        "currency": order.total.currency,
        "placed_on": iso(order.placed_at)[:10],
        "shipped_on": None if order.shipped_at is None else iso(order.shipped_at)[:10],
        "delivered_on": None if order.delivered_at is None else iso(order.delivered_at)[:10],
        "tracking": order.tracking,
        "items": list(order.items),
        "paid": None,
        "refunded": None,
    }
    if payment is not None:
        body["paid"] = payment.amount.text
        body["refunded"] = from_minor(refunded_minor(conn, tenant, order.id), payment.amount.currency).text
    return body


def _one(conn: Connection, query: Select[Any]) -> Customer | None:
    row = conn.execute(query).one_or_none()
    return None if row is None else _customer(row)


def _customer(row: Row[Any]) -> Customer:
    return Customer(
        id=row.id,
        name=row.name,
        email=row.email,
        phone=row.phone,
        address=row.address,
        tier=row.tier,
        note=row.note,
        created_at=row.created_at,
        version=row.version,
    )


def _order(conn: Connection, row: Row[Any]) -> Order:
    query = select(order_items).where(order_items.c.tenant == row.tenant, order_items.c.order_id == row.id)
    lines = conn.execute(query.order_by(order_items.c.line))
    return Order(
        id=row.id,
        customer_id=row.customer_id,
        status=row.status,
        total=from_minor(row.total_minor, row.currency),
        placed_at=row.placed_at,
        shipped_at=row.shipped_at,
        delivered_at=row.delivered_at,
        tracking=row.tracking,
        items=tuple(f"{line.quantity} x {line.title}" for line in lines),
    )


def _escaped(word: str) -> str:
    return word.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
