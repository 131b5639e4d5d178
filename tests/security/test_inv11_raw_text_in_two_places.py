"""Invariant 11 over the whole product: raw text is in the transcript and on the approval row; once erased, nowhere.

Every column of every table is searched, the queue's own tables included, after a journey with a marker in all that
people and the model write.
"""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Mapping
from datetime import timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from audit.verify import verify
from bot.ports import EventHappened, ModelAnswer, ModelRequest, ToolReturned
from bot.retention import Retention
from policy.approval import PressResult, Verb
from tests.kit.door import House
from tests.kit.product import DEMO, Product, channel, dm, running
from tests.kit.scripted import calls, says
from tools.killswitch import Switch

MESSAGE, DRAFT, SUBJECT = "zebra-in-the-message", "walrus-in-the-draft", "lemur-in-the-subject"
REASON, QUESTION, ANSWER = "heron-in-the-reason", "otter-in-the-question", "gecko-in-the-answer"
WHY = "moth-in-why-it-is-refunded"
MARKERS = (MESSAGE, DRAFT, SUBJECT, REASON, QUESTION, ANSWER, WHY)
PLACES = {"transcript", "held_call"}


def script(request: ModelRequest) -> ModelAnswer:
    """A refund and a mail, with the model's own words beside them; later it repeats what it was told."""
    last = request.messages[-1]
    told = list(itertools.takewhile(lambda m: isinstance(m, EventHappened), reversed(request.messages)))
    if told:
        return says(f"{ANSWER}: " + " ".join(getattr(event, "text", "") for event in told))
    if isinstance(last, ToolReturned):
        return says(f"Both wait. {ANSWER}")
    return calls(
        ("refund_issue", {"order_id": "1042", "amount": "42.00", "currency": "USD", "reason": WHY}),
        ("email_send", {"to": "C-1007", "subject": SUBJECT, "body": f"Dear Ada, {DRAFT}."}),
        text=f"I prepared both. {ANSWER}",
    )


@pytest.fixture
async def product(engine_url: str, tmp_path: Path) -> AsyncIterator[Product]:
    async with running(engine_url, f"sqlite:///{tmp_path / 'business.sqlite'}", script) as made:
        yield made


def found(conn: Connection, markers: tuple[str, ...]) -> dict[str, set[str]]:
    """table -> the markers in it, over every table of the database whatever its schema."""
    inspector = sa.inspect(conn)
    schemas = [name for name in inspector.get_schema_names() if name not in ("information_schema", "pg_catalog")]
    places: dict[str, set[str]] = {}
    for schema in schemas:
        for name in inspector.get_table_names(schema):
            whole = sa.Table(name, sa.MetaData(), schema=schema, autoload_with=conn)
            for row in conn.execute(sa.select(whole)).mappings():
                text = "\x00".join(str(value) for value in row.values())
                seen = {marker for marker in markers if marker in text}
                if seen:
                    places.setdefault(name, set()).update(seen)
    return places


async def search(product: Product, markers: tuple[str, ...] = MARKERS) -> Mapping[str, set[str]]:
    return await product.writer.read(lambda conn: found(conn, markers))


async def journey(product: Product) -> None:
    """Asked, questioned, rejected; asked once more, approved and done."""
    await product.write("dana", f"Refund order 1042 and mail her, {MESSAGE}")
    refund, mail = await product.item("Refund 42.00 USD"), await product.item("Send an e-mail")
    await product.press("ann", refund, Verb.ASK, QUESTION)
    await product.until_said(dm("dana"), QUESTION)
    await product.press("ann", refund, Verb.REJECT, REASON)
    await product.until_said(dm("dana"), REASON)
    await product.status("Send an e-mail", "Cancelled")
    thread = channel("m-again")
    await product.write("dana", f"Do it again, {MESSAGE}", thread)
    await product.until(lambda: len([i for i in product.chat.items() if i.held_id != mail.held_id]) >= 3)
    for item in product.chat.items():
        if item.held_id not in (refund.held_id, mail.held_id):
            await product.press("lee" if "e-mail" in item.headline else "bob", item, Verb.APPROVE)
    await product.status("Refund", "Refunded 42.00 USD")
    await product.status("Send an e-mail", "Sent the e-mail")
    await product.until(lambda: any(s.only_for == "dana" and "Sent the e-mail" in s.text for s in product.chat.said))


async def test_inv11_raw_text_is_in_two_places_and_after_an_erase_in_none(product: Product) -> None:
    await journey(product)
    places = await search(product)
    assert set(places) == PLACES, places
    assert set().union(*places.values()) == set(MARKERS)

    retention = Retention(product.writer, product.parts.audit, product.clock)
    lines, requests = await retention.erase(DEMO, "operator", before=product.clock() + timedelta(days=1))
    assert lines
    assert requests == 4
    assert await search(product) == {}
    assert verify(product.writer.engine).holds


async def test_inv11_erasing_one_person_takes_what_was_asked_about_their_requests(product: Product) -> None:
    await journey(product)
    dana = await product.parts.book.people(DEMO)
    subject = next(one.subject for one in dana if one.subject.sub == "dana")
    await Retention(product.writer, product.parts.audit, product.clock).erase(DEMO, "operator", subject=subject)
    assert await search(product) == {}


async def test_inv11_why_it_was_stopped_is_said_to_the_presser_and_not_kept_with_the_press(house: House) -> None:
    from tools.held import Scope, ScopeKind
    from tools.stops import By

    view = await house.ask_refund()
    await house.gateway.kill(DEMO, Scope(ScopeKind.TENANT), By("ada", "Ada Kim"), REASON)
    pressed = await house.press("ann", view)
    assert pressed.result is PressResult.STOPPED
    assert REASON in pressed.sentence
    places = house.writer.read_blocking(lambda conn: found(conn, (REASON,)))
    assert set(places) == {str(Switch.__tablename__), "agent_audit_log"}, places


async def test_inv11_questions_are_bounded_and_the_row_stays_what_was_signed(house: House) -> None:
    view = await house.ask_refund()
    for n in range(20):
        assert (await house.press("ann", view, Verb.ASK, f"{QUESTION} {n}")).result is PressResult.ASKED
    refused = await house.press("ann", view, Verb.ASK, "one too many")
    assert refused.result is PressResult.TOO_MANY
    assert "20 questions have been asked about this already" in refused.sentence
    assert "one too many" not in str(house.rows("SELECT * FROM held_call"))
    assert (await house.now(view.held_id)).digest == view.digest
    assert (await house.press("ann", view)).result is PressResult.APPROVED
    await house.settle()
    assert len(house.refunds()) == 1


@pytest.mark.parametrize("done", [True, False])
async def test_inv11_what_somebody_notes_of_a_doubt_is_on_the_approval_row_alone(house: House, done: bool) -> None:
    view = await house.ask_refund()
    house.break_tool("refund.issue", after=True)
    await house.press("ann", view)
    await house.settle()
    await house.gateway.settle_doubt(DEMO, view.held_id, "Ada Kim", done, REASON)
    places = house.writer.read_blocking(lambda conn: found(conn, (REASON,)))
    assert set(places) == {"held_call"}, places
