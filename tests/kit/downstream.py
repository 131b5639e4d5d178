"""A door whose refunds go to somebody else's API, in the requester's own name, over a real OpenID Connect server.

The API is a server of its own on loopback: it checks every bearer against its authorization server's published keys
and believes nothing else. Knows how people sign in and how the parts are put together.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jwt
from aiohttp import web
from sqlalchemy.engine import Connection

from audit.store import AuditStore
from bot.identity.discovery import Discovery
from bot.identity.downstream import Client, Downstream, DownstreamKind, SubjectToken
from bot.identity.grants import Grants
from bot.identity.idp_http import IdpHttp
from bot.identity.issuers import Issuer, Preset
from bot.identity.jwks import KeySource
from bot.identity.minting import Assertions
from bot.identity.oidc import OidcClient, challenge_of
from bot.identity.sealing import Sealer, open_or_make
from bot.identity.token_endpoint import HttpTokenEndpoints
from bot.identity.tokens import CallTokens
from bot.identity.user_tokens import Organisation, UserBearers, minters
from policy.approval import PressResult
from policy.model import Json, Principal, Subject, TenantId, ToolName
from policy.pii import redact
from tests.kit import door
from tests.kit.door import DEMO, House
from tests.rigs.oidc_provider_rig import OidcProvider, client, oidc_provider
from tools.credentials import Secret
from tools.gateway import Gateway
from tools.held import HeldView
from tools.spec import Action, ActionError, Args, CallContext, Certainty, Resolved, ToolResult

CALLBACK = "http://127.0.0.1:9/signin/callback"
REFUND = ToolName("refund.issue")
ORDERS = "https://orders.example"
OWN = "api://countersign"
OTHER = TenantId("other")
BASE_URL = "https://countersign.acme.example"
EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"
BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer"
GRANTS = ["authorization_code", "refresh_token", EXCHANGE, BEARER]


@dataclass
class OrdersApi:
    """Somebody else's API. Refunds for whoever the bearer says, if it says so to this API and to nobody else."""

    issuer: str
    address: str = ""
    done: list[dict[str, Any]] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)

    async def refund(self, request: web.Request) -> web.Response:
        token = request.headers.get("authorization", "").removeprefix("Bearer ")
        try:
            key = await asyncio.to_thread(self._key, token)
            claims = jwt.decode(
                token,
                key,
                algorithms=["RS256"],
                audience=ORDERS,
                issuer=self.issuer,
                options={"require": ["exp", "sub", "aud"], "strict_aud": True},
            )
        except jwt.PyJWTError as error:
            self.refused.append(type(error).__name__)
            return web.json_response({"error": "invalid_token"}, status=401)
        if "orders.refund" not in str(claims.get("scope", "")).split():
            self.refused.append("scope")
            return web.json_response({"error": "insufficient_scope"}, status=403)
        self.done.append(claims)
        return web.json_response({"id": f"r-{len(self.done)}"})

    def _key(self, token: str) -> Any:
        return jwt.PyJWKClient(f"{self.issuer}/jwks").get_signing_key_from_jwt(token).key


@dataclass
class AtOrders:
    """The refund tool with its effect moved to that API. Looked up and reserved as before."""

    inner: Action
    api: OrdersApi

    async def resolve(self, ctx: CallContext, args: Args) -> Resolved:
        return await self.inner.resolve(ctx, args)

    async def run(self, ctx: CallContext, args: Args) -> ToolResult:
        bearer = await ctx.downstream.bearer("orders")
        http = IdpHttp()
        try:
            answer = await http.post(f"{self.api.address}/refunds", {}, {"Authorization": f"Bearer {bearer}"})
        finally:
            await http.close()
        if answer.status != 200:
            raise ActionError(f"The API said {answer.status}. Nothing was done.", Certainty.NOT_DONE)
        reference: Json = str(answer.body["id"])
        return ToolResult(content=reference, sentence="Refunded.", reference=str(reference))

    async def look_up(self, ctx: CallContext, args: Args) -> ToolResult | None:
        return None


@dataclass
class Downstreams:
    """A house with the API behind its refund tool."""

    house: House
    rig: OidcProvider
    api: OrdersApi
    issuer: Issuer
    oidc: OidcClient
    grants: Grants
    users: UserBearers
    configured: dict[str, Downstream]

    async def sign_in(self, sub: str = "dana") -> str:
        """As a person does it, with the provider's own pages. Their refresh token, which is kept sealed."""
        meta = await self.oidc.discover(self.issuer)
        verifier = secrets.token_urlsafe(48)
        url = self.oidc.authorize_url(
            meta,
            self.issuer,
            redirect_uri=CALLBACK,
            state="s",
            nonce="n",
            code_challenge=challenge_of(verifier),
            prompt="consent",
        )

        def browse() -> Mapping[str, str]:
            with self.rig.browser() as browser:
                return browser.log_in(url, sub)

        got = await asyncio.to_thread(browse)
        tokens = await self.oidc.redeem(self.issuer, code=got["code"], redirect_uri=CALLBACK, code_verifier=verifier)
        assert tokens.refresh_token is not None
        refresh_token = tokens.refresh_token
        vessel = await self.grants.prepare(DEMO, self.subject(sub))

        def unit(conn: Connection) -> None:
            events = self.grants.store(conn, vessel, refresh_token, self.house.clock())
            self.house.door.audit.append(conn, events)

        await self.house.writer.run(unit)
        return refresh_token

    def subject(self, sub: str = "dana") -> Subject:
        return Subject(self.issuer.issuer, sub)

    def who(self, sub: str = "dana") -> Principal:
        return self.house.who(sub)

    async def bearer(self, sub: str = "dana", tool: str = "refund.issue", name: str = "orders") -> str:
        return await self.users.bearer(self.who(sub), name, ToolName(tool), "call-1")


