"""Teams' gate with everything behind it recorded: a metadata server on loopback, tokens built by hand.

Knows what the Bot Connector's tokens look like; nothing here is the gate's own code.
"""

from __future__ import annotations

import contextlib
import functools
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import httpx2
from starlette.applications import Starlette
from starlette.responses import JSONResponse, Response

from bot.identity.idp_http import IdpHttp
from bot.messages import ChatUser
from bot.payload import Body as Told
from bot.ports import Standing
from bot.teams.endpoint import Endpoint
from bot.teams.met import standing_met
from bot.teams.service_urls import ServiceUrls
from bot.teams.verify import ConnectorTokens
from policy.model import TenantId
from tests.kit.idp_keys import NOW, RSA_KEY, SECONDS, rsa_jwk, signed
from tests.kit.idp_server import IdpServer, idp_server
from tests.kit.teams_bodies import OTHER_TENANT, SERVICE_URL, TENANT, Body

APP_ID = "00000000-0000-4000-8000-0000000000b0"
ISSUER = "https://api.botframework.com"
KID = "bf-1"
METADATA = "/v1/.well-known/openidconfiguration"
PATH = "/api/messages"
PUBLISHED = rsa_jwk(RSA_KEY, KID, alg="RS256", endorsements=["msteams", "webchat"])


def claims(**changes: object) -> Body:
    """A good token's. `...` as a value removes the claim."""
    made: Body = {
        "iss": ISSUER,
        "aud": APP_ID,
        "serviceurl": SERVICE_URL,
        "nbf": SECONDS - 5,
        "exp": SECONDS + 3600,
    } | changes
    return {name: value for name, value in made.items() if value is not ...}


def header(**changes: object) -> Body:
    made: Body = {"alg": "RS256", "kid": KID, "x5t": KID, "typ": "JWT"} | changes
    return {name: value for name, value in made.items() if value is not ...}


def token(by: object = RSA_KEY, head: Body | None = None, **changes: object) -> str:
    """A good one, but for `changes` of its claims."""
    return signed(header() if head is None else head, claims(**changes), by)


@functools.cache
def _token(changes: str) -> str:
    """Signing takes longer than everything the gate does."""
    return token(**json.loads(changes))


@dataclass
class Gate:
    """`stands` is what Teams would say of a sender. What got through is in `delivered`."""

    idp: IdpServer
    stands: Standing | Exception = Standing.MEMBER
    now: datetime = NOW
    app: Starlette = field(default_factory=Starlette)
    endpoint: Endpoint = field(init=False)
    client: httpx2.AsyncClient = field(init=False)
    asked: list[ChatUser] = field(default_factory=list)
    turned_away: list[tuple[ChatUser, Standing, str | None]] = field(default_factory=list)
    delivered: list[Told] = field(default_factory=list)
    met: list[Standing | None] = field(default_factory=list)
    """What the delivery was told of its sender's standing."""

    async def _standing(self, who: ChatUser, _body: Told) -> Standing:
        self.asked.append(who)
        if isinstance(self.stands, Exception):
            raise self.stands
        return self.stands

    async def _away(self, who: ChatUser, standing: Standing, session: str | None) -> None:
        self.turned_away.append((who, standing, session))

    async def _deliver(self, body: Told) -> Response:
        self.delivered.append(body)
        self.met += [standing_met(who) for who in self.asked[-1:]]
        return JSONResponse({"answered": True})

    def serve(self, http: IdpHttp) -> None:
        """What a start makes."""
        published = f"{self.idp.base}{METADATA}"
        tokens = ConnectorTokens(APP_ID, http, ServiceUrls(), metadata_url=published, clock=lambda: self.now)
        tenants = {TENANT: TenantId("acme"), OTHER_TENANT: TenantId("bolt")}
        self.endpoint = Endpoint(tokens, tenants.get, self._standing, self._away, self._deliver)
        self.app = Starlette(routes=self.endpoint.routes())

    def publishes(self, *keys: Body) -> None:
        self.idp.says("/keys", {"keys": list(keys)})

    @property
    def readings(self) -> int:
        return self.idp.asked.get("/keys", 0)

    async def send(self, body: object, *, authorization: str | list[str] | None = None, **changes: Any) -> int:
        """The status of one delivery. A fault in the gate is raised here, not made a 500. `changes`: of the token."""
        given = f"Bearer {_token(json.dumps(changes))}" if authorization is None else authorization
        tokens = [given] if isinstance(given, str) else given
        headers = [(b"Authorization", one.encode("latin-1")) for one in tokens]
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        headers.append((b"Content-Type", b"application/json"))
        return (await self.client.post(PATH, content=content, headers=headers)).status_code

    @property
    def untouched(self) -> bool:
        """Nothing behind the gate was reached, nobody was asked about, nothing was written down."""
        return not (self.delivered or self.asked or self.turned_away)


@contextlib.asynccontextmanager
async def teams_gate() -> AsyncIterator[Gate]:
    async with idp_server() as idp:
        http = IdpHttp()
        gate = Gate(idp)
        idp.says(METADATA, {"issuer": ISSUER, "jwks_uri": f"{idp.base}/keys"})
        gate.publishes(PUBLISHED)
        gate.serve(http)
        gate.client = httpx2.AsyncClient(transport=httpx2.ASGITransport(app=gate.app), base_url="http://bot.example")
        try:
            yield gate
        finally:
            await gate.client.aclose()
            await http.close()
