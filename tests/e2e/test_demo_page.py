"""The demo page in a real browser, against a real server on the loopback interface and a scripted upper layer."""

from __future__ import annotations

import asyncio
import os
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe  # type: ignore[import-untyped]
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright
from sqlmodel import SQLModel

from audit.writer import Writer, make_engine
from bot.web import tables
from bot.web.chatlog import ChatLog
from bot.web.data import MailLine
from bot.web.demo import demo_app
from bot.web.serving import DemoServer, bind_loopback, hosts_of
from bot.web.surface import DemoSurface
from bot.web.workspace import load_workspace
from policy.approval import Verb
from policy.model import TenantId
from tests.unit_web.demo_double import HOSTILE, ScriptedService, Trail, card, item, mail_item, people
from tools.held import KillView

CHROMIUM = Path("/usr/bin/chromium")
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
TOKEN = "a-token-of-at-least-128-random-bits"
ASK = "Refund order 1042, 42 dollars, the parcel never came"

pytestmark = pytest.mark.browser


@dataclass
class Running:
    address: str
    service: ScriptedService
    trail: Trail
    server: DemoServer
    thread: threading.Thread


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    engine = make_engine(f"sqlite:///{tmp_path / 'demo.sqlite'}")
    own = [SQLModel.metadata.tables[str(t.__tablename__)] for t in (tables.DemoMessage, tables.DemoSeen)]
    SQLModel.metadata.create_all(engine, tables=own)
    writer = Writer(engine)
    surface = DemoSurface(ChatLog(writer, TenantId("demo")), load_workspace(people()))
    trail = Trail()
    service = ScriptedService(surface, trail)
    sock = bind_loopback(0)
    app = demo_app(service=service, surface=surface, data=trail, token=TOKEN, hosts=hosts_of(sock))
    server = DemoServer(app, surface.hub)
    thread = threading.Thread(target=lambda: asyncio.run(server.serve([sock])))
    thread.start()
    yield Running(f"http://{hosts_of(sock)[0]}", service, trail, server, thread)
    server.should_exit = True
    thread.join(15)
    assert not thread.is_alive(), "the server did not end although its pages were told to"
    writer.close()
    engine.dispose()
    sock.close()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if not CHROMIUM.exists():
        if os.environ.get("CI") == "true":
            pytest.fail(f"{CHROMIUM} is missing, and CI must run the browser tests: apt-get install chromium")
        pytest.skip(f"{CHROMIUM} is missing: apt-get install chromium to run the browser tests")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=FLAGS)
        yield browser
        browser.close()


class Visitor:
    """One browser that has opened the printed address, and what went wrong in it."""

    def __init__(self, running: Running, context: BrowserContext) -> None:
        self.running = running
        self.context = context
        self.troubles: list[str] = []
        self.page = self.new_page()
        self.page.goto(f"{running.address}/?token={TOKEN}")
        self.page.wait_for_url("**/w/dana/dm")
        self.live()

    def new_page(self) -> Page:
        page = self.context.new_page()
        page.set_default_timeout(10_000)
        page.on("pageerror", lambda error: self.troubles.append(str(error)))
        page.on("console", lambda message: self.troubles.append(message.text) if message.type == "error" else None)
        return page

    def go(self, path: str, page: Page | None = None) -> Page:
        page = page or self.page
        page.goto(self.running.address + path)
        self.live(page)
        return page

    def live(self, page: Page | None = None) -> None:
        (page or self.page).wait_for_selector("body[data-live=yes]")

    def say(self, text: str) -> None:
        self.page.fill("#text", text)
        self.page.keyboard.press("Enter")


@pytest.fixture
def visitor(running: Running, browser: Browser) -> Iterator[Visitor]:
    with browser.new_context(viewport={"width": 1440, "height": 900}, color_scheme="light") as context:
        visitor = Visitor(running, context)
        yield visitor
        assert visitor.troubles == []


def test_the_token_leaves_the_address_and_without_it_nothing_opens(visitor: Visitor, browser: Browser) -> None:
    assert "token" not in visitor.page.url
    assert visitor.page.evaluate("document.cookie") == ""
    with browser.new_context() as stranger:
        page = stranger.new_page()
        answer = page.goto(visitor.running.address + "/w/dana/dm")
        assert answer is not None
        assert answer.status == 403
        expect(page.get_by_role("heading", name="This page needs its key")).to_be_visible()


def test_a_request_becomes_a_card_for_another_person_and_an_approval(visitor: Visitor) -> None:
    ann = visitor.go("/w/ann/finance-approvals", visitor.new_page())
    visitor.page.bring_to_front()
    visitor.say(ASK)
    expect(visitor.page.get_by_text("waiting for finance_approver")).to_be_visible()
    expect(visitor.page.locator("#text")).to_have_value("")
    expect(visitor.page.locator("#p-ann")).to_contain_text("1 card waiting")
    ann.bring_to_front()
    expect(ann.get_by_role("heading", name="Refund 42.00 USD for order 1042")).to_be_visible()
    ann.get_by_role("button", name="Approve").click()
    expect(ann.locator(".chip")).to_have_text("State: Done")
    expect(ann.locator("#notice")).to_contain_text("Approved. The refund is on its way.")
    expect(ann.get_by_role("button", name="Approve")).to_have_count(0)
    assert [press.verb for press in visitor.running.service.presses] == [Verb.APPROVE]
    assert visitor.running.service.presses[0].who.user == "ann"


