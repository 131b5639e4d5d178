"""Reads a stretch of one chain and says where it breaks. Knows rows and hashes; knows no checkpoints and no SQLAlchemy.

Imports little, because the verifier runs it in processes of its own: ``python -m audit.scan`` takes a job on
stdin and answers on stdout, both JSON.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from enum import StrEnum

from audit.canonical import NotCanonical, canonical_text
from audit.chain import COLUMNS, JSON_COLUMNS, SEQ, canonical_row, genesis
from audit.rows import CANONICAL, HASH, PREV, SOUND, Row, Stretch, open_source

BREAKS = 100
"""Breaks told per stretch at most: after that many, where the next one is tells nothing more."""


class What(StrEnum):
    """How a chain breaks."""

    ALTERED = "altered"
    """The columns are not what was hashed."""
    FORGED = "forged"
    """The row's hash is not the hash of its bytes."""
    UNLINKED = "unlinked"
    """The row does not follow the one before: replaced, reordered, or its neighbour was rewritten."""
    REMOVED = "removed"
    TRUNCATED = "truncated"
    """Rows are missing at the end."""
    HEAD = "head"
    """The head table does not say where the chain ends."""
    REWRITTEN = "rewritten"
    """The chain holds together, but it is not the one that a checkpoint signed."""
    STRAY = "stray"
    """Rows whose tenant or number is no tenant or number."""


@dataclass(frozen=True, slots=True)
class Break:
    """At `seq` of `tenant` the chain does not hold. `why` is a sentence for people."""

    tenant: str
    seq: int
    what: What
    why: str


def scan(address: str, stretches: Iterable[Stretch]) -> list[Break]:
    """The breaks in `stretches` of the database at `address` (see `audit.rows.open_source`)."""
    source = open_source(address)
    try:
        breaks: list[Break] = []
        for stretch in stretches:
            before = (
                genesis(stretch.tenant) if stretch.first == 1 else source.hash_of(stretch.tenant, stretch.first - 1)
            )
            breaks.extend(scan_rows(stretch, before, source.rows(stretch)))
        return breaks
    finally:
        source.close()


def scan_rows(stretch: Stretch, before: str | None, rows: Iterable[Row]) -> list[Break]:
    """The breaks in `rows`, which should be `stretch`. `before`: the hash they follow; None if that row is gone."""
    breaks: list[Break] = []
    previous, expected = before, stretch.first
    sha256 = hashlib.sha256
    for row in rows:
        try:
            if (
                row[SEQ] == expected
                and row[PREV] == previous
                and row[SOUND]
                and canonical_row(row) == row[CANONICAL]
                and sha256((row[PREV] + row[CANONICAL]).encode()).hexdigest() == row[HASH]
            ):
                previous = row[HASH]
                expected += 1
                continue
        except (TypeError, ValueError):  # a tampered row may hold any type in any column; `_judge` says which
            pass
        breaks.extend(_judge(stretch.tenant, expected, previous, row))
        if len(breaks) >= BREAKS:
            return breaks
        previous, expected = row[HASH], row[SEQ] + 1
    if expected <= stretch.last:
        breaks.append(missing(stretch.tenant, expected, stretch.last))
    return breaks


def _judge(tenant: str, expected: int, previous: str | None, row: Row) -> Iterator[Break]:
    seq = row[SEQ]
    if seq != expected:
        yield missing(tenant, expected, seq - 1)
        previous = None
    altered = _altered(row)
    if altered:
        yield Break(tenant, seq, What.ALTERED, f"Row {seq} was altered: {', '.join(altered)} is not what was hashed.")
    if previous is not None and row[PREV] != previous:
        yield Break(tenant, seq, What.UNLINKED, f"Row {seq} does not follow row {seq - 1}: one of them was replaced.")
    if not altered and not row[SOUND]:
        yield Break(tenant, seq, What.ALTERED, f"Row {seq} was altered: a column holds another type than was written.")
    if not altered and not _hash_holds(row):
        yield Break(tenant, seq, What.FORGED, f"The hash of row {seq} is not the hash of its content.")


def missing(tenant: str, first: int, last: int) -> Break:
    """Rows `first` to `last` are not there."""
    rows = f"Row {first} was" if first == last else f"Rows {first} to {last} were"
    return Break(tenant, first, What.REMOVED, f"{rows} removed.")


def _altered(row: Row) -> list[str]:
    """The columns of `row` that differ from its canonical bytes; ``canonical`` if those are no JSON of a row."""
    try:
        hashed = json.loads(row[CANONICAL])
        if not isinstance(hashed, dict) or set(hashed) != set(COLUMNS) or canonical_text(hashed) != row[CANONICAL]:
            return ["canonical"]
    except (ValueError, TypeError, RecursionError, NotCanonical):
        return ["canonical"]
    return [name for name, cell in zip(COLUMNS, row, strict=False) if not _same(name, cell, hashed[name])]


def _same(name: str, cell: object, hashed: object) -> bool:
    if name in JSON_COLUMNS:
        return cell is None if hashed is None else cell == canonical_text(hashed)  # type: ignore[arg-type]
    return type(cell) is type(hashed) and cell == hashed


def _hash_holds(row: Row) -> bool:
    try:
        return bool(hashlib.sha256((row[PREV] + row[CANONICAL]).encode()).hexdigest() == row[HASH])
    except (TypeError, ValueError):
        return False


def main() -> None:
    """One job from stdin to stdout; the verifier's own processes run this."""
    job = json.load(sys.stdin)
    breaks = scan(job["address"], [Stretch(**stretch) for stretch in job["stretches"]])
    json.dump([asdict(item) for item in breaks], sys.stdout)


if __name__ == "__main__":
    main()
