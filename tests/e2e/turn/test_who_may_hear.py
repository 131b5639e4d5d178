"""Who hears what: nobody hears of others' requests, an account that changed hands hears nothing, no end goes untold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from bot.messages import Press, Room
from bot.ports import AssistantSaid, EventHappened, ModelAnswer, ModelRequest, Person, ToolReturned
from bot.segments import TurnSegments
from bot.store import TOLD
from policy.approval import Verb
from policy.model import Subject, TenantId
from tests.kit.product import DEMO, Product, channel, dm, person
from tests.kit.scripted import MAIL, REFUND, calls, refund_and_mail, says
from tools import limits
from tools.held import Executed, Outcome, Proposal, TurnContext
from tools.spec import OutputClass

ASK = "Refund order 1042, please"
CARD = "4111 1111 1111 1111"


async def _nothing(*_ids: object) -> None:
    """In place of a segment that the test runs by hand."""


async def test_an_end_that_came_while_another_was_told_is_told_too(
    product: Product, monkeypatch: pytest.MonkeyPatch
) -> None:
    segments = product.turn.segments
    monkeypatch.setattr(segments, "turn_resume", _nothing)
    await product.write("dana", ASK)
    refund, mail = await product.item("Refund"), await product.item("Send an e-mail")
    await product.until_said(dm("dana"), "Both wait for approval.")
    await product.press("lee", mail, Verb.REJECT, "no mail")
    await TurnSegments.turn_resume(segments, DEMO, mail.held_id)
    await product.press("ann", refund, Verb.REJECT, "no refund")
    # The queue runs a segment again that a crash cut off, or that its chat did not take; then comes the next one.
    await TurnSegments.turn_resume(segments, DEMO, mail.held_id)
    await TurnSegments.turn_resume(segments, DEMO, refund.held_id)
    assert "no refund" in product.chat.heard_by(dm("dana"))


async def test_what_the_model_wrote_beside_its_calls_passes_the_guard_before_it_stands_on_a_card(
    product: Product,
) -> None:
    product.model.script = _prose_with_a_card_number
    await product.write("dana", ASK)
    await product.item("Refund")
    cards = repr(list(product.chat.cards.values()))
    assert "I prepared it." in cards
    assert CARD not in cards


async def test_status_shows_others_requests_to_nobody_but_admins(product: Product) -> None:
    await product.write("dana", ASK)
    refund = await product.item("Refund")
    held = sa.table("held_call", sa.column("held_id"), sa.column("effect"), sa.column("status"))
    change = sa.update(held).where(held.c.held_id == refund.held_id).values(status="approved", effect="started")
    await product.writer.run(lambda conn: conn.execute(change))
    told = await product.command("rita", "status")
    assert refund.headline not in told
    assert "Under way, too late to stop: 1." in told
    assert refund.headline in await product.command("ada", "status")


async def test_an_account_that_belongs_to_somebody_else_now_hears_nothing(product: Product) -> None:
    await product.write("dana", ASK)
    refund = await product.item("Refund")
    await product.until_said(dm("dana"), "Both wait for approval.")
    _moved(product, "dana", "sam")
    await product.press("ann", refund, Verb.ASK, "Is this the Lindqvist case?")
    await product.press("ann", refund, Verb.REJECT, "not for Ada Lindqvist")
    await product.until(lambda: _ended(product))
    heard = product.chat.heard_by(dm("dana"))
    assert "Is this the Lindqvist case?" not in heard
    assert "not for Ada Lindqvist" not in heard


def _ended(product: Product) -> bool:
    query = (
        sa.select(sa.func.count())
        .select_from(TOLD)
        .where(TOLD.c.about.like("t!_%", escape="!"), TOLD.c.what != "start")
    )
    with product.writer.engine.connect() as conn:
        return bool(conn.execute(query).scalar_one() > 0)


def _moved(product: Product, account: str, to: str) -> None:
    """An admin mends the directory: the chat account was another person's."""
    directory = product.parts.directory
    by_account = directory.by_account
    directory.by_account = (  # type: ignore[method-assign]
        lambda conn, who: by_account(conn, person(to) if who == person(account) else who)
    )


async def test_a_request_whose_approvers_no_chat_reaches_is_said_so(product: Product) -> None:
    directory = product.parts.directory
    by_subject = directory.by_subject

    def without_chat(conn: Connection, tenant: TenantId, subject: Subject) -> Person | None:
        found = by_subject(conn, DEMO, subject)
        return None if found is None else replace(found, accounts=())

    directory.by_subject = without_chat  # type: ignore[method-assign]
    product.model.script = _only_mail
    await product.write("dana", ASK)
    await product.until_said(dm("dana"), "I could not reach the approvers", 10)


