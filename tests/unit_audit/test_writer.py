"""The writer: durable when it returns, one unit's fault is its own, and a broken disk is said plainly."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.engine import Connection
from sqlalchemy.exc import IntegrityError

from audit.faults import StoreConflict, StoreUnavailable
from audit.writer import Writer, make_engine


@pytest.fixture
def table(writer: Writer) -> Writer:
    writer.run_blocking(lambda conn: conn.exec_driver_sql("CREATE TABLE t (n INTEGER PRIMARY KEY)"))
    return writer


def put(number: int):  # type: ignore[no-untyped-def]
    def unit(conn: Connection) -> int:
        conn.execute(text("INSERT INTO t VALUES (:n)"), {"n": number})
        return number

    return unit


def numbers(conn: Connection) -> list[int]:
    return list(conn.execute(text("SELECT n FROM t ORDER BY n")).scalars())


async def test_units_return_their_value_once_it_is_readable_elsewhere(table: Writer) -> None:
    assert await asyncio.gather(*(table.run(put(number)) for number in range(300))) == list(range(300))
    assert await table.read(numbers) == list(range(300))


async def test_a_unit_that_raises_takes_back_itself_alone(table: Writer) -> None:
    def half(conn: Connection) -> None:
        put(1000)(conn)
        raise LookupError("no such order")

    results = await asyncio.gather(
        table.run(put(1)),
        table.run(half),
        table.run(put(2)),
        table.run(put(1)),
        table.run(put(3)),
        return_exceptions=True,
    )
    assert isinstance(results[1], LookupError)
    assert isinstance(results[3], IntegrityError)
    assert await table.read(numbers) == [1, 2, 3]


def test_many_threads_and_many_loops_share_one_writer(table: Writer) -> None:
    def own_loop(base: int) -> None:
        async def main() -> None:
            await asyncio.gather(*(table.run(put(base + index)) for index in range(20)))

        asyncio.run(main())

    def plain(base: int) -> None:
        for index in range(20):
            table.run_blocking(put(base + index))

    threads = [threading.Thread(target=own_loop, args=(100 * n,)) for n in range(4)]
    threads += [threading.Thread(target=plain, args=(1000 * n,)) for n in range(1, 5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(table.read_blocking(numbers)) == 160


async def test_a_caller_that_gives_up_harms_nobody(table: Writer) -> None:
    task = asyncio.create_task(table.run(put(1)))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await table.run(put(2)) == 2


async def test_reading_cannot_write(table: Writer) -> None:
    with pytest.raises(Exception, match=r"read-only|cannot be written"):
        await table.read(put(1))
    assert await table.run(put(1)) == 1


def test_a_closed_writer_says_so_and_finishes_what_it_had(engine_url: str) -> None:
    engine = make_engine(engine_url)
    writer = Writer(engine)
    writer.run_blocking(lambda conn: conn.exec_driver_sql("CREATE TABLE t (n INTEGER PRIMARY KEY)"))
    waiting = [writer.submit(put(number)) for number in range(50)]
    writer.close()
    writer.close()
    assert [future.result(0) for future in waiting] == list(range(50))
    with pytest.raises(StoreUnavailable, match="shutting down"):
        writer.run_blocking(put(99))
    engine.dispose()


def test_a_unit_must_not_wait_for_another(sqlite_url: str) -> None:
    engine = make_engine(sqlite_url)
    writer = Writer(engine)
    with pytest.raises(RuntimeError, match="must not wait"):
        writer.run_blocking(lambda _conn: writer.run_blocking(lambda _inner: None))
    writer.close()
    engine.dispose()


def test_sqlite_is_durable(sqlite_url: str) -> None:
    engine = make_engine(sqlite_url)
    with engine.connect() as conn:
        answers = {
            name: conn.exec_driver_sql(f"PRAGMA {name}").scalar()
            for name in ("journal_mode", "synchronous", "busy_timeout", "foreign_keys")
        }
    assert answers == {"journal_mode": "wal", "synchronous": 2, "busy_timeout": 30_000, "foreign_keys": 1}
    engine.dispose()


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///:memory:", "mysql://localhost/x"])
def test_other_databases_are_refused_with_the_mend(url: str) -> None:
    with pytest.raises(StoreUnavailable, match="sqlite:///"):
        make_engine(url)


# Bad days of SQLite.


@pytest.fixture
def small(sqlite_url: str) -> Iterator[Writer]:
    engine = make_engine(sqlite_url, busy_timeout_ms=200)
    writer = Writer(engine)
    writer.run_blocking(lambda conn: conn.exec_driver_sql("CREATE TABLE t (n INTEGER PRIMARY KEY, filler TEXT)"))
    yield writer
    writer.close()
    engine.dispose()


def limit_pages(writer: Writer, pages: int) -> None:
    """The pragma belongs to a connection: every one of the pool gets it."""
    held = [writer.engine.connect() for _ in range(4)]
    for conn in held:
        conn.exec_driver_sql(f"PRAGMA max_page_count={pages}")
    for conn in held:
        conn.close()


async def test_a_full_disk_fails_the_unit_in_words_and_keeps_what_was_committed(small: Writer) -> None:
    def big(conn: Connection) -> None:
        conn.execute(text("INSERT INTO t (filler) VALUES (:filler)"), {"filler": "x" * 500_000})

    await small.run(lambda conn: conn.execute(text("INSERT INTO t VALUES (1, 'kept')")))
    limit_pages(small, 20)
    results = await asyncio.gather(*(small.run(big) for _ in range(5)), return_exceptions=True)
    assert all(isinstance(result, StoreUnavailable) and "is full" in str(result) for result in results)
    assert "Nothing was written" in str(results[0])
    limit_pages(small, 100_000)
    await small.run(big)
    assert await small.read(lambda conn: conn.execute(text("SELECT count(*) FROM t")).scalar()) == 2


async def test_a_locked_database_fails_every_unit_of_the_group_and_then_recovers(small: Writer) -> None:
    other = sqlite3.connect(str(small.engine.url.database), isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    results = await asyncio.gather(*(small.run(lambda _conn: 1) for _ in range(3)), return_exceptions=True)
    assert all(isinstance(result, StoreUnavailable) and "locked" in str(result) for result in results)
    other.execute("ROLLBACK")
    other.close()
    assert await small.run(lambda _conn: 1) == 1


async def test_a_unit_that_ends_the_transaction_itself_does_not_hang_the_others(small: Writer) -> None:
    results = await asyncio.gather(
        small.run(lambda conn: conn.rollback()), small.run(lambda _conn: 1), return_exceptions=True
    )
    assert isinstance(results[0], StoreUnavailable)
    assert await small.run(lambda _conn: 2) == 2


def test_a_file_that_is_no_database_is_said(tmp_path: Path) -> None:
    path = tmp_path / "not.sqlite"
    path.write_bytes(b"this is a letter, not a database" * 100)
    engine = make_engine(f"sqlite:///{path}")
    writer = Writer(engine)
    with pytest.raises(StoreUnavailable, match="not a SQLite database"):
        writer.run_blocking(lambda conn: conn.exec_driver_sql("SELECT 1 FROM t").all())
    writer.close()
    engine.dispose()


# Bad days of PostgreSQL.


def test_a_server_that_is_gone_is_said() -> None:
    engine = make_engine("postgresql://127.0.0.1:1/none")
    writer = Writer(engine)
    with pytest.raises(StoreUnavailable, match="cannot be reached"):
        writer.run_blocking(lambda _conn: None)
    writer.close()
    engine.dispose()


def test_a_connection_that_dies_during_commit_is_not_certain(postgres_url: str) -> None:
    engine = make_engine(postgres_url)
    writer = Writer(engine)
    with engine.connect() as other:

        def unit(conn: Connection) -> None:
            own = conn.exec_driver_sql("SELECT pg_backend_pid()").scalar()
            other.exec_driver_sql("SELECT pg_terminate_backend(%s)", (own,))

        with pytest.raises(StoreUnavailable) as caught:
            writer.run_blocking(unit)
    assert not caught.value.certain
    assert "not known" in str(caught.value)
    writer.close()
    engine.dispose()


def test_a_deadlock_is_a_conflict_that_can_be_run_again(postgres_url: str) -> None:
    engine = make_engine(postgres_url)
    writer = Writer(engine)
    writer.run_blocking(lambda conn: conn.exec_driver_sql("CREATE TABLE t (n INTEGER PRIMARY KEY)"))
    writer.run_blocking(lambda conn: conn.exec_driver_sql("INSERT INTO t VALUES (1), (2)"))
    both = threading.Barrier(2)

    def crossing(first: int, second: int):  # type: ignore[no-untyped-def]
        def unit(conn: Connection) -> None:
            conn.exec_driver_sql("SELECT 1 FROM t WHERE n = %s FOR UPDATE", (first,))
            both.wait(20)
            conn.exec_driver_sql("SELECT 1 FROM t WHERE n = %s FOR UPDATE", (second,))

        return unit

    futures = [writer.submit(crossing(1, 2)), writer.submit(crossing(2, 1))]
    errors = [future.exception(30) for future in futures]
    assert sum(isinstance(error, StoreConflict) for error in errors) == 1
    assert errors.count(None) == 1
    writer.close()
    engine.dispose()
