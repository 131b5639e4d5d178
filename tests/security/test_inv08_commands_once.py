"""Invariant 8: a kill typed as a message is not lost by a crash, and a command that comes twice switches once."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from types import ModuleType

import pytest
from sqlalchemy.engine import Connection

from audit.faults import StoreUnavailable
from bot import store
from bot.messages import Command
from tests.kit.door import Crash
from tests.kit.product import Product, dm, person, running
from tests.kit.scripted import refund_and_mail
from tools import killswitch


@pytest.fixture
async def product(engine_url: str, tmp_path: Path) -> AsyncIterator[Product]:
    async with running(engine_url, f"sqlite:///{tmp_path / 'business.sqlite'}", refund_and_mail) as made:
        yield made


async def send(product: Product, user: str, text: str, name: str = "kill") -> None:
    """One delivery of the message `name`."""
    await product.write(user, text, message_id=f"m-{name}", event_id=f"e-{name}")


async def switched(product: Product) -> list[str]:
    return [kind for kind, _, _ in await product.audit() if kind.startswith("kill.")]


async def stopped(product: Product) -> int:
    return len(await product.writer.read(lambda conn: killswitch.active(conn, None)))


def once_failing(call: Callable[..., object], error: BaseException) -> Callable[..., object]:
    """`call`, but its first time ends in `error`, after it has done its work."""
    left = [error]

    def wrapped(*args: object, **kwargs: object) -> object:
        done = call(*args, **kwargs)
        if left:
            raise left.pop()
        return done

    return wrapped


@pytest.mark.parametrize("error", [Crash(), StoreUnavailable("The disk is full.")], ids=["crash", "disk"])
@pytest.mark.parametrize("place", [(store, "mark_seen"), (killswitch, "lock"), (killswitch, "throw")])
async def test_inv08_a_kill_that_broke_off_is_carried_out_when_it_comes_again(
    product: Product, monkeypatch: pytest.MonkeyPatch, error: BaseException, place: tuple[ModuleType, str]
) -> None:
    """The fault comes between the note that the message was taken and the switch, or the other way round."""
    module, name = place
    monkeypatch.setattr(module, name, once_failing(getattr(module, name), error))
    with contextlib.suppress(Crash):
        await send(product, "ada", "/countersign kill all wrong amounts")
        assert product.chat.said[-1].text.startswith("The command was not carried out.")
    assert (await stopped(product), await switched(product)) == (0, [])
    await send(product, "ada", "/countersign kill all wrong amounts")
    assert (await stopped(product), await switched(product)) == (1, ["kill.switched"])
    assert "Stopped: everything in this organisation." in product.chat.said[-1].text


async def test_inv08_a_message_that_comes_again_switches_and_says_nothing_more(product: Product) -> None:
    await send(product, "ada", "/countersign kill all wrong amounts")
    said = len(product.chat.said)
    await send(product, "ada", "/countersign kill all wrong amounts")
    await product.write("ada", "/countersign kill all wrong amounts", message_id="m-kill", event_id="another event id")
    assert (await stopped(product), await switched(product)) == (1, ["kill.switched"])
    assert len(product.chat.said) == said


async def test_inv08_a_resume_that_comes_again_lifts_no_newer_stop(
    product: Product, monkeypatch: pytest.MonkeyPatch
) -> None:
    await send(product, "ada", "/countersign kill all wrong amounts")
    await send(product, "ada", "/countersign resume all", "resume")
    assert await stopped(product) == 0
    await product.write("ada", "/countersign kill all again", message_id="m3", event_id="e3")

    def blind(_conn: Connection, _keys: tuple[str, ...]) -> bool:
        """As for a delivery that was looked up before the first one had committed."""
        return False

    monkeypatch.setattr(store, "seen", blind)
    await send(product, "ada", "/countersign resume all", "resume")
    assert await stopped(product) == 1
    assert (await switched(product)).count("kill.resumed") == 1


async def test_inv08_two_deliveries_at_once_switch_once(product: Product) -> None:
    text = "/countersign kill all wrong amounts"
    await asyncio.gather(*(product.write("ada", text, message_id="m1", event_id=f"e{n}") for n in range(4)))
    assert (await stopped(product), await switched(product)) == (1, ["kill.switched"])
    assert len(product.chat.said) == 1


async def test_inv08_a_slash_command_that_is_replayed_changes_nothing(product: Product) -> None:
    def said(text: str, command_id: str) -> Command:
        return Command(person("ada"), dm("ada"), command_id, text)

    assert (await product.turn.on_command(said("kill all odd", "command:1"))).startswith("Stopped")
    assert (await product.turn.on_command(said("resume all", "command:2"))).startswith("Resumed")
    assert (await product.turn.on_command(said("kill all odder", "command:3"))).startswith("Stopped")
    answer = await product.turn.on_command(said("resume all", "command:2"))
    assert answer == "This command came twice and has been carried out before. Nothing was changed again."
    assert await stopped(product) == 1
    # A chat that gives its commands no id can stop as often as it wants.
    for _ in range(2):
        assert (await product.turn.on_command(said("kill all still", "command:"))).startswith("Stopped")


async def test_inv08_words_that_change_nothing_are_answered_once_as_a_message(product: Product) -> None:
    await send(product, "ada", "/countersign whoami")
    await send(product, "ada", "/countersign whoami")
    await send(product, "dana", "/countersign kill all because", "other")
    await send(product, "dana", "/countersign kill all because", "other")
    assert len(product.chat.said) == 2
    assert [kind for kind, _, _ in await product.audit() if kind == "command.refused"] == ["command.refused"]
