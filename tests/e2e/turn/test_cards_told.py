"""The outbox: cards once at each place, drawn anew everywhere, tried again when a chat fails, never lost."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest

from bot.ports import ModelAnswer, ModelRequest, SurfaceError
from policy.approval import Verb
from policy.model import Json
from tests.kit.product import DEMO, Product, dm
from tests.kit.scripted import REFUND, calls, says
from tools.ports import Notice, NoticeKind

ASK = "Refund order 1042, please"


async def test_a_card_that_could_not_be_posted_is_posted_later_and_once(product: Product) -> None:
    product.chat.faults["post"] = [SurfaceError("no answer", retry_after_s=0.1) for _ in range(4)]
    await product.write("dana", ASK)
    await product.until_said(dm("dana"), "I could not reach the approvers")
    await product.item("Refund")
    await product.item("Send an e-mail")
    await product.until_said(dm("dana"), "waits for a finance approver")
    assert sorted(place for place, _ in product.chat.posts) == ["#finance-approvals", "dm:lee"]


async def test_telling_again_posts_nothing_twice(product: Product) -> None:
    await product.write("dana", ASK)
    refund = await product.item("Refund")
    await product.until_said(dm("dana"), "waits for a finance approver")
    await product.quiet()  # the second card, and what the model says, come when they come
    before = len(product.chat.posts), len(product.chat.said)
    for _ in range(2):
        await product.turn.segments.tell(Notice(NoticeKind.CARD, DEMO, refund.held_id, 1))
    assert (len(product.chat.posts), len(product.chat.said)) == before


async def test_a_card_whose_message_was_deleted_is_posted_anew(product: Product) -> None:
    product.model.script = _only_refund
    await product.write("dana", ASK)
    refund = await product.item("Refund")
    product.chat.faults["update"] = [SurfaceError("message_not_found", gone=True)]
    await product.press("ann", refund, Verb.REJECT, "no")
    await product.status("Refund", "Rejected")
    assert [place for place, _ in product.chat.posts].count("#finance-approvals") == 2


async def test_an_update_that_fails_is_made_later(product: Product) -> None:
    await product.write("dana", ASK)
    refund = await product.item("Refund")
    await product.item("Send an e-mail")
    product.chat.faults["update"] = [SurfaceError("busy", retry_after_s=0.1) for _ in range(3)]
    await product.press("ann", refund, Verb.REJECT, "no")
    await product.status("Refund", "Rejected")
    await product.status("Send an e-mail", "Cancelled")


async def test_above_the_threshold_the_card_counts_two_different_people(product: Product) -> None:
    product.model.script = _big
    await product.write("dana", "Refund it all")
    refund = await product.item("Refund")
    assert "2 different people" in refund.status
    first = await product.press("ann", refund, Verb.APPROVE)
    assert first.card is not None
    assert first.card.items[0].status.startswith("1 of 2: Ann Okafor, ")
    await product.status("Refund", "1 of 2: Ann Okafor")
    again = await product.press("ann", refund, Verb.APPROVE)
    assert "already approved" in again.sentence
    await product.press("bob", refund, Verb.APPROVE)
    await product.status("Refund", "Approved by Ann Okafor")


async def test_two_approvers_in_the_same_moment_refund_once(product: Product) -> None:
    await product.write("dana", ASK)
    refund = await product.item("Refund")
    replies = await asyncio.gather(
        product.press("ann", refund, Verb.APPROVE), product.press("bob", refund, Verb.APPROVE)
    )
    assert sorted(reply.sentence for reply in replies) == ["Already approved. Your press changed nothing.", "Approved."]
    await product.status("Refund", "Refunded")
    assert await product.refunds() == ["4200"]


async def test_a_stranger_s_press_does_not_count_and_is_a_row(product: Product) -> None:
    await product.write("dana", ASK)
    refund = await product.item("Refund")
    reply = await product.press("nobody", refund, Verb.APPROVE)
    assert "directory" in reply.sentence
    assert reply.card is None
    assert ("approval.pressed", "stranger", "demo:demo:nobody") in await product.audit()
    assert await product.refunds() == []


async def test_a_question_reaches_the_requester_and_decides_nothing(product: Product) -> None:
    await product.write("dana", ASK)
    refund = await product.item("Refund")
    await product.press("ann", refund, Verb.ASK, "Which parcel service?")
    await product.until_said(dm("dana"), "Ann Okafor has a question before deciding")
    assert "> Which parcel service?" in product.chat.heard_by(dm("dana"))
    await product.write("dana", "Approve it, it was DHL")
    await product.until_said(dm("dana"), "You should know: Approve it, it was DHL")
    assert (await product.item("Refund")).status == "Waiting for a finance approver."


async def test_the_requester_withdraws_from_the_thread(product: Product) -> None:
    await product.write("dana", ASK)
    refund = await product.item("Refund")
    await product.until(lambda: any(said.asks for said in product.chat.said))
    (said,) = (said for said in product.chat.said if said.asks)
    assert [(ask.label, ask.action) for ask in said.asks] == [
        ("Withdraw refund", "withdraw"),
        ("Withdraw e-mail", "withdraw"),
    ]
    bare = replace(refund, revision=0, digest="")
    assert "Only the person who asked" in (await product.press("ann", bare, Verb.WITHDRAW)).sentence
    assert (await product.press("dana", bare, Verb.WITHDRAW)).sentence.startswith("Withdrawn.")
    await product.status("Refund", "Withdrawn by Dana Reyes")
    await product.status("Send an e-mail", "Cancelled")


async def test_one_reminder_at_half_time_then_expiry_and_ask_again(product: Product) -> None:
    product.model.script = _only_refund
    await product.write("dana", ASK)
    refund = await product.item("Refund")
    product.clock.ahead = timedelta(hours=12, minutes=1)
    await product.until(lambda: any("Reminder" in said.text for said in product.chat.said))
    product.clock.ahead = timedelta(hours=24, minutes=1)
    await product.status("Refund", "Expired")
    await product.until(lambda: any(ask.action == "ask_again" for said in product.chat.said for ask in said.asks))
    assert sum("Reminder" in said.text for said in product.chat.said) == 1
    assert "expired" in (await product.press("ann", refund, Verb.APPROVE)).sentence
    reply = await product.ask_again("dana", refund.held_id)
    assert reply.sentence.startswith("Asked again.")
    await product.until(lambda: sum(place == "#finance-approvals" for place, _ in product.chat.posts) == 2)
    assert "Only the person who asked" in (await product.ask_again("sam", refund.held_id)).sentence


async def test_what_is_given_up_is_said_and_audited(product: Product, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bot.durable.GIVE_UP_S", -1)
    product.chat.faults["post"] = [SurfaceError("channel_not_found")] * 10
    product.model.script = _only_refund
    await product.write("dana", ASK)
    await product.until_said(dm("dana"), "for a whole day")
    assert ("notice.given_up", "given_up", None) in await product.audit()


async def test_stopping_draws_every_card_anew_and_resuming_gives_the_button_back(product: Product) -> None:
    await product.write("dana", ASK)
    refund = await product.item("Refund")
    await product.command("ada", "kill tool refund.issue wrong amounts")
    await product.status("Refund", "Stopped (the tool refund.issue) by Ada Kim since")
    assert "Stopped" in (await product.press("ann", refund, Verb.APPROVE)).sentence
    await product.command("ada", "resume tool refund.issue")
    await product.status("Refund", "Waiting for a finance approver")
    fresh = await product.item("Refund")
    assert (await product.press("ann", fresh, Verb.APPROVE)).sentence == "Approved."
    await product.status("Refund", "Refunded")


def _only_refund(request: ModelRequest) -> ModelAnswer:
    return calls(REFUND) if len(request.messages) == 1 else says("It waits.")


def _big(request: ModelRequest) -> ModelAnswer:
    big: dict[str, Json] = {"order_id": "1017", "amount": "600.00", "currency": "USD", "reason": "all of it"}
    return calls(("refund_issue", big)) if len(request.messages) == 1 else says("It waits.")
