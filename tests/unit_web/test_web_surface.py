"""The demo workspace as a chat: what `ChatSurface` promises, over a real database."""

from __future__ import annotations

import asyncio
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from audit.writer import Writer
from bot.cards import Tone
from bot.messages import ChatUser, SurfaceName, Thread
from bot.ports import ChatSurface, Home, Standing, SurfaceError
from bot.web.chatlog import ChatLog
from bot.web.surface import DemoSurface
from bot.web.workspace import DEMO, DIRECTORY, TEAM, WorkspaceBroken, load_workspace
from policy.model import TenantId
from tests.unit_web.conftest import Demo
from tests.unit_web.demo_double import NAMES, card, dm, item, mail_item, people, posted

DANA = ChatUser(DEMO, TEAM, "dana")


async def test_it_is_a_chat_surface(demo: Demo) -> None:
    surface: ChatSurface = demo.surface
    await surface.health()
    await surface.show_home(DANA, Home("hello", None, (), ()))
    assert surface.name == "demo"


@pytest.mark.parametrize(
    ("who", "standing"),
    [
        (DANA, Standing.MEMBER),
        (ChatUser(DEMO, TEAM, "mallory"), Standing.STRANGER),
        (ChatUser(DEMO, "other", "dana"), Standing.STRANGER),
        (ChatUser(SurfaceName("slack"), TEAM, "dana"), Standing.STRANGER),
    ],
)
async def test_only_the_people_of_the_demo_are_members(demo: Demo, who: ChatUser, standing: Standing) -> None:
    assert await demo.surface.standing(who) is standing


async def test_a_card_comes_back_from_the_database_as_it_was_posted(demo: Demo) -> None:
    sent = card(item(note="x"), mail_item())
    where = await demo.surface.post(TEAM, "#finance-approvals", sent)
    (line,) = await demo.surface.log.lines("#finance-approvals", "ann")
    assert line.card == sent
    assert where.message_id == str(line.id)


async def test_an_update_replaces_the_card_where_it_stands(demo: Demo) -> None:
    where = await demo.surface.post(TEAM, "dm:lee", card())
    settled = replace(card(replace(item(), tone=Tone.DONE, buttons=())), title="Settled")
    await demo.surface.update(where, settled)
    (line,) = await demo.surface.log.lines("dm:lee", "lee")
    assert line.card == settled


@pytest.mark.parametrize("message_id", ["999", "x", ""])
async def test_an_update_of_a_card_that_is_gone_says_so(demo: Demo, message_id: str) -> None:
    with pytest.raises(SurfaceError) as caught:
        await demo.surface.update(posted("#finance-approvals", message_id), card())
    assert caught.value.gone


@pytest.mark.parametrize(
    ("team", "destination"), [(TEAM, "#nowhere"), (TEAM, "dm:mallory"), ("other", "#finance-approvals"), (TEAM, "")]
)
async def test_a_room_that_does_not_exist_is_a_sentence(demo: Demo, team: str, destination: str) -> None:
    with pytest.raises(SurfaceError, match="not posted|Nothing was posted"):
        await demo.surface.post(team, destination, card())


async def test_a_whisper_is_for_one_person(demo: Demo) -> None:
    thread = Thread(DEMO, TEAM, "#customer-care", "1")
    await demo.surface.whisper(thread, DANA, "private")
    assert len(await demo.surface.log.lines("#customer-care", "dana")) == 1
    assert await demo.surface.log.lines("#customer-care", "lee") == ()


async def test_an_answer_grows_and_then_is_a_line(demo: Demo) -> None:
    stream = await demo.surface.begin(dm("dana"), DANA)
    await stream.add("Look")
    await stream.add("ing")
    assert [growing.text for growing in demo.surface.hub.growing("dm:dana")] == ["Looking"]
    await stream.done("Looked it up.")
    await stream.add("late")
    assert demo.surface.hub.growing("dm:dana") == ()
    assert [line.text for line in await demo.surface.log.lines("dm:dana", "dana")] == ["Looked it up."]


async def test_an_empty_answer_leaves_no_line(demo: Demo) -> None:
    stream = await demo.surface.begin(dm("dana"), DANA)
    await stream.done("")
    assert await demo.surface.log.lines("dm:dana", "dana") == ()
    assert demo.surface.hub.growing("dm:dana") == ()


async def test_pages_are_rung_from_another_event_loop(demo: Demo) -> None:
    with demo.surface.hub.watching() as watch:
        turn = threading.Thread(target=lambda: asyncio.run(demo.surface.say(dm("dana"), "from a worker")))
        began = time.monotonic()
        turn.start()
        rang = await watch.rang(20)
        turn.join()
        # A bell that does not wake the sleeping loop is noticed only when the time is up.
        assert rang
        assert time.monotonic() - began < 15


async def test_closing_ends_every_live_page(demo: Demo) -> None:
    with demo.surface.hub.watching() as watch:
        demo.surface.hub.close()
        assert await watch.rang(5)
        assert watch.closed
    with demo.surface.hub.watching() as late:
        assert late.closed


async def test_a_restart_keeps_the_workspace(demo: Demo) -> None:
    await demo.surface.say(dm("dana"), "still here")
    again = DemoSurface(ChatLog(Writer(demo.writer.engine), TenantId("demo")), load_workspace(people()))
    assert [line.text for line in await again.log.lines("dm:dana", "dana")] == ["still here"]


async def test_another_tenant_sees_nothing(demo: Demo) -> None:
    where = await demo.surface.post(TEAM, "#finance-approvals", card())
    other = ChatLog(demo.writer, TenantId("other"))
    assert await other.lines("#finance-approvals", "ann") == ()
    assert await other.line(int(where.message_id)) is None
    assert not await other.redraw(int(where.message_id), card())
    assert await other.unread({"ann": ("#finance-approvals",)}) == {("ann", "#finance-approvals"): 0}


async def test_a_database_that_is_gone_is_a_surface_error(demo: Demo) -> None:
    demo.writer.close()
    with pytest.raises(SurfaceError):
        await demo.surface.say(dm("dana"), "hello")
    with pytest.raises(SurfaceError):
        await demo.surface.health()


async def test_links_lead_to_the_thread(demo: Demo) -> None:
    assert await demo.surface.link(dm("dana")) == "/open?channel=dm%3Adana&root=dm%3Adana"


def test_everybody_of_the_demo_directory_has_a_seat() -> None:
    text = DIRECTORY.read_text(encoding="utf-8")
    workspace = load_workspace(people())
    assert [member.user for member in workspace.members] == list(NAMES)
    for member in workspace.members:
        assert f"name: {member.name}" in text
        assert f"user: {member.user}" in text
        assert member.prompts


@pytest.mark.parametrize(
    "text", ["", "name: [", "name: x\npeople: {}\nchannels: []\nextra: 1", "name: x\npeople: {}\nchannels: []"]
)
def test_a_broken_workspace_file_is_named(tmp_path: Path, text: str) -> None:
    path = tmp_path / "workspace.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(WorkspaceBroken, match=r"workspace\.yaml"):
        load_workspace(people(), path)
