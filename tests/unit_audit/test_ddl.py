"""The database's own guards: append-only for everybody who has not removed them, least rights for the service."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest
from sqlalchemy import text
from sqlalchemy.engine import Connection
from sqlalchemy.exc import DBAPIError

from audit import ddl
from audit.event import Event
from audit.store import AuditStore
from audit.tables import AuditRow
from audit.verify import verify
from audit.writer import Writer, make_engine


def run(conn: Connection, statement: str) -> None:
    conn.execute(text(statement))


REFUSED = [
    "UPDATE agent_audit_log SET status = 'x'",
    "DELETE FROM agent_audit_log WHERE seq = 2",
    "UPDATE audit_head SET seq = 1",
    "UPDATE audit_head SET hash = 'x'",
    "UPDATE audit_head SET tenant_id = 'x'",
    "DELETE FROM audit_head",
    "INSERT INTO audit_head (tenant_id, seq, hash) VALUES ('new', 5, 'x')",
]


@pytest.fixture
def filled(writer: Writer, store: AuditStore, event: Callable[..., Event]) -> Writer:
    writer.run_blocking(lambda conn: store.append(conn, [event(n) for n in range(3)]))
    return writer


def refused(writer: Writer, statement: str) -> None:
    with pytest.raises(
        DBAPIError, match=r"append-only|duplicate key|follows agent_audit_log|starts at 0|numbers its rows"
    ):
        writer.run_blocking(lambda conn: conn.execute(text(statement)))
    assert verify(writer.engine).holds
    assert verify(writer.engine).rows == 3


@pytest.mark.parametrize("statement", REFUSED)
def test_rows_and_heads_are_not_changed(filled: Writer, statement: str) -> None:
    refused(filled, statement)


def copy_of(source: int, /, **columns: str) -> str:
    """An INSERT of row `source` again, some columns changed."""
    names = list(AuditRow.model_fields)
    values = ", ".join(columns.get(name, name) for name in names)
    return f"INTO agent_audit_log ({', '.join(names)}) SELECT {values} FROM agent_audit_log WHERE seq = {source}"


@pytest.mark.parametrize(
    "columns",
    [
        {},
        {"seq": "4"},
        {"seq": "5"},
        {"seq": "0"},
        {"seq": "4", "prev_hash": "'" + "0" * 64 + "'"},
        {"tenant_id": "'nobody'"},
        {"tenant_id": "'nobody'", "seq": "1"},
    ],
)
@pytest.mark.parametrize(
    ("engine_url", "verb"),
    [("sqlite", "INSERT"), ("sqlite", "INSERT OR REPLACE"), ("sqlite", "INSERT OR IGNORE"), ("postgres", "INSERT")],
    indirect=["engine_url"],
)
def test_an_insert_must_continue_the_chain(filled: Writer, columns: dict[str, str], verb: str) -> None:
    refused(filled, f"{verb} {copy_of(2, **columns)}")


@pytest.mark.parametrize("engine_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize("rowid", ["1", "2", "3", "-1", "0"])
def test_a_forged_rowid_replaces_nothing(filled: Writer, rowid: str) -> None:
    """The next seq with the right prev_hash, aimed at an existing row's rowid: REPLACE would delete that row."""
    columns = {"seq": "4", "prev_hash": "row_hash"}
    copy = copy_of(3, **columns).replace("(", "(rowid, ", 1).replace("SELECT ", f"SELECT {rowid}, ", 1)
    refused(filled, f"INSERT OR REPLACE {copy}")


