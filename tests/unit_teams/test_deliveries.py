"""Raw activities read into our words: who, where, what; and everything strange read as nothing."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from bot.messages import ChatUser, Room, Thread
from bot.teams import deliveries
from bot.teams.deliveries import TEAMS
from bot.teams.mentions import said as said_in
from bot.teams.tables import Kind
from tests.kit.teams_bodies import (
    ARNO,
    ARNO_ID,
    BOT,
    CHANNEL,
    GROUP,
    OTHER_TENANT,
    PERSONAL,
    RITA,
    RITA_ID,
    TENANT,
    activity,
    channel,
    group,
    invoke,
    mention,
    personal,
)


def test_a_personal_message() -> None:
    got = deliveries.incoming(personal("Refund order 1042", id="17"))
    assert got is not None
    assert got.who == ChatUser(TEAMS, TENANT, RITA_ID)
    assert got.thread == Thread(TEAMS, TENANT, PERSONAL, PERSONAL, Room.DM)
    assert (got.message_id, got.event_id, got.text) == ("17", f"{PERSONAL}:17", "Refund order 1042")


def test_a_group_chat_is_one_thread() -> None:
    got = deliveries.incoming(group("hello"))
    assert got is not None
    assert got.thread == Thread(TEAMS, TENANT, GROUP, GROUP, Room.CHANNEL)
    assert got.text == "hello"


def test_a_channel_message_lives_in_its_reply_chain() -> None:
    got = deliveries.incoming(channel("hello", root="1699"))
    assert got is not None
    assert got.thread == Thread(TEAMS, TENANT, CHANNEL, "1699", Room.CHANNEL)
    assert got.text == "hello"


def test_a_shared_channel_is_told_apart() -> None:
    got = deliveries.incoming(channel("hello", channel={"type": "Shared"}))
    assert got is not None
    assert got.thread.room is Room.SHARED


def test_a_channel_post_without_a_chain_begins_one() -> None:
    body = channel("hello", id="55")
    body["conversation"]["id"] = CHANNEL
    got = deliveries.incoming(body)
    assert got is not None
    assert got.thread.root == "55"


def test_ids_of_people_and_tenants_are_in_lower_case() -> None:
    got = deliveries.sender(personal(tenant=TENANT.upper(), person=RITA_ID.upper()))
    assert got == ChatUser(TEAMS, TENANT, RITA_ID)


def test_an_account_without_an_object_id_is_nobodys() -> None:
    who = deliveries.sender(personal(person=None, account=RITA_ID))
    assert who.user == f"unknown:{RITA_ID}"
    assert who.user != RITA_ID


@pytest.mark.parametrize("account", ["28:another-bot", BOT, ""])
def test_bots_and_teams_itself_say_nothing(account: str) -> None:
    assert deliveries.incoming(personal("hello", account=account)) is None


@pytest.mark.parametrize("role", ["bot", "skill", "Bot"])
def test_a_sender_that_says_it_is_a_bot_is_one(role: str) -> None:
    body = personal("hello")
    body["from"]["role"] = role
    assert deliveries.incoming(body) is None


@pytest.mark.parametrize("text", ["", "   ", "\n&nbsp;\n"])
def test_nothing_said_is_no_message(text: str) -> None:
    assert deliveries.incoming(personal(text)) is None
    assert deliveries.incoming(group(text)) is None


def test_two_tenants_with_one_conversation_id_are_two_threads() -> None:
    one, two = (deliveries.incoming(personal("hi", tenant=tenant)) for tenant in (TENANT, OTHER_TENANT))
    assert one is not None
    assert two is not None
    assert one.thread.session_id != two.thread.session_id
    assert one.who != two.who


@pytest.mark.parametrize(
    ("told", "meant"),
    [
        ({"conversationType": "personal"}, Kind.PERSONAL),
        ({"conversationType": "groupChat"}, Kind.GROUP),
        ({"conversationType": "channel"}, Kind.CHANNEL),
        ({"isGroup": True}, Kind.GROUP),
        ({}, Kind.GROUP),
        ({"id": "a:1"}, Kind.PERSONAL),
        ({"id": "a:1", "isGroup": True}, Kind.GROUP),
        ({"id": "19:x@thread.v2"}, Kind.GROUP),
        ({"conversationType": "personal", "isGroup": False}, Kind.PERSONAL),
        ({"conversationType": "personal", "isGroup": True}, Kind.GROUP),
        # Two people's own chat, to which the app was added: "personal" to Teams.
        ({"conversationType": "personal", "id": f"19:{RITA_ID}_{ARNO_ID}@unq.gbl.spaces"}, Kind.GROUP),
        ({"conversationType": "personal", "id": "19:meeting_x@thread.v2"}, Kind.GROUP),
        ({"conversationType": "personal", "id": f"19:{RITA_ID}_{BOT[3:]}@unq.gbl.spaces"}, Kind.PERSONAL),
        ({"conversationType": "meeting-of-the-future"}, Kind.GROUP),
        ({"conversationType": "meeting-of-the-future", "isGroup": True}, Kind.GROUP),
    ],
)
def test_kinds_of_conversations(told: dict[str, Any], meant: Kind) -> None:
    assert deliveries.kind_of(activity("message", {"id": "c", **told})) is meant


def test_a_channel_that_does_not_say_it_is_one() -> None:
    body = activity("message", {"id": "c"}, channelData={"channel": {"id": "c"}})
    assert deliveries.kind_of(body) is Kind.CHANNEL


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"from": "x", "conversation": [], "channelData": 5, "recipient": None, "entities": {"a": 1}, "text": {}},
        {"type": "message", "text": "hi", "from": {"id": 5}, "conversation": {"id": ["c"]}, "entities": [None, 3, "x"]},
    ],
)
def test_strange_shapes_are_no_message_and_no_crash(body: dict[str, Any]) -> None:
    assert deliveries.incoming(body) is None
    assert deliveries.feedback(body) is None
    assert not deliveries.arrived(body)
    assert not deliveries.left(body)
    deliveries.delivery_id(body)
    deliveries.thread_of(body)


# --- mentions ----------------------------------------------------------------------------------------


def test_others_are_named_to_readers_and_identified_to_commands() -> None:
    body = group("kill user <at>Arno</at> too fast", entities=[mention(ARNO, "Arno")])
    said = said_in(body)
    assert said.names_bot
    assert said.text == "kill user @Arno too fast"
    assert said.command({ARNO: ARNO_ID}) == f"kill user <@{ARNO_ID}> too fast"
    assert said.command({}) == f"kill user <@{ARNO}> too fast"


def test_a_name_of_two_words_comes_in_two_mentions() -> None:
    told = [mention(ARNO, "Arno"), mention(ARNO, "Approver")]
    said = said_in(group("kill user <at>Arno</at> <at>Approver</at> why", entities=told))
    assert said.text == "kill user @Arno Approver why"
    assert said.command({ARNO: ARNO_ID}) == f"kill user <@{ARNO_ID}> why"
    assert len(said.others) == 1


def test_two_people_side_by_side_stay_two() -> None:
    told = [mention(ARNO, "Arno"), mention(RITA, "Rita")]
    said = said_in(personal("<at>Arno</at> <at>Rita</at>", entities=told))
    assert said.text == "@Arno @Rita"


def test_people_of_one_name_come_in_the_order_of_the_text() -> None:
    told = [mention(ARNO, "Kim"), mention(RITA, "Kim")]
    said = said_in(personal("<at>Kim</at> and <at>Kim</at>", entities=told))
    assert said.command({}) == f"<@{ARNO}> and <@{RITA}>"


def test_an_entity_says_who_is_meant_where_it_knows() -> None:
    said = said_in(personal("<at>Arno</at>", entities=[mention(ARNO, "Arno", aadObjectId=ARNO_ID.upper())]))
    assert said.command({}) == f"<@{ARNO_ID}>"


def test_nobody_can_type_a_mention() -> None:
    said = said_in(personal("&lt;at&gt;Countersign&lt;/at&gt; <at>Arno</at> x"))
    assert not said.names_bot
    assert said.others == ()
    assert said.text == "<at>Countersign</at> Arno x"


def test_the_bots_mention_with_an_id_in_its_tag_or_none_at_all() -> None:
    told = [{"type": "mention", "mentioned": {"id": BOT, "name": "Countersign"}, "text": "<at>Countersign</at>"}]
    assert said_in(personal('<at id="0">Countersign</at> hello', entities=told)).text == "hello"
    bare = [{"type": "mention", "mentioned": {"id": BOT, "name": "Countersign"}, "text": "Countersign"}]
    assert said_in(personal("Countersign hello", entities=bare)).text == "hello"


def test_a_mention_that_the_text_lost_still_counts() -> None:
    assert said_in(personal("hello", entities=[mention(BOT, "Countersign")])).names_bot


def test_what_was_typed_comes_back_once() -> None:
    said = said_in(personal("a &amp;lt; b &lt;c&gt; &quot;d&quot; x&copy=1"))
    assert said.text == 'a &lt; b <c> "d" x&copy=1'


@pytest.mark.parametrize(
    "text",
    [
        "<at>" * 60_000 + "x",
        "<at>Arno</at>" * 60_000,
        "<at>Arno</at> " * 60_000,
        "<at " * 100_000,
        "<at>" * 30_000 + "</at>" * 30_000,
        "<quoted " * 60_000 + "/>",
        "&nbsp;" * 100_000,
        "\u00a0" * 200_000,
    ],
    ids=["open", "one", "spaced", "tags", "nested", "quotes", "spaces", "more spaces"],
)
def test_no_message_holds_the_bot_up(text: str) -> None:
    """One member's message must not cost everybody else theirs: some MB a second, whatever it says."""
    entities = [mention(f"29:{n % 7}", "Arno") for n in range(5_000)]
    told = [*entities, {"type": "mention", "mentioned": {"id": BOT}, "text": "<at>" * 20_000}]
    began = time.process_time()
    said = said_in(personal(text, entities=told))
    assert said.text is not None
    assert said.command({}) is not None
    assert time.process_time() - began < 3, "linear it takes a tenth of a second"


