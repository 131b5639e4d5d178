"""Starts and drives the Microsoft 365 Agents Playground (npm): one Teams tenant on loopback, seen by all its people.

    with playground() as process:
        async with teams(process) as rig:
            await rig.say(GENERAL, ANN, "hello", mention=True)

The playground has one user of its own and five others, a personal chat, a group chat and a team of two channels; what
it lacks beside that is in `teams_wire`, through which all of its traffic goes.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

import aiohttp

from tests.rigs.aimock_rig import node
from tests.rigs.local_slack import free_port, until
from tests.rigs.teams_wire import APP_ID, APP_PASSWORD, BOT, TENANT, Body, Heard, Shown, Wire, wire

RIGS = Path(__file__).parent
CLI = RIGS / "node_modules" / "@microsoft" / "m365agentsplayground" / "cli.js"
LOOPBACK = RIGS / "teams" / "loopback.cjs"
READY_S = 60.0
HEARD_S = 60.0

TEAM = "19:acme@thread.tacv2"
GENERAL = TEAM
FINANCE = "19:finance@thread.tacv2"
GROUP = "19:office@thread.v2"
CHANNEL_NAMES = {GENERAL: "General", FINANCE: "finance-approvals", GROUP: "Office"}


@dataclass(frozen=True)
class Member:
    id: str
    oid: str
    """The Entra object id."""
    name: str
    email: str

    @property
    def told(self) -> Body:
        """As activities name them."""
        return {"id": self.id, "name": self.name, "aadObjectId": self.oid}

    @property
    def config(self) -> Body:
        given, _, surname = self.name.partition(" ")
        return {
            "id": self.id,
            "name": self.name,
            "userPrincipleName": self.email,
            "aadObjectId": self.oid,
            "givenName": given,
            "surname": surname,
            "email": self.email,
        }


def _member(number: int, name: str, email: str | None = None) -> Member:
    short = name.split()[0].lower()
    return Member(f"29:{short}", f"aaaaaaaa-0000-4000-8000-{number:012d}", name, email or f"{short}@acme.test")


DANA = _member(1, "Dana Reyes")
ANN = _member(2, "Ann Okafor")
BOB = _member(3, "Bob Lindgren")
LEE = _member(4, "Lee Morgan")
ADA = _member(5, "Ada Kim")
GUS = _member(6, "Gus Guest", "gus_partner.test#EXT#@acme.test")
PEOPLE = (DANA, ANN, BOB, LEE, ADA, GUS)


class NoPlayground(Exception):
    """It is not installed. `str(e)` says what to run."""


def missing() -> str | None:
    """Why it cannot be started here; None: it can."""
    if node() is None or not CLI.exists():
        return "Agents Playground: run `make test`, or `cd tests/rigs && NODE_USE_SYSTEM_CA=1 npm ci --ignore-scripts`"
    return None


@dataclass(frozen=True)
class Playground:
    """The running process. `listening`: where it delivers to; whoever serves there answers for the bot."""

    url: str
    listening: socket.socket
    current: Member

    @property
    def personal(self) -> str:
        return f"a:personal-{self.current.id.removeprefix('29:')}"


@contextlib.contextmanager
def playground(current: Member = DANA) -> Iterator[Playground]:
    """Starts one and ends it, whatever happens. `current`: whose page it shows."""
    program, why = node(), missing()
    if program is None or why is not None:
        raise NoPlayground(why)
    with socket.create_server(("127.0.0.1", 0)) as listening, tempfile.TemporaryDirectory(prefix="cs-teams-") as folder:
        base = f"http://127.0.0.1:{listening.getsockname()[1]}"
        config, said = Path(folder) / "playground.yml", Path(folder) / "said.txt"
        config.write_text(_config(current), "utf-8")
        command = [
            program, "-r", str(LOOPBACK), str(CLI), "start", "-p", str(free_port()), "-c", "msteams", "--dt",
            "-e", f"{base}/in/api/messages", "--su", f"{base}/connector",
        ]  # fmt: skip
        env = os.environ | {
            "TEAMSAPPTESTER_BROWSER": "none",
            "M365_AGENTS_PLAYGROUND_CONFIG_PATH": str(config),
            "DEFAULT_CHANNEL_ID": "msteams",
        }
        with said.open("wb") as out:
            process = subprocess.Popen(
                command, cwd=folder, env=env, stdout=out, stderr=subprocess.STDOUT, start_new_session=True
            )
        try:
            yield Playground(_ready(process, said), listening, current)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            process.wait(timeout=10)


def _ready(process: subprocess.Popen[bytes], said: Path) -> str:
    """Its address, once it answers. It takes another port than asked for where that one is taken."""
    deadline = time.monotonic() + READY_S
    while time.monotonic() < deadline and process.poll() is None:
        told = re.search(r"Listening on (\d+)", said.read_text("utf-8", "replace"))
        if told is not None:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", int(told[1])), timeout=5):
                return f"http://127.0.0.1:{told[1]}"
        time.sleep(0.05)
    raise RuntimeError(f"the playground did not start ({process.poll()}):\n{said.read_text('utf-8', 'replace')}")


def _config(current: Member) -> str:
    """JSON is YAML."""
    return json.dumps(
        {
            "version": "0.1.1",
            "tenantId": TENANT,
            "bot": {"id": BOT, "name": "Countersign"},
            "currentUser": current.config,
            "users": [member.config for member in PEOPLE if member is not current],
            "personalChat": {"id": f"a:personal-{current.id.removeprefix('29:')}"},
            "groupChat": {"id": GROUP, "name": CHANNEL_NAMES[GROUP]},
            "team": {
                "id": TEAM,
                "name": "Acme",
                "aadGroupId": "00000000-0000-4000-8000-000000000031",
                "channels": [{"id": FINANCE, "name": CHANNEL_NAMES[FINANCE]}],
            },
        }
    )


@dataclass
class Rig:
    """What people do in Teams, and what they read there."""

    playground: Playground
    wire: Wire
    ui: list[Body] = field(default_factory=list)
    """What the page of the one user would show, frame by frame."""
    _personal: dict[str, str] = field(default_factory=dict)
    _speaking: asyncio.Lock = field(default_factory=asyncio.Lock)

    # --- what people do ------------------------------------------------------------------------------

    async def personal(self, who: Member) -> str:
        """Their own conversation with the bot."""
        if who.id == self.playground.current.id:
            return self.playground.personal
        if who.id not in self._personal:
            body = {"isGroup": False, "bot": {"id": BOT}, "members": [{"id": who.id}], "tenantId": TENANT}
            status, told = await self.wire.forward("POST", ["v3", "conversations"], body)
            assert status == 201, told
            self._personal[who.id] = told["id"]
        return self._personal[who.id]

    async def install(self, *people: Member) -> None:
        """The app comes into the team, the group chat and these people's own chats; the bot is told of each."""
        places = [(GENERAL, DANA), (FINANCE, DANA), (GROUP, DANA)]
        for where, who in [*places, *[(await self.personal(one), one) for one in people]]:
            heard = await self.wire.deliver(await self.template(where, who, "install"))
            assert heard.status < 300, heard

    async def template(self, where: str, who: Member, kind: str) -> Body:
        """An activity as the playground makes it: ``install``, ``uninstall``, ``userAdded``, …"""
        url = f"{self.playground.url}/_internal/v1/customActivities/template"
        async with self.wire.session.get(url, params={"conversationId": where, "type": kind}) as told:
            assert told.status == 200, await told.text()
            activity: Body = await told.json()
        return activity | {"from": {"id": who.id, "aadObjectId": who.oid}}

    async def say(
        self,
        where: str,
        who: Member,
        text: str,
        *,
        mention: bool = False,
        root: str = "",
        naming: Sequence[Member] = (),
    ) -> str:
        """A message; returns its id, in a channel that of its reply chain. The bot has answered the delivery.

        `naming`: who is mentioned beside the bot; `text` has their names.
        """
        url = f"{self.playground.url}/_conversation/v1/conversations/" + quote(
            where + (f";messageid={root}" if root else ""), safe=""
        )
        spoken = f"<at>Countersign</at> {text}" if mention else text
        mentions = [{"mentioned": {"id": BOT}, "text": "<at>Countersign</at>"}] if mention else []
        for one in naming:
            spoken = spoken.replace(one.name, f"<at>{one.name}</at>")
            mentions.append({"mentioned": {"id": one.id}, "text": f"<at>{one.name}</at>"})
        # The playground takes the word of those alone who are in the chat, and tells the bot that it was its own user.
        by = {"id": who.id}
        hears = mention or where not in CHANNEL_NAMES
        body = {"from": by, "text": spoken, "textFormat": "plain"} | ({"mentions": mentions} if mentions else {})
        async with self._speaking:
            if hears:
                await self.wire.speak(who.told, where, spoken)
            async with self.wire.session.post(url + "/messages", json=body) as told:
                assert told.status == 200, await told.text()
                answer = await told.json()
            message = str(answer["messageId"])
            self.wire.note(message, where, root, who.id, {"type": "message", "text": spoken})
            if hears:
                await self.wire.listened(HEARD_S)
        return root or message

    async def invoke(self, who: Member, message: Shown, action: Body, name: str = "adaptiveCard/action") -> Heard:
        """Presses `action` of a card; what the bot answered."""
        where = message.conversation + (f";messageid={message.root}" if message.root else "")
        value = {"action": action, "trigger": "manual"} if name == "adaptiveCard/action" else action
        body = {"name": name, "from": {"id": who.id}, "conversation": {"id": where}, "replyToId": message.id}
        before = len(self.wire.heard)
        # The playground does not say under which answer a thumb was given; Teams does.
        self.wire.rated = message.id
        url = f"{self.playground.url}/_conversation/v1/invoke"
        async with self.wire.session.post(url, json=body | {"value": value}) as told:
            text = await told.text()
        mine = [
            heard
            for heard in self.wire.heard[before:]
            if heard.activity.get("name") == name and heard.activity["from"]["id"] == who.id
        ]
        assert mine, f"{told.status} {text}"
        return mine[0]

    async def submit(self, who: Member, message: Shown, data: Body) -> None:
        """Presses an Action.Submit: a message that carries data."""
        where = message.conversation + (f";messageid={message.root}" if message.root else "")
        body = {"from": {"id": who.id}, "conversation": {"id": where}, "replyToId": message.id, "value": data}
        before = len(self.wire.heard)
        async with self.wire.session.post(f"{self.playground.url}/_conversation/v1/submit", json=body) as told:
            assert told.status == 200, await told.text()

        async def heard() -> bool:
            return any(one.activity.get("value") == data for one in self.wire.heard[before:])

        await until(heard, "the bot to be told", HEARD_S)

    # --- what people see -----------------------------------------------------------------------------

    def messages(self, where: str) -> list[Shown]:
        """All that stands in a conversation, oldest first."""
        return list(self.wire.shown.get(where, ()))

    def bot_messages(self, where: str) -> list[Shown]:
        return [one for one in self.messages(where) if one.by == BOT]

    async def pump(self, stream: aiohttp.ClientWebSocketResponse) -> None:
        async for frame in stream:
            if frame.type is aiohttp.WSMsgType.TEXT:
                self.ui.append(json.loads(frame.data))


@contextlib.asynccontextmanager
async def teams(process: Playground) -> AsyncIterator[Rig]:
    """The people of a running playground. One at a time: they share what stands in its conversations."""
    async with wire(process.listening, process.url) as made:
        made.ids = {member.oid: member.id for member in PEOPLE}
        made.overlay = {GUS.id: {"userRole": "guest"}}
        rig = Rig(process, made)
        url = process.url.replace("http", "ws") + "/_ws_conversation/v1/conversations/stream"
        async with made.session.ws_connect(url) as stream:
            pump = asyncio.create_task(rig.pump(stream))
            try:
                yield rig
            finally:
                pump.cancel()
                await asyncio.gather(pump, return_exceptions=True)


def environment(rig: Rig) -> dict[str, str]:
    """What an operator sets so that the service speaks with this rig."""
    return {
        "TEAMS_APP_ID": APP_ID,
        "TEAMS_APP_PASSWORD": APP_PASSWORD,
        "TEAMS_TENANT_ID": TENANT,
        "TEAMS_OPENID_METADATA_URL": rig.wire.metadata_url,
        "TEAMS_LOGIN_URL": rig.wire.base,
        "TEAMS_SERVICE_URLS": rig.wire.service_url,
    }
