"""A turn goes on for nobody whom the directory has not vouched for lately, however it was begun (invariant 13)."""

from __future__ import annotations

from bot.identity.people import DirectoryPeople
from tests.kit.product import Product, dm

SAID = "I have not heard from your company's directory for too long. Nothing was done."


async def test_a_segment_of_somebody_whose_data_aged_out_asks_no_model(product: Product) -> None:
    people = product.parts.people
    assert isinstance(people, DirectoryPeople)
    people._aged = lambda person: SAID if person.subject.sub == "dana" else None
    await product.write("dana", "how does order 1042 stand?")
    await product.until_said(dm("dana"), SAID)
    await product.quiet()  # it is said before the turn is closed
    assert product.model.asked == 0
    assert "turn.failed" in [kind for kind, _, _ in await product.audit()]
