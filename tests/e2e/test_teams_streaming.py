"""Answers that grow in a chat of two: Teams' own protocol, and what is left standing when it goes wrong."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from bot.messages import Room, Thread
from bot.ports import Answer, Source, SurfaceError
from bot.teams import stream as streaming
from bot.teams.deliveries import TEAMS
from bot.teams.places import Place
from bot.teams.saying import Sayer
from bot.teams.tables import Kind
from tests.kit.teams_out import DANA, FINANCE, GROUP, Out, channel, dm, own, person, teams_out
from tests.rigs.teams_connector import BOT, DROPS, TENANT, Called, Fault, refusal

PARAGRAPHS = ("Order 1042 is *shipped*.\n\n", "- one\n- two\n\n", "It arrives on Monday.")
WHOLE = "".join(PARAGRAPHS)
CANCELLED = refusal(403, "ContentStreamNotAllowed", "Content stream was canceled by user.")
TOO_LONG = refusal(403, "ContentStreamNotAllowed", "Content stream finished due to exceeded streaming time.")


@pytest.fixture
async def out(tmp_path: Path) -> AsyncIterator[Out]:
    async with teams_out(tmp_path) as running:
        await running.settle(DANA)
        yield running


def info(call: Called) -> dict[str, Any]:
    found = [one for one in call.body.get("entities", ()) if one["type"] == "streaminfo"]
    assert len(found) == 1
    return dict(found[0])


async def grow(out: Out, *parts: str) -> streaming.TeamsStream:
    stream = await out.surface.begin(dm(), person(DANA))
    for part in parts:
        await stream.add(part)
    return stream


async def test_the_protocol_as_documented(out: Out) -> None:
    stream = await grow(out, *PARAGRAPHS)
    await stream.done(WHOLE, Answer((Source("Order 1042", "crm.read"),)))
    calls = out.rig.called("post")
    stream_id = next(iter(out.rig.shown[own(DANA)]))
    assert [call.body["type"] for call in calls] == ["typing", "typing", "typing", "message"]
    told = [info(call) for call in calls]
    assert told[0] == {"type": "streaminfo", "streamType": "informative", "streamSequence": 1}
    assert [one.get("streamSequence") for one in told] == [1, 2, 3, None]
    assert [one["streamType"] for one in told] == ["informative", "streaming", "streaming", "final"]
    assert {one["streamId"] for one in told[1:]} == {stream_id}
    texts = [call.body["text"] for call in calls[1:]]
    assert all(later.startswith(earlier) for earlier, later in itertools.pairwise(texts))
    for call in calls:
        assert call.body["conversation"]["conversationType"] == "personal"
        assert call.body["channelId"] == "msteams"
    labels = [one for one in calls[-1].body["entities"] if one["type"] == "https://schema.org/Message"]
    assert labels[0]["additionalType"] == ["AIGeneratedContent"]
    assert calls[-1].body["channelData"] == {"feedbackLoop": {"type": "default"}}
    assert len(out.rig.shown[own(DANA)]) == 1


async def test_not_more_than_one_part_a_second(out: Out) -> None:
    place = Place(TENANT, own(DANA), Kind.PERSONAL, out.rig.service_url, BOT, None, None, DANA, removed=False)
    sayer: Sayer = out.surface._sayer
    stream = streaming.TeamsStream(sayer, place, "", clock=out.time)
    await stream.begin()
    for number in range(20):
        out.time.now += 0.1
        await stream.add(f"Paragraph {number}.\n\n")
    assert len(out.rig.called("post")) == 2
    out.time.now += streaming.EVERY_S
    await stream.add("More.\n\n")
    assert len(out.rig.called("post")) == 3


async def test_what_a_guardrail_changed_replaces_what_was_shown(out: Out) -> None:
    """Teams takes no end that does not begin with what was streamed."""
    stream = await grow(out, "The card number is 4111 1111 1111 1111.\n\n", "It is")
    assert "4111" in str(out.rig.texts(own(DANA)))
    await stream.done("The card number is gone.")
    assert out.rig.texts(own(DANA)) == ["The card number is gone."]
    assert not out.rig.streams


@pytest.mark.parametrize("broken", ["post", "put"])
async def test_what_a_guardrail_changed_is_not_left_standing_whatever_breaks(out: Out, broken: str) -> None:
    stream = await grow(out, "The card number is 4111 1111 1111 1111.\n\n", "It is")
    out.rig.fault(broken, refusal(403, "ContentStreamNotAllowed", "Content stream is not allowed"))
    await stream.done("The card number is gone.")
    texts = out.rig.texts(own(DANA))
    assert "4111" not in str(texts)
    assert texts == ["The card number is gone."]


async def test_what_cannot_be_changed_is_deleted_and_said_anew(out: Out) -> None:
    stream = await grow(out, "The card number is 4111 1111 1111 1111.\n\n", "It is")
    out.rig.always["put"] = refusal(403, "NotEnoughPermissions")
    await stream.done("The card number is gone.")
    assert out.rig.texts(own(DANA)) == ["The card number is gone."]
    assert len(out.rig.called("delete")) == 1


async def test_a_stream_that_took_too_long_becomes_a_message(out: Out) -> None:
    stream = await grow(out, PARAGRAPHS[0])
    out.rig.fault("post", TOO_LONG)
    await stream.done(WHOLE)
    assert len(out.rig.texts(own(DANA))) == 1
    assert "Monday" in out.rig.texts(own(DANA))[0]


async def test_a_long_stream_is_closed_before_teams_closes_it(out: Out) -> None:
    place = Place(TENANT, own(DANA), Kind.PERSONAL, out.rig.service_url, BOT, None, None, DANA, removed=False)
    stream = streaming.TeamsStream(out.surface._sayer, place, "", every_s=0, clock=out.time)
    await stream.begin()
    await stream.add(PARAGRAPHS[0])
    out.time.now += streaming.ENDS_S + 1
    await stream.add(PARAGRAPHS[1])
    assert not out.rig.streams
    await stream.done(WHOLE)
    assert len(out.rig.texts(own(DANA))) == 1
    assert "Monday" in out.rig.texts(own(DANA))[0]


async def test_a_reader_who_stops_it_gets_no_more_of_it(out: Out) -> None:
    stream = await grow(out, PARAGRAPHS[0])
    out.rig.fault("post", CANCELLED)
    await stream.add(PARAGRAPHS[1])
    before = len(out.rig.calls)
    await stream.add(PARAGRAPHS[2])
    await stream.done(WHOLE, Answer())
    assert len(out.rig.calls) == before


async def test_a_reader_who_stops_it_still_hears_what_the_service_says_itself(out: Out) -> None:
    stream = await grow(out, PARAGRAPHS[0])
    out.rig.fault("post", CANCELLED)
    await stream.add(PARAGRAPHS[1])
    await stream.done("Something went wrong. Nothing was done.")
    assert out.rig.texts(own(DANA)) == ["Something went wrong. Nothing was done."]


@pytest.mark.parametrize("fault", [refusal(403, "ContentStreamNotAllowed"), Fault(405, {"code": "BadArgument"}), DROPS])
async def test_where_there_is_no_streaming_the_answer_is_posted(out: Out, fault: Fault) -> None:
    out.rig.fault("post", fault)
    stream = await grow(out, *PARAGRAPHS)
    await stream.done(WHOLE)
    assert [call.body["type"] for call in out.rig.called("post")] == ["typing", "message"]
    assert len(out.rig.texts(own(DANA))) == 1


async def test_an_answer_taken_back_leaves_nothing(out: Out) -> None:
    stream = await grow(out, *PARAGRAPHS)
    await stream.done("")
    assert out.rig.texts(own(DANA)) == []


async def test_a_long_answer_goes_on_below(out: Out) -> None:
    text = "\n\n".join(f"Paragraph {number} " + "word " * 200 for number in range(60))
    stream = await grow(out, text[:3_000])
    await stream.done(text, Answer())
    texts = out.rig.texts(own(DANA))
    assert len(texts) > 1
    assert all(f"Paragraph {number} " in "".join(texts) for number in range(60))
    assert not out.rig.streams


async def test_an_end_that_does_not_arrive_is_an_error(out: Out) -> None:
    stream = await grow(out, *PARAGRAPHS)
    out.rig.always["post"] = DROPS
    with pytest.raises(SurfaceError, match="not known whether"):
        await stream.done(WHOLE)


async def test_elsewhere_it_is_posted_once(out: Out) -> None:
    for thread in (channel(), Thread(TEAMS, TENANT, GROUP, GROUP, Room.CHANNEL)):
        stream = await out.surface.begin(thread, person(DANA))
        for part in PARAGRAPHS:
            await stream.add(part)
        await stream.done(WHOLE, Answer())
    in_channel = [call for call in out.rig.called("post") if call.conversation.startswith(FINANCE)]
    assert [call.body["type"] for call in in_channel] == ["message"]
    assert in_channel[0].conversation == f"{FINANCE};messageid={channel().root}"
    in_group = [call for call in out.rig.called("post") if call.conversation == GROUP]
    assert [call.body["type"] for call in in_group] == ["typing", "message"]
    assert all("streaminfo" not in str(call.body) for call in out.rig.called("post"))
