"""Verified activities through `TeamsActivities` to a recorded service: what is taken, when it is answered, what is not.

The real counterpart of this adapter is driven in `test_teams_journeys.py`; here each delivery is made by hand, so that
it can come twice, late, forged or while the service is down.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

import pytest
import pytest_asyncio

from bot.cards import Button, Card, Item, Tone
from bot.messages import ChatUser, Room, Thread
from bot.ports import Home, PressReply, SurfaceError
from bot.teams.action import ASK_AGAIN, LINK_NO, LINK_YES, PRESS, REFRESH, WITHDRAW, action_data
from bot.teams.activities import TeamsActivities
from bot.teams.deliveries import TEAMS
from bot.teams.invokes import NOT_OURS, STILL_AT_IT
from bot.teams.late import NOT_TAKEN
from bot.teams.whereabouts import Whereabouts
from policy.approval import Verb
from tests.kit.scripted import RecordedChat
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
    execute,
    group,
    invoke,
    mention,
    personal,
)
from tests.rigs.slack_house import RecordingService

DIGEST = "d" * 64
CARD_TYPE = "application/vnd.microsoft.card.adaptive"
MESSAGE_TYPE = "application/vnd.microsoft.activity.message"
ERROR_TYPE = "application/vnd.microsoft.error"


def card(status: str = "Waiting for Finance", *buttons: Verb) -> Card:
    shown = tuple(Button(verb, verb.value.title()) for verb in buttons)
    item = Item("h1", 3, DIGEST, Tone.WAITING, "Refund 42.00 USD", status, (), (), None, (), shown)
    return Card("c1", "Approval needed", "Dana Reyes", None, (), (item,), "Dana asks for a refund")


@dataclass
class Notes:
    """Stands for `bot.teams.whereabouts`."""

    noted: list[Body] = field(default_factory=list)
    people: dict[str, str] = field(default_factory=dict)
    fresh: bool = False
    broken: bool = False

    async def note(self, body: Any) -> bool:
        if self.broken:
            raise OSError("no database")
        self.noted.append(body)
        return self.fresh

    async def behind(self, team: str, accounts: tuple[str, ...]) -> Mapping[str, str]:
        return {one: self.people[one] for one in accounts if one in self.people and team == TENANT}


@dataclass
class Chat(RecordedChat):
    welcomed: list[Thread] = field(default_factory=list)
    rooms: dict[str, Room] = field(default_factory=dict)
    slow_s: float = 0
    homes: list[ChatUser] = field(default_factory=list)

    async def show_home(self, who: ChatUser, home: Home) -> None:
        assert home.waiting_for_me
        self.homes.append(who)

    async def room(self, thread: Thread) -> Room:
        await asyncio.sleep(self.slow_s)
        self.fault("room")
        return self.rooms.get(thread.channel, Room.CHANNEL)

    async def welcome(self, thread: Thread) -> None:
        self.fault("welcome")
        self.welcomed.append(thread)


@dataclass
class Bench:
    service: RecordingService
    chat: Chat
    notes: Notes
    activities: TeamsActivities

    async def deliver(self, body: Body) -> tuple[int, Any]:
        response = await self.activities.deliver(json.loads(json.dumps(body)))
        raw = bytes(response.body)
        return response.status_code, json.loads(raw) if raw[:1] in (b"{", b"[") else raw.decode()

    async def press(self, verb: Verb = Verb.APPROVE, text: str = "", **more: Any) -> Any:
        status, told = await self.deliver(pressed(verb, text, **more))
        assert status == 200
        return told

    async def rested(self) -> None:
        await self.activities.close()


def pressed(verb: Verb, text: str = "", **more: Any) -> Body:
    data = dict(action_data(PRESS, "h1", revision=3, digest=DIGEST, verb=verb))  # type: ignore[arg-type]
    return invoke(execute({**data, "input": "text_0", "text_0": text}), **more)


def said(reply: Any) -> str:
    """Everything somebody reads of an invoke's answer."""
    return json.dumps(reply["value"], ensure_ascii=False)


@pytest_asyncio.fixture
async def bench() -> AsyncIterator[Bench]:
    service, chat, notes = RecordingService(), Chat(name=TEAMS), Notes()
    service.reply = PressReply("Counted.", card("Approved by Arno"))
    activities = TeamsActivities(service, chat, cast("Whereabouts", notes), answer_within_s=0.3, room_within_s=0.3)
    yield Bench(service, chat, notes, activities)
    await activities.close()


# --- messages ----------------------------------------------------------------------------------------


async def test_a_message_is_taken_before_it_is_answered(bench: Bench) -> None:
    assert await bench.deliver(personal("Refund order 1042")) == (200, "")
    [message] = bench.service.messages
    assert (message.text, message.who) == ("Refund order 1042", ChatUser(TEAMS, TENANT, RITA_ID))


