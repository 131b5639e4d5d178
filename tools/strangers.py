"""What people do whom the directory does not know: a row each until it becomes a flood, then a count (invariant 5).

Knows counters and rows of the audit; knows no press, no message and nobody.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Connection
from sqlmodel import Field, SQLModel

from audit.event import SYSTEM_CHAIN, Event, Kind
from audit.types import UtcDateTime
from policy.model import TenantId
from tools import limits
from tools.approvals import table

ANSWERS_A_MINUTE = 3
"""To one account for one reason: who writes twice is no flood, and silence would look like a fault."""
STRANGERS_A_MINUTE: Final = 20
"""Presses, and messages, by people nobody knows that get a row each; the rest of the minute is counted into one."""


class Act(StrEnum):
    """What a stranger did. The audit stores the plural."""

    PRESS = "press"
    MESSAGE = "message"


_KIND: Final = {Act.PRESS: Kind.PRESS_FLOOD, Act.MESSAGE: Kind.MESSAGE_FLOOD}
_PLURAL: Final = {Act.PRESS: "presses", Act.MESSAGE: "messages"}


class StrangerActs(SQLModel, table=True):
    """What strangers did in one minute, so that a flood cannot fill the log."""

    __tablename__ = "stranger_acts"

    tenant: str = Field(primary_key=True)
    act: str = Field(primary_key=True)
    minute: datetime = Field(sa_type=UtcDateTime, primary_key=True)
    seen: int
    told: bool = False


FLOOD = table(StrangerActs)


def counted(conn: Connection, act: Act, tenant: TenantId | None, event: Event, now: datetime) -> list[Event]:
    """The rows to append for one act: `event` unless too many came this minute, and floods of minutes that are over."""
    chain = tenant or SYSTEM_CHAIN
    minute = now.replace(second=0, microsecond=0)
    dialect = sqlite if conn.dialect.name == "sqlite" else postgresql
    insert = dialect.insert(FLOOD).values(tenant=chain, act=act.value, minute=minute, seen=1, told=False)
    seen = conn.execute(
        insert.on_conflict_do_update(
            index_elements=["tenant", "act", "minute"], set_={"seen": FLOOD.c.seen + 1, "told": False}
        ).returning(FLOOD.c.seen)
    ).scalar_one()
    return [*([event] if seen <= STRANGERS_A_MINUTE else []), *floods(conn, chain, minute, now)]


def may_answer(conn: Connection, tenant: TenantId | None, account: str, why: str, now: datetime) -> bool:
    """Whether this account is told `why` now: a flood is not answered with another."""
    return limits.take(
        conn, TenantId(tenant or SYSTEM_CHAIN), "stranger_answers", f"{account}:{why}", ANSWERS_A_MINUTE, 60, now
    )


def floods(conn: Connection, chain: str, before: datetime, now: datetime) -> list[Event]:
    """The rows of minutes that are over and had more than was written.

    Each is told once, and once more with its new sum if a replica whose clock is behind adds to it.
    """
    over = (
        FLOOD.c.tenant == chain,
        FLOOD.c.minute < before,
        FLOOD.c.told.is_(False),
    )
    found = sa.select(FLOOD.c.act, FLOOD.c.minute, FLOOD.c.seen).where(*over).order_by(FLOOD.c.act, FLOOD.c.minute)
    rows = conn.execute(found.with_for_update()).all()
    if not rows:
        return []
    conn.execute(sa.update(FLOOD).where(*over).values(told=True))
    conn.execute(sa.delete(FLOOD).where(FLOOD.c.tenant == chain, FLOOD.c.minute < now - timedelta(hours=1)))
    return [
        Event(
            kind=_KIND[Act(act)],
            tenant=None if chain == SYSTEM_CHAIN else chain,
            occurred_at=now,
            status="counted",
            detail={"minute": f"{minute:%Y-%m-%dT%H:%MZ}", _PLURAL[Act(act)]: seen, "written": STRANGERS_A_MINUTE},
        )
        for act, minute, seen in rows
        if seen > STRANGERS_A_MINUTE
    ]


def flood_chains(conn: Connection) -> list[str]:
    """Chains with minutes that may still have to be told."""
    return list(conn.execute(sa.select(FLOOD.c.tenant).where(FLOOD.c.told.is_(False)).distinct()).scalars())
