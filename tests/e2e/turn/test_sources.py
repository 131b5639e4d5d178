"""An answer names what tools really read for it: to its reader alone, never a guess, the same after a crash."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
import sqlalchemy as sa

from bot.messages import Room
from bot.ports import Answer, ModelAnswer, ModelRequest, Source, SurfaceError, ToolReturned
from policy.approval import Verb
from policy.model import Json
from tests.kit.product import Product, channel, dm
from tests.kit.scripted import Said, calls, refund_and_mail, says
from tools.held import Executed, Outcome, Proposal, TurnContext
from tools.spec import OutputClass, Record

DONE = "It has been shipped."
ORDER: tuple[str, dict[str, Json]] = ("crm_read", {"kind": "order", "key": "1042"})
CUSTOMER: tuple[str, dict[str, Json]] = ("crm_read", {"kind": "customer", "key": "C-1007"})
NOBODY: tuple[str, dict[str, Json]] = ("crm_read", {"kind": "order", "key": "9999"})
MONTHS: tuple[str, dict[str, Json]] = (
    "db_query",
    {"sql": "WITH later AS (SELECT id FROM orders) SELECT count(*) FROM later"},
)


def _reads(*wanted: tuple[str, dict[str, Json]]) -> object:
    def script(request: ModelRequest) -> ModelAnswer:
        return says(DONE) if isinstance(request.messages[-1], ToolReturned) else calls(*wanted)

    return script


def _told(product: Product, text: str = DONE) -> list[Said]:
    return [said for said in product.chat.said if said.text == text]


async def _asked(product: Product, *wanted: tuple[str, dict[str, Json]]) -> tuple[Source, ...]:
    product.model.script = _reads(*wanted)  # type: ignore[assignment]
    await product.write("dana", "how does it stand?")
    await product.until_said(dm("dana"), DONE)
    (said,) = _told(product)
    assert said.answer is not None
    return said.answer.sources


async def test_an_answer_names_what_was_read_each_once(product: Product) -> None:
    sources = await _asked(product, ORDER, CUSTOMER, ORDER)
    assert sources == (Source("Order 1042", "Read by crm.read."), Source("Customer C-1007", "Read by crm.read."))


async def test_what_was_not_found_or_not_allowed_is_no_source(product: Product) -> None:
    # Support agents do not read the ledger.
    assert await _asked(product, NOBODY, ("ledger_read", {}), ("no_such_tool", {})) == ()


async def test_a_query_names_its_tables(product: Product) -> None:
    assert await _asked(product, MONTHS) == (Source("Table orders", "Read by db.query."),)


async def test_an_answer_without_a_reading_has_none_and_our_own_words_are_no_answer(product: Product) -> None:
    product.model.script = refund_and_mail
    await product.write("dana", "hello")
    await product.until_said(dm("dana"), "You should know: hello")
    assert _told(product, "You should know: hello")[0].answer == Answer()
    product.model.down = True
    await product.write("dana", "hello")
    await product.until_said(dm("dana"), "The model cannot be reached")
    assert product.chat.said[-1].answer is None
    product.model.down = False
    await product.command("ada", "kill all wrong amounts")
    await product.write("dana", "hello")
    assert product.chat.said[-1].answer is None


async def test_what_a_tool_wants_to_be_called_stands_nowhere_if_it_is_somebodys_words(
    product: Product, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A step's note is kept by the queue (invariant 11)."""
    propose = product.parts.gateway.propose
    odd = (
        Record("order", "4111111111111111"),
        Record("customer", "ada.lindqvist@example.com"),
        Record("customer", "Ada Lindqvist"),
        Record("Order of Ada", "1"),
        Record("order", "1042"),
    )

    async def named(turn: TurnContext, proposals: Sequence[Proposal]) -> tuple[Outcome, ...]:
        return tuple(
            replace(one, result=replace(one.result, records=odd)) if isinstance(one, Executed) else one
            for one in await propose(turn, proposals)
        )

    monkeypatch.setattr(product.parts.gateway, "propose", named)
    assert [source.title for source in await _asked(product, ORDER)] == ["Order 1042"]


async def test_sources_go_where_the_answer_goes(product: Product, monkeypatch: pytest.MonkeyPatch) -> None:
    product.model.script = _reads(ORDER)  # type: ignore[assignment]
    thread = channel("in")
    await product.write("dana", "how does order 1042 stand?", thread)
    await product.until_said(thread, "I have answered privately")
    (whispered,) = _told(product)
    assert whispered.only_for == "dana"
    assert whispered.answer == Answer((Source("Order 1042", "Read by crm.read."),))
    aloud = [said for said in product.chat.said if said.thread == thread and said.only_for is None]
    assert [said.answer for said in aloud] == [None]
    assert "1042" not in str(aloud)
    # What everybody may read is said, with its sources, to everybody; among outsiders to nobody but the asker.
    propose = product.parts.gateway.propose

    async def public(turn: TurnContext, proposals: Sequence[Proposal]) -> tuple[Outcome, ...]:
        return tuple(
            replace(one, result=replace(one.result, output_class=OutputClass.PUBLIC))
            if isinstance(one, Executed)
            else one
            for one in await propose(turn, proposals)
        )

    monkeypatch.setattr(product.parts.gateway, "propose", public)
    for where in (channel("open"), channel("out", Room.SHARED)):
        await product.write("dana", "how does order 1042 stand?", where)
        await product.until_said(where, DONE)
    told = {said.thread.root: (said.only_for, said.answer) for said in _told(product)}
    assert told["open"] == (None, whispered.answer)
    assert told["out"] == ("dana", whispered.answer)


async def test_they_are_the_same_when_the_answer_is_said_again(product: Product) -> None:
    """The chat does not take the answer: the segment runs again and reads what it noted, no tool is asked twice."""
    product.chat.faults["done"] = [SurfaceError("down", retry_after_s=0.01), SurfaceError("down", retry_after_s=0.01)]
    assert await _asked(product, ORDER) == (Source("Order 1042", "Read by crm.read."),)
    reads = "SELECT count(*) FROM agent_audit_log WHERE kind = 'tool.executed' AND tool_name = 'crm.read'"
    assert await product.writer.read(lambda conn: conn.execute(sa.text(reads)).scalar_one()) == 1


async def test_what_is_told_later_claims_nothing_that_was_read_before(product: Product) -> None:
    await product.write("dana", "Refund order 1042, please")
    refund = await product.item("Refund")
    await product.press("ann", refund, Verb.REJECT, "no")
    await product.until_said(dm("dana"), "Rejected by Ann Okafor")
    told = [said for said in product.chat.said if "Rejected by Ann Okafor" in said.text]
    assert [said.answer for said in told] == [Answer()]
