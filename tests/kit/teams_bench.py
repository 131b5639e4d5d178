"""`TeamsActivities` between a recorded service and a recorded chat, and deliveries made by hand. Proves nothing."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, cast

from bot.cards import Button, Card, Item, Tone
from bot.messages import ChatUser, Room, Thread
from bot.ports import Home, PressReply
from bot.teams.action import PRESS, action_data
from bot.teams.activities import TeamsActivities
from bot.teams.deliveries import TEAMS
from bot.teams.whereabouts import Whereabouts
from policy.approval import Verb
from tests.kit.scripted import RecordedChat
from tests.kit.teams_bodies import (
    TENANT,
    Body,
    execute,
    invoke,
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
    gate: asyncio.Event | None = None

    async def note(self, body: Any) -> bool:
        if self.gate is not None:
            await self.gate.wait()
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
    gate: asyncio.Event | None = None
    homes: list[ChatUser] = field(default_factory=list)

    async def show_home(self, who: ChatUser, home: Home) -> None:
        assert home.waiting_for_me
        self.homes.append(who)

    async def room(self, thread: Thread) -> Room:
        if self.gate is not None:
            await self.gate.wait()
        self.fault("room")
        return self.rooms.get(thread.channel, Room.CHANNEL)

    async def welcome(self, thread: Thread) -> None:
        self.fault("welcome")
        self.welcomed.append(thread)


@dataclass
class GatedService(RecordingService):
    """`gate`: until it opens nothing comes to an end."""

    gate: asyncio.Event | None = None
    slow_card: asyncio.Event | None = None

    async def _bad_day(self) -> None:
        if self.gate is not None:
            await self.gate.wait()
        await super()._bad_day()

    async def card_for(self, who: ChatUser, held_id: str) -> Card | None:
        if self.slow_card is not None:
            await self.slow_card.wait()
        return await super().card_for(who, held_id)


@dataclass
class Bench:
    service: GatedService
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


@asynccontextmanager
async def opened() -> AsyncIterator[Bench]:
    """Answers within 0.3 s instead of 2."""
    service, chat, notes = GatedService(), Chat(name=TEAMS), Notes()
    service.reply = PressReply("Counted.", card("Approved by Arno"))
    activities = TeamsActivities(service, chat, cast("Whereabouts", notes), answer_within_s=0.3, room_within_s=0.3)
    yield Bench(service, chat, notes, activities)
    await activities.close()