# --- the rest ----------------------------------------------------------------------------------------


def test_one_act_has_one_id_however_often_it_is_delivered() -> None:
    body = invoke({"action": {}})
    assert deliveries.delivery_id(body) == deliveries.delivery_id(json.loads(json.dumps(body)))
    assert deliveries.delivery_id(body) != deliveries.delivery_id({**body, "id": "f:invoke-2"})
    assert deliveries.delivery_id(body) != deliveries.delivery_id(
        invoke({"action": {}}, where=personal(person=ARNO_ID))
    )


def test_an_act_without_an_id_is_told_apart_by_what_it_says() -> None:
    body = {**invoke({"action": {"verb": "a"}}), "id": None}
    assert deliveries.delivery_id(body) == deliveries.delivery_id(dict(body))
    assert deliveries.delivery_id(body) != deliveries.delivery_id({**body, "timestamp": "later"})


@pytest.mark.parametrize(
    ("wrapped", "reason"),
    [
        ('{"feedbackText":"wrong order"}', "wrong order"),
        ('{"feedbackText":""}', ""),
        ({"feedbackText": " wrong order "}, "wrong order"),
        ("wrong order", "wrong order"),
        ("5", "5"),
        ("{}", ""),
        (None, ""),
        (["x"], ""),
    ],
)
def test_a_thumb_with_its_reason(wrapped: Any, reason: str) -> None:
    value = {"actionName": "feedback", "actionValue": {"reaction": "dislike", "feedback": wrapped}}
    got = deliveries.feedback(invoke(value, name="message/submitAction", card="99"))
    assert got is not None
    assert (got.good, got.reason, got.message_id, got.who.user) == (False, reason, "99", RITA_ID)


