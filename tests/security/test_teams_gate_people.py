"""Teams' gate (invariants 5 and 13): guests and outsiders are a row and reach no handler; a standing is read once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import pytest_asyncio
from starlette.responses import JSONResponse, Response

from bot.messages import ChatUser
from bot.payload import Body as Told
from bot.ports import Standing, SurfaceError
from bot.teams import endpoint, met
from bot.teams.deliveries import TEAMS, sender, thread_of
from bot.teams.met import FRESH_S, meeting, standing_met
from tests.kit.teams_bodies import ARNO_ID, RITA_ID, TENANT, channel, execute, group, invoke, personal
from tests.kit.teams_gate import Gate, teams_gate

pytestmark = pytest.mark.asyncio(loop_scope="module")

RITA = ChatUser(TEAMS, TENANT, RITA_ID)
ARNO = ChatUser(TEAMS, TENANT, ARNO_ID)


@pytest_asyncio.fixture(scope="module", loop_scope="module", name="running")
async def _running() -> AsyncIterator[Gate]:
    async with teams_gate() as running:
        yield running


@pytest.fixture
def gate(running: Gate) -> Gate:
    for kept in (running.asked, running.turned_away, running.delivered, running.met):
        kept.clear()
    running.stands = Standing.MEMBER
    return running


def _of_people() -> dict[str, dict[str, Any]]:
    value = execute({"cs": 1, "act": "press"})
    return {
        "message": personal("approve it"),
        "message in a group": group("approve it"),
        "message in a channel": channel("approve it"),
        "press": invoke(value, where=channel()),
        "refresh": invoke(execute({"cs": 1, "act": "refresh"}, trigger="automatic")),
        "thumb": invoke({"actionName": "feedback"}, name="message/submitAction"),
        "sign-in": invoke({"id": "1", "token": "t"}, name="signin/tokenExchange"),
        "reaction": personal(type="messageReaction", reactionsAdded=[{"type": "like"}]),
        "edit": personal("approve it", type="messageUpdate"),
        "event": personal(type="event", name="application/vnd.microsoft.readReceipt"),
        "unheard of": personal(type="somethingNew"),
    }


BODIES = _of_people()
REFUSED = [Standing.GUEST, Standing.STRANGER, Standing.BOT, Standing.DEACTIVATED]


@pytest.mark.parametrize("standing", REFUSED)
@pytest.mark.parametrize("name", BODIES)
async def test_a_guest_or_external_user_reaches_no_handler_and_is_a_row(
    gate: Gate, name: str, standing: Standing
) -> None:
    gate.stands = standing
    assert await gate.send(BODIES[name]) == 403
    assert gate.delivered == []
    assert gate.turned_away == [(RITA, standing, thread_of(BODIES[name]).session_id)]


@pytest.mark.parametrize("name", BODIES)
async def test_a_member_is_let_through_and_asked_about_once(gate: Gate, name: str) -> None:
    assert await gate.send(BODIES[name]) == 200
    assert gate.asked == [RITA] == [sender(gate.delivered[0])]
    assert gate.met == [Standing.MEMBER]
    assert gate.turned_away == []


@pytest.mark.parametrize("name", BODIES)
@pytest.mark.parametrize("account", ["29:skype", "28:another-bot", "8:orgid:x"])
async def test_somebody_without_an_account_in_the_directory_is_a_stranger(gate: Gate, name: str, account: str) -> None:
    for sent in ({"id": account}, {"id": account, "aadObjectId": ""}, {"id": account, "aadObjectId": None}):
        gate.turned_away.clear()
        assert await gate.send(BODIES[name] | {"from": sent}) == 403
        assert [(who.user, standing) for who, standing, _ in gate.turned_away] == [
            (f"unknown:{account}", Standing.STRANGER)
        ]
    assert gate.asked == [], "Teams is not asked about somebody who cannot be a member"
    assert gate.delivered == []


SENDERS: tuple[Any, ...] = (
    ...,
    None,
    [],
    "29:rita",
    {},
    {"name": "Rita"},
    {"id": ""},
    {"id": 7},
    {"id": ["29:rita"], "aadObjectId": RITA_ID},
    {"id": "29:rita", "aadObjectId": 7},
    {"id": "29:rita", "aadObjectId": [RITA_ID]},
    {"id": "29:rita", "aadObjectId": "rita"},
    {"id": "29:rita", "aadObjectId": RITA_ID + "\x00"},
    {"id": "29:rita", "aadObjectId": RITA_ID + " "},
    {"id": "29:rita", "aadObjectId": "../" + RITA_ID},
    {"id": "29:rita\x00", "aadObjectId": RITA_ID},
    {"id": "29:" + "r" * 10_000, "aadObjectId": RITA_ID},
    {"id": "29:rita", "aadObjectId": ARNO_ID, "AADOBJECTID": RITA_ID},
)


@pytest.mark.parametrize("name", BODIES)
@pytest.mark.parametrize("sent", SENDERS)
async def test_a_sender_in_no_form_of_teams_reaches_no_handler(gate: Gate, name: str, sent: object) -> None:
    body = {key: value for key, value in BODIES[name].items() if key != "from"}
    assert await gate.send(body if sent is ... else body | {"from": sent}) == 400
    assert gate.untouched


@pytest.mark.parametrize("how", [Standing.UNKNOWN, SurfaceError("Teams did not answer.")])
async def test_where_teams_does_not_say_the_service_refuses_in_words(gate: Gate, how: Standing | SurfaceError) -> None:
    gate.stands = how
    assert await gate.send(personal("hello")) == 200
    assert gate.met == [Standing.UNKNOWN], "not asked again, which would keep the sender waiting twice"
    assert gate.turned_away == []


@pytest.mark.parametrize(
    ("body", "seconds"), [(personal("hello"), "ASK_S"), (invoke(execute({"cs": 1})), "ASK_FOR_INVOKE_S")]
)
async def test_a_teams_that_hangs_keeps_a_sender_waiting_for_a_while_alone(
    gate: Gate, body: dict[str, Any], seconds: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def hangs(who: ChatUser, _body: Told) -> Standing:
        gate.asked.append(who)
        return await asyncio.Future()

    monkeypatch.setattr(endpoint, seconds, 0.05)
    monkeypatch.setattr(gate.endpoint, "_standing", hangs)
    async with asyncio.timeout(5):
        assert await gate.send(body) == 200
    assert gate.met == [Standing.UNKNOWN]


@pytest.mark.parametrize("kind", ["installationUpdate", "conversationUpdate"])
async def test_what_teams_tells_by_itself_is_of_nobody(gate: Gate, kind: str) -> None:
    gate.stands = Standing.GUEST
    body = personal(type=kind)
    for sent in (body, {key: value for key, value in body.items() if key != "from"}):
        assert await gate.send(sent) == 200
    assert (gate.asked, gate.turned_away, len(gate.delivered)) == ([], [], 2)


@pytest.mark.parametrize(
    "kind", ["InstallationUpdate", "installationUpdate ", "conversationupdate", "installationUpdate\x00"]
)
async def test_a_person_cannot_pass_for_teams_itself(gate: Gate, kind: str) -> None:
    gate.stands = Standing.GUEST
    assert await gate.send(personal(type=kind)) in (400, 403)
    assert gate.delivered == []


# --- what was read of a standing serves the delivery at hand and no longer --------------------------


async def test_what_goes_on_after_the_answer_asks_anew(gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    """A task inherits the context it was started in; the note is closed all the same."""
    go, seen = asyncio.Event(), []

    async def later() -> None:
        seen.append(standing_met(RITA))
        await go.wait()
        seen.append(standing_met(RITA))

    started: list[asyncio.Task[None]] = []

    async def deliver(_self: Gate, _body: Told) -> Response:
        started.append(asyncio.create_task(later()))
        await asyncio.sleep(0)
        return JSONResponse({})

    monkeypatch.setattr(Gate, "_deliver", deliver)
    async with teams_gate() as own:
        assert await own.send(personal("hello")) == 200
    go.set()
    await started[0]
    assert seen == [Standing.MEMBER, None]


async def test_a_standing_is_the_senders_alone_and_ages() -> None:
    now = [100.0]

    def clock() -> float:
        return now[0]

    assert standing_met(RITA, clock) is None
    with meeting(RITA, Standing.MEMBER, clock):
        assert standing_met(RITA, clock) is Standing.MEMBER
        assert standing_met(ARNO, clock) is None
        assert standing_met(ChatUser(TEAMS, "another", RITA_ID), clock) is None
        with meeting(ARNO, Standing.GUEST, clock):
            assert (standing_met(ARNO, clock), standing_met(RITA, clock)) == (Standing.GUEST, None)
        assert standing_met(RITA, clock) is Standing.MEMBER
        now[0] += FRESH_S
        assert standing_met(RITA, clock) is None
    assert met._note.get() is None


async def test_deliveries_at_once_do_not_share_what_was_met(gate: Gate) -> None:
    seen: dict[str, tuple[Standing | None, ...]] = {}
    both = asyncio.Barrier(2)

    async def one(who: ChatUser, standing: Standing, read: Callable[[ChatUser], Standing | None]) -> None:
        with meeting(who, standing):
            await both.wait()
            seen[who.user] = (read(RITA), read(ARNO))

    await asyncio.gather(one(RITA, Standing.MEMBER, standing_met), one(ARNO, Standing.UNKNOWN, standing_met))
    assert seen == {RITA_ID: (Standing.MEMBER, None), ARNO_ID: (None, Standing.UNKNOWN)}
