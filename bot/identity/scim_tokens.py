"""Bearer tokens of IdPs' SCIM clients: one tenant each, several valid at once. Knows rows and hashes, no HTTP.

A token is 256 random bits, so its SHA-256 is looked up as it is: whoever cannot guess the token cannot steer the
look-up either, and its time tells nothing. The secret is shown once, when it is made.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import TypeAlias

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Connection

from audit.event import Event, Kind
from bot.identity import opaque
from bot.identity.tables import ScimContact, ScimToken, table
from policy.model import TenantId

PREFIX = "cs_scim_"
"""So that secret scanners, and people, know one when they see one."""
MAX_CHARS = 200
SEEN_EVERY = timedelta(minutes=1)
"""How exactly it is kept when a token was used and an IdP heard from."""

TOKEN, CONTACT = table(ScimToken), table(ScimContact)


class TokenState(StrEnum):
    VALID = "valid"
    EXPIRED = "expired"
    REVOKED = "revoked"


class NotValid(StrEnum):
    """Why a bearer is nobody. Closed: the audit stores these words, the client is told none of them."""

    ABSENT = "absent"
    UNKNOWN = "unknown"
    EXPIRED = "expired"
    REVOKED = "revoked"
    NO_TENANT = "no_tenant"
    """The tenant is no longer in tenants.yaml."""


@dataclass(frozen=True, slots=True)
class Bearer:
    """A client that showed a valid token."""

    tenant: TenantId
    token_id: str
    stale: bool
    """Nothing was noted of it for a while."""


@dataclass(frozen=True, slots=True)
class Nobody:
    reason: NotValid
    tenant: TenantId | None = None
    token_id: str | None = None


Known: TypeAlias = Bearer | Nobody


@dataclass(frozen=True, slots=True)
class Listed:
    """A token as it may be shown."""

    token_id: str
    name: str
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    used_at: datetime | None

    def state(self, now: datetime) -> TokenState:
        if self.revoked_at is not None:
            return TokenState.REVOKED
        over = self.expires_at is not None and now >= self.expires_at
        return TokenState.EXPIRED if over else TokenState.VALID


def create(
    conn: Connection, tenant: TenantId, name: str, by: str, now: datetime, expires_at: datetime | None = None
) -> tuple[str, str, Event]:
    """A new token: its id, its secret, and the audit row for the caller to append last."""
    token_id, secret = secrets.token_hex(8), PREFIX + opaque.fresh()
    row = ScimToken(
        token_id=token_id,
        tenant=tenant,
        sha256=opaque.digest(secret),
        name=name,
        created_at=now,
        expires_at=expires_at,
    )
    conn.execute(sa.insert(TOKEN).values(**row.model_dump()))
    expiry = f"{expires_at:%Y-%m-%dT%H:%M:%SZ}" if expires_at else None
    return token_id, secret, _event(Kind.SCIM_TOKEN_CREATED, tenant, token_id, by, now, expires=expiry)


def revoke(conn: Connection, tenant: TenantId, token_id: str, by: str, now: datetime) -> Event | None:
    """Ends a token at once; None: the tenant has no such token that still counts."""
    ended = conn.execute(
        sa.update(TOKEN)
        .where(TOKEN.c.tenant == tenant, TOKEN.c.token_id == token_id, TOKEN.c.revoked_at.is_(None))
        .values(revoked_at=now)
    )
    return _event(Kind.SCIM_TOKEN_REVOKED, tenant, token_id, by, now) if ended.rowcount else None


def listed(conn: Connection, tenant: TenantId) -> tuple[Listed, ...]:
    """Every token of the tenant, newest first."""
    rows = conn.execute(
        sa.select(
            TOKEN.c.token_id,
            TOKEN.c.name,
            TOKEN.c.created_at,
            TOKEN.c.expires_at,
            TOKEN.c.revoked_at,
            TOKEN.c.used_at,
        )
        .where(TOKEN.c.tenant == tenant)
        .order_by(TOKEN.c.created_at.desc(), TOKEN.c.token_id)
    )
    return tuple(Listed(*row) for row in rows)


def of(conn: Connection, authorization: str | None, now: datetime) -> Known:
    """Who an ``Authorization`` header speaks for, at `now`."""
    scheme, _, secret = (authorization or "").partition(" ")
    secret = secret.strip()
    if scheme.lower() != "bearer" or not secret:
        return Nobody(NotValid.ABSENT)
    if len(secret) > MAX_CHARS:
        return Nobody(NotValid.UNKNOWN)
    row = conn.execute(
        sa.select(TOKEN.c.token_id, TOKEN.c.tenant, TOKEN.c.expires_at, TOKEN.c.revoked_at, TOKEN.c.used_at).where(
            TOKEN.c.sha256 == opaque.digest(secret)
        )
    ).first()
    if row is None:
        return Nobody(NotValid.UNKNOWN)
    tenant = TenantId(row.tenant)
    if row.revoked_at is not None:
        return Nobody(NotValid.REVOKED, tenant, row.token_id)
    if row.expires_at is not None and now >= row.expires_at:
        return Nobody(NotValid.EXPIRED, tenant, row.token_id)
    return Bearer(tenant, row.token_id, stale=row.used_at is None or now - row.used_at >= SEEN_EVERY)


def note(conn: Connection, bearer: Bearer, now: datetime) -> None:
    """The tenant's IdP has spoken. Called first, it also lets the tenant's writers in one by one (PostgreSQL)."""
    dialect = sqlite if conn.dialect.name == "sqlite" else postgresql
    heard = dialect.insert(CONTACT).values(tenant=bearer.tenant, at=now)
    conn.execute(heard.on_conflict_do_update(index_elements=["tenant"], set_={"at": now}))
    if bearer.stale:
        conn.execute(sa.update(TOKEN).where(TOKEN.c.token_id == bearer.token_id).values(used_at=now))


def _event(kind: Kind, tenant: TenantId, token_id: str, by: str, now: datetime, *, expires: str | None = None) -> Event:
    detail = {"token": token_id, **({"expires": expires} if expires else {})}
    status = "created" if kind is Kind.SCIM_TOKEN_CREATED else "revoked"
    return Event(kind=kind, tenant=tenant, occurred_at=now, status=status, actor_user_id=by, detail=detail)