async def test_the_answer_waits_until_the_message_is_durable(bench: Bench) -> None:
    bench.service.slow_s = 0.6  # twice what an invoke may take
    working = asyncio.create_task(bench.deliver(personal("Refund order 1042")))
    done, _ = await asyncio.wait({working}, timeout=0.3)
    assert not done
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
    bench.chat.slow_s = 0.6
    await bench.deliver({**said, "id": "4"})
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
    bench.service.slow_s = 0.5
    working = asyncio.create_task(bench.deliver(personal("kill all why")))
    assert not (await asyncio.wait({working}, timeout=0.25))[0]
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


# --- presses -----------------------------------------------------------------------------------------


async def test_a_press_is_answered_with_its_pressers_card(bench: Bench) -> None:
    told = await bench.press(where=group(person=ARNO_ID, account=ARNO), card="77")
    [press] = bench.service.presses
    assert (press.who, press.held_id, press.revision, press.digest) == (
        ChatUser(TEAMS, TENANT, ARNO_ID),
        "h1",
        3,
        DIGEST,
    )
    assert (press.verb, press.channel, press.message_id) == (Verb.APPROVE, GROUP, "77")
    assert (told["statusCode"], told["type"]) == (200, CARD_TYPE)
    assert "Approved by Arno" in said(told)
    assert "Counted." in said(told)
    assert bench.chat.said == []


async def test_a_reason_comes_with_the_press(bench: Bench) -> None:
    await bench.press(Verb.REJECT, "wrong order")
    assert [(one.verb, one.text) for one in bench.service.presses] == [(Verb.REJECT, "wrong order")]


@pytest.mark.parametrize(("verb", "text"), [(Verb.REJECT, ""), (Verb.ASK, " x "), (Verb.REJECT, "x" * 2001)])
async def test_a_rejection_without_a_reason_is_asked_for_one(bench: Bench, verb: Verb, text: str) -> None:
    told = await bench.press(verb, text)
    assert told["type"] == MESSAGE_TYPE
    assert "Nothing was decided" in told["value"]
    assert bench.service.presses == []


async def test_a_double_press_is_told_apart_from_a_repeated_delivery(bench: Bench) -> None:
    for delivery in ("f:1", "f:1", "f:2"):
        await bench.press(id=delivery)
    first, again, other = (press.press_id for press in bench.service.presses)
    assert first == again
    assert first != other


async def test_one_id_of_two_people_or_tenants_is_two_presses(bench: Bench) -> None:
    await bench.press()
    await bench.press(where=personal(person=ARNO_ID, account=ARNO))
    await bench.press(where=personal(tenant=OTHER_TENANT))
    assert len({press.press_id for press in bench.service.presses}) == 3


async def test_a_refused_press_says_why_on_the_card_of_its_presser_alone(bench: Bench) -> None:
    refusal = "You asked for this yourself, so you cannot approve it."
    bench.service.reply = PressReply(refusal, card("Waiting for Finance", Verb.WITHDRAW))
    told = await bench.press(where=group())
    assert told["type"] == CARD_TYPE
    assert refusal in said(told)
    assert "Waiting for Finance" in said(told)
    assert (bench.chat.said, bench.chat.cards) == ([], {})


async def test_somebody_who_may_not_see_the_card_gets_the_sentence_and_no_card(bench: Bench) -> None:
    bench.service.reply = PressReply("You may not decide this.")
    told = await bench.press(where=group(person=ARNO_ID, account=ARNO))
    assert (told["type"], told["value"]) == (MESSAGE_TYPE, "You may not decide this.")


async def test_the_shared_card_is_never_shown_in_place_of_ones_own(bench: Bench) -> None:
    async def none(who: ChatUser, held_id: str) -> None:
        return None

    bench.service.card_for = none  # type: ignore[method-assign]
    told = await bench.press()
    assert (told["type"], told["value"]) == (MESSAGE_TYPE, "Counted.")


async def test_a_press_that_takes_long_is_answered_and_goes_on(bench: Bench) -> None:
    bench.service.slow_s = 1.0
    started = time.monotonic()
    told = await bench.press(where=group(), card="77")
    assert time.monotonic() - started < 0.9
    assert (told["type"], told["value"]) == (MESSAGE_TYPE, STILL_AT_IT)
    assert bench.service.presses == []
    await bench.rested()
    assert len(bench.service.presses) == 1
    assert bench.chat.cards == {(GROUP, "c1"): bench.service.reply.card}
    assert [(one.text, one.only_for) for one in bench.chat.said] == [("Counted.", RITA_ID)]


async def test_a_card_that_takes_long_is_not_waited_for(bench: Bench) -> None:
    async def slow(who: ChatUser, held_id: str) -> Card:
        await asyncio.sleep(1.0)
        return card()

    bench.service.card_for = slow  # type: ignore[method-assign]
    told = await bench.press()
    assert (told["type"], told["value"]) == (MESSAGE_TYPE, "Counted.")


async def test_a_slow_press_whose_chat_is_away_still_counts(bench: Bench) -> None:
    bench.service.slow_s = 0.6
    bench.chat.faults["update"] = [SurfaceError("away")]
    bench.chat.faults["direct"] = [SurfaceError("away")]
    await bench.press()
    await bench.rested()
    assert len(bench.service.presses) == 1