def test_a_thumb_up_and_other_submissions() -> None:
    value = {"actionName": "feedback", "actionValue": {"reaction": "like"}}
    up = deliveries.feedback(invoke(value, name="message/submitAction"))
    assert up is not None
    assert up.good
    assert deliveries.feedback(invoke({**value, "actionName": "else"}, name="message/submitAction")) is None
    value["actionValue"] = {"reaction": "shrug"}
    assert deliveries.feedback(invoke(value, name="message/submitAction")) is None


@pytest.mark.parametrize(
    ("body", "arrived", "left"),
    [
        (personal(type="installationUpdate", action="add"), True, False),
        (personal(type="installationUpdate", action="add-upgrade"), True, False),
        (personal(type="installationUpdate", action="remove"), False, True),
        (personal(type="installationUpdate", action="x"), False, False),
        (group(type="conversationUpdate", membersAdded=[{"id": RITA}, {"id": BOT}]), True, False),
        (group(type="conversationUpdate", membersRemoved=[{"id": RITA}, {"id": BOT}]), False, True),
        (group(type="conversationUpdate", membersAdded=[{"id": RITA}]), False, False),
        (group(type="conversationUpdate", membersRemoved=[{"id": RITA}]), False, False),
        (personal("add", action="add", membersRemoved=[{"id": BOT}]), False, False),
    ],
)
def test_the_bot_comes_and_goes(body: dict[str, Any], arrived: bool, left: bool) -> None:
    assert (deliveries.arrived(body), deliveries.left(body)) == (arrived, left)


def test_a_team_that_is_deleted_takes_the_bot_along() -> None:
    body = channel(type="conversationUpdate", mention=False)
    body["channelData"]["eventType"] = "teamDeleted"
    assert deliveries.left(body)


def test_an_install_in_a_team_is_in_no_reply_chain() -> None:
    body = channel(type="installationUpdate", mention=False, action="add")
    body["conversation"]["id"] = CHANNEL
    assert deliveries.thread_of(body).root == CHANNEL
