"""Which person a chat account was proved to be. Knows the rows and their audit events; knows no proof and no browser.

The key of an account is (surface, enterprise, team, account), that of a person (issuer, subject), both in one tenant:
a team that moves to another leaves its links behind. An e-mail address is no key and is never looked at.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Connection, Row

from audit.event import Event, Kind
from bot.identity.tables import IdentityBar, IdentityLink, table
from bot.messages import ChatUser, SurfaceName
from policy.model import Subject, TenantId

LINK = table(IdentityLink)
BAR = table(IdentityBar)


class How(StrEnum):
    """What a link rests on. Closed: row and audit store these words."""

    PROVED = "proved"
    """Both sides, by the account's own holder in one browser."""
    TEAMS_SSO = "teams_sso"
    """The company's IdP is the chat's own: both sides are one Entra account."""
    SHELL = "shell"
    """An operator's word, for imports and emergencies."""


@dataclass(frozen=True, slots=True)
class Link:
    who: ChatUser
    tenant: TenantId
    subject: Subject
    how: How
    by: str
    linked_at: datetime


class LinkedElsewhere(Exception):
    """The account is somebody else's already. An admin has to unlink it first."""


def of_account(conn: Connection, tenant: TenantId, who: ChatUser) -> Link | None:
    """Whose account it is in `tenant`, which the caller knows the account's team to belong to."""
    row = conn.execute(sa.select(LINK).where(LINK.c.tenant == tenant, *_is(who))).first()
    return None if row is None else _link(row)


def of_subject(conn: Connection, tenant: TenantId, subject: Subject) -> tuple[Link, ...]:
    """Every chat account of a person."""
    wanted = (LINK.c.tenant == tenant, LINK.c.issuer == subject.issuer, LINK.c.sub == subject.sub)
    rows = conn.execute(sa.select(LINK).where(*wanted).order_by(LINK.c.surface, LINK.c.team, LINK.c.account))
    return tuple(_link(row) for row in rows)


def of_tenant(conn: Connection, tenant: TenantId) -> tuple[Link, ...]:
    rows = conn.execute(sa.select(LINK).where(LINK.c.tenant == tenant).order_by(LINK.c.sub, LINK.c.surface))
    return tuple(_link(row) for row in rows)


def bind(
    conn: Connection, tenant: TenantId, who: ChatUser, subject: Subject, how: How, now: datetime, by: str | None = None
) -> list[Event]:
    """Links `who` to `subject`. Nothing to do, and no event, if that is so already. `by`: the person, by default.

    What barred the account is over: whoever links it has said anew whose it is.

    Raises:
        LinkedElsewhere: the account is another person's.
    """
    dialect = sqlite if conn.dialect.name == "sqlite" else postgresql
    row = IdentityLink(
        tenant=tenant,
        surface=who.surface,
        enterprise=who.enterprise,
        team=who.team,
        account=who.user,
        issuer=subject.issuer,
        sub=subject.sub,
        how=how.value,
        by=by or subject.sub,
        linked_at=now,
    )
    # Two at once: the second waits here for the first, and finds its row.
    insert = dialect.insert(LINK).values(**row.model_dump()).on_conflict_do_nothing().returning(sa.literal(1))
    if conn.execute(insert).first() is not None:
        conn.execute(sa.delete(BAR).where(BAR.c.tenant == tenant, *_is_barred(who)))
        return [_event(Kind.IDENTITY_LINKED, how.value, tenant, who, subject, now, by)]
    there = of_account(conn, tenant, who)
    if there is None or there.subject != subject:
        raise LinkedElsewhere(str(who))
    return []


def unbind(
    conn: Connection, tenant: TenantId, who: ChatUser, cause: str, now: datetime, by: str | None = None
) -> list[Event]:
    """Ends the account's link, if it has one in `tenant`."""
    ended = conn.execute(
        sa.delete(LINK).where(*_is(who), LINK.c.tenant == tenant).returning(LINK.c.issuer, LINK.c.sub)
    ).first()
    if ended is None:
        return []
    return [_event(Kind.IDENTITY_UNLINKED, cause, tenant, who, Subject(ended.issuer, ended.sub), now, by)]


def bar(
    conn: Connection,
    tenant: TenantId,
    who: ChatUser,
    subject: Subject,
    cause: str,
    now: datetime,
    by: str | None = None,
) -> list[Event]:
    """From now on `who`, an account that needs no link to be `subject`'s, stands for nobody until it is linked."""
    dialect = sqlite if conn.dialect.name == "sqlite" else postgresql
    row = IdentityBar(
        tenant=tenant,
        surface=who.surface,
        team=who.team,
        account=who.user,
        cause=cause,
        by=by or subject.sub,
        barred_at=now,
    )
    insert = dialect.insert(BAR).values(**row.model_dump()).on_conflict_do_nothing().returning(sa.literal(1))
    if conn.execute(insert).first() is None:
        return []
    return [_event(Kind.IDENTITY_UNLINKED, cause, tenant, who, subject, now, by)]


def barred(conn: Connection, tenant: TenantId, who: ChatUser) -> bool:
    """Whether the account stands for nobody until it is linked, whatever its id says."""
    query = sa.select(BAR.c.account).where(BAR.c.tenant == tenant, *_is_barred(who))
    return conn.execute(query).first() is not None


def unbind_subject(
    conn: Connection, tenant: TenantId, subject: Subject, cause: str, now: datetime, by: str | None = None
) -> list[Event]:
    """Ends every link of a person."""
    links = of_subject(conn, tenant, subject)
    return [event for link in links for event in unbind(conn, tenant, link.who, cause, now, by)]


def described(who: ChatUser) -> dict[str, str]:
    """An account's key, for the audit."""
    return {"surface": who.surface, "enterprise": who.enterprise, "team": who.team, "account": who.user}


def _event(
    kind: Kind, status: str, tenant: TenantId, who: ChatUser, subject: Subject, now: datetime, by: str | None
) -> Event:
    detail = {**described(who), "issuer": subject.issuer, "subject": subject.sub, "by": by or subject.sub}
    return Event(kind, tenant, now, status, actor_user_id=by or subject.sub, detail=detail)


def _is(who: ChatUser) -> tuple[sa.ColumnElement[bool], ...]:
    return (
        LINK.c.surface == who.surface,
        LINK.c.enterprise == who.enterprise,
        LINK.c.team == who.team,
        LINK.c.account == who.user,
    )


def _is_barred(who: ChatUser) -> tuple[sa.ColumnElement[bool], ...]:
    return BAR.c.surface == who.surface, BAR.c.team == who.team, BAR.c.account == who.user


def _link(row: Row[Any]) -> Link:
    who = ChatUser(SurfaceName(row.surface), row.team, row.account, row.enterprise)
    return Link(who, TenantId(row.tenant), Subject(row.issuer, row.sub), How(row.how), row.by, row.linked_at)
