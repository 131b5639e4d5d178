"""The page of somebody signed in, in Chromium over the real door: live, by keyboard, light and dark, wide, narrow."""

from __future__ import annotations

import asyncio
import csv
import os
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import uvicorn
from axe_playwright_python.async_playwright import Axe  # type: ignore[import-untyped]
from playwright.async_api import Browser, Page, async_playwright, expect

from bot.web.serving import bind_loopback, hosts_of
from tests.kit.office_house import ACME, OfficeHouse, office_house
from tools.held import Scope, ScopeKind
from tools.stops import By

CHROMIUM = Path("/usr/bin/chromium")
FLAGS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-sync"]
RULES = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]}
BROKE = "Refund order 1002, 181.00 USD, it broke"
HOSTILE = '<img src=x onerror="document.title=1">' + "W" * 120

pytestmark = pytest.mark.browser


@dataclass
class Site:
    house: OfficeHouse
    chromium: Browser
    troubles: list[str] = field(default_factory=list)

    async def page(self, sub: str, path: str = "/requests", *, scheme: str = "light", width: int = 1280) -> Page:
        """`sub`'s own browser, signed in."""
        context = await self.chromium.new_context(
            viewport={"width": width, "height": 900}, color_scheme="dark" if scheme == "dark" else "light"
        )
        signed = await self.house.sign_in(sub)
        cookie = {"name": "cs-session", "value": signed.secret, "url": self.house.base_url}
        await context.add_cookies([cookie])  # type: ignore[list-item]
        page = await context.new_page()
        page.set_default_timeout(12_000)
        page.on("pageerror", lambda error: self.troubles.append(str(error)))
        page.on("console", lambda said: self.troubles.append(said.text) if said.type == "error" else None)
        await page.goto(self.house.base_url + path)
        return page


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    if not CHROMIUM.exists():
        if os.environ.get("CI") == "true":
            pytest.fail(f"{CHROMIUM} is missing, and CI must run the browser tests: apt-get install chromium")
        pytest.skip(f"{CHROMIUM} is missing: apt-get install chromium to run the browser tests")
    sock = bind_loopback(0)
    async with (
        office_house(tmp_path, base_url=f"http://{hosts_of(sock)[0]}") as house,
        _served(house, sock),
        async_playwright() as playwright,
    ):
        chromium = await playwright.chromium.launch(executable_path=str(CHROMIUM), args=FLAGS)
        site = Site(house, chromium)
        yield site
        await chromium.close()
    sock.close()
    # A refusal's own status is a line in the console, and no fault.
    assert [line for line in site.troubles if "the server responded with a status of 4" not in line] == []


@asynccontextmanager
async def _served(house: OfficeHouse, sock: object) -> AsyncIterator[None]:
    server = uvicorn.Server(uvicorn.Config(house.app, log_level="warning", lifespan="off"))
    task = asyncio.create_task(server.serve(sockets=[sock]))  # type: ignore[list-item]
    try:
        deadline = asyncio.get_running_loop().time() + 20
        while not server.started:
            assert asyncio.get_running_loop().time() < deadline, "the server did not start"
            await asyncio.sleep(0.02)
        yield
    finally:
        server.should_exit = True
        await task


async def _sound(page: Page) -> None:
    found = await Axe().run(page, options=RULES)
    assert [
        (violation["id"], [node["target"] for node in violation["nodes"]])
        for violation in found.response["violations"]
        if violation["impact"] in ("serious", "critical", "moderate")
    ] == []
    assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth")


async def test_a_card_comes_is_approved_and_settles_while_one_looks(site: Site) -> None:
    ann, bob, dana = await site.page("ann"), await site.page("bob"), await site.page("dana")
    await expect(ann.get_by_text("Nothing waits for your countersignature.")).to_be_visible()
    await site.house.ask()
    for page in (ann, bob):
        await expect(page.get_by_role("heading", name="Refund 42.00 USD for order 1042")).to_be_visible()
    await expect(dana.get_by_text("Waiting for a finance approver.")).to_be_visible()
    await expect(ann.locator("#live:not([data-moved])")).to_be_visible()
    await ann.get_by_role("button", name="Approve").click()
    await expect(ann.locator("#notice")).to_contain_text("Approved.")
    for page in (ann, bob, dana):
        await expect(page.get_by_text("Approved by Ann Okafor").first).to_contain_text("Refunded 42.00 USD")
        await expect(page.get_by_role("button", name="Approve")).to_have_count(0)
    await expect(ann.get_by_role("heading", name="Settled lately")).to_be_visible()


async def test_a_press_that_came_second_says_so(site: Site) -> None:
    (refund, _) = await site.house.ask()
    bob = await site.page("bob")
    await bob.route("**/live?*", lambda route: route.fulfill(status=204))
    ann = await site.house.sign_in("ann")
    await ann.press(refund, "approve")
    await bob.get_by_role("button", name="Approve").click()
    await expect(bob.locator("#notice")).to_contain_text("Already approved")
    await expect(bob.get_by_role("button", name="Approve")).to_have_count(0)


