"""Slack that refuses, limits, hangs, lacks methods or changes its mind: said plainly, nothing half done."""

from __future__ import annotations

import hashlib
import hmac
import json
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from bot.cards import Tone
from bot.messages import ChatUser, Room, Thread
from bot.ports import Posted, Standing, SurfaceError
from tests.rigs.local_slack import RATE_LIMITED, SIGNING_SECRET, TEAM, Fault, until
from tests.rigs.slack_house import SLACK, House, a_card, person, slack_house
from tests.unit_slack.test_card_blocks import LONG

DANA, ANN = "U01DANA", "U03ANN"
HANGS = Fault(hang_s=1.5)
BROKEN = Fault({"nothing": "useful"}, 500)


def refused(code: str) -> Fault:
    return Fault({"ok": False, "error": code})


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    async with slack_house("events", tmp_path) as running:
        yield running


@pytest.fixture
async def streaming(tmp_path: Path) -> AsyncIterator[House]:
    async with slack_house("events", tmp_path, streaming=True) as running:
        yield running


async def deliver(house: House, body: dict[str, Any]) -> int:
    """A signed delivery that local-slack cannot be made to send."""
    event = body.get("type") == "event_callback"
    data = json.dumps(body).encode() if event else urlencode({"payload": json.dumps(body)}).encode()
    stamp = str(int(time.time()))
    mac = hmac.new(SIGNING_SECRET.encode(), f"v0:{stamp}:".encode() + data, hashlib.sha256).hexdigest()
    kind = "application/json" if event else "application/x-www-form-urlencoded"
    headers = {"Content-Type": kind, "X-Slack-Request-Timestamp": stamp, "X-Slack-Signature": f"v0={mac}"}
    async with house.slack.session.post(f"{house.base}/slack/events", data=data, headers=headers) as response:
        return response.status


# --- who somebody is, now --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "standing"),
    [
        ({}, Standing.MEMBER),
        ({"deleted": True}, Standing.DEACTIVATED),
        ({"is_restricted": True}, Standing.GUEST),
        ({"is_ultra_restricted": True}, Standing.GUEST),
        ({"is_bot": True}, Standing.BOT),
        ({"is_stranger": True}, Standing.STRANGER),
        ({"is_invited_user": True}, Standing.STRANGER),
        ({"is_email_confirmed": False}, Standing.STRANGER),
        ({"team_id": "T0OTHER"}, Standing.STRANGER),
        ({"id": "U9SOMEBODY"}, Standing.UNKNOWN),
    ],
)
async def test_standing_is_read_anew(house: House, change: dict[str, Any], standing: Standing) -> None:
    assert await house.surface.standing(person(DANA)) is Standing.MEMBER
    house.proxy.users[DANA] = change
    assert await house.surface.standing(person(DANA)) is standing


@pytest.mark.parametrize("fault", [RATE_LIMITED, HANGS, BROKEN, refused("internal_error")])
async def test_nobody_is_a_member_while_slack_does_not_say_so(house: House, fault: Fault) -> None:
    house.proxy.faults["users.info"] = [fault]
    assert await house.surface.standing(person(DANA)) is Standing.UNKNOWN


async def test_a_person_of_another_team_is_not_even_looked_up(house: House) -> None:
    assert await house.surface.standing(ChatUser(SLACK, "T0OTHER", DANA)) is Standing.STRANGER
    assert house.proxy.called("users.info") == []


@pytest.mark.parametrize(
    ("user", "told"),
    [
        ({"deleted": True}, [Standing.DEACTIVATED]),
        ({"is_restricted": True}, [Standing.GUEST]),
        ({"profile": {"status_text": "lunch"}}, []),
    ],
)
async def test_an_account_that_changes(house: House, user: dict[str, Any], told: list[Standing]) -> None:
    event = {"type": "user_change", "user": {"id": DANA, "team_id": TEAM, **user}}
    assert await deliver(house, {"type": "event_callback", "team_id": TEAM, "event": event}) == 200
    assert house.service.changed == [(person(DANA), standing) for standing in told]


