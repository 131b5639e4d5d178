"""Starts and drives local-slack (npm): a Slack workspace on loopback. Also a proxy in front of it for bad days.

    async with LocalSlack.start("socket") as slack:
        await slack.say("C01FIN", "U01DANA", "hello")

local-slack lacks streaming and never refuses: `SlackProxy` rewrites ``users.info``, injects refusals, 429 and
time-outs, and plays the streaming methods on top of the ordinary ones.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

import aiohttp
from aiohttp import web

BINARY = Path(__file__).parent / "node_modules" / "local-slack-linux-x64" / "bin" / "local-slack"

TEAM = "T01TEST"
BOT = "U0BOT"
BOT_TOKEN = "xoxb-test-token"
APP_TOKEN = "xapp-test-token"
SIGNING_SECRET = "test-signing-secret"
PEOPLE = {
    "U01DANA": "Dana Reyes",
    "U02SAM": "Sam Patel",
    "U03ANN": "Ann Okafor",
    "U04BOB": "Bob Lindgren",
    "U05LEE": "Lee Morgan",
    "U06SALLY": "Sally Berg",
    "U07ADA": "Ada Kim",
    "U08AUD": "Aud Novak",
    "U09RITA": "Rita Ray",
}
CHANNELS = {"C01GEN": "general", "G01FIN": "finance-approvals"}
PRIVATE = {"G01FIN"}

T = TypeVar("T")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def until(probe: Callable[[], Awaitable[T | None]], what: str, seconds: float = 10) -> T:
    """The first value of `probe` that is not empty; fails by name after a deadline."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        value = await probe()
        if value:
            return value
        await asyncio.sleep(0.02)
    raise AssertionError(f"timed out waiting for {what}")


def _config(
    mode: str,
    request_url: str | None,
    private: Collection[str],
    members: Mapping[str, Collection[str]],
    team: str = TEAM,
) -> str:
    app = {
        "appId": "A01APP",
        "botUserId": BOT,
        "botName": "countersign",
        "botToken": BOT_TOKEN,
        "appToken": APP_TOKEN,
        "signingSecret": SIGNING_SECRET,
        "mode": mode,
    }
    if request_url:
        app["requestUrl"] = request_url
    users = [
        {
            "id": user,
            "name": name.split()[0].lower(),
            "real_name": name,
            "email": f"{name.split()[0].lower()}@acme.test",
        }
        for user, name in PEOPLE.items()
    ]
    channels = [
        {
            "id": channel,
            "name": name,
            "is_private": channel in private,
            "members": [*members.get(channel, PEOPLE), BOT],
        }
        for channel, name in CHANNELS.items()
    ]
    workspace = {"name": "Acme", "domain": "acme", "teamId": team}
    # JSON is YAML.
    return json.dumps({"workspace": workspace, "app": app, "users": users, "channels": channels})


