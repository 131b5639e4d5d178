"""A provider on loopback that says whatever a test wants it to: discovery, keys, a token endpoint.

Knows HTTP alone. What it cannot show is how a real provider behaves: that is `tests/rigs/oidc_provider_rig.py`.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from aiohttp import web

from bot.identity.issuers import Issuer
from tests.kit.idp_keys import ISSUER, PUBLISHED


@dataclass
class Said:
    """One answer. `body` is sent as JSON, bytes as they are."""

    body: Any = None
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    hang_s: float = 0
    drip: bool = False
    """One byte at a time, for ever."""


@dataclass
class IdpServer:
    """`said` holds what each path answers: change it while it runs. `asked` counts."""

    base: str
    said: dict[str, Said] = field(default_factory=dict)
    asked: dict[str, int] = field(default_factory=dict)
    forms: list[dict[str, str]] = field(default_factory=list)
    authorizations: list[str | None] = field(default_factory=list)
    gate: asyncio.Event | None = None
    """While it is there and not set, nothing is answered."""
    reached: asyncio.Event = field(default_factory=asyncio.Event)
    """Set by the first request."""

    @property
    def issuer(self) -> Issuer:
        return replace(ISSUER, issuer=self.base)

    def metadata(self, **changes: object) -> dict[str, object]:
        made: dict[str, object] = {
            "issuer": self.base,
            "authorization_endpoint": f"{self.base}/authorize",
            "token_endpoint": f"{self.base}/token",
            "jwks_uri": f"{self.base}/jwks",
            "code_challenge_methods_supported": ["S256"],
            "id_token_signing_alg_values_supported": ["RS256"],
            "token_endpoint_auth_methods_supported": ["client_secret_basic"],
        } | changes
        return {name: value for name, value in made.items() if value is not ...}

    def says(self, path: str, body: object = None, **more: Any) -> None:
        self.said[path] = Said(body, **more)

    def publishes(self, *keys: Mapping[str, object]) -> None:
        self.says("/jwks", {"keys": list(keys)})

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.reached.set()
        self.asked[request.path] = self.asked.get(request.path, 0) + 1
        if request.method == "POST":
            self.forms.append({name: str(value) for name, value in (await request.post()).items()})
            self.authorizations.append(request.headers.get("Authorization"))
        if self.gate is not None:
            await self.gate.wait()
        answer = self.said.get(request.path, Said({"error": "not found"}, 404))
        await asyncio.sleep(answer.hang_s)
        if answer.drip:
            return await self._drip(request)
        if isinstance(answer.body, bytes):
            return web.Response(body=answer.body, status=answer.status, headers=answer.headers)
        return web.json_response(answer.body, status=answer.status, headers=answer.headers)

    async def _drip(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        with contextlib.suppress(ConnectionError):
            while True:
                await response.write(b" ")
                await asyncio.sleep(0.01)
        return response


@contextlib.asynccontextmanager
async def idp_server() -> AsyncIterator[IdpServer]:
    """A provider that works, on a free port; ends with its test."""
    server = IdpServer("")
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", server.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    server.base = f"http://127.0.0.1:{runner.addresses[0][1]}"
    server.says("/.well-known/openid-configuration", server.metadata())
    server.says("/jwks", PUBLISHED)
    try:
        yield server
    finally:
        await runner.cleanup()
