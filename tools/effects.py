"""The effect ledger: claimed, done, failed, in doubt (invariant 7).

An effect is claimed here, durably, before its action runs. Knows no approvals and no providers.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TypeAlias

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Connection
from sqlmodel import Field, SQLModel

from audit.types import UtcDateTime
from policy.model import TenantId, ToolName
from policy.pii import redact
from tools.approvals import table
from tools.held import EffectState


class Effect(SQLModel, table=True):
    """One effect, ever, per key. The row outlives the process that claimed it."""

    __tablename__ = "effect"

    tenant: str = Field(primary_key=True)
    key: str = Field(primary_key=True)
    """The held call's id, or the call id of a call that needs no approval."""
    tool: str
    state: str
    attempt: int
    executor: str
    claimed_at: datetime = Field(sa_type=UtcDateTime)
    first_claimed_at: datetime = Field(sa_type=UtcDateTime)
    finished_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    reference: str | None = None
    sentence: str | None = None
    """Of calls that need no approval. What a held call's effect says stands on the approval row (invariant 11)."""


EFFECT = table(Effect)


@dataclass(frozen=True, slots=True)
class Claimed:
    """This process may run the effect now, as attempt `attempt`."""

    attempt: int


@dataclass(frozen=True, slots=True)
class Taken:
    """Somebody claimed it before; `effect` says how far they came."""

    effect: Effect


Claim: TypeAlias = Claimed | Taken


def read(conn: Connection, tenant: TenantId, key: str) -> Effect | None:
    row = conn.execute(sa.select(EFFECT).where(EFFECT.c.tenant == tenant, EFFECT.c.key == key)).mappings().first()
    return None if row is None else Effect(**row)


def claim(conn: Connection, tenant: TenantId, key: str, tool: ToolName, executor: str, now: datetime) -> Claim:
    """Claim the effect `key`, once and for all. The caller commits before the action runs."""
    found = read(conn, tenant, key)
    if found is not None:
        return Taken(found)
    row = Effect(
        tenant=tenant,
        key=key,
        tool=tool,
        state=EffectState.STARTED.value,
        attempt=1,
        executor=executor,
        claimed_at=now,
        first_claimed_at=now,
    )
    dialect = sqlite if conn.dialect.name == "sqlite" else postgresql
    insert = dialect.insert(EFFECT).values(**row.model_dump()).on_conflict_do_nothing().returning(EFFECT.c.attempt)
    if conn.execute(insert).scalar() is not None:
        return Claimed(1)
    found = read(conn, tenant, key)  # another process claimed it between our look and our write
    if found is None:
        raise RuntimeError(f"The effect {key} can be neither claimed nor read.")
    return Taken(found)


def reclaim(conn: Connection, effect: Effect, executor: str, now: datetime) -> Claimed | None:
    """Take over a started effect whose process is gone; None: somebody else was first."""
    done = conn.execute(
        sa.update(EFFECT)
        .where(
            EFFECT.c.tenant == effect.tenant,
            EFFECT.c.key == effect.key,
            EFFECT.c.state == EffectState.STARTED.value,
            EFFECT.c.attempt == effect.attempt,
        )
        .values(attempt=effect.attempt + 1, executor=executor, claimed_at=now)
    )
    return Claimed(effect.attempt + 1) if done.rowcount == 1 else None


def finish(
    conn: Connection,
    tenant: TenantId,
    key: str,
    state: EffectState,
    now: datetime,
    reference: str | None,
    sentence: str | None,
    *,
    attempt: int | None = None,
) -> bool:
    """Record how it ended. False: that was known, or is no longer `attempt`'s to say, and this changes nothing.

    The ledger is kept for good, so the sentence is redacted (invariant 11). Done is believed from whichever attempt,
    and after everything else: money that moved has moved. That nothing happened, or that nobody knows, only the last
    attempt can say; failed is final but for a proof.
    """
    unsettled = [EffectState.STARTED.value, EffectState.IN_DOUBT.value]
    where = [EFFECT.c.tenant == tenant, EFFECT.c.key == key, EFFECT.c.state != state.value]
    if state is EffectState.DONE:
        where.append(EFFECT.c.state.in_([*unsettled, EffectState.FAILED.value]))
    else:
        where.append(EFFECT.c.state.in_(unsettled))
        if attempt is not None:
            where.append(EFFECT.c.attempt == attempt)
    done = conn.execute(
        sa.update(EFFECT)
        .where(*where)
        .values(
            state=state.value,
            finished_at=now,
            reference=reference,
            sentence=None if sentence is None else redact(sentence),
        )
    )
    return done.rowcount == 1
