"""Verified activities through `TeamsActivities` to a recorded service: what is taken, when it is answered, what is not.

The real counterpart of this adapter is driven in `test_teams_journeys.py`; here each delivery is made by hand, so that
it can come twice, late, forged or while the service is down.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import Any

import pytest

from bot.messages import ChatUser, Room
from bot.ports import SurfaceError
from bot.teams.deliveries import TEAMS
from bot.teams.late import NOT_TAKEN
from policy.approval import Verb
from tests.kit.teams_bench import Bench, opened, pressed
from tests.kit.teams_bodies import (
    ARNO,
    ARNO_ID,
    BOT,
    CHANNEL,
    GROUP,
    OTHER_TENANT,
    RITA,
    RITA_ID,
    TENANT,
    Body,
    channel,
    group,
    invoke,
    mention,
    personal,
)


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    async with opened() as made:
        yield made


# --- messages ----------------------------------------------------------------------------------------


async def test_a_message_is_taken_before_it_is_answered(bench: Bench) -> None:
    assert await bench.deliver(personal("Refund order 1042")) == (200, "")
    [message] = bench.service.messages
    assert (message.text, message.who) == ("Refund order 1042", ChatUser(TEAMS, TENANT, RITA_ID))


async def test_the_answer_waits_until_the_message_is_durable(bench: Bench) -> None:
    bench.service.gate = asyncio.Event()
    working = asyncio.create_task(bench.deliver(personal("Refund order 1042")))
    done, _ = await asyncio.wait({working}, timeout=0.6)  # twice what an invoke may take
    assert not done
    bench.service.gate.set()
    assert await working == (200, "")
    assert len(bench.service.messages) == 1


async def test_a_message_that_was_not_taken_is_not_acknowledged(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    bench.service.broken = True
    status, _ = await bench.deliver(personal("Refund order 1042 for Ada"))
    assert status == 503
    assert "OSError" in caplog.text
    for secret in ("4111", "Ada", "1042"):
        assert secret not in caplog.text
    bench.service.broken = False
    assert (await bench.deliver(personal("Refund order 1042 for Ada")))[0] == 200
    assert len(bench.service.messages) == 1


async def test_a_message_delivered_again_has_the_same_ids(bench: Bench) -> None:
    seen: list[tuple[str, str]] = []

    async def heard(message: Any) -> None:
        seen.append((message.message_id, message.event_id))

    bench.service.on_message = heard  # type: ignore[method-assign]
    for _ in range(2):
        await bench.deliver(personal("Refund order 1042"))
    assert seen[0] == seen[1]


async def test_where_somebody_was_met_is_noted_before_the_message_is_taken(bench: Bench) -> None:
    bench.notes.broken = True
    assert (await bench.deliver(personal("hello")))[0] == 503
    assert bench.service.messages == []


@pytest.mark.parametrize("kind", ["messageUpdate", "messageDelete", "messageReaction", "typing", "event", "endOfX"])
async def test_edits_deletions_and_reactions_are_nothing(bench: Bench, kind: str) -> None:
    for body in (personal("Refund order 1042", type=kind), channel("kill all because", type=kind)):
        assert await bench.deliver(body) == (200, "")
    assert (bench.service.messages, bench.service.commands) == ([], [])


async def test_in_a_channel_only_what_is_said_to_the_bot_is_heard(bench: Bench) -> None:
    await bench.deliver(channel("lunch anyone?", mention=False, root="1"))
    assert bench.service.messages == []
    await bench.deliver(channel("refund order 1042", root="1", id="2"))
    await bench.deliver(channel("42 dollars", mention=False, root="1", id="3"))
    await bench.deliver(channel("lunch anyone?", mention=False, root="4", id="5"))
    assert [one.text for one in bench.service.messages] == ["refund order 1042", "42 dollars"]


async def test_in_a_group_chat_the_bot_must_be_named_each_time(bench: Bench) -> None:
    await bench.deliver(group("refund order 1042"))
    await bench.deliver(group("lunch anyone?", mention=False, id="2"))
    assert [one.text for one in bench.service.messages] == ["refund order 1042"]


@pytest.mark.parametrize("said", [group("refund order 1042"), channel("refund order 1042", root="1")])
async def test_who_reads_along_is_asked_of_teams(bench: Bench, said: Body) -> None:
    await bench.deliver(said)
    bench.chat.rooms = {GROUP: Room.SHARED, CHANNEL: Room.SHARED}
    await bench.deliver({**said, "id": "2"})
    bench.chat.rooms.clear()
    bench.chat.faults["room"] = [SurfaceError("away")]
    await bench.deliver({**said, "id": "3"})
    bench.chat.gate = asyncio.Event()
    await bench.deliver({**said, "id": "4"})
    bench.chat.gate.set()
    rooms = [one.thread.room for one in bench.service.messages]
    assert rooms == [Room.CHANNEL, Room.SHARED, Room.SHARED, Room.SHARED]


async def test_a_channel_that_teams_calls_shared_is_not_asked_about(bench: Bench) -> None:
    await bench.deliver(channel("refund order 1042", channel={"type": "shared"}))
    assert bench.service.messages[0].thread.room is Room.SHARED


async def test_two_tenants_with_one_conversation_id_stay_apart(bench: Bench) -> None:
    await bench.deliver(channel("refund order 1042", root="1"))
    await bench.deliver(channel("secret of the other house", root="1", tenant=OTHER_TENANT, id="9"))
    one, two = bench.service.messages
    assert one.thread.session_id != two.thread.session_id
    assert {one.who.team, two.who.team} == {TENANT, OTHER_TENANT}
    assert two.thread.team == OTHER_TENANT


@pytest.mark.parametrize("body", [{"type": ""}, {"type": ["message"]}, {"Type": "message"}, {}])
async def test_what_is_no_activity_is_a_400(bench: Bench, body: Body) -> None:
    assert (await bench.deliver(body))[0] == 400


@pytest.mark.parametrize(
    "strange",
    [
        {"from": "x"},
        {"entities": ["x"]},
        {"type": "conversationUpdate", "membersAdded": ["x"]},
        {"type": "conversationUpdate", "membersAdded": {"id": BOT}},
        {"type": "messageReaction", "reactionsAdded": [1]},
        {"type": "invoke", "conversation": [1], "value": None},
        {"text": {"a": 1}},
        {"conversation": "x", "from": {"id": "29:x"}},
    ],
)
async def test_strange_shapes_reach_nobody_and_break_nothing(bench: Bench, strange: Body) -> None:
    status, _ = await bench.deliver({**personal("hello"), "name": "adaptiveCard/action", **strange})
    assert status == 200
    heard = [one.text for one in bench.service.messages]
    assert heard == (["hello"] if "entities" in strange else [])
    assert bench.service.presses == []


async def test_the_type_is_read_as_it_is_spelt(bench: Bench) -> None:
    """The SDK would match ``Type`` too, and the gate has looked at ``type``."""
    await bench.deliver({**personal("hello", type="typing"), "Type": "message"})
    assert bench.service.messages == []


async def test_fields_and_shapes_the_sdk_does_not_know_lose_no_message(bench: Bench) -> None:
    new = {"timestamp": {"seconds": 1}, "attachments": "none", "suggestedActions": 5, "membersAdded": "x"}
    await bench.deliver({**personal("hello"), **new})
    assert [one.text for one in bench.service.messages] == ["hello"]


async def test_what_a_message_quotes_is_not_its_writers_word(bench: Bench) -> None:
    html = '<blockquote itemtype="http://schema.skype.com/Reply"><p itemprop="preview">refund it all</p></blockquote>ok'
    quoted = {"attachments": [{"contentType": "text/html", "content": html}], "entities": [{"type": "quotedReply"}]}
    await bench.deliver({**personal('<quoted messageId="17"/> is this right?'), **quoted})
    assert [one.text for one in bench.service.messages] == ["is this right?"]


async def test_home_is_shown_to_whoever_asks_for_it(bench: Bench) -> None:
    for said in (personal("Home"), group("home"), group("/countersign home")):
        assert await bench.deliver(said) == (200, "")
    await bench.rested()
    assert [who.user for who in bench.chat.homes] == [RITA_ID] * 3
    assert (bench.service.messages, bench.service.commands, bench.chat.said) == ([], [], [])
    bench.service.home = bench.service.card_for  # type: ignore[method-assign, assignment]
    await bench.deliver(personal("home"))
    await bench.rested()
    assert [one.text for one in bench.chat.said] == [NOT_TAKEN]
    await bench.deliver(personal("home delivery of order 1042?"))
    assert len(bench.service.messages) == 1


# --- commands ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["kill all too many wrong refunds", "/countersign kill all too many wrong refunds"])
async def test_a_command_is_answered_to_its_asker_alone(bench: Bench, text: str) -> None:
    assert await bench.deliver(channel(text)) == (200, "")
    await bench.rested()
    [command] = bench.service.commands
    assert command.text == "kill all too many wrong refunds"
    assert bench.service.messages == []
    [told] = bench.chat.said
    assert told.only_for == RITA_ID


async def test_a_command_is_carried_out_before_its_delivery_is_answered(bench: Bench) -> None:
    bench.service.gate = asyncio.Event()
    working = asyncio.create_task(bench.deliver(personal("kill all why")))
    assert not (await asyncio.wait({working}, timeout=0.6))[0]
    bench.service.gate.set()
    await working
    assert len(bench.service.commands) == 1


async def test_a_command_delivered_twice_is_one_command(bench: Bench) -> None:
    for _ in range(2):
        await bench.deliver(personal("kill all why"))
    one, two = bench.service.commands
    assert one.command_id == two.command_id  # the service switches once
    await bench.deliver(personal("kill all why", id="another"))
    assert bench.service.commands[2].command_id != one.command_id


async def test_a_command_names_a_person_by_their_account(bench: Bench) -> None:
    bench.notes.people[ARNO] = ARNO_ID
    await bench.deliver(group("kill user <at>Arno</at> too fast", entities=[mention(ARNO, "Arno")]))
    assert bench.service.commands[0].text == f"kill user <@{ARNO_ID}> too fast"


async def test_somebody_never_met_is_nobody_and_not_their_name(bench: Bench) -> None:
    await bench.deliver(group("kill user <at>Ada</at> too fast", entities=[mention("29:ada", "Ada")]))
    assert bench.service.commands[0].text == "kill user <@29:ada> too fast"


async def test_an_ordinary_sentence_is_no_command(bench: Bench) -> None:
    await bench.deliver(personal("help me with order 1042"))
    assert bench.service.commands == []
    assert [one.text for one in bench.service.messages] == ["help me with order 1042"]


async def test_a_command_in_passing_is_no_command(bench: Bench) -> None:
    bench.service.taking_part.add("1")
    await bench.deliver(channel("kill all", mention=False, root="1"))
    assert bench.service.commands == []
    assert [one.text for one in bench.service.messages] == ["kill all"]


async def test_a_command_that_was_not_taken_is_said_to_its_asker(bench: Bench) -> None:
    bench.service.broken = True
    assert (await bench.deliver(channel("status")))[0] == 200
    await bench.rested()
    [told] = bench.chat.said
    assert (told.text, told.only_for) == (NOT_TAKEN, RITA_ID)


# --- thumbs, installs --------------------------------------------------------------------------------


async def test_a_thumb_reaches_the_service_with_its_reason(bench: Bench) -> None:
    value = {"actionName": "feedback", "actionValue": {"reaction": "dislike", "feedback": '{"feedbackText":"wrong"}'}}
    assert (await bench.deliver(invoke(value, name="message/submitAction", card="9")))[0] == 200
    [thumb] = bench.service.feedback
    assert (thumb.good, thumb.reason, thumb.message_id) == (False, "wrong", "9")
    assert (await bench.deliver(invoke({"actionName": "x"}, name="message/submitAction")))[0] == 400


async def test_a_thumb_that_was_not_taken_is_not_acknowledged(bench: Bench) -> None:
    bench.service.broken = True
    value = {"actionName": "feedback", "actionValue": {"reaction": "like"}}
    assert (await bench.deliver(invoke(value, name="message/submitAction")))[0] == 503


@pytest.mark.parametrize(
    "came",
    [
        personal(type="installationUpdate", action="add"),
        group(type="installationUpdate", action="add", mention=False),
        channel(type="conversationUpdate", mention=False, membersAdded=[{"id": BOT}]),
    ],
)
async def test_who_installs_the_app_is_welcomed_once(bench: Bench, came: Body) -> None:
    bench.notes.fresh = True
    assert await bench.deliver(came) == (200, "")
    bench.notes.fresh = False  # known from then on, however often Teams tells it
    await bench.deliver(came)
    await bench.rested()
    assert len(bench.chat.welcomed) == 1


async def test_nobody_is_welcomed_for_anything_else(bench: Bench) -> None:
    bench.notes.fresh = True
    for body in (
        personal("hello"),
        personal(type="installationUpdate", action="remove"),
        group(type="conversationUpdate", mention=False, membersAdded=[{"id": RITA}]),
        pressed(Verb.APPROVE),
    ):
        await bench.deliver(body)
    await bench.rested()
    assert bench.chat.welcomed == []
    assert len(bench.notes.noted) == 4


async def test_a_welcome_that_does_not_arrive_is_no_fault_of_the_install(bench: Bench) -> None:
    bench.notes.fresh = True
    bench.chat.faults["welcome"] = [SurfaceError("away")]
    assert await bench.deliver(personal(type="installationUpdate", action="add")) == (200, "")
