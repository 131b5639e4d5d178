"""A model's answer on a running Slack: sources and thumbs below it, a thumb that arrives, a workspace without them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from bot.messages import Room, Thread
from bot.ports import Answer, Source
from tests.rigs.local_slack import TEAM, Fault, until
from tests.rigs.slack_house import SLACK, House, person, slack_house

DANA = "U01DANA"
READ = Answer((Source("Order 1042", "Read by crm.read."),))
LINE = "Read by crm.read: Order 1042."
INVALID = Fault({"ok": False, "error": "invalid_blocks"})


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    async with slack_house("events", tmp_path) as running:
        yield running


@pytest.fixture
async def streaming(tmp_path: Path) -> AsyncIterator[House]:
    async with slack_house("events", tmp_path, streaming=True) as running:
        yield running


async def _dm(house: House) -> Thread:
    channel = await house.slack.dm(DANA)
    return Thread(SLACK, TEAM, channel, channel, Room.DM)


def _kinds(message: dict[str, Any]) -> list[str]:
    return [block["type"] for block in message.get("blocks") or []]


async def _only(house: House, thread: Thread) -> dict[str, Any]:
    (message,) = await house.slack.bot_messages(thread.channel)
    return message


async def test_a_thumb_below_an_answer_arrives_once_a_click(house: House) -> None:
    thread = await _dm(house)
    await house.surface.say(thread, "It was **shipped**.", answer=READ)
    message = await _only(house, thread)
    assert _kinds(message) == ["section", "context", "context_actions"]
    assert LINE in str(message["blocks"])
    for value in ("good", "bad"):
        await house.slack.thumb(message, DANA, value)
    await until(lambda: _is(len(house.service.feedback) == 2), "two thumbs")
    first, second = house.service.feedback
    assert (first.good, second.good) == (True, False)
    assert first.feedback_id != second.feedback_id
    assert (first.who, first.thread, first.message_id) == (person(DANA), thread, message["ts"])


async def _is(done: bool) -> bool:
    return done


async def test_in_a_thread_a_thumb_names_the_thread(house: House) -> None:
    thread = await _dm(house)
    root = await house.slack.say(thread.channel, DANA, "where is it?")
    there = Thread(SLACK, TEAM, thread.channel, root, Room.DM)
    posted = await house.surface.say(there, "Shipped.", answer=Answer())
    found = [one for one in await house.slack.bot_messages(thread.channel) if one["ts"] == posted.message_id]
    await house.slack.thumb(found[0], DANA, "good")
    await until(lambda: _is(bool(house.service.feedback)), "a thumb")
    assert house.service.feedback[0].thread == there


async def test_our_own_words_have_neither(house: House) -> None:
    thread = await _dm(house)
    await house.surface.say(thread, "The model cannot be reached.")
    assert _kinds(await _only(house, thread)) == []


async def test_a_workspace_that_does_not_draw_thumbs_gets_the_answer_all_the_same(house: House) -> None:
    thread = await _dm(house)
    house.proxy.faults["chat.postMessage"] = [INVALID]
    await house.surface.say(thread, "Shipped.", answer=READ)
    message = await _only(house, thread)
    assert _kinds(message) == ["section", "context"]
    stream = await house.surface.begin(thread, person(DANA))
    house.proxy.faults["chat.update"] = [None, INVALID]
    await stream.add("Shi")
    await stream.done("Shipped again.", READ)
    *_, grown = await house.slack.bot_messages(thread.channel)
    assert (grown["text"], _kinds(grown)) == ("Shipped again.", ["section", "context"])


async def test_an_answer_that_grew_in_a_message_has_them_when_it_is_done(house: House) -> None:
    thread = await _dm(house)
    stream = await house.surface.begin(thread, person(DANA))
    await stream.add("It was ")
    await stream.done("It was shipped.", READ)
    message = await _only(house, thread)
    assert message["text"] == "It was shipped."
    assert _kinds(message) == ["section", "context", "context_actions"]


async def test_a_streamed_answer_has_them_when_the_stream_ends(streaming: House) -> None:
    thread = await _dm(streaming)
    root = await streaming.slack.say(thread.channel, DANA, "where is it?")
    there = Thread(SLACK, TEAM, thread.channel, root, Room.CHANNEL)
    for final in ("It was shipped.\nToday.", "Something else."):
        stream = await streaming.surface.begin(there, person(DANA))
        await stream.add("It was shipped.\n")
        await stream.done(final, READ)
        *_, message = await streaming.slack.bot_messages(thread.channel)
        assert message["text"] == final
        assert _kinds(message) == ["section", "context", "context_actions"]
    (stopped, replaced) = streaming.proxy.called("chat.stopStream")
    assert [block["type"] for block in stopped["blocks"]] == ["context", "context_actions"]
    assert "blocks" not in replaced


async def test_what_one_person_sees_in_a_channel_has_its_sources_and_no_thumbs(house: House) -> None:
    root = await house.slack.say("C01GEN", DANA, "where is it?")
    thread = Thread(SLACK, TEAM, "C01GEN", root, Room.CHANNEL)
    await house.surface.whisper(thread, person(DANA), "Shipped.", answer=READ)
    (sent,) = house.proxy.called("chat.postEphemeral")
    assert [block["type"] for block in sent["blocks"]] == ["section", "context"]
