"""Signed-in browsers of the page. Knows when a session counts and its rows; knows no cookie header and no IdP.

A session says who signed in, never what they may do: the directory is read again for every request (invariant 9).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Connection

from audit.event import Event, Kind
from bot.identity import opaque
from bot.identity.tables import SignInSeen, UsedJti, WebSession, table
from policy.model import Subject, TenantId

IDLE = timedelta(minutes=30)
ABSOLUTE = timedelta(hours=10)
TOUCH = timedelta(minutes=1)
"""How exactly idleness is measured: a session is written no more often than this."""
SESSION = table(WebSession)
SEEN = table(SignInSeen)
JTI = table(UsedJti)


class SessionEnd(StrEnum):
    """Why a session is over. Row and audit store these words."""

    SIGNED_OUT = "signed_out"
    IDLE = "idle"
    AGED = "aged"
    REPLACED = "replaced"
    """The same browser signed in again."""
    IDP = "logged_out_at_idp"
    LEFT = "left"


@dataclass(frozen=True, slots=True)
class Session:
    sha256: str
    tenant: TenantId
    subject: Subject
    seen_at: datetime


def start(
    conn: Connection, tenant: TenantId, subject: Subject, now: datetime, *, sid: str | None = None, idp_sub: str = ""
) -> tuple[str, list[Event]]:
    """The secret of a new session, for its cookie. Also notes that the IdP vouched for the person just now."""
    secret = opaque.fresh()
    row = WebSession(
        sha256=opaque.digest(secret),
        tenant=tenant,
        issuer=subject.issuer,
        sub=subject.sub,
        sid=sid,
        idp_sub=idp_sub or subject.sub,
        created_at=now,
        seen_at=now,
        expires_at=now + ABSOLUTE,
    )
    conn.execute(sa.insert(SESSION).values(**row.model_dump()))
    vouched(conn, tenant, subject, now)
    return secret, [_event(Kind.SESSION_STARTED, "signed_in", tenant, subject, row.sha256, now)]


def vouched(conn: Connection, tenant: TenantId, subject: Subject, now: datetime) -> None:
    """Notes that the company's IdP has just said who this is."""
    dialect = sqlite if conn.dialect.name == "sqlite" else postgresql
    insert = dialect.insert(SEEN).values(tenant=tenant, issuer=subject.issuer, sub=subject.sub, at=now)
    conn.execute(insert.on_conflict_do_update(index_elements=["tenant", "issuer", "sub"], set_={"at": now}))


def of_cookie(conn: Connection, secret: str, now: datetime) -> Session | None:
    """The session of a browser, if it counts at `now`."""
    alive = (SESSION.c.ended_at.is_(None), SESSION.c.expires_at > now, SESSION.c.seen_at > now - IDLE)
    row = conn.execute(sa.select(SESSION).where(SESSION.c.sha256 == opaque.digest(secret), *alive)).first()
    if row is None:
        return None
    return Session(row.sha256, TenantId(row.tenant), Subject(row.issuer, row.sub), row.seen_at)


def live(conn: Connection, tenant: TenantId, subject: Subject, now: datetime) -> bool:
    """Whether any browser is signed in as `subject` at `now`."""
    mine = (SESSION.c.tenant == tenant, SESSION.c.issuer == subject.issuer, SESSION.c.sub == subject.sub)
    alive = (SESSION.c.ended_at.is_(None), SESSION.c.expires_at > now, SESSION.c.seen_at > now - IDLE)
    return conn.execute(sa.select(sa.literal(1)).where(*mine, *alive).limit(1)).first() is not None


def touch(conn: Connection, session: Session, now: datetime) -> None:
    """The browser was here. Never earlier than another request already said."""
    mine = (SESSION.c.sha256 == session.sha256, SESSION.c.tenant == session.tenant, SESSION.c.ended_at.is_(None))
    conn.execute(sa.update(SESSION).where(*mine, SESSION.c.seen_at < now).values(seen_at=now))


def form_token(secret: str) -> str:
    """What a form of this session must carry."""
    return opaque.derived(secret, "session form")


def end(conn: Connection, session: Session, how: SessionEnd, now: datetime) -> list[Event]:
    """Ends this one."""
    return _end(conn, session.tenant, how, now, SESSION.c.sha256 == session.sha256)


def end_of_subject(conn: Connection, tenant: TenantId, subject: Subject, how: SessionEnd, now: datetime) -> list[Event]:
    """Ends every session of a person."""
    return _end(conn, tenant, how, now, SESSION.c.issuer == subject.issuer, SESSION.c.sub == subject.sub)


def end_of_sid(
    conn: Connection, tenant: TenantId, issuer: str, sid: str, how: SessionEnd, now: datetime
) -> list[Event]:
    """Ends what belongs to one session at the IdP."""
    return _end(conn, tenant, how, now, SESSION.c.issuer == issuer, SESSION.c.sid == sid)


def end_overdue(conn: Connection, tenant: TenantId, now: datetime) -> list[Event]:
    """Ends what nobody used for too long, so that the log says when it was over."""
    idle = _end(conn, tenant, SessionEnd.IDLE, now, SESSION.c.seen_at <= now - IDLE, SESSION.c.expires_at > now)
    return [*idle, *_end(conn, tenant, SessionEnd.AGED, now, SESSION.c.expires_at <= now)]


def subjects_of(conn: Connection, tenant: TenantId, issuer: str, idp_sub: str) -> tuple[Subject, ...]:
    """Who has an open session as `idp_sub`, the name that a logout token uses."""
    mine = (SESSION.c.tenant == tenant, SESSION.c.issuer == issuer, SESSION.c.idp_sub == idp_sub)
    rows = conn.execute(sa.select(SESSION.c.sub).where(*mine, SESSION.c.ended_at.is_(None)).distinct())
    return tuple(Subject(issuer, row.sub) for row in rows)


def first_use(conn: Connection, issuer: str, jti: str, expires_at: datetime) -> bool:
    """Whether the token is seen for the first time. From now on it is not."""
    dialect = sqlite if conn.dialect.name == "sqlite" else postgresql
    insert = dialect.insert(JTI).values(issuer=issuer, jti=jti, expires_at=expires_at)
    return conn.execute(insert.on_conflict_do_nothing().returning(sa.literal(1))).first() is not None


def _end(
    conn: Connection, tenant: TenantId, how: SessionEnd, now: datetime, *wanted: sa.ColumnElement[bool]
) -> list[Event]:
    mine = (SESSION.c.tenant == tenant, SESSION.c.ended_at.is_(None), *wanted)
    ended = conn.execute(
        sa.update(SESSION)
        .where(*mine)
        .values(ended_at=now, ended=how.value)
        .returning(SESSION.c.sha256, SESSION.c.issuer, SESSION.c.sub)
    ).all()
    return [
        _event(Kind.SESSION_ENDED, how.value, tenant, Subject(row.issuer, row.sub), row.sha256, now) for row in ended
    ]


def _event(kind: Kind, status: str, tenant: TenantId, subject: Subject, sha256: str, now: datetime) -> Event:
    # The beginning of the hash tells sessions apart and opens none.
    detail = {"session": sha256[:16], "issuer": subject.issuer}
    return Event(kind, tenant, now, status, actor_user_id=subject.sub, detail=detail)
