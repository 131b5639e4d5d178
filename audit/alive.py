"""Whether a pooled connection to PostgreSQL still stands, without asking the server each time.

A ping before every transaction, which SQLAlchemy offers, costs a round trip each. A server that ends a connection
closes its socket (restart, failover, `pg_terminate_backend`), and that is seen here without one; a connection that
rested long enough for something between the two to have dropped it silently is asked.
"""

from __future__ import annotations

import selectors
import time
from typing import Any

from sqlalchemy import event
from sqlalchemy.engine import Engine
from sqlalchemy.exc import InvalidatePoolError
from sqlalchemy.pool import ConnectionPoolEntry, PoolProxiedConnection

PING_AFTER_S = 5.0
"""Seconds of rest after which the server is asked. Firewalls drop what is silent for minutes."""
_RESTED_SINCE = "countersign_rested_since"


def watch(engine: Engine) -> None:
    """Hands out only connections that still stand; a dead one is replaced, with all that are as old (psycopg)."""

    @event.listens_for(engine, "checkin")
    def _put_back(_connection: Any, record: ConnectionPoolEntry) -> None:
        record.info[_RESTED_SINCE] = time.monotonic()

    @event.listens_for(engine, "checkout")
    def _hand_out(connection: Any, record: ConnectionPoolEntry, _proxy: PoolProxiedConnection) -> None:
        since = record.info.get(_RESTED_SINCE)
        if since is None:  # made this moment
            return
        if time.monotonic() - since < PING_AFTER_S and _silent(connection):
            return
        try:
            engine.dialect.do_ping(connection)
        except engine.dialect.loaded_dbapi.Error as error:
            raise InvalidatePoolError from error


def _silent(connection: Any) -> bool:
    """Between two transactions a server says nothing but its farewell (or that a setting was changed)."""
    if connection.closed:
        return False
    with selectors.DefaultSelector() as selector:
        selector.register(connection.fileno(), selectors.EVENT_READ)
        return not selector.select(timeout=0)
