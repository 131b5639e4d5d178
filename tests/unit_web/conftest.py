"""The demo page over a real database and a scripted upper layer, asked without a socket."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import httpx2
import pytest
from sqlmodel import SQLModel
from starlette.types import ASGIApp

from audit.writer import Writer, make_engine
from bot.web import tables
from bot.web.chatlog import ChatLog
from bot.web.demo import demo_app
from bot.web.surface import DemoSurface
from bot.web.workspace import load_workspace
from policy.model import TenantId
from tests.unit_web.demo_double import ScriptedService, Trail, people

HOST = "127.0.0.1:8020"
TOKEN = "a-token-of-at-least-128-random-bits"


@dataclass
class Demo:
    app: ASGIApp
    surface: DemoSurface
    service: ScriptedService
    trail: Trail
    writer: Writer

    def client(self, **headers: str) -> httpx2.AsyncClient:
        """A browser that has not been let in."""
        transport = httpx2.ASGITransport(app=self.app)
        return httpx2.AsyncClient(transport=transport, base_url=f"http://{HOST}", headers=headers)

    async def let_in(self) -> httpx2.AsyncClient:
        """A browser that opened the printed address."""
        client = self.client(origin=f"http://{HOST}")
        welcome = await client.get(f"/?token={TOKEN}")
        assert welcome.status_code == 200, welcome.text
        return client

    async def message_ids(self, channel: str, reader: str) -> list[int]:
        return [line.id for line in await self.surface.log.lines(channel, reader)]


@pytest.fixture
async def demo(tmp_path: Path) -> AsyncIterator[Demo]:
    engine = make_engine(f"sqlite:///{tmp_path / 'demo.sqlite'}")
    own = [SQLModel.metadata.tables[str(t.__tablename__)] for t in (tables.DemoMessage, tables.DemoSeen)]
    SQLModel.metadata.create_all(engine, tables=own)
    writer = Writer(engine)
    surface = DemoSurface(ChatLog(writer, TenantId("demo")), load_workspace(people()))
    trail = Trail()
    service = ScriptedService(surface, trail)
    app = demo_app(service=service, surface=surface, data=trail, token=TOKEN, hosts=(HOST,))
    yield Demo(app, surface, service, trail, writer)
    writer.close()
    engine.dispose()


def text_of(html: str) -> str:
    """What a reader sees, roughly."""
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", html))
