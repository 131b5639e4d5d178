"""The business database: customers, orders, payments, refunds, mail that left. Separate from Countersign's own.

Knows tables and transactions; knows no tool, no provider and no policy. Every row has a tenant, every query
filters on it (invariant 14). Money is kept in minor units (integers), so that sums are exact on every database.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

from sqlalchemy import (
    BigInteger,
    Column,
    ForeignKeyConstraint,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    select,
)
from sqlalchemy.engine import Connection
from sqlalchemy.exc import SQLAlchemyError

from audit.types import UtcDateTime
from audit.writer import StoreUnavailable, Writer, make_engine
from policy.model import TenantId
from tools.spec import ActionError, Certainty

T = TypeVar("T")

METADATA = MetaData()
"""Its own: Countersign's tables (SQLModel.metadata) are never in this database, nor these in that one."""


def _tenant() -> Column[str]:
    return Column("tenant", String(64), primary_key=True)


customers = Table(
    "customers",
    METADATA,
    _tenant(),
    Column("id", String(32), primary_key=True),
    Column("name", String(120), nullable=False),
    Column("email", String(254), nullable=False),
    Column("phone", String(40), nullable=False, default=""),
    Column("address", String(300), nullable=False, default=""),
    Column("tier", String(16), nullable=False, default="standard"),
    Column("note", Text, nullable=False, default=""),
    Column("created_at", UtcDateTime, nullable=False),
    Column("version", Integer, nullable=False, default=1),
    Index("ix_customers_email", "tenant", "email"),
)
"""`note` is written by customers and agents alike: untrusted. `version` goes up with every write."""

orders = Table(
    "orders",
    METADATA,
    _tenant(),
    Column("id", String(32), primary_key=True),
    Column("customer_id", String(32), nullable=False),
    Column("status", String(16), nullable=False),
    Column("currency", String(3), nullable=False),
    Column("total_minor", BigInteger, nullable=False),
    Column("placed_at", UtcDateTime, nullable=False),
    Column("shipped_at", UtcDateTime),
    Column("delivered_at", UtcDateTime),
    Column("tracking", String(40), nullable=False, default=""),
    ForeignKeyConstraint(["tenant", "customer_id"], ["customers.tenant", "customers.id"]),
    Index("ix_orders_customer", "tenant", "customer_id"),
)

order_items = Table(
    "order_items",
    METADATA,
    _tenant(),
    Column("order_id", String(32), primary_key=True),
    Column("line", Integer, primary_key=True, autoincrement=False),
    Column("sku", String(32), nullable=False),
    Column("title", String(120), nullable=False),
    Column("quantity", Integer, nullable=False),
    Column("unit_minor", BigInteger, nullable=False),
    ForeignKeyConstraint(["tenant", "order_id"], ["orders.tenant", "orders.id"]),
)

payments = Table(
    "payments",
    METADATA,
    _tenant(),
    Column("id", String(64), primary_key=True),
    Column("order_id", String(32), nullable=False),
    Column("customer_id", String(32), nullable=False),
    Column("amount_minor", BigInteger, nullable=False),
    Column("currency", String(3), nullable=False),
    Column("method", String(16), nullable=False),
    Column("last4", String(4), nullable=False, default=""),
    Column("paid_at", UtcDateTime, nullable=False),
    Column("provider_ref", String(64), nullable=False),
    ForeignKeyConstraint(["tenant", "order_id"], ["orders.tenant", "orders.id"]),
    UniqueConstraint("tenant", "order_id"),
)
"""One payment an order. `provider_ref` is what the payment provider calls it (``ch_…``, ``pi_…``)."""

refunds = Table(
    "refunds",
    METADATA,
    _tenant(),
    Column("id", String(64), primary_key=True),
    Column("order_id", String(32), nullable=False),
    Column("payment_id", String(64), nullable=False),
    Column("amount_minor", BigInteger, nullable=False),
    Column("currency", String(3), nullable=False),
    Column("reason", Text, nullable=False, default=""),
    Column("refunded_at", UtcDateTime, nullable=False),
    Column("call_id", String(128), nullable=False, default=""),
    Column("idempotency_key", String(255), nullable=False),
    ForeignKeyConstraint(["tenant", "order_id"], ["orders.tenant", "orders.id"]),
    UniqueConstraint("tenant", "idempotency_key"),
)

