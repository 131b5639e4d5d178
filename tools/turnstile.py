"""The tenant's turnstile: decisions pass together, what takes the ground from under them passes alone (invariant 9).

A decision reads who people are and writes what follows. Somebody's leaving must come wholly before or wholly after
it. Knows no decision and no directory.

On PostgreSQL an advisory lock, which is served in the order of asking: of two row locks, shared ones overtake a
waiting exclusive one for as long as they keep coming (measured: 8 threads of presses held a leaver up for 3.4 s, and
for 6 ms here). On SQLite the write transaction is the lock.

The order of locks, for every transaction that takes more than one: turnstile, sums (`holding`), kill locks
(`killswitch`: everywhere before the tenant's), held calls (those that presuppose nothing first), effect, audit head.
Never `alone` after `together` in one transaction, and no lock exclusive that is already held shared: two that did
would wait for each other. In a fair queue this order matters even among those who only share: a newcomer waits behind
a kill or a leaving that waits for somebody else.

Advisory locks hold back no reader of rows. So what a lock makes final is read by a later statement than the one that
takes it; see `audit.trip`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from audit.trip import Prepared, Step, take
from policy.model import TenantId

_TAKE = Prepared(
    sa.text(
        "SELECT CASE WHEN lock.alone THEN pg_advisory_xact_lock(lock.number)::text"
        " ELSE pg_advisory_xact_lock_shared(lock.number)::text END"
        " FROM unnest(CAST(:numbers AS bigint[]), CAST(:alone AS boolean[])) AS lock (number, alone)"
    )
)
"""Each in its turn: an array is read out in the order in which it is stored."""


@dataclass(frozen=True, slots=True)
class Lock:
    """An advisory lock, held until the transaction ends; alone or with everybody else who shares it."""

    name: str
    alone: bool = False

    @property
    def number(self) -> int:
        """What PostgreSQL knows it by."""
        return int.from_bytes(hashlib.sha256(self.name.encode()).digest()[:8], "big", signed=True)


def together(conn: Connection, tenant: TenantId) -> None:
    """Decide on who people are: what is read of them from here on holds until the transaction ends.

    The first lock of every transaction that decides by the directory: presses, holds, claims, links, sessions.
    """
    take(conn, steps(conn, [deciding(tenant)]))


def alone(conn: Connection, tenant: TenantId) -> None:
    """Change what decisions rest on: every decision before is committed, every later one sees the change.

    Taken late, once the change itself is written: what waits meanwhile is every press of the tenant.
    """
    take(conn, steps(conn, [replace(deciding(tenant), alone=True)]))


def deciding(tenant: TenantId) -> Lock:
    """What `together` takes, for a transaction that takes more at once."""
    return Lock(f"{tenant}|turnstile")


def steps(conn: Connection, locks: Sequence[Lock]) -> list[Step]:
    """Takes `locks` in this order, as a trip's beginning. On SQLite the write transaction is the lock."""
    if conn.dialect.name != "postgresql" or not locks:
        return []
    return [Step(_TAKE, {"numbers": [lock.number for lock in locks], "alone": [lock.alone for lock in locks]})]
