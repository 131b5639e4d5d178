"""Waiting until a product under test rests: what was queued before would look like a change by what follows."""

from __future__ import annotations

import asyncio

import sqlalchemy as sa

from audit.writer import Writer


async def at_rest(writer: Writer, seconds: float = 40) -> None:
    """Returns once nothing is queued or running any more."""

    def waiting(conn: sa.Connection) -> int:
        schema = "dbos." if conn.dialect.name == "postgresql" else ""
        states = "('PENDING', 'ENQUEUED', 'DELAYED')"
        query = sa.text(f"SELECT count(*) FROM {schema}workflow_status WHERE status IN {states}")
        return int(conn.execute(query).scalar_one())

    for _ in range(int(seconds * 10)):
        if await writer.read(waiting) == 0:
            return
        await asyncio.sleep(0.1)
    raise AssertionError("the queue never comes to rest")
