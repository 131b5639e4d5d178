"""Killing and resuming as the door does it: one transaction, at once, everywhere (invariant 8).

Knows the rows a kill touches; who may kill is asked above (chat: the role admin; shell: the operator).
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias, TypeVar

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from audit.event import Event, Kind
from audit.faults import StoreConflict, StoreUnavailable
from policy.approval import ApprovalStatus
from policy.model import Subject, TenantId
from tools import killswitch, limits, settling, views
from tools.approvals import HELD, HeldCall
from tools.door import Door
from tools.held import EffectState, KillReport, Scope, ScopeKind
from tools.ports import Notice, NoticeKind
from tools.settling import Ledger

T = TypeVar("T")
CONFLICTS = 5
"""How often a stop is tried again when it met another transaction."""
log = logging.getLogger("countersign.stops")


Once: TypeAlias = Callable[[Connection], bool]
"""Takes a delivery in the transaction of the switch; False: it was carried out before, and nothing changes again.

A command comes at least once. So a kill is never lost, and a resume that comes late lifts no newer stop.
"""


@dataclass(frozen=True, slots=True)
class By:
    """Who threw or lifted a switch. `label`: how the scope is called where people read it."""

    id: str
    name: str
    roles: tuple[str, ...] = ()
    label: str = ""


async def kill(
    door: Door,
    tenant: TenantId | None,
    scope: Scope,
    by: By,
    reason: str,
    *,
    dry_run: bool,
    once: Once | None = None,
) -> KillReport:
    """See `Gateway.kill`."""
    if dry_run:
        return await door.writer.read(lambda conn: report(conn, tenant, _covered(scope)))
    reopened = await _insist(door, lambda conn: _throw(conn, door, tenant, scope, by, reason, once))
    # The switch is on from here. What follows may fail without anything being let through: a claim looks at the
    # switch, and it compares the generation of the approval, so lifting it again releases nothing either.
    try:
        if tenant is None:  # one tenant a transaction
            for name in await door.writer.read(_tenants_with_approved):
                reopen = partial(_reopen_all, door=door, tenant=name, scope=scope, reason=reason)
                reopened += await _insist(door, reopen)
        await _announce(door, tenant)
    except StoreUnavailable as error:
        log.error("the kill-switch is on, but cards and approved requests could not all be brought in line: %s", error)
    found = await door.writer.read(lambda conn: report(conn, tenant, _covered(scope)))
    return KillReport(found.active, found.pending, found.in_flight, reopened)


async def resume(door: Door, tenant: TenantId | None, scope: Scope, by: By, *, once: Once | None = None) -> KillReport:
    """See `Gateway.resume`."""

    def unit(conn: Connection) -> None:
        killswitch.lock(conn, tenant, exclusive=True)
        if once is not None and not once(conn):
            return
        lifted = killswitch.lift(conn, tenant, scope, by.name, door.clock())
        events = [_event(door, Kind.KILL_RESUMED, tenant, scope, by, "resumed", {"lifted": lifted})]
        if tenant is not None and scope.kind is ScopeKind.USER:
            # The way back for somebody whom repeated blocked messages locked out.
            issuer, _, sub = scope.value.partition("|")
            if limits.lift_lockout(conn, tenant, Subject(issuer, sub)):
                events.append(_event(door, Kind.LOCKOUT_LIFTED, tenant, scope, by, "lifted", {}))
        door.audit.append(conn, events)

    await _insist(door, unit)
    try:
        await _announce(door, tenant)
    except StoreUnavailable as error:
        log.error("the kill-switch is lifted, but cards could not be told: %s", error)
    return await door.writer.read(lambda conn: report(conn, tenant))


async def _insist(door: Door, unit: Callable[[Connection], T]) -> T:
    """Run `unit` until it is not the one that gives in to another transaction: a stop must not lose a race."""
    for _ in range(CONFLICTS):
        try:
            return await door.writer.run(unit)
        except StoreConflict:
            continue
    return await door.writer.run(unit)


def report(conn: Connection, tenant: TenantId | None, covered: tuple[sa.ColumnElement[bool], ...] = ()) -> KillReport:
    """What is stopped, waiting and in flight; `covered` narrows the last two to a scope."""
    where = covered if tenant is None else (HELD.c.tenant == tenant, *covered)
    return KillReport(
        active=tuple(killswitch.view(row) for row in killswitch.active(conn, tenant)),
        pending=views.pending_count(conn, *where),
        in_flight=views.in_flight(conn, *where),
        reopened=0,
    )


def _throw(
    conn: Connection, door: Door, tenant: TenantId | None, scope: Scope, by: By, reason: str, once: Once | None
) -> int:
    killswitch.lock(conn, tenant, exclusive=True)
    if once is not None and not once(conn):
        return 0
    label = by.label or _label(scope)
    killswitch.throw(conn, tenant, scope, label, by.id, by.name, reason, door.clock())
    events = [_event(door, Kind.KILL_SWITCHED, tenant, scope, by, "stopped", {"reason": reason})]
    if tenant is None:
        door.audit.append(conn, events)
        return 0
    return _reopen_all(conn, door, tenant, scope, reason, events)


def _reopen_all(
    conn: Connection, door: Door, tenant: TenantId, scope: Scope, reason: str, events: list[Event] | None = None
) -> int:
    """Approved calls without a claim go back to pending."""
    work = Ledger(conn, door, door.clock(), list(events or ()))
    query = (
        sa.select(HELD)
        .where(
            HELD.c.tenant == tenant,
            HELD.c.status == ApprovalStatus.APPROVED.value,
            HELD.c.effect.in_([EffectState.QUEUED.value, EffectState.WAITING.value]),
            *_covered(scope),
        )
        .order_by(HELD.c.held_id)
        .with_for_update()
    )
    rows = [HeldCall(**row) for row in conn.execute(query).mappings()]
    for row in rows:
        settling.reopen(work, row, reason)
    work.commit_events()
    return len(rows)


def _covered(scope: Scope) -> tuple[sa.ColumnElement[bool], ...]:
    match scope.kind:
        case ScopeKind.ALL | ScopeKind.TENANT:
            return ()
        case ScopeKind.TOOL:
            return (HELD.c.tool == scope.value,)
        case ScopeKind.USER:
            issuer, _, sub = scope.value.partition("|")
            return (HELD.c.requester_issuer == issuer, HELD.c.requester_sub == sub)


def _tenants_with_approved(conn: Connection) -> list[TenantId]:
    query = sa.select(HELD.c.tenant).where(HELD.c.status == ApprovalStatus.APPROVED.value).distinct()
    return [TenantId(name) for name in conn.execute(query).scalars()]


async def _announce(door: Door, tenant: TenantId | None) -> None:
    """Have every pending card drawn anew: each says by whom it was stopped, since when, why."""
    tenants: Callable[[Connection], list[TenantId]] = _tenants_with_pending
    for name in [tenant] if tenant is not None else await door.writer.read(tenants):
        notice = Notice(NoticeKind.STOPS_CHANGED, name, "", 0)
        await door.writer.run(partial(door.outbox.put, notice=notice))


def _tenants_with_pending(conn: Connection) -> list[TenantId]:
    query = sa.select(HELD.c.tenant).where(HELD.c.status == ApprovalStatus.PENDING.value).distinct()
    return [TenantId(name) for name in conn.execute(query).scalars()]


def _label(scope: Scope) -> str:
    match scope.kind:
        case ScopeKind.ALL:
            return "everything"
        case ScopeKind.TENANT:
            return "everything in this organisation"
        case ScopeKind.TOOL:
            return f"tool {scope.value}"
        case ScopeKind.USER:
            return f"user {scope.value.partition('|')[2]}"


def _event(
    door: Door,
    kind: Kind,
    tenant: TenantId | None,
    scope: Scope,
    by: By,
    status: str,
    detail: dict[str, str | int],
) -> Event:
    return Event(
        kind=kind,
        tenant=tenant,
        occurred_at=door.clock(),
        status=status,
        actor_user_id=by.id,
        actor_roles=by.roles,
        tool_name=scope.value if scope.kind is ScopeKind.TOOL else None,
        detail={"scope": scope.kind.value, "value": scope.value, **detail},
    )
