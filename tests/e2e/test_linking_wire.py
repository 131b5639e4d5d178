"""Linking and signing in over real sockets: against Canaille, and against oidc-provider with its back channel."""

from __future__ import annotations

import asyncio
import html
import os
import re
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from urllib.parse import urljoin

import httpx2
import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Connection
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from bot import local_idp
from bot.identity.issuers import Issuer, Preset
from bot.identity.tables import ScimResource, table
from bot.identity.tenants import Tenants
from bot.web.serving import bind_loopback, hosts_of
from tests.kit.link_browser import Browser, served, text_of
from tests.kit.link_house import (
    ACME,
    DANA_DEMO,
    LinkHouse,
    Providers,
    database_of,
    link_house,
    person,
    providers,
    tenants_of,
)
from tests.rigs.canaille_rig import Canaille, LoginRefused, canaille
from tools.credentials import Secret

# --- Canaille ---------------------------------------------------------------------------------------------


@pytest.fixture
async def acme(tmp_path: Path) -> AsyncIterator[tuple[LinkHouse, Canaille]]:
    """Acme, whose provider is Canaille, and whose people are provisioned."""
    if not local_idp.PYTHON.exists() and os.environ.get("CI") != "true":
        pytest.skip("Canaille: run `make test`, or `make rigs`")
    sock = bind_loopback(0)
    base = f"http://{hosts_of(sock)[0]}"
    starting = canaille((f"{base}/signin/callback",))
    idp = await asyncio.to_thread(starting.__enter__)
    try:
        issuer = Issuer("acme-idp", Preset.OIDC, idp.issuer, idp.client_id, Secret("ACME", idp.client_secret))
        nobody = Providers(None, None)  # type: ignore[arg-type]
        tenants = _tenants(issuer)
        async with link_house(database_of(tmp_path), nobody, base_url=base, tenants=tenants) as house:
            await house.write(lambda conn: _provision(conn, idp))
            async with served(house.app, sock):
                yield house, idp
    finally:
        await asyncio.to_thread(starting.__exit__, None, None, None)
        sock.close()


async def test_a_person_links_with_canaille(acme: tuple[LinkHouse, Canaille]) -> None:
    house, idp = acme
    browser = house.browser(wire=True)
    start = await browser.client.get(await house.link())
    page = await _through_canaille(house, idp, browser, start, "dana")
    assert page.url.path == "/link/confirm"
    said = text_of(page)
    for word in ("Dana Reyes", idp.people["dana"].email, idp.people["dana"].sub, "acme-floor"):
        assert word in said, word
    page = await browser.press(page, {"answer": "yes"})
    done = await browser.press(page, {"code": await house.say_yes(DANA_DEMO)})
    assert "Linked" in text_of(done)
    assert await house.links() == [("demo:acme-floor:dana", "acme", idp.people["dana"].sub)]


async def test_who_is_signed_in_there_already_is_not_linked_by_a_click(acme: tuple[LinkHouse, Canaille]) -> None:
    """Dana's link in Ann's browser: the provider asks Ann again, and the page names Ann, who says no."""
    house, idp = acme
    browser = house.browser(wire=True)
    await _through_canaille(house, idp, browser, await browser.client.get("/signin"), "ann")
    assert (await browser.open("/mine")).json()["sub"] == idp.people["ann"].sub
    asked = await browser.press(await browser.client.get(await house.link()))
    assert str(asked.url).startswith(idp.issuer)
    assert 'type="password"' in asked.text
    page = await _through_canaille(house, idp, browser, await browser.client.get(await house.link()), "ann")
    assert "Ann Okafor" in text_of(page)
    assert "Nothing was linked" in text_of(await browser.press(page, {"answer": "no"}))
    assert await house.links() == []


async def test_signing_in_and_out_with_canaille(acme: tuple[LinkHouse, Canaille]) -> None:
    house, idp = acme
    browser = house.browser(wire=True)
    start = await browser.client.get("/signin", params={"back_to": "/mine"})
    assert "Acme GmbH" in text_of(start)
    home = await _through_canaille(house, idp, browser, start, "dana")
    assert home.json()["sub"] == idp.people["dana"].sub
    out = await browser.press(await browser.open("/signin"))
    assert "signed out" in text_of(out)
    assert (await browser.open("/mine")).url.path == "/signin"


async def test_who_is_locked_out_there_gets_in_nowhere(acme: tuple[LinkHouse, Canaille]) -> None:
    house, idp = acme
    await idp.deactivate("sam")
    browser = house.browser(wire=True)
    with pytest.raises(LoginRefused):
        await _through_canaille(house, idp, browser, await browser.client.get(await house.link()), "sam")
    assert await house.links() == []


async def test_a_provider_that_is_down_is_said_so(acme: tuple[LinkHouse, Canaille]) -> None:
    house, _ = acme
    tenant = house.tenants.tenants[ACME]
    gone = replace(tenant, issuer=replace(tenant.issuer, issuer="http://127.0.0.1:9"))
    async with link_house(
        str(house.writer.engine.url), house.idps, base_url=house.base_url, tenants=_tenants(gone.issuer), fresh=False
    ) as down:
        browser = down.browser()
        answer = await browser.press(await browser.open(await down.link()))
        assert answer.status_code == 503
        assert "Try again" in text_of(answer)
        signing_in = await browser.press(await browser.open("/signin"))
        assert signing_in.status_code == 503


