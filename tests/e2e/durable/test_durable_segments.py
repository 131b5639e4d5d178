"""Segments on DBOS: told when the transaction commits, in order, once each, again after a failure."""

from __future__ import annotations

import asyncio
import time
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from bot import store
from bot.durable import Durable
from bot.work import Later, Segment
from policy.model import Json, TenantId
from tools.ports import Notice, NoticeKind

if TYPE_CHECKING:
    from tests.e2e.durable.conftest import Bench

DEMO = TenantId("demo")
CARD = Notice(NoticeKind.CARD, DEMO, "h1", 1)


async def test_what_a_transaction_enqueues_runs_once_it_has_committed(bench: Bench) -> None:
    await bench.durable.launch(bench.notes)

    def decide(conn: Connection) -> None:
        bench.durable.execute(conn, DEMO, "h1", 2)
        bench.durable.put(conn, Notice(NoticeKind.QUESTION, DEMO, "h1", 2, "p7"))

    await bench.writer.run(decide)
    await bench.until(lambda: len(bench.notes.calls) == 2)
    assert sorted(bench.notes.calls) == [("execute", "demo", "h1", "2"), ("tell", "question", "h1", "p7")]


async def test_a_transaction_that_rolls_back_enqueues_nothing(bench: Bench) -> None:
    await bench.durable.launch(bench.notes)

    def fails(conn: Connection) -> None:
        bench.durable.execute(conn, DEMO, "lost", 1)
        raise LookupError

    with pytest.raises(LookupError):
        await bench.writer.run(fails)
    await bench.writer.run(lambda conn: bench.durable.execute(conn, DEMO, "kept", 1))
    await bench.until(lambda: bool(bench.notes.calls))
    assert bench.notes.calls == [("execute", "demo", "kept", "1")]


async def test_segments_of_one_thread_run_one_at_a_time_and_in_order(bench: Bench) -> None:
    await bench.durable.launch(bench.notes)

    for number in range(4):
        await bench.writer.run(lambda conn, n=number: bench.durable.start_turn(conn, DEMO, f"t{n}", "one"))  # type: ignore[misc]
    await bench.until(lambda: len(bench.notes.calls) == 8)
    assert bench.notes.calls == [(what, f"t{n}") for n in range(4) for what in ("start", "end")]
    assert bench.notes.together == 1


async def test_threads_do_not_wait_for_each_other(bench: Bench) -> None:
    bench.notes.hold = asyncio.Event()
    await bench.durable.launch(bench.notes)

    def three(conn: Connection) -> None:
        for number in range(3):
            bench.durable.start_turn(conn, DEMO, f"t{number}", f"thread {number}")

    await bench.writer.run(three)
    await bench.until(lambda: bench.notes.together == 3)
    bench.notes.hold.set()
    await bench.until(lambda: bench.notes.running == 0)


async def test_a_busy_chat_is_tried_again_until_it_takes_the_card(bench: Bench) -> None:
    bench.notes.busy = 3
    await bench.durable.launch(bench.notes)
    await bench.writer.run(lambda conn: bench.durable.put(conn, CARD))
    await bench.until(lambda: bool(bench.notes.calls))
    assert bench.notes.calls == [("tell", "card", "h1", "")]
    assert bench.notes.busy == 0


async def test_what_a_chat_put_off_together_does_not_come_back_together(bench: Bench) -> None:
    """It names one time to everything that was refused: never before it, and not all at it."""
    pauses = {bench.durable._pause(0, Later("429", pause_s=60)) for _ in range(20)}
    assert len(pauses) > 10
    assert min(pauses) >= 60
    assert max(pauses) <= 75
    assert max(bench.durable._pause(0, Later("no")) for _ in range(20)) < 1


