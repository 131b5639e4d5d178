"""The activities that the Agents Playground really sends, read by `TeamsActivities` under a recorded service."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from aiohttp import web

from audit.store import AuditStore
from audit.writer import Writer, make_engine
from bot import migrations
from bot.cards import Button, Card, Item, Tone
from bot.messages import ChatUser, Room, Thread
from bot.ports import PressReply
from bot.teams import places
from bot.teams.activities import TeamsActivities
from bot.teams.adaptive import draw
from bot.teams.deliveries import TEAMS
from bot.teams.tables import Kind
from bot.teams.whereabouts import Whereabouts
from policy.approval import Verb
from policy.model import TenantId
from policy.pii import redact
from tests.kit.product import Clock
from tests.kit.scripted import RecordedChat
from tests.rigs.slack_house import RecordingService
from tests.rigs.teams_playground import ANN, BOB, DANA, FINANCE, GENERAL, GROUP, TEAM, Playground, Rig, teams
from tests.rigs.teams_wire import BOT, TENANT, Body, Shown

ACME = TenantId("acme")
DIGEST = "d" * 64


@dataclass
class Chat(RecordedChat):
    welcomed: list[Thread] = field(default_factory=list)

    async def room(self, thread: Thread) -> Room:
        return thread.room

    async def welcome(self, thread: Thread) -> None:
        self.welcomed.append(thread)


@dataclass
class House:
    rig: Rig
    service: RecordingService
    chat: Chat
    writer: Writer
    activities: TeamsActivities

    async def hear(self, request: web.Request) -> web.Response:
        told = await self.activities.deliver(await request.json())
        return web.Response(body=bytes(told.body), status=told.status_code, content_type="application/json")

    async def posted(self, card: Card, where: str = GROUP) -> tuple[Shown, Body]:
        """The card's message, and the card as it stands there."""
        sheet = draw(card).sheets[0]
        body = {**sheet.activity(), "from": {"id": BOT}, "conversation": {"id": where}}
        status, told = await self.rig.wire.forward("POST", ["v3", "conversations", where, "activities"], body)
        assert status == 201, told
        return Shown(told["id"], where, "", BOT, {}), dict(sheet.card)

    async def place(self, conversation: str) -> places.Place | None:
        return await self.writer.read(lambda conn: places.place(conn, ACME, TENANT, conversation))


@pytest.fixture
async def house(teams_playground: Playground, tmp_path: Path) -> AsyncIterator[House]:
    engine = make_engine(f"sqlite:///{tmp_path / 'db.sqlite'}")
    migrations.migrate(engine)
    writer, service, chat = Writer(engine), RecordingService(), Chat(name=TEAMS)
    where = Whereabouts(writer, AuditStore(redact), {TENANT: ACME}.get, Clock())
    async with teams(teams_playground) as rig:
        made = House(rig, service, chat, writer, TeamsActivities(service, chat, where))
        app = web.Application()
        app.router.add_post("/api/messages", made.hear)
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        rig.wire.bot = f"http://127.0.0.1:{runner.addresses[0][1]}/api/messages"
        yield made
        await runner.cleanup()
    await made.activities.close()
    writer.close()
    engine.dispose()


def account(oid: str) -> ChatUser:
    return ChatUser(TEAMS, TENANT, oid)


def card(*buttons: Button) -> Card:
    item = Item("h1", 3, DIGEST, Tone.WAITING, "Refund 42.00 USD", "Waiting for Finance", (), (), None, (), buttons)
    return Card("c1", "Approval needed", "Dana Reyes", None, (), (item,), "Dana asks for a refund")


def execute(drawn: Body, title: str) -> Body:
    """The button as the client that shows the card would press it."""
    if drawn.get("type") == "Action.Execute" and drawn.get("title") == title:
        return drawn
    for part in drawn.values():
        for one in part if isinstance(part, list) else [part]:
            found = execute(one, title) if isinstance(one, dict) else {}
            if found:
                return found
    return {}


