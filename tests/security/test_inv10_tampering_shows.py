"""Invariant 10: alter, remove, reorder, truncate or forge a row, and the verifier says where.

The attacker owns the database: every test switches the guards off first, as an owner can.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.engine import Connection

from audit import ddl
from audit.chain import COLUMNS, Cells, Head, genesis, link, seal
from audit.checkpoint import Checkpointer, load_or_create_key, load_public_key, public_path, read
from audit.event import Event, Kind
from audit.rows import Stretch, open_source
from audit.scan import What
from audit.store import AuditStore
from audit.verify import Report, address_of, verify
from audit.writer import Writer, make_engine

ROWS = 6


def event(number: int, tenant: str = "demo") -> Event:
    return Event(
        kind=Kind.TOOL_REQUESTED,
        tenant=tenant,
        occurred_at=datetime(2026, 3, 1, tzinfo=UTC) + timedelta(seconds=number),
        status="pending",
        actor_user_id="issuer|dana",
        actor_roles=("support_agent",),
        session_id="s",
        call_id=f"call-{number}",
        tool_name="refund.issue",
        tool_args={"amount": "42.00", "order_id": "1042", "inner": {"format": 1, "seq": 2}},
        authz_decision="needs_approval",
        guardrail_verdict="pass",
        hitl_status="pending",
        hitl_approver="issuer|ann",
        latency_ms=12,
        model="offline",
        cost_usd=Decimal("0.00012"),
        detail={"digest": "abc", "number": number},
    )


@pytest.fixture
def writer(engine_url: str) -> Iterator[Writer]:
    engine = make_engine(engine_url)
    made = Writer(engine)
    made.run_blocking(ddl.create_all)
    store = AuditStore(lambda text: text)
    made.run_blocking(lambda conn: store.append(conn, [event(n) for n in range(1, ROWS + 1)]))
    made.run_blocking(lambda conn: store.append(conn, [event(n, "other") for n in range(1, 4)]))
    assert verify(engine).holds
    yield made
    made.close()
    engine.dispose()


def unguard(conn: Connection) -> None:
    if conn.dialect.name == "postgresql":
        for table in ("agent_audit_log", "audit_head"):
            conn.exec_driver_sql(f"ALTER TABLE {table} DISABLE TRIGGER ALL")
        return
    for (name,) in conn.exec_driver_sql("SELECT name FROM sqlite_master WHERE type = 'trigger'").all():
        conn.exec_driver_sql(f"DROP TRIGGER {name}")


def attack(writer: Writer, *statements: str) -> Report:
    def unit(conn: Connection) -> None:
        unguard(conn)
        for statement in statements:
            conn.exec_driver_sql(statement)

    writer.run_blocking(unit)
    return verify(writer.engine)


def where(report: Report) -> list[tuple[str, int, What]]:
    return [(item.tenant, item.seq, item.what) for item in report.breaks]


ALTERED = {
    "actor_roles": "'[\"admin\"]'",
    "actor_user_id": "'issuer|mallory'",
    "agent_name": "'other'",
    "authz_decision": "'allowed'",
    "call_id": "NULL",
    "cost_usd": "'0.00013000'",
    "detail": '\'{"digest":"abd","number":3}\'',
    "format": "2",
    "guardrail_verdict": "NULL",
    "hitl_approver": "'issuer|bob'",
    "hitl_status": "'approved'",
    "kind": "'tool.executed'",
    "latency_ms": "13",
    "model": "''",
    "occurred_at": "'2026-03-01T00:00:04.000000Z'",
    "session_id": "'S'",
    "status": "'executed'",
    "tool_args": '\'{"amount":"42.01","inner":{"format":1,"seq":2},"order_id":"1042"}\'',
    "tool_name": "'refund.issue '",
}


def test_every_hashed_column_is_attacked_below() -> None:
    assert set(ALTERED) | {"seq", "tenant_id"} == set(COLUMNS)


@pytest.mark.parametrize("column", sorted(ALTERED))
def test_an_altered_column_is_named(writer: Writer, column: str) -> None:
    report = attack(
        writer, f"UPDATE agent_audit_log SET {column} = {ALTERED[column]} WHERE tenant_id = 'demo' AND seq = 3"
    )
    assert where(report) == [("demo", 3, What.ALTERED)]
    assert column in report.sentences()[0]


@pytest.mark.parametrize("column", ["canonical", "row_hash", "prev_hash"])
@pytest.mark.parametrize("seq", [1, 3, ROWS])
def test_an_altered_hash_or_its_bytes_show(writer: Writer, column: str, seq: int) -> None:
    report = attack(
        writer,
        f"UPDATE agent_audit_log SET {column} = replace({column}, 'a', 'b') WHERE tenant_id = 'demo' AND seq = {seq}",
    )
    assert not report.holds
    assert {item.tenant for item in report.breaks} == {"demo"}
    assert where(report)[0][1] == seq


@pytest.mark.parametrize("seq", [1, 3, ROWS])
def test_a_removed_row_is_named(writer: Writer, seq: int) -> None:
    report = attack(writer, f"DELETE FROM agent_audit_log WHERE tenant_id = 'demo' AND seq = {seq}")
    assert where(report) == [("demo", seq, What.TRUNCATED if seq == ROWS else What.REMOVED)]


def test_removed_rows_in_the_middle_are_told_as_one(writer: Writer) -> None:
    report = attack(writer, "DELETE FROM agent_audit_log WHERE tenant_id = 'demo' AND seq IN (3, 4)")
    assert where(report) == [("demo", 3, What.REMOVED)]
    assert "Rows 3 to 4" in report.sentences()[0]


def test_removed_rows_do_not_show_as_whole_when_the_rest_is_renumbered(writer: Writer) -> None:
    report = attack(
        writer,
        "DELETE FROM agent_audit_log WHERE tenant_id = 'demo' AND seq = 3",
        *(
            f"UPDATE agent_audit_log SET seq = {n - 1} WHERE tenant_id = 'demo' AND seq = {n}"
            for n in range(4, ROWS + 1)
        ),
    )
    assert where(report)[0] == ("demo", 3, What.ALTERED)


def test_reordered_rows_show(writer: Writer) -> None:
    swap = "UPDATE agent_audit_log SET seq = {} WHERE tenant_id = 'demo' AND seq = {}"
    report = attack(writer, swap.format(99, 3), swap.format(3, 4), swap.format(4, 99))
    assert ("demo", 3, What.ALTERED) in where(report)
    assert ("demo", 4, What.ALTERED) in where(report)
    assert ("demo", 3, What.UNLINKED) in where(report)


def test_a_row_moved_to_another_tenant_shows_in_both(writer: Writer) -> None:
    report = attack(
        writer, "UPDATE agent_audit_log SET tenant_id = 'other', seq = 4 WHERE tenant_id = 'demo' AND seq = 3"
    )
    assert ("demo", 3, What.REMOVED) in where(report)
    assert ("other", 4, What.ALTERED) in where(report)


def test_a_chain_under_a_new_name_shows(writer: Writer) -> None:
    report = attack(writer, "UPDATE agent_audit_log SET tenant_id = 'twin' WHERE tenant_id = 'other'")
    assert ("other", 1, What.TRUNCATED) in where(report)
    assert any(item.tenant == "twin" for item in report.breaks)


@pytest.mark.parametrize(
    "statement", ["DELETE FROM audit_head", "UPDATE audit_head SET seq = 2", "UPDATE audit_head SET hash = 'x'"]
)
def test_a_head_that_does_not_fit_shows(writer: Writer, statement: str) -> None:
    report = attack(writer, statement)
    assert {(item.tenant, item.what) for item in report.breaks} == {("demo", What.HEAD), ("other", What.HEAD)}


def test_insert_or_replace_forges_nothing_while_the_triggers_stand(sqlite_url: str) -> None:
    engine = make_engine(sqlite_url)
    with engine.begin() as conn:
        ddl.create_all(conn)
        AuditStore(lambda text: text).append(conn, [event(1), event(2)])
    with pytest.raises(Exception, match="append-only"), engine.begin() as conn:
        conn.exec_driver_sql(
            "INSERT OR REPLACE INTO agent_audit_log SELECT * FROM agent_audit_log WHERE tenant_id = 'demo' AND seq = 1"
        )
    assert verify(engine).holds
    engine.dispose()


TYPES = {
    "latency_ms": "'12x'",
    "detail": "'null'",
    "tool_args": "'[]'",
    "actor_roles": "'\"support_agent\"'",
    "status": "x'70656e64696e67'",
    "actor_user_id": "CAST(x'ff41' AS TEXT)",
    "canonical": "CAST(x'ff41' AS TEXT)",
    "row_hash": "NULL",
    "occurred_at": "0",
}


@pytest.mark.parametrize("engine_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize("column", sorted(TYPES))
def test_sqlite_values_of_another_type_are_told_and_not_tripped_over(writer: Writer, column: str) -> None:
    loosen = (
        "PRAGMA writable_schema = ON",
        "UPDATE sqlite_master SET sql = replace(sql, 'NOT NULL', '') WHERE name = 'agent_audit_log'",
    )
    report = attack(writer, *loosen, "PRAGMA writable_schema = RESET")
    assert report.holds
    report = attack(
        writer, f"UPDATE agent_audit_log SET {column} = {TYPES[column]} WHERE tenant_id = 'demo' AND seq = 3"
    )
    assert where(report)[0][:2] == ("demo", 3)


def test_null_and_the_text_null_are_not_the_same(sqlite_url: str) -> None:
    """Both would be written as null into the canonical bytes."""
    engine = make_engine(sqlite_url)
    plain = Event(kind=Kind.TURN_STARTED, tenant="demo", occurred_at=datetime(2026, 1, 1, tzinfo=UTC), status="ok")
    with engine.begin() as conn:
        ddl.create_all(conn)
        AuditStore(lambda text: text).append(conn, [plain])
        unguard(conn)
    for column in ("latency_ms", "detail", "tool_args"):
        with engine.begin() as conn:
            conn.exec_driver_sql(f"UPDATE agent_audit_log SET {column} = 'null'")
        assert where(verify(engine)) == [("demo", 1, What.ALTERED)]
        with engine.begin() as conn:
            conn.exec_driver_sql(f"UPDATE agent_audit_log SET {column} = NULL")
        assert verify(engine).holds
    engine.dispose()


# With checkpoints: an attacker who rebuilds the whole chain, head and all.


@pytest.fixture
def signed(writer: Writer, tmp_path: Path) -> Callable[[], Report]:
    key = load_or_create_key(tmp_path / "checkpoint.key")
    checkpointer = Checkpointer(tmp_path / "checkpoints.jsonl", key)
    writer.read_blocking(checkpointer.write)
    public = load_public_key(public_path(tmp_path / "checkpoint.key"))
    return lambda: verify(writer.engine, read(tmp_path / "checkpoints.jsonl", public))


def rebuild(writer: Writer, keep: int, **changes: str) -> None:
    """Row 2 changed, the chain cut after `keep` rows, everything hashed anew and the head set: perfect but unsigned."""
    source = open_source(address_of(writer.engine))
    old = list(source.rows(Stretch("demo", 1, keep)))
    source.close()
    cells: list[Cells] = [row[: len(COLUMNS)] for row in old]
    if changes:
        cells[1] = tuple(changes.get(name, cell) for name, cell in zip(COLUMNS, cells[1], strict=True))
    rows = list(seal(Head("demo", 0, genesis("demo")), cells))
    mark = "%s" if writer.engine.dialect.name == "postgresql" else "?"

    def unit(conn: Connection) -> None:
        unguard(conn)
        conn.exec_driver_sql(f"DELETE FROM agent_audit_log WHERE tenant_id = 'demo' AND seq > {keep}")
        for name, value in changes.items():
            conn.exec_driver_sql(
                f"UPDATE agent_audit_log SET {name} = {mark} WHERE tenant_id = 'demo' AND seq = 2", (value,)
            )
        for seq, row in enumerate(rows, 1):
            conn.exec_driver_sql(
                f"UPDATE agent_audit_log SET canonical = {mark}, prev_hash = {mark}, row_hash = {mark}"
                f" WHERE tenant_id = 'demo' AND seq = {mark}",
                (row.canonical, row.prev_hash, row.row_hash, seq),
            )
        conn.exec_driver_sql(
            f"UPDATE audit_head SET seq = {mark}, hash = {mark} WHERE tenant_id = 'demo'", (keep, rows[-1].row_hash)
        )

    writer.run_blocking(unit)


def test_a_row_rewritten_with_a_hash_of_its_own_shows_at_the_next(writer: Writer) -> None:
    """Row 3 is sealed anew behind row 2 and holds by itself; row 4 still follows the old one."""
    source = open_source(address_of(writer.engine))
    second, third = source.rows(Stretch("demo", 2, 3))
    source.close()
    cells = tuple("executed" if name == "status" else cell for name, cell in zip(COLUMNS, third, strict=False))
    (new,) = seal(Head("demo", 2, second[-2]), [cells])
    mark = "%s" if writer.engine.dialect.name == "postgresql" else "?"

    def unit(conn: Connection) -> None:
        unguard(conn)
        conn.exec_driver_sql(
            f"UPDATE agent_audit_log SET status = {mark}, canonical = {mark}, row_hash = {mark}"
            " WHERE tenant_id = 'demo' AND seq = 3",
            ("executed", new.canonical, new.row_hash),
        )

    writer.run_blocking(unit)
    assert where(verify(writer.engine)) == [("demo", 4, What.UNLINKED)]


def test_an_untouched_log_is_proven_to_its_last_checkpoint(writer: Writer, signed: Callable[[], Report]) -> None:
    assert signed().holds
    assert signed().unproven == 0
    writer.run_blocking(lambda conn: AuditStore(lambda text: text).append(conn, [event(7)]))
    report = signed()
    assert report.holds
    assert report.unproven == 1
    assert "demo: tail unproven: no checkpoint covers the last 1 rows." in report.sentences()


def test_without_a_checkpoint_the_tail_is_called_unproven(writer: Writer) -> None:
    report = verify(writer.engine)
    assert report.holds
    assert report.unproven == report.rows == ROWS + 3
    assert all("tail unproven" in sentence for sentence in report.sentences())


def test_a_rebuilt_chain_holds_by_itself_but_not_against_a_checkpoint(
    writer: Writer, signed: Callable[[], Report]
) -> None:
    rebuild(writer, ROWS, hitl_approver="issuer|mallory")
    assert verify(writer.engine).holds
    assert where(signed()) == [("demo", 1, What.REWRITTEN)]


def test_a_truncated_chain_with_a_fitting_head_shows_against_a_checkpoint(
    writer: Writer, signed: Callable[[], Report]
) -> None:
    rebuild(writer, 4)
    assert verify(writer.engine).holds
    assert where(signed()) == [("demo", 5, What.TRUNCATED)]


def test_a_tenant_that_was_wiped_shows_against_a_checkpoint(writer: Writer, signed: Callable[[], Report]) -> None:
    gone = attack(
        writer,
        "DELETE FROM agent_audit_log WHERE tenant_id = 'other'",
        "DELETE FROM audit_head WHERE tenant_id = 'other'",
    )
    assert gone.holds
    assert where(signed()) == [("other", 1, What.TRUNCATED)]


def test_a_forged_checkpoint_proves_nothing(writer: Writer, signed: Callable[[], Report], tmp_path: Path) -> None:
    path = tmp_path / "checkpoints.jsonl"
    path.write_text(path.read_text().replace(f'"seq":{ROWS}', '"seq":4'))
    report = signed()
    assert not report.holds
    assert [line.number for line in report.bad_lines] == [1]
    foreign = Checkpointer(path, load_or_create_key(tmp_path / "foreign.key"))
    writer.read_blocking(foreign.write)
    assert "is signed with another key" in [line.why for line in signed().bad_lines]


def test_the_bytes_that_are_checked_come_from_the_columns(writer: Writer) -> None:
    """Stored bytes and hash still agree, only the column was changed: who checks the stored bytes sees nothing."""
    report = attack(writer, "UPDATE agent_audit_log SET status = 'executed' WHERE tenant_id = 'demo' AND seq = 3")
    with writer.engine.connect() as conn:
        row = conn.execute(text("SELECT * FROM agent_audit_log WHERE tenant_id = 'demo' AND seq = 3")).one()
    assert link(row.prev_hash, row.canonical) == row.row_hash
    assert where(report) == [("demo", 3, What.ALTERED)]
