"""What the command line starts: the service, the demo, a migration, an operator's session. Wiring is `bot.core`'s.

Every failure is a sentence: `AppError`, or an error of the part that failed.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from sqlalchemy.engine import Connection, Engine

from audit.faults import StoreUnavailable, spoken
from audit.writer import make_engine
from bot import demo as demo_workspace
from bot import demo_idp as demo_idp_workspace
from bot import migrations, service, service_role
from bot.agent.routing import RoutingError
from bot.chats import NothingToServe, require_chat
from bot.checkup import Channel, DatabaseRole, Finding, Known, Level, judge_role
from bot.core import Core, open_core
from bot.demo_idp import Opened
from bot.identity.book import DirectoryBook
from bot.identity.scim_directory import ScimDirectory
from bot.keys import make_keys
from bot.local_idp import LocalIdpError
from bot.ports import Directory, PolicyOf, SurfaceError
from bot.settings import Settings, for_demo
from bot.survey import survey
from bot.web.workspace import WorkspaceBroken
from policy.model import Principal, Subject, TenantId, ToolName
from tools.gateway import Gateway
from tools.spec import ActionError, Tool

log = logging.getLogger("countersign.app")


class AppError(Exception):
    """It did not start, or stopped. `str(e)` is a sentence for people."""


class WrongUse(AppError):
    """It was asked for what cannot be. Nothing, or not all, was done."""


@dataclass(frozen=True, slots=True)
class Operator:
    """The door without a chat, a model or a running queue: what the shell works with."""

    gateway: Gateway
    directory: Directory
    book: DirectoryBook
    policy: PolicyOf
    catalog: Mapping[ToolName, Tool]
    core: Core

    async def person(self, tenant: TenantId, subject: Subject) -> Principal | None:
        """Who they are by the directory at this moment; None: gone."""
        return await self.core.writer.read(lambda conn: self.core.people.current(conn, tenant, subject))

    async def erase(
        self, tenant: TenantId, by: str, *, subject: Subject | None = None, before: datetime | None = None
    ) -> tuple[int, int]:
        """Erase raw text of a person, or everybody's before a time (invariant 11).

        Returns how many lines of transcript, and of how many requests the text.
        """
        return await self.core.retention.erase(tenant, by, subject=subject, before=before)


def serve(settings: Settings) -> None:
    """Serve the configured chats until SIGINT or SIGTERM."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    # It writes the address of every request, and in addresses of chats people and conversations are named.
    logging.getLogger("httpx2").setLevel(logging.WARNING)
    with _sentences():
        require_chat(settings)
        for warning in _require_migrated(settings):
            log.warning("%s %s %s", warning.where, warning.what, warning.mend)
        with _core(settings) as core:
            asyncio.run(service.serve(core))


def demo(settings: Settings, port: int | None, ready: Callable[[str], None]) -> None:
    """Serve the demo workspace on loopback until SIGINT or SIGTERM; `ready` is told its address."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    with _sentences():
        migrate(settings)
        with _core(settings) as core, contextlib.suppress(KeyboardInterrupt):
            asyncio.run(demo_workspace.serve_demo(core, port, ready))


def demo_idp(environ: Mapping[str, str], port: int | None, ready: Callable[[Opened], None]) -> None:
    """The demo workspace with an identity provider beside it; `ready` is told where both are."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    # The provider is new each time and so is everybody in it: nothing that was kept would be anybody's.
    with (
        _sentences(),
        tempfile.TemporaryDirectory(prefix="countersign-demo-") as home,
        demo_idp_workspace.company(port) as acme,
    ):
        here = replace(for_demo(environ, Path(home)), directory=None, base_url=acme.base_url)
        migrate(here)
        with contextlib.closing(open_core(here, acme.tenants)) as core, contextlib.suppress(KeyboardInterrupt):
            asyncio.run(demo_idp_workspace.serve(core, acme, ready))


