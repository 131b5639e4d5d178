"""A request's card as each person may use it: only buttons that would do something, only for whom it concerns."""

from __future__ import annotations

from bot.ports import Standing
from policy.approval import Verb
from tests.kit.product import Product, person

ASK = "Refund order 1042, please"
DECIDE = [Verb.APPROVE, Verb.REJECT, Verb.ASK]


async def _verbs(product: Product, user: str, held_id: str) -> list[Verb] | None:
    card = await product.turn.card_for(person(user), held_id)
    if card is None:
        return None
    (item,) = [item for item in card.items if item.held_id == held_id]
    return [button.verb for button in item.buttons]


async def test_each_sees_the_buttons_that_would_do_something_for_them(product: Product) -> None:
    await product.write("dana", ASK)
    refund = await product.item("Refund")
    mail = await product.item("Send an e-mail")
    assert await _verbs(product, "ann", refund.held_id) == DECIDE
    assert await _verbs(product, "dana", refund.held_id) == [Verb.WITHDRAW]
    # The mail is for others to decide; who may see one card learns nothing of the other.
    assert await _verbs(product, "lee", mail.held_id) == DECIDE
    for user, held_id in (("lee", refund.held_id), ("ann", mail.held_id), ("sam", refund.held_id)):
        assert await _verbs(product, user, held_id) is None
    for user in ("rita", "ada", "aud"):
        assert await _verbs(product, user, refund.held_id) is None
    assert await _verbs(product, "ann", "h_000000000000000000000000") is None
    assert await _verbs(product, "nobody", refund.held_id) is None


async def test_what_is_drawn_says_what_the_shared_card_says(product: Product) -> None:
    await product.write("dana", ASK)
    refund = await product.item("Refund")
    card = await product.turn.card_for(person("ann"), refund.held_id)
    assert card is not None
    # Approve stands where it stood: who presses blindly presses what the shared card shows.
    assert card.items == (refund,)


async def test_a_card_that_is_settled_has_no_buttons_for_anybody(product: Product) -> None:
    await product.write("dana", ASK)
    refund = await product.item("Refund")
    await product.press("ann", refund, Verb.REJECT, "no")
    for user in ("ann", "dana"):
        assert await _verbs(product, user, refund.held_id) == []


async def test_while_stopped_nothing_can_be_approved_and_nothing_says_so(product: Product) -> None:
    await product.write("dana", ASK)
    refund = await product.item("Refund")
    await product.command("ada", "kill all wrong amounts")
    assert await _verbs(product, "ann", refund.held_id) == [Verb.REJECT, Verb.ASK]
    assert await _verbs(product, "dana", refund.held_id) == [Verb.WITHDRAW]


async def test_who_the_chat_calls_a_guest_is_shown_nothing(product: Product) -> None:
    await product.write("dana", ASK)
    refund = await product.item("Refund")
    product.chat.standings["ann"] = Standing.GUEST
    assert await product.turn.card_for(person("ann"), refund.held_id) is None


async def test_looking_changes_nothing(product: Product) -> None:
    await product.write("dana", ASK)
    refund = await product.item("Refund")
    await product.item("Send an e-mail")
    await product.quiet()
    before = await product.audit()
    for user in ("ann", "dana", "rita", "nobody"):
        await product.turn.card_for(person(user), refund.held_id)
    assert await product.audit() == before