# --- the back channel -------------------------------------------------------------------------------------


class Heard:
    """Notes what the provider posts to the back channel."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self.bodies: list[bytes] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def noted() -> Message:
            message = await receive()
            if scope.get("path") == "/signin/backchannel" and message["type"] == "http.request":
                self.bodies.append(message.get("body", b""))
            return message

        await self._app(scope, noted, send)


async def test_the_provider_signs_somebody_out_here_too(tmp_path: Path) -> None:
    sock = bind_loopback(0)
    base = f"http://{hosts_of(sock)[0]}"
    with providers(backchannel=f"{base}/signin/backchannel") as idps:
        async with link_house(database_of(tmp_path), idps, base_url=base) as house:
            heard = Heard(house.app)
            house.app = heard
            async with served(house.app, sock):
                dana, elsewhere, ann = (house.browser(wire=True) for _ in range(3))
                for browser, sub in ((dana, "sub-dana"), (elsewhere, "sub-dana"), (ann, "sub-ann")):
                    page = await browser.press(await browser.open("/signin?tenant=acme"))
                    assert (await browser.log_in(page, sub)).json()["sub"] == sub
                await _sign_out_at(idps.acme.issuer, dana)
                assert (await dana.open("/mine")).url.path == "/signin"
                # Another sign-in of hers at the provider is another session there, and goes on here.
                assert (await elsewhere.open("/mine")).status_code == 200
                assert (await ann.open("/mine")).json()["sub"] == "sub-ann"
                assert ("session.ended", "logged_out_at_idp") in await house.audit("session.")
                await _refusals(house, heard, ann)
    sock.close()


async def _refusals(house: LinkHouse, heard: Heard, ann: Browser) -> None:
    """The token again, another kind of token, none, and nonsense: 400, never a page, and nobody is signed out."""
    (token,) = [html.unescape(body.decode()) for body in heard.bodies if body]
    form = {"content-type": "application/x-www-form-urlencoded"}
    id_token = next(cookie.value for cookie in ann.client.cookies.jar if cookie.name == "cs-hint")
    altered = token[:-6] + ("AAAAAA" if not token.endswith("AAAAAA") else "BBBBBB")
    for body in (
        token,
        altered,
        f"logout_token={id_token}",
        "logout_token=x",
        "",
        "logout_token=",
        "a=b&logout_token=a.b.c",
    ):
        answer = await ann.client.post("/signin/backchannel", content=body, headers=form)
        assert answer.status_code == 400, body[:40]
        assert answer.headers["cache-control"] == "no-store"
        assert answer.json()["error"] == "invalid_request"
    assert (await ann.client.post("/signin/backchannel", json={"logout_token": "x"})).status_code == 400
    assert (await ann.client.get("/signin/backchannel")).status_code == 405
    assert (await ann.open("/mine")).json()["sub"] == "sub-ann"
    assert set(await house.refusals()) == {"logout_token"}
    rows = await house.rows("SELECT detail FROM agent_audit_log WHERE kind = 'identity.refused' ORDER BY seq")
    assert "replayed" in str(rows[0].detail)


# --- helpers ----------------------------------------------------------------------------------------------


def _tenants(issuer: Issuer) -> Tenants:
    """Acme alone, at `issuer`."""
    made = tenants_of(Providers(*(_Nowhere() for _ in range(2))))  # type: ignore[arg-type]
    acme = replace(made.tenants[ACME], issuer=issuer)
    teams = {place: tenant for place, tenant in made.teams.items() if tenant == ACME}
    return Tenants(MappingProxyType({ACME: acme}), {"acme-idp": issuer}, teams)


class _Nowhere:
    issuer = "http://127.0.0.1:9"


def _provision(conn: Connection, idp: Canaille) -> None:
    for one in idp.people.values():
        made = person(ACME, one.sub, one.name, one.email)
        conn.execute(sa.insert(table(ScimResource)).values(**made.model_dump()))


async def _through_canaille(
    house: LinkHouse, idp: Canaille, browser: Browser, start: httpx2.Response, user: str
) -> httpx2.Response:
    """Presses the button of `start`, logs in on Canaille's own pages and comes back."""
    fields = dict(re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]*)"', start.text))
    going = await browser.client.post(
        urljoin(str(start.url), _action(start)), data=_unescaped(fields), headers={"origin": house.base_url}
    )
    found = re.search(r'content="0;url=([^"]*)"', going.text)
    assert found is not None, text_of(going)
    back = await idp.login(browser.client, html.unescape(found[1]), user)
    return await browser.open(back)


def _action(page: httpx2.Response) -> str:
    found = re.search(r'<form[^>]*\baction="([^"]*)"', page.text)
    return found[1] if found else str(page.url)


def _unescaped(fields: Mapping[str, str]) -> dict[str, str]:
    return {name: html.unescape(value) for name, value in fields.items()}


async def _sign_out_at(issuer: str, browser: Browser) -> None:
    page = await browser.client.get(f"{issuer}/session/end")
    hidden = dict(re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]*)"', page.text))
    action = re.search(r'<form[^>]*\baction="([^"]*)"', page.text)
    assert action is not None, text_of(page)
    await browser.client.post(html.unescape(action[1]), data=hidden | {"logout": "yes"})
