"""Countersign's pages of identity over a database of the test's own, with real providers and real-enough browsers.

The providers are oidc-provider (tests/rigs): Acme's, Globex's, and one that says what Slack says of an account. The
pages run in this process; a browser reaches them without a socket and the providers over one.
"""

from __future__ import annotations

import os
import re
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import MappingProxyType
from typing import Any

import httpx2
import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Connection
from sqlmodel import SQLModel
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from audit import ddl
from audit.event import Event
from audit.store import AuditStore
from audit.writer import Writer, make_engine
from bot.identity import links, tickets
from bot.identity.discovery import Discovery
from bot.identity.idp_http import IdpHttp
from bot.identity.issuers import Issuer, Preset, slack_issuer
from bot.identity.jwks import KeySource
from bot.identity.links import Link
from bot.identity.oidc import OidcClient
from bot.identity.scim_directory import ScimDirectory
from bot.identity.tables import ScimContact, ScimResource, table
from bot.identity.telling import Telling
from bot.identity.tenants import Team, Tenant, Tenants
from bot.messages import ChatUser, SurfaceName
from bot.ports import SurfaceError
from bot.web.browser import NotOurs, static_mount
from bot.web.identity_pages import IdentityPages, identity_pages
from policy.model import Subject, TenantId
from policy.pii import redact
from tests.kit.link_browser import Browser
from tests.rigs.oidc_provider_rig import OidcProvider, client, installed, oidc_provider
from tools.credentials import Secret

ACME, GLOBEX = TenantId("acme"), TenantId("globex")
HTTPS = "https://countersign.acme.example"
HTTP = "http://127.0.0.1:8020"
SLACK, TEAMS, DEMO = SurfaceName("slack"), SurfaceName("teams"), SurfaceName("demo")
SECRET = "rig-secret"
DANA = ChatUser(SLACK, "T0ACME", "U01DANA")
ANN = ChatUser(SLACK, "T0ACME", "U03ANN")
DANA_DEMO = ChatUser(DEMO, "acme-floor", "dana")
ACCOUNTS: Mapping[str, Mapping[str, Any]] = {
    "sub-dana": {"name": "Dana Reyes", "email": "dana@acme.example", "tid": "entra-acme"},
    "sub-ann": {"name": "Ann Okafor", "email": "ann@acme.example"},
    "sub-gone": {"name": "Gus Gone", "email": "gus@acme.example"},
    "sub-unsent": {"name": "Uma Unsent", "email": "uma@acme.example"},
}
WORLD: Mapping[str, Mapping[str, Any]] = {
    "globex-dana": {"name": "Dana Reyes", "email": "dana@acme.example"},
    "U01DANA": {"https://slack.com/user_id": "U01DANA", "https://slack.com/team_id": "T0ACME"},
    "U03ANN": {"https://slack.com/user_id": "U03ANN", "https://slack.com/team_id": "T0ACME"},
    "U01DANA-elsewhere": {"https://slack.com/user_id": "U01DANA", "https://slack.com/team_id": "T0OTHER"},
}
_SLACK_CLAIMS = {"openid": ["sub", "https://slack.com/user_id", "https://slack.com/team_id"], "profile": ["name"]}


@dataclass(frozen=True, slots=True)
class Providers:
    """Acme's, and everybody else's."""

    acme: OidcProvider
    world: OidcProvider


@contextmanager
def providers(*, backchannel: str | None = None) -> Iterator[Providers]:
    """Both of them; skips, but not in CI, where oidc-provider is not installed."""
    if not installed() and os.environ.get("CI") != "true":
        pytest.skip(
            "oidc-provider: run `make test`, or `cd tests/rigs && NODE_USE_SYSTEM_CA=1 npm ci --ignore-scripts`"
        )
    bases = (HTTPS, HTTP)
    backs = ("/signin/callback", "/signin/callback/acme-idp", "/signin/callback/globex-idp")
    company = [f"{base}{back}" for base in bases for back in backs]
    more: dict[str, Any] = {"post_logout_redirect_uris": [f"{base}/signin" for base in bases]}
    if backchannel is not None:
        more |= {"backchannel_logout_uri": backchannel, "backchannel_logout_session_required": True}
        company += [backchannel.replace("/signin/backchannel", back) for back in backs]
    slack = client("slack-app", *(f"{base}/link/slack" for base in bases), secret=SECRET)
    with (
        oidc_provider(clients=[client("acme-app", *company, secret=SECRET, **more)], accounts=ACCOUNTS) as acme,
        oidc_provider(
            clients=[client("globex-app", *company, secret=SECRET), slack],
            accounts=WORLD,
            configuration={"claims": {**_SLACK_CLAIMS, "email": ["email"]}},
        ) as world,
    ):
        yield Providers(acme, world)