class LocalSlack:
    """A running workspace. `ui` collects what its page would show: modals, their errors, home tabs."""

    def __init__(self, url: str, session: aiohttp.ClientSession) -> None:
        self.url = url
        self.session = session
        self.ui: list[dict[str, Any]] = []
        self._ws: aiohttp.ClientWebSocketResponse | None = None

    @property
    def api_url(self) -> str:
        return self.url + "/api/"

    @classmethod
    @contextlib.asynccontextmanager
    async def start(
        cls,
        mode: str,
        folder: Path,
        request_url: str | None = None,
        *,
        private: Collection[str] = PRIVATE,
        members: Mapping[str, Collection[str]] = MappingProxyType({}),
        team: str = TEAM,
    ) -> AsyncIterator[LocalSlack]:
        """`private`: those channels; `members`: who is in a channel beside the bot, where it is not everybody."""
        port = free_port()
        config = folder / f"local-slack-{port}.yaml"
        config.write_text(_config(mode, request_url, private, members, team))
        process = await asyncio.create_subprocess_exec(
            str(BINARY), "--config", str(config), "--port", str(port), "--base-host", "127.0.0.1",
            stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
        )  # fmt: skip
        pump: asyncio.Task[None] | None = None
        try:
            async with aiohttp.ClientSession() as session:
                slack = cls(f"http://127.0.0.1:{port}", session)
                await until(slack._answers, "local-slack to answer")
                slack._ws = await session.ws_connect(slack.url.replace("http", "ws") + "/ui")
                pump = asyncio.create_task(slack._pump(slack._ws))
                yield slack
                await slack._ws.close()
        finally:
            if pump is not None:
                pump.cancel()
                await asyncio.gather(pump, return_exceptions=True)
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()

    async def _answers(self) -> bool:
        try:
            async with self.session.get(self.url + "/_control/log") as response:
                return response.status == 200
        except aiohttp.ClientError:
            return False

    async def _pump(self, ws: aiohttp.ClientWebSocketResponse) -> None:
        async for message in ws:
            self.ui.append(json.loads(message.data))

    # --- what people do ------------------------------------------------------------------------------

    async def _control(self, path: str, **body: Any) -> Any:
        async with self.session.post(f"{self.url}/_control/{path}", json=body) as response:
            assert response.status == 200, await response.text()
            return await response.json()

    async def say(self, channel: str, user: str, text: str, thread_ts: str | None = None) -> str:
        """Returns the message's ts."""
        more = {"thread_ts": thread_ts} if thread_ts else {}
        told = await self._control("message", channel=channel, user=user, text=text, **more)
        return str(told["message"]["ts"])

    async def command(self, channel: str, user: str, text: str) -> None:
        await self._control("command", channel=channel, user=user, command="/countersign", text=text)

    async def open_home(self, user: str) -> None:
        await self._control("open-home", user=user)

    async def press(self, message: dict[str, Any], user: str, action_id: str) -> None:
        """Presses the first button of `message` with `action_id`."""
        block, button = next(
            (block, element)
            for block in message["blocks"]
            if block["type"] == "actions"
            for element in block["elements"]
            if element["action_id"] == action_id
        )
        action = {
            "type": "button",
            "action_id": action_id,
            "block_id": block.get("block_id", ""),
            "value": button["value"],
        }
        channel, ts = message["channel"], message["ts"]
        await self._control("interact", channel=channel, messageTs=ts, user=user, action=action)

    async def thumb(self, message: dict[str, Any], user: str, value: str) -> None:
        """Gives the thumb below `message` whose button has `value`."""
        block = next(block for block in message["blocks"] if block["type"] == "context_actions")
        (thumbs,) = block["elements"]
        assert value in (thumbs["positive_button"]["value"], thumbs["negative_button"]["value"])
        action = {"type": "feedback_buttons", "action_id": thumbs["action_id"], "value": value}
        channel, ts = message["channel"], message["ts"]
        action["block_id"] = block.get("block_id", "")
        await self._control("interact", channel=channel, messageTs=ts, user=user, action=action)

    async def submit(self, user: str, text: str) -> None:
        """Submits the open modal."""
        assert self._ws is not None
        values = {"text": {"value": {"type": "plain_text_input", "value": text}}}
        await self._ws.send_json({"t": "view_submit", "user": user, "values": values})

    # --- what people see -----------------------------------------------------------------------------

    async def dm(self, user: str) -> str:
        headers = {"Authorization": f"Bearer {BOT_TOKEN}"}
        async with self.session.post(
            self.api_url + "conversations.open", json={"users": user}, headers=headers
        ) as told:
            return str((await told.json())["channel"]["id"])

    async def messages(self, channel: str) -> list[dict[str, Any]]:
        async with self.session.get(f"{self.url}/_control/messages/{channel}") as response:
            return list((await response.json())["messages"])

    async def bot_messages(self, channel: str) -> list[dict[str, Any]]:
        return [message for message in await self.messages(channel) if message.get("user") == BOT]

    async def private(self, channel: str, user: str) -> list[str]:
        """Ephemeral messages that only `user` sees."""
        seen = await self.messages(channel)
        return [m["text"] for m in seen if m.get("subtype") == "ephemeral" and m.get("ephemeral_to") == user]

    def shown(self, kind: str) -> list[dict[str, Any]]:
        """``view``, ``view_errors`` or ``home`` frames of the page, oldest first."""
        return [frame for frame in self.ui if frame["t"] == kind]

    async def connected(self) -> bool:
        """Whether a bot listens on Socket Mode."""
        async with self.session.get(self.url + "/_control/log") as response:
            return any("hello" in entry.get("summary", "") for entry in (await response.json())["log"])