# --- posting ---------------------------------------------------------------------------------------


async def test_too_many_posts_say_when_to_come_back(house: House) -> None:
    house.proxy.faults["chat.postMessage"] = [Fault({"ok": False, "error": "ratelimited"}, 429, {"Retry-After": "30"})]
    with pytest.raises(SurfaceError) as caught:
        await house.surface.post(TEAM, "#finance-approvals", a_card())
    assert caught.value.retry_after_s == 30
    assert await house.slack.bot_messages("G01FIN") == []


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (refused("not_in_channel"), "/invite"),
        (refused("invalid_auth"), "SLACK_BOT_TOKEN"),
        (refused("invalid_blocks"), "invalid_blocks"),
        (HANGS, "did not answer"),
        (BROKEN, "HTTP 500"),
    ],
)
async def test_a_post_that_fails_says_what_to_do(house: House, fault: Fault, words: str) -> None:
    house.proxy.faults["chat.postMessage"] = [fault]
    with pytest.raises(SurfaceError, match=words) as caught:
        await house.surface.post(TEAM, "#finance-approvals", a_card())
    assert caught.value.retry_after_s is None


async def test_a_post_whose_answer_was_lost_is_not_sent_again_by_itself(house: House) -> None:
    house.proxy.faults["chat.postMessage"] = [Fault(status=502, after=True)]
    with pytest.raises(SurfaceError):
        await house.surface.say(Thread(SLACK, TEAM, "C01GEN", "C01GEN", Room.CHANNEL), "once")
    assert len(await house.slack.bot_messages("C01GEN")) == 1


async def test_a_long_draft_is_whole_in_the_thread_before_anybody_can_press(house: House) -> None:
    posted = await house.surface.post(TEAM, "#finance-approvals", a_card(body=LONG))
    card, *pages = await house.slack.bot_messages("G01FIN")
    assert posted.message_id == card["ts"]
    assert [page["thread_ts"] for page in pages] == [card["ts"]] * 4
    body = "".join(
        element["text"] for page in pages for element in page["blocks"][0]["elements"][1]["elements"]
    )  # fmt: skip
    assert body == f"To: ada@example.com\nSubject: Your refund\n\n{LONG}"
    order = [method for method, args in house.proxy.calls if method in ("chat.postMessage", "chat.update")]
    assert order == ["chat.postMessage"] * 5 + ["chat.update"]
    assert '"actions"' not in json.dumps(house.proxy.called("chat.postMessage"))
    assert '"actions"' in json.dumps(house.proxy.called("chat.update"))
    # Drawn anew, the thread stays as it is.
    await house.surface.update(posted, a_card(body=LONG))
    assert len(await house.slack.bot_messages("G01FIN")) == 5


async def test_pages_wait_out_the_rate_limit(house: House) -> None:
    house.proxy.faults["chat.postMessage"] = [None, None, RATE_LIMITED]
    house.proxy.faults["chat.update"] = [RATE_LIMITED]
    await house.surface.post(TEAM, "#finance-approvals", a_card(body=LONG))
    texts = [message["text"] for message in await house.slack.bot_messages("G01FIN")]
    assert [text.split(" (")[0] for text in texts[1:]] == [f"Draft, part {number} of 4" for number in range(1, 5)]
    assert len(house.proxy.called("chat.update")) == 2


@pytest.mark.parametrize(
    ("method", "faults"),
    [
        ("chat.update", [refused("internal_error")]),
        ("chat.postMessage", [None, None, refused("internal_error")]),
    ],
)
async def test_a_card_that_cannot_be_posted_whole_is_taken_back(
    house: House, method: str, faults: list[Fault | None]
) -> None:
    house.proxy.faults[method] = faults
    with pytest.raises(SurfaceError):
        await house.surface.post(TEAM, "#finance-approvals", a_card(body=LONG))
    assert await house.slack.bot_messages("G01FIN") == []


