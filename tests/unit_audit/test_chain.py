"""Sealing: every hashed column is in the bytes, and every row follows the one before."""

from __future__ import annotations

import hashlib
import json
import subprocess
from collections.abc import Callable
from dataclasses import fields
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from audit.canonical import NotCanonical, canonical_text
from audit.chain import COLUMNS, JSON_COLUMNS, SEQ, Head, canonical_row, genesis, link, record, seal
from audit.event import Event, Kind
from audit.tables import AuditRow

WORDS = st.none() | st.text(max_size=20)
EVENTS = st.builds(
    Event,
    kind=st.sampled_from(Kind),
    tenant=WORDS,
    occurred_at=st.datetimes(timezones=st.just(UTC)),
    status=st.text(max_size=10),
    actor_user_id=WORDS,
    actor_roles=st.lists(st.text(max_size=5), max_size=3).map(tuple),
    session_id=WORDS,
    agent_name=st.text(max_size=5),
    call_id=WORDS,
    tool_name=WORDS,
    tool_args=st.none()
    | st.dictionaries(st.text(max_size=4), st.text(max_size=9) | st.floats() | st.integers(), max_size=4),
    authz_decision=WORDS,
    guardrail_verdict=WORDS,
    hitl_status=WORDS,
    hitl_approver=WORDS,
    latency_ms=st.none() | st.integers(0, 10**9),
    model=WORDS,
    cost_usd=st.none() | st.decimals(0, 10**6, places=8),
    detail=st.none() | st.dictionaries(st.text(max_size=4), st.lists(st.booleans(), max_size=2), max_size=2),
)


def keep(text: str) -> str:
    return text


def as_mapping(cells: tuple[Any, ...]) -> dict[str, Any]:
    return {
        name: json.loads(cell) if name in JSON_COLUMNS and cell is not None else cell
        for name, cell in zip(COLUMNS, cells, strict=True)
    }


@given(EVENTS)
def test_the_fast_writer_of_rows_equals_the_general_one_and_rfc8785(event: Event) -> None:
    cells = record(event, keep)
    assert canonical_row(cells) == canonical_text(as_mapping(cells))
    assert canonical_row(cells).encode() == rfc8785.dumps(as_mapping(cells))


def test_every_column_of_the_table_is_hashed_but_for_the_hashes_themselves() -> None:
    table = set(AuditRow.model_fields)
    assert table - set(COLUMNS) == {"canonical", "prev_hash", "row_hash"}
    assert set(COLUMNS) - table == set()
    assert list(COLUMNS) == sorted(COLUMNS)


def test_every_field_of_an_event_has_a_column() -> None:
    assert {field.name for field in fields(Event)} - set(COLUMNS) == {"tenant"}


def test_rows_are_numbered_and_chained_from_the_genesis(event: Callable[..., Event]) -> None:
    head = Head("demo", 0, genesis("demo"))
    rows = list(seal(head, [record(event(number), keep) for number in range(3)]))
    assert [row.cells[SEQ] for row in rows] == [1, 2, 3]
    assert [row.prev_hash for row in rows] == [genesis("demo"), rows[0].row_hash, rows[1].row_hash]
    assert all(row.row_hash == hashlib.sha256((row.prev_hash + row.canonical).encode()).hexdigest() for row in rows)


def test_each_tenant_has_a_genesis_of_its_own() -> None:
    assert genesis("a") != genesis("b")


def test_a_row_can_be_checked_with_sha256sum(event: Callable[..., Event]) -> None:
    (row,) = seal(Head("demo", 0, genesis("demo")), [record(event(detail={"note": "zażółć 😀"}), keep)])
    shell = subprocess.run(
        ["/bin/sh", "-c", 'printf "%s%s" "$1" "$2" | sha256sum', "sh", row.prev_hash, row.canonical],
        capture_output=True,
        check=True,
        text=True,
    )
    assert shell.stdout.split()[0] == row.row_hash == link(row.prev_hash, row.canonical)


@pytest.mark.parametrize(
    "change",
    [
        {"latency_ms": 1.5},
        {"latency_ms": 2**60},
        {"cost_usd": Decimal("NaN")},
        {"cost_usd": Decimal(10) ** 11},
        {"occurred_at": datetime(2026, 1, 1)},  # noqa: DTZ001
        {"detail": {"a": object()}},
    ],
)
def test_an_event_that_cannot_be_hashed_is_a_domain_error(event: Callable[..., Event], change: dict[str, Any]) -> None:
    with pytest.raises(NotCanonical):
        record(event(**change), keep)


def test_redaction_happens_before_sealing(event: Callable[..., Event]) -> None:
    cells = record(
        event(tool_args={"note": "card 4111", "deep": [{"4111": 1}]}), lambda text: text.replace("4111", "[x]")
    )
    assert "4111" not in canonical_row(cells)
    assert canonical_row(cells).count("[x]") == 2
