"""Invariant 11 at the door: the log and the ledger hold no card number, no secret, no draft and nobody's words."""

from __future__ import annotations

import pytest

from policy.approval import PressResult, Verb
from tests.kit.door import House
from tools.held import Blocked, Failed, Held
from tools.spec import ActionError, Args, CallContext, Certainty

CARD = "4111 1111 1111 1111"
SSN = "536-90-4399"
SECRET = "sk_live_" + "51HxGq8LkJdf93KsPzQwErTy"
WORDS = "the dog of the neighbour bit the courier"
RAW = (CARD, CARD.replace(" ", ""), SSN, SECRET, WORDS)


def everything(house: House) -> str:
    """All that is kept for good: the log with its canonical bytes, the presses, the effects."""
    tables = ("agent_audit_log", "effect", "kill_switch", "rate_use", "stranger_acts", "presupposes")
    return "\n".join(str(house.rows(f"SELECT * FROM {table}")) for table in tables)


def clean(house: House, *words: str) -> None:
    kept = everything(house)
    for word in (*RAW, *words):
        assert word not in kept, word


@pytest.mark.parametrize("raw", RAW)
async def test_a_draft_is_on_the_approval_row_alone(house: House, raw: str) -> None:
    held = await house.ask("dana", "email.send", to="C-1007", subject=f"About {CARD}", body=f"Dear Ada, {raw}.")
    assert isinstance(held, Held)
    await house.press("lee", held.view)
    await house.settle()
    assert len(house.mails()) == 1
    clean(house, "Dear Ada")
    assert "sha256" in everything(house)


@pytest.mark.parametrize("raw", RAW[:4])
async def test_arguments_of_calls_are_masked(house: House, raw: str) -> None:
    await house.ask("dana", "crm.read", kind="search", key=f"find {raw}")
    await house.ask("dana", "db.query", sql=f"SELECT name FROM customers WHERE note = '{raw}'")
    await house.ask("dana", "refund.issue", order_id="1042", amount="1.00", currency="USD", reason=f"card {raw}")
    await house.ask("sam", "crm.write", customer_id="C-1007", field="note", value=f"note {raw}")
    clean(house)


@pytest.mark.parametrize("verb", [Verb.REJECT, Verb.ASK, Verb.WITHDRAW])
async def test_what_people_write_is_kept_as_its_hash(house: House, verb: Verb) -> None:
    view = await house.ask_refund()
    await house.press("dana" if verb is Verb.WITHDRAW else "ann", view, verb, f"{WORDS} {CARD}")
    clean(house)
    assert len(house.audit("seq", where="kind='approval.pressed'")) == 1


async def test_the_request_itself_is_not_in_the_log(house: House) -> None:
    turn = house.turn("dana", asked=f"{WORDS} {SSN}")
    args = {"order_id": "1042", "amount": "42.00", "currency": "USD", "reason": "r"}
    (held,) = await house.gateway.propose(turn, [house.proposal("dana", "refund.issue", args)])
    assert isinstance(held, Held)
    assert (await house.press("ann", held.view)).result is PressResult.APPROVED
    await house.settle()
    clean(house)
    assert set(house.rows("SELECT tool_args->>'amount' FROM agent_audit_log")) == {("42.00",)}


@pytest.mark.parametrize("certainty", list(Certainty))
async def test_what_a_provider_says_is_masked(house: House, certainty: Certainty) -> None:
    """An error that quotes the card is masked in the log and in the ledger."""

    async def chatty(ctx: CallContext, args: Args) -> None:
        raise ActionError(f"The card {CARD} of {SSN} was declined ({SECRET}).", certainty)

    view = await house.ask_refund()
    house.watch("refund.issue", before=chatty)
    await house.press("ann", view)
    await house.settle()
    house.watch("crm.write", before=chatty)
    await house.ask("sam", "crm.write", customer_id="C-1007", field="phone", value="+1 206 555 0199")
    clean(house)


async def test_a_crash_in_an_action_shows_nothing_of_it(house: House) -> None:
    async def bursts(ctx: CallContext, args: Args) -> None:
        raise RuntimeError(f"{SECRET} /srv/app/x.py {CARD}")

    house.watch("crm.read", before=bursts)
    outcome = await house.ask("dana", "crm.read", kind="order", key="1042")
    assert isinstance(outcome, Failed)
    assert SECRET not in outcome.sentence
    assert "x.py" not in outcome.sentence
    clean(house)


async def test_arguments_that_fit_no_schema_are_masked_too(house: House) -> None:
    outcome = await house.ask("dana", "refund.issue", order_id="1042", amount=CARD, currency=SECRET, reason=SSN)
    assert isinstance(outcome, Blocked)
    unknown = await house.ask("dana", "refund.issue", **{f"key {SECRET}": CARD})
    assert isinstance(unknown, Blocked)
    clean(house)


async def test_a_draft_that_was_refused_is_not_in_the_log_either(house: House) -> None:
    outcome = await house.ask("rita", "email.send", to="C-1007", subject="s", body=WORDS)
    assert isinstance(outcome, Blocked)
    nowhere = await house.ask("dana", "email.send", to="C-0000", subject="s", body=WORDS)
    assert isinstance(nowhere, Blocked)
    wrong = await house.ask("dana", "email.send", to="C-1007", subject="s", body=WORDS, more=WORDS)
    assert isinstance(wrong, Blocked)
    long = await house.ask("dana", "email.send", to="C-1007", subject="s", body=WORDS + "x" * 60_000)
    assert isinstance(long, Blocked)
    assert "too long" in long.sentence
    listed = await house.ask("dana", "email.send", to="C-1007", subject="s", body=[WORDS], more={"a": [WORDS]})
    assert isinstance(listed, Blocked)
    clean(house)


async def test_ids_only_go_into_the_queues(house: House) -> None:
    held = await house.ask("dana", "email.send", to="C-1007", subject="s", body=f"{WORDS} {CARD}")
    assert isinstance(held, Held)
    await house.press("lee", held.view, Verb.ASK, WORDS)
    await house.press("lee", held.view)
    queued = str((house.queue.notices, house.queue.to_execute, house.queue.outcomes))
    assert all(word not in queued for word in RAW)
