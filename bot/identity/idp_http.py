"""JSON over HTTPS from an identity provider: bounded in size and time, redirects not followed.

Knows how to ask and when to stop listening; knows no document, no token and no secret's meaning.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias
from urllib.parse import SplitResult, urlsplit
from weakref import WeakValueDictionary

import httpx2

from bot.identity.issuers import LOOPBACK

MAX_BYTES = 512 * 1024
TIMEOUT_S = 10.0
AT_ONCE = 8
"""Requests to one host; the next ones wait their turn: a provider that hangs keeps its own organisation waiting."""
MAX_URL = 1024

JsonObject: TypeAlias = Mapping[str, object]
Form: TypeAlias = Mapping[str, str]


class IdpSilent(Exception):
    """The provider gave no usable answer. `str(e)` says what happened, without addresses or bodies."""


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    body: JsonObject = field(repr=False)
    """Empty where a refusal came without JSON."""


class IdpHttp:
    """One pool of connections for every provider. Closed by whoever made it."""

    def __init__(self, client: httpx2.AsyncClient | None = None, timeout_s: float = TIMEOUT_S) -> None:
        self._client = client or httpx2.AsyncClient(
            timeout=httpx2.Timeout(timeout_s, connect=min(5.0, timeout_s)),
            limits=httpx2.Limits(max_connections=None, max_keepalive_connections=5),
        )
        self._timeout_s = timeout_s
        self._turns: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()

    async def get(self, url: str) -> JsonObject:
        """The JSON object at `url`.

        Raises:
            IdpSilent: there is none. Nothing else is raised.
        """
        answer = await self._ask("GET", url, None, {})
        if answer.status != 200:
            raise IdpSilent(f"it answered with status {answer.status}")
        return answer.body

    async def post(self, url: str, form: Form, headers: Mapping[str, str] | None = None) -> Answer:
        """What `url` answers to `form`, refusals included.

        Raises:
            IdpSilent: it did not answer in JSON. Nothing else is raised.
        """
        return await self._ask("POST", url, form, headers or {})

    async def close(self) -> None:
        await self._client.aclose()

    async def _ask(self, method: str, url: str, form: Form | None, headers: Mapping[str, str]) -> Answer:
        # No compression: what is counted is what arrives.
        sent = {"Accept": "application/json", "Accept-Encoding": "identity", **headers}
        parts = split(url)
        turn = self._turns.setdefault(parts.netloc.lower() if parts else "", asyncio.Semaphore(AT_ONCE))
        try:
            # The client's own limits are per read; a provider that drips must end too.
            async with (
                asyncio.timeout(self._timeout_s),
                turn,
                self._client.stream(
                    method, url, data=dict(form) if form is not None else None, headers=sent, follow_redirects=False
                ) as response,
            ):
                return await _read(response)
        except (TimeoutError, httpx2.TimeoutException) as error:
            raise IdpSilent("it did not answer in time") from error
        except (httpx2.HTTPError, httpx2.StreamError, httpx2.InvalidURL) as error:
            raise IdpSilent("it could not be reached") from error


async def _read(response: httpx2.Response) -> Answer:
    if response.is_redirect:
        raise IdpSilent("it answered with a redirect, which is not followed")
    if response.headers.get("content-encoding", "identity") != "identity":
        raise IdpSilent("it answered compressed, which was not asked for")
    raw = bytearray()
    async for chunk in response.aiter_bytes():
        raw += chunk
        if len(raw) > MAX_BYTES:
            raise IdpSilent("it answered with more than can be meant")
    try:
        value = json.loads(raw.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        if response.status_code >= 400:
            return Answer(response.status_code, {})
        raise IdpSilent("it did not answer in JSON") from error
    if not isinstance(value, dict):
        raise IdpSilent("it did not answer with a JSON object")
    return Answer(response.status_code, value)


def safe_address(value: object, *, loopback: bool) -> str | None:
    """`value` if it is an address that may be spoken to: https, or http on this machine where `loopback` says so."""
    if not isinstance(value, str) or not value.isascii() or not value.isprintable() or " " in value:
        return None
    parts = split(value)
    if parts is None or len(value) > MAX_URL or parts.fragment or parts.username is not None or not parts.hostname:
        return None
    if parts.scheme == "https" or (parts.scheme == "http" and loopback and parts.hostname in LOOPBACK):
        return value
    return None


def on_loopback(url: str) -> bool:
    """Whether `url` is this machine: only then may what it names be spoken to without TLS."""
    parts = split(url)
    return parts is not None and parts.scheme == "http" and parts.hostname in LOOPBACK


def split(url: str) -> SplitResult | None:
    """The parts of `url`; None where it is no address."""
    try:
        parts = urlsplit(url)
        return parts if parts.port is None or parts.port > 0 else None
    except ValueError:
        return None
