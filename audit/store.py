"""Appends events to the log inside the caller's transaction. Knows rows and heads; decides nothing and never commits.

What is stored refers to drafts, transcripts and other raw text by id: `tool_args` holds what identifies an
effect (recipient, order, amount), so that erasing a transcript or an approval row leaves the chain whole.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import cast

from sqlalchemy.engine import Connection

from audit.chain import COLUMNS, Cells, Head, Sealed, genesis, record, seal
from audit.event import SYSTEM_CHAIN, Event
from audit.redact import Redactor

_NAMES = ", ".join((*COLUMNS, "canonical", "prev_hash", "row_hash"))
_INSERT_SQLITE = f"INSERT INTO agent_audit_log ({_NAMES}) VALUES ({', '.join('?' * (len(COLUMNS) + 3))})"  # noqa: S608
_POSTGRES_TYPES = {
    "actor_roles": "jsonb",
    "detail": "jsonb",
    "tool_args": "jsonb",
    "cost_usd": "numeric",
    "occurred_at": "timestamptz",
    "format": "smallint",
    "latency_ms": "bigint",
    "seq": "bigint",
}
_TYPED = ", ".join(f"{name} {_POSTGRES_TYPES.get(name, 'text')}" for name in COLUMNS)
_INSERT_POSTGRES = (
    f"INSERT INTO agent_audit_log ({_NAMES}) SELECT {', '.join(f'r.{name}' for name in COLUMNS)},"  # noqa: S608
    " c.canonical, c.prev_hash, c.row_hash FROM unnest(%s::text[], %s::text[], %s::text[])"
    " AS c(canonical, prev_hash, row_hash), json_to_record(c.canonical::json)"
    f" AS r({_TYPED})"
)
"""The server reads the columns out of the canonical bytes; one statement, so the trigger runs once for all rows."""


class AuditStore:
    """The one way into the log. `redactor` masks personal data and secrets before anything is sealed."""

    def __init__(self, redactor: Redactor) -> None:
        self._redactor = redactor

    def append(self, conn: Connection, events: Sequence[Event]) -> None:
        """Seals `events`, all of one tenant, at the end of its chain. Call it last in the transaction.

        Locks the tenant's head until the transaction ends; the rows are durable once that has committed.

        Raises:
            ValueError: events of two tenants, which one transaction must not mix.
            NotCanonical: an event that cannot be hashed; its caller must not go on (invariant 6).
        """
        self.append_records(conn, [self.prepare(event) for event in events])

    def prepare(self, event: Event) -> Cells:
        """`event` redacted and made ready to be sealed; needs no database.

        Raises:
            NotCanonical: the event holds something that cannot be hashed.
        """
        return record(event, self._redactor)

    def append_records(self, conn: Connection, records: Sequence[Cells]) -> None:
        """`append` for events that `prepare` has made ready."""
        tenants = {tenant_of(cells) for cells in records}
        if not tenants:
            return
        if len(tenants) > 1:
            raise ValueError("One transaction writes the audit of one tenant. Split these events by tenant.")
        insert(conn, seal(lock_head(conn, tenants.pop()), records))


def tenant_of(cells: Cells) -> str:
    """The chain these cells belong to."""
    return cast(str, cells[COLUMNS.index("tenant_id")])


def lock_head(conn: Connection, tenant: str | None) -> Head:
    """Where the chain of `tenant` ends, locked until the transaction ends; starts the chain if there is none."""
    name = SYSTEM_CHAIN if tenant is None else tenant
    if conn.dialect.name == "postgresql":
        seq, hashed = conn.exec_driver_sql("SELECT seq, hash FROM audit_lock_head(%s)", (name,)).one()
        return Head(name, seq, hashed)
    row = conn.exec_driver_sql("SELECT seq, hash FROM audit_head WHERE tenant_id = ?", (name,)).first()
    if row is not None:
        return Head(name, row[0], row[1])
    start = Head(name, 0, genesis(name))
    conn.exec_driver_sql("INSERT INTO audit_head (tenant_id, seq, hash) VALUES (?, 0, ?)", (name, start.hash))
    return start


def insert(conn: Connection, sealed: Iterable[Sealed]) -> None:
    """Writes rows that were sealed behind a head this transaction has locked."""
    rows = list(sealed)
    if conn.dialect.name == "postgresql":
        columns = ([row.canonical for row in rows], [row.prev_hash for row in rows], [row.row_hash for row in rows])
        conn.exec_driver_sql(_INSERT_POSTGRES, columns)
    else:
        values = [(*row.cells, row.canonical, row.prev_hash, row.row_hash) for row in rows]
        conn.exec_driver_sql(_INSERT_SQLITE, values)
