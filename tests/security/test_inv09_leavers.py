"""Invariant 9: leavers leave at once. In the transaction of the leaving links and sessions end, requests are voided,
votes taken back, queued effects stop. On SCIM's own rows, on both databases."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pytest

from audit.faults import StoreUnavailable
from policy.approval import ApprovalStatus, PressResult
from policy.model import Subject
from tests.kit.door import DEMO, ISSUER, House
from tests.kit.provisioned import Staff, account, provisioned
from tools.held import Blocked, BlockReason, EffectState, Executed, Held, HeldView
from tools.ports import NoticeKind

NOTHING = (0, 0, 0)
WAYS: dict[str, Callable[[Staff, str], object]] = {
    "deactivated": lambda staff, sub: staff.deactivate(sub),
    "deleted": lambda staff, sub: staff.delete(sub),
}
ways = pytest.mark.parametrize("way", WAYS)


@pytest.fixture
def staff(house: House) -> Staff:
    return provisioned(house)


async def of_two(house: House, amount: str = "120.00", order: str = "1002") -> HeldView:
    view = await house.ask_refund(amount, order=order)
    assert view.needed == 2
    return view


async def refund_and_mail(house: House) -> tuple[HeldView, HeldView]:
    """Dana refunds and announces it: the mail waits for the refund."""
    refund, mail = await house.gateway.propose(
        house.turn("dana"),
        [
            house.proposal(
                "dana", "refund.issue", {"order_id": "1042", "amount": "5.00", "currency": "USD", "reason": "late"}
            ),
            house.proposal("dana", "email.send", {"to": "C-1007", "subject": "Refund", "body": "It comes."}),
        ],
    )
    assert isinstance(refund, Held)
    assert isinstance(mail, Held)
    return refund.view, mail.view


def causes(house: House) -> list[tuple[object, ...]]:
    return house.rows(
        "SELECT kind, status FROM agent_audit_log WHERE kind IN ('approval.voided', 'approval.reopened',"
        " 'identity.unlinked', 'session.ended', 'grant.ended', 'person.left') ORDER BY seq"
    )


@ways
async def test_a_leaver_s_links_sessions_and_grants_end_with_the_leaving(staff: Staff, way: str) -> None:
    staff.settle_in("dana")
    staff.settle_in("ann")
    assert staff.has("dana") == (2, 1, 1)
    WAYS[way](staff, "dana")
    assert staff.has("dana") == NOTHING
    assert staff.has("ann") == (2, 1, 1)
    rows = causes(staff.house)
    assert sorted(rows) == [
        ("grant.ended", "scim"), ("identity.unlinked", "scim"), ("identity.unlinked", "scim"), ("session.ended", "left")
    ]  # fmt: skip
    assert staff.house.rows("SELECT sealed, wrapped_key FROM sealed_grant WHERE sub = 'dana'") == [("", "")]


@ways
async def test_a_leaver_s_pending_request_is_voided_with_a_sentence(staff: Staff, way: str) -> None:
    house = staff.house
    view = await house.ask_refund()
    other = await house.ask_refund("5.00", sub="greedy")
    house.queue.notices.clear()
    WAYS[way](staff, "dana")
    now = await house.now(view.held_id)
    assert now.status is ApprovalStatus.VOIDED
    assert now.reason == ("Dana Reyes is no longer active in the directory, so this was cancelled. Nothing was done.")
    assert [(one.kind, one.held_id) for one in house.queue.notices] == [(NoticeKind.CARD_CHANGED, view.held_id)]
    assert house.queue.outcomes == [], "nothing is said to somebody who is gone"
    assert (await house.now(other.held_id)).status is ApprovalStatus.PENDING
    assert (await house.press("ann", view)).result is PressResult.LATE
    assert ("approval.voided", "voided") in causes(house)
    assert causes(house)[-1] == ("person.left", "left")


@ways
async def test_a_leaver_s_approved_request_in_the_queue_does_not_run(staff: Staff, way: str) -> None:
    house = staff.house
    view = await house.ask_refund()
    assert (await house.press("ann", view)).result is PressResult.APPROVED
    WAYS[way](staff, "dana")
    assert (await house.now(view.held_id)).status is ApprovalStatus.VOIDED
    await house.settle()
    assert house.refunds() == []


@ways
async def test_what_announces_a_leaver_s_request_ends_with_it(staff: Staff, way: str) -> None:
    """The refund waits for its approver; the mail is approved and waits for the refund."""
    house = staff.house
    refund, mail = await refund_and_mail(house)
    assert (await house.press("lee", mail)).result is PressResult.APPROVED
    assert (await house.now(mail.held_id)).effect is EffectState.WAITING
    WAYS[way](staff, "dana")
    for view in (refund, mail):
        now = await house.now(view.held_id)
        assert (now.status, now.effect) == (ApprovalStatus.VOIDED, EffectState.NONE)
        assert now.reason is not None
        assert now.reason.startswith("Dana Reyes is no longer active")
    await house.settle()
    assert (house.refunds(), house.mails()) == ([], [])


async def test_who_lost_the_group_may_no_longer_have_waiting_what_needed_it(staff: Staff) -> None:
    house = staff.house
    staff.joins_group("dana", "sales")
    staff.settle_in("dana")
    pending, queued = await house.ask_refund("5.00"), await house.ask_refund("6.00")
    assert (await house.press("ann", queued)).result is PressResult.APPROVED
    staff.leaves_group("dana", "support")
    for view in (pending, queued):
        now = await house.now(view.held_id)
        assert now.status is ApprovalStatus.VOIDED
        assert now.reason == "Dana Reyes may no longer ask for this, so it was cancelled. Nothing was done."
    assert {held_id for _, held_id in house.queue.outcomes} == {pending.held_id, queued.held_id}, "they are still here"
    assert staff.has("dana") == (2, 1, 1), "they are still somebody here"
    await house.settle()
    assert house.refunds() == []
    refused = await house.ask("dana", "refund.issue", order_id="1042", amount="1.00", currency="USD", reason="r")
    assert isinstance(refused, Blocked)
    assert refused.reason is BlockReason.ROLE


async def test_who_lost_the_last_group_with_a_role_is_gone(staff: Staff) -> None:
    view = await staff.house.ask_refund()
    staff.settle_in("dana")
    staff.leaves_group("dana", "support")
    assert staff.has("dana") == NOTHING
    assert (await staff.house.now(view.held_id)).status is ApprovalStatus.VOIDED


async def test_a_group_that_changes_nothing_writes_nothing(staff: Staff) -> None:
    house = staff.house
    staff.settle_in("dana")
    staff.settle_in("ann")
    view = await of_two(house)
    assert (await house.press("ann", view)).result is PressResult.COUNTED
    before, notices = house.audit("seq"), list(house.queue.notices)
    staff.joins_group("dana", "sales")
    staff.joins_group("ann", "support")
    staff.leaves_group("ann", "support")
    assert staff.change(lambda conn: None, "dana", "ann", "nobody-of-that-name") == []
    assert (house.audit("seq"), house.queue.notices) == (before, notices)
    assert staff.has("ann") == (2, 1, 1)
    assert (await house.press("bob", view)).result is PressResult.APPROVED


LOSSES: dict[str, Callable[[Staff], object]] = {
    "deactivated": lambda staff: staff.deactivate("ann"),
    "deleted": lambda staff: staff.delete("ann"),
    "lost group": lambda staff: staff.leaves_group("ann", "finance-approvers"),
    "moved": lambda staff: (staff.joins_group("ann", "support"), staff.leaves_group("ann", "finance-approvers")),
}
losses = pytest.mark.parametrize("loss", LOSSES)


@losses
async def test_the_one_vote_of_a_leaver_is_taken_back(staff: Staff, loss: str) -> None:
    house = staff.house
    view = await of_two(house)
    assert (await house.press("ann", view)).result is PressResult.COUNTED
    house.queue.notices.clear()
    LOSSES[loss](staff)
    now = await house.now(view.held_id)
    assert (now.status, now.votes, now.revision) == (ApprovalStatus.PENDING, (), 1)
    assert NoticeKind.CARD_CHANGED in {one.kind for one in house.queue.notices}
    voided = house.audit("status", "actor_user_id", where="kind = 'approval.voided'")
    assert voided == [("vote_voided", "ann")]
    assert (await house.press("bob", view)).result is PressResult.COUNTED
    assert (await house.press("greedy", view)).result is PressResult.APPROVED


@losses
async def test_an_approved_call_that_loses_a_vote_needs_fresh_presses(staff: Staff, loss: str) -> None:
    house = staff.house
    view = await of_two(house)
    for sub in ("ann", "bob"):
        pressed = await house.press(sub, view)
    assert pressed.result is PressResult.APPROVED
    LOSSES[loss](staff)
    now = await house.now(view.held_id)
    assert (now.status, now.effect, now.votes) == (ApprovalStatus.PENDING, EffectState.NONE, ())
    await house.settle()
    assert house.refunds("1002") == []
    reopened = house.rows("SELECT detail FROM agent_audit_log WHERE kind = 'approval.reopened'")
    assert "Ann Okafor, who approved this" in str(reopened)
    assert (await house.press("bob", view)).result is PressResult.STALE
    assert (await house.press("bob", now)).result is PressResult.COUNTED
    assert (await house.press("greedy", now)).result is PressResult.APPROVED
    await house.settle()
    assert len(house.refunds("1002")) == 1


async def test_a_refund_reopened_keeps_its_mail_waiting(staff: Staff) -> None:
    house = staff.house
    refund, mail = await refund_and_mail(house)
    await house.press("lee", mail)
    assert (await house.press("ann", refund)).result is PressResult.APPROVED
    staff.deactivate("ann")
    assert (await house.now(refund.held_id)).status is ApprovalStatus.PENDING
    now = await house.now(mail.held_id)
    assert (now.status, now.effect) == (ApprovalStatus.APPROVED, EffectState.WAITING)
    await house.settle()
    assert (house.refunds(), house.mails()) == ([], [])
    assert (await house.press("bob", await house.now(refund.held_id))).result is PressResult.APPROVED
    await house.settle()
    assert (len(house.refunds()), len(house.mails())) == (1, 1)


async def test_the_approver_of_a_waiting_mail_leaves(staff: Staff) -> None:
    house = staff.house
    refund, mail = await refund_and_mail(house)
    await house.press("lee", mail)
    staff.deactivate("lee")
    assert (await house.now(mail.held_id)).status is ApprovalStatus.PENDING
    assert (await house.press("ann", refund)).result is PressResult.APPROVED
    await house.settle()
    assert (len(house.refunds()), house.mails()) == (1, [])


async def test_requester_and_both_approvers_leave_in_one_request(staff: Staff) -> None:
    house = staff.house
    queued, half = await of_two(house), await of_two(house, order="1003")
    other = await house.ask_refund("120.00", order="1006", sub="greedy")
    for view in (queued, other):
        for sub in ("ann", "bob"):
            await house.press(sub, view)
    await house.press("bob", half)
    staff.deactivate("dana", "ann", "bob")
    found = [(now.status, now.votes) for now in [await house.now(view.held_id) for view in (queued, half, other)]]
    assert [status for status, _ in found] == [
        ApprovalStatus.VOIDED, ApprovalStatus.VOIDED, ApprovalStatus.PENDING
    ]  # fmt: skip
    assert found[2][1] == ()
    await house.settle()
    assert house.rows("SELECT COUNT(*) FROM effect") == [(0,)]


async def test_a_whole_group_at_once_ends_what_each_had(staff: Staff) -> None:
    """More people than are looked at one by one."""
    house = staff.house
    dana = house.who("dana")
    others = [
        dataclasses.replace(person, subject=Subject(ISSUER, f"p{number}"), groups=("support",), employee_number=None)
        for number in range(30)
        for person in [house.writer.read_blocking(lambda conn: staff.directory.by_subject(conn, DEMO, dana.subject))]
        if person is not None
    ]
    staff.hire(others)
    staff.settle_in("p3")
    staff.settle_in("dana")
    views = [await house.ask_refund("1.00", sub=sub) for sub in ("p3", "p7", "dana")]
    kept = await house.ask_refund("1.00", sub="greedy")
    subs = [f"p{number}" for number in range(30)]
    staff.deactivate(*subs)
    assert [(await house.now(view.held_id)).status for view in views] == [
        ApprovalStatus.VOIDED, ApprovalStatus.VOIDED, ApprovalStatus.PENDING
    ]  # fmt: skip
    assert (staff.has("p3"), staff.has("dana")) == (NOTHING, (2, 1, 1))
    assert (await house.now(kept.held_id)).status is ApprovalStatus.PENDING


# -- invariant 6: it happens whole or not at all -------------------------------------------------------------------


async def test_a_leaving_that_cannot_be_audited_changes_nothing(staff: Staff, monkeypatch: pytest.MonkeyPatch) -> None:
    house = staff.house
    staff.settle_in("dana")
    staff.settle_in("ann")
    pending, queued = await house.ask_refund(), await of_two(house)
    for sub in ("ann", "bob"):
        await house.press(sub, queued)
    tables = ("scim_resource", "identity_link", "web_session", "sealed_grant", "held_call", "vote", "agent_audit_log")

    def everything() -> list[list[tuple[object, ...]]]:
        return [sorted(house.rows(f"SELECT * FROM {name}"), key=str) for name in tables]

    before = everything()
    with monkeypatch.context() as broken:

        def full(self: object, conn: object, records: object) -> None:
            raise StoreUnavailable("The disk is full.")

        broken.setattr("audit.store.AuditStore.append_records", full)
        for leave in (staff.deactivate, staff.delete):
            for sub in ("dana", "ann"):
                with pytest.raises(StoreUnavailable):
                    leave(sub)
    assert everything() == before
    assert (await house.now(pending.held_id)).status is ApprovalStatus.PENDING
    staff.deactivate("dana")
    assert (await house.now(pending.held_id)).status is ApprovalStatus.VOIDED


async def test_leaving_twice_is_leaving_once(staff: Staff) -> None:
    house = staff.house
    staff.settle_in("dana")
    staff.settle_in("ann")
    await house.ask_refund()
    view = await of_two(house)
    for sub in ("ann", "bob"):
        await house.press(sub, view)
    staff.deactivate("dana", "ann")
    before = house.audit("seq")
    assert staff.deactivate("dana", "ann") == []
    assert staff.delete("dana") == []
    assert house.audit("seq") == before


async def test_who_comes_back_starts_anew(staff: Staff) -> None:
    """What was voided stays voided; links are proved again; a vote is cast again."""
    house = staff.house
    staff.settle_in("dana")
    view, half = await house.ask_refund(), await house.ask_refund("120.00", order="1006", sub="greedy")
    await house.press("ann", half)
    staff.deactivate("dana", "ann")
    staff.reactivate("dana")
    staff.reactivate("ann")
    assert staff.has("dana") == NOTHING
    assert house.writer.read_blocking(lambda conn: staff.directory.by_account(conn, account("dana"))) is None
    assert (await house.now(view.held_id)).status is ApprovalStatus.VOIDED
    assert (await house.now(half.held_id)).votes == ()
    assert (await house.press("ann", half)).result is PressResult.COUNTED
    staff.settle_in("dana")
    assert staff.has("dana") == (2, 1, 1)
    assert isinstance(await house.again(view), Held)


# -- the door --------------------------------------------------------------------------------------------------------


async def test_a_token_minted_before_the_leaving_opens_nothing_after_it(staff: Staff) -> None:
    """Tokens live for minutes; the transaction that holds or starts a call looks the person up again."""
    house = staff.house
    asked = {"order_id": "1042", "amount": "5.00", "currency": "USD", "reason": "late"}
    calls = [
        house.proposal("dana", "refund.issue", asked),
        house.proposal("dana", "crm.read", {"kind": "order", "key": "1042"}),
    ]
    staff.deactivate("dana")
    for call in calls:
        (outcome,) = await house.gateway.propose(house.turn("dana"), [call])
        assert isinstance(outcome, Blocked)
        assert outcome.reason is BlockReason.TOKEN
        assert "no longer active" in outcome.sentence
    assert house.rows("SELECT COUNT(*) FROM held_call") == [(0,)]
    assert house.audit("status", where="kind LIKE 'tool.%'") == [("blocked",), ("blocked",)]


async def test_a_token_minted_before_the_role_went_opens_nothing_that_needs_it(staff: Staff) -> None:
    house = staff.house
    asked = {"order_id": "1042", "amount": "5.00", "currency": "USD", "reason": "late"}
    calls = [
        house.proposal("greedy", "refund.issue", asked),
        house.proposal("greedy", "db.query", {"sql": "SELECT 1"}),
        house.proposal("greedy", "crm.read", {"kind": "order", "key": "1042"}),
    ]
    staff.leaves_group("greedy", "support")
    outcomes = [(await house.gateway.propose(house.turn("greedy"), [call]))[0] for call in calls]
    assert [type(one) for one in outcomes] == [Blocked, Blocked, Executed]
    assert {one.reason for one in outcomes if isinstance(one, Blocked)} == {BlockReason.ROLE}


async def test_a_leaver_s_press_does_not_count(staff: Staff) -> None:
    """Resolved just before the leaving, judged just after it."""
    house = staff.house
    view, ann = await house.ask_refund(), house.who("ann")
    staff.deactivate("ann")
    pressed = await house.gateway.countersign(DEMO, ann, house.request(view))
    assert pressed.result is PressResult.STRANGER
    assert (await house.now(view.held_id)).votes == ()
