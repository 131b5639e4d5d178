"""Somebody's browser, as far as pages without scripts need one: cookies, redirects, refreshes, forms with an Origin.

Knows the log-in pages of oidc-provider; knows nothing of Countersign's.
"""

from __future__ import annotations

import asyncio
import html
import re
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from urllib.parse import urljoin

import httpx2
import uvicorn
from starlette.types import ASGIApp

_FORM = re.compile(r"<form\b([^>]*)>(.*?)</form>", re.DOTALL)
_FIELD = re.compile(r"<input\b([^>]*)>")
_ATTRIBUTE = re.compile(r'([\w-]+)="([^"]*)"')
_REFRESH = re.compile(r'http-equiv="refresh" content="0;url=([^"]*)"')


class Browser:
    """Somebody's browser: cookies of its own, follows redirects and refreshes, sends Origin with a form."""

    def __init__(self, base_url: str, app: ASGIApp | None, headers: Mapping[str, str]) -> None:
        """`app`: Countersign in this process; None: it is reached over a socket."""
        self._base = base_url
        self._stop = self._stopped = ""
        # Providers are reached over the network; only Countersign's own address is in this process.
        mounts = {} if app is None else {self._base: httpx2.ASGITransport(app=app)}
        self.client = httpx2.AsyncClient(
            base_url=self._base, mounts=mounts, timeout=30, headers=dict(headers), trust_env=False
        )

    async def open(self, url: str) -> httpx2.Response:
        return await self._settled(await self.client.get(url))

    async def press(
        self,
        page: httpx2.Response,
        typed: Mapping[str, str] | None = None,
        *,
        drop: tuple[str, ...] = (),
        **headers: str,
    ) -> httpx2.Response:
        """Sends the first form of `page`, hidden fields included; `typed` is added or replaces."""
        found = _FORM.search(page.text)
        assert found is not None, f"no form on the page ({page.status_code}): {text_of(page)}"
        attributes = dict(_ATTRIBUTE.findall(found[1]))
        form = {}
        for match in _FIELD.findall(found[2]):
            given = {name: html.unescape(value) for name, value in _ATTRIBUTE.findall(match)}
            if given.get("type") == "hidden":
                form[given["name"]] = given["value"]
        form |= dict(typed or {})
        for name in drop:
            form.pop(name, None)
        there = urljoin(str(page.url), html.unescape(attributes.get("action", "")) or str(page.url))
        origin = f"{page.url.scheme}://{page.url.netloc.decode()}"
        sent = {
            "origin": origin,
            "sec-fetch-site": "same-origin",
            **{k.replace("_", "-"): v for k, v in headers.items()},
        }
        return await self._settled(await self.client.post(there, data=form, headers=sent))

    async def log_in(self, page: httpx2.Response, login: str) -> httpx2.Response:
        """Logs in and consents on the provider's pages that `page` is the first of; ends at the next site."""
        provider = page.url.netloc
        for _ in range(6):
            if page.url.netloc != provider:
                return page
            asked = re.search(r'name="prompt" value="(\w+)"', page.text)
            assert asked is not None, f"no page to go on with ({page.status_code}): {text_of(page)}"
            page = await self.press(page, {"login": login, "password": "any"} if asked[1] == "login" else {})
        raise AssertionError("the log-in does not end")

    async def log_in_until(self, page: httpx2.Response, login: str, stop: str) -> str:
        """Logs in; the address beginning with `stop` that the provider sends the browser to, which nobody opens."""
        self._stop, self._stopped = stop, ""
        try:
            while not self._stopped:
                asked = re.search(r'name="prompt" value="(\w+)"', page.text)
                assert asked is not None, text_of(page)
                page = await self.press(page, {"login": login, "password": "any"} if asked[1] == "login" else {})
            return self._stopped
        finally:
            self._stop = ""

    async def deny(self, page: httpx2.Response) -> httpx2.Response:
        """Presses "Cancel" at the provider."""
        found = re.search(r'href="([^"]*/abort)"', page.text)
        assert found is not None, text_of(page)
        return await self.open(html.unescape(urljoin(str(page.url), found[1])))

    async def _settled(self, answer: httpx2.Response) -> httpx2.Response:
        for _ in range(12):
            refresh = (
                _REFRESH.search(answer.text) if answer.headers.get("content-type", "").startswith("text/html") else None
            )
            if answer.is_redirect and self._stop and answer.headers["location"].startswith(self._stop):
                self._stopped = answer.headers["location"]
                return answer
            if answer.is_redirect:
                answer = await self.client.get(urljoin(str(answer.url), answer.headers["location"]))
            elif refresh is not None:
                answer = await self.client.get(html.unescape(refresh[1]))
            else:
                return answer
        raise AssertionError("the redirects do not end")


def text_of(answer: httpx2.Response) -> str:
    """What a reader sees, roughly."""
    body = re.sub(r"<(style|script|title)\b.*?</\1>", " ", answer.text, flags=re.DOTALL)
    return html.unescape(re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", body))).strip()


@asynccontextmanager
async def served(app: ASGIApp, sock: socket.socket) -> AsyncIterator[None]:
    """`app` answers on `sock`, in this very loop, until the block ends."""
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", lifespan="off"))
    task = asyncio.create_task(server.serve(sockets=[sock]))
    try:
        deadline = asyncio.get_running_loop().time() + 20
        while not server.started:
            assert asyncio.get_running_loop().time() < deadline, "the server did not start"
            await asyncio.sleep(0.02)
        yield
    finally:
        server.should_exit = True
        await task
