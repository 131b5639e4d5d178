"""Invariant 13 where people sign in to the page: nobody is signed in by somebody else, nor for longer than they are."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
from httpx2 import Response

from bot.identity.tables import SigninFlow, table
from bot.messages import ChatUser
from bot.web.browser import Site, own_path
from tests.kit.link_browser import text_of
from tests.kit.link_house import DANA_DEMO, HTTP, LinkHouse, Providers, link_house, providers
from tests.kit.link_steps import log_in, session_cookie, sign_in, stop_at_callback

ANN_DEMO = ChatUser(DANA_DEMO.surface, DANA_DEMO.team, "ann")


@pytest.fixture(scope="module")
def idps() -> Iterator[Providers]:
    with providers() as both:
        yield both


@pytest.fixture
async def house(idps: Providers, sqlite_url: str) -> AsyncIterator[LinkHouse]:
    async with link_house(sqlite_url, idps, slack=True) as opened:
        yield opened


async def test_signing_in_and_out(house: LinkHouse) -> None:
    browser = house.browser()
    page = await browser.open("/mine?x=1")
    assert page.url.path == "/signin"
    home = await log_in(house, browser, page, "sub-dana")
    assert (str(home.url), home.json()["sub"], home.json()["tenant"]) == (
        f"{house.base_url}/mine?x=1",
        "sub-dana",
        "acme",
    )
    here = await browser.open("/signin")
    assert "Dana Reyes" in text_of(here)
    assert (await browser.press(here, {"csrf": "wrong"})).status_code == 403
    out = await browser.press(here)
    assert "You are signed out" in text_of(out)
    assert "Sign out of Acme GmbH too" in text_of(out)
    assert house.idps.acme.issuer in out.text
    assert (await browser.open("/mine")).url.path == "/signin"
    assert await house.audit("session.") == [("session.started", "signed_in"), ("session.ended", "signed_out")]


async def test_cookies_cannot_be_planted_read_by_scripts_or_sent_by_other_sites(house: LinkHouse) -> None:
    browser = house.browser()
    start = await browser.open("/signin?tenant=acme")
    given: list[str] = []

    async def note(response: Response) -> None:
        given.extend(response.headers.get_list("set-cookie"))

    browser.client.event_hooks["response"].append(note)
    await log_in(house, browser, start, "sub-dana")
    own = [cookie for cookie in given if "cs-" in cookie]
    assert {cookie.partition("=")[0] for cookie in own} == {"__Host-cs-flow", "__Host-cs-session", "__Host-cs-hint"}
    for cookie in own:
        attributes = {part.strip().lower() for part in cookie.split(";")[1:]}
        assert {"secure", "httponly", "samesite=lax", "path=/"} <= attributes, cookie
        assert not any(part.startswith("domain") for part in attributes), cookie
    (session,) = [cookie for cookie in own if cookie.startswith("__Host-cs-session")]
    assert len(session.partition("=")[2].partition(";")[0]) == 43


async def test_a_session_that_was_planted_is_not_the_one_that_is_signed_in(house: LinkHouse) -> None:
    browser = house.browser()
    planted = "p" * 43
    browser.client.cookies.set("__Host-cs-session", planted, domain="countersign.acme.example", path="/")
    await sign_in(house, browser, "sub-dana")
    thief = house.browser()
    thief.client.cookies.set("__Host-cs-session", planted, domain="countersign.acme.example", path="/")
    assert (await thief.open("/mine")).url.path == "/signin"
    # Signing in again makes another one, and ends the first.
    first = session_cookie(browser)
    await sign_in(house, browser, "sub-dana", force=True)
    assert session_cookie(browser) != first
    thief.client.cookies.set("__Host-cs-session", first, domain="countersign.acme.example", path="/")
    assert (await thief.open("/mine")).url.path == "/signin"
    assert ("session.ended", "replaced") in await house.audit("session.")


async def test_nobody_is_signed_in_as_somebody_else_by_a_foreign_answer(house: LinkHouse) -> None:
    """Login CSRF: the attacker's own finished sign-in, opened by the victim."""
    attacker, victim = house.browser(), house.browser()
    page = await attacker.press(await attacker.open("/signin?tenant=acme"))
    back = await stop_at_callback(house, attacker, page, "sub-ann")
    assert (await victim.open(back)).status_code == 403
    own = await victim.press(await victim.open("/signin?tenant=acme"))
    assert (await victim.open(back)).status_code == 403
    assert (await victim.open("/mine")).url.path == "/signin"
    assert await house.refusals() == ["no_flow", "state_mismatch"]
    # Nor did it end the sign-in that the victim had begun.
    assert (await victim.log_in(own, "sub-dana")).json()["sub"] == "sub-dana"


