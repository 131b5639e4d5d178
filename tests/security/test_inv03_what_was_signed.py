"""Invariant 3: what was signed is what runs. Somebody who can write the database but lacks the key moves nothing."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import text

from policy.approval import ApprovalStatus, PressResult, Verb
from tests.kit.door import DEMO, House
from tools.approvals import HELD
from tools.held import EffectState, Held, HeldView, Scope, ScopeKind
from tools.stops import By

ADMIN = By("ada", "Ada Kim", ("admin",))
FORGED = {
    "call_id": "call-of-another",
    "card_id": "c_other",
    "turn_id": "t-other",
    "session_id": "demo:demo:dm-eve:t",
    "thread_link": "https://chat.example/other",
    "tool": "email.send",
    "version": 2,
    "title": "Harmless",
    "requester_issuer": "urn:evil",
    "requester_sub": "sam",
    "requester_name": "Somebody Else",
    "requester_roles": '["admin"]',
    "person_key": "employee:9999",
    "asked": "a refund of one cent",
    "prose": "all fine",
    "exposures": '["nothing"]',
    "model": "another",
    "arguments": '{"amount":"84.00","currency":"USD","order_id":"1042","reason":"parcel never came"}',
    "stable": '{"currency":"USD","customer_id":"C-1001","paid":"84.00","payment":"pay_1042"}',
    "headline": "Refund 1.00 USD",
    "facts": "[]",
    "draft": '["a@b.example","s","b",[]]',
    "nonce": "0" * 32,
    "digest": "0" * 64,
    "mac": "0" * 64,
    "needed": 0,
    "approver_roles": '["finance_approver","readonly"]',
    "destinations": '["#other"]',
    "why": "no reason",
    "resource": "order:1",
    "amount": "0.01",
    "currency": "EUR",
    "kills_everywhere": 99,
    "kills_tenant": 99,
}
TIMES = ("created_at", "expires_at")
MOVES = {"status", "effect", "revision", "remind_at", "settled_at", "settled_by", "reason", "result", "reference"}
MOVES |= {"questions", "finished_at", "erased_at"}
IDENTITY = {"held_id", "tenant"}


async def approved(house: House, amount: str = "42.00") -> HeldView:
    view = await house.ask_refund(amount)
    assert (await house.press("ann", view)).result is PressResult.APPROVED
    return view


def forge(house: House, view: HeldView, **values: object) -> None:
    sets = ", ".join(f"{name} = :{name}" for name in values)
    house.write(f"UPDATE held_call SET {sets} WHERE held_id = :id", id=view.held_id, **values)


async def nothing_ran(house: House, view: HeldView, *, cause: str = "tampered") -> None:
    """Nothing moved, the call is voided, and the log says why."""
    ended = await house.now(view.held_id)
    assert house.refunds() == []
    assert (ended.status, ended.effect) == (ApprovalStatus.VOIDED, EffectState.NONE)
    assert house.audit("kind", where="kind='tool.started'") == []
    ((detail,),) = house.audit("detail", where="kind='approval.voided'")
    told = detail if isinstance(detail, dict) else json.loads(str(detail))
    assert told["cause"] == cause
    assert ended.reason is not None


def test_every_column_of_a_held_call_is_tried_here_or_changes_by_itself() -> None:
    assert {column.name for column in HELD.columns} == set(FORGED) | set(TIMES) | MOVES | IDENTITY


@pytest.mark.parametrize("column", sorted(FORGED))
async def test_a_column_altered_after_the_approval_voids_the_call(local_house: House, column: str) -> None:
    house = local_house
    view = await approved(house)
    forge(house, view, **{column: FORGED[column]})
    await house.settle()
    await nothing_ran(house, view)


@pytest.mark.parametrize("column", TIMES)
async def test_a_time_altered_after_the_approval_voids_the_call(local_house: House, column: str) -> None:
    house = local_house
    view = await approved(house)
    later = view.expires_at + timedelta(days=300)
    house.writer.run_blocking(lambda conn: conn.execute(HELD.update().values({column: later})).rowcount)
    await house.settle()
    await nothing_ran(house, view)


async def test_arguments_and_digest_altered_together_void_the_call(house: House) -> None:
    """The digest is no secret: whoever changes the arguments can compute it anew. The MAC they cannot."""
    view = await approved(house)
    forge(house, view, arguments=FORGED["arguments"])
    from tools import approvals, signing

    row = house.writer.read_blocking(lambda conn: approvals.read(conn, DEMO, view.held_id))
    assert row is not None
    digest = signing.drawn_up(row).digest()
    forge(house, view, digest=digest)
    house.write("UPDATE vote SET digest = :d", d=digest)
    await house.settle()
    await nothing_ran(house, view)


async def test_a_request_flipped_to_approved_without_votes_does_not_run(house: House) -> None:
    view = await house.ask_refund()
    forge(house, view, status="approved", effect="queued")
    await house.execute(view)
    await nothing_ran(house, view)


async def test_a_rejected_request_flipped_to_approved_does_not_run(house: House) -> None:
    view = await house.ask_refund()
    await house.press("ann", view, Verb.REJECT, "no")
    forge(house, view, status="approved", effect="queued")
    await house.execute(view)
    await nothing_ran(house, view)


@pytest.mark.parametrize(
    "values",
    [
        {"sub": "bob"},
        {"issuer": "urn:evil"},
        {"person_key": "employee:1004"},
        {"digest": "0" * 64},
        {"mac": "0" * 64},
        {"name": "Bob Lindgren"},
    ],
    ids=lambda values: next(iter(values)),
)
async def test_a_vote_altered_in_the_database_voids_the_call(local_house: House, values: dict[str, str]) -> None:
    house = local_house
    view = await approved(house)
    house.write(f"UPDATE vote SET {', '.join(f'{name} = :{name}' for name in values)}", **values)
    await house.settle()
    await nothing_ran(house, view)


async def test_a_forged_second_vote_does_not_replace_a_person(house: House) -> None:
    view = await house.ask_refund("120.00", order="1043")
    assert (await house.press("ann", view)).result is PressResult.COUNTED
    house.write(
        "INSERT INTO vote (tenant, held_id, revision, issuer, sub, name, person_key, digest, at, mac, void) "
        "SELECT tenant, held_id, revision, issuer, 'bob', 'Bob Lindgren', 'employee:1004', digest, at, mac, void "
        "FROM vote"
    )
    forge(house, view, status="approved", effect="queued")
    await house.execute(view)
    assert house.refunds("1043") == []
    assert (await house.now(view.held_id)).status is ApprovalStatus.VOIDED


async def test_votes_copied_from_another_call_do_not_count(house: House) -> None:
    one = await approved(house)
    two = await house.ask_refund("41.00", order="1043")
    house.write(
        "INSERT INTO vote (tenant, held_id, revision, issuer, sub, name, person_key, digest, at, mac, void) "
        "SELECT tenant, :two, revision, issuer, sub, name, person_key, :digest, at, mac, void FROM vote",
        two=two.held_id,
        digest=two.digest,
    )
    forge(house, two, status="approved", effect="queued")
    await house.execute(two)
    assert house.refunds("1043") == []
    assert (await house.now(two.held_id)).status is ApprovalStatus.VOIDED
    assert (await house.execute(one)).effect is EffectState.DONE


async def test_an_effect_forged_as_begun_is_not_fired(house: House) -> None:
    """The way round the claim: pretend that a process died in the middle of an effect nobody approved."""
    view = await house.ask_refund()
    watched = house.watch("refund.issue")
    forge(house, view, status="approved", effect="started")
    house.write(
        "INSERT INTO effect (tenant, key, tool, state, attempt, executor, claimed_at, first_claimed_at) "
        "SELECT tenant, held_id, tool, 'started', 1, 'one', created_at, created_at FROM held_call"
    )
    await house.execute(view)
    assert watched.runs == []
    assert house.refunds() == []
    assert (await house.now(view.held_id)).effect is EffectState.IN_DOUBT
    assert "tampered" in str(house.audit("detail", where="kind='tool.in_doubt'"))


async def test_arguments_altered_while_the_process_was_down_are_not_fired(house: House) -> None:
    view = await approved(house)
    await claimed_and_died(house, view)
    forge(house, view, arguments=FORGED["arguments"])
    watched = house.watch("refund.issue")
    await house.execute(view)
    assert watched.runs == []
    assert house.refunds() == []
    assert (await house.now(view.held_id)).effect is EffectState.IN_DOUBT


async def claimed_and_died(house: House, view: HeldView) -> None:
    from tests.kit.door import Crash, crash

    plain = house.tools[view.tool]
    house.watch(view.tool, before=crash)
    with pytest.raises(Crash):
        await house.execute(view)
    house.tools[view.tool] = plain
    assert (await house.now(view.held_id)).effect is EffectState.STARTED


async def test_an_effect_that_is_done_is_not_done_again_because_its_row_says_queued(house: House) -> None:
    view = await approved(house)
    await house.settle()
    watched = house.watch("refund.issue")
    forge(house, view, effect="queued")
    await house.execute(view)
    assert watched.runs == []
    assert len(house.refunds()) == 1
    assert "tampered" in str(house.audit("detail", where="kind='approval.voided'"))


@pytest.mark.parametrize(
    ("column", "value"), [("needed", 1), ("approver_roles", '["readonly"]'), ("person_key", "employee:9999")]
)
async def test_a_stop_does_not_launder_an_altered_row(house: House, column: str, value: object) -> None:
    """Reopening seals the row anew; what was forged before must not come out with a good seal."""
    view = await house.ask_refund("120.00", order="1043")
    await house.press("ann", view)
    assert (await house.press("bob", view)).result is PressResult.APPROVED
    forge(house, view, **{column: value})
    await house.gateway.kill(DEMO, Scope(ScopeKind.TENANT), ADMIN, "look")
    await house.gateway.resume(DEMO, Scope(ScopeKind.TENANT), ADMIN)
    now = await house.now(view.held_id)
    assert now.status is ApprovalStatus.VOIDED
    await house.press("ann", now)
    await house.press("rita", now)
    await house.settle()
    assert house.refunds("1043") == []


@pytest.mark.parametrize("column", ["needed", "approver_roles", "headline", "facts", "arguments", "asked", "amount"])
async def test_a_row_altered_before_the_press_is_voided_by_the_press(local_house: House, column: str) -> None:
    house = local_house
    view = await house.ask_refund()
    forge(house, view, **{column: FORGED[column]})
    pressed = await house.press("ann", view)
    assert pressed.result is PressResult.LATE
    assert "no longer matches" in pressed.sentence
    await nothing_ran(house, view)


async def test_a_mail_does_not_lose_what_it_waits_for(house: House) -> None:
    """Removing the row that ties the mail to its refund does not let the mail go out alone."""
    mail, refund = await mail_and_refund(house)
    await house.press("lee", mail)
    house.write("DELETE FROM presupposes")
    forge(house, mail, effect="queued")
    await house.execute(mail)
    assert house.mails() == []
    await house.press("ann", refund)
    await house.settle()
    assert house.mails() == []


async def test_a_waiting_mail_flipped_to_queued_does_not_go_out(house: House) -> None:
    mail, _ = await mail_and_refund(house)
    await house.press("lee", mail)
    forge(house, mail, effect="queued")
    await house.execute(mail)
    assert house.mails() == []


async def mail_and_refund(house: House) -> tuple[HeldView, HeldView]:
    turn = house.turn("dana")
    refund = {"order_id": "1042", "amount": "42.00", "currency": "USD", "reason": "never came"}
    body = {"to": "C-1007", "subject": "Refund", "body": "It is on its way."}
    held = await house.gateway.propose(
        turn, [house.proposal("dana", "email.send", body), house.proposal("dana", "refund.issue", refund)]
    )
    mail, paid = held
    assert isinstance(mail, Held)
    assert isinstance(paid, Held)
    return mail.view, paid.view


# -- drift ---------------------------------------------------------------------------------------------------------


def business(house: House, statement: str, **values: object) -> None:
    house.business.write_blocking(lambda conn: conn.execute(text(statement), values).rowcount)


async def test_a_customer_whose_address_changed_gets_no_mail(house: House) -> None:
    held = await house.ask("dana", "email.send", to="C-1007", subject="Hello", body="Your parcel is late.")
    assert isinstance(held, Held)
    await house.press("lee", held.view)
    business(house, "UPDATE customers SET email = 'thief@evil.example' WHERE id = 'C-1007'")
    await house.settle()
    assert house.mails() == []
    await nothing_ran(house, held.view, cause="drift")


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE payments SET currency = 'EUR' WHERE order_id = '1042'",
        "UPDATE payments SET amount_minor = 9900 WHERE order_id = '1042'",
        "UPDATE orders SET customer_id = 'C-1001' WHERE id = '1042'",
        "UPDATE payments SET customer_id = 'C-1001' WHERE order_id = '1042'",
        "DELETE FROM payments WHERE order_id = '1042'",
    ],
)
async def test_a_refund_whose_payment_changed_voids(local_house: House, statement: str) -> None:
    house = local_house
    view = await approved(house)
    business(house, statement)
    await house.settle()
    await nothing_ran(house, view, cause="drift")


async def test_a_payment_refunded_elsewhere_meanwhile_is_not_refunded_beyond_what_was_paid(house: House) -> None:
    view = await approved(house)
    business(
        house,
        "INSERT INTO refunds (tenant, id, order_id, payment_id, amount_minor, currency, reason, refunded_at, call_id, "
        "idempotency_key) SELECT tenant, 're_elsewhere', order_id, id, 5000, currency, 'by hand', paid_at, '', 'x' "
        "FROM payments WHERE order_id = '1042'",
    )
    await house.settle()
    await nothing_ran(house, view, cause="drift")


async def test_a_tool_whose_schema_changed_voids(local_house: House) -> None:
    house = local_house
    view = await approved(house)
    house.tools[view.tool] = replace(house.tools[view.tool], version=2)
    await house.settle()
    await nothing_ran(house, view, cause="drift")


# -- what the card displayed ---------------------------------------------------------------------------------------


async def test_a_press_on_another_digest_or_revision_changes_nothing(house: House) -> None:
    view = await house.ask_refund()
    for old in (replace(view, digest="0" * 64), replace(view, revision=2), replace(view, digest="")):
        assert (await house.press("ann", old)).result is PressResult.STALE
    assert (await house.now(view.held_id)).votes == ()


async def test_the_card_of_before_a_stop_approves_nothing_afterwards(house: House) -> None:
    view = await approved(house)
    await house.gateway.kill(DEMO, Scope(ScopeKind.TENANT), ADMIN, "look")
    await house.gateway.resume(DEMO, Scope(ScopeKind.TENANT), ADMIN)
    assert (await house.press("bob", view)).result is PressResult.STALE
    await house.settle()
    assert house.refunds() == []


async def test_asking_again_asks_for_a_new_digest_and_takes_no_vote_along(house: House) -> None:
    view = await house.ask_refund("120.00", order="1043")
    await house.press("ann", view)
    house.clock.move(hours=25)
    await house.gateway.expire_due()
    again = await house.again(view)
    assert isinstance(again, Held)
    assert again.view.digest != view.digest
    assert again.view.votes == ()
    assert (await house.press("ann", again.view)).result is PressResult.COUNTED
