"""Wires what decides, and the service around it; with `bot.app` the only place that names concrete adapters.

`Core` is what the shell needs too (no chat, no model, no queue running); `Running` adds the service. Decides nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import threading
import uuid
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from types import MappingProxyType

from sqlalchemy.engine import Connection, Engine

from audit.checkpoint import Checkpointer, CheckpointError
from audit.event import Event, Kind
from audit.faults import StoreUnavailable
from audit.store import AuditStore
from audit.writer import Writer, make_engine
from bot import providers
from bot.agent.routing import Router, Routes
from bot.agent.spans import NoTrace
from bot.durable import Durable
from bot.identity import scim_refusals, sessions
from bot.identity.book import DirectoryBook
from bot.identity.directory import DirectoryError, DirectoryFile, OnReload
from bot.identity.elsewhere import Elsewhere, elsewhere
from bot.identity.freshness import stale
from bot.identity.keyring import KeyRing
from bot.identity.leavers import Leavers
from bot.identity.people import Aged, DirectoryPeople
from bot.identity.resolve import Resolver
from bot.identity.scim_directory import ScimDirectory
from bot.identity.sweep import forget
from bot.identity.tenants import Tenants, read_tenants
from bot.identity.tokens import ISSUER, CallTokens
from bot.identity.wrapping import wrapping_of
from bot.keys import Keys, open_keys
from bot.messages import SurfaceName
from bot.parts import Parts
from bot.policy_files import PolicyFiles
from bot.ports import ChatSurface, Directory, Person
from bot.retention import Retention
from bot.settings import Settings
from bot.turn import Turn
from policy.model import TenantId
from policy.pii import redact
from policy.rules import Policy, PolicyError
from tools.business import Business, open_business
from tools.catalog import Catalog, catalog
from tools.door import Door
from tools.gateway import Gateway
from tools.seed import seed

log = logging.getLogger("countersign.app")

CHECKPOINT_S = 60.0
SWEEP_S = 60.0
NONE_BUT_A_FILE = Tenants(MappingProxyType({}), MappingProxyType({}), MappingProxyType({}))
"""The demo's organisations stand in its directory file."""
BUSY_MS = 8_000
"""How long a write waits for another program's lock on SQLite. Ours hold it for milliseconds; what is handed in while
one write waits is told after a second wait, and people should hear of it while they still look."""


def utc_now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class Core:
    """Everything that decides, without anybody to talk to."""

    settings: Settings
    engine: Engine
    writer: Writer
    audit: AuditStore
    policy: PolicyFiles
    tenants: Tenants
    directory: Directory
    keys: Keys = field(repr=False)
    ring: KeyRing = field(repr=False)
    business: Business
    catalog: Catalog
    durable: Durable
    tokens: CallTokens = field(repr=False)
    people: DirectoryPeople
    gateway: Gateway
    elsewhere: Elsewhere | None
    """Where APIs are called in people's own name."""
    tracing: NoTrace | providers.Observing

    @property
    def leavers(self) -> Leavers:
        return Leavers(self.gateway, self.directory, self.policy.of, utc_now)

    @property
    def book(self) -> DirectoryBook:
        return DirectoryBook(self.writer, self.directory)

    @property
    def retention(self) -> Retention:
        return Retention(self.writer, self.audit, utc_now)

    def close(self) -> None:
        """Finish what was handed in, then let the databases go."""
        self.tracing.close()
        self.writer.close()
        self.engine.dispose()
        self.business.close()

    async def note(self, kind: Kind, status: str, **detail: str) -> None:
        """An audit row about the service itself. A failure is logged: the service says it elsewhere too."""
        event = Event(kind=kind, tenant=None, occurred_at=utc_now(), status=status, detail=dict(detail) or None)
        try:
            await self.gateway.record([event])
        except StoreUnavailable as error:
            log.error("%s could not be recorded: %s", kind.value, error)


@dataclass(frozen=True, slots=True)
class Running:
    """The service at work: `turn` implements `bot.ports.Service`."""

    core: Core
    turn: Turn
    surfaces: dict[SurfaceName, ChatSurface]
    router: Router | Routes


