"""Invariant 5 on the page: every press is one row, whoever pressed and whatever came of it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from policy.approval import ApprovalStatus
from tests.kit.office_house import OfficeHouse, office_house, text_of


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[OfficeHouse]:
    async with office_house(tmp_path) as house:
        yield house


async def test_one_row_a_press(house: OfficeHouse) -> None:
    refund, _ = await house.ask()
    dana, ann, bob, lee = [await house.sign_in(sub) for sub in ("dana", "ann", "bob", "lee")]
    nora = await house.sign_in("nora")
    wanted: list[tuple[str, str]] = []
    for who, sub, verb, result in (
        (dana, "dana", "approve", "own_request"),
        (lee, "lee", "approve", "not_approver"),
        (lee, "lee", "withdraw", "not_requester"),
        (ann, "ann", "ask", "asked"),
        (ann, "ann", "approve", "approved"),
        (ann, "ann", "approve", "late"),
        (bob, "bob", "reject", "late"),
        (dana, "dana", "withdraw", "late"),
    ):
        await who.press(refund, verb, "because")
        wanted.append((sub, result))
    assert len(await house.audit("approval.pressed")) == len(wanted)
    got = [(str(actor), status) for _, status, actor in await house.audit("approval.pressed")]
    assert [sub for sub, _ in got] == [sub for sub, _ in wanted]
    assert [status for _, status in got if status in ("approved", "asked", "late")] == [
        "asked",
        "approved",
        "late",
        "late",
        "late",
    ]
    assert all(status not in ("approved", "counted") for sub, status in got if sub in ("dana", "lee", "bob"))
    # Somebody without a role is nobody the door knows: a row all the same.
    await nora.press(refund, "approve")
    assert len(await house.audit("approval.pressed")) == len(wanted) + 1
    again = await ann.post(f"/requests/{refund.held_id}/again")
    assert "Only the person who asked" in text_of(again)
    assert len(await house.audit("approval.pressed")) == len(wanted) + 2


async def test_nobody_countersigns_their_own_from_the_page_after_asking_in_the_chat(house: OfficeHouse) -> None:
    """Invariant 4 across surfaces: one person, two ways in."""
    house.idp().move("ann", ["support", "finance-approvers"])
    refund, _ = await house.ask("ann")
    ann, bob = await house.sign_in("ann"), await house.sign_in("bob")
    assert "Waiting for you" in text_of(await ann.get("/requests"))
    assert "Nothing waits for your countersignature" in text_of(await ann.get("/requests"))
    await ann.press(refund, "approve")
    assert (await house.view(refund.held_id)).votes == ()
    await bob.press(refund, "approve")
    assert (await house.view(refund.held_id)).status is ApprovalStatus.APPROVED


async def test_a_leavers_open_page_decides_nothing(house: OfficeHouse) -> None:
    """Invariant 9: deactivated between looking and pressing."""
    refund, _ = await house.ask()
    ann = await house.sign_in("ann")
    assert refund.headline in (await ann.get("/requests")).text
    house.idp().activate("ann", False)
    answer = await ann.press(refund, "approve", on="all")
    assert answer.status_code == 303
    assert (await ann.poll()).status_code == 401
    assert (await house.view(refund.held_id)).votes == ()


async def test_a_role_that_went_between_two_clicks_counts_no_more(house: OfficeHouse) -> None:
    refund, _ = await house.ask()
    ann = await house.sign_in("ann")
    await ann.get("/requests")
    house.idp().move("ann", ["readonly"])
    await ann.press(refund, "approve")
    assert (await house.view(refund.held_id)).votes == ()
    assert len(await house.audit("approval.pressed")) == 1
    assert refund.headline not in (await ann.get("/requests")).text