@dataclass
class Chats:
    """What the chats were asked to say. `down`: they take nothing."""

    told: list[tuple[ChatUser, str]] = field(default_factory=list)
    asked: list[tuple[ChatUser, str, str]] = field(default_factory=list)
    names: dict[ChatUser, str] = field(default_factory=dict)
    down: bool = False

    async def tell(self, who: ChatUser, text: str) -> None:
        self._up()
        self.told.append((who, text))

    async def ask(self, who: ChatUser, sentence: str, confirmation_id: str) -> None:
        self._up()
        self.asked.append((who, sentence, confirmation_id))

    async def name_of(self, who: ChatUser) -> str | None:
        self._up()
        return self.names.get(who)

    def to(self, who: ChatUser) -> list[str]:
        return [text for told, text in self.told if told == who]

    def _up(self) -> None:
        if self.down:
            raise SurfaceError("The chat did not answer.")


class SessionsOnly:
    """Leavers, as far as a page can see them; the real ones are tested in their own place."""

    def logged_out(
        self,
        conn: Connection,
        tenant: TenantId,
        issuer: str,
        *,
        subject: Subject | None = None,
        sid: str | None = None,
        everything: bool = True,
    ) -> list[Event]:
        from bot.identity import sessions
        from bot.identity.sessions import SessionEnd

        now = datetime.now(UTC)
        if sid is not None:
            return sessions.end_of_sid(conn, tenant, issuer, sid, SessionEnd.IDP, now)
        assert subject is not None
        return sessions.end_of_subject(conn, tenant, subject, SessionEnd.IDP, now)


@dataclass
class LinkHouse:
    """Close it: `link_house` does."""

    idps: Providers
    base_url: str
    writer: Writer
    chats: Chats
    pages: IdentityPages
    app: ASGIApp
    tenants: Tenants
    _late: list[timedelta]
    _browsers: list[Browser] = field(default_factory=list)

    def later(self, by: timedelta) -> None:
        """Time passes."""
        self._late[0] += by

    def browser(self, *, wire: bool = False, **headers: str) -> Browser:
        """`wire`: reaches Countersign over a socket too."""
        made = Browser(self.base_url, None if wire else self.app, headers)
        self._browsers.append(made)
        return made

    async def close(self) -> None:
        for one in self._browsers:
            await one.client.aclose()

    async def link(self, who: ChatUser = DANA_DEMO) -> str:
        """The path of a new link, as the chat account got it."""
        url = await self.pages.commands.invite(who)
        assert url is not None
        assert url.startswith(f"{self.base_url}/link/")
        return url.removeprefix(self.base_url)

    async def links(self) -> list[tuple[str, str, str]]:
        """(account, tenant, subject) of every link."""
        rows = await self.writer.read(
            lambda conn: [link for tenant in self.tenants.tenants for link in links.of_tenant(conn, tenant)]
        )
        return [(str(link.who), link.tenant, link.subject.sub) for link in rows]

    async def link_of(self, who: ChatUser) -> Link | None:
        tenant = self.tenants.tenant_of(who.surface, who.team)
        return None if tenant is None else await self.writer.read(lambda conn: links.of_account(conn, tenant, who))

    async def audit(self, kind: str = "identity.") -> list[tuple[str, str]]:
        """(kind, status) of every row about identity, in order."""
        rows = await self.rows(
            "SELECT kind, status FROM agent_audit_log WHERE kind LIKE :kind ORDER BY occurred_at, seq", kind=f"{kind}%"
        )
        return [(row.kind, row.status) for row in rows]

    async def refusals(self) -> list[str]:
        return [status for kind, status in await self.audit() if kind == "identity.refused"]

    async def rows(self, statement: str, **values: Any) -> list[Any]:
        return await self.writer.read(lambda conn: list(conn.execute(sa.text(statement), values)))

    async def write(self, unit: Callable[[Connection], Any]) -> None:
        await self.writer.run(unit)

    async def leaves(self, sub: str, tenant: TenantId = ACME) -> None:
        """The directory says that somebody is not active any more; nothing else happens."""
        rows = table(ScimResource)
        mine = (rows.c.tenant == tenant, rows.c.external_id == sub)
        await self.write(lambda conn: conn.execute(sa.update(rows).where(*mine).values(active=False)))

    async def rename(self, sub: str, name: str, tenant: TenantId = ACME) -> None:
        rows = table(ScimResource)
        mine = (rows.c.tenant == tenant, rows.c.external_id == sub)
        await self.write(lambda conn: conn.execute(sa.update(rows).where(*mine).values(display_name=name)))

    async def ticket(self, link: str) -> tickets.Ticket:
        found = await self.writer.read(lambda conn: tickets.by_secret(conn, link.rpartition("/")[2]))
        assert found is not None
        return found

    async def prove(self, browser: Browser, link: str, sub: str, slack: str = "") -> httpx2.Response:
        """Everything up to the confirmation page: the link, the sign-ins, as a person would."""
        answer = await browser.press(await browser.open(link))
        if slack:
            answer = await browser.log_in(answer, slack)
        return await browser.log_in(answer, sub)

    async def say_yes(self, who: ChatUser, tenant: TenantId = ACME) -> str:
        """Presses "Yes, link me" in the chat; the code it is told, or what it was told instead."""
        _, _, confirmation_id = next(asked for asked in reversed(self.chats.asked) if asked[0] == who)
        said = await self.pages.linking.confirm(tenant, who, confirmation_id, True)
        found = re.search(r"\*\*([A-Z0-9]{4}-[A-Z0-9]{4})\*\*", said)
        return found[1] if found else said