async def test_a_rejection_with_the_keyboard_alone_survives_news(site: Site) -> None:
    await site.house.ask()
    ann = await site.page("ann")
    for _ in range(30):
        await ann.keyboard.press("Tab")
        if await ann.evaluate("document.activeElement.textContent.startsWith('Reject')"):
            break
    await ann.keyboard.press("Enter")
    dialog = ann.get_by_role("dialog", name="Reject")
    await expect(dialog).to_be_visible()
    await expect(ann.get_by_label("Why do you reject it?")).to_be_focused()
    await ann.keyboard.type("The parcel ")
    await site.house.ask(text=BROKE)
    await expect(ann.locator(".card")).to_have_count(2)
    await expect(dialog).to_be_visible()
    await ann.keyboard.type("was delivered")
    await ann.keyboard.press("Control+Enter")
    await expect(dialog).to_be_hidden()
    await expect(ann.locator("#notice")).to_contain_text("Rejected.")
    await expect(ann.get_by_text("Rejected by Ann Okafor")).to_contain_text("The parcel was delivered")


async def test_what_moves_under_a_finger_is_not_pressed(site: Site) -> None:
    """A card arrives, or goes, in the moment of a click: the click meets nothing."""
    await site.house.ask()
    ann = await site.page("ann")
    await ann.evaluate(
        "() => { window.met = null; new MutationObserver(() => { if (window.met === null) window.met = "
        "getComputedStyle(document.querySelector('.buttons')).pointerEvents; })"
        ".observe(document.querySelector('#live'), { attributes: true, attributeFilter: ['data-moved'] }); }"
    )
    await site.house.ask(text=BROKE)
    await expect(ann.locator(".card")).to_have_count(2)
    assert await ann.evaluate("window.met") == "none"
    await expect(ann.locator("#live:not([data-moved])")).to_be_visible()
    assert await ann.evaluate("getComputedStyle(document.querySelector('.buttons')).pointerEvents") == "auto"


async def test_who_is_signed_out_elsewhere_reads_no_further(site: Site) -> None:
    await site.house.ask()
    ann = await site.page("ann")
    await expect(ann.get_by_role("heading", name="Refund 42.00 USD")).to_be_visible()
    await site.house.change("UPDATE web_session SET ended_at = created_at, ended = 'logged_out_at_idp'")
    await expect(ann.get_by_role("heading", name="You are signed out")).to_be_visible()
    await expect(ann.get_by_text("Refund 42.00")).to_have_count(0)
    await expect(ann.get_by_role("link", name="Sign in again")).to_have_attribute("href", "/signin?back_to=/requests")


async def test_the_auditor_searches_verifies_and_downloads(site: Site) -> None:
    await site.house.ask()
    aud = await site.page("aud", "/audit")
    await aud.get_by_role("button", name="Verify the chain").click()
    await expect(aud.locator("#check")).to_contain_text("The chain holds.")
    await aud.get_by_label("Tool").fill("refund.issue")
    await aud.get_by_role("button", name="Show").click()
    await expect(aud.locator("tbody tr")).to_have_count(1)
    async with aud.expect_download() as started:
        await aud.get_by_role("link", name="CSV").click()
    download = await started.value
    assert re.fullmatch(r"countersign-audit-\d{8}-\d{6}\.csv", download.suggested_filename)
    (row,) = csv.DictReader(Path(await download.path()).read_text("utf-8").splitlines())
    assert (row["tool_name"], row["kind"]) == ("refund.issue", "tool.requested")
    await aud.get_by_role("link", name="Row").first.click()
    await expect(aud.get_by_text("The hash fits.")).to_be_visible()


@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 1280), ("light", 360), ("dark", 360)])
async def test_every_page_is_readable_whoever_named_themselves(site: Site, scheme: str, width: int) -> None:
    house = site.house
    refund, mail = await house.ask()
    await house.ask(text=BROKE)
    ann = await house.sign_in("ann")
    await ann.press(refund, "approve")
    replace = {"op": "replace", "path": "displayName", "value": HOSTILE}
    house.idp().patch(f"/Users/{house.idp().user('dana')}", replace)
    house.idp().patch(f"/Users/{house.idp().user('bob')}", replace)
    by = By("ada", HOSTILE, ("admin",), "the tool email.send")
    await house.core.gateway.kill(ACME, Scope(ScopeKind.TOOL, "email.send"), by, HOSTILE)
    visits = (
        ("bob", "/requests"),
        ("dana", "/requests"),
        ("lee", f"/requests/{mail.held_id}"),
        ("aud", "/audit"),
        ("aud", "/audit/12"),
        ("ada", "/stops"),
        ("dana", "/you"),
        ("nora", "/requests"),
        ("bob", "/audit"),
    )
    for sub, path in visits:
        page = await site.page(sub, path, scheme=scheme, width=width)
        await _sound(page)
        assert await page.locator("img").count() == 1, (sub, path)
        assert await page.title() != "1"
        await page.context.close()
