"""Invariant 14 where one organisation's provider passes a browser on to another organisation's (RFC 9700, 4.4)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from urllib.parse import parse_qs, urlencode, urlsplit

import httpx2
import pytest

from bot.identity.oidc import challenge_of
from bot.identity.tenants import Tenants
from bot.messages import ChatUser
from tests.kit.idp_server import idp_server
from tests.kit.link_browser import Browser
from tests.kit.link_house import ACME, DEMO, GLOBEX, LinkHouse, Providers, link_house, providers, tenants_of

GLOBEX_MAL = ChatUser(DEMO, "globex-floor", "mal")


@pytest.fixture(scope="module")
def idps() -> Iterator[Providers]:
    with providers() as both:
        yield both


def with_hostile(idps: Providers, issuer: str) -> Tenants:
    """Globex' provider is `issuer`."""
    served = tenants_of(idps)
    globex = served.tenants[GLOBEX]
    hostile = replace(globex.issuer, issuer=issuer)
    made = {**served.tenants, GLOBEX: replace(globex, issuer=hostile)}
    return Tenants(made, {**served.issuers, "globex-idp": hostile}, served.teams)


async def passed_on(house: LinkHouse, browser: Browser, state: str, back: str) -> str:
    """Where Acme's provider sends the browser, which Globex' sent there with `state` and a challenge of its own."""
    async with httpx2.AsyncClient(trust_env=False) as client:
        meta = (await client.get(f"{house.idps.acme.issuer}/.well-known/openid-configuration")).json()
    asked = {
        "response_type": "code",
        "client_id": "acme-app",
        "redirect_uri": house.base_url + back,
        "scope": "openid",
        "state": state,
        "nonce": "of-a-sign-in-of-the-attackers",
        "code_challenge": challenge_of("v" * 43),
        "code_challenge_method": "S256",
    }
    page = await browser.open(f"{meta['authorization_endpoint']}?{urlencode(asked)}")
    came_back = await browser.log_in_until(page, "sub-dana", house.base_url)
    # Neither Okta nor Entra ID says `iss` beside the code.
    return re.sub(r"&iss=[^&]*", "", came_back)


@pytest.mark.parametrize("back", ["/signin/callback", "/signin/callback/acme-idp"])
@pytest.mark.parametrize("purpose", ["page", "link"])
async def test_a_code_is_never_handed_to_another_organisations_provider(
    idps: Providers, sqlite_url: str, purpose: str, back: str
) -> None:
    async with idp_server() as hostile:
        hostile.says("/authorize", b"<p>one moment</p>", headers={"content-type": "text/html"})
        async with link_house(sqlite_url, idps, tenants=with_hostile(idps, hostile.base)) as house:
            browser = house.browser()
            start = "/signin?tenant=globex" if purpose == "page" else await house.link(GLOBEX_MAL)
            away = await browser.press(await browser.open(start))
            assert str(away.url).startswith(f"{hostile.base}/authorize")
            state = parse_qs(urlsplit(str(away.url)).query)["state"][0]
            came_back = await passed_on(house, browser, state, back)
            assert (await browser.open(came_back)).status_code == 403
            assert hostile.forms == []
            assert await house.refusals() == ["issuer_mismatch"]


async def test_each_provider_has_an_address_of_its_own(idps: Providers, sqlite_url: str) -> None:
    async with link_house(sqlite_url, idps) as house:
        for tenant, sub in ((ACME, "sub-dana"), (GLOBEX, "globex-dana")):
            browser = house.browser()
            page = await browser.press(await browser.open(f"/signin?tenant={tenant}"))
            there = await browser.log_in_until(page, sub, house.base_url)
            assert there.startswith(f"{house.base_url}/signin/callback/{tenant}-idp?")
            assert (await browser.open(there)).json()["sub"] == sub
