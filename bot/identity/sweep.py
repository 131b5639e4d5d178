"""What is left of links and sign-ins that are over: forgotten after a while. Knows how long; tells nobody."""

from __future__ import annotations

from datetime import datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from bot.identity.confirmations import CONFIRMATION
from bot.identity.flows import FLOW
from bot.identity.sessions import JTI, SESSION
from bot.identity.tickets import TICKET

KEPT = timedelta(days=1)
"""Long enough that a link that is opened again is told apart from one that never was."""


def forget(conn: Connection, now: datetime) -> None:
    """Deletes what can count no more. The audit keeps what happened."""
    for rows in (FLOW, TICKET, CONFIRMATION, SESSION):
        conn.execute(sa.delete(rows).where(rows.c.expires_at < now - KEPT))
    conn.execute(sa.delete(JTI).where(JTI.c.expires_at < now))
