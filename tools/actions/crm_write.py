"""crm.write: one field of one customer, with the state before and after, and undo. Knows no approval.

The write and its key are one transaction: the same key never writes twice. The write is a compare-and-swap on
what was read (optimistic concurrency): somebody else's change is never overwritten unseen.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import insert, select, update
from sqlalchemy.engine import Connection, Row

from policy.model import Json, TenantId
from tools.actions import records
from tools.actions.args import reads, refuse, takes_effect, text
from tools.business import Business, crm_write_keys, customers
from tools.spec import Args, CallContext, Fact, OutputClass, Resolved, ToolResult

TIERS = ("standard", "silver", "gold", "platinum")
_LIMITS = {"phone": 40, "address": 300, "tier": 16, "note": 2000}
_PHONE = re.compile(r"\+?[0-9][0-9 ()./-]{4,38}", re.ASCII)

DESCRIPTION = (
    "Change one field of a customer in the CRM: phone, address, tier (standard, silver, gold, platinum) or note. The "
    "note is replaced as a whole: read it first and repeat what must stay. To take a change back, give undo_of with "
    "the call id of the earlier crm.write; value is then ignored, and the undo is refused if the field has been "
    "changed since. Returns the value before and after."
)

SCHEMA: Mapping[str, Json] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "additionalProperties": False,
    "required": ["customer_id", "field", "value"],
    "properties": {
        "customer_id": {
            "type": "string",
            "pattern": "^C-[0-9]{1,10}$",
            "description": 'Customer id, like "C-1007".',
        },
        "field": {"type": "string", "enum": list(_LIMITS), "description": "Which field to change."},
        "value": {"type": "string", "maxLength": 2000, "description": "The new value; empty clears the field."},
        "undo_of": {
            "type": "string",
            "minLength": 1,
            "maxLength": 128,
            "description": "Call id of the crm.write to take back.",
        },
    },
}

EXAMPLE = "Set the phone number of C-1007 to +46 8 555 010 77"


@dataclass(frozen=True, slots=True)
class CrmWrite:
    business: Business

    @reads
    async def resolve(self, ctx: CallContext, args: Args) -> Resolved:
        tenant = ctx.principal.tenant
        customer_id = text(args, "customer_id", limit=32).upper()
        field = text(args, "field", limit=16)
        if field not in _LIMITS:
            raise refuse(f"{field} cannot be changed here. Change one of {', '.join(_LIMITS)}.")
        undo_of = text(args, "undo_of", limit=128) if "undo_of" in args else None
        value = "" if undo_of is not None else _value(args, field)

        def unit(conn: Connection) -> tuple[records.Customer, str, str]:
            customer = _customer(conn, tenant, customer_id)
            now = str(getattr(customer, field))
            # The call's own write, found again after a crash, is no change by somebody else.
            own = _by(conn, tenant, "key", ctx.idempotency_key)
            if own is not None:
                return customer, str(own.value_before), str(own.value_after)
            if undo_of is None:
                return customer, now, value
            return customer, now, _undo_value(conn, tenant, undo_of, customer_id, field, now)

        customer, before, after = await self.business.read(unit)
        arguments: dict[str, Json] = {"customer_id": customer_id, "field": field, "value": after}
        if undo_of is not None:
            arguments["undo_of"] = undo_of
        verb = "Undo the change of" if undo_of is not None else "Change"
        return Resolved(
            arguments=arguments,
            headline=f"{verb} the {field} of {customer.label}",
            facts=(
                Fact("Customer", f"{customer.label}, {customer.email}"),
                Fact(f"{field.capitalize()} now", before or "(empty)"),
                Fact(f"{field.capitalize()} after this", after or "(empty)", warning=before != "" and after == ""),
            ),
            stable={"customer_id": customer_id, "field": field, "before": before},
        )

    @takes_effect
    async def run(self, ctx: CallContext, args: Args) -> ToolResult:
        resolved = await self.resolve(ctx, args)
        return await self.business.write(_write(ctx, resolved))

    @reads
    async def look_up(self, ctx: CallContext, args: Args) -> ToolResult | None:
        tenant = ctx.principal.tenant

        def unit(conn: Connection) -> ToolResult | None:
            done = _by(conn, tenant, "key", ctx.idempotency_key)
            return None if done is None else _result(conn, tenant, done)

        return await self.business.read(unit)


def _write(ctx: CallContext, resolved: Resolved) -> Callable[[Connection], ToolResult]:
    tenant = ctx.principal.tenant
    customer_id, field = str(resolved.arguments["customer_id"]), str(resolved.arguments["field"])
    before, after = str(resolved.stable["before"]), str(resolved.arguments["value"])
    undo_of = resolved.arguments.get("undo_of")

    def unit(conn: Connection) -> ToolResult:
        done = _by(conn, tenant, "key", ctx.idempotency_key)
        if done is not None:
            if (done.customer_id, done.field, done.value_after) != (customer_id, field, after):
                raise refuse("This key already stands for another change. Nothing was changed; ask for it anew.")
            return _result(conn, tenant, done)
        column = customers.c[field]
        changed = conn.execute(
            update(customers)
            .where(customers.c.tenant == tenant, customers.c.id == customer_id, column == before)
            .values({column: after, customers.c.version: customers.c.version + 1})
        )
        if changed.rowcount != 1:
            raise refuse(
                f"Somebody else changed the {field} of {customer_id} a moment ago. Nothing was overwritten; "
                "read it again and repeat the change if it is still wanted.",
                retryable=True,
            )
        written = conn.execute(
            insert(crm_write_keys)
            .values(
                tenant=tenant,
                key=ctx.idempotency_key,
                call_id=ctx.call_id,
                customer_id=customer_id,
                field=field,
                value_before=before,
                value_after=after,
                undo_of=undo_of,
                written_at=ctx.now,
            )
            .returning(crm_write_keys)
        )
        return _result(conn, tenant, written.one())

    return unit


def _result(conn: Connection, tenant: TenantId, row: Row[Any]) -> ToolResult:
    customer = records.customer_by_id(conn, tenant, row.customer_id)
    label = row.customer_id if customer is None else customer.label
    undone = f", undoing {row.undo_of}" if row.undo_of else ""
    content: dict[str, Json] = {
        "customer_id": row.customer_id,
        "field": row.field,
        "before": row.value_before,
        "after": row.value_after,
        "call_id": row.call_id,
        "undo": f"crm.write with undo_of={row.call_id}",
    }
    return ToolResult(
        content=content,
        sentence=f"Changed the {row.field} of {label}{undone}.",
        reference=row.call_id,
        before={"customer_id": row.customer_id, row.field: row.value_before},
        after={"customer_id": row.customer_id, row.field: row.value_after},
        untrusted=row.field == "note",
        output_class=OutputClass.INTERNAL,
    )


def _undo_value(conn: Connection, tenant: TenantId, undo_of: str, customer_id: str, field: str, now: str) -> str:
    done = _by(conn, tenant, "call_id", undo_of)
    if done is None:
        raise refuse(f"There is no change {undo_of} to undo.")
    if (done.customer_id, done.field) != (customer_id, field):
        raise refuse(f"The change {undo_of} was to the {done.field} of {done.customer_id}. Name the same to undo it.")
    if now != done.value_after:
        raise refuse(f"The {field} of {customer_id} has been changed since {undo_of}. Nothing was undone.")
    return str(done.value_before)


def _by(conn: Connection, tenant: TenantId, column: str, value: str) -> Row[Any] | None:
    query = select(crm_write_keys).where(crm_write_keys.c.tenant == tenant, crm_write_keys.c[column] == value)
    return conn.execute(query).one_or_none()


def _customer(conn: Connection, tenant: TenantId, customer_id: str) -> records.Customer:
    customer = records.customer_by_id(conn, tenant, customer_id)
    if customer is None:
        raise refuse(f"There is no customer {customer_id}. Look the customer up with crm.read first.")
    return customer


def _value(args: Args, field: str) -> str:
    value = text(args, "value", limit=_LIMITS[field], required=False, multiline=field == "note")
    if field == "tier" and value not in TIERS:
        raise refuse(f"tier must be one of {', '.join(TIERS)}.")
    if field == "phone" and value and not _PHONE.fullmatch(value):
        raise refuse('phone must be a telephone number, like "+46 8 555 010 77".')
    return value