@dataclass
class Fault:
    """What happens to one call instead of the call."""

    body: dict[str, Any] = field(default_factory=dict)
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    hang_s: float = 0
    after: bool = False
    """Let the call through first: Slack did it, and the answer was lost."""


RATE_LIMITED = Fault({"ok": False, "error": "ratelimited"}, 429, {"Retry-After": "1"})


class SlackProxy:
    """Stands between the bot and local-slack's Web API."""

    def __init__(self, slack: LocalSlack, *, streaming: bool = False) -> None:
        self.slack = slack
        self.streaming = streaming
        self.users: dict[str, dict[str, Any]] = {}
        """User id -> fields to lay over ``users.info``'s user object."""
        self.faults: dict[str, list[Fault | None]] = {}
        """Method -> faults, used up one a call; None lets that call through."""
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self._streams: dict[str, str] = {}
        self.api_url = ""

    @contextlib.asynccontextmanager
    async def serve(self) -> AsyncIterator[SlackProxy]:
        app = web.Application(client_max_size=10_000_000)
        app.router.add_post("/api/{method}", self._handle)
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        self.api_url = f"http://127.0.0.1:{runner.addresses[0][1]}/api/"
        try:
            yield self
        finally:
            await runner.cleanup()

    def called(self, method: str) -> list[dict[str, Any]]:
        return [args for name, args in self.calls if name == method]

    async def _handle(self, request: web.Request) -> web.Response:
        method = request.match_info["method"]
        args = await request.json() if request.content_type == "application/json" else dict(await request.post())
        self.calls.append((method, args))
        waiting = self.faults.get(method, [])
        if waiting:
            fault = waiting.pop(0)
            if fault is not None:
                if fault.after:
                    await self._forward(method, args)
                await asyncio.sleep(fault.hang_s)
                return web.json_response(fault.body, status=fault.status, headers=fault.headers)
        answer = await (
            self._stream(method, args) if self.streaming and method in STREAMS else self._forward(method, args)
        )
        if method == "users.info" and "user" in answer:
            answer["user"] |= self.users.get(answer["user"]["id"], {})
        return web.json_response(answer)

    async def _forward(self, method: str, args: dict[str, Any]) -> dict[str, Any]:
        headers = {"Authorization": f"Bearer {APP_TOKEN if method.startswith('apps.') else BOT_TOKEN}"}
        async with self.slack.session.post(self.slack.api_url + method, json=args, headers=headers) as response:
            return dict(await response.json())

    async def _stream(self, method: str, args: dict[str, Any]) -> dict[str, Any]:
        """Streaming on top of posting and updating, as its documentation describes it."""
        if method == "assistant.threads.setStatus":
            return {"ok": True}
        if method == "chat.startStream":
            where = {"channel": args["channel"], "thread_ts": args["thread_ts"]}
            posted = await self._forward("chat.postMessage", where | {"text": args.get("markdown_text") or " "})
            self._streams[posted["ts"]] = args.get("markdown_text") or ""
            return posted
        if args["ts"] not in self._streams:
            return {"ok": False, "error": "message_not_in_streaming_state"}
        self._streams[args["ts"]] += args.get("markdown_text") or ""
        text = self._streams[args["ts"]]
        if method == "chat.stopStream":
            del self._streams[args["ts"]]
        drawn: dict[str, Any] = {}
        if args.get("blocks"):
            section = {"type": "section", "text": {"type": "mrkdwn", "text": text}}
            drawn["blocks"] = [section, *args["blocks"]]
        return await self._forward("chat.update", {"channel": args["channel"], "ts": args["ts"], "text": text, **drawn})


STREAMS = frozenset({"assistant.threads.setStatus", "chat.startStream", "chat.appendStream", "chat.stopStream"})
