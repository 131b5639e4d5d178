"""Limits that hold across replicas: rates, sums towards a threshold, money reserved, lockouts.

Rows counted inside the caller's transaction. Knows numbers, not which tool they belong to.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from decimal import Decimal

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Connection
from sqlmodel import Field, SQLModel

from audit import trip
from audit.trip import Prepared, Row, Step
from audit.types import UtcDateTime
from policy.approval import ApprovalStatus
from policy.model import Principal, Subject, TenantId
from tools.approvals import HELD, table
from tools.held import EffectState

LIVE = (ApprovalStatus.PENDING.value, ApprovalStatus.APPROVED.value)
NOT_SPENT = (EffectState.FAILED.value,)
CLOCK_SKEW = timedelta(seconds=2)
"""By how much the clocks of two replicas may differ."""


class RateUse(SQLModel, table=True):
    """How often somebody did something within one window."""

    __tablename__ = "rate_use"

    tenant: str = Field(primary_key=True)
    name: str = Field(primary_key=True)
    who: str = Field(primary_key=True)
    window_start: datetime = Field(sa_type=UtcDateTime, primary_key=True)
    uses: int


class GuardHit(SQLModel, table=True):
    """One message that a guardrail killed; repeated ones lock a person out."""

    __tablename__ = "guard_hit"

    hit_id: int | None = Field(default=None, primary_key=True)
    tenant: str = Field(index=True)
    who: str = Field(index=True)
    at: datetime = Field(sa_type=UtcDateTime)


class Lockout(SQLModel, table=True):
    """A person who may do nothing until `until`."""

    __tablename__ = "lockout"

    tenant: str = Field(primary_key=True)
    who: str = Field(primary_key=True)
    until: datetime = Field(sa_type=UtcDateTime)


RATE = table(RateUse)
HIT = table(GuardHit)
LOCKOUT = table(Lockout)
_LOCKED_UNTIL = Prepared(
    sa.select(LOCKOUT.c.until).where(
        LOCKOUT.c.tenant == sa.bindparam("tenant_id"), LOCKOUT.c.who == sa.bindparam("who_id")
    )
)


def take(conn: Connection, tenant: TenantId, name: str, who: str, limit: int, window_s: int, now: datetime) -> bool:
    """Use one of `limit` per `window_s` seconds; False: none is left and nothing was used.

    A sliding window of two counters: the last one counts by the share of it still in sight, so a burst at the
    turn of a minute cannot take twice the limit.
    """
    start = _window(now, window_s)
    before = start - timedelta(seconds=window_s)
    rows = conn.execute(
        sa.select(RATE.c.window_start, RATE.c.uses)
        .where(
            RATE.c.tenant == tenant,
            RATE.c.name == name,
            RATE.c.who == who,
            RATE.c.window_start.in_([start, before]),
        )
        .with_for_update()
    ).all()
    uses = {row.window_start: row.uses for row in rows}
    share = 1 - (now - start).total_seconds() / window_s
    if uses.get(start, 0) + uses.get(before, 0) * share + 1 > limit:
        return False
    dialect = sqlite if conn.dialect.name == "sqlite" else postgresql
    insert = dialect.insert(RATE).values(tenant=tenant, name=name, who=who, window_start=start, uses=1)
    conn.execute(
        insert.on_conflict_do_update(
            index_elements=["tenant", "name", "who", "window_start"], set_={"uses": RATE.c.uses + 1}
        )
    )
    return True


def forget_rates(conn: Connection, before: datetime) -> None:
    """Drop counters of windows that are long over."""
    conn.execute(sa.delete(RATE).where(RATE.c.window_start < before))


def reserved(
    conn: Connection,
    tenant: TenantId,
    resource: str,
    currency: str,
    read_at: datetime,
    *,
    but: str | None = None,
    claimed: bool = False,
) -> Decimal:
    """What unsettled calls, and those that took effect since `read_at`, take from `resource`.

    `but` leaves one call out. `claimed`: count only calls whose effect has begun, for the last check of one that
    has its own reservation already. An effect that finished around `read_at` may be counted by the provider and
    here: that refuses too much for a moment, never too little.
    """
    margin = read_at - CLOCK_SKEW
    query = sa.select(HELD.c.amount).where(
        HELD.c.tenant == tenant,
        HELD.c.resource == resource,
        HELD.c.currency == currency,
        HELD.c.status.in_(LIVE),
        HELD.c.effect.not_in(NOT_SPENT),
        sa.or_(HELD.c.effect != EffectState.DONE.value, HELD.c.finished_at.is_(None), HELD.c.finished_at >= margin),
    )
    if but is not None:
        query = query.where(HELD.c.held_id != but)
    if claimed:
        begun = (EffectState.STARTED.value, EffectState.IN_DOUBT.value, EffectState.DONE.value)
        query = query.where(HELD.c.effect.in_(begun))
    return _sum(conn, query)


def gathered(
    conn: Connection,
    tenant: TenantId,
    tool: str,
    currency: str,
    since: datetime,
    *,
    resource: str | None = None,
    requester: Principal | None = None,
) -> Decimal:
    """The sum one resource or one requester gathered with `tool` since `since`.

    What has not ended counts however old it is, and what took effect counts from then: otherwise a request that is
    approved late would leave the sum as it enters the books. A requester is a person, under whichever account.
    """
    query = sa.select(HELD.c.amount).where(
        HELD.c.tenant == tenant,
        HELD.c.tool == tool,
        HELD.c.currency == currency,
        _within(since),
    )
    if resource is not None:
        query = query.where(HELD.c.resource == resource)
    if requester is not None:
        query = query.where(_asked_by(requester))
    return _sum(conn, query)


def gathered_elsewhere(
    conn: Connection, tenant: TenantId, tool: str, but: str, since: datetime, requester: Principal
) -> dict[str, Decimal]:
    """Like `gathered` for one requester, in every currency but `but`."""
    query = sa.select(HELD.c.currency, HELD.c.amount).where(
        HELD.c.tenant == tenant,
        HELD.c.tool == tool,
        HELD.c.currency != but,
        _within(since),
        _asked_by(requester),
    )
    sums: dict[str, Decimal] = {}
    for currency, amount in conn.execute(query):
        sums[currency] = sums.get(currency, Decimal(0)) + Decimal(amount)
    return sums


def person_of(who: Principal) -> str | None:
    """The person key as sums compare it; None: the directory does not say who an account belongs to."""
    return (who.person_key or "").strip().lower() or None


def _asked_by(who: Principal) -> sa.ColumnElement[bool]:
    account = sa.and_(HELD.c.requester_issuer == who.subject.issuer, HELD.c.requester_sub == who.subject.sub)
    person = person_of(who)
    return account if person is None else sa.or_(account, sa.func.lower(sa.func.trim(HELD.c.person_key)) == person)


def _within(since: datetime) -> sa.ColumnElement[bool]:
    return sa.and_(
        HELD.c.status.in_(LIVE),
        HELD.c.effect.not_in(NOT_SPENT),
        sa.or_(HELD.c.created_at >= since, HELD.c.effect != EffectState.DONE.value, HELD.c.finished_at >= since),
    )


def hit(conn: Connection, tenant: TenantId, who: Subject, now: datetime, keep: timedelta) -> list[datetime]:
    """Count a message that a guardrail killed; returns this person's hits within `keep`, oldest first."""
    conn.execute(sa.delete(HIT).where(HIT.c.tenant == tenant, HIT.c.who == str(who), HIT.c.at < now - keep))
    conn.execute(sa.insert(HIT).values(tenant=tenant, who=str(who), at=now))
    query = sa.select(HIT.c.at).where(HIT.c.tenant == tenant, HIT.c.who == str(who)).order_by(HIT.c.at)
    return list(conn.execute(query).scalars())