async def test_a_page_signs_nobody_in_by_being_opened(house: LinkHouse) -> None:
    browser = house.browser()
    answer = await browser.client.get("/signin?tenant=acme")
    assert "set-cookie" not in answer.headers
    assert await house.rows("SELECT * FROM signin_flow") == []
    start = await browser.open("/signin?tenant=acme")
    assert (await browser.press(start, origin="https://evil.example")).status_code == 403


async def test_an_action_needs_the_sessions_own_form_token(house: LinkHouse) -> None:
    browser, other = house.browser(), house.browser()
    mine = (await sign_in(house, browser, "sub-dana")).json()
    theirs = (await sign_in(house, other, "sub-ann")).json()
    ours = {"origin": house.base_url}

    async def act(csrf: str, headers: dict[str, str]) -> int:
        return (await browser.client.post("/act", data={"csrf": csrf}, headers=headers)).status_code

    assert await act(mine["csrf"], ours) == 200
    assert await act(theirs["csrf"], ours) == 403
    assert await act("", ours) == 403
    assert await act(mine["csrf"], {}) == 403
    assert await act(mine["csrf"], {"origin": "https://evil.example"}) == 403
    assert await act(mine["csrf"], {**ours, "sec-fetch-site": "same-site"}) == 403


async def test_sessions_end_by_idleness_and_by_age(house: LinkHouse) -> None:
    idle, busy = house.browser(), house.browser()
    await sign_in(house, idle, "sub-ann")
    await sign_in(house, busy, "sub-dana")
    for _ in range(25):
        house.later(timedelta(minutes=20))
        assert (await busy.open("/mine")).url.path == "/mine"
    assert (await idle.open("/mine")).url.path == "/signin"
    for _ in range(6):
        house.later(timedelta(minutes=20))
        answer = await busy.open("/mine")
    assert answer.url.path == "/signin"


async def test_a_leavers_session_is_dead_at_once(house: LinkHouse) -> None:
    browser = house.browser()
    assert (await sign_in(house, browser, "sub-dana")).json()["sub"] == "sub-dana"
    await house.leaves("sub-dana")
    assert (await browser.open("/mine")).url.path == "/signin"
    assert (await browser.client.post("/act", headers={"origin": house.base_url})).status_code == 401


@pytest.mark.parametrize(
    "to",
    [
        "https://evil.example/",
        "//evil.example/",
        "///evil.example/",
        "/\\evil.example",
        "\\/evil.example",
        "/\t/evil.example",
        "javascript:alert(1)",
        "/signout",
        "/link/x",
        "http:/evil.example",
        "/ünicode",
        "x" * 600,
        "",
    ],
)
async def test_nobody_is_sent_elsewhere_after_signing_in(house: LinkHouse, to: str) -> None:
    assert own_path(to) is None
    browser = house.browser()
    start = await browser.client.get("/signin", params={"tenant": "acme", "back_to": to})
    assert 'name="back_to"' not in start.text
    home = await log_in(house, browser, start, "sub-dana", {"back_to": to})
    assert str(home.url) == f"{house.base_url}/"
    again = await browser.client.get("/signin", params={"back_to": to})
    assert again.status_code == 200