def test_the_audit_grows_while_one_looks_and_can_be_verified(visitor: Visitor) -> None:
    trail = visitor.page.locator("#trail li")
    visitor.say("hello")
    expect(trail).to_have_count(1)
    visitor.running.trail.add("tool.executed", "executed")
    expect(trail).to_have_count(2)
    expect(trail.first).to_contain_text("tool.executed")
    expect(trail.first).to_contain_text("42.00 USD")
    visitor.page.get_by_role("button", name="Verify chain").click()
    expect(visitor.page.locator("#check")).to_contain_text("The chain holds.")


def test_a_rejection_with_the_keyboard_alone(visitor: Visitor) -> None:
    visitor.say(ASK)
    expect(visitor.page.locator("#p-ann")).to_contain_text("1 card")
    page = visitor.go("/w/ann/finance-approvals")
    _tab_to(page, re.compile(r"^Reject"))
    page.keyboard.press("Enter")
    dialog = page.get_by_role("dialog", name="Reject")
    expect(dialog).to_be_visible()
    expect(page.get_by_label("Why do you reject this?")).to_be_focused()
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    expect(page.get_by_role("button", name="Reject")).to_be_focused()
    page.keyboard.press("Enter")
    page.keyboard.type("The parcel was delivered")
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(dialog).to_be_hidden()
    expect(page.locator(".status")).to_have_text("Rejected by Ann Okafor: The parcel was delivered")
    assert [(press.verb, press.text) for press in visitor.running.service.presses] == [
        (Verb.REJECT, "The parcel was delivered")
    ]


def test_asking_the_requester_decides_nothing_and_arrives_in_their_thread(visitor: Visitor) -> None:
    visitor.say(ASK)
    expect(visitor.page.locator("#p-ann")).to_contain_text("1 card")
    ann = visitor.go("/w/ann/finance-approvals", visitor.new_page())
    ann.get_by_role("button", name="Ask requester").click()
    ann.get_by_label("What do you want to know?").fill("Which parcel?")
    ann.get_by_role("dialog").get_by_role("button", name="Ask requester").click()
    expect(ann.locator("#notice")).to_contain_text("Nothing was decided")
    expect(ann.locator(".chip")).to_have_text("State: Waiting")
    visitor.page.bring_to_front()
    expect(visitor.page.locator("#messages")).to_contain_text("Ann Okafor asks: Which parcel?")


def test_an_open_dialog_and_a_half_written_message_survive_news(visitor: Visitor) -> None:
    visitor.say(ASK)
    expect(visitor.page.locator("#p-ann")).to_contain_text("1 card")
    page = visitor.go("/w/ann/finance-approvals")
    page.fill("#text", "half a sen")
    page.get_by_role("button", name="Reject").click()
    page.keyboard.type("because")
    visitor.running.trail.add("tool.executed", "executed")
    _post_from_elsewhere(visitor.running.service.surface)
    expect(page.locator(".card")).to_have_count(2)
    expect(page.get_by_role("dialog")).to_be_visible()
    expect(page.locator("#reason-text")).to_have_value("because")
    expect(page.locator("#reason-text")).to_be_focused()
    expect(page.locator("#text")).to_have_value("half a sen")


def test_withdraw_below_the_answer(visitor: Visitor) -> None:
    visitor.say(ASK)
    visitor.page.get_by_role("button", name="Withdraw").click()
    expect(visitor.page.locator("#notice")).to_contain_text("Withdrawn. Nothing was done.")
    assert visitor.running.service.presses[0].verb is Verb.WITHDRAW


