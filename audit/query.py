"""Answers from the log: who, which tool, when, what became of it. Reads only; always within one tenant."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import ColumnElement, Select, select, text
from sqlalchemy.engine import Connection, RowMapping
from sqlmodel import col

from audit.event import SYSTEM_CHAIN, Json, Kind
from audit.tables import AuditRow
from audit.types import from_iso

PAGE = 100
PAGE_LIMIT = 10_000


@dataclass(frozen=True, slots=True)
class Row:
    """One row of `agent_audit_log`. Times are aware UTC."""

    tenant_id: str
    seq: int
    kind: Kind
    occurred_at: datetime
    actor_user_id: str | None
    actor_roles: tuple[str, ...]
    session_id: str | None
    agent_name: str
    call_id: str | None
    tool_name: str | None
    tool_args: Mapping[str, Json] | None
    authz_decision: str | None
    guardrail_verdict: str | None
    hitl_status: str | None
    hitl_approver: str | None
    status: str
    latency_ms: int | None
    model: str | None
    cost_usd: Decimal | None
    detail: Mapping[str, Json] | None
    canonical: str
    prev_hash: str
    row_hash: str


@dataclass(frozen=True, slots=True)
class CallRow:
    """One row of the view `agent_calls`: a call as it stands now."""

    tenant_id: str
    call_id: str
    requested_at: datetime
    occurred_at: datetime
    actor_user_id: str | None
    session_id: str | None
    tool_name: str | None
    tool_args: Mapping[str, Json] | None
    amount: str | None
    currency: str | None
    hitl_status: str | None
    hitl_approver: str | None
    status: str
    latency_ms: int | None
    last_seq: int


@dataclass(frozen=True, slots=True)
class Filter:
    """What to look for; None does not narrow. `since` is included, `until` is not.

    `who` is a whole user id; an approver is found by it too, in the rows that name them.
    """

    who: str | None = None
    tool: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    status: str | None = None
    kind: Kind | None = None
    call_id: str | None = None
    session_id: str | None = None


@dataclass(frozen=True, slots=True)
class Page:
    """Rows, newest first. Hand `before` in again for the next page; None: there is no more."""

    rows: tuple[Row, ...]
    before: int | None


def query(
    conn: Connection, tenant: str | None, wanted: Filter = Filter(), *, before: int | None = None, limit: int = PAGE
) -> Page:
    """The rows of `tenant` (None: the service's own chain) that match, newest first, at most `limit`.

    Raises:
        ValueError: `limit` is not within 1 and `PAGE_LIMIT`.
    """
    if not 1 <= limit <= PAGE_LIMIT:
        raise ValueError(f"A page has 1 to {PAGE_LIMIT} rows, not {limit}.")
    statement = _matching(tenant, wanted).order_by(col(AuditRow.seq).desc()).limit(limit + 1)
    if before is not None:
        statement = statement.where(col(AuditRow.seq) < before)
    found = [row_of(mapping) for mapping in conn.execute(statement).mappings()]
    rows = tuple(found[:limit])
    return Page(rows, rows[-1].seq if len(found) > limit else None)


def call(conn: Connection, tenant: str, call_id: str) -> CallRow | None:
    """What became of one call; None if the tenant has no such call."""
    statement = text("SELECT * FROM agent_calls WHERE tenant_id = :tenant AND call_id = :call_id")
    found = conn.execute(statement, {"tenant": tenant, "call_id": call_id}).mappings().first()
    return None if found is None else _call_of(found)


def _matching(tenant: str | None, wanted: Filter) -> Select[Any]:
    conditions: list[ColumnElement[bool]] = [col(AuditRow.tenant_id) == (SYSTEM_CHAIN if tenant is None else tenant)]
    if wanted.who is not None:
        approver = "," + col(AuditRow.hitl_approver) + ","
        conditions.append(
            (col(AuditRow.actor_user_id) == wanted.who) | approver.contains(f",{wanted.who},", autoescape=True)
        )
    if wanted.since is not None:
        conditions.append(col(AuditRow.occurred_at) >= wanted.since)
    if wanted.until is not None:
        conditions.append(col(AuditRow.occurred_at) < wanted.until)
    for column, value in (
        (AuditRow.tool_name, wanted.tool),
        (AuditRow.status, wanted.status),
        (AuditRow.kind, wanted.kind),
        (AuditRow.call_id, wanted.call_id),
        (AuditRow.session_id, wanted.session_id),
    ):
        if value is not None:
            conditions.append(col(column) == str(value))
    return select(*AuditRow.__table__.columns).where(*conditions)  # type: ignore[attr-defined]


def row_of(found: RowMapping) -> Row:
    """A row of the table as a value."""
    values = {name: found[name] for name in Row.__slots__}
    values["kind"] = Kind(values["kind"])
    values["actor_roles"] = tuple(values["actor_roles"])
    return Row(**values)


def _call_of(found: RowMapping) -> CallRow:
    values = {name: found[name] for name in CallRow.__slots__}
    for name in ("requested_at", "occurred_at"):  # a view's columns have no type of ours on SQLite
        if isinstance(values[name], str):
            values[name] = from_iso(values[name])
    if isinstance(values["tool_args"], str):
        values["tool_args"] = json.loads(values["tool_args"])
    return CallRow(**values)
