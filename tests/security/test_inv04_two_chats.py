"""Invariant 4 over two chats: whoever has several accounts, or several subjects, is one person for the four eyes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from itertools import product
from pathlib import Path

import pytest

from bot.messages import ChatUser
from policy.approval import ApprovalStatus, Verb
from tests.kit.two_chats import (
    ACME,
    ENTRA,
    FINANCE,
    SLACK,
    TEAMS,
    Floor,
    account,
    linked_staff,
    oid,
    staff,
    tenants_text,
    two_chats,
)

CHATS = (SLACK, TEAMS)
OWN = "You asked for this, so somebody else has to decide it."


@pytest.fixture(params=["own", "linked"])
async def floor(request: pytest.FixtureRequest, engine_url: str, tmp_path: Path) -> AsyncIterator[Floor]:
    """Teams accounts that are their people by the IdP's word, and such that were linked."""
    linked = request.param == "linked"
    tenants = tenants_text(linking="required" if linked else "")
    people = linked_staff if linked else staff
    async with two_chats(tmp_path / "floor", engine_url, tenants=tenants, people=people) as made:
        yield made


async def test_four_accounts_of_two_people(floor: Floor) -> None:
    """Dana may approve by her role and has two accounts; so has Ann. Whatever is asked and pressed where: two."""
    for asked_in in CHATS:
        view = await floor.ask("dana", asked_in, "180.00", "1043" if asked_in == SLACK else "1017")
        assert view.needed == 2
        for pressed_in in CHATS:
            own = await floor.press("dana", pressed_in, view)
            assert OWN in own.sentence, own.sentence
        assert "Counted: 1 of 2" in (await floor.press("ann", SLACK, view)).sentence
        for pressed_in in CHATS:
            again = await floor.press("ann", pressed_in, view)
            assert "already approved" in again.sentence
        now = await floor.view(view.held_id)
        assert (now.status, len(now.votes)) == (ApprovalStatus.PENDING, 1)
        assert (await floor.press("bob", TEAMS, view)).sentence == "Approved."
    rows = [status for _, status, _ in await floor.audit("approval.pressed")]
    assert rows == ["own_request", "own_request", "counted", "duplicate", "duplicate", "approved"] * 2


async def test_two_subjects_with_one_employee_number_are_one_person(floor: Floor) -> None:
    """Dana's second account at the IdP is another subject, with accounts of its own in both chats."""
    mine = await floor.ask("dana", SLACK)
    for chat in CHATS:
        assert OWN in (await floor.press("danb", chat, mine)).sentence
    for first, second in product(CHATS, CHATS):
        view = await floor.ask("lee", first, "180.00", "1043")
        assert view.needed == 2
        assert "Counted: 1 of 2" in (await floor.press("dana", first, view)).sentence
        assert "already approved" in (await floor.press("danb", second, view)).sentence
        now = await floor.view(view.held_id)
        assert (now.status, [vote.name for vote in now.votes]) == (ApprovalStatus.PENDING, ["Dana Reyes acme"])
        await floor.press("lee", second, view, Verb.WITHDRAW)
    assert await floor.refunds() == []


async def test_an_account_nobody_is_known_by_never_counts(floor: Floor) -> None:
    view = await floor.ask("dana", SLACK)
    nobody = ChatUser(TEAMS, ENTRA[ACME], "99999999-1111-4111-8111-111111111111")
    # The ids of acme's people under spellings and in teams that are not theirs.
    forms = (
        nobody,
        ChatUser(TEAMS, ENTRA[ACME], oid("ann").upper()),
        ChatUser(TEAMS, ENTRA[ACME], "U-ann"),
        ChatUser(TEAMS, "T0ACME", oid("ann")),
        ChatUser(SLACK, "T0ACME", oid("ann")),
        ChatUser(TEAMS, ENTRA[ACME], oid("ann"), "E0GRID"),
    )
    for who in forms:
        assert await floor.person(who) is None, who
    assert await floor.person(account("ann", TEAMS)) is not None
    assert (await floor.view(view.held_id)).votes == ()
    assert floor.items(TEAMS, FINANCE) or not floor.shows(TEAMS, "Approved")
