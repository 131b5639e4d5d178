"""Teams that refuses, limits, hangs, drops or forgets: said plainly, nothing half done, nothing told to others."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bot.cards import Tone
from bot.messages import Room
from bot.ports import Posted, SurfaceError
from bot.teams.deliveries import TEAMS
from bot.teams.refusals import Refused
from bot.teams.tables import Kind
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
    own,
    person,
    teams_out,
)
from tests.rigs.slack_house import ISSUER, a_card
from tests.rigs.teams_connector import (
    BLOCKED,
    DROPS,
    HANGS,
    NO_ACTIVITY,
    NO_CONVERSATION,
    NO_ID,
    NOT_THERE,
    OTHER_TENANT,
    TENANT,
    Fault,
    limited,
    refusal,
)
from tests.unit_slack.test_card_blocks import LONG

PLACE = "#finance-approvals"
BROKEN = Fault(500, {"nothing": "useful"})


@pytest.fixture
async def out(tmp_path: Path) -> AsyncIterator[Out]:
    async with teams_out(tmp_path, timeout_s=1.0) as running:
        await running.settle(DANA, ANN)
        yield running


# --- it does not take a message ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (HANGS, "not known whether"),
        (DROPS, "not known whether"),
        (NO_ID, "no id"),
        (BROKEN, "HTTP 500"),
        (refusal(403, "BotDisabledByAdmin"), "administrator"),
        (refusal(413, "MessageSizeTooBig"), "larger than Teams takes"),
        (Fault(503, None), "HTTP 503"),
        (Fault(302, None, {"Location": "https://evil.test/"}), "HTTP 302"),
    ],
)
async def test_a_card_that_teams_does_not_take_is_a_sentence(out: Out, fault: Fault, words: str) -> None:
    out.rig.fault("post", fault)
    with pytest.raises(SurfaceError, match=words) as caught:
        await out.surface.post(TENANT, PLACE, a_card())
    assert not caught.value.gone
    assert len(out.rig.called("post")) == 1
    posted = await out.surface.post(TENANT, PLACE, a_card())
    assert posted.message_id


async def test_without_a_token_nothing_is_sent(out: Out) -> None:
    told = {"error": "invalid_client", "error_description": "AADSTS7000215: the-secret"}
    out.rig.always["token"] = Fault(401, told)
    with pytest.raises(SurfaceError, match="TEAMS_APP_PASSWORD") as caught:
        await out.surface.post(TENANT, PLACE, a_card())
    assert "the-secret" not in str(caught.value)
    assert {call.what for call in out.rig.calls} == {"token"}
    with pytest.raises(SurfaceError):
        await out.surface.health()
    del out.rig.always["token"]
    await out.surface.health()


@pytest.mark.parametrize("fault", [limited("3"), limited(), *(Fault(code, {}) for code in (412, 502, 504))])
async def test_what_teams_asks_to_try_again_is_tried_again(out: Out, fault: Fault) -> None:
    out.rig.fault("post", fault, fault)
    posted = await out.surface.post(TENANT, PLACE, a_card())
    assert posted.message_id
    assert len(out.rig.called("post")) == 3
    assert len(out.time.waits) == 2
    assert out.time.waits[0] < out.time.waits[1]
    assert min(out.time.waits) >= (3 if fault.headers else 0)


async def test_a_limit_longer_than_patience_says_when_to_come_back(out: Out) -> None:
    out.rig.fault("post", limited("600"))
    with pytest.raises(SurfaceError) as caught:
        await out.surface.post(TENANT, PLACE, a_card())
    assert caught.value.retry_after_s == 600
    assert out.rig.texts(FINANCE) == []


async def test_a_limit_that_does_not_end_is_given_up(out: Out) -> None:
    out.rig.always["post"] = limited()
    with pytest.raises(SurfaceError, match="less often"):
        await out.surface.say(dm(), "hello")
    assert sum(out.time.waits) < 10


async def test_the_bot_keeps_to_teams_limits_by_itself(out: Out) -> None:
    """Seven messages a second in one conversation, eight in two; another conversation does not wait for it."""
    for number in range(7):
        await out.surface.say(dm(), f"line {number}")
    assert out.time.waits == []
    await out.surface.say(dm(ANN), "another conversation")
    assert out.time.waits == []
    await out.surface.say(dm(), "line 8")
    assert out.time.waits
    assert len(out.rig.called("post")) == 9


async def test_a_token_that_is_not_taken_is_asked_for_anew_once(out: Out) -> None:
    await out.surface.say(dm(), "first")
    out.rig.tokens[:] = [*["gone"] * len(out.rig.tokens)]
    await out.surface.say(dm(), "second")
    assert out.rig.texts(own(DANA)) == ["first", "second"]
    out.rig.always["post"] = Fault(401, {})
    before = len(out.rig.called("post"))
    with pytest.raises(SurfaceError, match="token"):
        await out.surface.say(dm(), "third")
    assert len(out.rig.called("post")) == before + 2


# --- it is gone -------------------------------------------------------------------------------------


async def test_a_message_that_is_gone_is_posted_anew_by_whoever_asks(out: Out) -> None:
    posted = await out.surface.post(TENANT, PLACE, a_card())
    out.rig.fault("put", NO_ACTIVITY)
    with pytest.raises(SurfaceError) as caught:
        await out.surface.update(posted, a_card(tone=Tone.DONE))
    assert caught.value.gone
    assert await out.rows("SELECT 1 FROM teams_conversation WHERE removed_at IS NOT NULL") == []


@pytest.mark.parametrize("fault", [NOT_THERE, NO_CONVERSATION, BLOCKED])
async def test_a_place_the_bot_was_put_out_of_is_left_alone_until_it_comes_back(out: Out, fault: Fault) -> None:
    out.rig.fault("post", fault)
    with pytest.raises(SurfaceError) as caught:
        await out.surface.post(TENANT, PLACE, a_card())
    assert caught.value.gone
    before = len(out.rig.called("post"))
    with pytest.raises(SurfaceError, match="finance-approvals"):
        await out.surface.post(TENANT, PLACE, a_card())
    with pytest.raises(SurfaceError) as caught:
        await out.surface.say(channel(), "hello?")
    assert caught.value.gone
    assert len(out.rig.called("post")) == before
    noted = await out.rows("SELECT status, detail FROM agent_audit_log WHERE kind = 'chat.removed'")
    assert [row["status"] for row in noted] == ["refused"]
    assert str(fault.body["error"]["code"]) in str(noted[0]["detail"])
    await out.meet(FINANCE, Kind.CHANNEL, name="finance-approvals", teams_team=TEAM)
    assert (await out.surface.post(TENANT, PLACE, a_card())).message_id


async def test_a_reply_chain_that_is_gone_is_not_its_channel(out: Out) -> None:
    out.rig.fault("post", NO_CONVERSATION)
    with pytest.raises(SurfaceError):
        await out.surface.say(channel(), "hello?")
    assert (await out.surface.post(TENANT, PLACE, a_card())).message_id


async def test_an_approver_who_blocked_the_bot_hears_nothing_more(out: Out) -> None:
    """No second try: Teams asks bots to be silent until the person writes again."""
    out.rig.fault("post", BLOCKED)
    for _ in range(2):
        with pytest.raises(SurfaceError) as caught:
            await out.surface.post(TENANT, f"dm:{ANN}", a_card())
        assert caught.value.gone
    assert len(out.rig.called("post")) == 1
    assert out.rig.called("create") == []
    await out.meet(own(ANN), Kind.PERSONAL, user=ANN)
    assert (await out.surface.post(TENANT, f"dm:{ANN}", a_card())).channel == own(ANN)


@pytest.mark.parametrize("fault", [NO_CONVERSATION, NOT_THERE])
async def test_a_stale_conversation_with_a_person_is_begun_anew(out: Out, fault: Fault) -> None:
    out.rig.fault("post", fault)
    posted = await out.surface.post(TENANT, f"dm:{ANN}", a_card())
    assert posted.channel == f"a:with-{ACCOUNTS[ANN]}"
    assert len(out.rig.called("create")) == 1
    again = await out.surface.direct(person(ANN), "There you are.")
    assert again.channel == posted.channel
    assert len(out.rig.called("create")) == 1


async def test_a_whisper_is_never_said_in_the_open(out: Out) -> None:
    for what, fault in (("post", BLOCKED), ("create", refusal(403, "ForbiddenOperationException"))):
        out.rig.fault(what, fault)
        with pytest.raises(SurfaceError):
            await out.surface.whisper(channel(), person(ANN if what == "post" else "nobody"), "Your balance is 12.")
    assert out.rig.texts(FINANCE) == []


async def test_a_whisper_in_somebody_elses_chat_goes_to_its_reader(out: Out) -> None:
    """A thread that is called private is believed only where it is that person's."""
    await out.surface.whisper(dm(DANA), person(ANN), "For Ann alone.")
    assert out.rig.texts(own(DANA)) == []
    assert out.rig.texts(own(ANN)) == ["For Ann alone."]
    group = dataclasses.replace(dm(DANA), channel=GROUP, root=GROUP, room=Room.DM)
    await out.surface.whisper(group, person(ANN), "For Ann again.")
    assert out.rig.texts(GROUP) == []


