"""A model's answer in every chat: whoever reads it reads what it was read from; nobody else does."""

from __future__ import annotations

import pytest

from bot.ports import Answer, Ask, Source
from tests.contract.conftest import Chat

READ = Answer((Source("Order 1042", "Read by crm.read."), Source("Customer C-1007", "Read by crm.read.")))
NAMES = ("Order 1042", "Customer C-1007")


def _cited(seen: list[str], words: str) -> bool:
    """Whether a message with `words` is followed by its sources, in itself or in the next one."""
    at = next(n for n, text in enumerate(seen) if words in text)
    return all(name in "\n".join(seen[at : at + 2]) for name in NAMES)


@pytest.mark.parametrize("place", ["dm", "thread"])
async def test_what_is_said_names_its_sources(chat: Chat, place: str) -> None:
    thread = chat.dm if place == "dm" else chat.thread
    await chat.surface.say(thread, "It was **shipped**.", answer=READ)
    assert _cited(await chat.seen(thread.channel, chat.member), "shipped")


@pytest.mark.parametrize("place", ["dm", "thread"])
async def test_an_answer_that_grew_names_them_once_it_is_settled(chat: Chat, place: str) -> None:
    thread = chat.dm if place == "dm" else chat.thread
    stream = await chat.surface.begin(thread, chat.member)
    await stream.add("It was\n")
    await stream.done("It was\nshipped.", READ)
    assert _cited(await chat.seen(thread.channel, chat.member), "shipped")


async def test_a_whispers_sources_are_read_by_one_person(chat: Chat) -> None:
    await chat.surface.whisper(chat.thread, chat.member, "It was shipped.", answer=READ)
    assert _cited(await chat.seen(chat.thread.channel, chat.member), "shipped")
    others = "\n".join(await chat.seen(chat.thread.channel, chat.other))
    assert not [name for name in ("shipped", *NAMES) if name in others]


async def test_a_button_stays_below_an_answer_with_sources(chat: Chat) -> None:
    await chat.surface.say(chat.dm, "It expired.", (Ask("Ask again", "ask_again", "h1"),), READ)
    assert _cited(await chat.seen(chat.dm.channel, chat.member), "It expired.")


async def test_our_own_words_name_nothing(chat: Chat) -> None:
    await chat.surface.say(chat.dm, "The model cannot be reached.")
    await chat.surface.say(chat.dm, "I have read nothing.", answer=Answer())
    seen = "\n".join(await chat.seen(chat.dm.channel, chat.member))
    assert "I have read nothing." in seen
    assert not [name for name in NAMES if name in seen]
