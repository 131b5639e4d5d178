"""Cards that do not fit one message, on the playground: whole, in order, redrawn in place, in every kind of chat."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bot.cards import Tone
from bot.messages import Room, Thread
from bot.ports import Answer
from bot.teams.deliveries import TEAMS
from tests.kit.teams_desk import labels, read
from tests.rigs.slack_house import a_card
from tests.rigs.teams_house import House, account, teams_house
from tests.rigs.teams_playground import ANN, DANA, FINANCE, GROUP, Playground
from tests.rigs.teams_wire import TENANT
from tests.unit_slack.test_card_blocks import LONG


@pytest.fixture
async def house(teams_playground: Playground, tmp_path: Path) -> AsyncIterator[House]:
    async with teams_house(teams_playground, tmp_path, installed=(DANA, ANN)) as running:
        yield running


async def place_of(house: House, destination: str) -> str:
    if destination.startswith("dm:"):
        return await house.rig.personal(ANN)
    return {"#finance-approvals": FINANCE, GROUP: GROUP}[destination]


@pytest.mark.parametrize("destination", ["#finance-approvals", GROUP, f"dm:{ANN.oid}"])
async def test_a_long_draft_is_read_whole(house: House, destination: str) -> None:
    where = await place_of(house, destination)
    posted = await house.surface.post(TENANT, destination, a_card(body=LONG * 4))
    said = house.rig.bot_messages(where)
    new = said[[one.id for one in said].index(posted.message_id) :]
    assert len(new) > 1
    words = "".join("".join(read(one.activity) for one in new).split())
    for start in range(0, len(LONG) - 200, 5_000):
        assert "".join(LONG[start : start + 40].split())[:20] in words
    assert "Approve" in labels(new[0])
    assert not any(labels(one) for one in new[1:])
    if where == FINANCE:
        assert {one.root for one in new} == {posted.message_id}
    await house.surface.update(posted, a_card(body=LONG * 4, tone=Tone.DONE))
    now = {one.id: one for one in house.rig.bot_messages(where)}
    assert "Refunded, re_81" in read(now[posted.message_id].activity)
    assert labels(now[posted.message_id]) == []


async def test_several_sheets_are_redrawn_each_in_its_place(house: House) -> None:
    posted = await house.surface.post(TENANT, "#finance-approvals", a_card(items=9))
    ids = posted.message_id.split("+")
    assert len(ids) == 3
    await house.surface.update(posted, a_card(items=9, tone=Tone.DONE))
    now = {one.id: read(one.activity) for one in house.rig.bot_messages(FINANCE)}
    assert [now[one].count("Refunded, re_81") for one in ids] == [4, 4, 1]


async def test_an_answer_grows_in_a_chat_of_two(house: House) -> None:
    dm = await house.rig.personal(DANA)
    before = {one.id for one in house.rig.bot_messages(dm)}  # the welcome may come in between
    stream = await house.surface.begin(Thread(TEAMS, TENANT, dm, dm, Room.DM), account(DANA))
    shown = [one for one in house.rig.bot_messages(dm) if one.id not in before and one.activity.get("entities")]
    assert len(shown) == 1
    assert shown[0].activity["entities"][0]["streamType"] == "informative"
    await stream.done("Order 1042\nis on its way.", Answer())
    settled = [one for one in house.rig.bot_messages(dm) if one.id not in before and one.activity.get("entities")]
    assert [one.id for one in settled] == [shown[0].id]
    assert "is on its way" in read(settled[0].activity)
    assert settled[0].activity["type"] == "message"
