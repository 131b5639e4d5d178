"""The main job at the door: asked, held, countersigned, done once, recorded."""

from __future__ import annotations

from datetime import timedelta

from policy.approval import ApprovalStatus, PressResult, Verb
from tests.kit.door import House
from tools import limits
from tools.held import Blocked, BlockReason, EffectState, Executed, Failed, Held, Scope, ScopeKind
from tools.stops import By


async def test_a_read_runs_at_once_and_leaves_two_rows(house: House) -> None:
    outcome = await house.ask("dana", "crm.read", kind="order", key="1042")
    assert isinstance(outcome, Executed)
    assert "Lindqvist" in str(outcome.result.content)
    rows = house.audit("kind", "status", "actor_user_id", "authz_decision", where="tool_name='crm.read'")
    assert rows == [
        ("tool.started", "started", "dana", "allow"),
        ("tool.executed", "executed", "dana", "allow"),
    ]


async def test_a_refund_is_held_and_nothing_happens(house: House) -> None:
    view = await house.ask_refund()
    assert view.status is ApprovalStatus.PENDING
    assert (view.needed, view.approver_roles) == (1, ("finance_approver",))
    assert view.destinations == ("#finance-approvals",)
    assert house.refunds() == []
    assert [notice.held_id for notice in house.queue.notices] == [view.held_id]


async def test_one_approval_refunds_once(house: House) -> None:
    view = await house.ask_refund()
    pressed = await house.press("ann", view)
    assert pressed.result is PressResult.APPROVED
    await house.settle()
    done = await house.now(view.held_id)
    assert (done.status, done.effect) == (ApprovalStatus.APPROVED, EffectState.DONE)
    assert [amount for _, amount in house.refunds()] == [4200]
    assert done.result is not None
    assert "42.00 USD" in done.result
    again = await house.gateway.execute(view.tenant, view.held_id, view.revision, house.token_for(view))
    assert again.effect is EffectState.DONE
    assert len(house.refunds()) == 1


async def test_the_rows_of_a_refund_with_two_approvers(house: House) -> None:
    view = await house.ask_refund("120.00", "1017")
    assert view.needed == 2
    assert (await house.press("ann", view)).result is PressResult.COUNTED
    assert house.refunds("1017") == []
    assert (await house.press("bob", view)).result is PressResult.APPROVED
    await house.settle()
    rows = house.audit(
        "kind", "actor_user_id", "tool_args->>'amount'", "hitl_approver", "status", where="tool_name='refund.issue'"
    )
    assert rows == [
        ("tool.requested", "dana", "120.00", None, "pending"),
        ("approval.pressed", "ann", "120.00", None, "counted"),
        ("approval.pressed", "bob", "120.00", None, "approved"),
        ("approval.decided", "bob", "120.00", "ann,bob", "approved"),
        ("tool.started", "dana", "120.00", "ann,bob", "started"),
        ("tool.executed", "dana", "120.00", "ann,bob", "executed"),
    ]
    assert house.rows("SELECT tool_args->>'amount', hitl_approver, status FROM agent_calls") == [
        ("120.00", "ann,bob", "executed")
    ]


async def test_rejecting_tells_why_and_does_nothing(house: House) -> None:
    view = await house.ask_refund()
    pressed = await house.press("ann", view, Verb.REJECT, "The courier says it was delivered.")
    assert pressed.result is PressResult.REJECTED
    ended = await house.now(view.held_id)
    assert (ended.status, ended.reason, ended.settled_by) == (
        ApprovalStatus.REJECTED,
        "The courier says it was delivered.",
        "Ann Okafor",
    )
    await house.settle()
    assert house.refunds() == []
    assert (view.tenant, view.held_id) in house.queue.outcomes


async def refund_and_mail(house: House) -> tuple[Held, Held]:
    turn = house.turn("dana")
    mail, refund = await house.gateway.propose(
        turn,
        [
            house.proposal(
                "dana", "email.send", {"to": "C-1007", "subject": "Your refund", "body": "It is on its way."}
            ),
            house.proposal(
                "dana",
                "refund.issue",
                {"order_id": "1042", "amount": "42.00", "currency": "USD", "reason": "never came"},
            ),
        ],
    )
    assert isinstance(mail, Held)
    assert isinstance(refund, Held)
    return refund, mail


async def test_a_mail_waits_for_the_refund_it_announces(house: House) -> None:
    refund, mail = await refund_and_mail(house)
    assert (await house.now(mail.view.held_id)).waits_for == (refund.view.headline,)
    assert (await house.press("lee", mail.view)).result is PressResult.APPROVED
    await house.settle()
    assert house.mails() == []
    assert (await house.now(mail.view.held_id)).effect is EffectState.WAITING
    await house.press("ann", refund.view)
    await house.settle()
    assert len(house.refunds()) == 1
    assert [mail[0] for mail in house.mails()] == ["ada.lindqvist@example.com"]


async def test_refund_rejected_mail_approved_nothing_is_sent(house: House) -> None:
    refund, mail = await refund_and_mail(house)
    await house.press("lee", mail.view)
    await house.press("ann", refund.view, Verb.REJECT, "No.")
    await house.settle()
    ended = await house.now(mail.view.held_id)
    assert ended.status is ApprovalStatus.VOIDED
    assert ended.reason is not None
    assert "was rejected" in ended.reason
    assert house.mails() == []
    assert (await house.press("lee", mail.view)).result is PressResult.LATE


