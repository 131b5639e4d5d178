"""Invariant 5 at Slack's door: what is not Slack's, not fresh or not ours is refused and is never a press."""

from __future__ import annotations

import asyncio
import dataclasses
import hashlib
import hmac
import json
import logging
import time
import uuid
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urlencode

import aiohttp
import pytest
import pytest_asyncio

from bot.messages import ChatUser
from bot.ports import Standing
from tests.rigs.local_slack import SIGNING_SECRET, TEAM
from tests.rigs.slack_house import SLACK, House, person, slack_house

FORM = "application/x-www-form-urlencoded"
JSON = "application/json"


pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module", name="running")
async def _running(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[House]:
    async with slack_house("events", tmp_path_factory.mktemp("slack")) as running:
        yield running


@pytest.fixture
def house(running: House) -> House:
    """One process for all of these; what it was told is forgotten between them."""
    for field in dataclasses.fields(running.service):
        made = field.default_factory
        setattr(running.service, field.name, field.default if made is dataclasses.MISSING else made())
    running.service.surface = None  # it listens and does not answer: the channels below do not exist
    return running


def action(**changes: Any) -> dict[str, Any]:
    pressed = {"type": "button", "action_id": "cs.press.approve", "block_id": "held:held1", "value": "held1:1:dd"}
    body = {
        "type": "block_actions",
        "api_app_id": "A01APP",
        "team": {"id": TEAM, "domain": "acme"},
        "user": {"id": "U03ANN", "name": "ann", "team_id": TEAM},
        "container": {"type": "message", "message_ts": "1.000001", "channel_id": "G01FIN"},
        "channel": {"id": "G01FIN", "name": "finance-approvals"},
        "message": {"ts": "1.000001", "blocks": []},
        "trigger_id": "1.1.abc",
        "actions": [{**pressed, "action_ts": "1795389836.5"}],
    }
    return body | changes


def submission(**changes: Any) -> dict[str, Any]:
    view = {
        "id": "V1",
        "type": "modal",
        "callback_id": "cs.press",
        "private_metadata": json.dumps(["held1:1:dd", "reject", "G01FIN", "1.000001"]),
        "state": {"values": {"text": {"value": {"type": "plain_text_input", "value": "over policy"}}}},
    }
    user = {"id": "U03ANN", "team_id": TEAM}
    return {"type": "view_submission", "team": {"id": TEAM}, "user": user, "view": view} | changes


def event(**changes: Any) -> dict[str, Any]:
    said = {"type": "message", "channel": "D1", "user": "U01DANA", "text": "refund", "ts": "1.1", "channel_type": "im"}
    body = {"type": "event_callback", "team_id": TEAM, "event_id": "Ev1", "event": said, "is_ext_shared_channel": False}
    return body | changes


def command(**changes: Any) -> dict[str, Any]:
    body = {"command": "/countersign", "text": "status", "team_id": TEAM, "channel_id": "G01FIN", "user_id": "U03ANN"}
    return body | {"trigger_id": "1.1.abc"} | changes


def wire(body: dict[str, Any]) -> tuple[bytes, str]:
    """As Slack puts it on the wire, no two alike."""
    body = body | {"token": uuid.uuid4().hex}
    if body.get("type") == "event_callback":
        return json.dumps(body).encode(), JSON
    if "command" in body:
        return urlencode(body).encode(), FORM
    return urlencode({"payload": json.dumps(body)}).encode(), FORM


def signed(data: bytes, stamp: str | None = None, secret: str = SIGNING_SECRET) -> dict[str, str]:
    stamp = str(int(time.time())) if stamp is None else stamp
    mac = hmac.new(secret.encode(), b"v0:" + stamp.encode() + b":" + data, hashlib.sha256).hexdigest()
    return {"X-Slack-Request-Timestamp": stamp, "X-Slack-Signature": f"v0={mac}"}


async def send(house: House, data: bytes, content_type: str, headers: dict[str, str]) -> int:
    async with (
        aiohttp.ClientSession() as session,
        session.post(
            f"{house.base}/slack/events", data=data, headers={"Content-Type": content_type, **headers}
        ) as response,
    ):
        assert "Traceback" not in await response.text()
        return response.status


def untouched(house: House) -> bool:
    service = house.service
    return not (service.presses or service.messages or service.commands or service.again or service.homes)


EVERY = [pytest.param(make, id=make.__name__) for make in (action, submission, event, command)]


@pytest.mark.parametrize("make", EVERY)
async def test_a_genuine_one_is_taken(house: House, make: Any) -> None:
    data, kind = wire(make())
    assert await send(house, data, kind, signed(data)) == 200
    assert not untouched(house)


@pytest.mark.parametrize("make", EVERY)
async def test_unsigned_or_signed_by_somebody_else(house: House, make: Any) -> None:
    data, kind = wire(make())
    now = str(int(time.time()))
    assert await send(house, data, kind, {}) == 401
    assert await send(house, data, kind, {"X-Slack-Request-Timestamp": now}) == 401
    assert await send(house, data, kind, {"X-Slack-Request-Timestamp": now, "X-Slack-Signature": "v0="}) == 401
    assert await send(house, data, kind, signed(data, secret="another")) == 401
    assert await send(house, data + b" ", kind, signed(data)) == 401
    assert untouched(house)


STAMPS = ["abc", "", " ", "1e9", "-1", "0x10", "12.5", "9" * 40, "None", "1_0"]


@pytest.mark.parametrize("stamp", STAMPS)
async def test_a_timestamp_that_is_no_number(house: House, stamp: str) -> None:
    data, kind = wire(action())
    assert await send(house, data, kind, signed(data, stamp=stamp)) == 401
    assert untouched(house)


@pytest.mark.parametrize("shift", [-301, -86400, 302])
async def test_an_old_request_and_one_from_the_future(house: House, shift: int) -> None:
    data, kind = wire(action())
    assert await send(house, data, kind, signed(data, stamp=str(int(time.time()) + shift))) == 401
    assert untouched(house)


@pytest.mark.parametrize("make", EVERY)
async def test_a_replay_within_its_window(house: House, make: Any) -> None:
    data, kind = wire(make())
    headers = signed(data)
    assert await send(house, data, kind, headers) == 200
    assert await send(house, data, kind, headers) == 403
    service = house.service
    assert len(service.presses) + len(service.messages) + len(service.commands) == 1


async def test_the_same_request_many_times_at_once_is_one_press(house: House) -> None:
    house.service.slow_s = 0.2
    data, kind = wire(action())
    headers = signed(data)
    statuses = await asyncio.gather(*(send(house, data, kind, headers) for _ in range(8)))
    assert sorted(statuses) == [200] + [403] * 7
    assert len(house.service.presses) == 1


async def test_what_could_not_be_taken_may_be_delivered_again(house: House) -> None:
    data, kind = wire(event())
    headers = signed(data)
    house.service.broken = True
    assert await send(house, data, kind, headers) == 500
    house.service.broken = False
    assert await send(house, data, kind, headers) == 200
    assert len(house.service.messages) == 1


VIEW = submission()["view"]
FOREIGN = [
    pytest.param(action(team={"id": "T0OTHER"}), id="action"),
    pytest.param(action(team=None), id="action without a team"),
    pytest.param(submission(team={"id": "T0OTHER"}), id="view"),
    pytest.param(submission(view=VIEW | {"app_installed_team_id": "T0OTHER"}), id="view of another app"),
    pytest.param(event(team_id="T0OTHER"), id="event"),
    pytest.param(event(authorizations=[{"team_id": "T0OTHER"}]), id="event for another installation"),
    pytest.param(event(team_id="T0OTHER", authorizations=[{"team_id": TEAM}]), id="event that names two teams"),
    pytest.param(command(team_id="T0OTHER"), id="command"),
    pytest.param(command(team_id=""), id="command without a team"),
]


@pytest.mark.parametrize("body", FOREIGN)
async def test_another_workspace_with_a_good_signature(house: House, body: dict[str, Any]) -> None:
    data, kind = wire(body)
    assert await send(house, data, kind, signed(data)) == 403
    assert untouched(house)


@pytest.mark.parametrize("make", [action, submission])
@pytest.mark.parametrize("team", ["T0OTHER", ""])
async def test_a_person_of_another_team_stays_one(house: House, make: Any, team: str) -> None:
    """In a shared channel: handed on under their own team, so nothing of ours resolves them, and it is a row."""
    data, kind = wire(make(user={"id": "U03ANN", "team_id": team}))
    assert await send(house, data, kind, signed(data)) == 200
    (press,) = house.service.presses
    assert press.who == ChatUser(SLACK, team, "U03ANN") != person("U03ANN")
    assert await house.surface.standing(press.who) is Standing.STRANGER


async def test_an_author_of_another_team_in_a_shared_channel(house: House) -> None:
    said = {
        "type": "app_mention",
        "channel": "C1",
        "user": "U1",
        "text": "<@U0BOT> hi",
        "ts": "1.2",
        "user_team": "T0OTHER",
    }
    shared = {"is_ext_shared_channel": True, "authorizations": [{"team_id": TEAM}]}
    data, kind = wire(event(event=said, team_id="T0OTHER", **shared))
    assert await send(house, data, kind, signed(data)) == 200
    (message,) = house.service.messages
    assert (message.who.team, message.thread.team, message.thread.room) == ("T0OTHER", TEAM, "shared")


MALFORMED = [
    pytest.param(b"\xff\xfe{}", JSON, id="not UTF-8"),
    pytest.param(b"", JSON, id="empty"),
    pytest.param(b"{", JSON, id="half"),
    pytest.param(b"[]", JSON, id="a list"),
    pytest.param(b'"x"', JSON, id="a string"),
    pytest.param(b"[" * 20_000, JSON, id="deep"),
    pytest.param(b"payload=", FORM, id="empty payload"),
    pytest.param(b"payload=%5B%5D", FORM, id="a list as payload"),
    pytest.param(b"payload=nope", FORM, id="payload is no JSON"),
    pytest.param(b"payload={}&payload=[]", FORM, id="two payloads"),
    pytest.param(b"a=1&" * 200, FORM, id="many fields"),
    pytest.param(json.dumps(event(event=None)).encode(), JSON, id="no event"),
    pytest.param(json.dumps(event(event={"type": 5})).encode(), JSON, id="type is a number"),
    pytest.param(json.dumps(event(event=[1])).encode(), JSON, id="event is a list"),
    pytest.param(json.dumps(action(team=5)).encode(), JSON, id="team is a number"),
    pytest.param(json.dumps(action(user=5)).encode(), JSON, id="user is a number"),
    pytest.param(json.dumps(action(actions=[])).encode(), JSON, id="no action"),
    pytest.param(b"x" * 1_000_001, FORM, id="too long"),
]


@pytest.mark.parametrize(("data", "kind"), MALFORMED)
async def test_well_signed_nonsense_is_refused_without_a_crash(house: House, data: bytes, kind: str) -> None:
    assert await send(house, data, kind, signed(data)) in (400, 401, 403, 413)
    assert untouched(house)


ODD = [
    pytest.param(
        action(actions=[{"type": "button", "action_id": "cs.press.destroy", "value": "x"}]), id="unknown verb"
    ),
    pytest.param(action(actions=[{"type": "button", "action_id": "other", "value": "x"}]), id="unknown button"),
    pytest.param(submission(view=VIEW | {"private_metadata": "{}"}), id="odd metadata"),
    pytest.param(submission(view=VIEW | {"private_metadata": '["a","destroy","c","d"]'}), id="odd verb"),
    pytest.param(submission(view=VIEW | {"callback_id": "other"}), id="unknown modal"),
    pytest.param({"type": "view_closed", "team": {"id": TEAM}, "view": {"callback_id": "cs.press"}}, id="closed"),
    pytest.param({"type": "shortcut", "team": {"id": TEAM}, "callback_id": "x"}, id="shortcut"),
    pytest.param(event(event={"type": "reaction_added", "user": "U01DANA"}), id="unknown event"),
    pytest.param(event(event=event()["event"] | {"subtype": "message_changed"}), id="an edit"),
    pytest.param(event(event=event()["event"] | {"bot_id": "B9"}), id="another bot"),
    pytest.param(event(event=event()["event"] | {"user": "U0BOT"}), id="our own words"),
]


@pytest.mark.parametrize("body", ODD)
async def test_what_is_not_for_us_does_nothing(house: House, body: dict[str, Any]) -> None:
    data, kind = wire(body)
    assert await send(house, data, kind, signed(data)) in (200, 404)
    assert untouched(house)


async def test_a_damaged_button_is_a_press_on_nothing(house: House) -> None:
    """The door answers "no such request" and writes the row."""
    damaged = {"type": "button", "action_id": "cs.press.approve", "value": "held1"}
    data, kind = wire(action(actions=[damaged]))
    assert await send(house, data, kind, signed(data)) == 200
    (press,) = house.service.presses
    assert (press.held_id, press.revision, press.digest) == ("", 0, "")


@pytest.mark.parametrize("header", ["X-Slack-Bolt-Lazy-Only", "X-Slack-Bolt-Lazy-Function-Name", "X-Slack-Retry-Num"])
async def test_headers_that_nobody_signed_change_nothing(house: House, header: str) -> None:
    data, kind = wire(action())
    assert await send(house, data, kind, signed(data) | {header: "1"}) == 200
    assert len(house.service.presses) == 1


async def test_an_unsigned_ssl_check_and_a_get(house: House) -> None:
    assert await send(house, b"ssl_check=1&token=x", FORM, {}) == 401
    async with aiohttp.ClientSession() as session, session.get(f"{house.base}/slack/events") as response:
        assert response.status == 405


async def test_the_challenge_is_answered_only_when_signed(house: House) -> None:
    data = json.dumps({"type": "url_verification", "challenge": "abc"}).encode()
    assert await send(house, data, JSON, signed(data)) == 200
    assert await send(house, data, JSON, {}) == 401


async def test_nothing_people_wrote_reaches_the_log(house: House, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    house.service.broken = True
    secret = "my card is 4111 1111 1111 1111"
    for body in (
        event(event=event()["event"] | {"text": secret}),
        event(event={"type": "unknown", "user": "U1", "text": secret}),
        action(message={"ts": "1.1", "text": secret}),
        command(text=secret, command="/other"),
        command(text=secret),
        {"type": "mystery", "team": {"id": TEAM}, "text": secret},
    ):
        data, kind = wire(body)
        await send(house, data, kind, signed(data))
    ours = [record.getMessage() + str(record.exc_info or "") for record in caplog.records if record.name != "asyncio"]
    assert ours, "the failures were logged at all"
    assert not [line for line in ours if "4111" in line]
