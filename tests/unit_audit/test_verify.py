"""How the verifier works: in shares, in processes of its own, and without them. That it finds things: test_inv10."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Connection

import audit.verify
from audit import ddl
from audit.event import Event
from audit.rows import Stretch
from audit.scan import BREAKS, Break, What, scan
from audit.store import AuditStore
from audit.verify import verify
from audit.writer import Writer, make_engine


def unguarded(*statements: str) -> Callable[[Connection], None]:
    def unit(conn: Connection) -> None:
        if conn.dialect.name == "postgresql":
            conn.exec_driver_sql("ALTER TABLE agent_audit_log DISABLE TRIGGER ALL")
        else:
            conn.exec_driver_sql("DROP TRIGGER agent_audit_log_no_update")
            conn.exec_driver_sql("DROP TRIGGER agent_audit_log_no_delete")
        for statement in statements:
            conn.exec_driver_sql(statement)

    return unit


@pytest.fixture
def filled(writer: Writer, store: AuditStore, event: Callable[..., Event]) -> Writer:
    for tenant in ("a", "b", "c"):
        writer.run_blocking(partial(store.append, events=[event(n, tenant) for n in range(101)]))
    return writer


@pytest.mark.parametrize("processes", [1, 2, 3])
def test_every_process_finds_what_is_in_its_share(
    filled: Writer, processes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit.verify, "WORTH_A_PROCESS", 10)
    assert verify(filled.engine, processes=processes).holds
    seqs = (1, 2, 50, 51, 52, 100, 101)
    changes = [
        f"UPDATE agent_audit_log SET status = 'x' WHERE tenant_id = '{t}' AND seq = {n}" for t in "abc" for n in seqs
    ]
    filled.run_blocking(unguarded(*changes))
    report = verify(filled.engine, processes=processes)
    assert [(item.tenant, item.seq) for item in report.breaks] == [(t, n) for t in "abc" for n in seqs]


def test_rows_removed_at_the_border_of_two_shares_are_told_once(
    filled: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit.verify, "WORTH_A_PROCESS", 10)
    border = audit.verify._shares([Stretch(t, 1, 101) for t in "abc"], 2)[1][0].first
    filled.run_blocking(
        unguarded(f"DELETE FROM agent_audit_log WHERE tenant_id = 'b' AND seq BETWEEN {border - 1} AND {border}")
    )
    found = {(item.tenant, item.seq, item.what) for item in verify(filled.engine, processes=2).breaks}
    assert found == {("b", border - 1, What.REMOVED), ("b", border, What.REMOVED)}


@pytest.mark.parametrize("failure", ["no process", "dies"])
def test_without_processes_the_work_is_done_here(filled: Writer, monkeypatch: pytest.MonkeyPatch, failure: str) -> None:
    monkeypatch.setattr(audit.verify, "WORTH_A_PROCESS", 10)
    monkeypatch.setattr(sys, "executable", "/nonexistent" if failure == "no process" else "/bin/false")
    filled.run_blocking(unguarded("UPDATE agent_audit_log SET status = 'x' WHERE tenant_id = 'c' AND seq = 101"))
    report = verify(filled.engine, processes=3)
    assert [(item.tenant, item.seq) for item in report.breaks] == [("c", 101)]


def test_shares_cover_every_row_once() -> None:
    chains = [Stretch("a", 1, 10), Stretch("b", 1, 1), Stretch("c", 1, 24)]
    for parts in range(1, 40):
        shares = audit.verify._shares(chains, parts)
        assert len(shares) <= parts
        rows = [(s.tenant, n) for share in shares for s in share for n in range(s.first, s.last + 1)]
        assert rows == [(chain.tenant, n) for chain in chains for n in range(1, chain.last + 1)]
    assert audit.verify._shares([], 3) == [[]]


def test_a_log_that_is_wholly_wrong_is_told_in_bounds(filled: Writer) -> None:
    filled.run_blocking(unguarded("UPDATE agent_audit_log SET status = 'x'"))
    breaks = verify(filled.engine).breaks
    assert all(len([item for item in breaks if item.tenant == tenant]) == BREAKS for tenant in "abc")


def test_an_empty_log_holds(writer: Writer) -> None:
    report = verify(writer.engine)
    assert (report.holds, report.rows, report.chains) == (True, 0, ())


def test_rows_written_meanwhile_wait_for_the_next_time(
    filled: Writer, store: AuditStore, event: Callable[..., Event], monkeypatch: pytest.MonkeyPatch
) -> None:
    def while_it_runs(address: str, stretches: list[Stretch]) -> list[Break]:
        filled.run_blocking(lambda conn: store.append(conn, [event(500, "a")]))
        return scan(address, stretches)

    monkeypatch.setattr(audit.verify, "scan", while_it_runs)
    report = verify(filled.engine)
    assert (report.holds, report.rows) == (True, 303)


def test_the_scanning_process_imports_no_sqlalchemy() -> None:
    code = "import sys, audit.scan; sys.exit('sqlalchemy' in sys.modules or 'psycopg' in sys.modules)"
    home = Path(audit.verify.__file__).parent.parent
    assert subprocess.run([sys.executable, "-c", code], cwd=home, check=False).returncode == 0


def test_migrations_can_make_the_tables_first(engine_url: str, writer: Writer) -> None:
    writer.run_blocking(ddl.guard)
    assert verify(writer.engine).holds


def test_rows_that_come_while_it_looks_are_no_tampering(
    filled: Writer, store: AuditStore, event: Callable[..., Event]
) -> None:
    """Between its look at the heads and its look at the rows, the service goes on writing."""
    beside = Writer(make_engine(filled.engine.url))

    def append(_conn: object, _cursor: object, statement: str, *_more: object) -> None:
        if "FROM audit_head" in statement:
            beside.run_blocking(partial(store.append, events=[event(500, "a")]))

    sa.event.listen(filled.engine, "after_cursor_execute", append)
    try:
        report = verify(filled.engine)
    finally:
        sa.event.remove(filled.engine, "after_cursor_execute", append)
        beside.close()
        beside.engine.dispose()
    assert report.holds, report.sentences()
    assert verify(filled.engine).rows == 304
