"""What a mail becomes before its digest is taken, and the local outbox."""

from __future__ import annotations

import pytest
from sqlalchemy import update

from policy.model import Json
from tests.unit_actions.shop import DEMO, OTHER, Shop
from tools.business import customers, mail_that_left
from tools.spec import ActionError, Certainty


def _args(
    to: str = "C-1007", subject: str = "Your refund", body: str = "Hello Ada,\n\nit is on its way."
) -> dict[str, Json]:
    return {"to": to, "subject": subject, "body": body}


async def test_the_address_is_signed_not_the_customer_id(shop: Shop) -> None:
    resolved = await shop.resolve("email.send", _args())
    assert resolved.arguments["to"] == "ada.lindqvist@example.com"
    assert resolved.draft is not None
    assert (resolved.draft.to, resolved.draft.body) == ("ada.lindqvist@example.com", "Hello Ada,\n\nit is on its way.")
    again = await shop.resolve("email.send", resolved.arguments)
    assert (again.arguments, again.stable) == (resolved.arguments, resolved.stable)
    assert not any(fact.warning for fact in again.facts)


async def test_a_recipient_outside_the_crm_is_a_warning(shop: Shop) -> None:
    resolved = await shop.resolve("email.send", _args("stranger@elsewhere.example"))
    assert [fact.label for fact in resolved.facts if fact.warning] == ["Not in the CRM"]


async def test_another_tenants_customer_is_a_stranger_here(shop: Shop) -> None:
    move = (
        update(customers).where(customers.c.tenant == OTHER, customers.c.id == "C-1001").values(email="x@only.example")
    )
    shop.business.write_blocking(lambda conn: conn.execute(move).rowcount)
    here = await shop.resolve("email.send", _args("x@only.example"))
    there = await shop.resolve("email.send", _args("x@only.example"), tenant=OTHER)
    assert (here.stable["customer_id"], there.stable["customer_id"]) == (None, "C-1001")


async def test_an_address_that_left_the_crm_is_drift(shop: Shop) -> None:
    held = await shop.resolve("email.send", _args())
    move = (
        update(customers).where(customers.c.tenant == DEMO, customers.c.id == "C-1007").values(email="new@example.com")
    )
    shop.business.write_blocking(lambda conn: conn.execute(move).rowcount)
    assert (await shop.resolve("email.send", held.arguments)).stable != held.stable


@pytest.mark.parametrize(
    "to",
    [
        "ada@example.com\r\nBcc: all@example.com",
        "ada@example.com, bob@example.com",
        "Ada <ada@example.com>",
        "ada@example",
        "ada@@example.com",
        "\u0430da@example.com",
        "ada@ex\u00e4mple.com",
        "@example.com",
        "ada@-x.example.com",
        '"a b"@example.com',
        "C-9999",
        "a" * 65 + "@example.com",
    ],
)
async def test_anything_but_one_plain_address_is_refused(local_shop: Shop, to: str) -> None:
    with pytest.raises(ActionError) as caught:
        await local_shop.resolve("email.send", _args(to))
    assert caught.value.certainty is Certainty.NOT_DONE


@pytest.mark.parametrize("subject", ["a\nBcc: x@y.example", "a\rb", "a\u2028b", "a\x00b", "", "x" * 201, "a\x85b"])
async def test_a_subject_is_one_clean_line(local_shop: Shop, subject: str) -> None:
    with pytest.raises(ActionError):
        await local_shop.resolve("email.send", _args(subject=subject))


async def test_a_long_draft_is_kept_whole(local_shop: Shop) -> None:
    body = "All of this is read by the approver.\n" * 811
    resolved = await local_shop.resolve("email.send", _args(body=body))
    assert resolved.draft is not None
    assert resolved.draft.body == body.strip()
    assert len(resolved.draft.body) > 30_000


async def test_the_outbox_keeps_a_mail_once_under_its_key(shop: Shop) -> None:
    first = await shop.call("email.send", _args(), "m1")
    assert await shop.call("email.send", _args(), "m1") == first
    assert (await shop.look_up("email.send", _args(), "m1")) is not None
    assert (await shop.look_up("email.send", _args(), "m2")) is None
    (mail,) = await mail_that_left(shop.business, DEMO)
    assert (mail.recipient, mail.subject, mail.sent_by) == ("ada.lindqvist@example.com", "Your refund", "urn:test|dana")
    assert mail.message_id == first.reference
    assert await mail_that_left(shop.business, OTHER) == ()
