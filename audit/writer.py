"""Runs units of work on the one database. Knows transactions and threads, nothing of what is written.

SQLite: one writer thread, every unit in a savepoint, committed in groups; the caller goes on after the
commit. PostgreSQL: every unit is a transaction of its own.
"""

from __future__ import annotations

import asyncio
import queue
import sqlite3
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Generic, TypeAlias, TypeVar, cast

from sqlalchemy import create_engine, event
from sqlalchemy.engine import URL, Connection, Engine, make_url
from sqlalchemy.exc import DBAPIError

from audit.alive import watch
from audit.faults import StoreConflict, StoreUnavailable, spoken, translate, unavailable
from audit.types import dump_json

__all__ = ["StoreConflict", "StoreUnavailable", "Unit", "Writer", "make_engine"]

T = TypeVar("T")
Unit: TypeAlias = Callable[[Connection], T]

GROUP = 256
"""Units in one commit at most: bounds how long the first of them waits for the last."""
CHECKPOINT_PAGES = 4000
"""Pages of WAL (16 MB) before SQLite copies them over: a checkpoint costs two more fsyncs."""
WRITE_THREADS = 16
READ_THREADS = 8
_WRITE = "countersign_write"
_CLOSED = "Countersign is shutting down. Nothing was written; try again once it is back."


def make_engine(url: str | URL, *, busy_timeout_ms: int = 30_000) -> Engine:
    """The engine of the one database: ``sqlite:///path`` or ``postgresql://…`` (psycopg).

    SQLite: WAL, every commit fsynced, waits `busy_timeout_ms` for a lock. A transaction opened on the
    engine itself starts deferred, for reading; writes belong to `Writer`, which starts them immediate.

    Raises:
        StoreUnavailable: a database in memory, or of another kind.
    """
    parsed = make_url(url)
    backend = parsed.get_backend_name()
    if backend == "sqlite":
        if parsed.database in (None, "", ":memory:"):
            raise StoreUnavailable(
                "The database address names no file, and a database in memory proves nothing afterwards. "
                "Give a path: sqlite:////var/lib/countersign/countersign.sqlite"
            )
        return _sqlite_engine(parsed, busy_timeout_ms)
    if backend in ("postgresql", "postgres"):
        return _postgres_engine(parsed)
    raise StoreUnavailable(
        f"Countersign keeps its state in SQLite or PostgreSQL, not in {backend}. "
        "Set COUNTERSIGN_DATABASE_URL to sqlite:///PATH or postgresql://HOST/NAME."
    )


