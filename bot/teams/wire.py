"""HTTP to the Bot Connector as the Bot Framework's client speaks it: one request, one answer.

Knows paths' shape, who may be given the token and when to stop listening. Tries nothing again and knows no code of
Teams. The SDK's own sender is not used: it follows redirects, tries again by itself and blocks a thread each time.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol
from urllib.parse import quote, urlencode

import httpx2
from botframework.connector.aio import ConnectorClient
from msrest.pipeline import Request, Response
from msrest.pipeline.async_abc import AsyncHTTPPolicy, AsyncPipeline
from msrest.pipeline.async_abc import AsyncHTTPSender as Sender

from bot.ports import SurfaceError
from bot.teams.refusals import Answered
from policy.model import Json

TIMEOUT_S: Final = 10.0
MAX_BYTES: Final = 4 * 1024 * 1024
_CLIENTS = 64
"""Service addresses spoken to at the same time; Microsoft has one for each region and organisation."""


class Tokens(Protocol):
    async def get(self) -> str: ...

    def spoiled(self, token: str) -> None: ...


class Wire:
    """Every service address, over one pool of connections. Closed by whoever made it.

    `allow`: whether the bot's token may go to an address (`bot.teams.service_urls`).
    """

    def __init__(
        self,
        tokens: Tokens,
        allow: Callable[[str], bool],
        client: httpx2.AsyncClient | None = None,
        *,
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        self._tokens = tokens
        self._allow = allow
        self._sender = _HttpSender(client or _client(timeout_s), timeout_s)
        self._clients: dict[str, _Client] = {}

    async def ask(
        self, method: str, service_url: str, path: str, query: Mapping[str, str] | None = None, body: Json = None
    ) -> Answered:
        """What the connector at `service_url` answers, refusals included. `path`: without what must be quoted.

        Raises:
            SurfaceError: the token may not go there, or nothing usable came back.
        """
        if not self._allow(service_url):
            raise SurfaceError(
                "Teams named an address that the bot's token may not go to. Nothing was sent. If it is yours, add it "
                "to TEAMS_SERVICE_URLS."
            )
        answered: _Answer = await self._of(service_url).ask(
            method, path + (f"?{urlencode(query)}" if query else ""), body
        )
        if answered.status_code == 401:
            self._tokens.spoiled(answered.token)
        return Answered(answered.status_code, _parsed(answered.content), _seconds(answered.headers))

    async def health(self) -> None:
        """Whether the bot is given a token. Raises: SurfaceError."""
        await self._tokens.get()

    async def close(self) -> None:
        await self._sender.client.aclose()

    def _of(self, service_url: str) -> _Client:
        if service_url not in self._clients:
            if len(self._clients) >= _CLIENTS:
                del self._clients[next(iter(self._clients))]
            self._clients[service_url] = _Client(service_url, self._tokens, self._sender)
        return self._clients[service_url]


def part(text: str) -> str:
    """`text` as one part of a path, whatever is in it."""
    return quote(text, safe="")


class _Answer:
    """An HTTP answer as the SDK's pipeline carries it: it hangs its context on it."""

    def __init__(self, status_code: int, headers: httpx2.Headers, content: bytes, token: str) -> None:
        self.status_code = status_code
        self.headers = headers
        self.content = content
        self.token = token
        self.context: object = None


class _Client(ConnectorClient):  # type: ignore[misc]
    """The SDK's client for one address, with our token and our sender in its pipeline."""

    def __init__(self, service_url: str, tokens: Tokens, sender: _HttpSender) -> None:
        def pipeline(config: Any) -> AsyncPipeline[Any, Any]:
            return AsyncPipeline([config.user_agent_policy, _Bearer(tokens)], sender)

        # The SDK builds a pipeline of its own first, around what it takes for credentials; it is never run.
        super().__init__(_NoCredentials(), service_url, pipeline_type=pipeline)

    async def ask(self, method: str, path: str, body: Json) -> _Answer:
        make = {"GET": self._client.get, "POST": self._client.post, "PUT": self._client.put}
        request = make.get(method, self._client.delete)(path, None, {"Accept": "application/json"})
        if body is not None:
            request.headers["Content-Type"] = "application/json; charset=utf-8"
            request.data = json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")
        answer: _Answer = await self._client.async_send(request)
        return answer


class _NoCredentials:
    """In the place of the SDK's own credentials, which would ask for tokens by themselves and block meanwhile."""

    def signed_session(self, session: object = None) -> object:
        raise SurfaceError("The Bot Framework's own way out is not used.")


class _Bearer(AsyncHTTPPolicy[Any, Any]):
    """Hands the token to a request whose address `Wire` has let through."""

    def __init__(self, tokens: Tokens) -> None:
        super().__init__()
        self._tokens = tokens

    async def send(self, request: Request[Any], **config: Any) -> Response[Any, Any]:
        token = await self._tokens.get()
        request.http_request.headers["Authorization"] = f"Bearer {token}"
        if self.next is None:
            raise SurfaceError("The way out to Teams is not whole.")
        answered = await self.next.send(request, **config)
        answered.http_response.token = token
        return answered


class _HttpSender(Sender[Any, Any]):
    """Over httpx2: bounded in size and time, redirects not followed, nothing tried again."""

    def __init__(self, client: httpx2.AsyncClient, timeout_s: float) -> None:
        self.client = client
        self._timeout_s = timeout_s

    async def __aexit__(self, *exc_details: object) -> None:
        await self.client.aclose()

    async def send(self, request: Request[Any], **config: Any) -> Response[Any, Any]:
        asked = request.http_request
        # No compression: what is counted is what arrives.
        headers = {**asked.headers, "Accept-Encoding": "identity"}
        try:
            # The client's own limits are per read; a server that drips must end too.
            async with (
                asyncio.timeout(self._timeout_s),
                self.client.stream(
                    asked.method, asked.url, content=asked.data, headers=headers, follow_redirects=False
                ) as response,
            ):
                content = await _read(response)
                return Response(request, _Answer(response.status_code, response.headers, content, ""))
        except httpx2.ConnectError:
            raise SurfaceError("Teams could not be reached. Nothing was sent.") from None
        except (TimeoutError, httpx2.HTTPError, httpx2.StreamError, httpx2.InvalidURL):
            raise SurfaceError("Teams did not answer. It is not known whether the message arrived.") from None


async def _read(response: httpx2.Response) -> bytes:
    raw = bytearray()
    async for chunk in response.aiter_bytes():
        raw += chunk
        if len(raw) > MAX_BYTES:
            raise SurfaceError("Teams answered with more than can be meant.")
    return bytes(raw)


def _client(timeout_s: float) -> httpx2.AsyncClient:
    return httpx2.AsyncClient(
        timeout=httpx2.Timeout(timeout_s, connect=min(5.0, timeout_s)),
        limits=httpx2.Limits(max_connections=100, max_keepalive_connections=20),
    )


def _parsed(content: bytes) -> Json:
    try:
        value: Json = json.loads(content) if content.strip() else None
    except (ValueError, RecursionError):
        return None
    return value


def _seconds(headers: httpx2.Headers) -> float | None:
    """``Retry-After`` in seconds; None where it says nothing that can be read."""
    told = headers.get("Retry-After", "").strip()
    return float(told) if told.isascii() and told.isdecimal() and len(told) < 7 else None
