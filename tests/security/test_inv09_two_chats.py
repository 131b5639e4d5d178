"""Invariant 9 over two chats: who leaves is refused in both, both cards say so, and what needs no link ends too."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy.engine import Connection

from bot.core import utc_now
from bot.identity import links
from bot.identity.links import How
from bot.identity.scim_directory import ScimDirectory
from bot.identity.tenants import read_tenants
from bot.messages import ChatUser, Incoming
from bot.ports import Standing
from policy.approval import ApprovalStatus
from tests.kit.two_chats import (
    ACME,
    SLACK,
    TEAMS,
    Floor,
    account,
    linked_staff,
    oid,
    subject,
    tenants_text,
    two_chats,
)

REACH_S = 2.0


@pytest.fixture
async def floor(engine_url: str, tmp_path: Path) -> AsyncIterator[Floor]:
    async with two_chats(tmp_path / "floor", engine_url) as made:
        yield made


async def known(floor: Floor, sub: str) -> tuple[bool, bool]:
    """Whether they are somebody in Slack, and in Teams."""
    found = [await floor.person(account(sub, chat)) is not None for chat in (SLACK, TEAMS)]
    return found[0], found[1]


async def test_a_leaver_s_request_is_cancelled_on_both_cards_and_both_accounts_are_refused(floor: Floor) -> None:
    view = await floor.ask("dana", TEAMS)
    await floor.both_show("Waiting")
    floor.idp().activate(oid("dana"), False)
    assert await known(floor, "dana") == (False, False)
    await floor.both_show("Cancelled", REACH_S)
    assert all(not item.buttons for chat in (SLACK, TEAMS) for item in floor.items(chat))
    assert "cancelled" in (await floor.press("ann", TEAMS, view)).sentence
    assert await floor.refunds() == []
    # What was linked has to be linked again; what the IdP itself says holds as soon as it says it.
    floor.idp().activate(oid("dana"), True)
    assert await known(floor, "dana") == (False, True)


async def test_a_leaver_s_vote_is_taken_back_on_both_cards(floor: Floor) -> None:
    view = await floor.ask("dana", SLACK, "180.00", "1043")
    await floor.both_show("2 different people")
    await floor.press("ann", TEAMS, view)
    await floor.both_show("1 of 2: Ann")
    floor.idp().move(oid("ann"), ["nobody-s-group"])
    await floor.both_show("Waiting for 2 different people", REACH_S)
    await floor.press("ann", TEAMS, view)
    assert (await floor.view(view.held_id)).votes == ()


async def test_a_log_out_at_the_idp_takes_away_what_needs_no_link_too(floor: Floor) -> None:
    def unit(conn: Connection) -> None:
        events = floor.core.leavers.logged_out(
            conn, ACME, subject("ann").issuer, subject=subject("ann"), everything=True
        )
        floor.core.audit.append(conn, events)

    assert await known(floor, "ann") == (True, True)
    await floor.core.writer.run(unit)
    assert await known(floor, "ann") == (False, False)
    assert await known(floor, "bob") == (True, True)
    # Linking it again, as the link page and single sign-on do, lifts that.
    linked = await floor.core.writer.run(
        lambda conn: links.bind(conn, ACME, account("ann", TEAMS), subject("ann"), How.TEAMS_SSO, utc_now())
    )
    assert len(linked) == 1
    assert await known(floor, "ann") == (False, True)


async def test_an_account_that_teams_says_is_gone_is_nobody_s_until_it_is_linked(floor: Floor) -> None:
    view = await floor.ask("dana", SLACK)
    await floor.both_show("Waiting")
    await floor.service.turn.on_account_changed(account("dana", TEAMS), Standing.DEACTIVATED)
    assert await known(floor, "dana") == (True, False)
    await floor.both_show("Cancelled", REACH_S)
    assert (await floor.view(view.held_id)).status is ApprovalStatus.VOIDED
    rows = await floor.audit("identity.unlinked")
    assert [(kind, actor) for kind, _, actor in rows] == [("identity.unlinked", "countersign")]


async def test_unlinking_ends_an_account_that_needs_no_link(floor: Floor) -> None:
    """By its holder and by an admin; `whoami` and `link` say how it is."""
    turn = floor.command
    assert "needs no link" in await turn("ann", TEAMS, "link")
    whoami = await turn("ann", SLACK, "whoami")
    assert f"Microsoft Teams, team aaaaaaaa-0000-4000-8000-000000000000, user {oid('ann')} (your company" in whoami
    assert "Slack, team T0ACME, user U-ann\n" in whoami
    assert "linked to nobody any more" in await turn("ann", TEAMS, "unlink")
    assert await known(floor, "ann") == (True, False)
    assert "I do not know who you are" in await turn("ann", TEAMS, "whoami")
    assert "linked to nobody" in await turn("ann", TEAMS, "unlink")
    assert "/link/" in await turn("ann", TEAMS, "link")
    # An admin ends all of somebody's accounts at once, whatever they rest on, and each of them hears of it.
    said = await turn("ada", SLACK, f"unlink {oid('bob')}")
    assert "Microsoft Teams" in said
    assert "Slack" in said
    assert await known(floor, "bob") == (False, False)
    assert any(one.only_for == oid("bob") for one in floor.teams.said)
    causes = [(status, actor) for _, status, actor in await floor.audit("identity.unlinked")]
    assert causes == [("by_holder", oid("ann")), ("by_admin", oid("ada")), ("by_admin", oid("ada"))]


async def test_a_further_account_is_told_to_those_that_need_no_link_too(floor: Floor) -> None:
    """Somebody links an account of their own to Ann: her Teams hears of it, though no link of hers is there."""
    await floor.command("ann", SLACK, "unlink")
    further = ChatUser(SLACK, "T0ACME", "U-further")
    bound = await floor.core.writer.run(
        lambda conn: floor.pages.linking.bind(conn, ACME, further, subject("ann"), utc_now())
    )
    assert bound.others == (account("ann", TEAMS),)
    await floor.pages.linking.told(bound)
    assert any("A further account was linked to you" in one.text for one in floor.teams.said)


@pytest.mark.parametrize("tightened", ["linking", "subject_claim"])
async def test_where_it_is_tightened_an_account_needs_its_link(sqlite_url: str, tmp_path: Path, tightened: str) -> None:
    """Also where the subject is another claim than the object id: then ids that look alike say nothing."""
    text = tenants_text(linking="required") if tightened == "linking" else tenants_text(subject_claim="sub")
    async with two_chats(tmp_path / "floor", sqlite_url, tenants=text) as floor:
        assert await known(floor, "ann") == (True, False)
        await floor.service.turn.on_message(_hello(floor))
        assert "I do not know who you are" in floor.teams.heard_by(floor.dm("ann", TEAMS))
        await floor.core.writer.run(
            lambda conn: links.bind(conn, ACME, account("ann", TEAMS), subject("ann"), How.PROVED, utc_now())
        )
        assert await known(floor, "ann") == (True, True)


def _hello(floor: Floor) -> Incoming:
    return Incoming(account("ann", TEAMS), floor.dm("ann", TEAMS), "m-hello", "e-hello", "hello")


async def test_what_was_unlinked_does_not_come_back_when_links_are_no_longer_asked_for(
    engine_url: str, tmp_path: Path
) -> None:
    """`linking: required` is taken out of tenants.yaml after an account was taken away from somebody."""
    tenants = tenants_text(linking="required")
    async with two_chats(tmp_path / "floor", engine_url, tenants=tenants, people=linked_staff) as floor:
        await floor.command("ada", TEAMS, f"unlink {oid('bob')}")
        assert await floor.person(account("bob", TEAMS)) is None
        relaxed = tmp_path / "relaxed.yaml"
        relaxed.write_text(tenants_text(), "utf-8")
        later = ScimDirectory(read_tenants(relaxed, {}))
        ann, bob = account("ann", TEAMS), account("bob", TEAMS)
        found = await floor.core.writer.read(lambda conn: [later.by_account(conn, one) for one in (ann, bob)])
        assert [one is None for one in found] == [False, True]
        rows = await floor.audit("identity.unlinked")
        assert len(rows) == 2, "one for each of Bob's accounts"
