"""db.query: one SELECT over the requester's tenant, read-only. Knows how answers are shown, not how they are bound."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import TypeAlias

from audit.types import iso
from policy.model import Json, TenantId
from tools.actions.args import reads, refuse, text
from tools.actions.query_sqlite import COLUMNS, Rows
from tools.actions.sql_guard import SQL_LIMIT, guard, tables_in
from tools.spec import Args, CallContext, OutputClass, Record, Resolved, ToolResult

ROW_LIMIT = 200
TIME_LIMIT_S = 3.0

RunQuery: TypeAlias = Callable[[TenantId, str], Rows]

_TABLES = "; ".join(f"{table}({', '.join(columns)})" for table, columns in COLUMNS.items())


def description(dialect: str) -> str:
    """For the model: the tables, the dialect, and how money is stored."""
    flavour = "PostgreSQL" if dialect == "postgresql" else "SQLite"
    return (
        f"Answer a question about many records with one read-only SELECT ({flavour} dialect): counts, sums, lists. "
        f"Tables and columns: {_TABLES}. Columns ending in _minor are whole numbers in the currency's smallest unit "
        "(8400 with currency USD means 84.00 USD): never add different currencies, and write amounts with decimals "
        f"when you answer. Times are UTC. At most {ROW_LIMIT} rows and {TIME_LIMIT_S:g} seconds; only your own "
        "organisation's rows are there. For one customer or order, crm.read is simpler."
    )


SCHEMA: Mapping[str, Json] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "additionalProperties": False,
    "required": ["sql"],
    "properties": {
        "sql": {
            "type": "string",
            "minLength": 8,
            "maxLength": SQL_LIMIT,
            "description": "One SELECT statement over customers, orders, payments and refunds.",
        },
    },
}

EXAMPLE = "How many orders were placed in each month?"


@dataclass(frozen=True, slots=True)
class DbQuery:
    query: RunQuery
    dialect: str
    """``sqlite`` or ``postgresql``."""

    @reads
    async def resolve(self, ctx: CallContext, args: Args) -> Resolved:
        statement = text(args, "sql", limit=SQL_LIMIT, multiline=True)
        await asyncio.to_thread(self._guard, statement)
        return Resolved(arguments={"sql": statement}, headline="Query the business database")

    @reads
    async def run(self, ctx: CallContext, args: Args) -> ToolResult:
        statement = text(args, "sql", limit=SQL_LIMIT, multiline=True)
        tenant = ctx.principal.tenant
        found = await asyncio.to_thread(lambda: self.query(tenant, self._guard(statement)))
        rows: list[Json] = [[_json(value) for value in row] for row in found.rows]
        content: dict[str, Json] = {"columns": list(found.columns), "rows": rows, "complete": found.complete}
        cut = "" if found.complete else f" (the first {ROW_LIMIT}; there are more)"
        return ToolResult(
            content=content,
            sentence=f"The query found {len(rows)} row{'' if len(rows) == 1 else 's'}{cut}.",
            # Any text in it may be a customer's.
            untrusted=any(isinstance(value, str) for row in found.rows for value in row),
            output_class=OutputClass.INTERNAL,
            records=tuple(Record("table", name) for name in tables_in(statement, self._flavour)),
        )

    @reads
    async def look_up(self, ctx: CallContext, args: Args) -> ToolResult | None:
        return None

    def _guard(self, statement: str) -> str:
        return guard(statement, self._flavour)

    @property
    def _flavour(self) -> str:
        return "postgres" if self.dialect == "postgresql" else "sqlite"


def _json(value: object) -> Json:
    """A cell as JSON without floats: what is not whole is written as decimal text."""
    match value:
        case None | bool() | int() | str():
            return value
        case float():
            return str(round(Decimal(repr(value)), 6).normalize()) if value == value else None
        case Decimal():
            return format(value, "f")
        case datetime():
            return iso(value) if value.tzinfo is not None else value.isoformat()
        case date():
            return value.isoformat()
        case bytes():
            raise refuse("The query returns binary data, which cannot be shown. Leave that column out.")
        case _:
            return str(value)