def open_core(settings: Settings, tenants: Tenants | None = None) -> Core:
    """Policy, directory, keys and databases as `settings` state them. Fails closed, with sentences (invariant 13).

    `tenants`: in place of those of the settings' file; a demo's, which no file may name.

    Raises:
        PolicyError, TenantsError, DirectoryError, KeysError, StoreUnavailable, ValueError: what is wrong, and the mend.
    """
    keys = open_keys(settings.keys_dir)
    reloads = _Reloads()
    if tenants is None:
        tenants = read_tenants(settings.tenants, os.environ) if settings.directory is None else NONE_BUT_A_FILE
    policy = PolicyFiles(settings.policy_dir, reloads.policy, tenants.policies())
    directory = people_of(settings.directory, tenants, reloads.directory)
    engine = make_engine(settings.database_url, busy_timeout_ms=BUSY_MS)
    writer = Writer(engine)
    business = open_business(settings.business_url)
    audit = AuditStore(redact)
    replica = uuid.uuid4().hex
    durable = Durable(engine, writer, replica_id=replica, clock=utc_now)
    ring = KeyRing(settings.keys_dir)
    tokens = CallTokens(ring, issuer=settings.base_url or ISSUER)
    people = DirectoryPeople(directory, policy.of, settings.person_key, aging(tenants, settings.base_url))
    observer = providers.tracing(settings)
    tools = catalog(providers.tool_settings(settings), business)
    away = elsewhere(
        tenants,
        tokens,
        writer,
        audit,
        wrapping_of(settings),
        utc_now,
        base_url=settings.base_url,
    )
    gateway = Gateway(
        Door(
            writer=writer,
            audit=audit,
            policy=policy.of,
            catalog=tools,
            outbox=durable,
            resume=durable,
            tokens=tokens,
            people=people,
            observer=observer,
            mac=keys.mac,
            clock=utc_now,
            executor=replica,
            user_tokens=None if away is None else away.users,
        )
    )
    core = Core(
        settings=settings,
        engine=engine,
        writer=writer,
        audit=audit,
        policy=policy,
        tenants=tenants,
        directory=directory,
        keys=keys,
        ring=ring,
        business=business,
        catalog=tools,
        durable=durable,
        tokens=tokens,
        people=people,
        gateway=gateway,
        elsewhere=away,
        tracing=observer,
    )
    reloads.core = core
    return core


def aging(tenants: Tenants, base_url: str | None) -> Aged:
    """Why what is known of a person is too old to be acted on, by their organisation's limit; None: it is not."""

    def aged(person: Person) -> str | None:
        tenant = tenants.get(person.tenant)
        return None if tenant is None else stale(person, tenant, utc_now(), base_url or "this service's address")

    return aged


def people_of(file: Path | None, tenants: Tenants, on_reload: OnReload) -> Directory:
    """Who is who: a file in the demo; elsewhere what the IdPs provision, and nothing else."""
    return DirectoryFile(file, on_reload) if file is not None else ScimDirectory(tenants)


Surfaces = Callable[[Core], Iterable[ChatSurface]]


@contextlib.asynccontextmanager
async def running(
    core: Core,
    surfaces: Surfaces,
    router: Router | None = None,
    complete: Callable[[Parts], Parts] = lambda parts: parts,
) -> AsyncIterator[Running]:
    """The service with `surfaces`, from the first segment taken to the last checkpoint written.

    `complete` adds what answers to people who are not linked yet, where accounts are linked.
    """
    routes = router or Routes(lambda: core.policy.current().models, providers.adapters(core.settings))
    by_name = {surface.name: surface for surface in surfaces(core)}
    turn = Turn(complete(parts_of(core, routes, by_name)))
    loop = asyncio.get_running_loop()
    core.policy.reload_on_sighup(loop)
    checkpoints = Checkpointer(core.settings.checkpoints, core.keys.checkpoint)
    await core.note(Kind.SERVICE_STARTED, "started", policy=core.policy.current().version)
    await core.durable.launch(turn.segments)
    timers = (
        asyncio.create_task(_sweep_every(core), name="countersign-sweep"),
        asyncio.create_task(_checkpoint_every(core, checkpoints), name="countersign-checkpoints"),
        asyncio.create_task(
            core.retention.keep(core.settings.retention_days, core.directory.tenants), name="countersign-retention"
        ),
    )
    try:
        yield Running(core, turn, by_name, routes)
    finally:
        for timer in timers:
            timer.cancel()
        await asyncio.gather(*timers, return_exceptions=True)
        await core.durable.stop()
        if core.elsewhere is not None:
            await core.elsewhere.close()
        await core.note(Kind.SERVICE_STOPPED, "stopped")
        await _checkpoint(core, checkpoints)