mail_outbox = Table(
    "mail_outbox",
    METADATA,
    _tenant(),
    Column("message_id", String(200), primary_key=True),
    Column("call_id", String(128), nullable=False),
    Column("sender", String(254), nullable=False),
    Column("recipient", String(254), nullable=False),
    Column("subject", String(300), nullable=False),
    Column("body", Text, nullable=False),
    Column("sent_by", String(200), nullable=False),
    Column("sent_at", UtcDateTime, nullable=False),
)

crm_write_keys = Table(
    "crm_write_keys",
    METADATA,
    _tenant(),
    Column("key", String(255), primary_key=True),
    Column("call_id", String(128), nullable=False),
    Column("customer_id", String(32), nullable=False),
    Column("field", String(16), nullable=False),
    Column("value_before", Text, nullable=False),
    Column("value_after", Text, nullable=False),
    Column("undo_of", String(128)),
    Column("written_at", UtcDateTime, nullable=False),
    UniqueConstraint("tenant", "call_id"),
)
"""What each crm.write changed, under its idempotency key: the same key never writes twice."""


class Business:
    """Transactions on the business database.

    Raises (all methods): ActionError, with the certainty that the database itself can give.
    """

    def __init__(self, writer: Writer) -> None:
        self._writer = writer

    @property
    def dialect(self) -> str:
        """``sqlite`` or ``postgresql``."""
        return self._writer.engine.dialect.name

    @property
    def path(self) -> str | None:
        """The file of a SQLite database, None elsewhere."""
        return self._writer.engine.url.database if self.dialect == "sqlite" else None

    async def read(self, unit: Callable[[Connection], T]) -> T:
        """Runs `unit` in a read-only transaction."""
        try:
            return await self._writer.read(unit)
        except (StoreUnavailable, SQLAlchemyError) as error:
            raise _unreadable() from error

    async def write(self, unit: Callable[[Connection], T]) -> T:
        """Runs `unit` in one transaction; when this returns, it is on disk."""
        try:
            return await self._writer.run(unit)
        except (StoreUnavailable, SQLAlchemyError) as error:
            raise _unwritten(error) from error

    def write_blocking(self, unit: Callable[[Connection], T]) -> T:
        """`write` for code outside an event loop (start-up, seeding)."""
        try:
            return self._writer.run_blocking(unit)
        except (StoreUnavailable, SQLAlchemyError) as error:
            raise _unwritten(error) from error

    def close(self) -> None:
        """Finishes what was handed in and lets the database go."""
        self._writer.close()
        self._writer.engine.dispose()


def open_business(url: str) -> Business:
    """The database at `url` (``sqlite:///path`` or ``postgresql://…``); tables that are missing are created.

    Raises:
        StoreUnavailable: the database cannot be opened; nothing was created.
        ActionError: its tables cannot be created.
    """
    business = Business(Writer(make_engine(url)))
    try:
        business.write_blocking(METADATA.create_all)
    except BaseException:
        business.close()
        raise
    return business


@dataclass(frozen=True, slots=True)
class SentMail:
    """One message that left, as the demo's mailbox shows it."""

    message_id: str
    call_id: str
    sender: str
    recipient: str
    subject: str
    body: str
    sent_by: str
    sent_at: datetime


async def mail_that_left(business: Business, tenant: TenantId, limit: int = 50) -> tuple[SentMail, ...]:
    """The newest mail of `tenant`'s local outbox, newest first."""
    query = (
        select(mail_outbox)
        .where(mail_outbox.c.tenant == tenant)
        .order_by(mail_outbox.c.sent_at.desc(), mail_outbox.c.message_id)
        .limit(limit)
    )

    def unit(conn: Connection) -> tuple[SentMail, ...]:
        return tuple(
            SentMail(
                message_id=row.message_id,
                call_id=row.call_id,
                sender=row.sender,
                recipient=row.recipient,
                subject=row.subject,
                body=row.body,
                sent_by=row.sent_by,
                sent_at=row.sent_at,
            )
            for row in conn.execute(query)
        )

    return await business.read(unit)


def _unreadable() -> ActionError:
    return ActionError(
        "The business database did not answer. Nothing was read or changed; try again in a moment.",
        Certainty.NOT_DONE,
        retryable=True,
    )


def _unwritten(error: Exception) -> ActionError:
    if isinstance(error, StoreUnavailable) and not error.certain:
        return ActionError(
            "The connection to the business database broke while a change was being saved. "
            "It is not known whether it was saved; look before you repeat it.",
            Certainty.UNKNOWN,
        )
    return ActionError(
        "The business database did not take the change. Nothing was changed; try again in a moment.",
        Certainty.NOT_DONE,
        retryable=True,
    )