async def test_a_conversation_that_teams_does_not_name_is_none(out: Out) -> None:
    out.rig.fault("create", Fault(200, {}))
    with pytest.raises(SurfaceError, match="named no conversation"):
        await out.surface.direct(person("bbbbbbbb-0000-4000-8000-000000000009"), "hello")


# --- half a card ------------------------------------------------------------------------------------


async def test_half_a_card_is_taken_back(out: Out) -> None:
    """An approver signs what they see: without all of the draft there is nothing to press."""
    out.rig.fault("post", Fault(), BROKEN)
    with pytest.raises(SurfaceError):
        await out.surface.post(TENANT, PLACE, a_card(body=LONG * 4))
    assert len(out.rig.called("post")) == 2
    assert out.rig.shown[FINANCE] == {}


async def test_the_buttons_come_last(out: Out) -> None:
    posted = await out.surface.post(TENANT, PLACE, a_card(body=LONG * 4))
    calls = [call for call in out.rig.calls if call.what in ("post", "put")]
    assert [call.what for call in calls[:-1]] == ["post"] * (len(calls) - 1)
    assert len(calls) > 2
    assert all('"Action.Execute"' not in str(call.body).replace("'", '"') for call in calls[:-1])
    assert calls[-1].what == "put"
    assert calls[-1].message_id == posted.message_id
    assert '"Action.Execute"' in str(calls[-1].body).replace("'", '"')
    chains = {call.conversation for call in calls[1:]}
    assert chains == {f"{FINANCE};messageid={posted.message_id}"}


