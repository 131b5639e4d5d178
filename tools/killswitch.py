"""The kill-switch: who stopped what, since when, why (invariant 8).

Rows, so that it needs no model and no chat and holds for every replica. A claim holds the kill locks shared until its
transaction ends; a kill takes one of them exclusively before it writes: after the kill has committed nothing new is
claimed. What the locks make final is read by a later statement than the one that takes them (`audit.trip`).

On PostgreSQL two advisory locks, the deployment's and then the tenant's; their queue is fair, so a kill waits for
those that are claiming and for nobody who comes after it. A tenant's kill shares the deployment's lock, a kill of
everything takes that alone and so has every tenant's claims behind it. Their place in the order of all locks:
`turnstile`. On SQLite the write transaction is the lock.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Connection
from sqlmodel import Field, SQLModel

from audit.trip import Prepared, Row, Step, take
from audit.types import UtcDateTime
from policy.model import Subject, TenantId, ToolName
from tools import turnstile
from tools.approvals import table
from tools.held import KillView, Scope, ScopeKind
from tools.turnstile import Lock

EVERYWHERE = "*"
"""The tenant of a switch that stops the whole deployment."""


class Switch(SQLModel, table=True):
    """One kill. Resumed rows stay: a call approved before a kill never runs after it by itself."""

    __tablename__ = "kill_switch"

    switch_id: str = Field(primary_key=True)
    tenant: str = Field(index=True)
    number: int
    """Counts the switches of this tenant: order without a clock, for replicas whose clocks differ."""
    kind: str
    value: str
    label: str
    by_id: str
    by_name: str
    since: datetime = Field(sa_type=UtcDateTime)
    reason: str
    active: bool = True
    resumed_by: str | None = None
    resumed_at: datetime | None = Field(default=None, sa_type=UtcDateTime)


class SwitchLock(SQLModel, table=True):
    """How many switches a tenant, or the deployment, ever threw. No row: none."""

    __tablename__ = "kill_lock"

    tenant: str = Field(primary_key=True)
    thrown: int = 0


SWITCH = table(Switch)
LOCK = table(SwitchLock)


def _thrown(whose: sa.BindParameter[str]) -> sa.ScalarSelect[int]:
    return sa.select(LOCK.c.thrown).where(LOCK.c.tenant == whose).scalar_subquery()


# Every claim and every call asks these: built once, because building them cost more than running them.
_THROWN = Prepared(
    sa.select(
        sa.func.coalesce(_thrown(sa.bindparam("everywhere")), 0).label("everywhere"),
        sa.func.coalesce(_thrown(sa.bindparam("tenant_id")), 0).label("tenant"),
    )
)
_COVERS = (
    sa.select(SWITCH)
    .where(
        sa.or_(SWITCH.c.tenant == sa.bindparam("everywhere"), SWITCH.c.tenant == sa.bindparam("tenant_id")),
        sa.or_(
            SWITCH.c.kind == ScopeKind.ALL.value,
            SWITCH.c.kind == ScopeKind.TENANT.value,
            sa.and_(SWITCH.c.kind == ScopeKind.TOOL.value, SWITCH.c.value == sa.bindparam("tool")),
            sa.and_(SWITCH.c.kind == ScopeKind.USER.value, SWITCH.c.value == sa.bindparam("user_id")),
        ),
    )
    .order_by(SWITCH.c.since)
    .limit(1)
)
_COVERING = Prepared(_COVERS.where(SWITCH.c.active.is_(True)))
_THROWN_SINCE = Prepared(
    _COVERS.where(
        sa.or_(
            sa.and_(SWITCH.c.tenant == EVERYWHERE, SWITCH.c.number > sa.bindparam("seen_everywhere")),
            sa.and_(SWITCH.c.tenant == sa.bindparam("tenant_id"), SWITCH.c.number > sa.bindparam("seen_tenant")),
        )
    )
)


@dataclass(frozen=True, slots=True)
class Target:
    """What a call is, as far as a switch can cover it."""

    tenant: TenantId
    tool: ToolName | None
    user: Subject | None


@dataclass(frozen=True, slots=True)
class Generation:
    """How many switches had been thrown, for everybody and for one tenant, when something was approved."""

    everywhere: int
    tenant: int


def lock(conn: Connection, tenant: TenantId | None, *, exclusive: bool = False) -> Generation:
    """Take the kill locks of the deployment and of `tenant`, always in this order, and read what they protect.

    Shared by claims and decisions, exclusive by kills and resumes; None is the deployment alone.
    """
    return under(conn, tenant, locks(tenant, exclusive=exclusive))


def locks(tenant: TenantId | None, *, exclusive: bool = False) -> list[Lock]:
    """What `lock` takes, for a transaction that takes more at once."""
    names = (EVERYWHERE,) if tenant is None else (EVERYWHERE, tenant)
    return [Lock(f"{name}|kill", alone=exclusive and name == names[-1]) for name in names]


def under(conn: Connection, tenant: TenantId | None, taken: Sequence[Lock]) -> Generation:
    """Take `taken`, in this order, the kill locks among them, and read what these protect."""
    thrown = Step(_THROWN, {"everywhere": EVERYWHERE, "tenant_id": tenant})
    (row,) = take(conn, [*turnstile.steps(conn, taken), thrown])[-1]
    return Generation(row["everywhere"], row["tenant"])


def covering(conn: Connection, target: Target) -> Switch | None:
    """The switch that stops `target` now, the oldest first; None: it may go on."""
    return covered(take(conn, [covering_step(target)])[0])


def covering_step(target: Target) -> Step:
    """`covering`, for a trip that goes on."""
    return Step(_COVERING, _values(target))


def covered(found: Sequence[Row]) -> Switch | None:
    """What `covering_step` read."""
    return Switch(**found[0]) if found else None


def thrown_since(conn: Connection, target: Target, seen: Generation) -> Switch | None:
    """A switch, on or lifted again, that was thrown after `seen` and covers `target`."""
    seen_values = {"seen_everywhere": seen.everywhere, "seen_tenant": seen.tenant}
    return covered(take(conn, [Step(_THROWN_SINCE, {**_values(target), **seen_values})])[0])


def active(conn: Connection, tenant: TenantId | None) -> list[Switch]:
    """The switches that are on for `tenant`, the deployment's included; None: those of everybody."""
    query = sa.select(SWITCH).where(SWITCH.c.active.is_(True)).order_by(SWITCH.c.since)
    if tenant is not None:
        query = query.where(SWITCH.c.tenant.in_([EVERYWHERE, tenant]))
    return [Switch(**row) for row in conn.execute(query).mappings()]