def _sqlite_engine(url: URL, busy_timeout_ms: int) -> Engine:
    engine = create_engine(
        url.set(drivername="sqlite+pysqlite"),
        json_serializer=dump_json,
        connect_args={"check_same_thread": False, "timeout": busy_timeout_ms / 1000},
        pool_size=READ_THREADS + 4,
        max_overflow=20,
    )

    @event.listens_for(engine, "connect")
    def _prepare(connection: sqlite3.Connection, _record: object) -> None:
        connection.isolation_level = None  # the driver begins nothing by itself: `_begin` does
        connection.execute(f"PRAGMA busy_timeout={busy_timeout_ms}")
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("PRAGMA foreign_keys=ON")
        connection.execute(f"PRAGMA wal_autocheckpoint={CHECKPOINT_PAGES}")

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        write = connection.get_execution_options().get(_WRITE, False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")

    return engine


def _postgres_engine(url: URL) -> Engine:
    engine = create_engine(
        url.set(drivername="postgresql+psycopg"),
        json_serializer=dump_json,
        # Whatever the database's own default: what a lock makes final is read by the next statement, in a new picture.
        isolation_level="READ COMMITTED",
        pool_size=WRITE_THREADS + READ_THREADS,
        max_overflow=16,
    )
    watch(engine)

    @event.listens_for(engine, "connect")
    def _prepare(connection: Any, _record: object) -> None:
        # Dates without a zone in a query mean UTC, on both databases.
        with connection.cursor() as cursor:
            cursor.execute("SET TIME ZONE 'UTC'")
        connection.commit()

    return engine


class Ticket(Generic[T]):
    """One unit of work and who waits for it."""

    __slots__ = ("error", "future", "loop", "result", "unit")

    def __init__(self, unit: Unit[T], loop: asyncio.AbstractEventLoop | None) -> None:
        self.unit = unit
        self.loop = loop
        self.future: Future[T] | asyncio.Future[T] = Future() if loop is None else loop.create_future()
        self.result: T | None = None
        self.error: BaseException | None = None

    def settle(self) -> None:
        """In the waiter's own loop, or in any thread for a blocking waiter."""
        if self.future.done():  # the waiter gave up (cancelled); what was committed stays committed
            return
        if self.error is not None:
            self.future.set_exception(self.error)
        else:
            self.future.set_result(cast(T, self.result))


Tickets: TypeAlias = "list[Ticket[Any]]"


def settle_all(tickets: Tickets) -> None:
    """Wakes every waiter, each loop once: a wake-up is a system call, a group may have hundreds of waiters."""
    by_loop: dict[asyncio.AbstractEventLoop, Tickets] = {}
    for ticket in tickets:
        if ticket.loop is None:
            ticket.settle()
        else:
            by_loop.setdefault(ticket.loop, []).append(ticket)
    for loop, waiting in by_loop.items():
        try:
            loop.call_soon_threadsafe(_settle_each, waiting)
        except RuntimeError:  # that loop has been closed: nobody waits there any more
            continue


def _settle_each(tickets: Tickets) -> None:
    for ticket in tickets:
        ticket.settle()


@dataclass(frozen=True, slots=True)
class _Stop:
    pass


class Writer:
    """All writes of the service. Usable from any thread and any event loop.

    `run` returns after the commit: what the unit wrote is on disk. A unit's exception rolls back that
    unit alone and is raised to its caller.

    Raises (all methods):
        StoreUnavailable: the database is full, locked, gone or closing; a sentence for people.
    """

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._sqlite = engine.dialect.name == "sqlite"
        self._readers = ThreadPoolExecutor(READ_THREADS, thread_name_prefix="countersign-read")
        self._closed = False
        self._gate = threading.Lock()
        if self._sqlite:
            self._queue: queue.SimpleQueue[Ticket[Any] | _Stop] = queue.SimpleQueue()
            self._thread = threading.Thread(target=self._loop, name="countersign-writer", daemon=True)
            self._thread.start()
        else:
            self._writers = ThreadPoolExecutor(WRITE_THREADS, thread_name_prefix="countersign-write")

    async def run(self, unit: Unit[T]) -> T:
        """Runs `unit` in one transaction and returns its value once that is durable.

        Cancelling the caller does not take back a unit that was handed in.
        """
        if not self._sqlite:
            return await asyncio.wrap_future(self.submit(unit))
        ticket = Ticket(unit, asyncio.get_running_loop())
        self._put(ticket)
        return await cast("asyncio.Future[T]", ticket.future)

    def run_blocking(self, unit: Unit[T]) -> T:
        """`run` for code outside an event loop."""
        if not self._sqlite:
            self._check_open()
            return self._transact(unit)
        if threading.current_thread() is self._thread:
            raise RuntimeError("A unit of work must not wait for another one: use the connection it was given.")
        return self.submit(unit).result()

    def submit(self, unit: Unit[T]) -> Future[T]:
        """Hands `unit` in without waiting; the future is settled once it is durable, in a writer's thread."""
        if self._sqlite:
            ticket = Ticket(unit, None)
            self._put(ticket)
            return cast("Future[T]", ticket.future)
        with self._gate:
            self._check_open()
            return self._writers.submit(self._transact, unit)

    async def read(self, unit: Unit[T]) -> T:
        """Runs `unit` in a read-only transaction, beside the writers."""
        self._check_open()
        return await asyncio.get_running_loop().run_in_executor(self._readers, self.read_blocking, unit)

    def read_blocking(self, unit: Unit[T]) -> T:
        """`read` for code outside an event loop."""
        self._check_open()
        with spoken(), self.engine.connect() as connection:
            if not self._sqlite:
                result = unit(connection.execution_options(postgresql_readonly=True))
                # A rollback makes the driver forget every statement that the server has prepared for it.
                connection.commit()
                return result
            driver = cast(sqlite3.Connection, connection.connection.dbapi_connection)
            driver.execute("PRAGMA query_only=ON")
            try:
                return unit(connection)
            finally:
                connection.rollback()
                driver.execute("PRAGMA query_only=OFF")

    def close(self) -> None:
        """Finishes what was handed in, takes nothing more. The engine stays its maker's to dispose of."""
        with self._gate:
            if self._closed:
                return
            self._closed = True
            if self._sqlite:
                self._queue.put(_Stop())
        if self._sqlite:
            self._thread.join()
        else:
            self._writers.shutdown()
        self._readers.shutdown()

    def _check_open(self) -> None:
        if self._closed:
            raise StoreUnavailable(_CLOSED)

    def _put(self, ticket: Ticket[T]) -> None:
        with self._gate:  # nothing may be queued behind the stop mark, it would wait for ever
            self._check_open()
            self._queue.put(ticket)

    def _transact(self, unit: Unit[T]) -> T:
        with spoken(), self.engine.connect() as connection:
            result = unit(connection)
            with spoken(certain=False):
                connection.commit()
            return result

    # The SQLite writer thread. Only this thread touches the connection below.

    def _loop(self) -> None:
        while True:
            tickets, stop = self._collect()
            if tickets:
                self._commit_group(tickets)
                settle_all(tickets)
            if stop:
                return

    def _collect(self) -> tuple[Tickets, bool]:
        """Blocks for the first unit and takes with it whatever else is waiting by then."""
        tickets: Tickets = []
        item = self._queue.get()
        while True:
            if isinstance(item, _Stop):
                return tickets, True
            tickets.append(item)
            if len(tickets) >= GROUP:
                return tickets, False
            try:
                item = self._queue.get_nowait()
            except queue.Empty:
                return tickets, False

    def _commit_group(self, tickets: Tickets) -> None:
        try:
            with spoken(), self.engine.connect() as connection:
                connection.execution_options(**{_WRITE: True})
                with connection.begin():
                    driver = cast(sqlite3.Connection, connection.connection.dbapi_connection)
                    for ticket in tickets:
                        self._in_savepoint(connection, driver, ticket)
        except StoreUnavailable as error:
            _fail(tickets, error)
        except Exception as error:  # noqa: BLE001  an unforeseen fault must not leave callers waiting
            failure = unavailable("could not be used. Look in the log of Countersign")
            failure.__cause__ = error
            _fail(tickets, failure)

    def _in_savepoint(self, connection: Connection, driver: sqlite3.Connection, ticket: Ticket[Any]) -> None:
        driver.execute("SAVEPOINT unit")
        try:
            ticket.result = ticket.unit(connection)
        except BaseException as error:
            ticket.error = _for_waiter(error)
            if not driver.in_transaction:  # SQLite gave up the whole transaction (disk full, I/O error)
                if isinstance(ticket.error, StoreUnavailable):
                    raise ticket.error from error
                raise unavailable("broke off a transaction. Check its disk") from error
            driver.execute("ROLLBACK TO unit")
        driver.execute("RELEASE unit")


def _fail(tickets: Tickets, failure: StoreUnavailable) -> None:
    for ticket in tickets:
        ticket.error = ticket.error or failure


def _for_waiter(error: BaseException) -> BaseException:
    if isinstance(error, DBAPIError):
        failure = translate(error)
        if failure is None:
            return error
        failure.__cause__ = error
        return failure
    if isinstance(error, StopIteration):  # a future cannot carry it
        return RuntimeError("A unit of work raised StopIteration.")
    return error
