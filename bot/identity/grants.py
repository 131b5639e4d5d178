"""People's refresh tokens: stored sealed, used by one at a time, replaced when the IdP replaces them, and ended.

Knows rows and generations; speaks to no IdP itself and mints nothing. A refresh token leaves its row for the time of
one request. The row's generation is compared and swapped: what was used twice is stolen or lost, and ends the grant.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import logging
import time
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from functools import partial
from typing import TypeAlias

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Row

from audit.event import Event, Kind
from audit.store import AuditStore
from audit.writer import Writer
from bot.identity.oidc import OidcError, OidcFault, Refreshed
from bot.identity.sealing import Bound, KeyAway, SealBroken, Sealer, Vessel
from bot.identity.tables import SealedGrant, table
from policy.model import Subject, TenantId

log = logging.getLogger("countersign.grants")

LEASE = timedelta(seconds=45)
"""Longer than asking an IdP can take; after this a silent process is taken to be gone."""
PATIENCE_S = 20.0
"""How long a call waits for another one that uses the same grant."""
LOOK_AGAIN_S = 0.05

_grants = table(SealedGrant)

Use: TypeAlias = Callable[[str], Awaitable[Refreshed]]
"""Asks the IdP with a refresh token."""


class Ended(StrEnum):
    """Why a grant is over. Closed: the audit stores these words."""

    REFUSED = "refused"
    """The IdP takes the token no more: expired, revoked, or used before by somebody else."""
    REUSED = "reused"
    """Two asked with the same token, or an old one came back."""
    BROKEN = "broken"
    """The row does not open: altered, or moved here from another person's."""


class NoGrant(Exception):
    """There is nothing to act with: the person has to sign in again."""


class GrantAway(Exception):
    """It cannot be used at this moment. `str(e)` is a sentence for people; nothing was done."""


@dataclass(frozen=True, slots=True)
class Taken:
    """A grant under our lease."""

    lease: str
    row: Row[tuple[object, ...]]


