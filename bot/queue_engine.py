"""Connections of the queue's own to the SQLite file. Knows how the queue uses them, not what it keeps there."""

from __future__ import annotations

import sqlite3

import sqlalchemy as sa
from sqlalchemy.engine import Engine


def sqlite_engine(ours: Engine) -> Engine:
    """An engine on the same file as `ours`, for a queue that reads and then writes in one transaction.

    Ours begin every transaction explicitly, and deferred for reading; a deferred one that then writes is answered
    with "database is locked" whenever another writer came between (SQLITE_BUSY_SNAPSHOT, which no busy timeout waits
    for). The driver's own IMMEDIATE mode begins at the first write instead.
    """
    engine = sa.create_engine(ours.url, hide_parameters=True, pool_size=8, max_overflow=16)

    @sa.event.listens_for(engine, "connect")
    def _prepare(connection: sqlite3.Connection, _record: object) -> None:
        connection.isolation_level = "IMMEDIATE"
        for pragma in ("busy_timeout=30000", "synchronous=FULL", "foreign_keys=ON"):
            connection.execute(f"PRAGMA {pragma}")

    return engine
