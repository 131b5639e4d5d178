"""Invariant 9 by other ways than the directory: a logout, a chat account that ended, another tenant."""

from __future__ import annotations

import dataclasses
from functools import partial

import pytest
from sqlalchemy.engine import Connection

from audit.event import Event
from bot.messages import ChatUser
from policy.approval import ApprovalStatus
from policy.model import TenantId
from tests.kit.door import DEMO, ISSUER, House
from tests.kit.provisioned import SLACK, TEAMS, Staff, account, provisioned, subject
from tools.held import HeldView

NOTHING = (0, 0, 0)


@pytest.fixture
def staff(house: House) -> Staff:
    return provisioned(house)


async def of_two(house: House, amount: str = "120.00", order: str = "1002") -> HeldView:
    view = await house.ask_refund(amount, order=order)
    assert view.needed == 2
    return view


async def test_a_logout_at_the_idp_ends_everything(staff: Staff) -> None:
    house = staff.house
    staff.settle_in("dana", sid="s-1")
    staff.settle_in("bob", sid="s-2")
    view = await house.ask_refund()
    staff.run(lambda conn: staff.leavers.logged_out(conn, DEMO, ISSUER, sid="s-1"))
    assert (staff.has("dana"), staff.has("bob")) == (NOTHING, (2, 1, 1))
    now = await house.now(view.held_id)
    assert now.reason == "Dana Reyes was signed out by the company's sign-in, so this was cancelled. Nothing was done."
    assert house.audit("status", where="kind = 'session.ended'") == [("logged_out_at_idp",)]
    assert house.who("dana").display_name == "Dana Reyes", "the directory still lists her"


async def test_a_logout_can_be_told_to_end_sign_ins_alone(staff: Staff) -> None:
    house = staff.house
    staff.settle_in("dana")
    view = await house.ask_refund()
    leavers = staff.leavers
    staff.run(lambda conn: leavers.logged_out(conn, DEMO, ISSUER, subject=subject("dana"), everything=False))
    assert staff.has("dana") == (2, 0, 0)
    assert (await house.now(view.held_id)).status is ApprovalStatus.PENDING


async def test_a_logout_of_one_session_ends_that_one(staff: Staff) -> None:
    staff.settle_in("dana", sid="s-1")
    staff.settle_in("dana", sid="s-2")
    staff.run(
        lambda conn: staff.leavers.logged_out(conn, DEMO, ISSUER, subject=subject("dana"), sid="s-1", everything=False)
    )
    open_ones = staff.house.rows("SELECT sid FROM web_session WHERE ended_at IS NULL")
    assert open_ones == [("s-2",)]


async def test_a_logout_takes_back_votes(staff: Staff) -> None:
    house = staff.house
    view = await of_two(house)
    for sub in ("ann", "bob"):
        await house.press(sub, view)
    staff.run(lambda conn: staff.leavers.logged_out(conn, DEMO, ISSUER, subject=subject("ann")))
    now = await house.now(view.held_id)
    assert (now.status, now.votes) == (ApprovalStatus.PENDING, ())


async def test_a_session_of_somebody_else_s_issuer_is_not_meant(staff: Staff) -> None:
    staff.settle_in("dana", sid="s-1")
    staff.run(lambda conn: staff.leavers.logged_out(conn, DEMO, "https://elsewhere.example", sid="s-1"))
    assert staff.has("dana") == (2, 1, 1)


def account_gone(conn: Connection, staff: Staff, who: ChatUser) -> list[Event]:
    return staff.leavers.account_gone(conn, DEMO, who)


async def test_a_deleted_chat_account_ends_its_link_and_what_its_holder_had_waiting(staff: Staff) -> None:
    house = staff.house
    staff.settle_in("dana")
    staff.settle_in("ann")
    view, half = await house.ask_refund(), await house.ask_refund("120.00", order="1006", sub="greedy")
    await house.press("ann", half)
    for sub in ("dana", "ann"):
        staff.run(partial(account_gone, staff=staff, who=account(sub, SLACK)))
        assert staff.has(sub) == (1, 0, 0), "the account in the other chat was proved by itself"
    found = house.writer.read_blocking(lambda conn: staff.directory.by_account(conn, account("dana", TEAMS)))
    assert found is not None
    now = await house.now(view.held_id)
    assert now.reason == "Dana Reyes has no active chat account any more, so this was cancelled. Nothing was done."
    assert (await house.now(half.held_id)).votes == ()


async def test_a_chat_account_of_nobody_ends_nothing(staff: Staff) -> None:
    staff.settle_in("dana")
    stranger = dataclasses.replace(account("dana"), team="T0OTHER")
    assert staff.run(lambda conn: staff.leavers.account_gone(conn, DEMO, stranger)) == []
    assert staff.has("dana") == (2, 1, 1)


async def test_another_tenant_s_word_ends_nothing_here(staff: Staff) -> None:
    """The same subject under two tenants: each IdP speaks for its own (invariant 14)."""
    house = staff.house
    staff.settle_in("dana", sid="s-1")
    view = await house.ask_refund()
    other = TenantId("other")
    assert staff.change(lambda conn: None, "dana", tenant=other) == []
    staff.run(lambda conn: staff.leavers.logged_out(conn, other, ISSUER, subject=subject("dana"), sid="s-1"))
    staff.run(lambda conn: staff.leavers.account_gone(conn, other, account("dana")))
    assert staff.has("dana") == (2, 1, 1)
    assert (await house.now(view.held_id)).status is ApprovalStatus.PENDING