def person(
    tenant: TenantId, sub: str, name: str, email: str, *, active: bool = True, at: datetime | None = None
) -> ScimResource:
    """A SCIM user as provisioned."""
    when = at or datetime.now(UTC)
    return ScimResource(
        tenant=tenant,
        resource_id=f"id-{tenant}-{sub}",
        resource_type="User",
        external_id=sub,
        unique_name=email,
        display_name=name,
        active=active,
        email=email,
        document="{}",
        version=1,
        created_at=when,
        modified_at=when,
    )


def tenants_of(idps: Providers) -> Tenants:
    acme = Issuer("acme-idp", Preset.OIDC, idps.acme.issuer, "acme-app", Secret("ACME", SECRET))
    globex = Issuer("globex-idp", Preset.OIDC, idps.world.issuer, "globex-app", Secret("GLOBEX", SECRET))
    acme_teams = (Team(SLACK, "T0ACME"), Team(DEMO, "acme-floor"))
    globex_teams = (Team(SLACK, "T0GLOBEX"), Team(DEMO, "globex-floor"))
    week = timedelta(days=7)
    made = {
        ACME: Tenant(ACME, "Acme GmbH", acme, acme_teams, None, week),
        GLOBEX: Tenant(GLOBEX, "Globex & Sons", globex, globex_teams, None, week),
    }
    teams = {(team.surface, team.team): one.tenant for one in made.values() for team in one.teams}
    return Tenants(MappingProxyType(made), {"acme-idp": acme, "globex-idp": globex}, MappingProxyType(teams))


@asynccontextmanager
async def link_house(
    url: str,
    idps: Providers,
    *,
    base_url: str = HTTPS,
    slack: bool = False,
    tenants: Tenants | None = None,
    fresh: bool = True,
) -> AsyncIterator[LinkHouse]:
    """`slack`: Sign in with Slack is configured. `fresh` False: a second replica on a database that is there."""
    engine = make_engine(url)
    served = tenants or tenants_of(idps)
    if fresh:
        _fill(engine)
    writer, chats, late = Writer(engine), Chats(), [timedelta()]
    http = IdpHttp()
    discovery = Discovery(http)
    pages = identity_pages(
        base_url=base_url,
        writer=writer,
        audit=AuditStore(redactor=redact),
        directory=ScimDirectory(served),
        tenants=served,
        telling=Telling(chats.tell, chats.ask, chats.name_of),
        oidc=OidcClient(http, discovery),
        keys=KeySource(http, discovery),
        leavers=SessionsOnly(),
        clock=lambda: datetime.now(UTC) + late[0],
        slack=slack_issuer("slack-app", Secret("SLACK_CLIENT_SECRET", SECRET), idps.world.issuer) if slack else None,
    )
    app = Starlette(routes=[*pages.routes, *_probe(pages), static_mount()])
    house = LinkHouse(idps, base_url, writer, chats, pages, app, served, late)
    try:
        yield house
    finally:
        await house.close()
        await http.close()
        writer.close()
        engine.dispose()


def _fill(engine: sa.Engine) -> None:
    now = datetime.now(UTC)
    with engine.begin() as conn:
        SQLModel.metadata.create_all(conn)
        ddl.create_all(conn)
    with _writing(engine) as writer:

        def unit(conn: Connection) -> None:
            everybody = [
                *(person(ACME, sub, one["name"], one["email"]) for sub, one in ACCOUNTS.items() if sub != "sub-unsent"),
                person(GLOBEX, "globex-dana", "Dana Reyes", "dana@acme.example"),
            ]
            for one in everybody:
                one.active = one.external_id != "sub-gone"
                conn.execute(sa.insert(table(ScimResource)).values(**one.model_dump()))
            for tenant in (ACME, GLOBEX):
                conn.execute(sa.insert(table(ScimContact)).values(tenant=tenant, at=now))

        writer.run_blocking(unit)


@contextmanager
def _writing(engine: sa.Engine) -> Iterator[Writer]:
    writer = Writer(engine)
    try:
        yield writer
    finally:
        writer.close()


def _probe(pages: IdentityPages) -> list[Route]:
    """A page behind the sign-in, such as every page of `serve` is."""

    async def mine(request: Request) -> Response:
        who = await pages.browsers.signed_in(request)
        if who is None:
            return pages.browsers.to_signin(request)
        return JSONResponse(
            {"sub": who.subject.sub, "tenant": who.tenant, "csrf": who.csrf, "account": str(who.account)}
        )

    async def act(request: Request) -> Response:
        who = await pages.browsers.signed_in(request)
        if who is None:
            return JSONResponse({"done": False}, 401)
        try:
            await pages.browsers.form(request, who)
        except NotOurs as no:
            return JSONResponse({"done": False, "why": str(no)}, 403)
        return JSONResponse({"done": True})

    return [Route("/", mine), Route("/mine", mine), Route("/act", act, methods=["POST"])]


def database_of(folder: Path) -> str:
    return f"sqlite:///{folder / 'countersign.sqlite'}"