def provider_issuer(rig: OidcProvider, **changes: Any) -> Issuer:
    made = Issuer(
        "acme",
        Preset.OIDC,
        rig.issuer,
        "app",
        Secret("client secret of acme", "rig-secret"),
        scopes=("openid", "offline_access", "email"),
    )
    return replace(made, **changes)


def orders(rig: OidcProvider, **changes: Any) -> Downstream:
    """The API, as tenants.yaml would state it."""
    made = Downstream(
        name="orders",
        kind=DownstreamKind.RFC8693,
        at=Client(f"{rig.issuer}/token", "app", Secret("client secret of orders", "rig-secret")),
        audience=ORDERS,
        tools={REFUND: ("orders.refund",)},
        subject=SubjectToken.ACCESS_TOKEN,
    )
    return replace(made, **changes)


@asynccontextmanager
async def downstreams(
    url: str,
    folder: Path,
    rig: OidcProvider,
    monkeypatch: Any,
    *,
    api_issuer: str | None = None,
    executor: str = "one",
    fresh: bool = True,
    tokens: Callable[[House], CallTokens] | None = None,
) -> AsyncIterator[Downstreams]:
    """Opens all of it. Time is real, for the provider's is; `house.clock` may still be moved on from there."""
    monkeypatch.setattr(door, "ISSUER", rig.issuer)
    people = folder / "directory.yaml"
    if not people.exists():
        people.write_text(door._people().replace("urn:countersign:directory", rig.issuer))
    async with AsyncExitStack() as stack:
        house = stack.enter_context(door.open_house(url, folder, executor=executor, fresh=fresh))
        house.clock.now = datetime.now(UTC)
        house.change_policy(
            "tools.yaml",
            "expires: 24h\n  limits: {per_user_per_day: 10}",
            "expires: 6d\n  limits: {per_user_per_day: 10}",
        )
        api = OrdersApi(api_issuer or rig.issuer)
        app = web.Application()
        app.router.add_post("/refunds", api.refund)
        api.address = await stack.enter_async_context(served(app))
        http = IdpHttp()
        stack.push_async_callback(http.close)
        discovery, issuer = Discovery(http), provider_issuer(rig)
        oidc = OidcClient(http, discovery)
        grants = Grants(house.writer, AuditStore(redact), Sealer(open_or_make(folder)), lambda: datetime.now(UTC))
        configured = {"orders": orders(rig)}
        signer = tokens(house) if tokens is not None else house.tokens
        users = UserBearers(
            organisation=lambda tenant: Organisation(issuer, configured) if tenant == DEMO else None,
            grants=grants,
            oidc=oidc,
            keys=KeySource(http, discovery),
            minters=minters(HttpTokenEndpoints(http), Assertions(signer)),
            writer=house.writer,
            audit=house.door.audit,
            clock=lambda: datetime.now(UTC),
            base_url=BASE_URL,
        )
        wired = replace(house.door, user_tokens=users)
        house = replace(house, door=wired, gateway=Gateway(wired))
        house.tools[REFUND] = replace(house.tools[REFUND], action=AtOrders(house.tools[REFUND].action, api))
        yield Downstreams(house, rig, api, issuer, oidc, grants, users, configured)


@asynccontextmanager
async def served(app: web.Application) -> AsyncIterator[str]:
    """`app` on a free port of loopback."""
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        host, port = runner.addresses[0][:2]
        yield f"http://{host}:{port}"
    finally:
        await runner.cleanup()


ACCOUNTS: dict[str, dict[str, object]] = {
    sub: {"email": f"{sub}@acme.example", "oid": f"obj-{sub}"} for sub in ("dana", "sam", "ann", "eve", "greedy")
}
APIS = {ORDERS: {"scope": "orders.read orders.refund", "ttl": 300}, OWN: {"scope": ""}}


def provider(**exchange: Any) -> AbstractContextManager[OidcProvider]:
    """The company's provider, where tokens are exchanged too. `refresh_ttl`: how long a sign-in lasts, in seconds."""
    short = exchange.pop("refresh_ttl", None)
    more: dict[str, Any] = {}
    if short is not None:
        ttl = {"AccessToken": 300, "AuthorizationCode": 60, "IdToken": 300, "RefreshToken": short}
        more["configuration"] = {"ttl": ttl | {"Session": 3600, "Interaction": 600, "Grant": 86400}}
    return oidc_provider(
        clients=[client("app", CALLBACK, grant_types=GRANTS)],
        accounts=ACCOUNTS,
        exchange={"own": OWN, "apis": APIS, **exchange},
        **more,
    )


async def approved(at: Downstreams, days: float = 3) -> HeldView:
    """Asked for, waited for days, countersigned."""
    view = await at.house.ask_refund()
    at.house.clock.move(days=days)
    assert (await at.house.press("ann", view)).result is PressResult.APPROVED
    return view


def read(token: str) -> dict[str, Any]:
    claims: dict[str, Any] = jwt.decode(token, options={"verify_signature": False})
    return claims
