"""How a deciding transaction begins: its locks, and what they make final, in one round trip (invariants 8, 9).

Locks first, each in its place in the order (`turnstile`), then in statements of their own what is read under them.
Knows who is stopped; decides nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.engine import Connection

from audit.trip import take
from policy.model import Subject, TenantId, ToolName
from tools import killswitch, limits, turnstile
from tools.killswitch import Generation, Switch, Target
from tools.turnstile import Lock


@dataclass(frozen=True, slots=True)
class Entered:
    """What holds until the transaction ends: what stops each target, and until when people are locked out."""

    switches: Mapping[Target, Switch | None]
    locked_until: Mapping[Subject, datetime | None]


def enter(
    conn: Connection, tenant: TenantId, asked: Collection[tuple[Subject, ToolName]], between: Sequence[Lock] = ()
) -> Entered:
    """A transaction that lets people do something with tools. `between`: locks whose place is before the kill locks."""
    targets = sorted({Target(tenant, tool, who) for who, tool in asked}, key=str)
    people = sorted({who for who, _ in asked}, key=str)
    locks = turnstile.steps(conn, [turnstile.deciding(tenant), *between, *killswitch.locks(tenant)])
    stops = [killswitch.covering_step(target) for target in targets]
    found = iter(take(conn, [*locks, *stops, *(limits.lockout_step(tenant, who) for who in people)])[len(locks) :])
    return Entered(
        {target: killswitch.covered(next(found)) for target in targets},
        {who: limits.until(next(found)) for who in people},
    )


def decide(conn: Connection, tenant: TenantId) -> Generation:
    """A transaction that decides on a held call, whose tool and requester are still to be read."""
    return killswitch.under(conn, tenant, [turnstile.deciding(tenant), *killswitch.locks(tenant)])
