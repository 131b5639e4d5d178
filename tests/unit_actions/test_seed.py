"""The demo's shop holds the cases that the demo and other tests rely on, and is the same every time."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import Table, func, select
from sqlalchemy.engine import Connection, Row

from tests.unit_actions.shop import DEMO, NOW, Shop, open_shop
from tools.business import METADATA, customers, orders, payments, refunds
from tools.seed import seed


async def _count(shop: Shop, table: Table) -> int:
    query = select(func.count()).select_from(table).where(table.c.tenant == DEMO)
    return await shop.business.read(lambda conn: conn.execute(query).scalar_one())


async def test_there_is_enough_to_play_with(shop: Shop) -> None:
    assert await _count(shop, customers) >= 20
    assert await _count(shop, orders) >= 60
    assert await _count(shop, payments) == await _count(shop, orders) - 1


@pytest.mark.parametrize(
    ("order", "total", "currency", "status", "refunded"),
    [
        ("1042", 8400, "USD", "shipped", 0),
        ("1017", 64900, "USD", "delivered", 0),
        ("1023", 7400, "USD", "returned", 7400),
        ("1031", 12000, "USD", "delivered", 4500),
        ("1036", 10100, "EUR", "delivered", 0),
        ("1050", 5400, "USD", "cancelled", 0),
    ],
)
async def test_the_promised_cases_are_so(
    local_shop: Shop, order: str, total: int, currency: str, status: str, refunded: int
) -> None:
    def unit(conn: Connection) -> tuple[int, str, str, int, int]:
        row = conn.execute(select(orders).where(orders.c.tenant == DEMO, orders.c.id == order)).one()
        paid = select(payments.c.amount_minor).where(payments.c.tenant == DEMO, payments.c.order_id == order)
        back = select(func.coalesce(func.sum(refunds.c.amount_minor), 0))
        back = back.where(refunds.c.tenant == DEMO, refunds.c.order_id == order)
        return (
            row.total_minor,
            row.currency,
            row.status,
            conn.execute(paid).scalar_one(),
            conn.execute(back).scalar_one(),
        )

    assert await local_shop.business.read(unit) == (total, currency, status, total, refunded)


async def test_seeding_twice_changes_nothing_and_two_shops_are_equal(tmp_path: Path) -> None:
    def rows(conn: Connection) -> list[list[Row[tuple[object, ...]]]]:
        return [list(conn.execute(table.select().order_by(*table.primary_key))) for table in METADATA.sorted_tables]

    with open_shop(f"sqlite:///{tmp_path / 'a'}") as one, open_shop(f"sqlite:///{tmp_path / 'b'}") as two:
        first = await one.business.read(rows)
        assert not seed(one.business, DEMO, NOW)
        assert await one.business.read(rows) == first
        assert await two.business.read(rows) == first


async def test_every_row_lies_in_the_past_and_names_a_tenant(local_shop: Shop) -> None:
    newest = select(func.max(payments.c.paid_at)).where(payments.c.tenant == DEMO)
    assert await local_shop.business.read(lambda conn: conn.execute(newest).scalar_one()) < NOW
    for table in METADATA.sorted_tables:
        assert "tenant" in table.primary_key.columns, table.name
