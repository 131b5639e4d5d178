"""The one way out: what is sent, to whom the token goes, and what comes of each answer."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from typing import Any

import httpx2
import pytest

from bot.ports import SurfaceError
from bot.teams.connector import Connector, Where
from bot.teams.refusals import Refused
from bot.teams.service_urls import ServiceUrls
from bot.teams.wire import MAX_BYTES, Wire
from tests.kit.teams_out import Time

SERVICE = "https://smba.trafficmanager.net/emea/"
AT = Where("tenant", SERVICE, "19:a/b?c#d@thread.tacv2;messageid=17")
TOKEN = "eyJ-the-bots-own-token"
Handler = Callable[[httpx2.Request], httpx2.Response]


class Tokens:
    def __init__(self) -> None:
        self.gone: list[str] = []

    async def get(self) -> str:
        return f"{TOKEN}-{len(self.gone)}"

    def spoiled(self, token: str) -> None:
        self.gone.append(token)


def connector(
    handler: Handler, time: Time | None = None, tokens: Tokens | None = None, *, chance: float = 0.5
) -> Connector:
    client = httpx2.AsyncClient(transport=httpx2.MockTransport(handler))
    clock = time or Time()
    wire = Wire(tokens or Tokens(), ServiceUrls().allow, client)
    return Connector(wire, clock=clock, sleep=clock.sleep, jitter=lambda: chance)


def answering(*statuses: int, body: Any = None, headers: dict[str, str] | None = None) -> tuple[Handler, list[Any]]:
    seen: list[httpx2.Request] = []

    def handler(request: httpx2.Request) -> httpx2.Response:
        seen.append(request)
        status = statuses[min(len(seen), len(statuses)) - 1]
        return httpx2.Response(status, json={"id": "m1"} if body is None else body, headers=headers)

    return handler, seen


async def test_a_message_as_it_goes_out() -> None:
    """Fields of entities that the SDK's models would drop arrive; ids stay one part of the path."""
    handler, seen = answering(201)
    entity = {"type": "streaminfo", "streamType": "informative", "streamSequence": 1, "nested": {"@type": "Message"}}
    activity: dict[str, Any] = {"type": "typing", "text": "Grüße 🙂", "entities": [entity], "channelData": {"a": [1]}}
    assert await connector(handler).post(AT, activity) == "m1"
    request = seen[0]
    assert request.method == "POST"
    assert str(request.url) == (
        "https://smba.trafficmanager.net/emea/v3/conversations/"
        "19%3Aa%2Fb%3Fc%23d%40thread.tacv2%3Bmessageid%3D17/activities"
    )
    sent = json.loads(request.content)
    assert sent["entities"] == [entity]
    assert (sent["text"], sent["channelData"], sent["channelId"]) == ("Grüße 🙂", {"a": [1]}, "msteams")
    assert sent["conversation"] == {"id": AT.conversation}
    assert request.headers["Authorization"] == f"Bearer {TOKEN}-0"
    assert "botframework-connector/" in request.headers["User-Agent"]


@pytest.mark.parametrize(
    "address",
    [
        "https://evil.test/",
        "http://smba.trafficmanager.net/emea/",
        "https://smba.trafficmanager.net.evil.test/",
        "https://smba.trafficmanager.net@evil.test/",
        "https://smba.trafficmanager.net/{team}/",
        "https://smba.trafficmanager.net/..%2f/",
        "",
        "file:///etc/passwd",
    ],
)
async def test_the_token_goes_nowhere_else(address: str) -> None:
    handler, seen = answering(201)
    out = connector(handler)
    at = Where("tenant", address, "c")
    for work in (
        out.post(at, {"type": "message"}),
        out.put(at, "m", {"type": "message"}),
        out.delete(at, "m"),
        out.begin(at, "28:b", "29:a"),
        out.member(at, "29:a"),
        out.members(at),
        out.channels(at, "t"),
    ):
        with pytest.raises(SurfaceError, match="TEAMS_SERVICE_URLS"):
            await work
    assert seen == []


async def test_a_redirect_is_not_followed() -> None:
    handler, seen = answering(307, headers={"Location": "https://evil.test/"})
    with pytest.raises(SurfaceError, match="HTTP 307"):
        await connector(handler).post(AT, {"type": "message"})
    assert len(seen) == 1


async def test_nothing_of_it_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    logging.getLogger("httpx2").setLevel(logging.WARNING)
    handler, _ = answering(400, body={"error": {"code": "BadSyntax", "message": "card 4111111111111111"}})
    with pytest.raises(SurfaceError) as caught:
        await connector(handler).post(AT, {"type": "message", "text": "card 4111111111111111"})
    for words in (TOKEN, "4111"):
        assert words not in caplog.text
        assert words not in str(caught.value)


@pytest.mark.parametrize("status", [429, 412, 502, 504])
async def test_tried_again(status: int) -> None:
    handler, seen = answering(status, status, 201)
    time = Time()
    assert await connector(handler, time).post(AT, {"type": "message"}) == "m1"
    assert len(seen) == 3
    assert time.waits == [0.375, 0.75]


@pytest.mark.parametrize("status", [400, 403, 404, 413, 500, 503])
async def test_not_tried_again(status: int) -> None:
    handler, seen = answering(status, body={})
    with pytest.raises(Refused) as caught:
        await connector(handler).post(AT, {"type": "message"})
    assert caught.value.status == status
    assert len(seen) == 1