class Grants:
    """Every person's grant with their tenant's IdP."""

    def __init__(
        self,
        writer: Writer,
        audit: AuditStore,
        sealer: Sealer,
        clock: Callable[[], datetime],
        patience: float = PATIENCE_S,
    ) -> None:
        self._writer = writer
        self._audit = audit
        self._sealer = sealer
        self._clock = clock
        self._patience = patience

    # -- stored and ended: both join the caller's transaction, whose events come last --------------------------

    async def prepare(self, tenant: TenantId, subject: Subject) -> Vessel:
        """What `store` needs, made before the transaction: a KMS may take its time.

        Raises:
            KeyAway: the key-encryption key cannot be used; do without a grant and let the person sign in later.
        """
        return await asyncio.to_thread(self._sealer.vessel, Bound(tenant, subject))

    def store(self, conn: Connection, vessel: Vessel, refresh_token: str, now: datetime) -> list[Event]:
        """Keep the refresh token that a sign-in brought, in place of the one before it."""
        tenant, subject = vessel.bound.tenant, vessel.bound.subject
        before = conn.execute(sa.select(_grants).where(*_of(tenant, subject)).with_for_update()).first()
        generation = 1 if before is None else int(before.generation) + 1
        values = {
            **_sealed(vessel, generation, refresh_token),
            "created_at": now,
            "changed_at": now,
            "ended_at": None,
            "ended": None,
            "lease": None,
            "lease_until": None,
        }
        if before is None:
            conn.execute(sa.insert(_grants).values(**_key(tenant, subject), **values))
        else:
            conn.execute(sa.update(_grants).where(*_of(tenant, subject)).values(**values))
        return [_event(Kind.GRANT_STORED, tenant, subject, now, "stored", generation=generation)]

    def end(self, conn: Connection, tenant: TenantId, subject: Subject, cause: str, now: datetime) -> list[Event]:
        """The grant is over, and what was sealed is gone. Nothing where there is none."""
        changed = conn.execute(
            sa.update(_grants)
            .where(*_of(tenant, subject), _grants.c.ended_at.is_(None))
            .values(ended_at=now, ended=cause, changed_at=now, sealed="", wrapped_key="", lease=None, lease_until=None)
        ).rowcount
        return [_event(Kind.GRANT_ENDED, tenant, subject, now, cause)] if changed else []

    # -- used ---------------------------------------------------------------------------------------------------

    async def use(self, tenant: TenantId, subject: Subject, ask: Use) -> Refreshed:
        """What `ask` gets from the IdP for the person's refresh token; the one it returns takes the old one's place.

        One at a time, on all replicas: an IdP takes the second use of a rotated token for a theft.

        Raises:
            NoGrant: there is none, or it ended just now; nothing retries it.
            GrantAway: not at this moment.
        """
        # Once the IdP was asked its answer must be kept, or the token it replaced is lost with it.
        return await asyncio.shield(asyncio.create_task(self._use(tenant, subject, ask), name="countersign-grant"))

    async def _use(self, tenant: TenantId, subject: Subject, ask: Use) -> Refreshed:
        taken = await self._take(tenant, subject)
        generation = int(taken.row.generation)
        try:
            vessel, token = await asyncio.to_thread(self._open, Bound(tenant, subject), taken.row)
        except SealBroken as error:
            await self._over(tenant, subject, Ended.BROKEN)
            raise NoGrant from error
        except KeyAway as error:
            await self._let_go(tenant, subject, taken)
            log.error("a stored sign-in cannot be opened: %s", error)
            raise GrantAway(
                "Your stored sign-in cannot be opened at this moment. Nothing was done. Tell an admin."
            ) from error
        try:
            got = await ask(token)
        except OidcError as error:
            if error.fault is OidcFault.GRANT:
                await self._over(tenant, subject, Ended.REFUSED)
                raise NoGrant from error
            await self._let_go(tenant, subject, taken)
            raise GrantAway(str(error)) from error
        except BaseException:
            await self._let_go(tenant, subject, taken)
            raise
        await self._keep(vessel, generation, taken, got.refresh_token or token)
        return got

    async def _take(self, tenant: TenantId, subject: Subject) -> Taken:
        """The grant, for us alone until the lease ends."""
        deadline = time.monotonic() + self._patience
        lease = uuid.uuid4().hex
        while True:
            row = await self._writer.run(lambda conn: self._lease(conn, tenant, subject, lease))
            if row is not None:
                return Taken(lease, row)
            if time.monotonic() > deadline:
                raise GrantAway("Another call in your name is under way. Nothing was done. Try again in a minute.")
            await asyncio.sleep(LOOK_AGAIN_S)

    def _lease(
        self, conn: Connection, tenant: TenantId, subject: Subject, lease: str
    ) -> Row[tuple[object, ...]] | None:
        now = self._clock()
        row = conn.execute(sa.select(_grants).where(*_of(tenant, subject)).with_for_update()).first()
        if row is None or row.ended_at is not None:
            raise NoGrant
        if row.lease is not None and row.lease_until is not None and row.lease_until > now:
            return None
        conn.execute(sa.update(_grants).where(*_of(tenant, subject)).values(lease=lease, lease_until=now + LEASE))
        return row

    def _open(self, bound: Bound, row: Row[tuple[object, ...]]) -> tuple[Vessel, str]:
        vessel = self._sealer.opened(bound, str(row.kek_id), str(row.wrapped_key))
        token = vessel.unseal(int(row.generation), str(row.sealed))
        if not hmac.compare_digest(_sha256(token), str(row.token_sha256)):
            raise SealBroken("A stored sign-in is not the one that was stored last.")
        return vessel, token

    async def _keep(self, vessel: Vessel, generation: int, taken: Taken, token: str) -> None:
        """Compare and swap: nobody else may have used or ended the grant meanwhile."""
        tenant, subject = vessel.bound.tenant, vessel.bound.subject

        def unit(conn: Connection) -> bool:
            now = self._clock()
            row = conn.execute(sa.select(_grants).where(*_of(tenant, subject)).with_for_update()).first()
            if row is None or row.ended_at is not None:
                return False
            if row.generation != generation or row.lease != taken.lease:
                # Our lease ran out and somebody went on from the same token: one of the two was not meant to have it.
                self._audit.append(conn, self.end(conn, tenant, subject, Ended.REUSED, now))
                return False
            conn.execute(
                sa.update(_grants)
                .where(*_of(tenant, subject))
                .values(**_sealed(vessel, generation + 1, token), changed_at=now, lease=None, lease_until=None)
            )
            return True

        if not await self._writer.run(unit):
            raise NoGrant

    async def _let_go(self, tenant: TenantId, subject: Subject, taken: Taken) -> None:
        await self._writer.run(
            lambda conn: (
                conn.execute(
                    sa.update(_grants)
                    .where(*_of(tenant, subject), _grants.c.lease == taken.lease)
                    .values(lease=None, lease_until=None)
                ).rowcount
            )
        )

    async def _over(self, tenant: TenantId, subject: Subject, cause: Ended) -> None:
        def unit(conn: Connection) -> None:
            events = self.end(conn, tenant, subject, cause, self._clock())
            if events:
                self._audit.append(conn, events)

        await self._writer.run(unit)

    # -- the key-encryption key changed ---------------------------------------------------------------------------

    async def rewrap(self) -> int:
        """Put every live grant under the key-encryption key of today. How many were; run it again for what was in use.

        Raises:
            KeyAway: an old key is missing: what it wrapped stays as it is.
        """
        current, done = self._sealer.current(), 0
        rows = await self._writer.read(
            lambda conn: conn.execute(
                sa.select(_grants).where(_grants.c.kek_id != current, _grants.c.ended_at.is_(None))
            ).all()
        )
        for row in rows:
            bound = Bound(TenantId(row.tenant), Subject(row.issuer, row.sub))
            try:
                vessel = await asyncio.to_thread(self._sealer.opened, bound, row.kek_id, row.wrapped_key)
            except SealBroken:
                await self._over(bound.tenant, bound.subject, Ended.BROKEN)
                continue
            anew = await asyncio.to_thread(self._sealer.rewrapped, vessel)
            done += await self._writer.run(partial(_put_under, vessel, anew))
        return done


