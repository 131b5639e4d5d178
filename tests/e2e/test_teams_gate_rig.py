"""Teams' gate with a real roster behind it: who the playground's connector says is no member is never heard.

The Bot Framework's part (keys, tokens, roster) is the rig's; the gate, the adapter and the rows are ours.
"""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from bot.ports import Standing
from bot.teams.action import PRESS, action_data
from policy.approval import Verb
from tests.rigs.teams_house import House, account, teams_house
from tests.rigs.teams_playground import ANN, DANA, GROUP, GUS, Member, missing, playground
from tests.rigs.teams_wire import TENANT

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.skipif(missing() is not None, reason=missing() or ""),
]

FOREIGN = "33333333-3333-4333-8333-333333333333"


@pytest_asyncio.fixture(scope="module", loop_scope="module", name="running")
async def _running(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[House]:
    with playground() as process:
        async with teams_house(process, tmp_path_factory.mktemp("teams"), installed=(DANA, ANN)) as house:
            yield house


@pytest.fixture
def house(running: House) -> House:
    for field in dataclasses.fields(running.service):
        made = field.default_factory
        setattr(running.service, field.name, field.default if made is dataclasses.MISSING else made())
    running.rig.wire.overlay = {GUS.id: {"userRole": "guest"}}
    return running


async def said(house: House, who: Member) -> dict[str, Any]:
    return await house.rig.template(GROUP, who, "userAdded") | {
        "type": "message", "id": f"m-{who.id}", "text": "approve it", "membersAdded": [],
    }  # fmt: skip


async def pressed(house: House, who: Member) -> dict[str, Any]:
    data = action_data(PRESS, "h1", revision=1, digest="d" * 64, verb=Verb.APPROVE)
    value = {"action": {"type": "Action.Execute", "verb": "approve", "data": data}, "trigger": "manual"}
    more = {"type": "invoke", "name": "adaptiveCard/action", "id": f"f:{who.id}", "replyToId": "1", "value": value}
    return await said(house, who) | more


async def rated(house: House, who: Member) -> dict[str, Any]:
    value = {"actionName": "feedback", "actionValue": {"reaction": "like", "feedback": "{}"}}
    return await pressed(house, who) | {"name": "message/submitAction", "value": value}


OUTSIDERS = {
    "guest": ({"userRole": "guest"}, Standing.GUEST),
    "guest by address": ({"userPrincipalName": "ann_partner.test#EXT#@acme.test"}, Standing.GUEST),
    "of another organisation": ({"tenantId": FOREIGN}, Standing.STRANGER),
    "anonymous": ({"userRole": "anonymous"}, Standing.STRANGER),
    "another bot": ({"userRole": "bot"}, Standing.BOT),
}
EVERY = [said, pressed, rated]


def heard(house: House) -> bool:
    service = house.service
    return bool(service.messages or service.presses or service.commands or service.feedback or service.again)


@pytest.mark.parametrize("make", EVERY)
@pytest.mark.parametrize("name", OUTSIDERS)
async def test_an_outsider_is_a_row_and_is_not_heard(house: House, name: str, make: Any) -> None:
    told, standing = OUTSIDERS[name]
    house.rig.wire.overlay = {ANN.id: told}
    answer = await house.rig.wire.deliver(await make(house, ANN))
    assert answer.status == 403
    assert not heard(house)
    assert [(who, how) for who, how, _ in house.service.turned_away] == [(account(ANN), standing)]


@pytest.mark.parametrize("make", EVERY)
async def test_a_member_is_heard_and_asked_about_once(house: House, make: Any) -> None:
    before = len(house.rig.wire.calls)
    answer = await house.rig.wire.deliver(await make(house, ANN) | {"conversation": {
        "id": GROUP, "isGroup": True, "conversationType": "groupChat", "tenantId": TENANT,
    }})  # fmt: skip
    assert answer.status == 200
    assert house.service.turned_away == []
    asked = [
        path for method, path in house.rig.wire.calls[before:] if method == "GET" and path.endswith("/members/29:ann")
    ]
    assert len(asked) == 1


async def test_somebody_who_became_a_guest_is_one_at_once(house: House) -> None:
    assert (await house.rig.wire.deliver(await pressed(house, ANN))).status == 200
    assert len(house.service.presses) == 1
    house.rig.wire.overlay = {ANN.id: {"userRole": "guest"}}
    assert (await house.rig.wire.deliver(await pressed(house, ANN))).status == 403
    assert len(house.service.presses) == 1


async def test_whoever_borrows_anothers_object_id_is_not_that_person(house: House) -> None:
    """The roster is asked for the account; what it says of its object id decides."""
    body = await pressed(house, ANN) | {"from": {"id": GUS.id, "aadObjectId": ANN.oid}}
    answer = await house.rig.wire.deliver(body)
    assert answer.status in (200, 403)
    # Not proved to be anybody: the gate's word for it is UNKNOWN, which no decision accepts.
    assert all(press.who == account(ANN) for press in house.service.presses)
    standing = await house.surface.standing_at(account(ANN), body)
    assert standing is not Standing.MEMBER
