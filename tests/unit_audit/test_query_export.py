"""Finding rows, and handing them out so that they prove themselves elsewhere."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from audit.checkpoint import Checkpointer, load_or_create_key, load_public_key, public_path
from audit.event import Event, Kind
from audit.export import as_csv, as_json, export_jsonl, last_checkpoint, verify_export
from audit.query import Filter, Page, query
from audit.scan import What
from audit.store import AuditStore
from audit.writer import Writer

T0 = datetime(2026, 3, 1, 9, 0, tzinfo=UTC)


@pytest.fixture
def filled(writer: Writer, store: AuditStore, event: Callable[..., Event]) -> Writer:
    rows = [
        event(0, status="pending"),
        event(1, kind=Kind.APPROVAL_PRESSED, actor_user_id="i|ann", hitl_approver="i|ann", status="counted"),
        event(2, kind=Kind.TOOL_EXECUTED, hitl_approver="i|ann,i|bob", status="executed", cost_usd=Decimal("0.5")),
        event(3, tool_name="crm.read", session_id="web:1", status="executed"),
        event(4, kind=Kind.TURN_STARTED, tool_name=None, tool_args=None, call_id=None, actor_user_id="i|annette"),
    ]
    writer.run_blocking(lambda conn: store.append(conn, rows))
    writer.run_blocking(lambda conn: store.append(conn, [event(0, "other")]))
    writer.run_blocking(lambda conn: store.append(conn, [event(0, None, kind=Kind.SERVICE_STARTED)]))
    return writer


def find(writer: Writer, tenant: str | None = "demo", **wanted: Any) -> list[int]:
    return [row.seq for row in writer.read_blocking(lambda conn: query(conn, tenant, Filter(**wanted))).rows]


@pytest.mark.parametrize(
    ("wanted", "seqs"),
    [
        ({}, [5, 4, 3, 2, 1]),
        ({"who": "i|ann"}, [3, 2]),
        ({"who": "i|bob"}, [3]),
        ({"who": "i|%"}, []),
        ({"tool": "crm.read"}, [4]),
        ({"since": T0 + timedelta(seconds=3)}, [5, 4]),
        ({"until": T0 + timedelta(seconds=1)}, [1]),
        ({"since": T0 + timedelta(seconds=1), "until": T0 + timedelta(seconds=3)}, [3, 2]),
        ({"status": "executed"}, [4, 3]),
        ({"kind": Kind.TURN_STARTED}, [5]),
        ({"call_id": "call-2"}, [3]),
        ({"session_id": "web:1"}, [4]),
        ({"who": "i|ann", "status": "executed"}, [3]),
        ({"tool": "' OR 1=1 --"}, []),
    ],
)
def test_filters_narrow(filled: Writer, wanted: dict[str, Any], seqs: list[int]) -> None:
    assert find(filled, **wanted) == seqs


def test_tenants_do_not_meet(filled: Writer) -> None:
    assert find(filled, "other") == [1]
    assert find(filled, None) == [1]
    assert find(filled, "nobody") == []


def test_pages_join_without_gap_or_overlap(filled: Writer) -> None:
    seen: list[int] = []
    page = Page((), None)
    while True:
        page = filled.read_blocking(partial(query, tenant="demo", before=page.before, limit=2))
        seen += [row.seq for row in page.rows]
        if page.before is None:
            break
    assert seen == [5, 4, 3, 2, 1]
    with pytest.raises(ValueError, match="1 to"):
        filled.read_blocking(lambda conn: query(conn, "demo", limit=0))


def test_a_row_comes_back_with_its_types(filled: Writer) -> None:
    row = filled.read_blocking(lambda conn: query(conn, "demo", Filter(call_id="call-2"))).rows[0]
    assert row.kind is Kind.TOOL_EXECUTED
    assert row.occurred_at == T0 + timedelta(seconds=2)
    assert row.actor_roles == ("support_agent",)
    assert row.tool_args == {"order_id": "1042", "amount": "42.00", "currency": "USD"}
    assert row.cost_usd == Decimal("0.5")


def test_json_and_csv_hold_the_rows_and_no_formula(
    writer: Writer, store: AuditStore, event: Callable[..., Event]
) -> None:
    rows = [event(0, status="=1+1"), event(1, actor_user_id='ä,"\n')]
    writer.run_blocking(lambda conn: store.append(conn, rows))
    found = writer.read_blocking(lambda conn: query(conn, "demo")).rows
    table = list(csv.DictReader(io.StringIO(as_csv(found))))
    assert [line["status"] for line in table] == ["pending", "'=1+1"]
    assert table[0]["actor_user_id"] == 'ä,"\n'
    assert json.loads(table[0]["tool_args"])["amount"] == "42.00"
    assert [line["seq"] for line in json.loads(as_json(found))] == [2, 1]
    assert json.loads(as_json(found))[0]["occurred_at"] == "2026-03-01T09:00:01.000000Z"


@pytest.fixture
def exported(filled: Writer, tmp_path: Path) -> list[str]:
    path = tmp_path / "checkpoints.jsonl"
    filled.read_blocking(Checkpointer(path, load_or_create_key(tmp_path / "key")).write)
    signed = last_checkpoint(path, "demo", load_public_key(public_path(tmp_path / "key")))
    assert signed is not None
    return list(export_jsonl(filled.engine, "demo", signed))


def test_an_export_proves_itself_offline(exported: list[str], tmp_path: Path) -> None:
    key = load_public_key(public_path(tmp_path / "key"))
    assert len(exported) == 6
    assert verify_export(exported, key) == ()


@pytest.mark.parametrize(
    ("bend", "what"),
    [
        (lambda lines: [lines[0], *(line.replace("executed", "rejected") for line in lines[1:])], What.FORGED),
        (lambda lines: lines[:3] + lines[4:], What.REMOVED),
        (lambda lines: lines[:-1], What.REMOVED),
        (lambda lines: [lines[0].replace('"seq":5', '"seq":4'), *lines[1:-1]], What.HEAD),
        (lambda lines: [lines[0], lines[2], lines[1], *lines[3:]], What.REMOVED),
    ],
)
def test_a_bent_export_shows(
    exported: list[str], bend: Callable[[list[str]], list[str]], what: What, tmp_path: Path
) -> None:
    breaks = verify_export(bend(exported), load_public_key(public_path(tmp_path / "key")))
    assert what in {item.what for item in breaks}


def test_what_is_no_export_is_refused() -> None:
    for lines in ([], ["{}"], ["nonsense"], ["[1]"]):
        with pytest.raises(ValueError, match=r"no export|Expecting value"):
            verify_export(lines)


def test_an_empty_chain_exports_and_holds(writer: Writer) -> None:
    lines = list(export_jsonl(writer.engine, "nobody"))
    assert len(lines) == 1
    assert verify_export(lines) == ()
