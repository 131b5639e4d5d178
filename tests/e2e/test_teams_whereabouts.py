"""Where ``#name`` and ``dm:`` lead in Teams, who somebody is there now, and who reads along."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from audit.faults import StoreUnavailable
from bot.messages import ChatUser, Room, SurfaceName, Thread
from bot.ports import Home, HomeLine, Standing, SurfaceError
from bot.teams.deliveries import TEAMS
from bot.teams.met import meeting
from bot.teams.tables import Kind
from policy.model import Json
from tests.kit.teams_out import (
    ACCOUNTS,
    ANN,
    DANA,
    FINANCE,
    GROUP,
    TEAM,
    Out,
    channel,
    dm,
    member,
    own,
    person,
    teams_out,
)
from tests.rigs.slack_house import ISSUER, a_card
from tests.rigs.teams_connector import APP_ID, DROPS, OTHER_TENANT, TENANT, Fault, limited, refusal

SECOND = "19:second@thread.tacv2"
NOBODY = "bbbbbbbb-0000-4000-8000-000000000009"


@pytest.fixture
async def out(tmp_path: Path) -> AsyncIterator[Out]:
    async with teams_out(tmp_path) as running:
        await running.settle(DANA, ANN)
        yield running


async def channel_of(out: Out, destination: str) -> str:
    return (await out.surface.post(TENANT, destination, a_card())).channel


# --- names ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("destination", "conversation"),
    [
        ("#finance-approvals", FINANCE),
        ("#Finance-Approvals", FINANCE),
        ("#General", TEAM),
        ("#Acme/general", TEAM),
        ("#acme/finance-approvals", FINANCE),
        (GROUP, GROUP),
        (FINANCE, FINANCE),
        (f"dm:{DANA}", own(DANA)),
        (f"dm:{DANA.upper()}", own(DANA)),
    ],
)
async def test_a_destination(out: Out, destination: str, conversation: str) -> None:
    assert await channel_of(out, destination) == conversation


@pytest.mark.parametrize("destination", ["#no-such", "#Other/General", "19:strange@thread.tacv2", "somewhere", "#", ""])
async def test_no_destination(out: Out, destination: str) -> None:
    with pytest.raises(SurfaceError):
        await channel_of(out, destination)
    assert out.rig.called("post") == []


async def test_a_channel_nobody_wrote_in_yet_is_found_in_its_teams_list(out: Out) -> None:
    new = "19:new@thread.tacv2"
    out.rig.channels[TEAM].append({"id": new, "name": "refunds"})
    assert await channel_of(out, "#refunds") == new


async def test_a_renamed_channel_is_found_by_its_new_name_alone(out: Out) -> None:
    out.rig.channels[TEAM][1]["name"] = "approvals"
    assert await channel_of(out, "#approvals") == FINANCE
    with pytest.raises(SurfaceError, match="finance-approvals"):
        await channel_of(out, "#finance-approvals")


async def test_two_channels_of_one_name_are_told_apart_by_their_team(out: Out) -> None:
    """A card in the wrong channel is read by the wrong people: it is never guessed."""
    other = "19:finance2@thread.tacv2"
    await out.meet(SECOND, Kind.CHANNEL, name="General", teams_team=SECOND)
    out.rig.channels[SECOND] = [{"id": SECOND}, {"id": other, "name": "finance-approvals"}]
    out.rig.team_names[SECOND] = "Retail"
    await out.meet(other, Kind.CHANNEL, name="finance-approvals", teams_team=SECOND)
    with pytest.raises(SurfaceError, match="Acme/finance-approvals, #Retail/finance-approvals"):
        await channel_of(out, "#finance-approvals")
    assert out.rig.called("post") == []
    assert await channel_of(out, "#Retail/finance-approvals") == other
    assert await channel_of(out, "#Acme/finance-approvals") == FINANCE


async def test_a_group_chat_cannot_pose_as_the_approvers_channel(out: Out) -> None:
    """Whoever is in one may rename it."""
    await out.meet(GROUP, Kind.GROUP, name="finance-approvals")
    assert await channel_of(out, "#finance-approvals") == FINANCE
    with pytest.raises(SurfaceError, match="no channel #Office"):
        await channel_of(out, "#Office")


async def test_lists_are_not_read_for_every_card(out: Out) -> None:
    for _ in range(5):
        await channel_of(out, "#finance-approvals")
    assert len(out.rig.called("channels")) == 1


async def test_a_database_that_is_down_is_a_fault_of_the_chat(out: Out, monkeypatch: pytest.MonkeyPatch) -> None:
    """`bot.ports`: a chat raises `SurfaceError` and nothing else."""

    async def down(unit: object) -> object:
        raise StoreUnavailable("The database cannot be reached.")

    monkeypatch.setattr(out.writer, "read", down)
    with pytest.raises(SurfaceError):
        await channel_of(out, "#finance-approvals")
    with pytest.raises(SurfaceError):
        await out.surface.say(dm(), "hello")
    assert await out.surface.standing(person(DANA)) is Standing.UNKNOWN
    assert await out.surface.room(channel()) is Room.SHARED


async def test_a_list_that_cannot_be_read_does_not_hide_what_is_known(out: Out) -> None:
    out.rig.always["channels"] = DROPS
    for _ in range(3):
        assert await channel_of(out, "#finance-approvals") == FINANCE
    assert len(out.rig.called("channels")) == 1


# --- one person -------------------------------------------------------------------------------------


async def test_only_lists_that_were_read_say_that_there_is_no_such_place(out: Out) -> None:
    """`gone`: the card may stand in another chat instead. A list that could not be read proves nothing."""
    for fault in ("channels", "team"):
        out.rig.always[fault] = DROPS
        with pytest.raises(SurfaceError) as caught:
            await channel_of(out, "#refunds" if fault == "channels" else "#Acme/general")
        assert not caught.value.gone
        with pytest.raises(SurfaceError) as caught:
            await channel_of(out, "#refunds" if fault == "channels" else "#Acme/general")
        assert not caught.value.gone
        del out.rig.always[fault]
    with pytest.raises(SurfaceError) as caught:
        await channel_of(out, "#refunds")
    assert caught.value.gone


async def test_somebody_who_never_wrote_is_written_to(out: Out) -> None:
    posted = await out.surface.direct(person(NOBODY), "Good day.")
    assert posted.channel == f"a:with-{NOBODY}"
    created = out.rig.called("create")[0].body
    assert created["members"] == [{"id": NOBODY}]
    assert created["tenantId"] == TENANT
    await out.surface.direct(person(NOBODY), "Good day again.")
    assert len(out.rig.called("create")) == 1


async def test_nobody_was_met_yet(tmp_path: Path) -> None:
    async with teams_out(tmp_path) as fresh:
        with pytest.raises(SurfaceError, match="Install the app") as caught:
            await fresh.surface.direct(person(DANA), "Good day.")
        assert caught.value.gone
        assert fresh.rig.calls == []
        await fresh.surface.health()


@pytest.mark.parametrize(
    ("fault", "gone"),
    [
        (refusal(403, "ForbiddenOperationException"), True),
        (refusal(404, "ConversationNotFound"), True),
        (refusal(400, "BadSyntax"), False),
        (Fault(500, {}), False),
        (DROPS, False),
    ],
)
async def test_somebody_without_the_app_can_be_asked_in_another_chat(out: Out, fault: Fault, gone: bool) -> None:
    """`gone`: certainly nothing was posted, and it will not be."""
    out.rig.fault("create", fault)
    with pytest.raises(SurfaceError) as caught:
        await out.surface.post(TENANT, f"dm:{NOBODY}", a_card())
    assert caught.value.gone is gone
    assert out.rig.called("post") == []


async def test_a_whisper_reaches_its_reader_where_they_are_alone(out: Out) -> None:
    await out.surface.whisper(channel(), person(ANN), "Your balance is 12.")
    await out.surface.whisper(dm(DANA), person(DANA), "Yours is 13.")
    assert out.rig.texts(own(ANN)) == ["Your balance is 12."]
    assert out.rig.texts(own(DANA)) == ["Yours is 13."]
    with pytest.raises(SurfaceError):
        await out.surface.whisper(channel(), person(ANN, OTHER_TENANT), "Not you.")


async def test_home_is_a_message(out: Out) -> None:
    line = HomeLine("Refund 42.00 USD", "Waiting for Finance", None)
    await out.surface.show_home(person(DANA), Home("Good day", None, (line,), ()))
    assert "Refund 42.00 USD" in str(out.rig.shown[own(DANA)])


async def test_the_address_of_last_time_is_used(out: Out) -> None:
    """Teams moves organisations between addresses; one that was made up gets no token (`bot.teams.service_urls`)."""
    await out.meet(own(DANA), Kind.PERSONAL, user=DANA, service_url="https://evil.test/emea/")
    with pytest.raises(SurfaceError, match="TEAMS_SERVICE_URLS"):
        await out.surface.say(dm(), "hello")
    assert out.rig.calls == []
    await out.meet(own(DANA), Kind.PERSONAL, user=DANA)
    await out.surface.say(dm(), "hello")
    assert out.rig.texts(own(DANA)) == ["hello"]


# --- who somebody is --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "standing"),
    [
        ({}, Standing.MEMBER),
        ({"userRole": "guest"}, Standing.GUEST),
        ({"userRole": "Guest"}, Standing.GUEST),
        ({"userPrincipalName": "gus_partner.test#EXT#@acme.test"}, Standing.GUEST),
        ({"tenantId": OTHER_TENANT}, Standing.STRANGER),
        ({"tenantId": ""}, Standing.UNKNOWN),
        ({"userRole": "anonymous"}, Standing.STRANGER),
        ({"userRole": "something new"}, Standing.UNKNOWN),
        ({"aadObjectId": ANN}, Standing.UNKNOWN),
        ({"aadObjectId": ""}, Standing.UNKNOWN),
        ({"aadObjectId": "", "objectId": DANA.upper()}, Standing.MEMBER),
        ({"id": f"28:{APP_ID}"}, Standing.BOT),
        ({"role": "bot"}, Standing.BOT),
    ],
)
async def test_standing_is_read_anew(out: Out, change: dict[str, Any], standing: Standing) -> None:
    assert await out.surface.standing(person(DANA)) is Standing.MEMBER
    out.rig.members[ACCOUNTS[DANA]] = member(DANA) | change
    assert await out.surface.standing(person(DANA)) is standing


@pytest.mark.parametrize(
    "fault", [DROPS, Fault(500, {}), Fault(200, ["strange"]), refusal(403, "BotDisabledByAdmin"), limited("600")]
)
async def test_nobody_is_a_member_while_teams_does_not_say_so(out: Out, fault: Fault) -> None:
    out.rig.always["member"] = fault
    assert await out.surface.standing(person(DANA)) is Standing.UNKNOWN


async def test_somebody_who_left_is_a_stranger(out: Out) -> None:
    del out.rig.members[ACCOUNTS[DANA]]
    assert await out.surface.standing(person(DANA)) is Standing.STRANGER


async def test_somebody_who_was_never_met_is_asked_about_anywhere(out: Out) -> None:
    out.rig.members[NOBODY] = member(DANA) | {"aadObjectId": NOBODY}
    assert await out.surface.standing(person(NOBODY)) is Standing.MEMBER
    del out.rig.members[NOBODY]
    assert await out.surface.standing(person(NOBODY)) is Standing.UNKNOWN


@pytest.mark.parametrize(
    "who",
    [
        ChatUser(TEAMS, "33333333-3333-4333-8333-333333333333", DANA),
        ChatUser(SurfaceName("slack"), TENANT, DANA),
        ChatUser(TEAMS, TENANT, ""),
    ],
)
async def test_somebody_from_elsewhere_is_not_even_looked_up(out: Out, who: ChatUser) -> None:
    assert await out.surface.standing(who) is Standing.STRANGER
    assert out.rig.calls == []


async def test_a_person_of_two_organisations_is_asked_of_the_right_one(out: Out) -> None:
    assert await out.surface.standing(person(DANA, OTHER_TENANT)) is Standing.UNKNOWN
    assert out.rig.calls == []


async def test_who_blocked_the_bot_is_asked_about_where_they_were_met(out: Out) -> None:
    await out.meet(FINANCE, Kind.CHANNEL, user=DANA, name="finance-approvals", teams_team=TEAM)
    out.rig.fault("member", refusal(403, "ConversationBlockedByUser"))
    assert await out.surface.standing(person(DANA)) is Standing.MEMBER


async def test_a_delivery_is_asked_about_once(out: Out) -> None:
    with meeting(person(DANA), Standing.GUEST):
        assert await out.surface.standing(person(DANA)) is Standing.GUEST
        assert await out.surface.standing(person(ANN)) is Standing.MEMBER
    assert [call.conversation for call in out.rig.called("member")] == [own(ANN)]


async def test_the_sender_of_a_delivery_is_asked_of_where_it_came_from(out: Out) -> None:
    body: dict[str, Json] = {
        "serviceUrl": out.rig.service_url,
        "from": {"id": ACCOUNTS[DANA]},
        "conversation": {"id": f"{FINANCE};messageid=17"},
    }
    assert await out.surface.standing_at(person(DANA), body) is Standing.MEMBER
    assert out.rig.called("member")[0].conversation == FINANCE
    out.rig.members[ACCOUNTS[DANA]] = member(ANN)
    assert await out.surface.standing_at(person(DANA), body) is Standing.UNKNOWN
    evil = body | {"serviceUrl": "https://evil.test/"}
    assert await out.surface.standing_at(person(DANA), evil) is Standing.UNKNOWN


# --- who reads along --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [{"userRole": "guest"}, {"tenantId": OTHER_TENANT}, {"userRole": "anonymous"}, {"tenantId": ""}],
)
async def test_outsiders_in_a_channel_are_seen(out: Out, change: dict[str, str]) -> None:
    assert await out.surface.room(channel()) is Room.CHANNEL
    group = Thread(TEAMS, TENANT, GROUP, GROUP, Room.CHANNEL)
    out.rig.members["29:x"] = member(ANN) | {"id": "29:x"} | change
    assert await out.surface.room(group) is Room.SHARED
    assert await out.surface.room(dm()) is Room.DM
    facts = await out.surface.channel_facts("#finance-approvals", TENANT)
    assert facts.is_shared


@pytest.mark.parametrize("fault", [DROPS, Fault(200, {"members": []}), refusal(403, "BotNotInConversationRoster")])
async def test_in_doubt_outsiders_are_there(out: Out, fault: Fault) -> None:
    out.rig.always["members"] = fault
    assert await out.surface.room(channel()) is Room.SHARED
    unknown = dataclasses.replace(channel(), channel="19:strange@thread.tacv2")
    assert await out.surface.room(unknown) is Room.SHARED


async def test_facts_for_check(out: Out) -> None:
    facts = await out.surface.channel_facts("#finance-approvals", TENANT)
    assert (facts.channel, facts.is_private, facts.is_shared) == (FINANCE, None, False)
    assert set(facts.members) == {DANA, ANN}
    assert (await out.surface.channel_facts(GROUP, TENANT)).is_private
    with pytest.raises(SurfaceError):
        await out.surface.channel_facts("#no-such", TENANT)


async def test_links(out: Out) -> None:
    link = await out.surface.link(channel("1700000000001"))
    assert link is not None
    assert link.startswith("https://teams.microsoft.com/l/message/19%3Afinance%40thread.tacv2/1700000000001?")
    assert f"tenantId={TENANT}" in link
    assert await out.surface.link(dm()) is None


async def test_approvers_and_whoever_asked_are_given_their_own_view_and_approvers_alone_are_notified(out: Out) -> None:
    """On the shared card are the approvers' buttons: in the approvers' channel, who asked has others."""
    card = dataclasses.replace(a_card(), mention=(f"{ISSUER}|{ANN}",), asker=f"{ISSUER}|{DANA}")
    posted = await out.surface.post(TENANT, "#finance-approvals", card)
    await out.surface.update(posted, card)
    for call in (*out.rig.called("post"), *out.rig.called("put")):
        content = call.body["attachments"][0]["content"]
        assert content["refresh"]["userIds"] == [ACCOUNTS[DANA], ACCOUNTS[ANN]]
        assert [one["mentioned"]["id"] for one in content["msteams"]["entities"]] == [ACCOUNTS[ANN]]
