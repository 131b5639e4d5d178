"""Invariant 11: raw text can be erased, the chain stays whole, and what still waits keeps its words."""

from __future__ import annotations

from datetime import timedelta

import pytest

from audit.verify import verify
from policy.approval import Verb
from tests.kit.door import DEMO, House
from tools import erasure
from tools.held import Blocked, Held

WORDS = "The parcel never came, says Ada"


async def rejected_mail(house: House) -> str:
    outcome = await house.ask("dana", "email.send", to="C-1007", subject="About your order", body=WORDS)
    assert isinstance(outcome, Held)
    await house.press("lee", outcome.view, Verb.REJECT, WORDS)
    return outcome.view.held_id


def everything(house: House) -> str:
    return str([house.rows(f"SELECT * FROM {table}") for table in ("held_call", "press", "vote", "effect")])


async def test_inv11_erasing_a_person_takes_their_words_and_leaves_the_chain_whole(house: House) -> None:
    await rejected_mail(house)
    assert WORDS in everything(house)
    assert WORDS not in str(house.rows("SELECT * FROM agent_audit_log"))
    dana = house.who("dana")
    erased = house.writer.run_blocking(lambda conn: erasure.erase(conn, DEMO, house.clock.now, subject=dana.subject))
    assert erased == 1
    assert WORDS not in everything(house)
    assert "ada.lindqvist" not in everything(house)
    assert verify(house.writer.engine).holds


async def test_inv11_what_waits_keeps_its_words(house: House) -> None:
    held_id = await rejected_mail(house)
    waiting = await house.ask_refund()
    later = house.clock.now + timedelta(days=1)
    assert house.writer.run_blocking(lambda conn: erasure.erase(conn, DEMO, later, before=later)) == 1
    assert (await house.now(waiting.held_id)).headline == waiting.headline
    assert (await house.now(held_id)).headline == erasure.ERASED
    await house.press("ann", waiting)
    await house.settle()
    assert len(house.refunds()) == 1


async def test_inv11_an_erased_request_cannot_be_asked_again_blindly(house: House) -> None:
    view = await house.ask_refund()
    await house.press("ann", view, Verb.REJECT, "no")
    house.writer.run_blocking(
        lambda conn: erasure.erase(conn, DEMO, house.clock.now, subject=house.who("dana").subject)
    )
    assert isinstance(await house.again(view), Blocked)


def test_inv11_erasing_nobody_in_particular_is_refused(local_house: House) -> None:
    with pytest.raises(ValueError, match="Say whose"):
        local_house.writer.run_blocking(lambda conn: erasure.erase(conn, DEMO, local_house.clock.now))


async def test_inv11_another_tenants_text_is_not_touched(local_house: House) -> None:
    await rejected_mail(local_house)
    later = local_house.clock.now + timedelta(days=1)
    other = type(DEMO)("other")
    assert local_house.writer.run_blocking(lambda conn: erasure.erase(conn, other, later, before=later)) == 0
    assert WORDS in everything(local_house)
