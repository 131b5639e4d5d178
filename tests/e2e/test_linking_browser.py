"""Linking and signing in with Chromium: by keyboard alone, in light and dark, narrow and wide, under the real CSP."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from axe_playwright_python.async_playwright import Axe  # type: ignore[import-untyped]
from playwright.async_api import Page, async_playwright, expect

from bot.web.serving import bind_loopback, hosts_of
from tests.kit.link_browser import served
from tests.kit.link_house import DANA_DEMO, LinkHouse, database_of, link_house, providers

CHROMIUM = Path("/usr/bin/chromium")
FLAGS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-sync"]
RULES = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]}
HOSTILE = '<img src=x onerror="document.title=1">' + "W" * 120

pytestmark = pytest.mark.browser


@asynccontextmanager
async def opened(folder: Path, *, scheme: str = "light", width: int = 1200) -> AsyncIterator[tuple[LinkHouse, Page]]:
    """A deployment on loopback and a page of Chromium; ends with an error if a page of ours had one."""
    if not CHROMIUM.exists():
        if os.environ.get("CI") == "true":
            pytest.fail(f"{CHROMIUM} is missing, and CI must run the browser tests: apt-get install chromium")
        pytest.skip(f"{CHROMIUM} is missing: apt-get install chromium to run the browser tests")
    sock = bind_loopback(0)
    base = f"http://{hosts_of(sock)[0]}"
    troubles: list[str] = []
    with providers(backchannel=f"{base}/signin/backchannel") as idps:
        async with (
            link_house(database_of(folder), idps, base_url=base) as house,
            served(house.app, sock),
            async_playwright() as playwright,
        ):
            chromium = await playwright.chromium.launch(executable_path=str(CHROMIUM), args=FLAGS)
            context = await chromium.new_context(
                viewport={"width": width, "height": 800}, color_scheme="dark" if scheme == "dark" else "light"
            )
            page = await context.new_page()
            page.set_default_timeout(15_000)
            page.on(
                "console",
                lambda message: (
                    troubles.append(message.text) if message.type == "error" and page.url.startswith(base) else None
                ),
            )
            yield house, page
            await chromium.close()
    sock.close()
    # A refusal's own status is a line in the console, and no fault.
    assert [line for line in troubles if "the server responded with a status of 4" not in line] == []


async def _press(page: Page, name: str) -> None:
    """Reaches the button called `name` with the keyboard, and presses it."""
    button = page.get_by_role("button", name=name)
    await expect(button).to_be_visible()
    for _ in range(12):
        if await button.evaluate("element => element === document.activeElement"):
            break
        await page.keyboard.press("Tab")
    await expect(button).to_be_focused()
    await page.keyboard.press("Enter")


async def _log_in(page: Page, login: str, until: str) -> None:
    """oidc-provider's own pages: log in, consent."""
    await page.wait_for_url("**/interaction/**")
    await page.fill("input[name=login]", login)
    await page.fill("input[name=password]", "any")
    await page.click("button[type=submit]")
    for _ in range(3):
        await page.wait_for_load_state()
        if "/interaction/" not in page.url:
            break
        await page.click("button[type=submit]")
    await page.wait_for_url(until)


async def _sound(page: Page) -> None:
    """Nothing serious for axe, nothing wider than the screen, and no picture that a name brought along."""
    found = await Axe().run(page, options=RULES)
    assert [
        (violation["id"], [node["target"] for node in violation["nodes"]])
        for violation in found.response["violations"]
        if violation["impact"] in ("serious", "critical", "moderate")
    ] == []
    assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert await page.locator("img").count() == 1


async def test_somebody_links_an_account_with_the_keyboard_alone(tmp_path: Path) -> None:
    async with opened(tmp_path) as (house, page):
        await page.goto(house.base_url + await house.link())
        await _press(page, "Sign in and link")
        await _log_in(page, "sub-dana", "**/link/confirm")
        await _press(page, "Yes, link them")
        await page.wait_for_url("**/link/code")
        await page.get_by_label("The code").fill(await house.say_yes(DANA_DEMO))
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("heading", name="Linked")).to_be_visible()
        assert await house.links() == [("demo:acme-floor:dana", "acme", "sub-dana")]
        # The page's secrets are out of a script's reach, and out of the address.
        assert await page.evaluate("document.cookie") == ""
        assert page.url == f"{house.base_url}/link/code"


async def test_somebody_signs_in_and_out(tmp_path: Path) -> None:
    async with opened(tmp_path) as (house, page):
        await page.goto(house.base_url + "/signin")
        await page.get_by_label("Your organisation").fill("acme gmbh")
        await _press(page, "Sign in")
        await _log_in(page, "sub-dana", house.base_url + "/")
        assert '"sub":"sub-dana"' in await page.content()
        await page.goto(house.base_url + "/signin")
        await _press(page, "Sign out")
        await expect(page.get_by_role("heading", name="You are signed out")).to_be_visible()
        await page.goto(house.base_url + "/mine")
        assert page.url.startswith(house.base_url + "/signin")
        assert await house.audit("session.") == [("session.started", "signed_in"), ("session.ended", "signed_out")]


@pytest.mark.parametrize(("scheme", "width"), [("light", 1200), ("dark", 1200), ("light", 360), ("dark", 360)])
async def test_every_page_is_readable_whoever_named_themselves(tmp_path: Path, scheme: str, width: int) -> None:
    async with opened(tmp_path, scheme=scheme, width=width) as (house, page):
        house.chats.names[DANA_DEMO] = HOSTILE
        await house.rename("sub-dana", HOSTILE)
        for path in ("/signin", "/signin?tenant=acme", "/link/unknown", "/link/confirm", await house.link()):
            await page.goto(house.base_url + path)
            await _sound(page)
        await _press(page, "Sign in and link")
        await _log_in(page, "sub-dana", "**/link/confirm")
        await expect(page.get_by_text("<img src=x").first).to_be_visible()
        await _sound(page)
        await _press(page, "Yes, link them")
        await page.wait_for_url("**/link/code")
        await _sound(page)
        await page.get_by_label("The code").fill("nonsense")
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("alert")).to_be_visible()
        await _sound(page)
        await page.get_by_label("The code").fill(await house.say_yes(DANA_DEMO))
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("heading", name="Linked")).to_be_visible()
        await _sound(page)