async def test_what_ended_during_a_stop_is_known_to_the_model_afterwards(product: Product) -> None:
    await product.write("dana", ASK)
    refund = await product.item("Refund")
    await product.until_said(dm("dana"), "Both wait for approval.")
    await product.command("ada", "kill user Dana too many mistakes")
    await product.press("ann", refund, Verb.REJECT, "not this one")
    await product.until_said(dm("dana"), "not this one")
    await product.command("ada", "resume user Dana")
    requests: list[ModelRequest] = []

    def script(request: ModelRequest) -> ModelAnswer:
        requests.append(request)
        return refund_and_mail(request)

    product.model.script = script
    await product.write("dana", "how does it stand?")
    await product.until_said(dm("dana"), "You should know: how does it stand?")
    heard = [message.text for message in requests[-1].messages if isinstance(message, EventHappened)]
    assert any("not this one" in text for text in heard)


async def test_somebody_elses_ask_again_is_refused_and_noted(product: Product) -> None:
    await product.write("dana", ASK, channel())
    refund = await product.item("Refund")
    await product.press("ann", refund, Verb.REJECT, "no")
    reply = await product.ask_again("sam", refund.held_id)
    assert "Only the person who asked" in reply.sentence
    sam = await _sub(product, "sam")
    rows = [(kind, status) for kind, status, actor in await product.audit() if actor == sam]
    assert rows == [("approval.pressed", "not_requester")]


async def _sub(product: Product, user: str) -> str:
    known = await product.parts.book.by_account(person(user))
    assert known is not None
    return known.subject.sub


def _prose_with_a_card_number(request: ModelRequest) -> ModelAnswer:
    if isinstance(request.messages[-1], ToolReturned):
        return says("It waits.")
    return calls(REFUND, text=f"I prepared it. The customer's card is {CARD}.")


def _only_mail(request: ModelRequest) -> ModelAnswer:
    if isinstance(request.messages[-1], ToolReturned | AssistantSaid):
        return says("It waits.")
    return calls(MAIL, text="I prepared it.")


async def test_among_outsiders_not_even_public_output_is_said_aloud(
    product: Product, monkeypatch: pytest.MonkeyPatch
) -> None:
    propose = product.parts.gateway.propose

    async def public(turn: TurnContext, proposals: Sequence[Proposal]) -> tuple[Outcome, ...]:
        return tuple(
            replace(one, result=replace(one.result, output_class=OutputClass.PUBLIC))
            if isinstance(one, Executed)
            else one
            for one in await propose(turn, proposals)
        )

    monkeypatch.setattr(product.parts.gateway, "propose", public)
    product.model.script = _reads_an_order
    for thread in (channel("in"), channel("out", Room.SHARED)):
        await product.write("dana", "how does order 1042 stand?", thread)
        await product.until_said(thread, "It has been shipped.")
    said = {one.thread.root: one.only_for for one in product.chat.said if one.text == "It has been shipped."}
    assert said == {"in": None, "out": "dana"}


async def test_somebody_locked_out_cannot_ask_again_either(product: Product) -> None:
    await product.write("dana", ASK)
    refund = await product.item("Refund")
    await product.press("ann", refund, Verb.REJECT, "no")
    known = await product.parts.book.by_account(person("dana"))
    assert known is not None
    until = product.clock() + timedelta(hours=1)
    await product.writer.run(lambda conn: limits.lock_out(conn, DEMO, known.subject, until))
    assert "You are locked out until" in (await product.ask_again("dana", refund.held_id)).sentence
    assert len([row for row in await product.audit() if row[0] == "tool.requested"]) == 2


def _reads_an_order(request: ModelRequest) -> ModelAnswer:
    if isinstance(request.messages[-1], ToolReturned):
        return says("It has been shipped.")
    return calls(("crm_read", {"kind": "order", "key": "1042"}))


async def test_an_id_alone_shows_nobody_a_card(product: Product) -> None:
    """A press with a request's id but not what its card showed: recorded, refused, and nothing is revealed."""
    await product.write("dana", ASK)
    refund = await product.item("Refund")
    forged = Press(person("rita"), "forged-1", refund.held_id, refund.revision, "0" * 64, Verb.APPROVE)
    reply = await product.turn.on_press(forged)
    assert reply.card is None
    assert "Lindqvist" not in reply.sentence
    seen = await product.turn.on_press(replace(forged, who=person("bob"), press_id="stale-1"))
    assert seen.card is not None