def test_postgresql_checks_the_hash_refuses_truncate_and_holds_as_a_replica(
    postgres_url: str, store: AuditStore, event: Callable[..., Event]
) -> None:
    engine = make_engine(postgres_url)
    writer = Writer(engine)
    writer.run_blocking(ddl.create_all)
    writer.run_blocking(lambda conn: store.append(conn, [event(n) for n in range(3)]))
    for statement in (
        "TRUNCATE agent_audit_log",
        "TRUNCATE audit_head",
        f"INSERT {copy_of(3, seq='4', prev_hash='row_hash')}",
        f"INSERT {copy_of(3, seq='1', tenant_id=chr(39) + 'new' + chr(39))}",
    ):
        refused(writer, statement)

    def as_replica(conn: Connection) -> None:
        conn.execute(text("SET LOCAL session_replication_role = replica"))
        conn.execute(text("UPDATE agent_audit_log SET status = 'x'"))

    with pytest.raises(DBAPIError, match="append-only"):
        writer.run_blocking(as_replica)
    writer.close()
    engine.dispose()


def test_the_service_role_can_append_and_read_and_nothing_else(
    postgres_url: str, store: AuditStore, event: Callable[..., Event]
) -> None:
    owner = make_engine(postgres_url)
    role = f"service_{owner.url.database}"
    with owner.begin() as conn:
        ddl.create_all(conn)
        conn.execute(text(f'CREATE ROLE "{role}" LOGIN'))
        ddl.grant_service_role(conn, role)
    engine = make_engine(owner.url.set(username=role))
    writer = Writer(engine)
    for number in range(3):
        writer.run_blocking(partial(store.append, events=[event(number)]))
    assert verify(engine).holds
    assert writer.read_blocking(lambda conn: conn.execute(text("SELECT count(*) FROM agent_calls")).scalar()) == 3
    for statement in (
        "UPDATE agent_audit_log SET status = 'x'",
        "DELETE FROM agent_audit_log",
        "TRUNCATE agent_audit_log",
        "ALTER TABLE agent_audit_log DISABLE TRIGGER ALL",
        "DROP TRIGGER agent_audit_log_continues ON agent_audit_log",
        "UPDATE audit_head SET seq = 0",
        "INSERT INTO audit_head VALUES ('x', 0, 'y')",
        "DROP TABLE agent_audit_log",
        "SET session_replication_role = replica",
    ):
        with pytest.raises(DBAPIError, match=r"permission denied|must be owner"):
            writer.run_blocking(partial(run, statement=statement))

    def shadow(conn: Connection) -> None:
        """A temporary table of the same name must not lead the functions of the owner astray."""
        conn.execute(text("CREATE TEMP TABLE audit_head (tenant_id text, seq bigint, hash text)"))
        conn.execute(text("INSERT INTO pg_temp.audit_head VALUES ('demo', 0, 'forged')"))
        store.append(conn, [event(3)])

    writer.run_blocking(shadow)
    writer.close()
    engine.dispose()
    assert verify(owner).rows == 4
    assert verify(owner).holds
    with owner.begin() as conn:
        conn.execute(text(f'DROP OWNED BY "{role}"'))
        conn.execute(text(f'DROP ROLE "{role}"'))
    owner.dispose()


def test_rights_are_not_given_to_an_owner_nor_on_sqlite(postgres_url: str, sqlite_url: str) -> None:
    engine = make_engine(postgres_url)
    with engine.begin() as conn:
        ddl.create_all(conn)
        owner = str(conn.execute(text("SELECT current_user")).scalar())
        with pytest.raises(ValueError, match="owns the audit tables"):
            ddl.grant_service_role(conn, owner)
    engine.dispose()
    engine = make_engine(sqlite_url)
    with engine.begin() as conn, pytest.raises(ValueError, match="SQLite knows no roles"):
        ddl.grant_service_role(conn, "x")
    engine.dispose()


def test_guards_can_be_made_again_and_taken_away(
    filled: Writer, store: AuditStore, event: Callable[..., Event]
) -> None:
    filled.run_blocking(ddl.create_all)
    filled.run_blocking(lambda conn: store.append(conn, [event(3)]))
    assert verify(filled.engine).rows == 4
    filled.run_blocking(ddl.drop_all)
    filled.run_blocking(ddl.create_all)
    assert verify(filled.engine).rows == 0
