"""Kills and claims that stay where a test wants them, on PostgreSQL. Knows locks and the door, asserts little."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from sqlalchemy.engine import Connection, Engine

from policy.model import Principal, RoleName, Subject, TenantId, ToolName
from tests.kit.door import DEMO, ISSUER, House, until
from tools import entering, killswitch, stops
from tools.entering import Entered
from tools.held import (
    KillReport,
    Scope,
    ScopeKind,
)
from tools.ports import People
from tools.stops import By

ADMIN = By("ada", "Ada Kim", ("admin",))
OTHER = TenantId("other")
DANA = Subject(ISSUER, "dana")
READ = ToolName("crm.read")
WAITING = "SELECT COUNT(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
HANGS = 60.0
SCOPES = {
    "everything": (None, Scope(ScopeKind.ALL)),
    "tenant": (DEMO, Scope(ScopeKind.TENANT)),
    "user": (DEMO, Scope(ScopeKind.USER, str(DANA))),
}


async def waiting(house: House, count: int) -> None:
    await until(lambda: house.rows(WAITING) == [(count,)])


@dataclass
class Locker:
    """A transaction in a thread of its own that enters, and stays until it is let go."""

    engine: Engine
    enter: Callable[[Connection], object]
    found: list[object] = field(default_factory=list)
    leave: threading.Event = field(default_factory=threading.Event)
    ended: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        threading.Thread(target=self._stay, daemon=True).start()

    def _stay(self) -> None:
        with self.engine.connect() as conn:
            self.found.append(self.enter(conn))
            self.leave.wait(HANGS)
            conn.commit()
        self.ended.set()

    async def inside(self) -> object:
        await until(lambda: bool(self.found), HANGS)
        return self.found[0]

    async def go(self) -> None:
        self.leave.set()
        await until(self.ended.is_set, HANGS)


def claims(house: House, tenant: TenantId = DEMO) -> Locker:
    who = Subject(ISSUER, "dana" if tenant == DEMO else "eve")
    return Locker(house.writer.engine, lambda conn: entering.enter(conn, tenant, [(who, READ)]))


def kills(house: House, tenant: TenantId | None = DEMO) -> Locker:
    def unit(conn: Connection) -> None:
        killswitch.lock(conn, tenant, exclusive=True)
        scope = Scope(ScopeKind.ALL if tenant is None else ScopeKind.TENANT)
        killswitch.throw(conn, tenant, scope, "all", "ada", "Ada Kim", "why", house.clock())

    return Locker(house.writer.engine, unit)


def stopped(entered: object) -> bool:
    assert isinstance(entered, Entered)
    return any(switch is not None for switch in entered.switches.values())


@dataclass
class LateKill:
    """A kill that has written everything and waits for the word to commit."""

    house: House
    name: str
    open: threading.Event = field(default_factory=threading.Event)
    inside: threading.Event = field(default_factory=threading.Event)

    async def throw(self) -> asyncio.Task[KillReport]:
        append = self.house.door.audit.append

        class Audit:
            """The last thing that a transaction does."""

            @staticmethod
            def append(conn: Connection, events: object) -> None:
                append(conn, events)  # type: ignore[arg-type]
                self.inside.set()
                assert self.open.wait(HANGS)

        door = replace(self.house.door, audit=Audit())  # type: ignore[arg-type]
        tenant, scope = SCOPES[self.name]
        task = asyncio.create_task(stops.kill(door, tenant, scope, ADMIN, "look into it", dry_run=False))
        await until(self.inside.is_set, HANGS)
        return task


@dataclass
class SlowPeople:
    """People of a replica that is held up once it has entered and read who somebody is."""

    inner: People
    of: Subject
    open: threading.Event = field(default_factory=threading.Event)
    seen: threading.Event = field(default_factory=threading.Event)

    def current(self, conn: Connection, tenant: TenantId, who: Subject) -> Principal | None:
        found = self.inner.current(conn, tenant, who)
        if who == self.of and not self.open.is_set():
            self.seen.set()
            assert self.open.wait(HANGS)
        return found

    def stale(self, conn: Connection, tenant: TenantId, who: Subject) -> str | None:
        return self.inner.stale(conn, tenant, who)

    def holders(self, conn: Connection, tenant: TenantId, roles: tuple[RoleName, ...]) -> tuple[Principal, ...]:
        return self.inner.holders(conn, tenant, roles)
