"""Invariant 5's count of floods holds for strangers' messages too, and a flood is not answered with another."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from bot.messages import AskAgain, Command
from bot.ports import Standing
from tests.kit.product import Clock, Product, channel, dm, person, running
from tests.kit.scripted import refund_and_mail
from tools import strangers
from tools.strangers import ANSWERS_A_MINUTE, STRANGERS_A_MINUTE


class Stopped(Clock):
    """Time stands still until the test moves it: the minute ends when the test says so."""

    def __init__(self) -> None:
        super().__init__()
        self.now = datetime.now(UTC).replace(second=0, microsecond=0)

    def __call__(self) -> datetime:
        return self.now + self.ahead


@pytest.fixture
async def product(engine_url: str, tmp_path: Path) -> AsyncIterator[Product]:
    business = f"sqlite:///{tmp_path / 'business.sqlite'}"
    async with running(engine_url, business, refund_and_mail, launch=False, clock=Stopped()) as made:
        yield made


async def refused(product: Product) -> list[str | None]:
    return [who for kind, _, who in await product.audit() if kind == "identity.refused"]


async def floods(product: Product) -> list[str]:
    return [kind for kind, status, _ in await product.audit() if status == "counted"]


async def test_inv05_a_flood_of_messages_is_counted_one_row_a_minute(product: Product) -> None:
    for n in range(50):
        await product.write(f"nobody{n % 5}", "let me in")
    assert len(await refused(product)) == STRANGERS_A_MINUTE
    assert await floods(product) == []
    product.clock.ahead = timedelta(minutes=1)
    await product.parts.gateway.expire_due()
    await product.parts.gateway.expire_due()
    assert await floods(product) == ["message.flood"]
    assert await product.writer.read(strangers.flood_chains) == []


async def test_inv05_each_stranger_is_told_a_few_times_a_minute(product: Product) -> None:
    for n in range(30):
        await product.write(f"nobody{n % 2}", "let me in", channel())
    heard = [str(said.only_for) for said in product.chat.said]
    assert (heard.count("nobody0"), heard.count("nobody1")) == (ANSWERS_A_MINUTE, ANSWERS_A_MINUTE)
    product.clock.ahead = timedelta(minutes=3)
    await product.write("nobody0", "let me in", channel())
    assert len(product.chat.said) == 2 * ANSWERS_A_MINUTE + 1


async def test_inv05_another_reason_is_told_although_the_first_was_told_often(product: Product) -> None:
    for _ in range(9):
        await product.write("nobody", "let me in", channel())
    product.chat.standings["nobody"] = Standing.GUEST
    await product.write("nobody", "let me in", channel())
    assert "Guests" in product.chat.said[-1].text


async def test_inv05_commands_and_buttons_of_strangers_are_counted_with_them(product: Product) -> None:
    for n in range(30):
        await product.turn.on_command(Command(person("nobody"), dm("nobody"), f"c{n}", "status"))
        await product.turn.on_ask_again(AskAgain(person("nobody"), f"p{n}", "held"))
    assert len(await refused(product)) == 2 * STRANGERS_A_MINUTE
    product.clock.ahead = timedelta(minutes=1)
    await product.parts.gateway.expire_due()
    assert sorted(await floods(product)) == ["message.flood", "press.flood"]


async def test_inv05_somebody_known_is_heard_through_a_flood(product: Product) -> None:
    for _ in range(30):
        await product.write("nobody", "let me in")
    await product.write("dana", "Refund order 1042, please")
    assert ("turn.started", "started", "dana") in await product.audit()
