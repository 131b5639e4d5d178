"""Signing in to the page lets an API be called in one's own name later: sealed, and only where one is set up."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType

import pytest
from starlette.applications import Starlette

from audit.store import AuditStore
from bot.identity.discovery import Discovery
from bot.identity.downstream import Client, Downstream, DownstreamKind, SubjectToken
from bot.identity.grants import Grants, NoGrant
from bot.identity.idp_http import IdpHttp
from bot.identity.jwks import KeySource
from bot.identity.oidc import OidcClient, Refreshed
from bot.identity.scim_directory import ScimDirectory
from bot.identity.sealing import Sealer, open_or_make
from bot.identity.telling import Telling
from bot.identity.tenants import Tenants
from bot.web import oidc_leg
from bot.web.browser import static_mount
from bot.web.identity_pages import identity_pages
from policy.model import Subject, ToolName
from policy.pii import redact
from tests.kit.link_house import (
    ACME,
    HTTPS,
    LinkHouse,
    Providers,
    SessionsOnly,
    database_of,
    link_house,
    providers,
    tenants_of,
)


@pytest.fixture(scope="module")
def idps() -> Iterator[Providers]:
    with providers() as running:
        yield running


@dataclass
class Kept:
    house: LinkHouse
    grants: Grants
    oidc: OidcClient

    async def sign_in(self, sub: str = "sub-dana") -> str:
        browser = self.house.browser()
        page = await browser.open("/signin?tenant=acme")
        page = await browser.press(page, {"organisation": "acme"})
        page = await browser.log_in(page, sub)
        return (await browser.open("/mine")).url.path

    async def rows(self) -> list[tuple[str, str, str]]:
        found = await self.house.rows("SELECT tenant, sub, sealed FROM sealed_grant")
        return [tuple(row) for row in found]

    async def use(self, sub: str = "sub-dana") -> str:
        tenant = self.house.tenants.tenants[ACME]

        async def ask(token: str) -> Refreshed:
            return await self.oidc.refresh(tenant.issuer, token)

        return (await self.grants.use(ACME, Subject(tenant.issuer.issuer, sub), ask)).access_token


@asynccontextmanager
async def kept(folder: Path, idps: Providers, subject: SubjectToken | None) -> AsyncIterator[Kept]:
    """Acme has an API that is called with `subject`; None: it has none."""
    served = with_api(tenants_of(idps), idps, subject)
    async with link_house(database_of(folder), idps, tenants=served) as house:
        http = IdpHttp()
        discovery = Discovery(http)
        oidc, clock = OidcClient(http, discovery), lambda: datetime.now(UTC)
        grants = Grants(house.writer, AuditStore(redact), Sealer(open_or_make(folder)), clock)
        pages = identity_pages(
            base_url=HTTPS,
            writer=house.writer,
            audit=AuditStore(redact),
            directory=ScimDirectory(served),
            tenants=served,
            telling=Telling(house.chats.tell, house.chats.ask, house.chats.name_of),
            oidc=oidc,
            keys=KeySource(http, discovery),
            leavers=SessionsOnly(),
            clock=clock,
            grants=grants,
        )
        assert isinstance(house.app, Starlette)
        probe = [route for route in house.app.routes if getattr(route, "path", "") in ("/mine", "/")]
        house.pages, house.app = pages, Starlette(routes=[*pages.routes, *probe, static_mount()])
        try:
            yield Kept(house, grants, oidc)
        finally:
            await http.close()


def with_api(tenants: Tenants, idps: Providers, subject: SubjectToken | None) -> Tenants:
    acme = tenants.tenants[ACME]
    issuer = replace(acme.issuer, scopes=("openid", "profile", "email", "offline_access"))
    apis: dict[str, Downstream] = {}
    if subject is not None:
        client, tools = Client(f"{idps.acme.issuer}/token", "acme-app"), {ToolName("refund.issue"): ("orders.refund",)}
        apis["orders"] = Downstream("orders", DownstreamKind.RFC8693, client, "https://orders.example", tools, subject)
    changed = replace(acme, issuer=issuer, downstreams=MappingProxyType(apis))
    return replace(tenants, tenants=MappingProxyType({**tenants.tenants, ACME: changed}))


async def test_a_sign_in_is_kept_sealed_and_serves_later(tmp_path: Path, idps: Providers) -> None:
    async with kept(tmp_path, idps, SubjectToken.ACCESS_TOKEN) as at:
        assert await at.sign_in() == "/mine"
        ((tenant, sub, sealed),) = await at.rows()
        assert (tenant, sub) == ("acme", "sub-dana")
        assert sealed
        assert await at.house.audit("grant.") == [("grant.stored", "stored")]
        assert await at.use() != await at.use()


async def test_signing_in_again_revives_what_ended(tmp_path: Path, idps: Providers) -> None:
    async with kept(tmp_path, idps, SubjectToken.ID_TOKEN) as at:
        await at.sign_in()
        subject = Subject(idps.acme.issuer, "sub-dana")
        await at.house.write(lambda conn: at.grants.end(conn, ACME, subject, "left", datetime.now(UTC)))
        with pytest.raises(NoGrant):
            await at.use()
        await at.sign_in()
        assert await at.use()


@pytest.mark.parametrize("subject", [None, SubjectToken.OWN])
async def test_where_nobody_needs_it_nothing_is_kept(
    tmp_path: Path, idps: Providers, subject: SubjectToken | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even where the provider gives a refresh token unasked, as Okta and Entra ID do once it is in the scopes."""
    monkeypatch.setattr(oidc_leg, "_prompt", lambda *_, **__: "consent")
    async with kept(tmp_path, idps, subject) as at:
        assert await at.sign_in() == "/mine"
        assert await at.rows() == []


async def test_whom_the_directory_refuses_leaves_nothing_behind(tmp_path: Path, idps: Providers) -> None:
    async with kept(tmp_path, idps, SubjectToken.ACCESS_TOKEN) as at:
        assert await at.sign_in("sub-gone") == "/signin"
        assert await at.rows() == []
