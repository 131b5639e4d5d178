"""Our Teams adapter on a running playground, with a recording `Service` above it. For tests of the adapter alone.

All of it is there but the service: the gate with the production token check, activities, surface, connector, rows.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import uvicorn
from sqlmodel import SQLModel
from starlette.applications import Starlette

from audit import ddl
from audit.store import AuditStore
from audit.writer import Writer, make_engine
from bot.core import utc_now
from bot.identity.idp_http import IdpHttp
from bot.messages import ChatUser, SurfaceName
from bot.ports import Person
from bot.settings import Teams
from bot.teams.activities import TeamsActivities
from bot.teams.connector import Connector
from bot.teams.deliveries import TEAMS
from bot.teams.endpoint import Endpoint
from bot.teams.service_urls import ServiceUrls
from bot.teams.surface import TeamsSurface
from bot.teams.token import AppToken
from bot.teams.verify import ConnectorTokens
from bot.teams.whereabouts import Whereabouts
from bot.teams.wire import Wire
from policy.model import Subject, TenantId
from policy.pii import redact
from tests.rigs.slack_house import ISSUER, RecordingService
from tests.rigs.teams_playground import PEOPLE, Member, Playground, Rig, teams
from tests.rigs.teams_wire import APP_ID, APP_PASSWORD, TENANT
from tools.credentials import Secret

DEMO = TenantId("demo")


def account(member: Member) -> ChatUser:
    return ChatUser(TEAMS, TENANT, member.oid)


class People:
    """A `bot.ports.Book` of the playground's people; the subject is the directory's object id."""

    async def by_account(self, who: ChatUser) -> Person | None:
        return await self.by_subject(DEMO, Subject(ISSUER, who.user)) if who.team == TENANT else None

    async def by_subject(self, tenant: TenantId, subject: Subject) -> Person | None:
        for member in PEOPLE:
            if member.oid == subject.sub:
                return Person(tenant, subject, member.name, None, True, (), None, (account(member),))
        return None

    async def people(self, tenant: TenantId) -> tuple[Person, ...]:
        found = [await self.by_subject(tenant, Subject(ISSUER, member.oid)) for member in PEOPLE]
        return tuple(one for one in found if one is not None)

    def tenant_of(self, surface: SurfaceName, team: str) -> TenantId | None:
        return DEMO if (surface, team) == (TEAMS, TENANT) else None


@dataclass
class House:
    rig: Rig
    service: RecordingService
    surface: TeamsSurface
    writer: Writer


@contextlib.asynccontextmanager
async def teams_house(process: Playground, folder: Path, *, installed: tuple[Member, ...]) -> AsyncIterator[House]:
    """`installed`: who has the app in a chat of their own; it is in the team and the group chat besides."""
    engine = make_engine(f"sqlite:///{folder / 'teams.sqlite'}")
    SQLModel.metadata.create_all(engine)
    with engine.begin() as conn:
        ddl.create_all(conn)
    writer, people, http = Writer(engine), People(), IdpHttp()
    listening = socket.create_server(("127.0.0.1", 0))
    try:
        async with teams(process) as rig:
            wire = rig.wire
            wire.bot = f"http://127.0.0.1:{listening.getsockname()[1]}/api/messages"
            urls = ServiceUrls((wire.service_url,))
            secret = Secret("TEAMS_APP_PASSWORD", APP_PASSWORD)
            settings = Teams(APP_ID, secret, TENANT, wire.metadata_url, wire.base, (wire.service_url,))
            connector = Connector(Wire(AppToken(http, settings), urls.allow))
            surface = TeamsSurface(connector, writer, people, utc_now, app_id=APP_ID)
            service = RecordingService()

            def tenant_of(team: str) -> TenantId | None:
                return people.tenant_of(TEAMS, team)

            whereabouts = Whereabouts(writer, AuditStore(redact), tenant_of, utc_now)
            activities = TeamsActivities(service, surface, whereabouts)
            tokens = ConnectorTokens(APP_ID, http, urls, metadata_url=wire.metadata_url)
            endpoint = Endpoint(tokens, tenant_of, surface.standing_at, service.on_turned_away, activities.deliver)
            async with _listening(endpoint, listening):
                await rig.install(*installed)
                await activities.close()  # the welcomes stand: none of them comes between what a test posts
                yield House(rig, service, surface, writer)
                await activities.close()
            await surface.close()
    finally:
        listening.close()
        await http.close()
        writer.close()
        engine.dispose()


@contextlib.asynccontextmanager
async def _listening(endpoint: Endpoint, at: socket.socket) -> AsyncIterator[None]:
    config = uvicorn.Config(Starlette(routes=endpoint.routes()), log_level="warning", lifespan="off", ws="none")
    server = uvicorn.Server(config)
    server.install_signal_handlers = lambda: None  # type: ignore[attr-defined,method-assign]
    serving = asyncio.create_task(server.serve(sockets=[at]))
    try:
        yield
    finally:
        server.should_exit = True
        await serving
