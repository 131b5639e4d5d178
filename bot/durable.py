"""Turn segments and the outbox on DBOS; the only importer of dbos.

Knows queues, retries, replicas and ids. Does not know what a segment does: `bot.turn` registers its own.
Messages in a queue, results of segments and their errors carry ids only (invariant 11). A segment that was
cut off by a crash is run again from its beginning, here or by the replica that takes over: it must find out
from the rows what is done already. A wait is a row, never a sleeping segment.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
import uuid
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import assert_never, cast

import sqlalchemy as sa
from dbos import DBOS, DBOSClient, DBOSConfig, DBOSPortableJSONSerializer, EnqueueOptions
from sqlalchemy.engine import Connection, Engine

from audit.faults import StoreUnavailable
from audit.writer import Writer
from bot.queue_engine import sqlite_engine
from bot.replicas import Replicas
from bot.work import Later, Segment, Segments
from policy.model import Json, TenantId
from tools import approvals
from tools.ports import Notice, NoticeKind

log = logging.getLogger("countersign.durable")

APP = "countersign"
APP_VERSION = "1"
"""Pinned: segments queued by one release are run by the next. Raise it only when their ids change."""
BEAT_S = 2.0
POLL_S = 0.1
MAX_PAUSE_S = 300.0
GIVE_UP_S = 24 * 3600
TIDY_EVERY_S = 600.0
TIDY_MOST = 1000
KEEP_SEGMENTS = timedelta(days=1)
"""How long the queue remembers what it has run; the rows of turns and held calls stay."""
PARALLEL = 64
"""Segments of one queue that one replica runs at a time."""


_QUEUE = {
    Segment.TURN_START: "turns",
    Segment.TURN_RESUME: "turns",
    Segment.EXECUTE: "effects",
    Segment.TELL: "outbox",
}


class StepFailed(Exception):
    """What DBOS remembers of a step that raised; says nothing on purpose."""


@dataclass(frozen=True, slots=True)
class _Job:
    """One run of a segment. `since`: when it was first enqueued, in seconds of the epoch."""

    segment: Segment
    ids: tuple[str, ...]
    partition: str
    base: str
    attempt: int
    since: int


class Durable:
    """The queue of one replica; implements `tools.ports.Outbox` and `tools.ports.Resume`.

    DBOS keeps one instance per process, so there is one `Durable` per process at a time.
    """

    def __init__(
        self,
        engine: Engine,
        writer: Writer,
        *,
        replica_id: str | None = None,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        sweep_s: float = 2.0,
        beat_s: float = BEAT_S,
        first_pause_s: float = 1.0,
    ) -> None:
        self.replica_id = replica_id or uuid.uuid4().hex
        self._engine = engine
        self._writer = writer
        self._sweep_s = sweep_s
        self._beat_s = beat_s
        self._first_pause_s = first_pause_s
        self._serializer = DBOSPortableJSONSerializer()
        # Lazy: it writes into the caller's transactions and opens no connection of its own.
        self._client = DBOSClient(
            system_database_engine=engine, serializer=self._serializer, application_name=APP, lazy=True
        )
        self._own_engine: Engine | None = None
        self._closing = False
        self._segments: Segments
        self._running: set[asyncio.Task[object]] = set()
        self._timers: list[asyncio.Task[None]] = []
        self._replicas = Replicas(writer, self.replica_id, beat_s, clock)

    # --- going on, within the caller's transaction --------------------------------------------------

    def put(self, conn: Connection, notice: Notice) -> None:
        """`Outbox`: told exactly when the transaction commits."""
        ids = (notice.tenant, notice.held_id, notice.kind.value, str(notice.revision), notice.press_id or "")
        # What is said and posted may wait for a chat that hangs: what was decided is drawn beside it, in its own order.
        other = "" if notice.kind is NoticeKind.CARD_CHANGED else f":{notice.kind.value}"
        self._enqueue(conn, Segment.TELL, f"{notice.tenant}:{notice.held_id}{other}", ids)

    def execute(self, conn: Connection, tenant: TenantId, held_id: str, revision: int) -> None:
        """`Resume`: run the effect once the transaction has committed."""
        self._enqueue(conn, Segment.EXECUTE, f"{tenant}:{held_id}", (tenant, held_id, str(revision)))

    def outcome(self, conn: Connection, tenant: TenantId, held_id: str) -> None:
        """`Resume`: tell the model and the requester, in order with the thread's other segments."""
        row = approvals.read(conn, tenant, held_id)
        thread = held_id if row is None else row.session_id
        self._enqueue(conn, Segment.TURN_RESUME, f"{tenant}:{thread}", (tenant, held_id))

    def start_turn(self, conn: Connection, tenant: TenantId, turn_id: str, session_id: str) -> None:
        """Run the turn once the transaction has committed; one turn of a thread at a time."""
        self._enqueue(conn, Segment.TURN_START, f"{tenant}:{session_id}", (tenant, turn_id))

    def _enqueue(self, conn: Connection, segment: Segment, partition: str, ids: tuple[str, ...]) -> None:
        base = f"{segment.value}:{ids[1]}:{uuid.uuid4().hex}"
        self._insert(conn, _Job(segment, ids, partition, base, 0, int(time.time())))

    def _insert(self, conn: Connection, job: _Job, pause_s: float | None = None) -> None:
        options: EnqueueOptions = {
            "workflow_name": job.segment.value,
            "queue_name": _QUEUE[job.segment],
            # A second try has a name of its own, and always the same one: noted twice, it runs once.
            "workflow_id": f"{job.base}#{job.attempt}" if job.attempt else job.base,
            "app_version": APP_VERSION,
            "queue_partition_key": job.partition,
        }
        if pause_s is not None:
            options["delay_seconds"] = pause_s
        self._client.enqueue_in_transaction(
            conn, options, list(job.ids), job.partition, job.base, job.attempt, job.since
        )

    # --- running ------------------------------------------------------------------------------------

    async def launch(self, segments: Segments) -> None:
        """Start taking work: from now on segments run in this event loop."""
        self._segments = segments
        await self._replicas.beat()
        config: DBOSConfig = {
            "name": APP,
            "system_database_engine": self._dbos_engine(),
            "executor_id": self.replica_id,
            "application_version": APP_VERSION,
            "serializer": self._serializer,
            "log_level": "ERROR",
            "run_migrations": False,
            "use_listen_notify": False,
            "enable_otlp": False,
            # Looks at a list in memory that is empty here; stopping waits for it, so it looks often.
            "notification_listener_polling_interval_sec": 0.05,
            "max_executor_threads": 16,
        }
        DBOS(config=config)
        for segment in Segment:
            DBOS.workflow(name=segment.value)(self._workflow(segment))
        # In this thread: DBOS adopts the running loop as the one its workflows run in.
        DBOS.launch()
        for queue in sorted(set(_QUEUE.values())):
            await DBOS.register_queue_async(
                queue, worker_concurrency=PARALLEL, partition_concurrency=1, polling_interval_sec=POLL_S
            )
        await self._take_over_dead()
        self._timers = [
            asyncio.create_task(self._every(self._beat_s, self._beat_and_watch), name="countersign-heartbeat"),
            asyncio.create_task(self._every(self._sweep_s, segments.sweep), name="countersign-sweep"),
            asyncio.create_task(self._every(TIDY_EVERY_S, self._tidy), name="countersign-tidy"),
        ]

    async def stop(self, grace_s: int = 10) -> None:
        """Take no more work, let what runs end within `grace_s`, leave the rest to the next replica."""
        self._closing = True
        for timer in self._timers:
            timer.cancel()
        await asyncio.gather(*self._timers, return_exceptions=True)
        loop = asyncio.get_running_loop()
        grace = grace_s if self._running else 0
        # What had only just been taken from the queue fails now, noisily; it stays pending and is none the worse.
        dbos_log = logging.getLogger("dbos")
        dbos_log.disabled = True
        try:
            with ThreadPoolExecutor(1, thread_name_prefix="countersign-stop") as helper:
                await loop.run_in_executor(
                    helper, lambda: DBOS.destroy(destroy_registry=True, workflow_completion_timeout_sec=grace)
                )
            left = tuple(self._running)
            for task in left:
                task.cancel()
            await asyncio.gather(*left, return_exceptions=True)
        finally:
            dbos_log.disabled = False
        # DBOS had made its own, now closed, pool the loop's default one.
        loop.set_default_executor(ThreadPoolExecutor(thread_name_prefix="asyncio"))
        with suppress(StoreUnavailable):
            # With segments left its row stays: the next replica finds its process gone and takes them over.
            if not await self._writer.read(self._has_left_some):
                await self._replicas.leave(self.replica_id)
        if self._own_engine is not None:
            self._own_engine.dispose()
            self._own_engine = None

    async def step(self, name: str, work: Callable[[], Awaitable[Mapping[str, Json]]]) -> Mapping[str, Json]:
        """Runs a step of a segment once and remembers its result: ids, numbers and closed words only.

        A segment that was taken over by another replica stops here. What `work` raises is raised, but DBOS is shown
        another error: it would keep the text.
        """
        failed: list[Exception] = []

        async def run() -> dict[str, object]:
            try:
                return dict(await work())
            except Exception as error:  # noqa: BLE001 - raised again below
                failed.append(error)
                raise StepFailed from None

        try:
            return cast("Mapping[str, Json]", await DBOS.run_step_async({"name": name}, run))
        except Exception as error:
            if failed:
                raise failed[0] from None
            # Remembered from before a crash: this run of the segment is spoilt, the next one asks anew.
            raise Later(f"the step {name} had failed") from error

    def _has_left_some(self, conn: Connection) -> bool:
        schema = "dbos." if conn.dialect.name == "postgresql" else ""
        query = sa.text(f"SELECT 1 FROM {schema}workflow_status WHERE status='PENDING' AND executor_id=:me LIMIT 1")  # noqa: S608
        return conn.execute(query, {"me": self.replica_id}).first() is not None

    def _dbos_engine(self) -> Engine:
        """PostgreSQL: the one engine. SQLite: the same file through connections that fit DBOS."""
        if self._engine.dialect.name != "sqlite":
            return self._engine
        self._own_engine = sqlite_engine(self._engine)
        return self._own_engine

    def _workflow(self, segment: Segment) -> Callable[[list[str], str, str, int, int], Awaitable[None]]:
        async def run(ids: list[str], partition: str, base: str, attempt: int, since: int) -> None:
            task = asyncio.current_task()
            if task is not None:
                self._running.add(task)
                task.add_done_callback(self._running.discard)
            await self._run(_Job(segment, tuple(ids), partition, base, attempt, since))

        run.__name__ = run.__qualname__ = segment.value
        return run

    async def _run(self, job: _Job) -> None:
        """Never raises but for cancellation: DBOS would keep the error's text."""
        pause = self._first_pause_s
        while True:
            try:
                later = await self._try(job)
                if later is None:
                    return
                if time.time() - job.since > GIVE_UP_S:
                    await self._give_up(job, str(later))
                    return
                again = replace(job, attempt=job.attempt + 1)
                await self._writer.run(partial(self._insert, job=again, pause_s=self._pause(job.attempt, later)))
                return
            except StoreUnavailable as error:  # nowhere to note it: hold on to it until the database is back
                log.warning("%s waits for the database: %s", job.base, error)
                await asyncio.sleep(pause)
                pause = min(pause * 2, 30.0)

    async def _try(self, job: _Job) -> Later | None:
        """None when it is done."""
        try:
            await _dispatch(self._segments, job)
        except Later as later:
            return later
        except StoreUnavailable:
            raise
        except Exception as error:
            if self._closing:  # the queue is gone from under it: it stays pending, for the next replica
                raise asyncio.CancelledError from error
            # The text may hold anything, the place where it was raised holds nothing personal.
            log.error("%s %s failed: %s", job.segment.value, job.ids[1], _where(error))
            return Later(type(error).__name__)
        return None

    async def _give_up(self, job: _Job, why: str) -> None:
        log.error("%s %s given up after %d s: %s", job.segment.value, job.ids[1], GIVE_UP_S, why)
        try:
            await self._segments.gave_up(job.segment, TenantId(job.ids[0]), job.ids[1], why)
        except StoreUnavailable:
            raise
        except Exception as error:  # noqa: BLE001 - nothing follows a give-up
            log.error("could not say so: %s", _where(error))

    def _pause(self, attempt: int, later: Later) -> float:
        """Chance spreads replicas, and what one chat put off until the same second: never before that."""
        if later.pause_s is not None:
            return later.pause_s * random.uniform(1.0, 1.2)  # noqa: S311 - guards nothing
        pause: float = min(self._first_pause_s * 2.0 ** min(attempt, 20), MAX_PAUSE_S)
        return pause * random.uniform(0.8, 1.2)  # noqa: S311 - guards nothing

    async def tidy(self, keep: timedelta) -> int:
        """Forget segments that ended longer than `keep` ago; returns how many. They hold ids only."""
        before = (datetime.now(UTC) - keep).isoformat()
        over = await DBOS.list_workflows_async(
            status=["SUCCESS", "ERROR"], completed_before=before, limit=TIDY_MOST, load_input=False, load_output=False
        )
        if over:
            await DBOS.delete_workflows_async([workflow.workflow_id for workflow in over])
        return len(over)

    async def _tidy(self) -> None:
        more = True
        while more:
            more = await self.tidy(KEEP_SEGMENTS) == TIDY_MOST

    # --- time and replicas --------------------------------------------------------------------------

    async def _every(self, seconds: float, work: Callable[[], Awaitable[None]]) -> None:
        while True:
            await asyncio.sleep(seconds)
            try:
                await work()
            except StoreUnavailable as error:
                log.warning("%s", error)
            except Exception as error:  # noqa: BLE001 - the timer outlives what it calls
                log.error("timer: %s", _where(error))

    async def _beat_and_watch(self) -> None:
        await self._replicas.beat()
        await self._take_over_dead()

    async def _take_over_dead(self) -> None:
        """Put the segments of dead replicas back on their queues. Safe with several survivors."""
        for dead in await self._replicas.claim_dead():
            taken = await _requeue(dead)
            await self._replicas.leave(dead)
            if taken:  # one that was at nothing when it ended is no news
                log.warning("took over %d segments of replica %s", taken, dead)


