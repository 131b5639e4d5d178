"""Invariant 14 in Slack: two organisations' workspaces, one app. What is said in one never reaches the other.

Two local-slacks, each with its own token. A stand-in (tests/rigs/slack_oauth.py) sends every call on to the workspace
whose token it carries, so that a token used for the other workspace would show there.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import socket
import time
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
import uvicorn
from starlette.applications import Starlette

from bot.messages import ChatUser, Room, Thread
from bot.ports import Posted, PressReply, Standing
from bot.slack.events import SlackEvents
from bot.slack.surface import SlackSurface
from bot.slack.workspaces import NotInstalled
from tests.rigs.local_slack import SIGNING_SECRET, LocalSlack, until
from tests.rigs.slack_house import SLACK, RecordingService, a_card
from tests.rigs.slack_installs import Listed, Replica, replica
from tests.rigs.slack_oauth import SlackOAuth, Team

pytestmark = pytest.mark.asyncio(loop_scope="module")

ACME, OTHER = "T0ACME", "T0OTHER"
DANA, ANN = "U01DANA", "U03ANN"


@dataclass
class TwoHouses:
    slacks: dict[str, LocalSlack]
    oauth: SlackOAuth
    replica: Replica
    surface: SlackSurface
    service: RecordingService
    base: str

    async def seen(self, team: str, channel: str) -> str:
        """All that stands in a channel of that workspace."""
        return json.dumps(await self.slacks[team].messages(channel))

    def who(self, team: str, user: str) -> ChatUser:
        return ChatUser(SLACK, team, user, self.oauth.teams[team].enterprise)

    async def send(self, body: dict[str, Any]) -> int:
        """As Slack delivers an event, signed."""
        data = json.dumps(body | {"token": uuid.uuid4().hex}).encode()
        stamp = str(int(time.time()))
        mac = hmac.new(SIGNING_SECRET.encode(), b"v0:" + stamp.encode() + b":" + data, hashlib.sha256).hexdigest()
        headers = {"Content-Type": "application/json", "X-Slack-Request-Timestamp": stamp}
        headers["X-Slack-Signature"] = f"v0={mac}"
        async with (
            aiohttp.ClientSession() as session,
            session.post(self.base + "/slack/events", data=data, headers=headers) as told,
        ):
            return told.status


@pytest_asyncio.fixture(scope="module", loop_scope="module", name="running")
async def _running(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[TwoHouses]:
    folder = tmp_path_factory.mktemp("two")
    listening = socket.create_server(("127.0.0.1", 0))
    base = f"http://127.0.0.1:{listening.getsockname()[1]}"
    book = Listed({ACME: "acme", OTHER: "other"})
    url = base + "/slack/events"
    patch = pytest.MonkeyPatch()
    # With these in the environment Bolt would look for installations in files of its own.
    patch.setenv("SLACK_CLIENT_ID", "9.9")
    patch.setenv("SLACK_CLIENT_SECRET", "not ours")
    async with (
        LocalSlack.start("events", folder, url, team=ACME) as acme,
        LocalSlack.start("events", folder, url, team=OTHER) as other,
        SlackOAuth().serve() as oauth,
    ):
        oauth.add(Team(ACME, api_url=acme.api_url))
        oauth.add(Team(OTHER, api_url=other.api_url))
        with replica(f"sqlite:///{folder / 'db.sqlite'}", folder / "keys", oauth, book) as house:
            surface = SlackSurface(house.installs, book=book, api_url=oauth.api_url, stream_every_s=0)
            service = RecordingService(surface)
            events = SlackEvents(service, surface, signing_secret=SIGNING_SECRET)
            config = uvicorn.Config(Starlette(routes=events.routes()), log_level="warning", lifespan="off", ws="none")
            server = uvicorn.Server(config)
            server.install_signal_handlers = lambda: None  # type: ignore[attr-defined]
            serving = asyncio.create_task(server.serve(sockets=[listening]))
            try:
                yield TwoHouses({ACME: acme, OTHER: other}, oauth, house, surface, service, base)
            finally:
                await events.close()
                server.should_exit = True
                await serving
                patch.undo()
    listening.close()


@pytest_asyncio.fixture(loop_scope="module")
async def houses(running: TwoHouses) -> TwoHouses:
    """Both installed; what was told before is forgotten."""
    service = running.service
    for told in (service.messages, service.presses, service.commands, service.homes, service.changed):
        told.clear()
    service.taking_part.clear()
    running.service.reply = PressReply("Counted.")
    running.replica.book.teams = {ACME: "acme", OTHER: "other"}
    for team in (ACME, OTHER):
        await running.replica.install(running.oauth, team)
    running.oauth.calls.clear()
    running.surface._places.clear()
    return running


def spoken_to(houses: TwoHouses, *methods: str) -> set[str]:
    return {team for method, team, _ in houses.oauth.calls if method in methods}


@pytest.mark.parametrize(("team", "elsewhere"), [(ACME, OTHER), (OTHER, ACME)])
async def test_a_message_is_answered_where_it_was_written(houses: TwoHouses, team: str, elsewhere: str) -> None:
    words = f"only for {team} {uuid.uuid4().hex}"
    dm = await houses.slacks[team].dm(DANA)
    await houses.slacks[team].say(dm, DANA, words)

    async def answered() -> bool:
        return f"heard: {words}" in await houses.seen(team, dm)

    await until(answered, "the answer")
    assert [message.who for message in houses.service.messages] == [houses.who(team, DANA)]
    assert houses.service.messages[0].thread.team == team
    assert words not in await houses.seen(elsewhere, await houses.slacks[elsewhere].dm(DANA))
    assert spoken_to(houses, "chat.postMessage") == {team}


@pytest.mark.parametrize(("team", "elsewhere"), [(ACME, OTHER), (OTHER, ACME)])
async def test_a_card_is_posted_drawn_and_pressed_in_its_own_workspace(
    houses: TwoHouses, team: str, elsewhere: str
) -> None:
    """The channel has the same name and the same id in both."""
    before = await houses.seen(elsewhere, "G01FIN")
    await houses.surface.post(elsewhere, "#finance-approvals", a_card(body="the other one's"))
    words = f"Dear {uuid.uuid4().hex}"
    posted = await houses.surface.post(team, "#finance-approvals", a_card(body=words))
    assert posted.team == team
    assert words in await houses.seen(team, "G01FIN")
    assert words not in await houses.seen(elsewhere, "G01FIN")
    assert before != await houses.seen(elsewhere, "G01FIN"), "its own card came"
    assert spoken_to(houses, "users.conversations") == {ACME, OTHER}, "names of channels are not shared"

    houses.oauth.calls.clear()
    houses.service.reply = PressReply("You approved it.", a_card(body=words + " approved"))
    card = next(m for m in await houses.slacks[team].bot_messages("G01FIN") if m["ts"] == posted.message_id)
    await houses.slacks[team].press(card, ANN, "cs.press.approve")

    async def drawn() -> bool:
        return words + " approved" in await houses.seen(team, "G01FIN")

    await until(drawn, "the card anew")
    assert [press.who for press in houses.service.presses] == [houses.who(team, ANN)]
    assert spoken_to(houses, "chat.update") == {team}
    assert words not in await houses.seen(elsewhere, "G01FIN")


@pytest.mark.parametrize("team", [ACME, OTHER])
async def test_dialogs_home_commands_and_private_words_keep_to_their_workspace(houses: TwoHouses, team: str) -> None:
    slack = houses.slacks[team]
    posted = await houses.surface.post(team, "#finance-approvals", a_card())
    card = next(m for m in await slack.bot_messages("G01FIN") if m["ts"] == posted.message_id)
    await slack.press(card, ANN, "cs.modal.reject")
    await slack.open_home(DANA)
    await slack.command("C01GEN", DANA, "status")

    async def all_there() -> bool:
        told = houses.service
        return bool(told.homes and told.commands) and bool(slack.shown("view") and slack.shown("home"))

    await until(all_there, "dialog, home and command")
    await houses.surface.direct(houses.who(team, DANA), "a private word")
    thread = Thread(SLACK, team, "C01GEN", "C01GEN", Room.CHANNEL)
    await houses.surface.whisper(thread, houses.who(team, DANA), "a whisper")
    await houses.surface.link(Thread(SLACK, team, "G01FIN", posted.message_id, Room.CHANNEL))
    assert await houses.surface.standing(houses.who(team, DANA)) is not Standing.UNKNOWN
    asked = {name for name, _, _ in houses.oauth.calls}
    assert {"views.open", "views.publish", "conversations.info", "conversations.open", "users.info"} <= asked
    assert {workspace for name, workspace, _ in houses.oauth.calls if name != "api.test"} == {team}
    assert [who.team for who in houses.service.homes] == [team]
    assert [command.who.team for command in houses.service.commands] == [team]


def message(team: str, **changes: Any) -> dict[str, Any]:
    said = {"type": "message", "channel": "D1", "user": DANA, "text": "refund", "ts": "1.1", "channel_type": "im"}
    body = {"type": "event_callback", "team_id": team, "event_id": uuid.uuid4().hex, "event": said | changes}
    return body | {"is_ext_shared_channel": False}


async def test_somebody_the_other_organisation_knows_is_nobody_here(houses: TwoHouses) -> None:
    """Slack Connect: a shared channel, both workspaces are served. Whom `other` knows does not act in acme's."""
    houses.service.surface = None
    try:
        body = message(ACME, channel="C01GEN", channel_type="channel", user_team=OTHER, text="<@U0BOT> hi")
        body["event"] |= {"type": "app_mention"}
        body |= {"is_ext_shared_channel": True, "authorizations": [{"team_id": ACME, "enterprise_id": None}]}
        assert await houses.send(body) == 200
    finally:
        houses.service.surface = houses.surface
    (heard,) = houses.service.messages
    assert heard.thread.team == ACME
    assert houses.replica.book.tenant_of(SLACK, heard.who.team) is None
    assert await houses.surface.standing(heard.who) is Standing.STRANGER


