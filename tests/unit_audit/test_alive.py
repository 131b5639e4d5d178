"""Pooled connections to PostgreSQL: what a server ended is replaced unseen, and nothing is asked in between."""

from __future__ import annotations

import select
from collections.abc import Iterator

import pytest
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.engine.interfaces import DBAPIConnection

from audit import alive
from audit.writer import Writer, make_engine


@pytest.fixture
def engine(postgres_url: str) -> Iterator[Engine]:
    made = make_engine(postgres_url)
    yield made
    made.dispose()


@pytest.fixture
def writer(engine: Engine) -> Iterator[Writer]:
    made = Writer(engine)
    yield made
    made.close()


@pytest.fixture
def pings(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    seen: list[int] = []
    asked = engine.dialect.do_ping

    def ping(connection: DBAPIConnection) -> bool:
        seen.append(1)
        return asked(connection)

    monkeypatch.setattr(engine.dialect, "do_ping", ping)
    return seen


def _pid(conn: Connection) -> int:
    return int(conn.exec_driver_sql("SELECT pg_backend_pid()").scalar_one())


def _ended(url: str, pid: int) -> None:
    other = make_engine(url)
    with other.connect() as conn:
        conn.exec_driver_sql("SELECT pg_terminate_backend(%s, 20000)", (pid,))
    other.dispose()


@pytest.mark.parametrize("kind", ["read", "write"])
def test_a_connection_that_the_server_ended_while_it_rested_is_replaced_unseen(
    engine: Engine, writer: Writer, kind: str
) -> None:
    run = writer.read_blocking if kind == "read" else writer.run_blocking
    first = run(_pid)
    assert run(_pid) == first
    _ended(engine.url.render_as_string(hide_password=False), first)
    assert run(_pid) != first


def test_a_connection_in_use_is_not_asked_whether_it_stands(writer: Writer, pings: list[int]) -> None:
    for _ in range(3):
        writer.run_blocking(_pid)
        writer.read_blocking(_pid)
    assert not pings


def test_a_connection_that_rested_long_is_asked(
    writer: Writer, pings: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    writer.run_blocking(_pid)
    monkeypatch.setattr(alive, "PING_AFTER_S", 0.0)
    writer.run_blocking(_pid)
    assert pings


def test_a_server_that_says_something_is_asked_and_kept(engine: Engine, writer: Writer, pings: list[int]) -> None:
    """A changed setting is told to every connection; that is no farewell."""
    with engine.connect() as waiting, engine.connect() as other:
        first = _pid(waiting)
        waiting.exec_driver_sql("LISTEN something")
        waiting.commit()
        socket = waiting.connection.fileno()
        waiting.close()
        other.exec_driver_sql("NOTIFY something")
        other.commit()
        assert select.select([socket], [], [], 20)[0]
        assert writer.run_blocking(_pid) == first
    assert pings


def test_what_the_server_prepared_for_reading_is_kept(writer: Writer) -> None:
    def prepared(conn: Connection) -> int:
        return int(conn.exec_driver_sql("SELECT count(*) FROM pg_prepared_statements").scalar_one())

    for _ in range(10):
        writer.read_blocking(prepared)
    assert writer.read_blocking(prepared)