async def test_a_press_that_was_not_taken_says_so(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    bench.service.broken = True
    told = await bench.press()
    assert (told["type"], told["value"]) == (MESSAGE_TYPE, NOT_TAKEN)
    assert "4111" not in caplog.text


@pytest.mark.parametrize(
    "value",
    [
        {},
        {"action": {}},
        {"action": "approve"},
        execute({}),
        execute({"cs": 1, "act": "press", "held": "h1"}),
        execute({"cs": 1, "act": "launch", "held": "h1", "rev": 3, "digest": DIGEST, "verb": "approve"}),
        execute({"cs": 1, "act": "press", "held": "h1", "rev": 3, "digest": DIGEST, "verb": "pay_me"}),
        execute({"cs": 1, "act": "press", "held": ["h1"], "rev": "3", "digest": {}, "verb": "approve"}),
        execute({"cs": 2, "act": "press", "held": "h1", "rev": 3, "digest": DIGEST, "verb": "approve"}),
        [1],
        "approve",
        None,
    ],
)
async def test_forged_and_unknown_actions_reach_nobody(bench: Bench, value: Any) -> None:
    status, told = await bench.deliver(invoke(value))
    assert (status, told["statusCode"], told["type"]) == (200, 400, ERROR_TYPE)
    assert told["value"]["message"] == NOT_OURS
    assert bench.service.presses == []


async def test_what_the_data_says_of_the_presser_is_not_believed(bench: Bench) -> None:
    body = pressed(Verb.APPROVE)
    forged = {"who": ARNO_ID, "user": ARNO_ID, "from": {"aadObjectId": ARNO_ID}, "tenant": OTHER_TENANT}
    body["value"]["action"]["data"] |= forged
    body["value"]["from"] = {"aadObjectId": ARNO_ID}
    await bench.deliver(body)
    assert bench.service.presses[0].who == ChatUser(TEAMS, TENANT, RITA_ID)


@pytest.mark.parametrize("name", ["task/fetch", "composeExtension/query", "signin/tokenExchange", "", "adaptiveCard/x"])
async def test_other_invokes_are_not_implemented(bench: Bench, name: str) -> None:
    assert (await bench.deliver(invoke(execute({}), name=name)))[0] == 501


async def test_expected_replies_change_nothing(bench: Bench) -> None:
    told = await bench.press(deliveryMode="expectReplies")
    assert told["type"] == CARD_TYPE


async def test_the_other_buttons(bench: Bench) -> None:
    told = {}
    for act in (ASK_AGAIN, LINK_YES, LINK_NO):
        status, told[act] = await bench.deliver(invoke(execute(dict(action_data(act, "x7")))))  # type: ignore[arg-type]
        assert status == 200
    withdraw = action_data(WITHDRAW, "h1", revision=3, digest=DIGEST, verb=Verb.WITHDRAW)
    await bench.deliver(invoke(execute(dict(withdraw))))  # type: ignore[arg-type]
    assert [one.held_id for one in bench.service.again] == ["x7"]
    assert [(one.confirmation_id, one.yes) for one in bench.service.link_answers] == [("x7", True), ("x7", False)]
    assert [one.verb for one in bench.service.presses] == [Verb.WITHDRAW]
    assert told[ASK_AGAIN]["value"] == "Asked again."
    assert told[LINK_YES]["value"] == "Linked."


async def test_a_refresh_shows_ones_own_view_and_presses_nothing(bench: Bench) -> None:
    value = execute(dict(action_data(REFRESH, "h1")), verb="refresh", trigger="automatic")  # type: ignore[arg-type]
    status, told = await bench.deliver(invoke(value))
    assert (status, told["type"]) == (200, CARD_TYPE)
    assert "Approved by Arno" in said(told)
    assert bench.service.presses == []


async def test_a_refresh_by_somebody_with_nothing_to_see_leaves_the_card(bench: Bench) -> None:
    bench.service.reply = PressReply("")
    value = execute(dict(action_data(REFRESH, "h1")), verb="refresh", trigger="automatic")  # type: ignore[arg-type]
    status, told = await bench.deliver(invoke(value))
    assert (status, told["statusCode"], told["type"]) == (200, 404, ERROR_TYPE)


async def test_a_client_without_universal_actions_sends_a_message(bench: Bench) -> None:
    data = dict(action_data(PRESS, "h1", revision=3, digest=DIGEST, verb=Verb.REJECT))  # type: ignore[arg-type]
    value = {**data, "input": "text_0", "text_0": "wrong order"}
    assert await bench.deliver(group(value=value, replyToId="77", mention=False)) == (200, "")
    await bench.rested()
    [press] = bench.service.presses
    assert (press.verb, press.text, press.message_id) == (Verb.REJECT, "wrong order", "77")
    assert bench.chat.cards == {(GROUP, "c1"): bench.service.reply.card}
    assert [(one.text, one.only_for) for one in bench.chat.said] == [("Counted.", RITA_ID)]
    assert bench.service.messages == []


async def test_a_message_with_somebody_elses_value_is_a_message(bench: Bench) -> None:
    await bench.deliver(personal("hello", value={"some": "app"}))
    assert [one.text for one in bench.service.messages] == ["hello"]


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
