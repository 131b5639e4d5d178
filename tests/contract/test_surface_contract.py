"""What every chat promises (`bot.ports.ChatSurface`), asked of every chat."""

from __future__ import annotations

import dataclasses

import pytest

from bot.cards import Tone
from bot.ports import Ask, ChatSurface, Home, HomeLine, Posted, Standing, SurfaceError
from tests.contract.conftest import Chat
from tests.rigs.slack_house import a_card


def _found(texts: list[str], words: str) -> int:
    return sum(words in text for text in texts)


async def test_it_answers(surface: ChatSurface, chat: Chat) -> None:
    await surface.health()
    assert surface.name == chat.member.surface


async def test_a_member_and_somebody_from_elsewhere(chat: Chat) -> None:
    assert await chat.surface.standing(chat.member) is Standing.MEMBER
    assert await chat.surface.standing(chat.stranger) is Standing.STRANGER
    nobody = dataclasses.replace(chat.member, user="nobody-of-that-name")
    assert await chat.surface.standing(nobody) in (Standing.STRANGER, Standing.UNKNOWN)


async def test_everyone_reads_what_is_said_in_a_thread(chat: Chat) -> None:
    posted = await chat.surface.say(chat.thread, "Order 1042 is *shipped*.")
    assert (posted.surface, posted.team, posted.channel) == (chat.member.surface, chat.team, chat.thread.channel)
    assert posted.message_id
    for who in (chat.member, chat.other):
        assert _found(await chat.seen(chat.thread.channel, who), "Order 1042 is") == 1


async def test_a_whisper_is_read_by_one_person(chat: Chat) -> None:
    await chat.surface.whisper(chat.thread, chat.member, "I cannot do that for you.")
    assert _found(await chat.seen(chat.thread.channel, chat.member), "I cannot do that") == 1
    assert _found(await chat.seen(chat.thread.channel, chat.other), "I cannot do that") == 0


async def test_a_whisper_in_a_dm_stays_there(chat: Chat) -> None:
    await chat.surface.whisper(chat.dm, chat.member, "That stays between us.")
    assert _found(await chat.seen(chat.dm.channel, chat.member), "That stays between us.") == 1


@pytest.mark.parametrize("place", ["dm", "thread"])
async def test_an_answer_grows_and_is_settled_once(chat: Chat, place: str) -> None:
    thread = chat.dm if place == "dm" else chat.thread
    stream = await chat.surface.begin(thread, chat.member)
    for word in ("Order ", "1042\n", "is on ", "its way."):
        await stream.add(word)
    await stream.done("Order 1042\nis on its way.")
    seen = await chat.seen(thread.channel, chat.member)
    assert _found(seen, "is on its way.") == 1
    assert _found(seen, "Working on it") == 0


async def test_a_settled_answer_replaces_what_had_grown(chat: Chat) -> None:
    """The output guardrail has the last word."""
    stream = await chat.surface.begin(chat.thread, chat.member)
    await stream.add("The card number is 4111 1111 1111 1111.\nIt is")
    await stream.done("The card number is [redacted].")
    seen = await chat.seen(chat.thread.channel, chat.member)
    assert _found(seen, "[redacted]") == 1
    assert _found(seen, "4111") == 0


async def test_an_answer_can_be_taken_back(chat: Chat) -> None:
    """Where it went privately to the asker instead."""
    before = len(await chat.seen(chat.thread.channel, chat.member))
    stream = await chat.surface.begin(chat.thread, chat.member)
    await stream.add("Ada's address is\n")
    await stream.done("")
    seen = await chat.seen(chat.thread.channel, chat.member)
    assert _found(seen, "Ada's address") == 0
    assert len(seen) == before


async def test_a_card_is_posted_and_drawn_anew(chat: Chat) -> None:
    posted = await chat.surface.post(chat.team, chat.destination, a_card())
    seen = await chat.seen(chat.destination, chat.other)
    assert _found(seen, "Refund 42.00 USD for order 1042 to Ada Lindqvist") == 1
    assert _found(seen, "Waiting for 1 person") == 1
    await chat.surface.update(posted, a_card(tone=Tone.DONE))
    seen = await chat.seen(chat.destination, chat.other)
    assert _found(seen, "Waiting for 1 person") == 0
    assert _found(seen, "Refunded, re_81") == 1


async def test_a_card_that_is_gone_says_so(chat: Chat) -> None:
    posted = await chat.surface.post(chat.team, chat.destination, a_card())
    gone = Posted(posted.surface, posted.team, posted.channel, "999999999.000001")
    with pytest.raises(SurfaceError) as caught:
        await chat.surface.update(gone, a_card(tone=Tone.DONE))
    assert caught.value.gone


async def test_no_such_place(chat: Chat) -> None:
    with pytest.raises(SurfaceError) as caught:
        await chat.surface.post(chat.team, "#no-such-channel", a_card())
    assert "no-such-channel" in str(caught.value)


async def test_another_team(chat: Chat) -> None:
    with pytest.raises(SurfaceError):
        await chat.surface.post(chat.stranger.team, chat.destination, a_card())


async def test_a_long_answer_is_not_cut(chat: Chat) -> None:
    text = " ".join(f"word{number}" for number in range(3_000))
    await chat.surface.say(chat.dm, text)
    seen = " ".join(await chat.seen(chat.dm.channel, chat.member))
    assert all(f"word{number}" in seen for number in (0, 1_234, 2_999))


async def test_a_message_with_a_button(chat: Chat) -> None:
    posted = await chat.surface.say(chat.dm, "It expired.", (Ask("Ask again", "ask_again", "held1"),))
    assert posted.message_id
    assert _found(await chat.seen(chat.dm.channel, chat.member), "It expired.") == 1


async def test_links_and_home_do_not_fail(chat: Chat) -> None:
    assert await chat.surface.link(chat.thread)
    await chat.surface.link(chat.dm)
    line = HomeLine("Refund 42.00 USD", "Waiting for Finance", None)
    await chat.surface.show_home(chat.member, Home("Good day", "Stopped by Ada Kim", (line,) * 30, ()))