def throw(
    conn: Connection,
    tenant: TenantId | None,
    scope: Scope,
    label: str,
    by_id: str,
    by_name: str,
    reason: str,
    now: datetime,
) -> Switch:
    """Stop `scope`. The caller holds `lock(exclusive=True)`. Thrown twice: both rows stay, resume lifts both."""
    whose = owner(tenant, scope)
    dialect = sqlite if conn.dialect.name == "sqlite" else postgresql
    first = dialect.insert(LOCK).values(tenant=whose, thrown=1)
    counted = first.on_conflict_do_update(index_elements=["tenant"], set_={"thrown": LOCK.c.thrown + 1})
    number = conn.execute(counted.returning(LOCK.c.thrown)).scalar_one()
    row = Switch(
        switch_id=uuid.uuid4().hex,
        tenant=whose,
        number=number,
        kind=scope.kind.value,
        value=scope.value,
        label=label,
        by_id=by_id,
        by_name=by_name,
        since=now,
        reason=reason,
    )
    conn.execute(sa.insert(SWITCH).values(**row.model_dump()))
    return row


def lift(conn: Connection, tenant: TenantId | None, scope: Scope, by: str, now: datetime) -> int:
    """Resume `scope`; returns how many switches were lifted."""
    done = conn.execute(
        sa.update(SWITCH)
        .where(
            SWITCH.c.active.is_(True),
            SWITCH.c.tenant == owner(tenant, scope),
            SWITCH.c.kind == scope.kind.value,
            SWITCH.c.value == scope.value,
        )
        .values(active=False, resumed_by=by, resumed_at=now)
    )
    return done.rowcount


def owner(tenant: TenantId | None, scope: Scope) -> str:
    """Whose row a switch is. Only the deployment's operator (no tenant) stops everybody."""
    if scope.kind is ScopeKind.ALL and tenant is None:
        return EVERYWHERE
    if tenant is None:
        raise ValueError("Only the scope `all` can be thrown for every tenant; name a tenant.")
    return tenant


def view(row: Switch) -> KillView:
    return KillView(scope=row.label, by=row.by_name, since=row.since, reason=row.reason)


def stopped_sentence(row: Switch | KillView) -> str:
    """For cards and threads: by whom, since when, why."""
    by = row.by_name if isinstance(row, Switch) else row.by
    scope = row.label if isinstance(row, Switch) else row.scope
    at = f"{row.since.day} {row.since:%b %H:%M} UTC"
    return f"Stopped ({scope}) by {by} since {at}: {row.reason.rstrip('.')}"


def _values(target: Target) -> dict[str, object]:
    user = "" if target.user is None else str(target.user)
    return {"everywhere": EVERYWHERE, "tenant_id": target.tenant, "tool": target.tool or "", "user_id": user}
