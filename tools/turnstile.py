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
from collections.abc import Iterable

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from audit.trip import Prepared, Step, take
from policy.model import TenantId

_TOGETHER = Prepared(sa.text("SELECT pg_advisory_xact_lock_shared(:number)"))
_ALONE = Prepared(sa.text("SELECT pg_advisory_xact_lock(:number)"))


def together(conn: Connection, tenant: TenantId) -> None:
    """Decide on who people are: what is read of them from here on holds until the transaction ends.

    The first lock of every transaction that decides by the directory: presses, holds, claims, links, sessions.
    """
    take(conn, steps(conn, tenant))


def alone(conn: Connection, tenant: TenantId) -> None:
    """Change what decisions rest on: every decision before is committed, every later one sees the change.

    Taken late, once the change itself is written: what waits meanwhile is every press of the tenant.
    """
    take(conn, lock_steps(conn, (_name(tenant),), exclusive=True))


def steps(conn: Connection, tenant: TenantId) -> list[Step]:
    """`together`, for a trip that goes on."""
    return lock_steps(conn, (_name(tenant),))


def lock_steps(conn: Connection, names: Iterable[str], *, exclusive: bool = False) -> list[Step]:
    """Advisory locks on `names`, in this order, until the transaction ends. On SQLite its write transaction is all."""
    if conn.dialect.name != "postgresql":
        return []
    how = _ALONE if exclusive else _TOGETHER
    return [Step(how, {"number": number(name)}) for name in names]


def number(name: str) -> int:
    """What PostgreSQL knows a lock by."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big", signed=True)


def _name(tenant: TenantId) -> str:
    return f"{tenant}|turnstile"
