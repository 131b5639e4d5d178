"""A replica dies with kill -9: another process goes on, nothing is lost, nothing is done twice."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import sqlalchemy as sa

from audit.writer import make_engine
from bot import migrations, replicas, store
from policy.approval import Verb
from tests.kit.product import DEMO, Product, build, close, dm
from tests.kit.replica import QUICK
from tests.kit.scripted import RecordedChat, ScriptedModel, refund_and_mail
from tools.held import HeldView

ASK = "Refund order 1042, 42 dollars, the parcel never came"
ROOT = Path(__file__).parents[2]


@asynccontextmanager
async def child(url: str, business: str, mode: str) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.kit.replica", url, business, "the-one-that-dies", mode,
        cwd=ROOT, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        await line(process, "READY")
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def line(process: asyncio.subprocess.Process, word: str) -> None:
    assert process.stdout is not None
    async with asyncio.timeout(60):
        while (await process.stdout.readline()).decode().strip() != word:
            assert process.returncode is None, f"the replica ended with {process.returncode} before it said {word}"


@asynccontextmanager
async def survivor(url: str, business: str) -> AsyncIterator[Product]:
    """A second replica in this process; the test launches it."""
    product = build(
        url, business, RecordedChat(), ScriptedModel(refund_and_mail),
        replica_id="the-one-that-lives", timings=QUICK, first_pause_s=0.05, sweep_s=0.2, beat_s=0.2,
    )  # fmt: skip
    try:
        yield product
    finally:
        await product.parts.durable.stop(grace_s=0)
        close(product)


@pytest.fixture
def business(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'business.sqlite'}"


@pytest.fixture
def database(engine_url: str) -> str:
    engine = make_engine(engine_url)
    migrations.migrate(engine)
    engine.dispose()
    return engine_url


@pytest.mark.parametrize("same_machine", [True, False], ids=["its process is gone", "its heartbeat stands still"])
async def test_a_turn_cut_off_in_the_middle_is_answered_by_the_other_replica(
    database: str, business: str, same_machine: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not same_machine:
        monkeypatch.setattr(replicas, "machine", lambda: "another machine")
    async with survivor(database, business) as product, child(database, business, "hang") as process:
        await product.write("dana", ASK)
        await line(process, "ASKED")
        process.kill()
        await process.wait()
        await product.parts.durable.launch(product.turn.segments)
        await product.until_said(dm("dana"), "Both wait for approval.", 40)
        await product.item("Refund")
        assert await _count(product, "transcript", "content LIKE '%parcel never came%' AND step = 'received'") == 1
        assert await _count(product, "held_call", "tool = 'refund.issue'") == 1
        assert [row.replica_id for row in await product.writer.read(store.replicas)] == ["the-one-that-lives"]


async def test_a_living_replica_is_not_robbed(database: str, business: str) -> None:
    async with survivor(database, business) as product, child(database, business, "hang") as process:
        await product.write("dana", ASK)
        await line(process, "ASKED")
        await product.parts.durable.launch(product.turn.segments)
        await asyncio.sleep(0.2 * replicas.STALE_BEATS * 2)
        assert product.model.asked == 0


async def test_killed_while_waiting_the_press_still_counts(database: str, business: str) -> None:
    async with survivor(database, business) as product, child(database, business, "serve") as process:
        await product.write("dana", ASK)
        refund = await _held(product)
        process.kill()
        await process.wait()
        await product.parts.durable.launch(product.turn.segments)
        outcome = await product.press_view("ann", refund, Verb.APPROVE)
        assert outcome.sentence == "Approved."
        await product.until_said(dm("dana"), "Refunded 42.00 USD", 40)
        assert await product.refunds() == ["4200"]


async def test_killed_between_effect_and_record_the_provider_has_one_refund(database: str, business: str) -> None:
    async with survivor(database, business) as product, child(database, business, "die_after_effect") as process:
        await product.write("dana", ASK)
        refund = await _held(product)
        await product.press_view("ann", refund, Verb.APPROVE)
        async with asyncio.timeout(40):
            assert await process.wait() == 9
        assert await product.refunds() == ["4200"]
        assert await _count(product, "agent_audit_log", "kind = 'tool.executed'") == 0
        await product.parts.durable.launch(product.turn.segments)
        await product.until_said(dm("dana"), "Refunded 42.00 USD", 40)
        assert await product.refunds() == ["4200"]
        assert await _count(product, "agent_audit_log", "kind = 'tool.executed'") == 1


async def _held(product: Product) -> HeldView:
    """The refund as the database has it: the other process posts the card."""
    who = (await product.parts.book.people(DEMO))[0].subject
    deadline = time.monotonic() + 40
    while True:
        found = [view for view in await product.parts.gateway.asked_by(DEMO, who) if view.tool == "refund.issue"]
        if found:
            return found[0]
        assert time.monotonic() < deadline, "nothing was held"
        await asyncio.sleep(0.05)


async def _count(product: Product, table: str, where: str) -> int:
    if product.writer.engine.dialect.name == "postgresql":
        where = where.replace("content LIKE", "content::text LIKE")
    query = sa.text(f"SELECT count(*) FROM {table} WHERE {where}")
    return int(await product.writer.read(lambda conn: conn.execute(query).scalar_one()))
