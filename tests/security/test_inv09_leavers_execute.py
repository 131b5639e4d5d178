"""Invariant 9 between approval and effect: the claim looks everybody up again, whatever was or was not done before.

Here nothing is voided when somebody goes (a directory file says nothing of it): the claim alone has to notice.
"""

from __future__ import annotations

import pytest

from bot.identity.people import DirectoryPeople
from policy.approval import ApprovalStatus, PressResult
from policy.model import Subject, ToolName
from tests.kit.door import DEMO, Crash, House, crash, later
from tools.held import EffectState, Held, HeldView

GONE = {
    "gone from the file": ("  - sub: {sub}\n    tenant: demo\n", "  - sub: {sub}-was\n    tenant: demo\n"),
    "no longer active": ("sub: {sub}\n", "sub: {sub}\n    active: false\n"),
}
gone = pytest.mark.parametrize("how", GONE)


def leave(house: House, sub: str, how: str) -> None:
    before, after = GONE[how]
    house.change_people(before.format(sub=sub), after.format(sub=sub))


async def approved(house: House) -> HeldView:
    view = await house.ask_refund()
    assert (await house.press("ann", view)).result is PressResult.APPROVED
    return view


async def voided(house: House, view: HeldView, cause: str) -> None:
    now = await house.now(view.held_id)
    assert (now.status, now.effect) == (ApprovalStatus.VOIDED, EffectState.NONE)
    assert house.refunds() == []
    assert house.rows("SELECT COUNT(*) FROM effect") == [(0,)]
    (said,) = house.audit("detail", where="kind = 'approval.voided'")
    assert cause in str(said)


@gone
async def test_before_the_worker_takes_it_up(house: House, how: str) -> None:
    """No token is minted for somebody who is gone."""
    view = await approved(house)
    leave(house, "dana", how)
    assert house.token_for(view) is None
    await house.settle()
    await voided(house, view, "requester_gone")


@gone
async def test_after_the_worker_minted_its_token(house: House, how: str) -> None:
    view = await approved(house)
    token = house.token_for(view)
    assert token is not None
    leave(house, "dana", how)
    await house.gateway.execute(DEMO, view.held_id, view.revision, token)
    await voided(house, view, "requester_gone")


@gone
async def test_while_the_facts_are_looked_up_again(house: House, how: str) -> None:
    """Between the checks outside the transaction and the claim within it."""
    view = await approved(house)
    tool = house.tools[ToolName("refund.issue")]
    resolve = tool.action.resolve

    async def meanwhile(*args: object) -> object:
        found = await resolve(*args)  # type: ignore[arg-type]
        leave(house, "dana", how)
        return found

    watched = house.watch("refund.issue")
    watched.resolve = meanwhile  # type: ignore[method-assign, assignment]
    await house.execute(view)
    await voided(house, view, "requester_gone")


@gone
async def test_an_approver_who_left_while_it_was_queued(house: House, how: str) -> None:
    view = await approved(house)
    leave(house, "ann", how)
    await house.settle()
    await voided(house, view, "not_entitled")


async def test_a_requester_for_whom_nobody_has_vouched_lately(house: House) -> None:
    """It was approved in time; the directory fell silent, and its word ran out, before the effect (invariant 13)."""
    view = await approved(house)
    said = "I have not heard from your company's directory for too long. Nothing was done."
    people = house.door.people
    assert isinstance(people, DirectoryPeople)
    asker = view.requester
    people._aged = lambda person: said if person.subject == asker else None
    await house.settle()
    await voided(house, view, "stale")


async def test_an_approver_who_lost_the_role_while_it_was_queued(house: House) -> None:
    view = await approved(house)
    number = '\n    employee_number: "1003"'
    house.change_people(f"groups: [finance-approvers]{number}", f"groups: [sales]{number}")
    await house.settle()
    await voided(house, view, "not_entitled")


async def test_a_requester_who_lost_the_role_while_it_was_queued(house: House) -> None:
    view = await approved(house)
    number = '\n    employee_number: "1001"'
    house.change_people(f"groups: [support]{number}", f"groups: [sales]{number}")
    await house.settle()
    await voided(house, view, "not_entitled")


@gone
async def test_a_message_delivered_twice_finds_nothing_to_do(house: House, how: str) -> None:
    view = await approved(house)
    leave(house, "dana", how)
    house.queue.to_execute *= 2
    await house.settle()
    await voided(house, view, "requester_gone")


@gone
async def test_what_waited_for_its_effect_goes_with_its_requester(house: House, how: str) -> None:
    """The refund ran; its mail was released to the queue; then the requester went."""
    asked = {"order_id": "1042", "amount": "5.00", "currency": "USD", "reason": "late"}
    refund, mail = await house.gateway.propose(
        house.turn("dana"),
        [
            house.proposal("dana", "refund.issue", asked),
            house.proposal("dana", "email.send", {"to": "C-1007", "subject": "Refund", "body": "It comes."}),
        ],
    )
    assert isinstance(refund, Held)
    assert isinstance(mail, Held)
    await house.press("lee", mail.view)
    await house.press("ann", refund.view)
    await house.execute(refund.view)
    assert (await house.now(mail.view.held_id)).effect is EffectState.QUEUED
    leave(house, "dana", how)
    await house.settle()
    assert (await house.now(mail.view.held_id)).status is ApprovalStatus.VOIDED
    assert (len(house.refunds()), house.mails()) == (1, [])


@gone
async def test_what_has_been_claimed_is_brought_to_its_end(house: House, how: str) -> None:
    """After a crash in flight somebody has to know what became of it, whoever is still there."""

    view = await approved(house)
    house.watch("refund.issue", after=crash)
    with pytest.raises(Crash):
        await house.execute(view)
    leave(house, "dana", how)
    token = house.token_for(view)
    ended = await later(house).gateway.execute(DEMO, view.held_id, view.revision, token)
    assert ended.effect in (EffectState.DONE, EffectState.IN_DOUBT)
    assert len(house.refunds()) == 1


async def test_nobody_is_told_apart_by_a_subject_alone(house: House) -> None:
    """The same `sub` at another issuer is somebody else: their leaving concerns nobody here."""
    view = await approved(house)
    elsewhere = Subject("https://elsewhere.example", "dana")
    house.writer.run_blocking(lambda conn: house.gateway.reconsider(conn, DEMO, [elsewhere], "asked", force=True))
    await house.settle()
    assert (await house.now(view.held_id)).effect is EffectState.DONE
