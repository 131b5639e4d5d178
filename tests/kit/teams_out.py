"""Our way out to Teams on a connector with bad days: token, connector, surface and rows, without anything coming in.

Waits are written down instead of waited.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlmodel import SQLModel

from audit import ddl
from audit.store import AuditStore
from audit.writer import Writer, make_engine
from bot.identity.idp_http import IdpHttp
from bot.messages import ChatUser, Room, SurfaceName, Thread
from bot.ports import Person
from bot.settings import Teams
from bot.teams import places
from bot.teams.connector import Connector
from bot.teams.deliveries import TEAMS
from bot.teams.places import Met
from bot.teams.service_urls import ServiceUrls
from bot.teams.surface import TeamsSurface
from bot.teams.tables import Kind
from bot.teams.token import AppToken
from bot.teams.wire import Wire
from policy.model import Subject, TenantId
from policy.pii import redact
from tests.rigs.slack_house import ISSUER
from tests.rigs.teams_connector import APP_ID, BOT, OTHER_TENANT, PASSWORD, TENANT, ConnectorRig, connector_rig
from tools.credentials import Secret

ACME, GLOBEX = TenantId("acme"), TenantId("globex")
TENANTS = {TENANT: ACME, OTHER_TENANT: GLOBEX}
TEAM = "19:team@thread.tacv2"
FINANCE = "19:finance@thread.tacv2"
GROUP = "19:group@thread.v2"
DANA, ANN = "aaaaaaaa-0000-4000-8000-000000000001", "aaaaaaaa-0000-4000-8000-000000000002"
NAMES = {DANA: "Dana Reyes", ANN: "Ann Okafor"}
ACCOUNTS = {DANA: "29:dana", ANN: "29:ann"}


def person(user: str, team: str = TENANT) -> ChatUser:
    return ChatUser(TEAMS, team, user)


def own(user: str) -> str:
    return f"a:own-{NAMES[user].split()[0].lower()}"


def dm(user: str = DANA, team: str = TENANT) -> Thread:
    return Thread(TEAMS, team, own(user), own(user), Room.DM)


def channel(root: str = "1700000000001", team: str = TENANT) -> Thread:
    return Thread(TEAMS, team, FINANCE, root, Room.CHANNEL)


def member(user: str, **more: str) -> dict[str, Any]:
    """As the roster tells of somebody."""
    told = {"id": ACCOUNTS[user], "aadObjectId": user, "name": NAMES[user], "tenantId": TENANT, "userRole": "user"}
    return told | {"userPrincipalName": f"{ACCOUNTS[user].removeprefix('29:')}@acme.test"} | more


class Book:
    """The subject of everybody is their directory object."""

    async def by_account(self, who: ChatUser) -> Person | None:
        return await self.by_subject(TENANTS[who.team], Subject(ISSUER, who.user))

    async def by_subject(self, tenant: TenantId, subject: Subject) -> Person | None:
        if subject.sub not in NAMES:
            return None
        accounts = tuple(person(subject.sub, team) for team, whose in TENANTS.items() if whose == tenant)
        return Person(tenant, subject, NAMES[subject.sub], None, True, (), None, accounts)

    async def people(self, tenant: TenantId) -> tuple[Person, ...]:
        return ()

    def tenant_of(self, surface: SurfaceName, team: str) -> TenantId | None:
        return TENANTS.get(team) if surface == TEAMS else None


@dataclass
class Time:
    """Monotonic seconds that pass when somebody waits."""

    now: float = 1_000.0
    waits: list[float] = field(default_factory=list)

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.now += seconds


@dataclass
class Out:
    rig: ConnectorRig
    surface: TeamsSurface
    writer: Writer
    time: Time

    async def meet(
        self,
        conversation: str,
        kind: Kind,
        *,
        user: str | None = None,
        name: str | None = None,
        team: str = TENANT,
        teams_team: str | None = None,
        service_url: str | None = None,
    ) -> None:
        """As an activity from there would tell."""
        account = ACCOUNTS[user] if user is not None else None
        met = Met(
            team, conversation, kind, service_url or self.rig.service_url, BOT, datetime.now(UTC), name, teams_team,
            user, account,
        )  # fmt: skip
        await self.writer.run(lambda conn: places.remember(conn, TENANTS[team], met))

    async def settle(self, *users: str) -> None:
        """The bot is in a team of two channels, a group chat, and in a chat with each of `users`."""
        await self.meet(TEAM, Kind.CHANNEL, name="General", teams_team=TEAM)
        await self.meet(FINANCE, Kind.CHANNEL, name="finance-approvals", teams_team=TEAM)
        await self.meet(GROUP, Kind.GROUP, name="Office")
        listed = [{"id": TEAM}, {"id": FINANCE, "name": "finance-approvals"}]
        self.rig.channels[TEAM] = listed
        self.rig.team_names[TEAM] = "Acme"
        for user in users:
            await self.meet(own(user), Kind.PERSONAL, user=user)
            self.rig.members[ACCOUNTS[user]] = member(user)

    async def rows(self, query: str) -> list[Mapping[str, Any]]:
        return await self.writer.read(lambda conn: [dict(row) for row in conn.execute(sa.text(query)).mappings()])


@contextlib.asynccontextmanager
async def teams_out(folder: Path, *, timeout_s: float = 5.0) -> AsyncIterator[Out]:
    engine = make_engine(f"sqlite:///{folder / 'out.sqlite'}")
    SQLModel.metadata.create_all(engine)
    with engine.begin() as conn:
        ddl.create_all(conn)
    writer, http, time = Writer(engine), IdpHttp(), Time()
    try:
        async with connector_rig() as rig:
            secret = Secret("TEAMS_APP_PASSWORD", PASSWORD)
            settings = Teams(APP_ID, secret, TENANT, None, rig.base, (rig.service_url,))
            wire = Wire(AppToken(http, settings), ServiceUrls((rig.service_url,)).allow, timeout_s=timeout_s)
            connector = Connector(wire, clock=time, sleep=time.sleep, jitter=lambda: 1.0)
            surface = TeamsSurface(
                connector, writer, Book(), lambda: datetime.now(UTC), app_id=APP_ID, audit=AuditStore(redact),
                stream_every_s=0.0,
            )  # fmt: skip
            yield Out(rig, surface, writer, time)
            await surface.close()
    finally:
        await http.close()
        writer.close()
        engine.dispose()
