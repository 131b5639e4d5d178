"""One-time invitations to say who a chat account is. Knows when one counts no more; knows no browser and no IdP.

Whoever holds the secret may open the page and nothing else: the account is proved later, by its own chat.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from bot.identity import opaque
from bot.identity.tables import LinkTicket, table
from bot.messages import ChatUser, SurfaceName
from policy.model import TenantId

LIFETIME = timedelta(minutes=10)
TICKET = table(LinkTicket)


class TicketEnd(StrEnum):
    """What became of a ticket before its time was over. The row stores these words."""

    USED = "used"
    REPLACED = "replaced"
    """A newer one was asked for."""
    REFUSED = "refused"
    """Somebody else opened it, or its holder said no."""
    UNLINKED = "unlinked"
    """The account's links were ended meanwhile."""
    LEFT = "left"


@dataclass(frozen=True, slots=True)
class Ticket:
    sha256: str
    tenant: TenantId
    who: ChatUser
    channel: str
    expires_at: datetime
    ended: TicketEnd | None

    def open(self, now: datetime) -> bool:
        return self.ended is None and now < self.expires_at


def issue(conn: Connection, tenant: TenantId, who: ChatUser, now: datetime, channel: str = "") -> str:
    """The secret of a new ticket for `who`; older ones of the account end.

    `channel`: where its holder is told how it went, if the chat needs to know.
    """
    secret = opaque.fresh()
    end_all(conn, tenant, who, TicketEnd.REPLACED, now)
    row = LinkTicket(
        sha256=opaque.digest(secret),
        tenant=tenant,
        surface=who.surface,
        enterprise=who.enterprise,
        team=who.team,
        account=who.user,
        channel=channel,
        created_at=now,
        expires_at=now + LIFETIME,
    )
    conn.execute(sa.insert(TICKET).values(**row.model_dump()))
    return secret


def by_secret(conn: Connection, secret: str) -> Ticket | None:
    """The ticket of a link, whatever has become of it. The row says whose tenant it is."""
    return by_hash(conn, opaque.digest(secret))


def by_hash(conn: Connection, sha256: str) -> Ticket | None:
    row = conn.execute(sa.select(TICKET).where(TICKET.c.sha256 == sha256)).first()
    if row is None:
        return None
    who = ChatUser(SurfaceName(row.surface), row.team, row.account, row.enterprise)
    ended = TicketEnd(row.ended or TicketEnd.LEFT) if row.ended_at is not None else None
    return Ticket(row.sha256, TenantId(row.tenant), who, row.channel, row.expires_at, ended)


def end(conn: Connection, ticket: Ticket, how: TicketEnd, now: datetime) -> bool:
    """Whether this transaction ended it: of two that race for one ticket, one does."""
    ended = sa.update(TICKET).where(
        TICKET.c.sha256 == ticket.sha256,
        TICKET.c.tenant == ticket.tenant,
        TICKET.c.ended_at.is_(None),
        TICKET.c.expires_at > now,
    )
    return conn.execute(ended.values(ended_at=now, ended=how.value)).rowcount == 1


def end_all(conn: Connection, tenant: TenantId, who: ChatUser, how: TicketEnd, now: datetime) -> None:
    """Ends every open ticket of the account."""
    mine = (
        TICKET.c.tenant == tenant,
        TICKET.c.surface == who.surface,
        TICKET.c.enterprise == who.enterprise,
        TICKET.c.team == who.team,
        TICKET.c.account == who.user,
        TICKET.c.ended_at.is_(None),
    )
    conn.execute(sa.update(TICKET).where(*mine).values(ended_at=now, ended=how.value))