async def test_a_card_with_many_calls_is_updated_on_all_its_sheets(house: House) -> None:
    posted = await house.surface.post(TEAM, "#finance-approvals", a_card(items=9))
    assert posted.message_id.count("+") == 2
    await house.surface.update(posted, a_card(items=9, tone=Tone.DONE))
    texts = json.dumps(await house.slack.bot_messages("G01FIN"))
    assert texts.count("Refunded, re_81") == 9
    assert '"actions"' not in texts


async def test_a_card_that_was_deleted(house: House) -> None:
    posted = await house.surface.post(TEAM, "#finance-approvals", a_card())
    calls = (await house.surface.workspace()).calls
    await calls.call("chat.delete", {"channel": posted.channel, "ts": posted.message_id})
    with pytest.raises(SurfaceError) as caught:
        await house.surface.update(posted, a_card())
    assert caught.value.gone


async def test_a_whisper_where_the_person_is_not_goes_to_their_dm(house: House) -> None:
    house.proxy.faults["chat.postEphemeral"] = [refused("user_not_in_channel")]
    await house.surface.whisper(Thread(SLACK, TEAM, "C01GEN", "C01GEN", Room.CHANNEL), person(DANA), "only you")
    assert [m["text"] for m in await house.slack.bot_messages(await house.slack.dm(DANA))] == ["only you"]


# --- streams ---------------------------------------------------------------------------------------


def _thread(root: str) -> Thread:
    return Thread(SLACK, TEAM, "C01GEN", root, Room.CHANNEL)


async def test_an_answer_streams_where_the_workspace_can(streaming: House) -> None:
    dm = await streaming.slack.dm(DANA)
    root = await streaming.slack.say(dm, DANA, "refund")
    stream = await streaming.surface.begin(Thread(SLACK, TEAM, dm, root, Room.DM), person(DANA))
    for word in ("See ", "[the bank](https://evil.example)\n", "and <!channel>", " more"):
        await stream.add(word)
    await stream.done("See [the bank](https://evil.example)\nand <!channel> more")
    (start,) = streaming.proxy.called("chat.startStream")
    assert (start["recipient_user_id"], start["recipient_team_id"], start["thread_ts"]) == (DANA, TEAM, root)
    assert streaming.proxy.called("chat.appendStream")[0]["markdown_text"] == "See the bank (https://evil.example)\n"
    last = (await streaming.slack.bot_messages(dm))[-1]
    assert last["text"] == "See the bank (https://evil.example)\nand &lt;!channel&gt; more"
    assert streaming.proxy.called("assistant.threads.setStatus")[-1]["status"] == ""


async def test_what_a_workspace_lacks_is_asked_once(house: House) -> None:
    dm = await house.slack.dm(DANA)
    root = await house.slack.say(dm, DANA, "refund")
    for _ in range(2):
        stream = await house.surface.begin(Thread(SLACK, TEAM, dm, root, Room.DM), person(DANA))
        await stream.add("line\n")
        await stream.done("line")
    for method in ("agents.sessions.setStatus", "assistant.threads.setStatus", "chat.startStream"):
        assert len(house.proxy.called(method)) == 1, method
    said = [m["text"] for m in await house.slack.bot_messages(dm) if not m["text"].startswith("heard")]
    assert said == ["line", "line"]


async def test_a_refusal_of_one_call_does_not_write_a_method_off(streaming: House) -> None:
    root = await streaming.slack.say("C01GEN", DANA, "refund")
    streaming.proxy.faults["chat.startStream"] = [refused("internal_error")]
    for _ in range(2):
        stream = await streaming.surface.begin(_thread(root), person(DANA))
        await stream.done("line")
    assert len(streaming.proxy.called("chat.startStream")) == 2
    assert [m["text"] for m in await streaming.slack.bot_messages("C01GEN")] == ["line", "line"]