async def test_pages_cannot_be_framed_kept_or_extended(house: LinkHouse) -> None:
    link = await house.link()
    browser = house.browser()
    confirm = await house.prove(browser, link, "sub-dana")
    gone = await browser.open("/link/unknown")
    pages = [await browser.open(path) for path in (link, "/signin", "/link/confirm")] + [confirm, gone]
    for page in pages:
        policy = page.headers["content-security-policy"]
        assert "frame-ancestors 'none'" in policy
        assert "form-action 'self'" in policy
        assert "default-src 'none'" in policy
        assert page.headers["cache-control"] == "no-store"
        assert page.headers["x-content-type-options"] == "nosniff"
        assert page.headers["referrer-policy"] == "same-origin"
        assert not re.search(r"<script(?![^>]*src=\"/static/)|\bon\w+=|style=", page.text)


async def test_organisations_are_typed_never_listed(house: LinkHouse) -> None:
    browser = house.browser()
    for path in ("/signin", "/signin?tenant=nobody", "/signin?tenant="):
        said = (await browser.open(path)).text
        assert "Acme" not in said
        assert "Globex" not in said
    start = await browser.open("/signin")
    wrong = await browser.press(start, {"organisation": "<b>initech</b>"})
    assert (wrong.status_code, "<b>initech" in wrong.text, "Acme" in wrong.text) == (404, False, False)
    for word in ("acme", "ACME GMBH "):
        assert (await browser.press(start, {"organisation": word})).url.netloc != start.url.netloc


def test_no_cookie_travels_over_plain_http(tmp_path: Path) -> None:
    for address in (
        "http://countersign.acme.example",
        "http://10.0.0.4:8080",
        "ftp://x",
        "countersign",
        "https://h/path",
    ):
        with pytest.raises(ValueError, match=r"\."):
            Site(address)
    assert not Site(HTTP).secure
    assert Site("https://countersign.acme.example").secure


async def test_on_loopback_it_works_without_tls(idps: Providers, sqlite_url: str) -> None:
    async with link_house(sqlite_url, idps, base_url=HTTP) as house:
        browser = house.browser()
        assert (await sign_in(house, browser, "sub-dana")).json()["sub"] == "sub-dana"
        assert "cs-session" in {cookie.name for cookie in browser.client.cookies.jar}


async def test_what_is_odd_is_a_page_not_an_error(house: LinkHouse) -> None:
    client = house.browser().client
    ours = {"origin": house.base_url}
    for method, path, more in (
        (
            "POST",
            "/signin",
            {"content": b"\xff\xfe", "headers": {**ours, "content-type": "application/x-www-form-urlencoded"}},
        ),
        ("POST", "/signin", {"json": {"organisation": "acme"}, "headers": ours}),
        ("POST", "/signin", {"data": {"organisation": "x" * 40_000}, "headers": ours}),
        ("POST", "/link/confirm", {"headers": ours}),
        ("POST", "/link/code", {"headers": ours}),
        ("GET", "/link/code", {}),
        ("GET", "/link/slack?state=1&code=2", {}),
        ("GET", "/signin/callback?state=" + "s" * 9000, {}),
        ("POST", "/signout", {"headers": ours}),
        ("POST", "/signout", {}),
    ):
        answer = await client.request(method, path, **more)
        assert answer.status_code in (200, 403), (path, answer.status_code)
        assert "<h1>" in answer.text
    for cookie in ("", "x" * 3000, "%00", '"', "a=b; __Host-cs-flow=c"):
        answer = await client.get("/link/confirm", headers={"cookie": f"__Host-cs-flow={cookie}"})
        assert answer.status_code == 403


async def test_a_flow_lasts_twenty_minutes(house: LinkHouse) -> None:
    browser = house.browser()
    page = await browser.press(await browser.open("/signin?tenant=acme"))
    house.later(timedelta(minutes=20))
    late = await browser.log_in(page, "sub-dana")
    assert (late.status_code, await house.refusals()) == (403, ["no_flow"])
    flow = table(SigninFlow)
    assert (
        await house.writer.read(lambda conn: conn.execute(sa.select(sa.func.count()).select_from(flow)).scalar()) == 1
    )