async def test_a_mail_whose_refund_was_refused_in_the_same_answer_is_not_held(house: House) -> None:
    turn = house.turn("dana")
    refund, mail = await house.gateway.propose(
        turn,
        [
            house.proposal(
                "dana", "refund.issue", {"order_id": "1042", "amount": "84.01", "currency": "USD", "reason": "x"}
            ),
            house.proposal("dana", "email.send", {"to": "C-1007", "subject": "Refund", "body": "On its way."}),
        ],
    )
    assert isinstance(refund, Blocked)
    assert isinstance(mail, Blocked)
    assert mail.reason == BlockReason.PRESUPPOSES


async def test_withdrawing_is_the_requesters_alone(house: House) -> None:
    view = await house.ask_refund()
    assert (await house.press("ann", view, Verb.WITHDRAW)).result is PressResult.NOT_REQUESTER
    assert (await house.press("dana", view, Verb.WITHDRAW)).result is PressResult.WITHDRAWN
    assert (await house.press("ann", view)).result is PressResult.LATE
    await house.settle()
    assert house.refunds() == []


async def test_asking_decides_nothing_and_keeps_the_words_off_the_audit(house: House) -> None:
    view = await house.ask_refund()
    pressed = await house.press("ann", view, Verb.ASK, "Did they check the side door?", press_id="p1")
    assert pressed.result is PressResult.ASKED
    assert (await house.now(view.held_id)).status is ApprovalStatus.PENDING
    asked = await house.gateway.question(view.tenant, view.held_id, "p1")
    assert asked is not None
    assert (asked.by, asked.text) == ("Ann Okafor", "Did they check the side door?")
    assert "side door" not in str(house.audit("detail"))


async def test_one_reminder_then_expiry_then_ask_again(house: House) -> None:
    view = await house.ask_refund()
    assert await house.gateway.remind_due() == 0
    house.clock.move(hours=12, seconds=1)
    assert await house.gateway.remind_due() == 1
    assert await house.gateway.remind_due() == 0
    house.clock.move(hours=12)
    assert (await house.press("ann", view)).result is PressResult.EXPIRED
    assert await house.gateway.expire_due() == 1
    assert (await house.now(view.held_id)).status is ApprovalStatus.EXPIRED
    again = await house.again(view)
    assert isinstance(again, Held), again
    assert again.view.held_id != view.held_id
    assert again.view.digest != view.digest
    await house.press("ann", again.view)
    await house.settle()
    assert len(house.refunds()) == 1


async def test_asking_again_is_for_ended_calls_and_for_the_requester(house: House) -> None:
    view = await house.ask_refund()
    assert isinstance(await house.again(view), Blocked)
    await house.press("ann", view, Verb.REJECT, "no")
    assert isinstance(await house.again(view, sub="greedy"), Blocked)
    assert isinstance(await house.again(view), Held)


async def test_a_write_keeps_before_and_after(house: House) -> None:
    outcome = await house.ask("sam", "crm.write", customer_id="C-1007", field="phone", value="+1 206 555 0199")
    assert isinstance(outcome, Executed)
    ((detail,),) = house.audit("detail", where="kind='tool.executed'")
    assert "+1 206 555 0107" in str(detail)
    assert "+1 206 555 0199" in str(detail)


async def test_proposing_the_same_call_twice_holds_it_once(house: House) -> None:
    turn = house.turn("dana")
    call = house.proposal(
        "dana", "refund.issue", {"order_id": "1042", "amount": "42.00", "currency": "USD", "reason": "r"}, "c1"
    )
    (first,) = await house.gateway.propose(turn, [call])
    (second,) = await house.gateway.propose(turn, [call])
    assert isinstance(first, Held)
    assert isinstance(second, Held)
    assert first.view.held_id == second.view.held_id
    assert house.rows("SELECT count(*) FROM held_call") == [(1,)]
    assert len(house.queue.notices) == 1


async def test_a_provider_that_refuses_is_a_failure_told_plainly(house: House) -> None:
    outcome = await house.ask("dana", "crm.read", kind="order", key="999999")
    assert isinstance(outcome, Failed | Executed)


async def test_in_doubt_is_settled_by_a_person_and_releases_the_mail(local_house: House) -> None:
    house = local_house
    refund, mail = await refund_and_mail(house)
    await house.press("lee", mail.view)
    await house.press("ann", refund.view)
    house.break_tool("refund.issue", after=True)
    await house.settle()
    doubt = await house.now(refund.view.held_id)
    assert doubt.effect is EffectState.IN_DOUBT
    assert house.mails() == []
    await house.gateway.settle_doubt(refund.view.tenant, refund.view.held_id, "Ada Kim", True, "Seen at the provider.")
    await house.settle()
    assert len(house.mails()) == 1


async def test_resuming_a_person_lifts_their_lockout_too(local_house: House) -> None:
    house = local_house
    dana = house.who("dana")
    house.writer.run_blocking(
        lambda conn: limits.lock_out(conn, dana.tenant, dana.subject, house.clock.now + timedelta(hours=1))
    )
    outcome = await house.ask("dana", "crm.read", kind="order", key="1042")
    assert isinstance(outcome, Blocked)
    assert outcome.reason is BlockReason.LOCKED_OUT
    await house.gateway.resume(dana.tenant, Scope(ScopeKind.USER, str(dana.subject)), By("ada", "Ada Kim"))
    assert isinstance(await house.ask("dana", "crm.read", kind="order", key="1042"), Executed)
    assert house.audit("status", where="kind='lockout.lifted'") == [("lifted",)]
