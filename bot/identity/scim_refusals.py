"""SCIM requests without a valid token: one audit row each until it becomes a flood, then one row a minute.

Knows chains and minutes; what the client is told is the same for all of them and is not said here.
"""

from __future__ import annotations

from datetime import datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Connection

from audit.event import SYSTEM_CHAIN, Event, Kind
from bot.identity.scim_tokens import Nobody
from bot.identity.tables import ScimRefusals, table

A_MINUTE = 20
"""Refusals that get a row each; the rest of the minute is counted into one."""

REFUSALS = table(ScimRefusals)


def refused(conn: Connection, who: Nobody, now: datetime) -> list[Event]:
    """Counts one refusal; the rows of its chain, for the caller to append last."""
    chain, minute = who.tenant or SYSTEM_CHAIN, now.replace(second=0, microsecond=0)
    dialect = sqlite if conn.dialect.name == "sqlite" else postgresql
    insert = dialect.insert(REFUSALS).values(tenant=chain, minute=minute, seen=1, told=False)
    seen = conn.execute(
        insert.on_conflict_do_update(
            index_elements=["tenant", "minute"], set_={"seen": REFUSALS.c.seen + 1, "told": False}
        ).returning(REFUSALS.c.seen)
    ).scalar_one()
    told = floods(conn, chain, minute, now)
    if seen > A_MINUTE:
        return told
    detail = {"reason": who.reason.value, **({"token": who.token_id} if who.token_id else {})}
    return [*told, Event(Kind.SCIM_REFUSED, who.tenant, now, "refused", detail=detail)]


def floods(conn: Connection, chain: str, before: datetime, now: datetime) -> list[Event]:
    """The rows of minutes before `before` that had more refusals than were written. Each is told once."""
    over = (REFUSALS.c.tenant == chain, REFUSALS.c.minute < before, REFUSALS.c.told.is_(False))
    rows = conn.execute(sa.select(REFUSALS.c.minute, REFUSALS.c.seen).where(*over).with_for_update()).all()
    if not rows:
        return []
    conn.execute(sa.update(REFUSALS).where(*over).values(told=True))
    conn.execute(
        sa.delete(REFUSALS).where(
            REFUSALS.c.tenant == chain, REFUSALS.c.minute < now - timedelta(hours=1), REFUSALS.c.told.is_(True)
        )
    )
    return [
        Event(
            Kind.SCIM_FLOOD,
            None if chain == SYSTEM_CHAIN else chain,
            now,
            "counted",
            detail={"minute": f"{minute:%Y-%m-%dT%H:%MZ}", "refused": seen, "written": A_MINUTE},
        )
        for minute, seen in rows
        if seen > A_MINUTE
    ]


def flood_chains(conn: Connection) -> list[str]:
    """Chains with minutes that may still have to be told."""
    return list(conn.execute(sa.select(REFUSALS.c.tenant).where(REFUSALS.c.told.is_(False)).distinct()).scalars())
