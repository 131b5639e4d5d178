"""ledger.read: payments and refunds as the business recorded them. Reads only; knows no provider."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

from sqlalchemy import String, literal, null, select, union_all
from sqlalchemy.engine import Connection, Row

from audit.types import UtcDateTime, iso
from policy.model import Json, TenantId
from tools.actions.args import reads, refuse, text
from tools.actions.records import order_number
from tools.business import Business, payments, refunds
from tools.money import from_minor
from tools.spec import Args, CallContext, OutputClass, Record, Resolved, ToolResult

LIMIT = 100
_KINDS = ("payment", "refund")

DESCRIPTION = (
    "Read the ledger: payments received and refunds issued, newest first, at most 100 entries, with a total per "
    "currency and kind. Narrow it by order, by kind, or by date (since and until, both included, UTC). Amounts are "
    "decimal strings. Use crm.read for customers and orders."
)

SCHEMA: Mapping[str, Json] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "order_id": {"type": "string", "minLength": 1, "maxLength": 32, "description": 'Order number, like "1042".'},
        "since": {
            "type": "string",
            "pattern": "^[0-9]{4}-[0-9]{2}-[0-9]{2}$",
            "description": 'First day, like "2026-11-01".',
        },
        "until": {
            "type": "string",
            "pattern": "^[0-9]{4}-[0-9]{2}-[0-9]{2}$",
            "description": 'Last day, like "2026-11-30".',
        },
        "kind": {"type": "string", "enum": list(_KINDS), "description": "Only payments, or only refunds."},
    },
}

EXAMPLE = "Which refunds went out this month?"


@dataclass(frozen=True, slots=True)
class LedgerRead:
    business: Business

    @reads
    async def resolve(self, ctx: CallContext, args: Args) -> Resolved:
        clean: dict[str, Json] = {}
        if "order_id" in args:
            clean["order_id"] = order_number(text(args, "order_id", limit=40))
        for name in ("since", "until"):
            if name in args:
                clean[name] = _day(text(args, name, limit=10), name).isoformat()
        if "kind" in args:
            kind = text(args, "kind", limit=10)
            if kind not in _KINDS:
                raise refuse("kind must be payment or refund.")
            clean["kind"] = kind
        return Resolved(arguments=clean, headline="Read the ledger")

    @reads
    async def run(self, ctx: CallContext, args: Args) -> ToolResult:
        wanted = (await self.resolve(ctx, args)).arguments
        since, until = wanted.get("since"), wanted.get("until")
        rows = await self.business.read(
            lambda conn: entries(
                conn,
                ctx.principal.tenant,
                order_id=_optional(wanted.get("order_id")),
                kind=_optional(wanted.get("kind")),
                since=None if since is None else _start(str(since)),
                before=None if until is None else _start(str(until)) + timedelta(days=1),
                limit=LIMIT + 1,
            )
        )
        complete, rows = len(rows) <= LIMIT, rows[:LIMIT]
        content: dict[str, Json] = {"entries": rows, "totals": _totals(rows), "complete": complete}
        many = f"{len(rows)} ledger entr{'y' if len(rows) == 1 else 'ies'}"
        more = "" if complete else " (the newest; there are more)"
        # A refund's reason repeats what a customer said.
        untrusted = any(row["kind"] == "refund" for row in rows)
        orders = dict.fromkeys(str(row["order_id"]) for row in rows)
        return ToolResult(
            content,
            f"Read {many}{more}.",
            untrusted=untrusted,
            output_class=OutputClass.INTERNAL,
            records=tuple(Record("order", number) for number in orders),
        )

    @reads
    async def look_up(self, ctx: CallContext, args: Args) -> ToolResult | None:
        return None


def entries(
    conn: Connection,
    tenant: TenantId,
    *,
    limit: int,
    order_id: str | None = None,
    customer_id: str | None = None,
    kind: str | None = None,
    since: datetime | None = None,
    before: datetime | None = None,
) -> list[dict[str, Json]]:
    """Payments and refunds of `tenant`, newest first, in the half-open span from `since` to `before`."""
    paid = select(
        literal("payment", String).label("kind"),
        payments.c.id,
        payments.c.order_id,
        payments.c.customer_id,
        payments.c.amount_minor,
        payments.c.currency,
        payments.c.paid_at.label("at"),
        payments.c.method,
        payments.c.last4,
        null().label("reason"),
    ).where(payments.c.tenant == tenant)
    back = (
        select(
            literal("refund", String).label("kind"),
            refunds.c.id,
            refunds.c.order_id,
            payments.c.customer_id,
            refunds.c.amount_minor,
            refunds.c.currency,
            refunds.c.refunded_at.label("at"),
            payments.c.method,
            payments.c.last4,
            refunds.c.reason,
        )
        .join_from(refunds, payments, (payments.c.tenant == refunds.c.tenant) & (payments.c.id == refunds.c.payment_id))
        .where(refunds.c.tenant == tenant)
    )
    both = union_all(*[part for name, part in (("payment", paid), ("refund", back)) if kind in (None, name)]).subquery()
    query = select(both)
    for column, value in ((both.c.order_id, order_id), (both.c.customer_id, customer_id)):
        if value is not None:
            query = query.where(column == value)
    if since is not None:
        query = query.where(both.c.at >= literal(since, UtcDateTime))
    if before is not None:
        query = query.where(both.c.at < literal(before, UtcDateTime))
    found = conn.execute(query.order_by(both.c.at.desc(), both.c.id).limit(limit))
    return [_entry(row) for row in found]


def _entry(row: Row[Any]) -> dict[str, Json]:
    money = from_minor(row.amount_minor, row.currency)
    entry: dict[str, Json] = {
        "kind": row.kind,
        "id": row.id,
        "order_id": row.order_id,
        "customer_id": row.customer_id,
        "amount": money.text,
        "currency": money.currency,
        "on": iso(row.at)[:10],
        "method": f"{row.method} ending {row.last4}" if row.last4 else row.method,
    }
    if row.kind == "refund":
        entry["reason"] = row.reason
    return entry


def _totals(rows: list[dict[str, Json]]) -> list[Json]:
    sums: dict[tuple[str, str], Decimal] = {}
    for row in rows:
        key = (str(row["kind"]), str(row["currency"]))
        sums[key] = sums.get(key, Decimal(0)) + Decimal(str(row["amount"]))
    return [{"kind": kind, "currency": code, "amount": str(total)} for (kind, code), total in sorted(sums.items())]


def _optional(value: Json) -> str | None:
    return None if value is None else str(value)


def _day(value: str, name: str) -> date:
    try:
        found = date.fromisoformat(value)
    except ValueError:
        raise refuse(f'{name} must be a day like "2026-11-30".') from None
    if not 1970 <= found.year <= 2999:
        raise refuse(f"{name} must lie between 1970 and 2999.")
    return found


def _start(value: str) -> datetime:
    return datetime.combine(date.fromisoformat(value), time(), UTC)
