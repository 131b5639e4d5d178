"""Reads rows of the log back in the form that was hashed, from either database. Knows SQL, judges nothing.

Uses the drivers alone: the verifier starts processes that have no other use for SQLAlchemy.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias
from urllib.parse import quote

from audit.canonical import canonical_text
from audit.chain import COLUMNS, JSON_COLUMNS, SEQ

Row: TypeAlias = tuple[Any, ...]
"""The cells in the order of `COLUMNS`, then canonical, prev_hash, row_hash, and whether types and JSON are sound.
A tampered row may hold any type anywhere."""
CANONICAL, PREV, HASH, SOUND = range(len(COLUMNS), len(COLUMNS) + 4)


@dataclass(frozen=True, slots=True)
class Stretch:
    """Rows `first` to `last` of `tenant`, both included."""

    tenant: str
    first: int
    last: int


class Source(Protocol):
    """One read-only connection."""

    def rows(self, stretch: Stretch) -> Iterator[Row]: ...

    def hash_of(self, tenant: str, seq: int) -> str | None:
        """The row_hash of one row; None if there is no such row."""
        ...

    def close(self) -> None: ...


def open_source(address: str) -> Source:
    """Opens `address`: the path of a SQLite file behind ``sqlite:``, or a libpq connection string."""
    if address.startswith("sqlite:"):
        return _Sqlite(address.removeprefix("sqlite:"))
    return _Postgres(address)


# Text may stand where JSON or a number belongs, and would be hashed the same: NULL and the text 'null', for one.
_SOUND = """
    json_valid(actor_roles) AND substr(actor_roles, 1, 1) = '['
    AND (detail IS NULL OR json_valid(detail) AND substr(detail, 1, 1) = '{')
    AND (tool_args IS NULL OR json_valid(tool_args) AND substr(tool_args, 1, 1) = '{')
    AND typeof(latency_ms) IN ('integer', 'null') AND typeof(format) = 'integer' AND typeof(seq) = 'integer'
"""


class _Sqlite:
    def __init__(self, path: str) -> None:
        self._connection = sqlite3.connect(f"file:{quote(path)}?mode=ro", uri=True, timeout=30)
        self._query = (
            f"SELECT {', '.join(COLUMNS)}, canonical, prev_hash, row_hash, {_SOUND}"  # noqa: S608  our own names
            " FROM agent_audit_log WHERE tenant_id = ? AND seq BETWEEN ? AND ? ORDER BY seq"
        )

    def rows(self, stretch: Stretch) -> Iterator[Row]:
        at = stretch.first
        try:
            for row in self._connection.execute(self._query, (stretch.tenant, at, stretch.last)):
                yield row
                at = row[SEQ] + 1
        except sqlite3.OperationalError as error:
            if "decode" not in str(error):
                raise
            # Bytes that are no UTF-8 were put in a text column: read on so that the row can be named.
            self._connection.text_factory = _tolerant
            yield from self._connection.execute(self._query, (stretch.tenant, at, stretch.last))
            self._connection.text_factory = str

    def hash_of(self, tenant: str, seq: int) -> str | None:
        found = self._connection.execute(
            "SELECT row_hash FROM agent_audit_log WHERE tenant_id = ? AND seq = ?", (tenant, seq)
        ).fetchone()
        return None if found is None else found[0]

    def close(self) -> None:
        self._connection.close()


def _tolerant(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogateescape")


_FORMS = {
    **{name: f"{name}::text" for name in (*JSON_COLUMNS, "cost_usd")},
    "occurred_at": """to_char(occurred_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')""",
}
_JSON_AT = tuple(index for index, name in enumerate(COLUMNS) if name in JSON_COLUMNS)


class _Postgres:
    def __init__(self, address: str) -> None:
        import psycopg

        self._connection = psycopg.connect(address, autocommit=False)
        self._connection.read_only = True
        self._query = (
            f"SELECT {', '.join(_FORMS.get(name, name) for name in COLUMNS)}, canonical, prev_hash, row_hash, true"  # noqa: S608
            " FROM agent_audit_log WHERE tenant_id = %s AND seq BETWEEN %s AND %s ORDER BY seq"
        )

    def rows(self, stretch: Stretch) -> Iterator[Row]:
        with self._connection.cursor("stretch") as cursor:
            cursor.itersize = 5000
            cursor.execute(self._query.encode(), (stretch.tenant, stretch.first, stretch.last))
            for row in cursor:
                cells = list(row)
                for index in _JSON_AT:  # JSONB forgets the order of keys
                    if cells[index] is not None:
                        cells[index] = _recanonical(cells[index])
                yield tuple(cells)

    def hash_of(self, tenant: str, seq: int) -> str | None:
        found = self._connection.execute(
            "SELECT row_hash FROM agent_audit_log WHERE tenant_id = %s AND seq = %s", (tenant, seq)
        ).fetchone()
        return None if found is None else found[0]

    def close(self) -> None:
        self._connection.close()


def _recanonical(text: str) -> str:
    try:
        return canonical_text(json.loads(text))
    except Exception:  # noqa: BLE001  only a tampered row is not canonical; as it is, it will not match
        return text