def test_a_command_stops_everything_visibly(visitor: Visitor) -> None:
    page = visitor.go("/w/ada/dm")
    page.get_by_role(
        "button", name="/countersign kill tool refund.issue the refund provider is acting up"
    ).first.click()
    expect(page.locator("#text")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_contain_text("Stopped: tool refund.issue.")
    assert visitor.running.service.commands[0].text.startswith("kill tool refund.issue")


def test_threads_in_a_room(visitor: Visitor) -> None:
    page = visitor.go("/w/dana/customer-care")
    visitor.say("@Countersign who is C-1007?")
    expect(page.get_by_role("group", name="Thread, 1 reply")).to_be_visible()
    page.get_by_role("link", name="Reply in thread").click()
    visitor.live()
    visitor.say("and her orders?")
    expect(page.get_by_role("group", name="Thread, 3 replies")).to_be_visible()
    assert len({heard.thread.root for heard in visitor.running.service.heard}) == 1


def test_a_new_conversation_and_hostile_text(visitor: Visitor) -> None:
    visitor.say(HOSTILE)
    expect(visitor.page.locator(".line.bot")).to_have_count(1)
    visitor.page.get_by_role("button", name="New conversation").click()
    expect(visitor.page.locator(".break")).to_be_visible()
    visitor.say("second")
    expect(visitor.page.get_by_text("You said: second")).to_be_visible()
    assert visitor.page.title() != "owned"
    assert visitor.page.locator("#messages img[src=x]").count() == 0
    assert visitor.running.service.heard[1].thread.root != visitor.running.service.heard[0].thread.root


def test_mail_and_refunds_are_one_tab_away_with_the_arrow_keys(visitor: Visitor) -> None:
    visitor.running.trail.sent.append(MailLine("m1", datetime.now(UTC), "ada@example.com", "On its way", "Dear Ada"))
    visitor.page.get_by_role("tab", name="Audit trail").focus()
    visitor.page.keyboard.press("ArrowRight")
    expect(visitor.page.get_by_role("tabpanel", name="Mail that left")).to_contain_text("Dear Ada")
    visitor.page.keyboard.press("ArrowRight")
    expect(visitor.page.get_by_role("tabpanel", name="Refunds")).to_contain_text("No refund has been issued.")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(("width", "height"), [(1440, 900), (390, 844)])
def test_nothing_serious_for_axe_and_nothing_wider_than_the_screen(
    running: Running, browser: Browser, scheme: str, width: int, height: int
) -> None:
    running.service.card = card(item(note="a stranger's words"), mail_item())
    running.trail.kills = (KillView("tool refund.issue", "Ada Kim", datetime.now(UTC), "drill"),)
    for kind in ("tool.executed", "tool.blocked", "approval.pressed", "kill.switched", "turn.started"):
        running.trail.add(kind, "executed")
    with browser.new_context(viewport={"width": width, "height": height}) as context:
        visitor = Visitor(running, context)
        page = visitor.page
        page.emulate_media(color_scheme="dark" if scheme == "dark" else "light", reduced_motion="reduce")
        visitor.say(ASK)
        expect(page.get_by_role("button", name="Withdraw")).to_be_visible()
        visitor.say("/countersign whoami")
        expect(page.get_by_text("Only Dana sees this").first).to_be_visible()
        _assert_accessible(page)
        visitor.go("/w/ann/finance-approvals")
        for pane in ("side", "proof", "chat") if width < 940 else ("chat",):
            if width < 940:
                page.locator(f"[data-show={pane}]").click()
            # A pane that is alone on a small screen is not the main one: that is the one moderate finding left.
            _assert_accessible(page, all_of_it=pane == "chat")
        page.get_by_role("button", name="Reject").first.click()
        _assert_accessible(page)
        assert visitor.troubles == []


def test_the_scheme_follows_the_system_and_can_be_switched(visitor: Visitor) -> None:
    page = visitor.page
    assert _background(page) == "rgb(243, 242, 237)"
    page.emulate_media(color_scheme="dark")
    assert _background(page) == "rgb(15, 19, 22)"
    page.get_by_role("button", name="Switch between dark and light").click()
    assert _background(page) == "rgb(243, 242, 237)"
    visitor.go("/w/ann/dm")
    assert _background(page) == "rgb(243, 242, 237)"


def test_the_server_ends_although_pages_are_open(visitor: Visitor) -> None:
    visitor.running.server.should_exit = True
    visitor.running.thread.join(10)
    assert not visitor.running.thread.is_alive()
    expect(visitor.page.get_by_text("The workspace does not answer; trying again.")).to_be_visible()
    visitor.say("anybody there?")
    expect(visitor.page.locator("#notice")).to_contain_text("was not sent")
    expect(visitor.page.locator("#text")).to_have_value("anybody there?")
    visitor.troubles.clear()  # the refused connections are the point


def _post_from_elsewhere(surface: DemoSurface) -> None:
    """As a turn in an event loop of its own would."""
    post = threading.Thread(target=lambda: asyncio.run(surface.post("demo", "#finance-approvals", card(item("h7")))))
    post.start()
    post.join()


def _tab_to(page: Page, name: re.Pattern[str]) -> None:
    for _ in range(80):
        page.keyboard.press("Tab")
        focused = page.evaluate("document.activeElement.innerText || ''")
        if name.match(focused):
            return
    pytest.fail(f"no way to {name.pattern} with the Tab key")


def _assert_accessible(page: Page, *, all_of_it: bool = True) -> None:
    heavy = {"serious", "critical"} | ({"moderate"} if all_of_it else set())
    found = Axe().run(
        page, options={"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]}
    )
    assert [
        (violation["id"], violation["impact"], [node["target"] for node in violation["nodes"]])
        for violation in found.response["violations"]
        if violation["impact"] in heavy
    ] == []
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def _background(page: Page) -> str:
    return str(page.evaluate("getComputedStyle(document.body).backgroundColor"))