@pytest.mark.parametrize(
    ("told", "waited"),
    [
        ("2", 2.375),
        ("0", 0.375),
        ("soon", 0.375),
        ("-5", 0.375),
        ("Wed, 21 Oct 2026 07:28:00 GMT", 0.375),
        ("²", 0.375),
    ],
)
async def test_when_to_come_back(told: str, waited: float) -> None:
    time = Time()
    calls = 0

    def handler(request: httpx2.Request) -> httpx2.Response:
        nonlocal calls
        calls += 1
        if calls == 1:
            return httpx2.Response(429, headers=[(b"Retry-After", told.encode())])
        return httpx2.Response(201, json={"id": "m1"})

    await connector(handler, time).post(AT, {"type": "message"})
    assert time.waits == [waited]


async def test_what_was_refused_together_does_not_come_back_together() -> None:
    """Also where Teams names a time: it names the same one to everybody. Never before it."""
    came_back = []
    for chance in (0.0, 0.5, 1.0):
        handler, _ = answering(429, 201, headers={"Retry-After": "2"})
        time = Time()
        await connector(handler, time, chance=chance).post(AT, {"type": "message"})
        came_back += time.waits
    assert sorted(set(came_back)) == came_back
    assert min(came_back) >= 2


async def test_impatient_callers_do_not_wait() -> None:
    time = Time()
    handler, seen = answering(429, headers={"Retry-After": "1"})
    with pytest.raises(SurfaceError) as caught:
        await connector(handler, time).post(AT, {"type": "typing"}, patience_s=0)
    assert caught.value.retry_after_s == 1
    assert (len(seen), time.waits) == (1, [])


async def test_impatient_callers_stay_within_the_limits() -> None:
    handler, seen = answering(201)
    out = connector(handler)
    for _ in range(7):
        await out.post(AT, {"type": "typing"}, patience_s=0)
    with pytest.raises(SurfaceError, match="as much .* as Teams allows") as caught:
        await out.post(AT, {"type": "typing"}, patience_s=0)
    assert caught.value.retry_after_s == pytest.approx(1.0)
    assert len(seen) == 7
    # A reply chain is a part of its channel; another organisation's conversation of that id is not.
    with pytest.raises(SurfaceError):
        await out.post(Where("tenant", SERVICE, AT.conversation.partition(";")[0]), {"type": "typing"}, patience_s=0)
    await out.post(Where("other", SERVICE, AT.conversation), {"type": "typing"}, patience_s=0)


async def test_a_token_that_is_not_taken_is_renewed_once() -> None:
    tokens = Tokens()
    handler, seen = answering(401, 201)
    assert await connector(handler, tokens=tokens).post(AT, {"type": "message"}) == "m1"
    assert [request.headers["Authorization"][-1] for request in seen] == ["0", "1"]
    handler, seen = answering(401, body={})
    with pytest.raises(SurfaceError, match="TEAMS_APP_ID"):
        await connector(handler, tokens=Tokens()).post(AT, {"type": "message"})
    assert len(seen) == 2


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (httpx2.ConnectError("no"), "could not be reached. Nothing was sent"),
        (httpx2.ReadTimeout("no"), "not known whether"),
        (httpx2.RemoteProtocolError("no"), "not known whether"),
    ],
)
async def test_a_line_that_breaks(error: Exception, words: str) -> None:
    def handler(request: httpx2.Request) -> httpx2.Response:
        raise error

    with pytest.raises(SurfaceError, match=words) as caught:
        await connector(handler).post(AT, {"type": "message"})
    assert not caught.value.gone


async def test_an_answer_without_end() -> None:
    def handler(request: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(200, content=b" " * (MAX_BYTES + 1))

    with pytest.raises(SurfaceError, match="more than can be meant"):
        await connector(handler).post(AT, {"type": "message"})


@pytest.mark.parametrize("body", [b"", b"null", b"[]", b"not json", b'"text"', b"[" * 100_000, b"\xff"])
async def test_strange_answers(body: bytes) -> None:
    def handler(request: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(200, content=body)

    out = connector(handler)
    assert await out.post(AT, {"type": "message"}) == ""
    with pytest.raises(SurfaceError):
        await out.member(AT, "29:a")
    with pytest.raises(SurfaceError):
        await out.begin(AT, "28:b", "29:a")


async def test_members_of_many_pages() -> None:
    def handler(request: httpx2.Request) -> httpx2.Response:
        page = int(request.url.params.get("continuationToken", "0"))
        told: dict[str, Any] = {"members": [{"id": f"29:{page}"}]}
        return httpx2.Response(200, json=told | ({"continuationToken": str(page + 1)} if page < 4 else {}))

    found = await connector(handler).members(AT)
    assert [one["id"] for one in found if isinstance(one, dict)] == [f"29:{page}" for page in range(5)]


async def test_pages_without_end() -> None:
    def handler(request: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(200, json={"members": [], "continuationToken": "again"})

    with pytest.raises(SurfaceError, match="more members|as much"):
        await connector(handler).members(AT)


async def test_the_channel_that_every_team_has() -> None:
    def handler(request: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(200, json={"conversations": [{"id": "t"}, {"id": "c", "name": "Refunds"}, "x", {}]})

    assert await connector(handler).channels(AT, "t") == {"t": "General", "c": "Refunds"}
