"""A Bot Connector on loopback that has bad days: it refuses, limits, hangs, drops, and forgets. For tests alone.

    async with connector_rig() as rig:
        rig.fault("post", Fault(403, {"error": {"code": "ConversationBlockedByUser"}}))

What it answers on good days is what Microsoft documents; their real counterpart is the Agents Playground.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

from aiohttp import web

TENANT = "11111111-1111-4111-8111-111111111111"
OTHER_TENANT = "22222222-2222-4222-8222-222222222222"
APP_ID = "00000000-0000-4000-8000-000000000b01"
BOT = f"28:{APP_ID}"
PASSWORD = "the-bots-own-password"

Body = dict[str, Any]


@dataclass(frozen=True)
class Fault:
    """One answer that is not the good one. `drop`: "before" or "after" the message was taken the line goes dead."""

    status: int = 0
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)
    hang_s: float = 0
    drop: str = ""


def refusal(status: int, code: str, message: str = "") -> Fault:
    return Fault(status, {"error": {"code": code, "message": message or f"{code}."}})


BLOCKED = refusal(403, "ConversationBlockedByUser")
NOT_THERE = refusal(403, "BotNotInConversationRoster")
NO_CONVERSATION = refusal(404, "ConversationNotFound")
NO_ACTIVITY = refusal(404, "ActivityNotFoundInConversation")
NO_ID = Fault(200, {})
HANGS = Fault(hang_s=30)
DROPS = Fault(drop="before")


def limited(seconds: str | None = None) -> Fault:
    headers = {} if seconds is None else {"Retry-After": seconds}
    return Fault(429, {"error": {"code": "Throttled"}}, headers)


@dataclass(frozen=True)
class Called:
    """One call, as it came in."""

    what: str
    """``post``, ``put``, ``delete``, ``create``, ``member``, ``members``, ``channels``, ``team``, ``token``."""
    conversation: str
    message_id: str
    body: Body
    authorization: str
    raw_path: str


@dataclass
class ConnectorRig:
    base: str
    calls: list[Called] = field(default_factory=list)
    faults: dict[str, list[Fault]] = field(default_factory=dict)
    always: dict[str, Fault] = field(default_factory=dict)
    shown: dict[str, dict[str, Body]] = field(default_factory=dict)
    """Conversation (without its reply chain) -> message id -> the activity as it stands now."""
    members: dict[str, Body] = field(default_factory=dict)
    """Account -> what the roster says."""
    channels: dict[str, list[Body]] = field(default_factory=dict)
    team_names: dict[str, str] = field(default_factory=dict)
    tokens: list[str] = field(default_factory=list)
    token_lives_s: int = 3600
    streams: dict[str, str] = field(default_factory=dict)
    """Stream id -> what it has shown; Teams takes nothing that does not begin with it."""
    conversations: dict[str, str] = field(default_factory=dict)
    """Member -> their own conversation, once it was begun."""
    _numbers: itertools.count[int] = field(default_factory=lambda: itertools.count(1))

    @property
    def service_url(self) -> str:
        return f"{self.base}/emea/"

    def fault(self, what: str, *faults: Fault) -> None:
        """The next calls of `what` are answered so."""
        self.faults.setdefault(what, []).extend(faults)

    def called(self, what: str) -> list[Called]:
        return [call for call in self.calls if call.what == what]

    def texts(self, conversation: str) -> list[str]:
        """What stands there now, cards by their summary."""
        return [str(one.get("text") or one.get("summary") or "") for one in self.shown.get(conversation, {}).values()]

    # --- serving -------------------------------------------------------------------------------------

    async def token(self, request: web.Request) -> web.StreamResponse:
        form = dict(await request.post())
        told = self._called(request, "token", "", "", {key: str(value) for key, value in form.items()})
        bad = await self._bad(request, "token")
        if bad is not None:
            return bad
        if told.body.get("client_secret") != PASSWORD:
            return web.json_response({"error": "invalid_client", "error_description": "AADSTS7000215"}, status=401)
        self.tokens.append(f"token-{len(self.tokens) + 1}")
        body = {"token_type": "Bearer", "access_token": self.tokens[-1], "expires_in": self.token_lives_s}
        return web.json_response(body)

    async def serve(self, request: web.Request) -> web.StreamResponse:
        parts = [unquote(part) for part in request.raw_path.partition("?")[0].split("/v3/", 1)[1].split("/")]
        what = _what(request.method, parts)
        body: Body = await request.json() if request.can_read_body else {}
        named = parts[1] if len(parts) > 1 else ""
        message_id = parts[3] if len(parts) > 3 and parts[2] == "activities" else ""
        self._called(request, what, named, message_id, body)
        if request.headers.get("Authorization", "").removeprefix("Bearer ") not in self.tokens:
            return web.json_response({"error": {"code": "Unauthorized"}}, status=401)
        bad = await self._bad(request, what)
        if bad is not None:
            return bad
        return self._good(what, named.partition(";")[0], message_id or (parts[3] if what == "member" else ""), body)

    def _good(self, what: str, conversation: str, about: str, body: Body) -> web.StreamResponse:
        shown = self.shown.setdefault(conversation, {})
        match what:
            case "post":
                return self._posted(shown, body)
            case "put" | "delete" if about not in shown:
                return web.json_response({"error": {"code": "ActivityNotFoundInConversation"}}, status=404)
            case "put":
                shown[about] = body
                return web.json_response({"id": about})
            case "delete":
                del shown[about]
                return web.Response(status=200)
            case "create":
                member = str(body["members"][0]["id"])
                own = self.conversations.setdefault(member, f"a:with-{member}")
                return web.json_response({"id": own}, status=201)
            case "member":
                told = self.members.get(about)
                missing = {"error": {"code": "MemberNotFoundInConversation"}}
                return web.json_response(missing, status=404) if told is None else web.json_response(told)
            case "members":
                return web.json_response({"members": list(self.members.values())})
            case "channels":
                return web.json_response({"conversations": self.channels.get(conversation, [])})
            case _:
                return web.json_response({"id": conversation, "name": self.team_names.get(conversation, "")})

    def _posted(self, shown: dict[str, Body], body: Body) -> web.StreamResponse:
        stream = next((one for one in body.get("entities") or () if one.get("type") == "streaminfo"), None)
        if stream is None:
            if body["type"] == "typing":
                return web.json_response({}, status=202)
        elif stream.get("streamId"):
            return self._streamed(shown, stream, body)
        message_id = f"17{next(self._numbers):011d}"
        shown[message_id] = body
        if stream is not None:
            self.streams[message_id] = "" if stream["streamType"] == "informative" else body["text"]
        return web.json_response({"id": message_id}, status=201)

    def _streamed(self, shown: dict[str, Body], stream: Body, body: Body) -> web.StreamResponse:
        known = self.streams.get(stream["streamId"])
        if known is None or not str(body["text"]).startswith(known):
            message = "Request streamed content should contain the previously streamed content"
            return web.json_response({"error": {"code": "ContentStreamNotAllowed", "message": message}}, status=403)
        shown[stream["streamId"]] = body
        if stream["streamType"] == "final":
            del self.streams[stream["streamId"]]
        else:
            self.streams[stream["streamId"]] = body["text"] if stream["streamType"] == "streaming" else known
        return web.json_response({}, status=202)

    async def _bad(self, request: web.Request, what: str) -> web.StreamResponse | None:
        waiting = self.faults.get(what)
        fault = waiting.pop(0) if waiting else self.always.get(what)
        if fault is None:
            return None
        if fault.hang_s:
            await asyncio.sleep(fault.hang_s)
        if fault.drop:
            assert request.transport is not None
            request.transport.abort()
            return web.Response(status=200)
        if not fault.status:
            return None
        return web.json_response(fault.body, status=fault.status, headers=fault.headers)

    def _called(self, request: web.Request, what: str, conversation: str, message_id: str, body: Body) -> Called:
        authorization = request.headers.get("Authorization", "")
        called = Called(what, conversation, message_id, body, authorization, request.raw_path)
        self.calls.append(called)
        return called


def _what(method: str, parts: list[str]) -> str:
    match method, parts:
        case "POST", ["conversations"]:
            return "create"
        case "POST", ["conversations", _, "activities"]:
            return "post"
        case "PUT", ["conversations", _, "activities", _]:
            return "put"
        case "DELETE", ["conversations", _, "activities", _]:
            return "delete"
        case "GET", ["conversations", _, "members", _]:
            return "member"
        case "GET", ["conversations", _, "pagedmembers"]:
            return "members"
        case "GET", ["teams", _, "conversations"]:
            return "channels"
        case "GET", ["teams", _]:
            return "team"
        case _:
            raise web.HTTPNotFound


@contextlib.asynccontextmanager
async def connector_rig() -> AsyncIterator[ConnectorRig]:
    rig = ConnectorRig("")
    app = web.Application(client_max_size=10_000_000)
    app.router.add_post("/{tenant}/oauth2/v2.0/token", rig.token)
    app.router.add_route("*", "/emea/v3/{path:.+}", rig.serve)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    rig.base = f"http://{host}:{port}"
    try:
        yield rig
    finally:
        await runner.cleanup()
