"""Appending: joins the caller's transaction, one tenant at a time, gapless under load, redacted."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.engine import Connection

from audit.canonical import NotCanonical
from audit.event import SYSTEM_CHAIN, Event
from audit.faults import StoreUnavailable
from audit.log import AuditLog
from audit.store import AuditStore
from audit.verify import verify
from audit.writer import Writer


def seqs(conn: Connection, tenant: str = "demo") -> list[int]:
    found = conn.execute(text("SELECT seq FROM agent_audit_log WHERE tenant_id = :t ORDER BY seq"), {"t": tenant})
    return list(found.scalars())


async def test_append_commits_and_rolls_back_with_its_transaction(
    writer: Writer, store: AuditStore, event: Callable[..., Event]
) -> None:
    def fails(conn: Connection) -> None:
        store.append(conn, [event(1), event(2)])
        raise LookupError

    await writer.run(lambda conn: store.append(conn, [event(0)]))
    with pytest.raises(LookupError):
        await writer.run(fails)
    await writer.run(lambda conn: store.append(conn, [event(3)]))
    assert await writer.read(seqs) == [1, 2]
    assert verify(writer.engine).holds


async def test_two_appends_in_one_transaction_follow_each_other(
    writer: Writer, store: AuditStore, event: Callable[..., Event]
) -> None:
    def twice(conn: Connection) -> None:
        store.append(conn, [event(0)])
        store.append(conn, [])
        store.append(conn, [event(1), event(2)])

    await writer.run(twice)
    assert await writer.read(seqs) == [1, 2, 3]
    assert verify(writer.engine).holds


def test_events_of_two_tenants_are_refused(writer: Writer, store: AuditStore, event: Callable[..., Event]) -> None:
    with pytest.raises(ValueError, match="one tenant"):
        writer.run_blocking(lambda conn: store.append(conn, [event(0, "a"), event(1, "b")]))
    assert verify(writer.engine).rows == 0


def test_events_without_a_tenant_go_to_the_system_chain(
    writer: Writer, store: AuditStore, event: Callable[..., Event]
) -> None:
    writer.run_blocking(lambda conn: store.append(conn, [event(0, None)]))
    assert writer.read_blocking(lambda conn: seqs(conn, SYSTEM_CHAIN)) == [1]


def test_what_is_written_is_redacted_in_columns_and_bytes(
    writer: Writer, store: AuditStore, event: Callable[..., Event]
) -> None:
    note = event(tool_args={"note": "4111111111111111", "order_id": "1042"}, detail={"said": ["4111111111111111"]})
    writer.run_blocking(lambda conn: store.append(conn, [note]))
    row = writer.read_blocking(lambda conn: tuple(conn.execute(text("SELECT * FROM agent_audit_log")).one()))
    assert "4111" not in str(row)
    assert str(row).count("[card]") == 4
    assert "1042" in str(row)


NASTY: list[dict[str, Any]] = [
    {"tool_args": {"amount": 42.5, "deep": [{"x": 2**70}], "nul": "a\x00b", "clé": "ü", "lone": "\ud83d"}},
    {"actor_user_id": "o'brien\\\"\n\x00", "status": "\u2028", "hitl_approver": "😀"},
    {"tool_args": {}, "detail": {}, "actor_roles": ()},
    {"tool_args": None, "detail": None, "session_id": ""},
    {"detail": {"null": None, "t": True, "f": False, "n": -1, "nested": {"b": 1, "aa": 2}}},
]


@pytest.mark.parametrize("changes", NASTY)
def test_odd_values_survive_the_round_trip_through_the_columns(
    writer: Writer, store: AuditStore, event: Callable[..., Event], changes: dict[str, Any]
) -> None:
    writer.run_blocking(lambda conn: store.append(conn, [event(**changes)]))
    assert verify(writer.engine).breaks == ()


async def test_32_writers_leave_no_gap(writer: Writer, store: AuditStore, event: Callable[..., Event]) -> None:
    """Units of decisions and grouped events, two tenants, all at once."""
    log = AuditLog(writer, store)

    async def decisions(tenant: str) -> None:
        for number in range(5):
            await writer.run(partial(store.append, events=[event(number, tenant)]))

    async def notes(tenant: str) -> None:
        for number in range(5):
            await log.write([event(number, tenant), event(number, tenant)])

    await asyncio.gather(*(work(tenant) for work in (decisions, notes) for tenant in ("a", "b") for _ in range(8)))
    for tenant in ("a", "b"):
        assert await writer.read(partial(seqs, tenant=tenant)) == list(range(1, 121))
    assert verify(writer.engine).holds


async def test_a_written_event_is_durable_when_write_returns(
    writer: Writer, store: AuditStore, event: Callable[..., Event]
) -> None:
    log = AuditLog(writer, store)
    await log.write([event(0, "a"), event(1, "b"), event(2, "a")])
    assert await writer.read(lambda conn: seqs(conn, "a")) == [1, 2]
    assert await writer.read(lambda conn: seqs(conn, "b")) == [1]
    await asyncio.to_thread(log.write_blocking, [event(3, "b")])
    assert await writer.read(lambda conn: seqs(conn, "b")) == [1, 2]


async def test_an_event_that_cannot_be_hashed_fails_its_own_caller_alone(
    writer: Writer, store: AuditStore, event: Callable[..., Event]
) -> None:
    log = AuditLog(writer, store)
    results = await asyncio.gather(
        log.write([event(0)]),
        log.write([event(1), event(2, latency_ms=1.5)]),
        log.write([event(3)]),
        return_exceptions=True,
    )
    assert isinstance(results[1], NotCanonical)
    assert await writer.read(seqs) == [1, 2]


async def test_a_log_that_cannot_be_written_fails_every_caller_and_then_recovers(
    writer: Writer, store: AuditStore, event: Callable[..., Event], monkeypatch: pytest.MonkeyPatch
) -> None:
    log = AuditLog(writer, store)

    def broken(*_: object) -> None:
        raise StoreUnavailable("The disk is full.")

    with monkeypatch.context() as patch:
        patch.setattr("audit.log.lock_head", broken)
        results = await asyncio.gather(*(log.write([event(n)]) for n in range(20)), return_exceptions=True)
        assert all(isinstance(result, StoreUnavailable) for result in results)
    await log.write([event(0)])
    assert await writer.read(seqs) == [1]


async def test_a_closing_service_tells_whoever_still_writes(
    engine_url: str, store: AuditStore, event: Callable[..., Event], writer: Writer
) -> None:
    log = AuditLog(writer, store)
    writer.close()
    with pytest.raises(StoreUnavailable, match="shutting down"):
        await log.write([event(0)])


async def test_more_events_than_one_group_holds(writer: Writer, store: AuditStore, event: Callable[..., Event]) -> None:
    log = AuditLog(writer, store)
    await asyncio.gather(*(log.write([event(n) for n in range(300)]) for _ in range(8)))
    assert verify(writer.engine).rows == 2400
