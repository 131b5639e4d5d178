"""The main job in a real browser: Chromium on the Agents Playground's own page, `countersign serve` behind it.

The pictures of docs/teams.md are taken here: SHOTS=docs/images pytest tests/e2e/test_teams_browser.py
"""

from __future__ import annotations

import os
import re
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from playwright.async_api import Browser, Locator, Page, async_playwright, expect

from tests.kit.service_process import Home, serving
from tests.kit.teams_desk import Desk, labels, read
from tests.rigs.local_slack import until
from tests.rigs.teams_playground import (
    ANN,
    BOB,
    DANA,
    FINANCE,
    LEE,
    Member,
    environment,
    missing,
    playground,
    teams,
)

CHROMIUM = Path("/usr/bin/chromium")
FLAGS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-sync"]
WAIT_MS = 45_000

pytestmark = [pytest.mark.browser, pytest.mark.timeout(240)]


@dataclass
class Seat:
    """Somebody at their own browser."""

    page: Page
    desk: Desk
    home: Home
    taken: Path
    troubles: list[str] = field(default_factory=list)

    async def goto(self, place: str) -> None:
        await self.page.get_by_text(place, exact=True).first.click()

    async def say(self, text: str) -> None:
        """Types a message into the chat that is open, as a person does."""
        box = self.page.get_by_role("textbox").last
        await box.click()
        await self.page.keyboard.type(text)
        await self.page.keyboard.press("Enter")

    async def shoot(self, name: str, at: Locator | None = None) -> None:
        if at is not None:
            await at.scroll_into_view_if_needed()
        await self.page.mouse.move(5, 5)
        await self.page.screenshot(path=self.taken / f"{name}.png")


Sit = Callable[[Member], AbstractAsyncContextManager[Seat]]


@pytest.fixture
async def sit(home: Home, tmp_path: Path) -> Sit:
    why = missing() or (None if CHROMIUM.exists() else f"{CHROMIUM} is missing: apt-get install chromium")
    if why is not None:
        if os.environ.get("CI") == "true":
            pytest.fail(why)
        pytest.skip(why)
    home.join_teams("teams")
    taken = Path(os.environ.get("SHOTS", tmp_path))

    @asynccontextmanager
    async def seat(who: Member) -> AsyncIterator[Seat]:
        with playground(who) as process:
            async with (
                teams(process) as rig,
                serving(home, None, also=environment(rig)) as service,
                async_playwright() as playwright,
            ):
                rig.wire.bot = f"{service.base}/api/messages"
                await rig.install(DANA, ANN, BOB, LEE)
                chromium = await playwright.chromium.launch(executable_path=str(CHROMIUM), args=FLAGS)
                page = await _opened(chromium, process.url)
                made = Seat(page, Desk(rig), home, taken)
                page.on("pageerror", lambda error: made.troubles.append(str(error)))
                yield made
                await chromium.close()
                assert made.troubles == []

    return seat


async def _opened(chromium: Browser, url: str) -> Page:
    page = await chromium.new_page(viewport={"width": 1280, "height": 1240})
    page.set_default_timeout(WAIT_MS)
    # Its fonts lie on the internet, where no test goes.
    await page.route(re.compile(r"https://"), lambda route: route.abort())
    await page.goto(url)
    await expect(page.get_by_text("finance-approvals")).to_be_visible(timeout=WAIT_MS)
    # The panel of its log, at the right.
    await page.get_by_text("Log Panel").locator("xpath=..").get_by_role("button").last.click()
    return page


async def test_an_approver_reads_the_card_and_presses(sit: Sit) -> None:
    async with sit(ANN) as ann:
        page, desk = ann.page, ann.desk
        await ann.goto("finance-approvals")
        await desk.ask(DANA)
        approve = page.get_by_role("button", name="Approve", exact=True)
        await expect(approve).to_be_visible(timeout=WAIT_MS)
        await expect(page.get_by_text("Refund 42.00 USD for order 1042 to Ada Lindqvist").first).to_be_visible()
        await ann.shoot("teams-card", approve)
        await approve.click()
        await expect(page.get_by_text("Refunded 42.00 USD for order 1042").first).to_be_visible(timeout=WAIT_MS)
        await expect(page.get_by_text("Approved by Ann Okafor").first).to_be_visible()
        await expect(approve).to_have_count(0)
        await ann.shoot("teams-approved")
        assert ann.home.refunds() == [4200]


async def test_a_rejection_with_its_reason_typed_on_the_card(sit: Sit) -> None:
    async with sit(ANN) as ann:
        page, desk = ann.page, ann.desk
        await ann.goto("finance-approvals")
        await desk.ask(DANA, "Refund order 1047, 10 dollars, the vase was cracked")
        reject = page.get_by_role("button", name="Reject", exact=True)
        await expect(reject).to_be_visible(timeout=WAIT_MS)
        await page.get_by_placeholder(re.compile("Reject")).click()
        await page.keyboard.type("The photos show no crack")
        await page.keyboard.press("Tab")
        await reject.click()
        await expect(page.get_by_text("The photos show no crack").first).to_be_visible(timeout=WAIT_MS)
        await expect(page.get_by_text("Rejected by Ann Okafor").first).to_be_visible(timeout=WAIT_MS)
        await desk.private(DANA, "The photos show no crack")
        assert ann.home.refunds("1047") == []


async def test_who_asks_is_answered_in_their_own_chat(sit: Sit) -> None:
    async with sit(DANA) as dana:
        page, desk = dana.page, dana.desk
        await dana.goto("Personal Chat")
        await dana.say("What did order 1042 cost?")
        await expect(page.get_by_text("84.00 USD").first).to_be_visible(timeout=WAIT_MS)
        await expect(page.get_by_text("AI generated").first).to_be_visible()
        await dana.say("Refund order 1042, 42 dollars, the parcel never came")
        await expect(page.get_by_text("waits for a finance approver").first).to_be_visible(timeout=WAIT_MS)
        withdraw = page.get_by_role("button", name=re.compile("^Withdraw"))
        await expect(withdraw.first).to_be_visible(timeout=WAIT_MS)
        await dana.shoot("teams-chat", withdraw.first)
        card = await desk.card(FINANCE, "Refund 42.00 USD")
        await withdraw.first.click()
        assert "Withdrawn by Dana Reyes" in await desk.settled(card, "Withdrawn by Dana Reyes")

        async def over() -> bool:
            return not labels(next(one for one in desk.teams.messages(FINANCE) if one.id == card.id))

        await until(over, "the card to lose its buttons")
        assert "Nothing was done." in read(desk.teams.messages(FINANCE)[-1].activity)
        assert dana.home.refunds() == []
