"""Rows on their way out: JSONL that proves itself offline, JSON and CSV for spreadsheets. Knows forms, no filters.

A JSONL export begins with a line that names tenant, head and checkpoint; every other line is a row with its hash.
`verify_export` checks it without the database.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from datetime import datetime
from decimal import Decimal
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from sqlalchemy.engine import Engine

from audit.canonical import canonical_text, iso
from audit.chain import COLUMNS, JSON_COLUMNS, genesis
from audit.checkpoint import Checkpoint, check_line
from audit.event import SYSTEM_CHAIN, Json
from audit.faults import spoken
from audit.query import Row
from audit.rows import Row as RawRow
from audit.rows import Stretch, open_source
from audit.scan import Break, What, scan_rows
from audit.verify import address_of

EXPORT = 1


def export_jsonl(engine: Engine, tenant: str | None, checkpoint: str | None = None) -> Iterator[str]:
    """The whole chain of `tenant` as lines. `checkpoint`: what `last_checkpoint` found, put into the first line."""
    name = SYSTEM_CHAIN if tenant is None else tenant
    mark = "%s" if engine.dialect.name == "postgresql" else "?"
    with spoken(), engine.connect() as conn:
        query = f"SELECT seq, hash FROM audit_head WHERE tenant_id = {mark}"  # noqa: S608  a placeholder
        head = conn.exec_driver_sql(query, (name,)).first()
    seq, hashed = (0, genesis(name)) if head is None else (head[0], head[1])
    signed = None if checkpoint is None else json.loads(checkpoint)
    yield canonical_text({"export": EXPORT, "tenant": name, "seq": seq, "head": hashed, "checkpoint": signed})
    source = open_source(address_of(engine))
    try:
        for row in source.rows(Stretch(name, 1, seq)):
            yield json.dumps({**_columns(row), "prev_hash": row[-3], "row_hash": row[-2]}, ensure_ascii=False)
    finally:
        source.close()


def last_checkpoint(path: Path, tenant: str | None, key: Ed25519PublicKey) -> str | None:
    """The last line of the checkpoint file that holds and speaks of `tenant`."""
    name = SYSTEM_CHAIN if tenant is None else tenant
    found: str | None = None
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            item = check_line(line, number, key)
            if isinstance(item, Checkpoint) and item.tenant == name:
                found = line.decode().strip()
    return found


def verify_export(lines: Iterable[str], key: Ed25519PublicKey | None = None) -> tuple[Break, ...]:
    """Where an export does not hold. Without `key` its checkpoint is not looked at, and its end is unproven.

    Raises:
        ValueError: it is no export.
    """
    reader = iter(lines)
    header = json.loads(next(reader, "null"))
    if not isinstance(header, dict) or header.get("export") != EXPORT:
        raise ValueError("This is no export of the audit log: its first line does not say so.")
    tenant, end = str(header["tenant"]), int(header["seq"])
    hashes: dict[int, str] = {0: genesis(tenant)}
    breaks = scan_rows(Stretch(tenant, 1, end), hashes[0], _noting(reader, hashes))
    if hashes.get(end) != header["head"]:
        breaks.append(Break(tenant, end, What.HEAD, "The last row is not the head that the export names."))
    if key is not None:
        breaks.extend(_against_checkpoint(tenant, header.get("checkpoint"), hashes, key))
    return tuple(breaks)


def as_json(rows: Iterable[Row]) -> str:
    """`rows` as one JSON array."""
    return json.dumps([_plain(row) for row in rows], ensure_ascii=False, indent=2)


def as_csv(rows: Iterable[Row]) -> str:
    """`rows` as CSV with a header. A cell that a spreadsheet would take for a formula begins with an apostrophe."""
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(Row.__slots__)
    for row in rows:
        writer.writerow([_cell(value) for value in _plain(row).values()])
    return out.getvalue()


def _against_checkpoint(tenant: str, signed: Json, hashes: dict[int, str], key: Ed25519PublicKey) -> Iterator[Break]:
    if signed is None:
        return
    item = check_line(json.dumps(signed).encode(), 1, key)
    if not isinstance(item, Checkpoint) or item.tenant != tenant:
        yield Break(tenant, 0, What.REWRITTEN, "The checkpoint in the export does not hold.")
    elif hashes.get(item.seq) != item.head:
        yield Break(tenant, item.seq, What.REWRITTEN, f"The rows up to {item.seq} are not those that were signed.")


def _noting(lines: Iterator[str], hashes: dict[int, str]) -> Iterator[RawRow]:
    for line in lines:
        data = json.loads(line)
        cells = [data.get(name) for name in COLUMNS]
        for index, name in enumerate(COLUMNS):
            if name in JSON_COLUMNS and cells[index] is not None:
                cells[index] = canonical_text(cells[index])
        canonical = canonical_text({name: data.get(name) for name in COLUMNS})
        hashes[data["seq"]] = data["row_hash"]
        yield (*cells, canonical, data["prev_hash"], data["row_hash"], True)


def _columns(row: RawRow) -> dict[str, Json]:
    cells = dict(zip(COLUMNS, row, strict=False))
    return {name: json.loads(cell) if name in JSON_COLUMNS and cell else cell for name, cell in cells.items()}


def _plain(row: Row) -> dict[str, Json]:
    return {name: _value(value) for name, value in asdict(row).items()}


def _value(value: object) -> Json:
    if isinstance(value, datetime):
        return iso(value)
    if isinstance(value, Decimal):
        return format(value, "f")
    return value  # type: ignore[return-value]  # text, numbers and JSON are left as they are


def _cell(value: Json) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    return f"'{value}" if value[:1] in ("=", "+", "-", "@", "\t", "\r") else value
