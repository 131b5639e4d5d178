"""The whole demo in a real browser: `python -m bot demo` as a process, nothing scripted, the main job by clicks."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, expect, sync_playwright

ROOT = Path(__file__).parents[2]
CHROMIUM = Path("/usr/bin/chromium")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
ADDRESS = re.compile(r"(http://127\.0\.0\.1:\d+)/\?token=\S+")
MAIN = "Refund order 1042, 42 dollars, the parcel never came, and mail the customer that it's on its way"

pytestmark = pytest.mark.browser


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    """The printed address of a demo of this test's own."""
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
    command = [sys.executable, "-m", "bot", "demo", "--port", "0"]
    with subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True) as demo:
        assert demo.stdout is not None
        found = next((seen for line in demo.stdout if (seen := ADDRESS.search(line)) is not None), None)
        try:
            assert found is not None, "the demo ended without printing its address"
            yield found[0]
        finally:
            demo.send_signal(signal.SIGINT)
            try:
                demo.wait(20)
            finally:
                demo.kill()


@pytest.fixture
def page(address: str) -> Iterator[Page]:
    if not CHROMIUM.exists():
        if os.environ.get("CI") == "true":
            pytest.fail(f"{CHROMIUM} is missing, and CI must run the browser tests: apt-get install chromium")
        pytest.skip(f"{CHROMIUM} is missing: apt-get install chromium to run the browser tests")
    troubles: list[str] = []
    with (
        sync_playwright() as playwright,
        playwright.chromium.launch(executable_path=str(CHROMIUM), args=FLAGS) as browser,
    ):
        page = browser.new_page(viewport={"width": 1440, "height": 900})
        page.set_default_timeout(10_000)
        page.on("pageerror", lambda error: troubles.append(str(error)))
        page.on("console", lambda message: troubles.append(message.text) if message.type == "error" else None)
        page.goto(address)
        page.wait_for_selector("body[data-live=yes]")
        yield page
    assert troubles == []


def test_asked_countersigned_done_once_and_provable(page: Page) -> None:
    _say(page, MAIN)
    expect(_news(page)).to_contain_text("This needs somebody's approval before anything happens")
    expect(page.get_by_role("button", name="Withdraw")).to_have_count(2)
    _tab(page, "Mail that left")
    expect(page.get_by_role("tabpanel", name="Mail that left")).to_contain_text("No mail has left.")

    _sit_down_as(page, "Lee Morgan")
    card = page.locator("section.card")
    expect(card).to_contain_text("It runs only after: Refund 42.00 USD for order 1042 to Ada Lindqvist.")
    card.get_by_role("button", name="Approve").click()
    expect(card).to_contain_text("Approved by Lee Morgan")
    expect(card).to_contain_text("It runs after: Refund 42.00 USD")

    _sit_down_as(page, "Ann Okafor")
    page.get_by_role("link", name="finance-approvals").click()
    expect(card).to_contain_text("Paid84.00 USD", use_inner_text=False)
    expect(card).to_contain_text("text by strangers: order 1042 in crm.read.")
    card.get_by_role("button", name="Approve").click()
    expect(card).to_contain_text("Refunded 42.00 USD for order 1042")
    expect(card.get_by_role("button")).to_have_count(0)

    _sit_down_as(page, "Dana Reyes")
    expect(_news(page)).to_contain_text("Done. Refunded 42.00 USD for order 1042")
    expect(_news(page)).to_contain_text('Done. Sent the e-mail "Your refund for order 1042"')
    expect(page.get_by_role("button", name="Withdraw")).to_have_count(0)
    _tab(page, "Mail that left")
    mail = page.get_by_role("tabpanel", name="Mail that left")
    expect(mail).to_contain_text("1 left the house")
    expect(mail).to_contain_text("Your refund of 42.00 USD for order 1042 is on its way.")
    _tab(page, "Refunds")
    expect(page.get_by_role("tabpanel", name="Refunds")).to_contain_text("1 issued")

    _sit_down_as(page, "Aud Novak")
    _tab(page, "Audit trail")
    page.get_by_role("button", name="Verify").click()
    expect(page.locator("#check")).to_contain_text("The chain holds.")


def test_a_rejection_by_keyboard_reaches_the_requester_with_its_reason(page: Page) -> None:
    _say(page, "Refund order 1042, 42 dollars, the parcel never came")
    expect(page.get_by_role("button", name="Withdraw")).to_be_visible()
    _sit_down_as(page, "Bob Lindgren")
    page.get_by_role("link", name="finance-approvals").click()
    page.get_by_role("button", name="Reject").focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog").get_by_role("textbox")).to_be_focused()
    page.keyboard.type("We need a photo first")
    page.get_by_role("dialog").get_by_role("button", name="Reject").focus()
    page.keyboard.press("Enter")
    expect(page.locator("section.card")).to_contain_text("Rejected by Bob Lindgren")
    _sit_down_as(page, "Dana Reyes")
    expect(_news(page)).to_contain_text("rejected by Bob Lindgren. Nothing was done.")
    expect(_news(page)).to_contain_text("We need a photo first")


def _say(page: Page, text: str) -> None:
    page.locator("#text").fill(text)
    page.keyboard.press("Enter")


def _sit_down_as(page: Page, name: str) -> None:
    page.locator("#people").get_by_role("link", name=name).click()
    expect(page.locator(".hint")).to_contain_text(f"You are {name}")
    page.wait_for_selector("body[data-live=yes]")


def _tab(page: Page, name: str) -> None:
    page.get_by_role("tab", name=name).click()


def _news(page: Page) -> Locator:
    return page.locator("#messages")
