"""Every chat behind `bot.ports.ChatSurface`, on its real counterpart, so that one suite can hold them to one contract.

A chat is plugged in by one more entry in `CHATS`: a factory that yields a `Chat`.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path

import pytest
from sqlmodel import SQLModel

from audit.writer import Writer, make_engine
from bot.messages import ChatUser, Room, SurfaceName, Thread
from bot.ports import ChatSurface
from bot.web import tables
from bot.web.chatlog import ChatLog
from bot.web.surface import DemoSurface
from bot.web.workspace import load_workspace
from policy.model import TenantId
from tests.rigs.local_slack import TEAM
from tests.rigs.slack_house import SLACK, person, slack_house
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
    """All that a person reads in a channel, oldest first, cards as their words."""


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


def slack(folder: Path) -> AbstractAsyncContextManager[Chat]:
    """As local-slack is: without streaming and status."""
    return _slack(folder, streaming=False)


def slack_with_streaming(folder: Path) -> AbstractAsyncContextManager[Chat]:
    return _slack(folder, streaming=True)


@contextlib.asynccontextmanager
async def demo(folder: Path) -> AsyncIterator[Chat]:
    engine = make_engine(f"sqlite:///{folder / 'demo.sqlite'}")
    own = [SQLModel.metadata.tables[str(t.__tablename__)] for t in (tables.DemoMessage, tables.DemoSeen)]
    SQLModel.metadata.create_all(engine, tables=own)
    writer = Writer(engine)
    log = ChatLog(writer, TenantId("demo"))
    name = SurfaceName("demo")
    member, other = ChatUser(name, "demo", "dana"), ChatUser(name, "demo", "ann")

    async def seen(channel: str, who: ChatUser) -> list[str]:
        return [f"{line.text} {line.card or ''}" for line in await log.lines(channel, who.user)]

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


CHATS: tuple[Callable[[Path], AbstractAsyncContextManager[Chat]], ...] = (slack, slack_with_streaming, demo)


@pytest.fixture(params=CHATS, ids=lambda factory: factory.__name__)
async def chat(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Chat]:
    factory: Callable[[Path], AbstractAsyncContextManager[Chat]] = request.param
    async with factory(tmp_path) as made:
        yield made


@pytest.fixture
def surface(chat: Chat) -> ChatSurface:
    return chat.surface