def lock_out(conn: Connection, tenant: TenantId, who: Subject, until: datetime) -> None:
    dialect = sqlite if conn.dialect.name == "sqlite" else postgresql
    insert = dialect.insert(LOCKOUT).values(tenant=tenant, who=str(who), until=until)
    conn.execute(insert.on_conflict_do_update(index_elements=["tenant", "who"], set_={"until": until}))


def locked_until(conn: Connection, tenant: TenantId, who: Subject, now: datetime) -> datetime | None:
    """Until when the person is locked out; None: they are not."""
    last = until(trip.take(conn, [lockout_step(tenant, who)])[0])
    return last if last is not None and last > now else None


def lockout_step(tenant: TenantId, who: Subject) -> Step:
    """`locked_until`, for a trip that goes on."""
    return Step(_LOCKED_UNTIL, {"tenant_id": tenant, "who_id": str(who)})


def until(found: Sequence[Row]) -> datetime | None:
    """What `lockout_step` read: when the last lock-out ends, or ended."""
    last: datetime | None = found[0]["until"] if found else None
    return last


def lift_lockout(conn: Connection, tenant: TenantId, who: Subject) -> bool:
    done = conn.execute(sa.delete(LOCKOUT).where(LOCKOUT.c.tenant == tenant, LOCKOUT.c.who == str(who)))
    return done.rowcount > 0


def _window(now: datetime, window_s: int) -> datetime:
    seconds = int(now.timestamp()) // window_s * window_s
    return datetime.fromtimestamp(seconds, tz=now.tzinfo)


def _sum(conn: Connection, query: sa.Select[str]) -> Decimal:
    # Summed here, not in SQL: amounts are decimal strings, and SQLite would add them as floats.
    return sum((Decimal(amount) for amount in conn.execute(query).scalars()), Decimal(0))
