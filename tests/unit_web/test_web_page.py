"""What the page shows: hostile text stays text, panels fail alone, a restart keeps the workspace."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from html import escape

import pytest

from bot.web.data import AuditLine, MailLine
from bot.web.demo import as_event
from bot.web.markup import rendered
from bot.web.panes import Drawer
from bot.web.view import View
from tests.unit_web.conftest import Demo, text_of
from tests.unit_web.demo_double import HOSTILE, card, dm, item, mail_item
from tools.held import KillView


@pytest.mark.parametrize(
    "text",
    [
        HOSTILE,
        "[x](javascript:alert(1))",
        "[x](  JaVaScRiPt:alert(1))",
        "![x](http://evil.example/x.png)",
        "<hx-partial hx-target='#banners'>all is well</hx-partial>",
        "[x](data:text/html;base64,PHNjcmlwdD4=)",
        "<a hx-get='/x'>y</a>",
        "`<b>`",
    ],
)
def test_markdown_comes_out_harmless(text: str) -> None:
    html = str(rendered(text)).lower()
    for tag in ("<script", "<img", "<hx-", "<a hx", "<b>", 'href="javascript', 'href="data', 'href="  java'):
        assert tag not in html


def test_a_link_to_the_web_is_a_link_that_tells_nothing() -> None:
    html = str(rendered("[docs](https://example.com/a?b=1)"))
    assert 'href="https://example.com/a?b=1"' in html
    assert 'rel="noopener noreferrer nofollow"' in html


async def test_hostile_text_stays_text_wherever_it_is_shown(demo: Demo) -> None:
    hostile = replace(
        card(item(note=HOSTILE), mail_item(HOSTILE)),
        title=HOSTILE,
        requester=HOSTILE,
        summary=HOSTILE,
        thread_link="javascript:alert(1)",
    )
    await demo.surface.post("demo", "#finance-approvals", hostile)
    await demo.surface.say(dm("dana"), HOSTILE)
    demo.trail.kills = (KillView(HOSTILE, HOSTILE, datetime.now(UTC), HOSTILE),)
    demo.trail.sent.append(MailLine("m1", datetime.now(UTC), HOSTILE, HOSTILE, HOSTILE))
    demo.trail.rows.append(
        AuditLine(1, datetime.now(UTC), HOSTILE, "tool.failed", HOSTILE, HOSTILE, HOSTILE, HOSTILE, "ab" * 32)
    )
    client = await demo.let_in()
    await client.post("/w/dana/dm/say", data={"text": HOSTILE})
    for room in ("/w/dana/dm", "/w/ann/finance-approvals"):
        html = (await client.get(room)).text
        assert "<img src=x" not in html
        assert "<script>" not in html
        assert "javascript:" not in html
        assert escape(HOSTILE)[:20] in html.replace("&#34;", "&quot;").replace("&#39;", "&#x27;")


async def test_the_whole_draft_can_be_read(demo: Demo) -> None:
    body = "".join(f"Line {n} of the draft.\n" for n in range(1500)) + "THE END"
    await demo.surface.post("demo", "#finance-approvals", card(mail_item(body)))
    client = await demo.let_in()
    html = (await client.get("/w/ann/finance-approvals")).text
    assert body in html
    assert f"{len(body):,} characters" in html


async def test_rooms_are_shown_to_their_members_alone(demo: Demo) -> None:
    await demo.surface.post("demo", "#finance-approvals", card())
    await demo.surface.say(dm("dana"), "for Dana's eyes")
    client = await demo.let_in()
    assert "finance-approvals" in text_of((await client.get("/w/bob/dm")).text)
    assert "for Dana" not in (await client.get("/w/bob/dm")).text
    refused = await client.get("/open?channel=dm:dana&root=dm:dana&as=bob")
    assert refused.status_code == 403
    assert "for Dana" not in refused.text
    opened = await client.get("/open?channel=dm:dana&root=dm:dana&as=dana")
    assert opened.headers["location"] == "/w/dana/dm"


async def test_waiting_cards_are_counted_per_person_and_unread_lines_per_room(demo: Demo) -> None:
    await demo.surface.post("demo", "#finance-approvals", card())
    demo.trail.waits = {"ann": 2, "bob": 1}
    client = await demo.let_in()
    page = text_of((await client.get("/w/ann/dm")).text)
    assert "2 cards waiting" in page
    assert "1 card waiting" in page
    assert "1 unread" in page
    await client.get("/w/ann/finance-approvals")
    assert "1 unread" not in text_of((await client.get("/w/ann/dm")).text)


async def test_the_model_is_named_for_what_it_is_and_a_stop_is_shown(demo: Demo) -> None:
    client = await demo.let_in()
    before = (await client.get("/w/dana/dm")).text
    assert "offline stand-in (no AI)" in before
    assert "Stopped:" not in before
    demo.trail.kills = (KillView("all", "Ada Kim", datetime.now(UTC), "drill"),)
    after = text_of((await client.get("/w/dana/dm")).text)
    assert "Stopped: all." in after
    assert "By Ada Kim since" in after
    assert "drill" in after


async def test_a_panel_that_cannot_be_read_leaves_the_rest(demo: Demo) -> None:
    demo.trail.broken = True
    demo.trail.add("tool.executed", "executed")
    client = await demo.let_in()
    page = await client.get("/w/dana/dm")
    assert page.status_code == 200
    assert "tool.executed" not in page.text
    assert "Hello Dana" in page.text


async def test_only_what_changed_is_sent_and_a_message_of_many_lines_stays_one_event(demo: Demo) -> None:
    member = demo.surface.workspace.members[0]
    view = View(member, demo.surface.workspace.places(member)[0])
    drawer = Drawer(demo.service, demo.surface, demo.trail)
    before = await drawer.panes(view)
    await demo.surface.say(dm("dana"), "one\ntwo")
    after = await drawer.panes(view)
    assert {name for name in after if after[name] != before[name]} == {"messages", "rooms"}
    event = as_event({"messages": after["messages"]})
    assert event.endswith("\n\n")
    assert all(line.startswith("data: ") for line in event.rstrip("\n").split("\n"))


@pytest.mark.parametrize("broken", ["\r", "\x0b", "\x0c", "\x1c", "\x85", "\u2028"])
def test_no_character_of_a_message_ends_an_event(broken: str) -> None:
    event = as_event({"messages": f"a{broken}data: b{broken}{broken}c"})
    assert "\r" not in event
    assert event.count("\n\n") == 1


async def test_verify_says_what_was_found(demo: Demo) -> None:
    client = await demo.let_in()
    answer = await client.post("/verify")
    assert "The chain holds." in answer.text
