"""Alembic's entry: runs migrations on the connection that `bot.migrations.migrate` hands in."""

from __future__ import annotations

from alembic import context
from sqlalchemy.engine import Connection

from bot.migrations import VERSION_TABLE, metadata

connection = context.config.attributes["connection"]
if not isinstance(connection, Connection):
    raise TypeError("Run `countersign migrate`: these migrations need the connection it opens.")
context.configure(connection=connection, target_metadata=metadata(), version_table=VERSION_TABLE)
with context.begin_transaction():
    context.run_migrations()
