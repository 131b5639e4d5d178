"""The first wall of db.query: statements and their verdicts."""

from __future__ import annotations

import time

import pytest

from tools.actions.sql_guard import guard
from tools.spec import ActionError

GOOD = [
    "select * from orders where id = '1042'",
    "SELECT o.id, c.name FROM orders o JOIN customers c ON c.id = o.customer_id WHERE o.total_minor > 1 LIMIT 20",
    "select currency, sum(amount_minor) from payments group by currency having count(*) > 1",
    "with c as (select * from orders) select * from c union all select * from orders",
    "with a as (select id from orders), b as (select * from a) select count(*) from b",
    "select case when status = 'paid' and not currency = 'EUR' then 1 else 0 end from orders",
    "select coalesce(note, ''), upper(name), substr(name, 1, 3) from customers",
    "select id, row_number() over (partition by currency order by placed_at) from orders",
    "select * from orders where customer_id in (select id from customers where tier = 'gold')",
    "select count(distinct customer_id) from orders where placed_at between '2026-01-01' and '2026-12-31'",
    "select * from orders /*; drop table orders */ -- and more",
    'select * from "orders"',
    "select 1;",
]
BAD = [
    "select 1; drop table orders",
    "delete from orders",
    "insert into orders values (1)",
    "update orders set status = 'x'",
    "with d as (delete from orders returning *) select * from d",
    "select pg_sleep(10)",
    "select * from pg_catalog.pg_authid",
    "select * from pg_authid",
    "select * from sqlite_master",
    "select * from main.orders",
    "select * from temp.orders",
    "select * from other.public.orders",
    "select * into x from orders",
    "select * from orders for update",
    "explain analyze delete from orders",
    "copy orders to '/tmp/x'",
    "set role postgres",
    "do $$ begin delete from orders; end $$",
    "select query_to_xml('delete from orders', true, false, '')",
    "values (1)",
    "select * from (values (1)) x",
    "select * from orders, lateral (select set_config('app.tenant', 'x', false)) z",
    "select x.total from (select set_config('app.tenant', 'beta', true)) s, orders x",
    "call p()",
    "select nextval('s')",
    "prepare x as delete from orders",
    "select lo_import('/etc/passwd')",
    "select load_extension('x')",
    "select zeroblob(1000000000)",
    "select randomblob(10)",
    "select printf('%1000000000d', 1)",
    "select writefile('x', 'y')",
    "select current_setting('app.tenant')",
    "select version()",
    "select * from generate_series(1, 1000000000)",
    "select * from pragma_table_info('orders')",
    "select * from mail_outbox",
    "select * from crm_write_keys",
    "pragma table_info(orders)",
    "attach database 'x' as y",
    "vacuum into '/tmp/x'",
    "with recursive r(n) as (select 1 union all select n + 1 from r) select * from r",
    "select * from orders where id = ?",
    "select * from orders where id = :id",
    "",
    "not sql at all",
    "select " + "(" * 400 + "1" + ")" * 400,
    "select 1 -- " + "x" * 4000,
]


@pytest.mark.parametrize("dialect", ["sqlite", "postgres"])
@pytest.mark.parametrize("sql", GOOD)
def test_plain_selects_pass(sql: str, dialect: str) -> None:
    passed = guard(sql, dialect)
    assert "drop" not in passed.lower()
    assert guard(passed, dialect) == passed


@pytest.mark.parametrize("dialect", ["sqlite", "postgres"])
@pytest.mark.parametrize("sql", BAD)
def test_everything_else_is_refused_with_a_sentence(sql: str, dialect: str) -> None:
    with pytest.raises(ActionError) as caught:
        guard(sql, dialect)
    assert str(caught.value).endswith(".")


@pytest.mark.parametrize("opener", ["(", "not ", "case when ", "- ", "exists(select ", "a in (", "x and ("])
def test_deep_nesting_costs_no_time(opener: str) -> None:
    begun = time.monotonic()
    with pytest.raises(ActionError):
        guard("select " + opener * (3900 // len(opener)), "sqlite")
    assert time.monotonic() - begun < 20  # a hang, not a figure
