"""Teams' gate (invariant 13): whatever a signed body holds is answered in the 400s, and never by a fault of ours."""

from __future__ import annotations

import asyncio
import copy
import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
import uvicorn

from bot.teams.endpoint import MAX_BODY, MAX_ID
from tests.kit.idp_keys import OTHER_RSA_KEY
from tests.kit.teams_bodies import ARNO_ID, SERVICE_URL, TENANT, channel, execute, invoke, personal
from tests.kit.teams_gate import PATH, Gate, teams_gate, token

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module", name="running")
async def _running() -> AsyncIterator[Gate]:
    async with teams_gate() as running:
        yield running


@pytest.fixture
def gate(running: Gate) -> Gate:
    for kept in (running.asked, running.turned_away, running.delivered, running.met):
        kept.clear()
    return running


GOOD = json.dumps(personal("hello"))
NO_ACTIVITIES: dict[str, bytes] = {
    "nothing": b"",
    "blank": b"  \n",
    "a page": b"<html></html>",
    "a form": b"type=message&text=hello",
    "a word": b'"message"',
    "a list": f"[{GOOD}]".encode(),
    "null": b"null",
    "a number": b"7",
    "two": (GOOD + GOOD).encode(),
    "with a tail": (GOOD + "x").encode(),
    "half": GOOD[: len(GOOD) // 2].encode(),
    "not UTF-8": GOOD.replace("hello", "hell\xf6").encode("latin-1"),
    "UTF-16": GOOD.encode("utf-16"),
    "a byte order mark": b"\xef\xbb\xbf" + GOOD.encode(),
    "bare NUL": GOOD.replace("hello", "hel\x00lo").encode(),
    "NaN": GOOD.replace('"hello"', "NaN").encode(),
    "Infinity": GOOD.replace('"hello"', "-Infinity").encode(),
    "1e999": GOOD.replace('"hello"', "1e999").encode(),
    "endless number": GOOD.replace('"hello"', "9" * 5000).encode(),
    "half a surrogate": GOOD.replace("hello", "\\ud83d").encode(),
    "comments": (GOOD[:-1] + "/* */}").encode(),
    "one key twice": (GOOD[:-1] + ', "type": "message"}').encode(),
    "serviceUrl twice": (GOOD[:-1] + ', "serviceUrl": "https://evil.example/"}').encode(),
    "twice, deep": (GOOD[:-1] + ', "value": {"a": {"b": 1, "b": 2}}}').encode(),
    "sender twice": GOOD.replace('"from": {', f'"from": {{"aadObjectId": "{ARNO_ID}", ').encode(),
    "type in two spellings": (GOOD[:-1] + ', "Type": "conversationUpdate"}').encode(),
    "from in two spellings": (GOOD[:-1] + ', "From": {"id": "29:arno"}}').encode(),
    "tenant in two spellings": GOOD.replace('"tenant": {', '"tenant": {"ID": "other", ').encode(),
    "deep lists": b"[" * 100_000,
    "deep objects": b'{"a":' * 100_000,
    "deep, whole": (GOOD[:-1] + ', "value": ' + "[" * 40_000 + "]" * 40_000 + "}").encode(),
    "deeper than any activity": (GOOD[:-1] + ', "value": ' + '{"a":' * 40 + "1" + "}" * 40 + "}").encode(),
    "many keys": ("{" + ",".join(f'"{n}":{n}' for n in range(60_000)) + "}").encode(),
    "empty object": b"{}",
    "no type": json.dumps({key: value for key, value in personal().items() if key != "type"}).encode(),
    "no conversation": json.dumps({key: value for key, value in personal().items() if key != "conversation"}).encode(),
}


@pytest.mark.parametrize("name", NO_ACTIVITIES)
async def test_what_is_no_activity_is_refused(gate: Gate, name: str) -> None:
    assert await gate.send(NO_ACTIVITIES[name]) == 400
    assert gate.untouched


@pytest.mark.parametrize("size", [MAX_BODY + 1, 10_000_000])
async def test_a_body_longer_than_any_activity_is_refused(gate: Gate, size: int) -> None:
    assert await gate.send(personal("x" * size)) == 413
    assert gate.untouched


async def test_a_body_of_the_greatest_length_is_read(gate: Gate) -> None:
    room = MAX_BODY - len(json.dumps(personal("")).encode())
    assert await gate.send(personal("x" * room)) == 200
    assert await gate.send(personal("x" * (room + 1))) == 413


async def test_what_people_may_write_is_let_through(gate: Gate) -> None:
    """An escaped NUL and odd letters are text: whoever stores them drops what no database takes."""
    for text in ("hel\x00lo", "\u202eolleh", "👍🏽", "{}", "<at>Countersign</at>", "\x1b[31m", "x" * 100_000):
        assert await gate.send(personal(text)) == 200
    assert await gate.send(invoke(execute({"Reason": 1, "reason": 2}))) == 200, (
        "a card's own data may say what it likes"
    )


# --- a value of every wrong type in every place ------------------------------------------------------

WRONG: tuple[Any, ...] = (
    None,
    True,
    0,
    -1.5,
    2**70,
    "",
    "\x00",
    " ",
    "x" * 70_000,
    [],
    [[]],
    {},
    {"id": {}},
    [{"id": 1}],
)


def places_in(box: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    if path:
        yield path
    inner = box.items() if isinstance(box, dict) else enumerate(box) if isinstance(box, list) else ()
    for key, value in inner:
        yield from places_in(value, (*path, key))


def with_value(body: dict[str, Any], path: tuple[str | int, ...], value: Any) -> dict[str, Any]:
    made = copy.deepcopy(body)
    box: Any = made
    for key in path[:-1]:
        box = box[key]
    box[path[-1]] = value
    return made


WHOLE = {
    "message": channel("hello"),
    "press": invoke(execute({"cs": 1, "held": "h1", "rev": 1, "digest": "d", "text_1": "why"}), where=channel()),
    "conversationUpdate": channel(type="conversationUpdate", membersAdded=[{"id": "29:new"}]),
    "installationUpdate": personal(type="installationUpdate", action="add"),
}


@pytest.mark.parametrize("name", WHOLE)
async def test_no_wrong_type_anywhere_is_a_fault_of_ours(gate: Gate, name: str) -> None:
    statuses: set[int] = set()
    for path in places_in(WHOLE[name]):
        for value in WRONG:
            body = with_value(WHOLE[name], path, value)
            # What the token was made for is what stands there, so that it is not that check alone that refuses.
            named = body.get("serviceUrl")
            status = await gate.send(body, serviceurl=named if isinstance(named, str) else SERVICE_URL)
            assert status in (200, 400, 401, 403), (path, value)
            statuses.add(status)
    assert {200, 400, 403} <= statuses, "the sweep reached both sides of the gate"


@pytest.mark.parametrize("path", [("id",), ("replyToId",), ("name",), ("conversation", "id"), ("recipient", "id")])
async def test_an_id_that_two_readers_would_read_as_two_is_refused(gate: Gate, path: tuple[str, ...]) -> None:
    body = invoke(execute({}))
    for bad in ("a\x00b", "a\nb", "x" * (MAX_ID + 1), 7, ["a"]):
        assert await gate.send(with_value(body, path, bad)) == 400
    assert gate.untouched


# --- over a real connection -------------------------------------------------------------------------


@pytest_asyncio.fixture(scope="module", loop_scope="module", name="address")
async def _address(running: Gate) -> AsyncIterator[str]:
    config = uvicorn.Config(running.app, host="127.0.0.1", port=0, log_level="warning", lifespan="off", ws="none")
    server = uvicorn.Server(config)
    listening = config.bind_socket()
    serving = asyncio.create_task(server.serve(sockets=[listening]))
    yield f"http://127.0.0.1:{listening.getsockname()[1]}{PATH}"
    server.should_exit = True
    await serving
    listening.close()


async def _drip(size: int, sent: list[int]) -> AsyncIterator[bytes]:
    for _ in range(size // 10_000):
        sent[0] += 10_000
        yield b" " * 10_000
        await asyncio.sleep(0)


async def test_a_stranger_is_refused_before_the_body_is_read(gate: Gate, address: str) -> None:
    sent = [0]
    headers = {"Authorization": f"Bearer {token(by=OTHER_RSA_KEY)}"}
    async with aiohttp.ClientSession() as session:
        # A body that would never end on its own.
        endless = _drip(2**40, sent)
        async with asyncio.timeout(30), session.post(address, data=endless, headers=headers) as answer:
            assert answer.status == 401
            assert answer.headers["WWW-Authenticate"] == "Bearer"
    assert gate.untouched


async def test_a_signed_body_without_an_end_is_cut_off(gate: Gate, address: str) -> None:
    sent = [0]
    headers = {"Authorization": f"Bearer {token()}"}
    async with aiohttp.ClientSession() as session:
        endless = _drip(2**40, sent)
        async with asyncio.timeout(30), session.post(address, data=endless, headers=headers) as answer:
            assert answer.status == 413
    assert gate.untouched


async def test_a_sender_that_hangs_up_half_way_is_no_fault(
    gate: Gate, address: str, caplog: pytest.LogCaptureFixture
) -> None:
    host, _, rest = address.removeprefix("http://").partition(":")
    _, writer = await asyncio.open_connection(host, int(rest.partition("/")[0]))
    head = f"POST {PATH} HTTP/1.1\r\nHost: x\r\nContent-Length: 5000\r\nAuthorization: Bearer {token()}\r\n\r\n"
    writer.write(head.encode() + b'{"type":')
    await writer.drain()
    writer.close()
    await writer.wait_closed()
    async with aiohttp.ClientSession() as session:
        good = {"Authorization": f"Bearer {token()}"}
        async with session.post(address, json=personal("hello"), headers=good) as answer:
            assert (answer.status, await answer.json()) == (200, {"answered": True})
        async with session.get(address) as answer:
            assert answer.status == 405
        async with session.post(address + "/", json=personal("hello"), headers=good, allow_redirects=False) as answer:
            assert answer.status in (307, 404)
    assert len(gate.delivered) == 1
    assert "Traceback" not in caplog.text


async def test_no_log_line_holds_a_word_a_name_or_a_token(gate: Gate, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    bad = token(by=OTHER_RSA_KEY)
    said = personal("the password is swordfish")
    assert await gate.send(said, authorization=f"Bearer {bad}") == 401
    assert await gate.send(said | {"channelId": "webchat"}) == 403
    assert await gate.send(said | {"conversation": {"id": "x", "tenantId": ARNO_ID}}) == 403
    assert await gate.send(said | {"from": {"id": "29:mallory", "name": "Mallory"}}) == 403
    assert await gate.send(said, serviceurl="https://evil.example/?token=swordfish") == 401
    ours = "\n".join(record.getMessage() for record in caplog.records if record.name.startswith("bot."))
    assert ours.count("Refused") == 5
    for word in ("swordfish", "allory", "Rita", bad, token().split(".")[2], TENANT, "evil"):
        assert word not in ours
