"""The reference query of the design and the view of calls, with their literal answers for one refund."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.engine import Connection

from audit.event import Event, Kind
from audit.query import call
from audit.store import AuditStore
from audit.writer import Writer

REFERENCE = """
SELECT occurred_at, actor_user_id, tool_args->>'amount' AS amount, hitl_approver, status
FROM agent_audit_log WHERE tool_name = 'refund.issue' AND occurred_at >= '2026-01-01'
ORDER BY occurred_at DESC;
"""
T0 = datetime(2026, 2, 3, 14, 0, tzinfo=UTC)
ANN, BOB, DANA = "urn:countersign:directory|ann", "urn:countersign:directory|bob", "urn:countersign:directory|dana"
ARGS = {"order_id": "1042", "amount": "250.00", "currency": "USD", "reason": "The parcel never came"}


def refund(event: Callable[..., Event]) -> list[Event]:
    """A refund above the threshold, as the gateway writes it down."""

    def at(second: int, kind: Kind, status: str, actor: str, approvers: str | None, **more: Any) -> Event:
        return event(
            kind=kind,
            occurred_at=T0 + timedelta(seconds=second),
            status=status,
            actor_user_id=actor,
            hitl_approver=approvers,
            call_id="call-7",
            tool_args=ARGS,
            **more,
        )

    both = f"{ANN},{BOB}"
    return [
        at(0, Kind.TOOL_REQUESTED, "pending", DANA, None, hitl_status="pending", authz_decision="needs_approval"),
        at(60, Kind.APPROVAL_PRESSED, "counted", ANN, ANN, hitl_status="pending"),
        at(120, Kind.APPROVAL_PRESSED, "approved", BOB, both, hitl_status="approved"),
        at(121, Kind.APPROVAL_DECIDED, "approved", BOB, both, hitl_status="approved"),
        at(122, Kind.TOOL_STARTED, "started", DANA, both, hitl_status="approved"),
        at(123, Kind.TOOL_EXECUTED, "executed", DANA, both, hitl_status="approved", latency_ms=412),
    ]


@pytest.fixture
def told(writer: Writer, store: AuditStore, event: Callable[..., Event]) -> Writer:
    other = event(tool_name="crm.read", call_id="call-8", status="executed", occurred_at=T0)
    old = event(call_id="call-1", occurred_at=datetime(2025, 12, 31, 23, 59, 59, 999999, tzinfo=UTC))
    writer.run_blocking(lambda conn: store.append(conn, [old, *refund(event), other]))
    return writer


def reference(conn: Connection) -> list[tuple[str, ...]]:
    rows = conn.exec_driver_sql(REFERENCE).all()
    return [(str(row[0]).replace("+00:00", "Z").replace("T", " ").replace(".000000", ""), *row[1:]) for row in rows]


def test_the_reference_sql_answers_who_approved_this_refund(told: Writer) -> None:
    both = f"{ANN},{BOB}"
    assert told.read_blocking(reference) == [
        ("2026-02-03 14:02:03Z", DANA, "250.00", both, "executed"),
        ("2026-02-03 14:02:02Z", DANA, "250.00", both, "started"),
        ("2026-02-03 14:02:01Z", BOB, "250.00", both, "approved"),
        ("2026-02-03 14:02:00Z", BOB, "250.00", both, "approved"),
        ("2026-02-03 14:01:00Z", ANN, "250.00", ANN, "counted"),
        ("2026-02-03 14:00:00Z", DANA, "250.00", None, "pending"),
    ]


VIEW = """
SELECT call_id, actor_user_id, tool_name, amount, currency, hitl_status, hitl_approver, status, latency_ms, last_seq
FROM agent_calls WHERE call_id = 'call-7'
"""
EXECUTED = ("call-7", DANA, "refund.issue", "250.00", "USD", "approved", f"{ANN},{BOB}", "executed", 412, 7)


def test_the_view_has_one_row_for_it(told: Writer) -> None:
    assert [tuple(row) for row in told.read_blocking(lambda conn: conn.exec_driver_sql(VIEW).all())] == [EXECUTED]


def test_a_late_press_changes_no_call(told: Writer, store: AuditStore, event: Callable[..., Event]) -> None:
    late = event(
        kind=Kind.APPROVAL_PRESSED,
        status="late",
        actor_user_id=ANN,
        call_id="call-7",
        tool_args=ARGS,
        hitl_status="approved",
    )
    told.run_blocking(lambda conn: store.append(conn, [late]))
    assert [tuple(row) for row in told.read_blocking(lambda conn: conn.exec_driver_sql(VIEW).all())] == [
        (*EXECUTED[:-1], 9)
    ]


def test_the_view_has_exactly_one_row_a_call_and_none_for_what_is_no_call(
    told: Writer, store: AuditStore, event: Callable[..., Event]
) -> None:
    stray = event(kind=Kind.APPROVAL_PRESSED, status="unknown", call_id="call-99")
    turn = event(kind=Kind.TURN_STARTED, call_id=None, tool_name=None, tool_args=None)
    same_id = event(tenant="other", call_id="call-7")
    told.run_blocking(lambda conn: store.append(conn, [stray, turn]))
    told.run_blocking(lambda conn: store.append(conn, [same_id]))
    query = text("SELECT tenant_id, call_id, status FROM agent_calls ORDER BY tenant_id, call_id")
    assert [tuple(row) for row in told.read_blocking(lambda conn: conn.execute(query).all())] == [
        ("demo", "call-1", "pending"),
        ("demo", "call-7", "executed"),
        ("demo", "call-8", "executed"),
        ("other", "call-7", "pending"),
    ]


def test_the_call_as_a_value(told: Writer) -> None:
    found = told.read_blocking(lambda conn: call(conn, "demo", "call-7"))
    assert found is not None
    assert (found.requested_at, found.occurred_at) == (T0, T0 + timedelta(seconds=123))
    assert found.tool_args == ARGS
    assert told.read_blocking(lambda conn: call(conn, "other", "call-7")) is None
