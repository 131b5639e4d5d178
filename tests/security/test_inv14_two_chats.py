"""Invariant 14 over two chats: two organisations with the same object ids, names of channels and conversations."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bot.messages import ChatUser, Press
from policy.approval import ApprovalStatus, Verb
from tests.kit.two_chats import ACME, ENTRA, FINANCE, GLOBEX, SLACK, TEAMS, Floor, account, oid, tenants_text, two_chats

OTHER = {ACME: GLOBEX, GLOBEX: ACME}


@pytest.fixture
async def floor(engine_url: str, tmp_path: Path) -> AsyncIterator[Floor]:
    async with two_chats(tmp_path / "floor", engine_url) as made:
        yield made


async def test_cards_stand_in_their_own_organisation_s_teams_of_both_chats(floor: Floor) -> None:
    views = {name: await floor.ask("dana", TEAMS, tenant=name) for name in (ACME, GLOBEX)}
    for name in (ACME, GLOBEX):
        for chat in (SLACK, TEAMS):
            await floor.until(lambda c=chat, n=name: floor.shows(c, "Waiting", tenant=n))  # type: ignore[misc]
            (item,) = floor.items(chat, tenant=name)
            assert item.held_id == views[name].held_id
    # One organisation's end is drawn on its own cards alone, though channel and message are called the same.
    await floor.press("ann", TEAMS, views[ACME], Verb.REJECT, "no")
    await floor.both_show("Rejected by Ann Okafor acme", 2)
    assert not any(floor.shows(chat, "Rejected", tenant=GLOBEX) for chat in (SLACK, TEAMS))
    for card in (*floor.slack.teams.items(), *floor.teams.teams.items()):
        (team, _), shown = card
        ours = ACME if "globex" not in team and not team.startswith("T0GLOBEX") and team != ENTRA[GLOBEX] else GLOBEX
        assert f" {OTHER[ours]}" not in repr(shown)


async def test_the_same_object_id_is_another_person_in_another_organisation(floor: Floor) -> None:
    for name in (ACME, GLOBEX):
        who = await floor.person(account("ann", TEAMS, name))
        assert who is not None
        assert (who.tenant, who.display_name) == (name, f"Ann Okafor {name}")
    view = await floor.ask("dana", SLACK)
    reply = await floor.press("ann", TEAMS, view, tenant=GLOBEX)
    assert "no such request" in reply.sentence
    assert reply.card is None
    now = await floor.view(view.held_id)
    assert (now.status, now.votes) == (ApprovalStatus.PENDING, ())
    assert await floor.audit("approval.pressed", ACME) == []


async def test_a_card_is_not_adopted_by_another_organisation_s_conversation(floor: Floor) -> None:
    """A press in globex on what acme's card showed, with the same conversation and message: no copy comes of it."""
    view = await floor.ask("dana", SLACK)
    await floor.both_show("Waiting")
    for tenant in (GLOBEX, ACME):
        who = account("bob", TEAMS, tenant)
        name = f"adopt-{tenant}"
        press = Press(who, name, view.held_id, view.revision, view.digest, Verb.ASK, "why?", "19:same@thread", "17000")
        await floor.service.turn.on_press(press)
    rows = await floor.rows("SELECT tenant, team FROM posted_card WHERE channel = '19:same@thread'")
    assert rows == [("acme", ENTRA[ACME])]


async def test_what_was_barred_in_one_organisation_is_not_barred_in_another(floor: Floor) -> None:
    await floor.command("ann", TEAMS, "unlink")
    assert await floor.person(account("ann", TEAMS, ACME)) is None
    assert await floor.person(account("ann", TEAMS, GLOBEX)) is not None
    said = await floor.command("ada", TEAMS, f"unlink {oid('bob')}", GLOBEX)
    assert "globex" in said
    assert await floor.person(account("bob", TEAMS, ACME)) is not None
    assert await floor.person(account("bob", TEAMS, GLOBEX)) is None


async def test_an_entra_tenant_that_is_not_the_organisation_s_own_makes_nobody_known(
    sqlite_url: str, tmp_path: Path
) -> None:
    """Acme's people come from its Entra; in a Teams of another Entra tenant, though acme's, one needs links."""
    strange = {ACME: "cccccccc-0000-4000-8000-000000000000", GLOBEX: ENTRA[GLOBEX]}
    async with two_chats(tmp_path / "floor", sqlite_url, tenants=tenants_text(teams=strange)) as floor:
        assert await floor.person(ChatUser(TEAMS, strange[ACME], oid("ann"))) is None
        assert await floor.person(account("ann", TEAMS, ACME)) is None
        assert await floor.person(account("ann", TEAMS, GLOBEX)) is not None
        people = await floor.core.book.people(ACME)
        assert {one.surface for person in people for one in person.accounts} == {SLACK}


async def test_a_place_in_the_other_chat_is_asked_of_the_own_teams_alone(floor: Floor) -> None:
    await floor.ask("dana", SLACK, tenant=GLOBEX)
    await floor.until(lambda: floor.shows(TEAMS, "Waiting", tenant=GLOBEX))
    assert [team for team, place in floor.teams.teams if place == FINANCE] == [ENTRA[GLOBEX]]
    assert floor.items(SLACK, tenant=ACME) == ()