async def test_a_delivery_for_a_workspace_that_is_not_served_is_refused(houses: TwoHouses) -> None:
    assert await houses.send(message("T0NOBODY")) == 403
    del houses.replica.book.teams[OTHER]
    assert await houses.send(message(OTHER)) == 403, "installed, and no tenant names it any more"
    assert houses.service.messages == []
    with pytest.raises(NotInstalled):
        await houses.surface.post(OTHER, "#finance-approvals", a_card())
    with pytest.raises(NotInstalled):
        await houses.surface.update(Posted(SLACK, "T0NOBODY", "G01FIN", "1.1"), a_card())


async def test_a_delivery_that_names_two_workspaces_is_refused(houses: TwoHouses) -> None:
    body = message(ACME) | {"authorizations": [{"team_id": OTHER, "enterprise_id": None}]}
    assert await houses.send(body) == 403
    assert houses.service.messages == []


async def test_a_workspace_of_another_organisation_than_was_installed_is_refused(houses: TwoHouses) -> None:
    body = message(ACME) | {"authorizations": [{"team_id": ACME, "enterprise_id": "E0NEW"}]}
    assert await houses.send(body) == 403
    assert houses.service.messages == []


async def test_one_workspace_takes_the_app_out_and_the_other_goes_on(houses: TwoHouses) -> None:
    houses.oauth.teams[OTHER].tokens.clear()
    gone = {"type": "event_callback", "team_id": OTHER, "event_id": "Ev9", "event": {"type": "app_uninstalled"}}
    assert await houses.send(gone) == 200
    assert [team for (team,) in houses.replica.rows("SELECT team_id FROM slack_bots")] == [ACME]
    assert await houses.send(message(OTHER)) == 403
    with pytest.raises(NotInstalled, match="/slack/install"):
        await houses.surface.direct(houses.who(OTHER, DANA), "hello?")
    assert await houses.surface.standing(houses.who(OTHER, DANA)) is Standing.STRANGER
    await houses.surface.health()
    posted = await houses.surface.post(ACME, "#finance-approvals", a_card())
    assert posted.team == ACME


async def test_news_of_a_token_that_still_works_removes_nothing(houses: TwoHouses) -> None:
    revoked = {"type": "tokens_revoked", "tokens": {"oauth": ["U1"]}}
    gone = {"type": "event_callback", "team_id": ACME, "event_id": "Ev8", "event": revoked}
    assert await houses.send(gone) == 200
    assert (await houses.surface.workspaces.of(ACME)).team == ACME


async def test_somebody_deactivated_in_one_is_told_of_that_one(houses: TwoHouses) -> None:
    for team in (ACME, OTHER):
        user = {"id": DANA, "team_id": team, "deleted": team == OTHER}
        body = {"type": "event_callback", "team_id": team, "event_id": uuid.uuid4().hex}
        assert await houses.send(body | {"event": {"type": "user_change", "user": user}}) == 200
    assert houses.service.changed == [(houses.who(OTHER, DANA), Standing.DEACTIVATED)]


async def test_an_account_of_another_organisation_is_not_looked_up(houses: TwoHouses) -> None:
    """The key of a link names the organisation: the same workspace under another one is another account."""
    assert await houses.surface.standing(ChatUser(SLACK, ACME, DANA, "E0ELSEWHERE")) is Standing.STRANGER
    assert houses.oauth.asked("users.info") == []
