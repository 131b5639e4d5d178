"""A queue on a database of its own, and segments that write down what they were asked."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

import pytest
from sqlmodel import SQLModel

from audit.writer import Writer, make_engine
from bot import durable
from bot.durable import Durable
from bot.work import Later, Segment
from policy.model import TenantId
from tools.ports import Notice


@dataclass
class Notebook:
    """Segments that note their calls; `busy` and `broken` make `tell` fail that many times first."""

    calls: list[tuple[str, ...]] = field(default_factory=list)
    given_up: list[tuple[Segment, str, str]] = field(default_factory=list)
    busy: int = 0
    broken: int = 0
    hold: asyncio.Event | None = None
    running: int = 0
    together: int = 0
    sweeps: int = 0

    async def turn_start(self, tenant: TenantId, turn_id: str) -> None:
        self.running += 1
        self.together = max(self.together, self.running)
        self.calls.append(("start", turn_id))
        if self.hold is not None:
            await self.hold.wait()
        else:
            await asyncio.sleep(0.02)
        self.calls.append(("end", turn_id))
        self.running -= 1

    async def turn_resume(self, tenant: TenantId, held_id: str) -> None:
        self.calls.append(("resume", held_id))

    async def execute(self, tenant: TenantId, held_id: str, revision: int) -> None:
        self.calls.append(("execute", tenant, held_id, str(revision)))

    async def tell(self, notice: Notice) -> None:
        if self.busy > 0:
            self.busy -= 1
            raise Later("the chat is busy", pause_s=0.05)
        if self.broken > 0:
            self.broken -= 1
            raise ValueError("card 4111 1111 1111 1111")
        self.calls.append(("tell", notice.kind.value, notice.held_id, notice.press_id or ""))

    async def gave_up(self, segment: Segment, tenant: TenantId, subject_id: str, why: str) -> None:
        self.given_up.append((segment, subject_id, why))

    async def sweep(self) -> None:
        self.sweeps += 1


@dataclass
class Bench:
    writer: Writer
    durable: Durable
    notes: Notebook

    async def until(self, done: Callable[[], bool], seconds: float = 15) -> None:
        deadline = time.monotonic() + seconds
        while not done():
            assert time.monotonic() < deadline, f"not done in {seconds} s: {self.notes}"
            await asyncio.sleep(0.01)


@pytest.fixture
async def bench(engine_url: str) -> AsyncIterator[Bench]:
    """Launched by the test itself; stopped here if it runs."""
    engine = make_engine(engine_url)
    SQLModel.metadata.create_all(engine)
    durable.migrate_queue(engine)
    writer = Writer(engine)
    made = Bench(writer, Durable(engine, writer, first_pause_s=0.05, beat_s=0.1, sweep_s=0.05), Notebook())
    yield made
    await made.durable.stop(grace_s=0)
    writer.close()
    engine.dispose()
