"""The database is locked or full, a segment is cut off: said plainly, nothing lost, nothing doubled."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from audit.faults import StoreUnavailable, unavailable
from policy.approval import Verb
from tests.kit.product import Product, dm

LOCKED = "is locked by another program. Find and end that program"


class Switch:
    """Stands before the writer and can turn every write away, as a locked or full database does."""

    def __init__(self, product: Product, monkeypatch: pytest.MonkeyPatch) -> None:
        self.off = False
        self.refused = 0
        run: Callable[[Any], Awaitable[Any]] = product.writer.run

        async def guarded(unit: Any) -> Any:
            if self.off:
                self.refused += 1
                raise unavailable(LOCKED)
            return await run(unit)

        monkeypatch.setattr(product.writer, "run", guarded)


@pytest.fixture
def database(product: Product, monkeypatch: pytest.MonkeyPatch) -> Switch:
    return Switch(product, monkeypatch)


async def test_a_message_that_cannot_be_noted_is_said_not_to_have_been_taken(
    product: Product, database: Switch
) -> None:
    database.off = True
    await product.write("dana", "hello")
    assert product.chat.said[-1].text.startswith("I could not note your message, so nothing was done with it.")
    assert "locked" in product.chat.said[-1].text
    database.off = False
    await product.write("dana", "hello again")
    await product.until_said(dm("dana"), "You should know: hello again")
    assert product.model.asked == 1


async def test_a_press_that_cannot_be_recorded_does_not_count(product: Product, database: Switch) -> None:
    await product.write("dana", "Refund order 1042, please")
    refund = await product.item("Refund")
    await product.item("Send an e-mail")
    database.off = True
    reply = await product.press("ann", refund, Verb.APPROVE)
    assert "did not count" in reply.sentence
    database.off = False
    assert (await product.press("ann", refund, Verb.APPROVE)).sentence == "Approved."
    await product.status("Refund", "Refunded")
    assert await product.refunds() == ["4200"]


async def test_a_turn_goes_on_by_itself_when_the_database_is_back(product: Product, database: Switch) -> None:
    product.model.script = _shut(product, database)
    await product.write("dana", "hello")
    await product.until_said(dm("dana"), "I go on with this by myself as soon as it is back")
    database.off = False
    await product.until_said(dm("dana"), "You should know: hello")
    assert product.chat.heard_by(dm("dana")).count("You should know") == 1


async def test_a_kill_that_cannot_be_written_says_so(product: Product, database: Switch) -> None:
    database.off = True
    assert "The command was not carried out." in await product.command("ada", "kill all now")
    database.off = False
    assert "Nothing is stopped." in await product.command("ada", "status")


def _shut(product: Product, database: Switch) -> Any:
    """The model's first answer comes just when the database goes away."""
    script = product.model.script

    def answer(request: Any) -> Any:
        database.off = product.model.asked == 1
        return script(request)

    return answer


def test_the_sentence_is_for_people() -> None:
    error = unavailable(LOCKED)
    assert isinstance(error, StoreUnavailable)
    assert "Nothing was written" in str(error)
