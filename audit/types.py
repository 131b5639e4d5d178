"""Column types that mean the same on SQLite and PostgreSQL. Knows no table and no event."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import TypeAlias

from sqlalchemy import JSON, Numeric, Text
from sqlalchemy.dialects.postgresql import JSONB, TIMESTAMP
from sqlalchemy.engine import Dialect
from sqlalchemy.types import TypeDecorator, TypeEngine

from audit.canonical import COST_PLACES, from_iso, iso

__all__ = ["CostColumn", "JsonColumn", "UtcDateTime", "dump_json", "from_iso", "iso", "json_column"]

JsonColumn: TypeAlias = JSON


class UtcDateTime(TypeDecorator[datetime]):
    """Aware UTC datetimes: TIMESTAMP WITH TIME ZONE on PostgreSQL, ISO-8601 text ending in Z on SQLite.

    The text has a fixed width, so ``occurred_at >= '2026-01-01'`` compares as time on both.
    """

    impl = Text
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[datetime] | TypeEngine[str]:
        if dialect.name == "postgresql":
            return dialect.type_descriptor(TIMESTAMP(timezone=True))
        return dialect.type_descriptor(Text())

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | str | None:
        if value is None:
            return None
        text = iso(value)
        return value if dialect.name == "postgresql" else text

    def process_result_value(self, value: datetime | str | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        return from_iso(value) if isinstance(value, str) else value.astimezone(UTC)


class CostColumn(TypeDecorator[Decimal]):
    """US dollars, exact to eight places: NUMERIC(18, 8) on PostgreSQL, decimal text on SQLite (never a float)."""

    impl = Text
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Decimal] | TypeEngine[str]:
        if dialect.name == "postgresql":
            return dialect.type_descriptor(Numeric(18, 8))
        return dialect.type_descriptor(Text())

    def process_bind_param(self, value: Decimal | None, dialect: Dialect) -> Decimal | str | None:
        if value is None:
            return None
        exact = value.quantize(COST_PLACES)
        return exact if dialect.name == "postgresql" else format(exact, "f")

    def process_result_value(self, value: Decimal | str | None, dialect: Dialect) -> Decimal | None:
        return None if value is None else Decimal(value)


def json_column() -> JsonColumn:
    """JSONB on PostgreSQL, JSON text on SQLite: ``tool_args->>'amount'`` reads both. A Python None is SQL NULL."""
    return JSON(none_as_null=True).with_variant(JSONB(none_as_null=True), "postgresql")


def dump_json(value: object) -> str:
    """JSON text as SQLite keeps it: sorted keys, no spaces, UTF-8 as it is."""
    return json.dumps(
        value,
        ensure_ascii=False,
        sort_keys=True,
        separators=(",", ":"),
        allow_nan=False,
    )
