"""Invariant 13: a token that does not hold ends the sign-in or link it came for, as a page and one row with its word.

The provider here says whatever it is told to; how real ones behave is tested beside it.
"""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from datetime import timedelta
from types import MappingProxyType
from typing import cast

import httpx2
import pytest

from bot.identity.id_token import TokenReason
from bot.identity.issuers import Issuer
from bot.identity.tenants import Team, Tenant, Tenants
from tests.kit.idp_keys import OTHER_RSA_KEY, RSA_KEY, claims, header, rsa_jwk, signed
from tests.kit.idp_server import IdpServer, idp_server
from tests.kit.link_browser import Browser, text_of
from tests.kit.link_house import ACME, DEMO, LinkHouse, Providers, link_house

R = TokenReason
WRONG: dict[str, tuple[dict[str, object], dict[str, object], object, TokenReason]] = {
    "alg none": ({"alg": "none"}, {}, None, R.ALG_NONE),
    "HS256 with what everybody knows": ({"alg": "HS256"}, {}, b"public", R.ALG_SYMMETRIC),
    "jku": ({"jku": "https://evil.example/jwks"}, {}, OTHER_RSA_KEY, R.JKU),
    "embedded jwk": ({"jwk": rsa_jwk(OTHER_RSA_KEY, "rsa-1")}, {}, OTHER_RSA_KEY, R.JWK),
    "kid a path": ({"kid": "../../dev/null"}, {}, b"", R.KID),
    "kid missing": ({"kid": ...}, {}, RSA_KEY, R.KID_MISSING),
    "crit": ({"crit": ["exp"]}, {}, RSA_KEY, R.CRIT),
    "typ": ({"typ": "at+jwt"}, {}, RSA_KEY, R.TYP),
    "a key that is retired or was never there": ({"kid": "rsa-0"}, {}, OTHER_RSA_KEY, R.KEY_UNKNOWN),
    "another key": ({}, {}, OTHER_RSA_KEY, R.SIGNATURE),
    "iss": ({}, {"iss": "https://evil.example"}, RSA_KEY, R.ISS),
    "aud": ({}, {"aud": "payroll"}, RSA_KEY, R.AUD),
    "azp": ({}, {"azp": "payroll"}, RSA_KEY, R.AZP),
    "nonce": ({}, {"nonce": "another sign-in's"}, RSA_KEY, R.NONCE),
    "expired": ({}, {"iat": -400, "exp": -100}, RSA_KEY, R.EXPIRED),
    "from the future": ({}, {"iat": 100, "exp": 400}, RSA_KEY, R.FUTURE),
    "issued long ago": ({}, {"iat": -700, "exp": 400}, RSA_KEY, R.STALE),
}


@dataclass
class Site:
    """The pages, and the provider that may say anything."""

    house: LinkHouse
    idp: IdpServer

    def asked(self, page: httpx2.Response) -> tuple[str, str]:
        """The state and the nonce that the provider was sent."""
        asked = page.url.params
        assert str(page.url).startswith(f"{self.idp.base}/authorize"), text_of(page)
        return asked["state"], asked["nonce"]

    async def begin(self, browser: Browser, what: str) -> tuple[str, str]:
        if what == "link":
            return self.asked(await browser.press(await browser.open(await self.house.link())))
        return self.asked(await browser.press(await browser.open("/signin?tenant=acme")))

    def token(self, nonce: str, head: dict[str, object], said: dict[str, object], by: object) -> str:
        """A good one but for `head` and `said`; times are seconds from now."""
        now = int(time.time())
        good = {"iss": self.idp.base, "nonce": nonce, "sub": "sub-dana", "iat": -5, "exp": 295} | said
        times = {name: now + good[name] for name in ("iat", "exp") if isinstance(good[name], int)}  # type: ignore[operator]
        whole = {name: value for name, value in header(**head).items() if value is not ...}
        return signed(whole, claims(**good | times), by)

    async def answer(self, browser: Browser, state: str, token: str) -> httpx2.Response:
        self.idp.says("/token", {"access_token": "at", "token_type": "Bearer", "id_token": token})
        return await browser.open(f"/signin/callback?code=c&state={state}")

    async def refusals(self) -> list[tuple[str, str, object]]:
        """(organisation, reason, the token's word) of every refusal's row."""
        rows = await self.house.rows(
            "SELECT tenant_id, status, detail FROM agent_audit_log WHERE kind = 'identity.refused' ORDER BY seq"
        )
        return [(row.tenant_id, row.status, json.loads(row.detail).get("token")) for row in rows]


@pytest.fixture
async def site(sqlite_url: str) -> AsyncIterator[Site]:
    async with idp_server() as idp:
        acme = replace(idp.issuer, name="acme-idp")
        async with link_house(sqlite_url, cast(Providers, None), tenants=_one(acme)) as house:
            yield Site(house, idp)


def _one(issuer: Issuer) -> Tenants:
    team = Team(DEMO, "acme-floor")
    made = {ACME: Tenant(ACME, "Acme GmbH", issuer, (team,), None, timedelta(days=7))}
    return Tenants(MappingProxyType(made), {"acme-idp": issuer}, MappingProxyType({(DEMO, "acme-floor"): ACME}))


@pytest.mark.parametrize("what", ["link", "signin"])
@pytest.mark.parametrize("name", WRONG)
async def test_a_token_that_does_not_hold_is_a_page_and_a_row_with_its_word(site: Site, name: str, what: str) -> None:
    head, said, by, reason = WRONG[name]
    browser = site.house.browser()
    state, nonce = await site.begin(browser, what)
    answer = await site.answer(browser, state, site.token(nonce, head, said, by))
    assert answer.status_code == 403
    assert "was not accepted" in text_of(answer)
    assert await site.refusals() == [(ACME, "id_token", reason.value)]
    # And it is over: the same browser comes no further with a token that holds.
    late = await site.answer(browser, state, site.token(nonce, {}, {}, RSA_KEY))
    assert late.status_code == 403
    assert await site.house.links() == []
    assert await site.house.rows("SELECT * FROM web_session") == []


@pytest.mark.parametrize("what", ["link", "signin"])
async def test_the_provider_of_these_tests_can_also_tell_the_truth(site: Site, what: str) -> None:
    """Else every refusal above might be for another reason."""
    browser = site.house.browser()
    state, nonce = await site.begin(browser, what)
    answer = await site.answer(browser, state, site.token(nonce, {}, {}, RSA_KEY))
    assert answer.status_code == 200
    assert answer.url.path == ("/link/confirm" if what == "link" else "/")
    assert await site.refusals() == []


async def test_a_flood_of_one_word_does_not_hide_another(site: Site) -> None:
    for _ in range(30):
        browser = site.house.browser()
        state, nonce = await site.begin(browser, "signin")
        await site.answer(browser, state, site.token(nonce, {}, {"aud": "payroll"}, RSA_KEY))
    browser = site.house.browser()
    state, nonce = await site.begin(browser, "signin")
    await site.answer(browser, state, site.token(nonce, {"alg": "none"}, {}, None))
    assert (await site.refusals())[-1] == (ACME, "id_token", "alg_none")