async def test_a_card_of_several_sheets_is_redrawn_whole(out: Out) -> None:
    posted = await out.surface.post(TENANT, PLACE, a_card(items=9))
    ids = posted.message_id.split("+")
    assert len(ids) == 3
    await out.surface.update(posted, a_card(items=9, tone=Tone.DONE))
    assert [call.message_id for call in out.rig.called("put")][-3:] == ids


async def test_a_mention_that_teams_does_not_take_does_not_hold_up_the_card(out: Out) -> None:
    card = dataclasses.replace(a_card(), mention=(f"{ISSUER}|{ANN}",))
    out.rig.fault("post", refusal(400, "BadSyntax"))
    assert (await out.surface.post(TENANT, PLACE, card)).message_id
    first, second = out.rig.called("post")
    assert ACCOUNTS[ANN] in str(first.body["attachments"][0]["content"]["msteams"])
    assert "entities" not in second.body["attachments"][0]["content"]["msteams"]
    await out.surface.post(TENANT, f"dm:{ANN}", card)
    assert "entities" not in out.rig.called("post")[-1].body["attachments"][0]["content"]["msteams"]


# --- two organisations ------------------------------------------------------------------------------


async def test_two_organisations_with_one_conversation_id(out: Out) -> None:
    """Rows, addresses and limits of the one are never the other's (invariant 14)."""
    await out.meet(FINANCE, Kind.CHANNEL, name="finance-approvals", team=OTHER_TENANT, service_url="https://evil.test/")
    posted = await out.surface.post(TENANT, PLACE, a_card())
    assert posted.team == TENANT
    with pytest.raises(SurfaceError, match="TEAMS_SERVICE_URLS"):
        await out.surface.update(Posted(TEAMS, OTHER_TENANT, FINANCE, posted.message_id), a_card(tone=Tone.DONE))
    assert out.rig.called("put") == []
    out.rig.fault("post", NOT_THERE)
    with pytest.raises(Refused):
        await out.surface.post(TENANT, PLACE, a_card())
    left = await out.rows("SELECT team FROM teams_conversation WHERE removed_at IS NOT NULL")
    assert [row["team"] for row in left] == [TENANT]


async def test_a_team_that_nobody_serves(out: Out) -> None:
    stranger = "33333333-3333-4333-8333-333333333333"
    for work in (
        out.surface.post(stranger, PLACE, a_card()),
        out.surface.say(dm(team=stranger), "hello"),
        out.surface.direct(person(DANA, stranger), "hello"),
        out.surface.whisper(dm(team=stranger), person(DANA), "hello"),
        out.surface.link(channel(team=stranger)),
    ):
        with pytest.raises(SurfaceError):
            await work
    assert out.rig.calls == []
