"""What stands between the playground and our bot, as Microsoft does: it signs, it gives the bot tokens, it remembers.

The playground signs nothing, asks for no token and forgets what it was told, so this relay plays the Bot Framework's
part on loopback: OpenID metadata and keys that rotate, the token endpoint, and the connector in front of the
playground's own, with what that one lacks (deleting, guests, ids by directory object, one person's own word).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
import socket
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

import aiohttp
import jwt
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import rsa
from yarl import URL

ISSUER = "https://api.botframework.com"
SCOPE = "https://api.botframework.com/.default"
APP_ID = "00000000-0000-4000-8000-000000000b01"
APP_PASSWORD = "the-bots-own-password"
TENANT = "11111111-1111-4111-8111-111111111111"
BOT = f"28:{APP_ID}"

Body = dict[str, Any]


@dataclass
class Shown:
    """A message as it stands in a conversation now."""

    id: str
    conversation: str
    """Without ``;messageid=``."""
    root: str
    """The reply chain it stands in; empty outside channels."""
    by: str
    activity: Body


@dataclass(frozen=True)
class Heard:
    """What the bot answered to one delivery."""

    activity: Body
    status: int
    body: Any


@dataclass
class Key:
    kid: str
    private: rsa.RSAPrivateKey
    endorsements: list[str] | None

    def public(self) -> Body:
        told = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(self.private.public_key()))
        told |= {"kid": self.kid, "use": "sig", "alg": "RS256"}
        return told if self.endorsements is None else told | {"endorsements": self.endorsements}


def new_key(*, endorsements: list[str] | None = None) -> Key:
    private = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return Key(secrets.token_hex(8), private, ["msteams"] if endorsements is None else endorsements)


@dataclass
class Wire:
    """`bot`: where deliveries go. `down`: the connector answers nothing but 503."""

    playground: str
    session: aiohttp.ClientSession
    base: str
    bot: str = ""
    keys: list[Key] = field(default_factory=lambda: [new_key()])
    heard: list[Heard] = field(default_factory=list)
    shown: dict[str, list[Shown]] = field(default_factory=dict)
    calls: list[tuple[str, str]] = field(default_factory=list)
    """Each call of the connector, method and path."""
    tokens: list[str] = field(default_factory=list)
    """The bot's own tokens, all that were handed out."""
    overlay: dict[str, Body] = field(default_factory=dict)
    """Account id -> what the connector says otherwise than the playground's: a guest's role."""
    ids: dict[str, str] = field(default_factory=dict)
    """Directory object -> account id, which the connector takes in its place."""
    guests_listed: bool = False
    down: bool = False
    speaker: Body | None = None
    """Whose word the next message is: the playground says of all that it is its one user's."""
    rated: str = ""
    """The answer the next thumb is about."""
    _listening: asyncio.Future[Heard] | None = None
    _listens_to: tuple[str, str] = ("", "")

    # --- the Bot Framework's sign-in -----------------------------------------------------------------

    @property
    def metadata_url(self) -> str:
        return f"{self.base}/openid"

    @property
    def service_url(self) -> str:
        return f"{self.base}/connector"

    def rotate(self, *, keep: bool = False) -> None:
        """Signs with a new key from now on. `keep`: the one before it stays published."""
        self.keys = [new_key(), *(self.keys if keep else [])]

    def sign(self, activity: Body, **claims: Any) -> str:
        """A token as the Bot Framework gives it to a delivery; a claim of None is left out."""
        now = int(time.time())
        told = {
            "iss": ISSUER,
            "aud": APP_ID,
            "serviceurl": activity.get("serviceUrl"),
            "nbf": now - 5,
            "exp": now + 300,
        }
        kept = {name: value for name, value in (told | claims).items() if value is not None}
        return jwt.encode(kept, self.keys[0].private, "RS256", headers={"kid": self.keys[0].kid})

    async def _openid(self, _request: web.Request) -> web.Response:
        told = {"issuer": ISSUER, "jwks_uri": f"{self.base}/keys", "id_token_signing_alg_values_supported": ["RS256"]}
        return web.json_response(told)

    async def _keys(self, _request: web.Request) -> web.Response:
        return web.json_response({"keys": [key.public() for key in self.keys]})

    async def _token(self, request: web.Request) -> web.Response:
        form = await request.post()
        asked = [form.get(name) for name in ("grant_type", "client_id", "client_secret", "scope")]
        if asked != ["client_credentials", APP_ID, APP_PASSWORD, SCOPE] or request.match_info["tenant"] != TENANT:
            told = {"error": "invalid_client", "error_description": "AADSTS7000215: Invalid client secret provided."}
            return web.json_response(told, status=401)
        self.tokens.append(secrets.token_urlsafe(24))
        return web.json_response({"token_type": "Bearer", "expires_in": 3599, "access_token": self.tokens[-1]})

    # --- from the playground to the bot --------------------------------------------------------------

    async def deliver(self, activity: Body, token: str | None = None) -> Heard:
        """Hands one activity to the bot, signed, as the Bot Framework would."""
        headers = {"Authorization": f"Bearer {token or self.sign(activity)}"}
        async with self.session.post(self.bot, json=activity, headers=headers) as answer:
            text = await answer.text()
            with contextlib.suppress(json.JSONDecodeError):
                text = json.loads(text)
            heard = Heard(activity, answer.status, text)
        self.heard.append(heard)
        return heard

    async def speak(self, who: Body, conversation: str, text: str) -> None:
        """The next message with `text` in `conversation` is `who`'s."""
        self.speaker, self._listens_to = who, (conversation, text)
        self._listening = asyncio.get_running_loop().create_future()

    async def listened(self, seconds: float) -> Heard:
        """What the bot answered to it."""
        assert self._listening is not None
        try:
            return await asyncio.wait_for(self._listening, seconds)
        except TimeoutError:
            raise AssertionError(f"the bot did not answer to {self._listens_to!r}") from None
        finally:
            self.speaker = self._listening = None

    async def _inbound(self, request: web.Request) -> web.Response:
        activity: Body = await request.json()
        if activity.get("name") == "message/submitAction":
            activity.setdefault("replyToId", self.rated)
        spoken = (
            self._listening is not None
            and not self._listening.done()
            and activity["type"] == "message"
            and (activity["conversation"]["id"].partition(";")[0], activity.get("text")) == self._listens_to
        )
        if spoken and self.speaker is not None:
            activity["from"] = self.speaker
        heard = await self.deliver(activity)
        if spoken and self._listening is not None and not self._listening.done():
            self._listening.set_result(heard)
        if isinstance(heard.body, str):
            return web.Response(status=heard.status, text=heard.body)
        return web.json_response(heard.body, status=heard.status)

    # --- from the bot to the playground --------------------------------------------------------------

    async def _connector(self, request: web.Request) -> web.Response:
        path = request.match_info["path"]
        self.calls.append((request.method, path))
        if self.down:
            return web.json_response({"error": {"code": "ServiceUnavailable"}}, status=503)
        if request.headers.get("Authorization", "").removeprefix("Bearer ") not in self.tokens:
            return web.json_response({"error": {"code": "Unauthorized", "message": "No token of the bot"}}, status=401)
        body: Body = await request.json() if request.can_read_body else {}
        parts = [self.ids.get(part, part) for part in map(unquote, path.split("/"))]
        for member in body.get("members") or ():
            member["id"] = self.ids.get(member["id"], member["id"])
        if request.method == "DELETE":
            return self._removed(parts)
        status, told = await self.forward(request.method, parts, body, request.query_string)
        self._remember(request.method, parts, body, status, told)
        self._lay_over(told)
        return web.json_response(told, status=status) if told is not None else web.Response(status=status)

    async def forward(self, method: str, parts: list[str], body: Body, query: str = "") -> tuple[int, Any]:
        """The playground's own answer."""
        url = URL(
            f"{self.playground}/_connector/" + "/".join(map(_quoted, parts)) + (query and f"?{query}"), encoded=True
        )
        async with self.session.request(method, url, json=body or None) as answer:
            text = await answer.text()
            return answer.status, json.loads(text) if text.strip() else None

    def _removed(self, parts: list[str]) -> web.Response:
        """The playground cannot delete; Teams does, and nobody reads the message any more."""
        base, message = parts[2].partition(";")[0], parts[4]
        found = [one for one in self.shown.get(base, ()) if one.id == message]
        if not found:
            return web.json_response({"error": {"code": "ActivityNotFoundInConversation"}}, status=404)
        self.shown[base].remove(found[0])
        return web.Response(status=200)

    def _lay_over(self, told: Any) -> None:
        listed = told.get("members") if isinstance(told, dict) else told
        for member in listed if isinstance(listed, list) else [told]:
            if isinstance(member, dict):
                member.update(self.overlay.get(str(member.get("id")), {}))
        if isinstance(listed, list) and not self.guests_listed:
            # Everybody is in every chat of the playground: with a guest among them nothing is said in the open.
            listed[:] = [one for one in listed if not isinstance(one, dict) or one.get("userRole") != "guest"]

    def _remember(self, method: str, parts: list[str], body: Body, status: int, told: Any) -> None:
        if status >= 300:
            return
        if parts == ["v3", "conversations"]:
            self._remember_new(body, told)
        elif body.get("type") in ("message", "typing"):
            self._remember_said(method, parts, body, told)

    def _remember_said(self, method: str, parts: list[str], body: Body, told: Any) -> None:
        base, _, root = parts[2].partition(";messageid=")
        stream = next((one for one in body.get("entities") or () if one.get("type") == "streaminfo"), {})
        known = parts[4] if method == "PUT" else stream.get("streamId")
        if known is not None:
            for one in self.shown.get(base, ()):
                if one.id == known:
                    one.activity = body
        elif body["type"] == "message" or stream:
            self.note(str((told or {}).get("id", "")), base, root, BOT, body)

    def _remember_new(self, body: Body, told: Any) -> None:
        """A conversation that began with a message: a post in a channel."""
        if body.get("activity") and told.get("activityId"):
            base = str(told["id"]).partition(";")[0]
            self.note(str(told["activityId"]), base, str(told["activityId"]), BOT, body["activity"])

    def note(self, message: str, conversation: str, root: str, by: str, activity: Body) -> None:
        in_channel = conversation.endswith("@thread.tacv2")
        one = Shown(message, conversation, (root or message) if in_channel else "", by, activity)
        self.shown.setdefault(conversation, []).append(one)


def _quoted(part: str) -> str:
    return str(URL.build(path="/" + part, encoded=False)).removeprefix("/").replace(";", "%3B")


@contextlib.asynccontextmanager
async def wire(listening: socket.socket, playground: str) -> AsyncIterator[Wire]:
    """Serves on a socket that outlives it: the playground knows one address for all of its life."""
    base = f"http://127.0.0.1:{listening.getsockname()[1]}"
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=60)) as session:
        made = Wire(playground, session, base)
        app = web.Application(client_max_size=10_000_000)
        app.router.add_get("/openid", made._openid)
        app.router.add_get("/keys", made._keys)
        app.router.add_post("/{tenant}/oauth2/v2.0/token", made._token)
        app.router.add_post("/in/api/messages", made._inbound)
        app.router.add_route("*", "/connector/{path:.+}", made._connector)
        runner = web.AppRunner(app, shutdown_timeout=1)
        await runner.setup()
        await web.SockSite(runner, listening.dup()).start()
        try:
            yield made
        finally:
            await runner.cleanup()
