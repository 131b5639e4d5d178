"""Several statements in one trip: each sees what was committed when it began, and errors are everybody's errors."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.exc import OperationalError
from sqlmodel import SQLModel

from audit.faults import StoreUnavailable
from audit.trip import Prepared, Step, take
from audit.writer import Writer, make_engine
from tests.kit.door import until
from tools.limits import LOCKOUT

LOCK = Prepared(sa.text("SELECT pg_advisory_xact_lock(7)"))
INSERT = Prepared(sa.text("INSERT INTO lockout (tenant, who, until) VALUES (:tenant, :who, :until)"))
COUNT = Prepared(sa.select(sa.func.count().label("count")).select_from(LOCKOUT))
FIND = Prepared(sa.select(LOCKOUT).where(LOCKOUT.c.who == sa.bindparam("who_id")))
AT = datetime(2026, 11, 20, 9, tzinfo=UTC)


def insert(who: str, until_text: str = "2026-11-20T09:00:00.000000Z") -> Step:
    return Step(INSERT, {"tenant": "demo", "who": who, "until": until_text})


@pytest.fixture
def engine(engine_url: str) -> Iterator[Engine]:
    made = make_engine(engine_url)
    with made.begin() as conn:
        SQLModel.metadata.create_all(conn)
    yield made
    made.dispose()


@pytest.fixture
def postgres(postgres_url: str) -> Iterator[Engine]:
    made = make_engine(postgres_url)
    with made.begin() as conn:
        SQLModel.metadata.create_all(conn)
    yield made
    made.dispose()


def test_steps_come_back_in_order_as_their_columns_have_them(engine: Engine) -> None:
    writer = Writer(engine)
    found = writer.run_blocking(
        lambda conn: take(conn, [insert("dana"), Step(FIND, {"who_id": "dana"}), Step(COUNT, {})])
    )
    assert found == [[], [{"tenant": "demo", "who": "dana", "until": AT}], [{"count": 1}]]
    assert writer.read_blocking(lambda conn: take(conn, [Step(COUNT, {})])) == [[{"count": 1}]]
    writer.close()


def test_a_transaction_of_trips_alone_is_committed_or_rolled_back_whole(engine: Engine) -> None:
    writer = Writer(engine)

    def fails(conn: Connection) -> None:
        take(conn, [insert("ann"), insert("bob")])
        raise KeyError

    with pytest.raises(KeyError):
        writer.run_blocking(fails)
    writer.run_blocking(lambda conn: take(conn, [insert("cy"), insert("dee")]))
    found = writer.read_blocking(
        lambda conn: conn.execute(sa.select(LOCKOUT.c.who).order_by(LOCKOUT.c.who)).scalars().all()
    )
    assert found == ["cy", "dee"]
    writer.close()


@pytest.mark.parametrize("default", ["read committed", "repeatable read"])
async def test_what_stands_behind_a_lock_sees_what_its_holder_wrote(postgres: Engine, default: str) -> None:
    """Whatever the database's own default: within one picture a kill that has committed would not be seen."""
    with postgres.connect() as conn:
        conn.execute(
            sa.text(f"ALTER DATABASE {postgres.url.database} SET default_transaction_isolation TO '{default}'")
        )
        conn.commit()
    postgres.dispose()
    found: list[object] = []

    def second() -> None:
        with postgres.connect() as conn:
            found.append(take(conn, [Step(LOCK, {}), Step(COUNT, {})])[-1])

    with postgres.connect() as first, postgres.connect() as looker:
        take(first, [Step(LOCK, {}), insert("dana")])
        thread = threading.Thread(target=second)
        thread.start()
        query = sa.text("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted")
        await until(lambda: looker.execute(query).scalar() == 1)
        first.commit()
        thread.join(20)
    assert found == [[{"count": 1}]]


def test_the_first_error_is_told_and_the_connection_can_be_used_again(postgres: Engine) -> None:
    with postgres.connect() as holder, postgres.connect() as conn:
        take(holder, [Step(LOCK, {}), Step(COUNT, {})])
        conn.execute(sa.text("SET LOCAL lock_timeout = '50ms'"))
        with pytest.raises(OperationalError, match="lock timeout"):
            take(conn, [insert("ann"), Step(LOCK, {}), Step(COUNT, {})])
        conn.rollback()
        holder.rollback()
        assert take(conn, [Step(LOCK, {}), Step(COUNT, {})]) == [[], [{"count": 0}]]


def test_a_connection_that_is_lost_says_so_to_people_and_is_not_used_again(postgres: Engine) -> None:
    writer = Writer(postgres)
    me = sa.text("SELECT pg_backend_pid()")

    def loses(conn: Connection) -> None:
        pid = conn.execute(me).scalar_one()
        with postgres.connect() as other:
            other.execute(sa.text("SELECT pg_terminate_backend(:pid, 20000)"), {"pid": pid})
        take(conn, [Step(LOCK, {}), Step(COUNT, {})])

    with pytest.raises(StoreUnavailable, match="Nothing was written"):
        writer.run_blocking(loses)
    assert writer.run_blocking(lambda conn: take(conn, [Step(LOCK, {}), Step(COUNT, {})])) == [[], [{"count": 0}]]
    writer.close()