async def _requeue(dead: str) -> int:
    found = await DBOS.list_workflows_async(status="PENDING", executor_id=dead, load_input=False, load_output=False)
    by_queue: dict[str | None, list[str]] = {}
    for workflow in found:
        by_queue.setdefault(workflow.queue_name, []).append(workflow.workflow_id)
    for queue, ids in by_queue.items():
        # Back on its own queue: on another one the thread's order would be lost.
        await DBOS.resume_workflows_async(ids, queue_name=queue)
    return len(found)


async def _dispatch(segments: Segments, job: _Job) -> None:
    tenant, ids = TenantId(job.ids[0]), job.ids
    match job.segment:
        case Segment.TURN_START:
            await segments.turn_start(tenant, ids[1])
        case Segment.TURN_RESUME:
            await segments.turn_resume(tenant, ids[1])
        case Segment.EXECUTE:
            await segments.execute(tenant, ids[1], int(ids[2]))
        case Segment.TELL:
            await segments.tell(Notice(NoticeKind(ids[2]), tenant, ids[1], int(ids[3]), ids[4] or None))
        case _:
            assert_never(job.segment)


def migrate_queue(engine: Engine) -> None:
    """Create or update the tables of DBOS itself, beside ours in the same database."""
    DBOS.migrate(engine.url.render_as_string(hide_password=False))


def _where(error: BaseException) -> str:
    """The kind of an error and the line that raised it; never its text."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if trace is None:
        return type(error).__name__
    return f"{type(error).__name__} at {trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}"
