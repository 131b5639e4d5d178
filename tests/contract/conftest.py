"""Every chat behind `bot.ports.ChatSurface`, on its real counterpart, so that one suite can hold them to one contract.

A chat is plugged in by one more entry in `CHATS`: a factory that yields a `Chat`.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import pytest
from sqlmodel import SQLModel

from audit.writer import Writer, make_engine
from bot.messages import ChatUser, Room, SurfaceName, Thread
from bot.ports import ChatSurface
from bot.teams.deliveries import TEAMS
from bot.web import tables
from bot.web.chatlog import ChatLog
from bot.web.surface import DemoSurface
from bot.web.workspace import load_workspace
from policy.model import TenantId
from tests.kit.teams_desk import read
from tests.rigs.local_slack import TEAM
from tests.rigs.slack_house import SLACK, person, slack_house
from tests.rigs.teams_house import account, teams_house
from tests.rigs.teams_playground import ANN, DANA, FINANCE, GENERAL, Playground
from tests.rigs.teams_wire import TENANT
from tests.unit_web.demo_double import people


@dataclass(frozen=True, slots=True)
class Chat:
    """A chat with a bot in it, a member and somebody from elsewhere."""

    surface: ChatSurface
    team: str
    member: ChatUser
    other: ChatUser
    stranger: ChatUser
    dm: Thread
    """Between `member` and the bot."""
    thread: Thread
    """In a channel in which both members are."""
    destination: str
    """Where cards go; both members read it."""
    seen: Callable[[str, ChatUser], Awaitable[list[str]]]
    """All that a person reads in a channel or beside it, oldest first, cards as their words."""


@contextlib.asynccontextmanager
async def _slack(folder: Path, *, streaming: bool) -> AsyncIterator[Chat]:
    async with slack_house("socket", folder, streaming=streaming) as house:
        member, other = person("U01DANA"), person("U03ANN")

        async def seen(channel: str, who: ChatUser) -> list[str]:
            messages = await house.slack.messages({"#finance-approvals": "G01FIN"}.get(channel, channel))
            mine = [m for m in messages if m.get("ephemeral_to") in (None, who.user)]
            return [f"{message['text']} {message.get('blocks', '')}" for message in mine]

        dm = await house.slack.dm(member.user)
        root = await house.slack.say("C01GEN", member.user, "lunch?")
        yield Chat(
            surface=house.surface,
            team=TEAM,
            member=member,
            other=other,
            stranger=ChatUser(SLACK, "T0OTHER", member.user),
            dm=Thread(SLACK, TEAM, dm, dm, Room.DM),
            thread=Thread(SLACK, TEAM, "C01GEN", root, Room.CHANNEL),
            destination="#finance-approvals",
            seen=seen,
        )


def slack(folder: Path, _request: pytest.FixtureRequest) -> AbstractAsyncContextManager[Chat]:
    """As local-slack is: without streaming and status."""
    return _slack(folder, streaming=False)


def slack_with_streaming(folder: Path, _request: pytest.FixtureRequest) -> AbstractAsyncContextManager[Chat]:
    return _slack(folder, streaming=True)


@contextlib.asynccontextmanager
async def demo(folder: Path, _request: pytest.FixtureRequest) -> AsyncIterator[Chat]:
    engine = make_engine(f"sqlite:///{folder / 'demo.sqlite'}")
    own = [SQLModel.metadata.tables[str(t.__tablename__)] for t in (tables.DemoMessage, tables.DemoSeen)]
    SQLModel.metadata.create_all(engine, tables=own)
    writer = Writer(engine)
    log = ChatLog(writer, TenantId("demo"))
    name = SurfaceName("demo")
    member, other = ChatUser(name, "demo", "dana"), ChatUser(name, "demo", "ann")

    async def seen(channel: str, who: ChatUser) -> list[str]:
        lines = await log.lines(channel, who.user)
        return [f"{line.text} {line.card or ''} {line.answer.cited if line.answer else ''}" for line in lines]

    try:
        yield Chat(
            surface=DemoSurface(log, load_workspace(people())),
            team="demo",
            member=member,
            other=other,
            stranger=ChatUser(name, "elsewhere", "dana"),
            dm=Thread(name, "demo", "dm:dana", "dm:dana", Room.DM),
            thread=Thread(name, "demo", "#customer-care", "1", Room.CHANNEL),
            destination="#finance-approvals",
            seen=seen,
        )
    finally:
        writer.close()
        engine.dispose()


@contextlib.asynccontextmanager
async def teams(folder: Path, request: pytest.FixtureRequest) -> AsyncIterator[Chat]:
    """The Agents Playground behind the signing proxy; `other` writes from a chat that its page does not show."""
    process: Playground = request.getfixturevalue("teams_playground")
    async with teams_house(process, folder, installed=(DANA, ANN)) as house:
        rig = house.rig
        by_id = {account(member): member for member in (DANA, ANN)}

        async def seen(channel: str, who: ChatUser) -> list[str]:
            """What is for one person alone stands in their own chat with the bot: Teams has no private messages."""
            where = {"#finance-approvals": FINANCE}.get(channel, channel)
            own = await rig.personal(by_id[who])
            return [read(one.activity) for place in dict.fromkeys((where, own)) for one in rig.messages(place)]

        dm = await rig.personal(DANA)
        root = await rig.say(GENERAL, DANA, "lunch?", mention=True)
        yield Chat(
            surface=house.surface,
            team=TENANT,
            member=account(DANA),
            other=account(ANN),
            stranger=ChatUser(TEAMS, "22222222-2222-4222-8222-222222222222", DANA.oid),
            dm=Thread(TEAMS, TENANT, dm, dm, Room.DM),
            thread=Thread(TEAMS, TENANT, GENERAL, root, Room.CHANNEL),
            destination="#finance-approvals",
            seen=seen,
        )


Factory: TypeAlias = Callable[[Path, pytest.FixtureRequest], AbstractAsyncContextManager[Chat]]
CHATS: tuple[Factory, ...] = (slack, slack_with_streaming, teams, demo)


@pytest.fixture(params=CHATS, ids=lambda factory: factory.__name__)
async def chat(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Chat]:
    factory: Factory = request.param
    async with factory(tmp_path, request) as made:
        yield made


@pytest.fixture
def surface(chat: Chat) -> ChatSurface:
    return chat.surface