def migrate(settings: Settings, service_login: str | None = None) -> tuple[str, ...]:
    """Bring the database up to date and make the keys that are missing; a line for what was applied.

    Args:
        service_login: on PostgreSQL, the role of the service: it is given what the service needs and no more.

    Raises:
        WrongUse: that role cannot be the service's, or was not given its rights.
    """
    settings.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    make_keys(settings.keys_dir)
    engine = make_engine(settings.database_url)
    try:
        if service_login is not None:
            service_role.vet(engine, service_login)
        with engine.connect() as conn:
            before = migrations.current(conn)
        migrations.migrate(engine)
        with engine.connect() as conn:
            after = migrations.current(conn)
        if service_login is not None:
            here = service_role.shared(settings.database_url, settings.business_url)
            service_role.grant(engine, service_login, business_here=here)
    except service_role.RoleRefused as error:
        raise WrongUse(str(error)) from error
    finally:
        engine.dispose()
    return () if before == after else (f"{before or 'empty'} -> {after}",)


@contextlib.asynccontextmanager
async def operator(settings: Settings) -> AsyncIterator[Operator]:
    """A session at the door from the shell. Works with every chat and model down."""
    with _sentences():
        _require_migrated(settings)
        with _core(settings) as core:
            yield Operator(core.gateway, core.directory, core.book, core.policy.of, core.catalog, core)


async def channel_facts(settings: Settings, destinations: tuple[str, ...]) -> tuple[Channel, ...]:
    """What the configured chats say of the channels to which cards are posted."""
    with _sentences(), _core(settings) as core:
        return await survey(core, destinations)


async def known_people(settings: Settings) -> tuple[Known, ...]:
    """What the IdPs have provisioned, of every organisation.

    Raises:
        AppError, StoreUnavailable: the database cannot be asked.
    """
    async with operator(settings) as session:
        core = session.core

        def unit(conn: Connection) -> tuple[Known, ...]:
            directory = core.directory
            return tuple(
                Known(
                    tenant,
                    directory.people(conn, tenant),
                    directory.groups_unmapped(conn, tenant, core.policy.of(tenant).roles.known_groups()),
                    directory.unsubjected(conn, tenant) if isinstance(directory, ScimDirectory) else (),
                )
                for tenant in directory.tenants()
            )

        return await core.writer.read(unit)


def database_role(settings: Settings) -> DatabaseRole | None:
    """What the login of COUNTERSIGN_DATABASE_URL may do; None on SQLite."""
    try:
        engine = make_engine(settings.database_url)
        try:
            return None if engine.dialect.name == "sqlite" else _role(settings, engine)
        finally:
            engine.dispose()
    except StoreUnavailable as error:
        return DatabaseRole("", problem=str(error))


def _role(settings: Settings, engine: Engine) -> DatabaseRole | None:
    here = service_role.shared(settings.database_url, settings.business_url)
    with spoken(), engine.connect() as conn:
        found = service_role.standing(conn, business_here=here)
    return None if found is None else DatabaseRole(found.role, excess=found.excess, lacking=found.lacking)


@contextlib.contextmanager
def _core(settings: Settings) -> Iterator[Core]:
    core = open_core(settings)
    try:
        yield core
    finally:
        core.close()


@contextlib.contextmanager
def _sentences() -> Iterator[None]:
    """Errors that are sentences already, under one name."""
    try:
        yield
    except (NothingToServe, RoutingError, SurfaceError, WorkspaceBroken, ActionError, LocalIdpError) as error:
        raise AppError(str(error)) from error


def _require_migrated(settings: Settings) -> tuple[Finding, ...]:
    """Returns what else is to be known of the database's login."""
    engine = make_engine(settings.database_url)
    try:
        with engine.connect() as conn:
            if migrations.pending(conn):
                raise AppError("The database is not up to date. Run `countersign migrate`, then start again.")
        role = _role(settings, engine)
    finally:
        engine.dispose()
    found = tuple(judge_role(role))
    for finding in found:
        if finding.level is Level.ERROR:
            raise AppError(f"The {finding.where} {finding.what} {finding.mend}")
    return found
