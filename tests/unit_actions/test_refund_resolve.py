"""What a refund looks up, shows and refuses before anybody is asked to approve it."""

from __future__ import annotations

from decimal import Decimal

import pytest

from policy.model import Json
from tests.unit_actions.shop import OTHER, Shop, part
from tools.spec import ActionError, Certainty, Fact


def _args(order_id: str = "1042", amount: str = "42.00", currency: str = "USD") -> dict[str, Json]:
    return {"order_id": order_id, "amount": amount, "currency": currency, "reason": "The parcel never came"}


async def test_the_card_can_show_everything_the_approver_needs(shop: Shop) -> None:
    resolved = await shop.resolve("refund.issue", _args("#1031", "30.00"))
    facts = {fact.label: fact for fact in resolved.facts}
    assert resolved.headline == "Refund 30.00 USD for order 1031 to Kwame Mensah"
    assert facts["Customer"].value == "Kwame Mensah (C-1008), kwame.mensah@example.com"
    assert facts["Paid"].value == "120.00 USD on 27 Oct 2026, card ending 8147"
    assert facts["Refunded before"] == Fact("Refunded before", "45.00 USD in 1 refund", warning=True)
    assert facts["Left to refund"].value == "75.00 USD, 45.00 USD after this"
    assert "Wool blanket" in facts["Order"].value
    assert resolved.arguments["order_id"] == "1031"
    assert resolved.reservation is not None
    assert (resolved.reservation.resource, resolved.reservation.available) == ("order:1031", Decimal("75.00"))


async def test_two_rightful_partial_refunds_do_not_void_each_other(shop: Shop) -> None:
    first = await shop.resolve("refund.issue", _args(amount="40.00"), "a")
    second = await shop.resolve("refund.issue", _args(amount="44.00"), "b")
    await shop.call("refund.issue", first.arguments, "a")
    later = await shop.resolve("refund.issue", second.arguments, "b")
    assert later.stable == second.stable
    assert any(fact.label == "Repeated" and fact.warning for fact in later.facts)
    await shop.call("refund.issue", later.arguments, "b")
    with pytest.raises(ActionError, match="nothing is left"):
        await shop.resolve("refund.issue", _args(amount="0.01"), "c")


async def test_a_refund_that_is_done_resolves_as_it_was(shop: Shop) -> None:
    """After a crash between effect and record the call is looked at again: it must not look like too much."""
    before = await shop.resolve("refund.issue", _args(amount="84.00"), "a")
    done = await shop.call("refund.issue", before.arguments, "a")
    after = await shop.resolve("refund.issue", before.arguments, "a")
    assert (after.stable, after.reservation) == (before.stable, before.reservation)
    assert await shop.call("refund.issue", before.arguments, "a") == done
    assert await shop.look_up("refund.issue", before.arguments, "a") == done
    assert await shop.look_up("refund.issue", before.arguments, "b") is None
    ledger = await shop.call("ledger.read", {"order_id": "1042", "kind": "refund"})
    assert part(ledger.content, "totals") == [{"kind": "refund", "currency": "USD", "amount": "84.00"}]


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (_args(amount="84.01"), "at most 84.00 USD is left"),
        (_args(currency="EUR"), "cannot be refunded in EUR"),
        (_args(amount="0.00"), "more than zero"),
        (_args("1058", "69.00"), "has not been paid"),
        (_args("1023", "1.00"), "nothing is left"),
        (_args("9999"), "no order 9999"),
        (_args("1049", "10.50", "JPY"), "has no decimals"),
        ({**_args(), "reason": ""}, "reason is missing"),
        ({**_args(), "amount": 42}, "written like"),
    ],
)
async def test_what_cannot_be_refunded_is_refused_with_the_reason(
    local_shop: Shop, args: dict[str, Json], words: str
) -> None:
    with pytest.raises(ActionError, match=words) as caught:
        await local_shop.resolve("refund.issue", args)
    assert caught.value.certainty is Certainty.NOT_DONE


async def test_other_currencies_are_refunded_in_their_own_units(shop: Shop) -> None:
    yen = await shop.call("refund.issue", _args("1049", "6800.00", "JPY"), "yen")
    assert yen.sentence.startswith("Refunded 6800.00 JPY for order 1049 (re_")
    euro = await shop.call("refund.issue", _args("1036", "0.01", "EUR"), "euro")
    assert part(euro.content, "amount") == "0.01"


async def test_a_refund_in_one_tenant_leaves_the_other_alone(shop: Shop) -> None:
    await shop.call("refund.issue", _args(amount="84.00"), "a")
    other = await shop.resolve("refund.issue", _args(amount="84.00"), "a", OTHER)
    assert other.reservation is not None
    assert other.reservation.available == Decimal("84.00")
