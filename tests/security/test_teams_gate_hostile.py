"""Behind Teams' gate (invariant 13): signed activities of every wrong shape, through the real adapter and its rows.

The adapter answers 503 to a fault of its own, so that Teams delivers again: here that counts as one.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from audit.store import AuditStore
from audit.writer import Writer, make_engine
from bot import migrations
from bot.messages import Room, Thread
from bot.ports import PressReply
from bot.teams.action import ASK_AGAIN, LINK_YES, PRESS, REFRESH, WITHDRAW, action_data
from bot.teams.activities import TeamsActivities
from bot.teams.deliveries import TEAMS
from bot.teams.whereabouts import Whereabouts
from policy.approval import Verb
from policy.model import Json, TenantId
from policy.pii import redact
from tests.kit.idp_keys import NOW
from tests.kit.scripted import RecordedChat
from tests.kit.teams_bodies import (
    BOT,
    OTHER_TENANT,
    SERVICE_URL,
    TENANT,
    Body,
    channel,
    execute,
    group,
    invoke,
    mention,
    personal,
)
from tests.kit.teams_gate import Gate, teams_gate
from tests.rigs.slack_house import RecordingService
from tests.security.test_teams_gate_bodies import places_in, with_value

pytestmark = pytest.mark.asyncio(loop_scope="module")

DIGEST = "d" * 64


class Chat(RecordedChat):
    async def room(self, thread: Thread) -> Room:
        return thread.room

    async def welcome(self, thread: Thread) -> None:
        del thread


@pytest_asyncio.fixture(scope="module", loop_scope="module", name="gate")
async def _gate(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Gate]:
    engine = make_engine(f"sqlite:///{Path(tmp_path_factory.mktemp('teams')) / 'db.sqlite'}")
    migrations.migrate(engine)
    writer = Writer(engine)
    tenants = {TENANT: TenantId("acme"), OTHER_TENANT: TenantId("bolt")}
    whereabouts = Whereabouts(writer, AuditStore(redact), tenants.get, lambda: NOW)
    service = RecordingService()
    service.reply = PressReply("Counted.")
    activities = TeamsActivities(service, Chat(name=TEAMS), whereabouts)
    async with teams_gate() as made:
        made.endpoint._deliver = activities.deliver
        yield made
        await activities.close()
    writer.close()
    engine.dispose()


def _pressed(data: Json) -> Body:
    assert isinstance(data, dict)
    return invoke(execute({**data, "text_0": "over policy"}), where=channel())


def _kinds() -> dict[str, Body]:
    press = action_data(PRESS, "h1", revision=3, digest=DIGEST, verb=Verb.REJECT, text_in="text_0")
    thumb = {"actionName": "feedback", "actionValue": {"reaction": "like", "feedback": '{"feedbackText": "good"}'}}
    return {
        "message": channel("refund order 1042", entities=[mention("29:arno", "Arno", aadObjectId="x")]),
        "command": personal("kill tool refund.issue"),
        "kill of somebody": group("kill <at>Arno</at>", entities=[mention("29:arno", "Arno")]),
        "submitted": personal("", value=press),
        "press": _pressed(press),
        "withdrawal": _pressed(action_data(WITHDRAW, "h1", revision=3, digest=DIGEST)),
        "ask again": _pressed(action_data(ASK_AGAIN, "h1")),
        "link": _pressed(action_data(LINK_YES, "c1")),
        "refresh": _pressed(action_data(REFRESH, "h1")),
        "thumb": invoke(thumb, name="message/submitAction"),
        "reaction": personal(type="messageReaction", reactionsAdded=[{"type": "like"}]),
        "edit": personal("no, 1043", type="messageUpdate"),
        "installation": personal(type="installationUpdate", action="add"),
        "arrival": channel(type="conversationUpdate", membersAdded=[{"id": BOT}]),
        "departure": channel(type="conversationUpdate", membersRemoved=[{"id": BOT}]),
        "rename": channel(type="conversationUpdate", channel={"name": "New"}, eventType="channelRenamed"),
    }


KINDS = _kinds()
FINE = (200, 400, 401, 403, 501)
WRONG: tuple[Any, ...] = (None, True, 2**70, "\x00", "x" * 70_000, [[]], {"id": {}}, [{"id": 1}])


@pytest.mark.parametrize("name", KINDS)
async def test_the_adapter_takes_every_kind(gate: Gate, name: str) -> None:
    assert await gate.send(KINDS[name]) == 200


@pytest.mark.parametrize("name", KINDS)
async def test_no_wrong_type_anywhere_is_a_fault_of_the_adapters(
    gate: Gate, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    for path in places_in(KINDS[name]):
        for value in WRONG:
            body = with_value(KINDS[name], path, value)
            named = body.get("serviceUrl")
            status = await gate.send(body, serviceurl=named if isinstance(named, str) else SERVICE_URL)
            assert status in FINE, (path, str(value)[:40], caplog.text[-300:])


EXTRA: tuple[tuple[str, Any], ...] = (
    ("entities", [{"type": "mention"}] * 500),
    ("entities", [{"type": "mention", "mentioned": {"id": BOT}, "text": "<at>" * 5000}]),
    ("entities", [{"type": "mention", "mentioned": [BOT], "text": ["<at>"]}]),
    ("entities", {"type": "mention"}),
    ("text", "<at>" * 20_000 + "x"),
    ("text", "<at>Countersign</at>" * 5_000),
    ("text", "</at><at>" * 10_000),
    ("text", "&" * 90_000),
    ("text", "kill " + "*" * 50_000),
    ("attachments", [{"contentType": "text/html", "content": "<" * 90_000}]),
    ("attachments", [{"contentType": 7, "content": {"a": [1]}}]),
    ("suggestedActions", {"actions": "x"}),
    ("timestamp", "not a time"),
    ("localTimestamp", "9999999999"),
    ("expiration", [1]),
    ("relatesTo", {"conversation": 7}),
    ("membersAdded", {"id": BOT}),
    ("membersRemoved", [BOT, None, {"id": [BOT]}]),
    ("value", json.dumps({"cs": 1})),
    ("value", [{"cs": 1}]),
    ("value", {"action": [{"data": {}}]}),
    ("value", {"action": {"data": {"cs": 2**70, "rev": 2**70}}}),
)


@pytest.mark.parametrize("name", KINDS)
async def test_nor_is_anything_strange_beside_it(gate: Gate, name: str, caplog: pytest.LogCaptureFixture) -> None:
    for field, value in EXTRA:
        status = await gate.send(KINDS[name] | {field: value})
        assert status in FINE, (field, str(value)[:40], caplog.text[-300:])