async def test_a_defect_loses_nothing_and_its_text_is_kept_nowhere(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    bench.notes.broken = 2
    await bench.durable.launch(bench.notes)
    await bench.writer.run(lambda conn: bench.durable.put(conn, CARD))
    await bench.until(lambda: bool(bench.notes.calls))
    assert "ValueError" in caplog.text
    assert "4111" not in caplog.text
    assert "4111" not in await bench.writer.read(_everything_queued)


async def test_after_a_day_it_is_given_up_and_said(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bot.durable.GIVE_UP_S", -1)
    bench.notes.busy = 1
    await bench.durable.launch(bench.notes)
    await bench.writer.run(lambda conn: bench.durable.put(conn, CARD))
    await bench.until(lambda: bool(bench.notes.given_up))
    assert bench.notes.given_up == [(Segment.TELL, "h1", "the chat is busy")]
    assert bench.notes.calls == []


async def test_the_clock_sweeps_on_every_replica(bench: Bench) -> None:
    await bench.durable.launch(bench.notes)
    await bench.until(lambda: bench.notes.sweeps >= 2)


async def test_what_was_cut_off_by_a_stop_runs_at_the_next_start(bench: Bench) -> None:
    bench.notes.hold = asyncio.Event()
    await bench.durable.launch(bench.notes)
    await bench.writer.run(lambda conn: bench.durable.start_turn(conn, DEMO, "t1", "one"))
    await bench.until(lambda: bench.notes.calls == [("start", "t1")])
    await bench.durable.stop(grace_s=0)
    assert [row.replica_id for row in await bench.writer.read(store.replicas)] == [bench.durable.replica_id]

    bench.notes.hold = None
    bench.durable = Durable(bench.writer.engine, bench.writer, beat_s=0.1)
    await bench.durable.launch(bench.notes)
    await bench.until(lambda: ("end", "t1") in bench.notes.calls)
    assert bench.notes.calls == [("start", "t1"), ("start", "t1"), ("end", "t1")]


async def test_segments_that_are_over_are_forgotten_after_a_while(bench: Bench) -> None:
    await bench.durable.launch(bench.notes)
    await bench.writer.run(lambda conn: bench.durable.execute(conn, DEMO, "h1", 1))
    await bench.until(lambda: bool(bench.notes.calls))
    assert await bench.durable.tidy(timedelta(hours=1)) == 0
    deadline = time.monotonic() + 10
    while await bench.durable.tidy(timedelta(seconds=-5)) == 0:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.05)
    assert "h1" not in await bench.writer.read(_everything_queued)


async def test_a_step_is_remembered_and_its_error_is_not(bench: Bench) -> None:
    done: list[str] = []

    async def work() -> dict[str, Json]:
        done.append("x")
        if len(done) == 1:
            raise ValueError("card 4111 1111 1111 1111")
        return {"seq": 7}

    async def stepping(tenant: TenantId, turn_id: str) -> None:
        with pytest.raises(ValueError, match="4111"):
            await bench.durable.step("open", work)
        bench.notes.calls.append(("seq", str((await bench.durable.step("again", work))["seq"])))

    bench.notes.turn_start = stepping  # type: ignore[method-assign]
    await bench.durable.launch(bench.notes)
    await bench.writer.run(lambda conn: bench.durable.start_turn(conn, DEMO, "t1", "one"))
    await bench.until(lambda: bench.notes.calls == [("seq", "7")])
    kept = await bench.writer.read(_everything_queued)
    assert "again" in kept
    assert "4111" not in kept


async def test_a_clean_stop_leaves_no_replica_and_a_loop_that_still_works(bench: Bench) -> None:
    await bench.durable.launch(bench.notes)
    await bench.durable.stop()
    assert await bench.writer.read(store.replicas) == ()
    assert await asyncio.to_thread(lambda: 5) == 5


async def test_a_queue_message_carries_ids_only(bench: Bench) -> None:
    def put(conn: Connection) -> None:
        bench.durable.put(conn, CARD)
        bench.durable.start_turn(conn, DEMO, "t1", "slack:T1:C1:1700.1")

    await bench.writer.run(put)
    kept = await bench.writer.read(_everything_queued)
    assert "t1" in kept
    assert '"demo","h1","card","1",""' in kept.replace(" ", "")


def _everything_queued(conn: Connection) -> str:
    """All that the queue keeps, from every table of DBOS."""
    schema = "dbos" if conn.dialect.name == "postgresql" else None
    kept = []
    for name in sa.inspect(conn).get_table_names(schema):
        if schema or name.startswith(("workflow", "operation")):
            rows = conn.execute(sa.text(f"SELECT * FROM {schema + '.' if schema else ''}{name}"))
            kept += [repr(tuple(row)) for row in rows]
    return "\n".join(kept)
