"""The Slack adapter against local-slack, in both modes: what a person does arrives, what the bot says is seen."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from bot.cards import Tone
from bot.messages import Room, Thread
from bot.ports import Ask, PressReply
from policy.approval import Verb
from tests.rigs.local_slack import TEAM, until
from tests.rigs.slack_house import SLACK, House, a_card, person, slack_house

DANA, ANN = "U01DANA", "U03ANN"


@pytest.fixture(params=["socket", "events"])
async def house(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[House]:
    async with slack_house(request.param, tmp_path) as running:
        yield running


async def _said(house: House, channel: str, text: str) -> dict[str, Any]:
    async def probe() -> dict[str, Any] | None:
        return next((m for m in await house.slack.bot_messages(channel) if text in m["text"]), None)

    return await until(probe, f"the bot to say {text!r}")


async def _private(house: House, channel: str, user: str) -> list[str]:
    async def probe() -> list[str] | None:
        return await house.slack.private(channel, user) or None

    return await until(probe, "a private answer")


async def test_a_dm_is_answered_there(house: House) -> None:
    dm = await house.slack.dm(DANA)
    ts = await house.slack.say(dm, DANA, "refund <b> & co for &lt;@U03ANN&gt;")
    await _said(house, dm, "heard")
    (message,) = house.service.messages
    assert (message.who, message.message_id) == (person(DANA), ts)
    assert message.thread == Thread(SLACK, TEAM, dm, dm, Room.DM)
    assert message.event_id.startswith("Ev")


async def test_a_mention_is_answered_in_its_thread_and_the_thread_goes_on_without_one(house: House) -> None:
    ts = await house.slack.say("C01GEN", DANA, "<@U0BOT> refund order 1042")
    answer = await _said(house, "C01GEN", "heard: refund order 1042")
    assert answer["thread_ts"] == ts
    await house.slack.say("C01GEN", ANN, "and the mail?", thread_ts=ts)
    assert (await _said(house, "C01GEN", "heard: and the mail?"))["thread_ts"] == ts
    assert [message.who for message in house.service.messages] == [person(DANA), person(ANN)]
    assert {message.thread for message in house.service.messages} == {Thread(SLACK, TEAM, "C01GEN", ts, Room.CHANNEL)}


async def test_talk_that_is_not_ours_stays_unheard(house: House) -> None:
    root = await house.slack.say("C01GEN", DANA, "lunch?")
    await house.slack.say("C01GEN", ANN, "yes", thread_ts=root)
    await house.slack.say("C01GEN", DANA, "<@U0BOT> hello")
    await _said(house, "C01GEN", "heard: hello")
    assert [message.text for message in house.service.messages] == ["hello"]


async def test_the_slash_command_is_answered_privately(house: House) -> None:
    await house.slack.command("C01GEN", DANA, "kill user <@U03ANN|ann> too many refunds")
    assert await _private(house, "C01GEN", DANA) == ["*status* of kill user &lt;@U03ANN&gt; too many refunds"]
    (command,) = house.service.commands
    assert (command.who, command.thread.room) == (person(DANA), Room.CHANNEL)
    assert command.text == "kill user <@U03ANN> too many refunds"


async def test_a_card_is_pressed_and_drawn_anew(house: House) -> None:
    posted = await house.surface.post(TEAM, "#finance-approvals", a_card())
    (card,) = await house.slack.bot_messages("G01FIN")
    assert any(e.get("user_id") == ANN for e in card["blocks"][1]["elements"][0]["elements"])
    house.service.reply = PressReply("You approved it.", a_card(tone=Tone.DONE))
    await house.slack.press(card, ANN, "cs.press.approve")
    assert await _private(house, "G01FIN", ANN) == ["You approved it."]
    (press,) = house.service.presses
    assert (press.who, press.verb, press.held_id, press.revision) == (person(ANN), Verb.APPROVE, "held1", 1)
    assert press.digest == "d" * 64
    drawn = (await house.slack.bot_messages("G01FIN"))[0]
    assert drawn["ts"] == posted.message_id
    assert not [block for block in drawn["blocks"] if block["type"] == "actions"]


async def test_two_clicks_are_two_presses_with_ids_of_their_own(house: House) -> None:
    await house.surface.post(TEAM, "#finance-approvals", a_card())
    (card,) = await house.slack.bot_messages("G01FIN")
    for count in (1, 2):
        await house.slack.press(card, ANN, "cs.press.approve")

        async def pressed(count: int = count) -> bool:
            return len(house.service.presses) == count

        await until(pressed, f"press {count}")
    assert len({press.press_id for press in house.service.presses}) == 2


async def test_a_rejection_needs_a_reason(house: House) -> None:
    await house.surface.post(TEAM, "#finance-approvals", a_card())
    (card,) = await house.slack.bot_messages("G01FIN")
    await house.slack.press(card, ANN, "cs.modal.reject")

    async def opened() -> bool:
        return bool(house.slack.shown("view"))

    await until(opened, "the modal")
    await house.slack.submit(ANN, " no ")

    async def complained() -> list[dict[str, Any]]:
        return house.slack.shown("view_errors")

    (frame,) = await until(complained, "the complaint")
    assert "at least 3 characters" in str(frame)
    assert house.service.presses == []
    await house.slack.submit(ANN, "over policy")
    assert await _private(house, "G01FIN", ANN) == ["Counted."]
    (press,) = house.service.presses
    assert (press.verb, press.text, press.held_id, press.digest) == (Verb.REJECT, "over policy", "held1", "d" * 64)
    assert press.who == person(ANN)


async def test_a_question_goes_to_the_requester_and_decides_nothing(house: House) -> None:
    await house.surface.post(TEAM, "dm:U03ANN", a_card())
    dm = await house.slack.dm(ANN)
    (card,) = await house.slack.bot_messages(dm)
    await house.slack.press(card, ANN, "cs.modal.ask")

    async def opened() -> bool:
        return bool(house.slack.shown("view"))

    await until(opened, "the modal")
    await house.slack.submit(ANN, "Which parcel?")
    await _said(house, dm, "Counted.")
    (press,) = house.service.presses
    assert (press.verb, press.text) == (Verb.ASK, "Which parcel?")


async def test_an_expired_request_is_asked_again_and_a_waiting_one_withdrawn(house: House) -> None:
    dm = await house.slack.dm(DANA)
    thread = Thread(SLACK, TEAM, dm, dm, Room.DM)
    asks = (Ask("Ask again", "ask_again", "held7"), Ask("Withdraw", "withdraw", "held8", 2, "abc"))
    await house.surface.say(thread, "It expired.", asks)
    (message,) = await house.slack.bot_messages(dm)
    await house.slack.press(message, DANA, "cs.ask_again")
    await house.slack.press(message, DANA, "cs.press.withdraw")

    async def both() -> bool:
        return bool(house.service.again and house.service.presses)

    await until(both, "both presses")
    assert (house.service.again[0].held_id, house.service.again[0].who) == ("held7", person(DANA))
    press = house.service.presses[0]
    assert (press.verb, press.held_id, press.revision, press.digest) == (Verb.WITHDRAW, "held8", 2, "abc")


async def test_app_home_shows_what_waits(house: House) -> None:
    await house.slack.open_home(DANA)

    async def shown() -> list[dict[str, Any]]:
        return house.slack.shown("home")

    frames = await until(shown, "App Home")
    assert "Refund 42.00 USD for order 1042" in str(frames[-1])
    assert house.service.homes == [person(DANA)]


async def test_a_whisper_is_seen_by_one(house: House) -> None:
    thread = Thread(SLACK, TEAM, "C01GEN", "C01GEN", Room.CHANNEL)
    await house.surface.whisper(thread, person(DANA), "I cannot do that for you.")
    assert await house.slack.private("C01GEN", DANA) == ["I cannot do that for you."]
    assert await house.slack.private("C01GEN", ANN) == []


async def test_a_press_while_the_service_is_down_is_said_plainly(house: House) -> None:
    await house.surface.post(TEAM, "#finance-approvals", a_card())
    (card,) = await house.slack.bot_messages("G01FIN")
    house.service.broken = True
    await house.slack.press(card, ANN, "cs.press.approve")
    (text,) = await _private(house, "G01FIN", ANN)
    assert text == "I could not take that down. Nothing was done. Please try again in a minute."
