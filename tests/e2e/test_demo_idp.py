"""`countersign demo --idp` in a real browser: unknown, linked from both sides, acted for, gone. Nothing is scripted.

Canaille is a real provider: its people come over SCIM, its pages sign them in, its administrator locks somebody out.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe  # type: ignore[import-untyped]
from playwright.sync_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Locator,
    Page,
    Response,
    expect,
    sync_playwright,
)

from bot import local_idp

ROOT = Path(__file__).parents[2]
CHROMIUM = Path("/usr/bin/chromium")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
ADDRESS = re.compile(r"http://127\.0\.0\.1:\d+/\?token=\S+")
PROVIDER = re.compile(r"(http://127\.0\.0\.1:\d+)/? ")
PASSWORD = re.compile(r"password (\w+)")
ASK = "Refund order 1042, 42 dollars, the parcel never came"

pytestmark = pytest.mark.browser


@dataclass
class Told:
    """What the command printed."""

    address: str
    provider: str
    password: str


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Told]:
    """A demo of this module's own, its people at a Canaille of its own."""
    if not local_idp.PYTHON.exists() and os.environ.get("CI") != "true":
        pytest.skip("Canaille: run `make test`, or `make rigs`")
    home = tmp_path_factory.mktemp("demo-idp")
    environment = {"PATH": os.environ["PATH"], "HOME": str(home), "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
    command = [sys.executable, "-m", "bot", "demo", "--idp", "--port", "0"]
    with subprocess.Popen(command, cwd=home, env=environment, stdout=subprocess.PIPE, text=True) as demo:
        assert demo.stdout is not None
        said = ""
        for line in demo.stdout:
            said += line
            if "Ctrl-C ends" in line:
                break
        try:
            address, provider, password = (found.search(said) for found in (ADDRESS, PROVIDER, PASSWORD))
            assert address, said
            assert provider, said
            assert password, said
            yield Told(address[0], provider[1], password[1])
        finally:
            demo.send_signal(signal.SIGINT)
            try:
                demo.wait(20)
            finally:
                demo.kill()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if not CHROMIUM.exists():
        if os.environ.get("CI") == "true":
            pytest.fail(f"{CHROMIUM} is missing, and CI must run the browser tests: apt-get install chromium")
        pytest.skip(f"{CHROMIUM} is missing: apt-get install chromium to run the browser tests")
    with (
        sync_playwright() as playwright,
        playwright.chromium.launch(executable_path=str(CHROMIUM), args=FLAGS) as browser,
    ):
        yield browser


class Visitor:
    """Somebody at one browser: the chat in one tab, whatever else in others."""

    def __init__(self, told: Told, context: BrowserContext) -> None:
        self.told = told
        self.context = context
        self.troubles: list[str] = []
        context.on("weberror", lambda error: self.troubles.append(str(error.error)))
        context.on("console", self._said)
        context.on("response", self._answered)
        self.chat = context.new_page()
        self.chat.set_default_timeout(10_000)
        self.chat.goto(told.address)
        self.chat.wait_for_selector("body[data-live=yes]")

    def be(self, name: str) -> None:
        self.chat.get_by_role("navigation", name="People and rooms").get_by_role("link", name=re.compile(name)).click()
        self.chat.wait_for_selector("body[data-live=yes]")

    def say(self, text: str) -> None:
        self.chat.fill("#text", text)
        self.chat.keyboard.press("Enter")

    @property
    def news(self) -> Locator:
        return self.chat.locator("#messages article").last

    def open_link(self) -> Page:
        """The newest link's page, in a tab of its own."""
        with self.context.expect_page() as opened:
            self.chat.get_by_role("link", name="Say who you are").last.click()
        page = opened.value
        page.set_default_timeout(10_000)
        return page

    def sign_in(self, page: Page, user: str) -> None:
        """Through the provider's own pages, whoever was signed in there before."""
        page.wait_for_url(self.told.provider + "/**")
        if page.get_by_role("link", name="Switch account").count():
            page.get_by_role("link", name="Switch account").click()
        page.fill("input[name=login]", user)
        page.keyboard.press("Enter")
        page.fill("input[name=password]", self.told.password)
        page.keyboard.press("Enter")

    def link(self, user: str) -> Page:
        """All of it, as `user`, from the prompt that stands last in the chat."""
        page = self.open_link()
        page.get_by_role("button", name="Sign in and link").click()
        self.sign_in(page, user)
        page.get_by_role("button", name="Yes, link them").click()
        self.chat.get_by_role("button", name="Yes, link me").last.click()
        expect(self.news).to_contain_text("Your code is")
        page.fill("input[name=code]", self.code())
        page.get_by_role("button", name="Link").click()
        expect(page.get_by_role("heading", name="Linked")).to_be_visible()
        return page

    def _said(self, message: ConsoleMessage) -> None:
        if message.type == "error" and not message.text.startswith("Failed to load resource"):
            self.troubles.append(message.text)

    def _answered(self, response: Response) -> None:
        if response.status >= 400 and not response.url.startswith(self.told.provider):
            self.troubles.append(f"{response.status} {response.url}")

    def refused(self, status: int) -> None:
        """A page was a refusal; that was the point."""
        assert [trouble[:3] for trouble in self.troubles] == [str(status)]
        self.troubles.clear()

    def code(self) -> str:
        found = re.search(r"Your code is ([A-Z0-9]{4}-[A-Z0-9]{4})", self.news.inner_text())
        assert found, self.news.inner_text()
        return found[1]


@pytest.fixture
def visitor(told: Told, browser: Browser) -> Iterator[Visitor]:
    with browser.new_context(viewport={"width": 1440, "height": 900}, color_scheme="light") as context:
        visitor = Visitor(told, context)
        yield visitor
        assert visitor.troubles == []


def test_a_stranger_is_acted_for_once_both_sides_are_proved(visitor: Visitor) -> None:
    people = visitor.chat.get_by_role("navigation", name="People and rooms")
    expect(people.get_by_text("not linked")).to_have_count(9)
    visitor.say(ASK)
    expect(visitor.chat.get_by_role("link", name="Say who you are")).to_be_visible()
    expect(visitor.chat.get_by_role("tabpanel", name="Audit trail")).not_to_contain_text("tool.requested")

    _assert_accessible(visitor.chat)

    page = visitor.open_link()
    expect(page.get_by_text("the demo chat, team demo, user dana")).to_be_visible()
    page.get_by_role("button", name="Sign in and link").click()
    visitor.sign_in(page, "dana")
    expect(page.get_by_text("dana.reyes@acme.example")).to_be_visible()
    expect(page.get_by_role("definition").get_by_text("dana", exact=True)).to_be_visible()
    _assert_accessible(page)
    page.get_by_role("button", name="Yes, link them").click()
    page.fill("input[name=code]", "BCDF-GHJK")
    page.get_by_role("button", name="Link").click()
    expect(page.get_by_role("alert")).to_be_visible()
    visitor.refused(403)

    expect(visitor.news).to_contain_text("wants to link this chat account")
    visitor.chat.get_by_role("button", name="Yes, link me").click()
    expect(visitor.news).to_contain_text("Your code is")
    page.fill("input[name=code]", visitor.code())
    page.get_by_role("button", name="Link").click()
    expect(page.get_by_role("heading", name="Linked")).to_be_visible()

    expect(visitor.news).to_contain_text("is linked to Dana Reyes")
    expect(people.get_by_text("not linked")).to_have_count(8)
    visitor.say("/countersign whoami")
    expect(visitor.news).to_contain_text("Dana Reyes")
    expect(visitor.news).to_contain_text("support_agent")
    visitor.say(ASK)
    expect(visitor.chat.get_by_role("button", name="Withdraw")).to_be_visible()


def test_somebody_elses_link_binds_nothing(visitor: Visitor) -> None:
    visitor.be("Lee Morgan")
    visitor.say("/countersign link")
    page = visitor.open_link()
    page.get_by_role("button", name="Sign in and link").click()
    visitor.sign_in(page, "sam")
    expect(page.get_by_text("sam.patel@acme.example")).to_be_visible()
    page.get_by_role("button", name="Yes, link them").click()
    expect(visitor.news).to_contain_text("Sam Patel")
    visitor.chat.get_by_role("button", name="No, that was not me").click()
    expect(visitor.news).to_contain_text("Nothing was linked")
    page.fill("input[name=code]", "BCDF-GHJK")
    page.get_by_role("button", name="Link").click()
    expect(page.get_by_role("heading", name="This question is over")).to_be_visible()
    visitor.refused(410)
    visitor.say("/countersign whoami")
    expect(visitor.news).to_contain_text("I do not know who you are")


def test_a_page_of_ones_own_needs_no_chat(visitor: Visitor) -> None:
    page = visitor.context.new_page()
    page.set_default_timeout(10_000)
    page.goto(visitor.chat.url.partition("/w/")[0] + "/requests")
    page.get_by_role("button", name="Sign in").click()
    visitor.sign_in(page, "ann")
    page.wait_for_url("**/requests")
    expect(page.get_by_text("Ann Okafor").first).to_be_visible()
    expect(page.get_by_text("Refund 42.00 USD for order 1042").first).to_be_visible()


def test_whoever_is_locked_out_at_the_provider_is_out_at_once(visitor: Visitor) -> None:
    visitor.be("Dana Reyes")
    expect(visitor.chat.get_by_role("button", name="Withdraw").last).to_be_visible()
    admin = visitor.context.new_page()
    admin.set_default_timeout(10_000)
    admin.goto(f"{visitor.told.provider}/login")
    visitor.sign_in(admin, "ada")
    expect(admin.get_by_role("link", name="Users")).to_be_visible()
    admin.goto(f"{visitor.told.provider}/profile/dana/settings")
    admin.get_by_role("button", name="Lock the account").click()
    admin.get_by_role("button", name="Lock", exact=True).click()
    expect(admin.get_by_role("button", name="Unlock")).to_be_visible()

    visitor.be("Ann Okafor")
    visitor.chat.get_by_role("link", name="finance-approvals").click()
    card = visitor.chat.locator("section.card").last
    expect(card.get_by_role("button")).to_have_count(0)
    expect(card).to_contain_text("Not done")
    visitor.be("Dana Reyes")
    visitor.say(ASK)
    expect(visitor.chat.get_by_role("button", name="Withdraw")).to_have_count(0)


def _assert_accessible(page: Page) -> None:
    """WCAG AA, in both schemes."""
    rules = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]}
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        found = Axe().run(page, options=rules).response["violations"]
        assert [(one["id"], [node["target"] for node in one["nodes"]]) for one in found] == []
    page.emulate_media(color_scheme="light")