def parts_of(core: Core, router: Router | Routes, surfaces: Mapping[SurfaceName, ChatSurface]) -> Parts:
    return Parts(
        writer=core.writer,
        audit=core.audit,
        gateway=core.gateway,
        durable=core.durable,
        policy=core.policy.of,
        directory=core.directory,
        resolver=Resolver(
            core.book, core.policy.of, core.settings.person_key, aging(core.tenants, core.settings.base_url)
        ),
        people=core.people,
        tokens=core.tokens,
        catalog=core.catalog,
        models=router.model,
        price=router.price,
        tracing=core.tracing,
        surfaces=surfaces,
        clock=utc_now,
        leavers=core.leavers,
    )


def seed_demo(core: Core) -> None:
    """The demo's customers and orders, once."""
    for tenant in core.directory.tenants():
        seed(core.business, tenant, utc_now())


# -- timers and reloads --------------------------------------------------------------------------------------------


async def _sweep_every(core: Core) -> None:
    """Tells floods of refused SCIM requests, ends sessions that are over, forgets sign-ins that long are."""
    while True:
        try:
            await core.writer.run(lambda conn: forget(conn, utc_now()))
            for chain in await core.writer.read(scim_refusals.flood_chains):
                await core.writer.run(partial(_tell_flood, core=core, chain=chain))
            for tenant in core.tenants.tenants:
                await core.writer.run(partial(_end_overdue, core=core, tenant=tenant))
        except Exception as error:  # noqa: BLE001 - the next minute tries again; without a word nobody would know
            log.error("old sign-ins were not swept: %s", type(error).__name__)
        await asyncio.sleep(SWEEP_S)


def _tell_flood(conn: Connection, core: Core, chain: str) -> None:
    now = utc_now()
    core.audit.append(conn, scim_refusals.floods(conn, chain, now.replace(second=0, microsecond=0), now))


def _end_overdue(conn: Connection, core: Core, tenant: TenantId) -> None:
    core.audit.append(conn, sessions.end_overdue(conn, tenant, utc_now()))


async def _checkpoint_every(core: Core, checkpoints: Checkpointer) -> None:
    while True:
        await _checkpoint(core, checkpoints)
        await asyncio.sleep(CHECKPOINT_S)


async def _checkpoint(core: Core, checkpoints: Checkpointer) -> None:
    try:
        await core.writer.read(checkpoints.write)
    except (CheckpointError, StoreUnavailable) as error:
        log.error("no checkpoint was written: %s", error)
    except Exception as error:  # noqa: BLE001 - the next minute tries again; without a word nobody would know
        log.error("no checkpoint was written: %s", type(error).__name__)


class _Reloads:
    """Writes down every reload of policy and directory, and why one was rejected."""

    core: Core | None = None

    def policy(self, told: Policy | PolicyError) -> None:
        if isinstance(told, PolicyError):
            log.error("The policy was not reloaded; the one before it still holds.\n%s", told)
            self._note(Kind.POLICY_REJECTED, "rejected", what="policy", problems=str(told)[:2000])
        else:
            log.info("policy reloaded: %s", told.version)
            self._note(Kind.POLICY_RELOADED, "reloaded", what="policy", version=told.version)
            for tenant, version in self.core.policy.changed.items() if self.core is not None else ():
                self._note(Kind.POLICY_RELOADED, "reloaded", tenant, what="policy", version=version)

    def directory(self, told: DirectoryError | None) -> None:
        if told is None:
            self._note(Kind.POLICY_RELOADED, "reloaded", what="directory")
        else:
            log.error("The directory was not reloaded; the people before it still hold.\n%s", told)
            self._note(Kind.POLICY_REJECTED, "rejected", what="directory", problems=str(told)[:2000])

    def _note(self, kind: Kind, status: str, tenant: TenantId | None = None, **detail: str) -> None:
        """From any thread: the row is written in the background, the reload itself has happened."""
        core = self.core
        if core is None:
            return
        event = Event(kind=kind, tenant=tenant, occurred_at=utc_now(), status=status, detail=dict(detail))
        # A directory is re-read in the middle of a decision, on the writer's own thread: never wait for it there.
        threading.Thread(target=self._write, args=(core, event), name="countersign-note", daemon=True).start()

    def _write(self, core: Core, event: Event) -> None:
        try:
            core.writer.run_blocking(lambda conn: core.audit.append(conn, [event]))
        except StoreUnavailable as error:
            log.error("%s could not be recorded: %s", event.kind.value, error)
