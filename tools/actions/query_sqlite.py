"""One checked SELECT on the SQLite business file, seen through one tenant's eyes. Knows no tool.

The file is opened read-only. Views in the connection's own memory show the tenant's rows; an authorizer lets
nothing else be read, whatever the statement says, and a progress handler ends it in time.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from secrets import token_hex

from policy.model import TenantId
from tools.actions.args import refuse
from tools.actions.sql_guard import FUNCTIONS, TABLES

COLUMNS = {
    "customers": ("id", "name", "email", "phone", "address", "tier", "note", "created_at"),
    "orders": (
        "id",
        "customer_id",
        "status",
        "currency",
        "total_minor",
        "placed_at",
        "shipped_at",
        "delivered_at",
        "tracking",
    ),
    "payments": ("id", "order_id", "customer_id", "amount_minor", "currency", "method", "last4", "paid_at"),
    "refunds": ("id", "order_id", "payment_id", "amount_minor", "currency", "reason", "refunded_at"),
}
"""What db.query shows of each table. Tenant, keys and the provider's references stay inside."""

_INSTRUCTIONS_BETWEEN_CHECKS = 2_000
_ENGINE_FUNCTIONS = FUNCTIONS | {"like", "glob", "json_quote"}
_CELL_LIMIT = 100_000


@dataclass(frozen=True, slots=True)
class Rows:
    """What a query found. `complete`: nothing was cut off by the row limit."""

    columns: tuple[str, ...]
    rows: tuple[Sequence[object], ...]
    complete: bool


@dataclass(frozen=True, slots=True)
class SqliteQuery:
    path: str
    row_limit: int
    time_limit_s: float

    def __call__(self, tenant: TenantId, sql: str) -> Rows:
        """Runs `sql`, which `sql_guard.guard` has let through. Blocking: call it in a worker thread.

        Raises:
            ActionError: it took too long, met a wall, or is wrong SQL for this database.
        """
        deadline = time.monotonic() + self.time_limit_s
        uri = f"{Path(self.path).absolute().as_uri()}?mode=ro"
        try:
            connection = sqlite3.connect(uri, uri=True, timeout=self.time_limit_s)
        except sqlite3.Error as error:
            raise refuse("The business database did not answer. Try again in a moment.", retryable=True) from error
        try:
            _lock_down(connection, _bind(connection, tenant), deadline)
            cursor = connection.execute(sql)
            rows = cursor.fetchmany(self.row_limit + 1)
            columns = tuple(column[0] for column in cursor.description or ())
            return Rows(columns, tuple(rows[: self.row_limit]), len(rows) <= self.row_limit)
        except sqlite3.Error as error:
            raise _refused(error, self.time_limit_s) from error
        finally:
            connection.close()


def _bind(connection: sqlite3.Connection, tenant: TenantId) -> str:
    """Views in the temp schema, which SQLite searches first: a bare table name means the tenant's rows.

    Returns the prefix of the views that read the tables. It is drawn anew for each connection, because the
    authorizer is told the name of the view *or of the WITH clause* that reads, and a statement can choose the latter.
    """
    prefix = f"v{token_hex(16)}_"
    scope = f"{prefix}scope"
    connection.execute("PRAGMA trusted_schema=OFF")
    connection.execute(f"CREATE TEMP TABLE {scope} (tenant TEXT NOT NULL)")
    connection.execute(f"INSERT INTO temp.{scope} VALUES (?)", (tenant,))  # noqa: S608  (our own names)
    for table, columns in COLUMNS.items():
        listed = ", ".join(columns)
        connection.execute(
            f"CREATE TEMP VIEW {prefix}{table} AS SELECT {listed} FROM main.{table} "  # noqa: S608  (our own names)
            f"WHERE tenant = (SELECT tenant FROM temp.{scope})"
        )
        connection.execute(f"CREATE TEMP VIEW {table} AS SELECT * FROM temp.{prefix}{table}")  # noqa: S608
    connection.commit()
    connection.execute("PRAGMA query_only=ON")
    return prefix


def _lock_down(connection: sqlite3.Connection, prefix: str, deadline: float) -> None:
    seen = TABLES | {prefix + table for table in TABLES}

    def authorize(action: int, first: str | None, second: str | None, base: str | None, within: str | None) -> int:
        """https://www.sqlite.org/c3ref/set_authorizer.html; `within` is the innermost view or WITH clause."""
        if action == sqlite3.SQLITE_SELECT:
            return sqlite3.SQLITE_OK
        if action == sqlite3.SQLITE_FUNCTION:
            return sqlite3.SQLITE_OK if (second or "").lower() in _ENGINE_FUNCTIONS else sqlite3.SQLITE_DENY
        if action == sqlite3.SQLITE_READ:
            by_view = within is not None and within.startswith(prefix)
            if base == "main":
                return sqlite3.SQLITE_OK if by_view and within == f"{prefix}{first}" else sqlite3.SQLITE_DENY
            if first in seen or (by_view and first == f"{prefix}scope"):
                return sqlite3.SQLITE_OK
        return sqlite3.SQLITE_DENY

    connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _CELL_LIMIT)
    connection.setlimit(sqlite3.SQLITE_LIMIT_EXPR_DEPTH, 100)
    connection.setlimit(sqlite3.SQLITE_LIMIT_COMPOUND_SELECT, 10)
    connection.setlimit(sqlite3.SQLITE_LIMIT_ATTACHED, 0)
    connection.set_authorizer(authorize)
    connection.set_progress_handler(lambda: int(time.monotonic() > deadline), _INSTRUCTIONS_BETWEEN_CHECKS)


def _refused(error: sqlite3.Error, time_limit_s: float) -> Exception:
    code = getattr(error, "sqlite_errorcode", None)
    if code == sqlite3.SQLITE_INTERRUPT:
        return refuse(f"The query took longer than {time_limit_s:g} seconds and was stopped. Narrow it down.")
    if code == sqlite3.SQLITE_AUTH:
        return refuse("The query reads something that db.query may not read. Use the four tables and plain functions.")
    if code == sqlite3.SQLITE_ERROR:
        # SQLite names the wrong table or column here; that helps to mend the statement and shows no data.
        return refuse(f"The query is wrong: {str(error)[:200]}. Mend it and try again.")
    return refuse("The business database could not run the query. Try a simpler one.")
