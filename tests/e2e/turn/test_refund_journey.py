"""The main job: asked in a thread, countersigned on a card, done once, told to everybody it concerns."""

from __future__ import annotations

from policy.approval import Verb
from tests.kit.product import Product, dm

ASK = "Refund order 1042, 42 dollars, the parcel never came, and mail the customer that it's on its way"


async def test_asked_approved_done_once_and_told(product: Product) -> None:
    await product.write("dana", ASK)
    refund, mail = await product.item("Refund 42.00 USD"), await product.item("Send an e-mail")
    await product.until_said(dm("dana"), "Both wait for approval.")
    await product.until_said(dm("dana"), "waits for a finance approver")
    assert await product.refunds() == []

    reply = await product.press("ann", refund, Verb.APPROVE)
    assert reply.sentence == "Approved."
    await product.status("Refund", "Approved by Ann Okafor")
    await product.status("Send an e-mail", "Waiting for a support lead")
    await product.press("lee", await product.item("Send an e-mail"), Verb.APPROVE)
    await product.status("Refund", "Refunded 42.00 USD for order 1042 (re_")
    await product.status("Send an e-mail", "Sent the e-mail")
    await product.until_said(dm("dana"), "Refunded 42.00 USD")
    await product.until_said(dm("dana"), "Sent the e-mail")
    assert await product.refunds() == ["4200"]
    assert await product.mails() == ["ada.lindqvist@example.com"]
    assert mail.held_id != refund.held_id
    said = product.chat.heard_by(dm("dana"))
    assert said.count("This needs somebody's approval") == 1
    assert [place for place, _ in product.chat.posts] == ["#finance-approvals", "dm:lee"] or [
        place for place, _ in product.chat.posts
    ] == ["dm:lee", "#finance-approvals"]


async def test_a_rejected_refund_takes_its_mail_along_and_the_requester_learns_why(product: Product) -> None:
    await product.write("dana", ASK)
    refund = await product.item("Refund")
    await product.item("Send an e-mail")
    await product.press("ann", refund, Verb.REJECT, "the parcel was delivered on Monday")
    await product.status("Refund", "Rejected by Ann Okafor")
    await product.status("Send an e-mail", "Cancelled")
    await product.until_said(dm("dana"), "the parcel was delivered on Monday")
    assert await product.refunds() == []
    assert await product.mails() == []
    late = await product.press("lee", await product.item("Send an e-mail"), Verb.APPROVE)
    assert "Already cancelled" in late.sentence