async def test_a_stream_that_is_limited_still_ends_with_the_whole_answer(house: House) -> None:
    root = await house.slack.say("C01GEN", DANA, "refund")
    stream = await house.surface.begin(_thread(root), person(DANA))
    house.proxy.faults["chat.update"] = [RATE_LIMITED, RATE_LIMITED]
    await stream.add("half")
    await stream.done("The whole answer.")
    assert [m["text"] for m in await house.slack.bot_messages("C01GEN")] == ["The whole answer."]


# --- deliveries ------------------------------------------------------------------------------------


async def test_deliveries_are_put_off_until_slack_says_whose_the_token_is(house: House) -> None:
    said = {"type": "message", "channel": "D1", "user": DANA, "text": "refund", "ts": "1.1", "channel_type": "im"}
    body = {"type": "event_callback", "team_id": TEAM, "event_id": "Ev1", "event": said}
    house.service.surface = None
    house.proxy.faults["auth.test"] = [refused("internal_error")]
    assert await deliver(house, body) == 503
    assert await deliver(house, body) == 200
    assert len(house.service.messages) == 1


async def test_a_slow_press_is_acknowledged_in_time_and_answered_later(house: House) -> None:
    await house.surface.post(TEAM, "#finance-approvals", a_card())
    (card,) = await house.slack.bot_messages("G01FIN")
    house.service.slow_s = 3.2
    started = time.monotonic()
    await house.slack.press(card, ANN, "cs.press.approve")
    assert time.monotonic() - started < 3

    async def told() -> list[str]:
        return await house.slack.private("G01FIN", ANN)

    assert await until(told, "the late answer") == ["Counted."]


async def test_a_dialog_that_does_not_open_is_said(house: House) -> None:
    await house.surface.post(TEAM, "#finance-approvals", a_card())
    (card,) = await house.slack.bot_messages("G01FIN")
    house.proxy.faults["views.open"] = [refused("expired_trigger_id")]
    await house.slack.press(card, ANN, "cs.modal.reject")

    async def told() -> list[str]:
        return await house.slack.private("G01FIN", ANN)

    (text,) = await until(told, "the sentence")
    assert text == "The dialog could not be opened. Nothing was decided; press the button again."
    assert house.service.presses == []


async def test_an_answer_address_that_is_dead_falls_back_to_a_whisper(house: House) -> None:
    pressed = {"action_id": "cs.press.approve", "value": "held1:1:dd", "action_ts": "1.5"}
    body = {
        "type": "block_actions",
        "team": {"id": TEAM},
        "user": {"id": ANN, "team_id": TEAM},
        "channel": {"id": "G01FIN"},
        "message": {"ts": "1.1"},
        "actions": [pressed],
        "response_url": "http://127.0.0.1:1/dead",
    }
    assert await deliver(house, body) == 200
    assert await house.slack.private("G01FIN", ANN) == ["Counted."]


# --- places ----------------------------------------------------------------------------------------


async def test_what_check_asks_of_a_channel(house: House) -> None:
    private = await house.surface.channel_facts("#finance-approvals")
    assert (private.is_private, private.is_shared) == (True, False)
    assert ANN in private.members
    assert not (await house.surface.channel_facts("#general")).is_private
    with pytest.raises(SurfaceError, match="no-such"):
        await house.surface.channel_facts("#no-such")


async def test_outsiders_are_taken_to_be_there_when_slack_does_not_say(house: House) -> None:
    house.proxy.faults["conversations.info"] = [
        Fault({"ok": True, "channel": {"id": "C01GEN", "is_ext_shared": True}}),
        refused("internal_error"),
    ]
    assert await house.surface.room(await house.surface.workspace(), "C01GEN") is Room.SHARED
    assert await house.surface.room(await house.surface.workspace(), "G01FIN") is Room.SHARED
    assert await house.surface.room(await house.surface.workspace(), "G01FIN") is Room.CHANNEL


async def test_a_card_of_another_workspace_is_not_touched(house: House) -> None:
    with pytest.raises(SurfaceError, match="another Slack workspace"):
        await house.surface.update(Posted(SLACK, "T0OTHER", "C01GEN", "1.1"), a_card())
    assert house.proxy.called("chat.update") == []