async def test_three_kinds_of_conversations(house: House) -> None:
    rig, own = house.rig, await house.rig.personal(DANA)
    await rig.say(own, DANA, "one")
    await rig.say(GROUP, ANN, "two", mention=True)
    root = await rig.say(FINANCE, ANN, "three", mention=True)
    heard = house.service.messages
    assert [one.text for one in heard] == ["one", "two", "three"]
    assert [one.who for one in heard] == [account(DANA.oid), account(ANN.oid), account(ANN.oid)]
    assert heard[0].thread == Thread(TEAMS, TENANT, own, own, Room.DM)
    assert heard[1].thread == Thread(TEAMS, TENANT, GROUP, GROUP, Room.CHANNEL)
    assert heard[2].thread == Thread(TEAMS, TENANT, FINANCE, root, Room.CHANNEL)
    kinds = [await house.place(where) for where in (own, GROUP, FINANCE)]
    assert [one.kind for one in kinds if one] == [Kind.PERSONAL, Kind.GROUP, Kind.CHANNEL]
    assert kinds[2] is not None
    assert kinds[2].teams_team == TEAM


async def test_a_person_who_is_named_is_named_by_their_account(house: House) -> None:
    await house.rig.say(GROUP, BOB, "hello", mention=True)  # met
    await house.rig.say(GROUP, ANN, f"kill user {BOB.name} too fast", mention=True, naming=[BOB])
    assert [one.text for one in house.service.commands] == [f"kill user <@{BOB.oid}> too fast"]
    await house.rig.say(GROUP, ANN, f"pay {BOB.name} back", mention=True, naming=[BOB])
    assert house.service.messages[-1].text == f"pay @{BOB.name} back"


async def test_a_button_is_pressed_and_answered(house: House) -> None:
    before = card(Button(Verb.APPROVE, "Approve"))
    house.service.reply = PressReply("Counted.", card())
    message, drawn = await house.posted(before)
    heard = await house.rig.invoke(BOB, message, execute(drawn, "Approve"))
    [press] = house.service.presses
    assert (press.who, press.held_id, press.revision, press.digest) == (account(BOB.oid), "h1", 3, DIGEST)
    assert (press.verb, press.channel, press.message_id) == (Verb.APPROVE, GROUP, message.id)
    assert heard.status == 200
    assert heard.body["type"] == "application/vnd.microsoft.card.adaptive"


async def test_an_old_clients_button_comes_as_a_message(house: House) -> None:
    message, drawn = await house.posted(card(Button(Verb.APPROVE, "Approve")))
    await house.rig.submit(ANN, message, execute(drawn, "Approve")["fallback"]["data"])
    [press] = house.service.presses
    assert (press.who, press.verb, press.message_id) == (account(ANN.oid), Verb.APPROVE, message.id)
    await house.activities.close()
    assert [(one.text, one.only_for) for one in house.chat.said] == [("Counted.", ANN.oid)]


async def test_a_thumb_with_a_reason(house: House) -> None:
    own = await house.rig.personal(DANA)
    value = {"actionName": "feedback", "actionValue": {"reaction": "dislike", "feedback": '{"feedbackText":"wrong"}'}}
    heard = await house.rig.invoke(DANA, Shown("78", own, "", "bot", {}), value, "message/submitAction")
    assert heard.status == 200
    [thumb] = house.service.feedback
    assert (thumb.who, thumb.good, thumb.reason, thumb.message_id) == (account(DANA.oid), False, "wrong", "78")
    assert thumb.thread.channel == own


async def test_the_app_is_installed_and_removed(house: House) -> None:
    await house.rig.install(ANN)
    await house.activities.close()
    own = await house.rig.personal(ANN)
    assert {one.channel for one in house.chat.welcomed} == {GENERAL, FINANCE, GROUP, own}
    assert len(house.chat.welcomed) == 4
    heard = await house.rig.wire.deliver(await house.rig.template(GROUP, DANA, "uninstall"))
    assert heard.status == 200
    gone, stays = await house.place(GROUP), await house.place(own)
    assert gone is not None
    assert stays is not None
    assert (gone.removed, stays.removed) == (True, False)
    assert house.service.changed == []