def _put_under(before: Vessel, after: Vessel, conn: Connection) -> int:
    """Unless the row was used or ended meanwhile."""
    return conn.execute(
        sa.update(_grants)
        .where(
            *_of(before.bound.tenant, before.bound.subject),
            _grants.c.wrapped_key == before.wrapped,
            _grants.c.ended_at.is_(None),
        )
        .values(kek_id=after.kek_id, wrapped_key=after.wrapped)
    ).rowcount


def _sealed(vessel: Vessel, generation: int, token: str) -> dict[str, object]:
    return {
        "kek_id": vessel.kek_id,
        "wrapped_key": vessel.wrapped,
        "sealed": vessel.seal(generation, token),
        "generation": generation,
        "token_sha256": _sha256(token),
    }


def _key(tenant: TenantId, subject: Subject) -> dict[str, str]:
    return {"tenant": tenant, "issuer": subject.issuer, "sub": subject.sub}


def _of(tenant: TenantId, subject: Subject) -> tuple[sa.ColumnElement[bool], ...]:
    return tuple(_grants.c[name] == value for name, value in _key(tenant, subject).items())


def _sha256(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def _event(kind: Kind, tenant: TenantId, subject: Subject, now: datetime, status: str, **detail: int) -> Event:
    return Event(
        kind=kind,
        tenant=tenant,
        occurred_at=now,
        status=status,
        actor_user_id=subject.sub,
        detail=dict(detail) or None,
    )
