"""Every example prompt of the demo, by its person, through the real turn and the real door, has a sensible answer."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import yaml

from bot.agent.offline import NAME, decide
from bot.ports import ModelAnswer, ModelRequest, Stop, ToolCall, Usage
from policy.approval import Verb
from tests.kit.product import ROOT, Product, dm, running

WORKSPACE = ROOT / "bot" / "web" / "demo" / "workspace.yaml"
MAIN = "Refund order 1042, 42 dollars, the parcel never came, and mail the customer that it's on its way"
NO_REFUNDS = ("I cannot issue refunds for you: your role does not include it. Nothing was done.",)
PAID = ("Order 1042 of Ada Lindqvist (C-1007), shipped: **84.00 USD** paid, nothing refunded.",)
ADA = ("**Ada Lindqvist** (C-1007), gold customer", "+1 206 555 0107")

SAYS: dict[tuple[str, str], tuple[str, ...]] = {
    ("dana", MAIN): (
        "The refund of **42.00 USD** for order 1042 waits for a finance approver.",
        "to Ada Lindqvist waits for a support lead and for the refund it announces.",
        "Nothing has happened yet; I will tell you here.",
    ),
    ("dana", "What did Ada Lindqvist order, and what has she paid so far?"): (
        "Ada Lindqvist (C-1007) has 3 orders, newest first:",
        "2 x Ceramic mug, 1 x Linen tablecloth",
        "has paid **329.00 USD** so far, over 3 orders.",
    ),
    ("dana", "Refund order 1017, 300 dollars, the chair arrived broken"): (
        "The refund of **300.00 USD** for order 1017 waits for two different people (finance approvers)",
    ),
    ("dana", "Mail Ada Lindqvist that her parcel will arrive on Thursday"): (
        "The e-mail “Your parcel will arrive on Thursday” to Ada Lindqvist waits for a support lead",
    ),
    ("dana", "What does the note on customer C-1013 say?"): (
        "The note on Victor Dahl (C-1013) says: “Please ship to the side door.",
        "That note tries to give me orders. I only report it.",
    ),
    ("sam", "Look up customer C-1007"): ADA,
    ("sam", "Note on C-1007 that she prefers to be called in the morning"): (
        "Changed the note of Ada Lindqvist (C-1007).",
        "left with the concierge. She prefers to be called in the morning.",
    ),
    ("sam", "Send Ada Lindqvist a thank-you mail for her last order"): (
        "The e-mail “Thank you” to Ada Lindqvist waits for a sales lead",
    ),
    ("sam", "Refund order 1042, 10 dollars"): NO_REFUNDS,
    ("ann", "What was paid on order 1042?"): PAID,
    ("bob", "What was paid on order 1042?"): PAID,
    ("lee", "Who is customer C-1007?"): ADA,
    ("sally", "Who is customer C-1007?"): ADA,
    ("aud", "Refund order 1042, 5 dollars"): NO_REFUNDS,
    ("rita", "How many orders are there per status?"): ("Orders per status:", "- delivered: ", "- cancelled: 1"),
    ("rita", "Which five orders are the largest?"): (
        "The largest orders:",
        "order 1017, C-1017, delivered, 649.00 USD",
    ),
    ("rita", "Refund order 1042, 5 dollars"): NO_REFUNDS,
}


def prompts() -> list[tuple[str, str]]:
    people = yaml.safe_load(WORKSPACE.read_text("utf-8"))["people"]
    return [(user, said) for user, one in people.items() for said in one["prompts"] if not said.startswith("/")]


def stand_in(request: ModelRequest) -> ModelAnswer:
    text, wishes = decide(request)
    calls = tuple(ToolCall(f"off_{len(request.messages)}_{n}", *wish) for n, wish in enumerate(wishes))
    return ModelAnswer(text, calls, Usage(1, 1), NAME, Stop.TOOLS if calls else Stop.END)


@pytest.fixture
async def product(tmp_path: Path) -> AsyncIterator[Product]:
    urls = f"sqlite:///{tmp_path / 'own.sqlite'}", f"sqlite:///{tmp_path / 'business.sqlite'}"
    async with running(*urls, stand_in) as made:
        yield made


def test_every_prompt_of_the_workspace_is_here() -> None:
    assert sorted(prompts()) == sorted(SAYS)


async def test_every_prompt_has_its_answer(product: Product) -> None:
    for user, said in prompts():
        await product.write(user, said)
        for words in SAYS[user, said]:
            await product.until_said(dm(user), words)
    assert "I did not understand" not in "\n".join(said.text for said in product.chat.said)


async def test_the_main_journey_to_its_end(product: Product) -> None:
    await product.write("dana", MAIN)
    refund, mail = await product.item("Refund 42.00 USD"), await product.item("Send an e-mail")
    assert mail.draft is not None
    assert mail.draft.body == (
        "Hello Ada,\n\nYour refund of 42.00 USD for order 1042 is on its way.\n\nKind regards\nDana Reyes"
    )
    await product.press("ann", refund, Verb.APPROVE)
    await product.until_said(dm("dana"), "Done. Refunded 42.00 USD for order 1042")
    await product.press("lee", await product.item("Send an e-mail"), Verb.APPROVE)
    await product.until_said(dm("dana"), "Done. Sent the e-mail")
    assert await product.refunds() == ["4200"]
    assert await product.mails() == ["ada.lindqvist@example.com"]
    await product.write("dana", "how does it stand?")
    await product.until_said(dm("dana"), "As far as I know:")


async def test_a_rejection_is_told_with_its_reason(product: Product) -> None:
    await product.write("dana", MAIN)
    await product.item("Send an e-mail")
    await product.press("ann", await product.item("Refund"), Verb.REJECT, "it was delivered on Monday")
    await product.until_said(dm("dana"), "rejected by Ann Okafor. Nothing was done.\n> it was delivered on Monday")
    assert "Done." not in product.chat.heard_by(dm("dana"))
