"""Invariant 11 in the demo: its chat stands in for a provider, so it holds what was said, and an erase takes it too."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from bot import app
from bot.core import Core, open_core, running, seed_demo
from bot.demo import offline_router
from bot.messages import Incoming, Press, Room, Thread
from bot.settings import for_demo
from bot.web.chatlog import ChatLog, Line, LineKind
from bot.web.surface import DemoSurface
from bot.web.workspace import DEMO, TEAM, dm_of, load_workspace
from policy.approval import Verb
from policy.model import TenantId
from tools.held import HeldView

TENANT = TenantId("demo")
MESSAGE, REASON, QUESTION = "zebra-in-the-message", "heron-in-the-reason", "otter-in-the-question"
WORDS = (MESSAGE, REASON, QUESTION)


@pytest.fixture
async def core(tmp_path: Path) -> AsyncIterator[Core]:
    settings = for_demo({}, tmp_path)
    app.migrate(settings)
    made = open_core(settings)
    seed_demo(made)
    yield made
    made.close()


def places(core: Core) -> dict[str, set[str]]:
    """table -> the markers in it, over every table."""
    found: dict[str, set[str]] = {}
    with core.engine.connect() as conn:
        for name in sa.inspect(conn).get_table_names():
            whole = sa.Table(name, sa.MetaData(), autoload_with=conn)
            for row in conn.execute(sa.select(whole)).mappings():
                text = "\x00".join(str(value) for value in row.values())
                if seen := {word for word in WORDS if word in text}:
                    found.setdefault(name, set()).update(seen)
    return found


async def until(done: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 40
    while not done():
        assert time.monotonic() < deadline, "what this test waits for did not happen"
        await asyncio.sleep(0.05)


async def test_inv11_the_demo_keeps_it_in_its_chat_too_and_erases_it_there(core: Core) -> None:
    workspace = load_workspace(await core.book.people(TENANT))
    surface = DemoSurface(ChatLog(core.writer, TENANT), workspace)
    dana, ann = workspace.member("dana"), workspace.member("ann")
    assert dana is not None
    assert ann is not None
    room = dm_of(dana).channel
    text = f"Refund order 1042, 42 dollars, the {MESSAGE} never came, and mail the customer"
    async with running(core, lambda _core: (surface,), offline_router()) as service:
        line = await surface.hear(Line(LineKind.SAID, room, "dana", text, root=room))
        thread = Thread(DEMO, TEAM, room, room, Room.DM)
        await service.turn.on_message(Incoming(dana.account, thread, str(line.id), "e1", text))
        subject = next(one.subject for one in await core.book.people(TENANT) if one.display_name == dana.name)

        async def asked(tool: str) -> HeldView:
            deadline = time.monotonic() + 40
            while True:
                found = [view for view in await core.gateway.asked_by(TENANT, subject) if view.tool == tool]
                if found:
                    return found[0]
                assert time.monotonic() < deadline, "the request was not held"
                await asyncio.sleep(0.05)

        refund, _mail = await asked("refund.issue"), await asked("email.send")
        for n, (verb, words) in enumerate([(Verb.ASK, QUESTION), (Verb.REJECT, REASON)]):
            press = Press(ann.account, f"p{n}", refund.held_id, refund.revision, refund.digest, verb, words)
            await service.turn.on_press(press)
            await until(lambda words=words: words in str(_said(core)))  # type: ignore[misc]
        assert set(places(core)) == {"transcript", "held_call", "demo_message"}, places(core)
        assert set().union(*places(core).values()) == set(WORDS)
        await core.retention.erase(TENANT, "operator", before=datetime.now(UTC) + timedelta(days=1))
        assert places(core) == {}


def _said(core: Core) -> list[str]:
    with core.engine.connect() as conn:
        return list(conn.execute(sa.text("SELECT text FROM demo_message")).scalars())
