"""Invariant 14: a query never sees another tenant, even where the SQL guard is passed. On both databases."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import psycopg
import pytest
from psycopg import sql
from sqlalchemy import update
from sqlalchemy.engine import make_url

from tests.unit_actions.shop import DEMO, OTHER, Shop, open_shop, part
from tools.actions.query_postgres import PostgresQuery, tenant_role
from tools.actions.query_sqlite import COLUMNS, Rows, SqliteQuery
from tools.business import customers
from tools.catalog import ToolSettings, catalog
from tools.credentials import Credentials, Secret
from tools.spec import ActionError, Certainty

SECRET = "only-for-other@elsewhere.example"
"""Stands in a row of the other tenant; must never come back."""

# Statements that the guard would refuse. The database has to refuse them too, or show nothing of the other tenant.
EVASIONS_SQLITE = [
    "SELECT * FROM main.customers",
    "WITH customers AS (SELECT * FROM main.customers) SELECT * FROM customers",
    "WITH x AS (SELECT * FROM main.customers) SELECT * FROM x",
    "SELECT (SELECT group_concat(email) FROM main.customers)",
    "SELECT * FROM customers WHERE EXISTS (SELECT 1 FROM main.customers)",
    "SELECT * FROM sqlite_master",
    "SELECT * FROM temp.sqlite_master",
    "SELECT * FROM mail_outbox",
    "SELECT * FROM pragma_table_info('customers')",
    "SELECT load_extension('x')",
    "ATTACH 'x' AS y",
    "PRAGMA query_only = OFF",
    "UPDATE customers SET name = 'x'",
    "DELETE FROM main.customers",
    "CREATE TEMP TABLE z AS SELECT * FROM main.customers",
    "DROP VIEW customers",
]
EVASIONS_POSTGRES = [
    "SELECT tenant FROM customers",
    "SELECT * FROM customers",
    "SELECT set_config('app.tenant', 'other', false)",
    "SET ROLE postgres",
    "SELECT set_config('role', 'postgres', false)",
    "SELECT set_config('row_security', 'off', true), (SELECT max(email) FROM customers)",
    "SELECT set_config('transaction_read_only', 'off', true)",
    "SELECT * FROM mail_outbox",
    "SELECT * FROM crm_write_keys",
    "SELECT pg_read_file('/etc/passwd')",
    "SELECT rolpassword FROM pg_authid",
    "UPDATE customers SET name = 'x'",
    "DELETE FROM orders",
    "CREATE TABLE z (a int)",
    "CREATE TEMP TABLE z (a int)",
    "ALTER TABLE customers DISABLE ROW LEVEL SECURITY",
    "DROP POLICY db_query_x ON customers",
]


@dataclass(frozen=True, slots=True)
class Walls:
    shop: Shop
    behind_the_guard: SqliteQuery | PostgresQuery
    evasions: tuple[str, ...]


@pytest.fixture(params=["sqlite", "postgres"])
def walls(request: pytest.FixtureRequest) -> Iterator[Walls]:
    url: str = request.getfixturevalue(f"{request.param}_url")
    with open_shop(url) as shop:
        mark = update(customers).where(customers.c.tenant == OTHER, customers.c.id == "C-1001").values(email=SECRET)
        shop.business.write_blocking(lambda conn: conn.execute(mark).rowcount)
        if shop.business.path is not None:
            yield Walls(shop, SqliteQuery(shop.business.path, 500, 2.0), tuple(EVASIONS_SQLITE))
            return
        with _logins(url) as logins:
            settings = ToolSettings(credentials=Credentials(query_logins=tuple(logins.items())))
            bound = Shop(shop.business, catalog(settings, shop.business))
            yield Walls(bound, PostgresQuery(logins, 500, 2.0), tuple(EVASIONS_POSTGRES))


class _logins:  # noqa: N801  (a context manager, used as one)
    """A login role for each tenant, made by the owner of the tables, gone with the block."""

    def __init__(self, url: str) -> None:
        self._url = make_url(url).set(drivername="postgresql")
        self._owner = self._url.render_as_string(hide_password=False)
        self._roles = {tenant: f"q_{tenant}_{str(self._url.database)[-8:]}" for tenant in (DEMO, OTHER)}

    def __enter__(self) -> dict[str, Secret]:
        with psycopg.connect(self._owner, autocommit=True) as conn:
            for tenant, role in self._roles.items():
                conn.execute(sql.SQL("CREATE ROLE {} LOGIN").format(sql.Identifier(role)))
                for _ in range(2):  # idempotent
                    for statement in tenant_role(role, tenant):
                        conn.execute(statement)
        return {tenant: Secret(role, self.address(role)) for tenant, role in self._roles.items()}

    def address(self, role: str) -> str:
        return self._url.set(username=role, password=None).render_as_string(hide_password=False)

    def __exit__(self, *_: object) -> None:
        with psycopg.connect(self._owner, autocommit=True) as conn:
            for role in self._roles.values():
                conn.execute(sql.SQL("DROP OWNED BY {}").format(sql.Identifier(role)))
                conn.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(role)))


async def test_each_tenant_counts_its_own_rows(walls: Walls) -> None:
    for table in COLUMNS:
        counted = await walls.shop.call("db.query", {"sql": f"SELECT count(*) FROM {table}"})
        seen = await walls.shop.call("db.query", {"sql": f"SELECT count(*) FROM {table}"}, tenant=OTHER)
        assert counted.content == seen.content
    mine = await walls.shop.call("db.query", {"sql": "SELECT email FROM customers WHERE id = 'C-1001'"})
    theirs = await walls.shop.call("db.query", {"sql": "SELECT email FROM customers WHERE id = 'C-1001'"}, tenant=OTHER)
    assert (part(mine.content, "rows"), part(theirs.content, "rows")) == ([["grace.adeyemi@example.com"]], [[SECRET]])


async def test_every_listed_column_can_be_read_and_joined(walls: Walls) -> None:
    for table, columns in COLUMNS.items():
        found = await walls.shop.call("db.query", {"sql": f"SELECT {', '.join(columns)} FROM {table} LIMIT 1"})
        assert part(found.content, "columns") == list(columns)
    joined = await walls.shop.call(
        "db.query",
        {
            "sql": "WITH big AS (SELECT * FROM orders WHERE total_minor > 50000) SELECT c.name, big.id FROM big "
            "JOIN customers c ON c.id = big.customer_id WHERE big.id = '1017'"
        },
    )
    assert part(joined.content, "rows") == [["Samuel Park", "1017"]]


async def test_behind_the_guard_the_database_itself_holds(walls: Walls) -> None:
    for statement in walls.evasions:
        seen = await asyncio.to_thread(_look, walls, statement)
        assert SECRET not in str(seen), statement
        if isinstance(seen, ActionError):
            assert seen.certainty is Certainty.NOT_DONE
    still = await walls.shop.call("crm.read", {"kind": "customer", "key": "C-1001"})
    assert part(still.content, "customer", "name") == "Grace Adeyemi"


def _look(walls: Walls, statement: str) -> Rows | ActionError:
    try:
        return walls.behind_the_guard(DEMO, statement)
    except ActionError as error:
        return error


async def test_a_query_that_takes_too_long_is_stopped(walls: Walls) -> None:
    slow = replace(walls.behind_the_guard, time_limit_s=0.3)
    statement = "SELECT count(*) FROM orders a, orders b, orders c, orders d, orders e WHERE a.id || b.id <> e.id"
    with pytest.raises(ActionError, match="longer than"):
        await asyncio.to_thread(slow, DEMO, statement)


async def test_more_rows_than_the_limit_are_cut_and_it_says_so(walls: Walls) -> None:
    found = await walls.shop.call("db.query", {"sql": "SELECT a.id FROM orders a, orders b"})
    assert (part(found.content, "complete"), len(part(found.content, "rows"))) == (False, 200)  # type: ignore[arg-type]
    assert "there are more" in found.sentence


async def test_a_wrong_column_is_named_so_that_it_can_be_mended(walls: Walls) -> None:
    with pytest.raises(ActionError, match="nope"):
        await walls.shop.call("db.query", {"sql": "SELECT nope FROM orders"})


async def test_a_tenant_without_a_login_reads_nothing(postgres_url: str) -> None:
    with open_shop(postgres_url) as shop, pytest.raises(ActionError, match="no read-only database login"):
        await shop.call("db.query", {"sql": "SELECT count(*) FROM orders"})


@pytest.mark.parametrize("forced", [True, False])
async def test_a_login_that_is_not_bound_reads_nothing(postgres_url: str, forced: bool) -> None:
    """The owner's own login, or a superuser's: row-level security would not hold for it."""
    owner = make_url(postgres_url).set(drivername="postgresql").render_as_string(hide_password=False)
    with open_shop(postgres_url) as shop, _logins(postgres_url):
        if forced:
            with psycopg.connect(owner, autocommit=True) as conn:
                conn.execute("ALTER TABLE customers FORCE ROW LEVEL SECURITY")
        query = PostgresQuery({DEMO: Secret("owner", owner)}, 100, 2.0)
        with pytest.raises(ActionError, match="not held to one organisation"):
            await asyncio.to_thread(query, DEMO, "SELECT count(*) FROM customers")
        assert shop.business.dialect == "postgresql"


async def test_a_database_file_that_is_gone_is_said_plainly(tmp_path: Path) -> None:
    with pytest.raises(ActionError, match="did not answer|could not run"):
        SqliteQuery(str(tmp_path / "nowhere.sqlite"), 10, 1.0)(DEMO, "SELECT 1")
    assert not list(tmp_path.iterdir())
