"""From a press over HTTP to its answer, in Teams and in Slack, while 10,000 requests wait: all of `countersign serve`.

Everything is in it that a chat waits for: the check of the signature, asking the chat who pressed, the door's one
durable transaction, and in Teams the presser's own card. Rejections, so that no provider's time is in it, as people
press: two a second (about a channel's members Teams answers four times a second). The counterparts share this
machine's cores with the service.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import tempfile
import time
import uuid
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urlencode

import aiohttp
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from audit.writer import Writer, make_engine
from bot.keys import open_keys
from policy.approval import ApprovalStatus, Verb
from policy.model import TenantId
from tests.bench.bench_audit import Figure, figure, fsync_p50, line, postgres
from tests.kit.pending import copies, pending
from tests.kit.quiet import at_rest
from tests.kit.service_process import Home, Service, fresh_database, make_home, serving
from tests.kit.teams_desk import Desk
from tests.rigs.local_slack import SIGNING_SECRET, TEAM, LocalSlack, free_port, until
from tests.rigs.teams_playground import ANN, DANA, FINANCE, Rig, environment, playground, teams
from tools import approvals
from tools.approvals import HELD, HeldCall

PENDING = 10_000
WARM = 20
PRESSES = 100
EVERY_S = 0.4
SLACKS_ANN = "U03ANN"


@dataclass(frozen=True)
class Site:
    """One service with both chats, full of requests."""

    service: Service
    rig: Rig
    session: aiohttp.ClientSession
    waiting: list[HeldCall]

    async def in_teams(self, row: HeldCall) -> float:
        data = {"cs": 1, "act": "press", "verb": Verb.REJECT.value, "held": row.held_id, "rev": row.revision}
        data |= {"digest": row.digest, "input": "text_1", "text_1": "bench"}
        template = await self.rig.template(FINANCE, ANN, "userAdded")
        activity = {name: value for name, value in template.items() if name != "membersAdded"} | {
            "type": "invoke",
            "name": "adaptiveCard/action",
            "from": ANN.told,
            "id": uuid.uuid4().hex,
            "value": {"action": {"type": "Action.Execute", "verb": "reject", "data": data}, "trigger": "manual"},
        }
        token = self.rig.wire.sign(activity)
        before = time.perf_counter()
        heard = await self.rig.wire.deliver(activity, token)
        took = time.perf_counter() - before
        if "Rejected" not in json.dumps(heard.body):
            raise RuntimeError(f"{heard.status} {heard.body}")
        return took

    async def in_slack(self, row: HeldCall) -> float:
        where = [f"{row.held_id}:{row.revision}:{row.digest}", Verb.REJECT.value, "G01FIN", "1.000001"]
        view = {
            "id": f"V{uuid.uuid4().hex}",
            "type": "modal",
            "callback_id": "cs.press",
            "private_metadata": json.dumps(where),
            "state": {"values": {"text": {"value": {"type": "plain_text_input", "value": "bench"}}}},
        }
        body = {"type": "view_submission", "team": {"id": TEAM}, "user": {"id": SLACKS_ANN, "team_id": TEAM}}
        raw = urlencode({"payload": json.dumps(body | {"view": view})}).encode()
        stamp = str(int(time.time()))
        mac = hmac.new(SIGNING_SECRET.encode(), b"v0:" + stamp.encode() + b":" + raw, hashlib.sha256).hexdigest()
        headers = {
            "Content-Type": "application/x-www-form-urlencoded",
            "X-Slack-Request-Timestamp": stamp,
            "X-Slack-Signature": f"v0={mac}",
        }
        before = time.perf_counter()
        async with self.session.post(f"{self.service.base}/slack/events", data=raw, headers=headers) as answer:
            told = await answer.text()
        took = time.perf_counter() - before
        if answer.status != 200 or told:
            raise RuntimeError(f"{answer.status} {told}")
        return took


async def measure(folder: Path, url: str | None, many: int) -> list[Figure]:
    fsync = fsync_p50(folder)
    home = await asyncio.to_thread(make_home, folder / "home", url)
    home.join_teams()
    port = free_port()
    writer = Writer(make_engine(home.url))
    async with AsyncExitStack() as stack:
        stack.callback(writer.close)
        slack = await stack.enter_async_context(
            LocalSlack.start("events", folder, f"http://127.0.0.1:{port}/slack/events")
        )
        rig = await stack.enter_async_context(teams(stack.enter_context(playground())))
        service = await stack.enter_async_context(
            serving(home, slack.api_url, mode="events", port=port, also=environment(rig))
        )
        rig.wire.bot = f"{service.base}/api/messages"
        await rig.install(DANA, ANN)
        await Desk(rig).command(ANN, "help", "whoami")  # she has a chat of her own, as approvers have
        session = await stack.enter_async_context(aiohttp.ClientSession())
        site = Site(service, rig, session, await _fill(home, rig, writer, many))
        found: list[Figure] = []
        for name, press in (("invoke answered, Teams", site.in_teams), ("press answered, Slack", site.in_slack)):
            found.append(await _pressed(name, press, site, writer, fsync))
        await _all_counted(writer, many - len(found) * (WARM + PRESSES))
    note = f"{many:,} pending, over HTTP, 2 a second; the chats allow 3 s and more; reach 100 ms p95"
    return [replace(one, note=note) for one in found]


async def _pressed(
    name: str, press: Callable[[HeldCall], Awaitable[float]], site: Site, writer: Writer, fsync: float
) -> Figure:
    for _ in range(WARM):
        await press(site.waiting.pop())
    # What was said before is still on its way to one requester, as fast as Teams takes it: another figure's work.
    await at_rest(writer, 120)
    begun = time.perf_counter()
    taken = []
    for _ in range(PRESSES):
        taken.append(await press(site.waiting.pop()))
        await asyncio.sleep(EVERY_S)
    return figure(name, writer.engine, taken, time.perf_counter() - begun, fsync)


async def _fill(home: Home, rig: Rig, writer: Writer, many: int) -> list[HeldCall]:
    """One refund through the whole service, then copies of it."""
    desk = Desk(rig)
    await desk.ask(DANA)
    await desk.card(FINANCE, "Refund 42.00 USD")
    row = await writer.read(pending)
    if row is None:
        raise LookupError("nothing was held")
    ids = set(await copies(writer, row, many, open_keys(home.data / "keys").mac))
    if writer.engine.dialect.name == "postgresql":
        # What autovacuum does within a minute; at once after a bulk insert it takes the table for an empty one.
        await writer.run(lambda conn: conn.exec_driver_sql("ANALYZE"))

    def unit(conn: Connection) -> list[HeldCall]:
        rows = approvals.select(conn, TenantId("demo"), HELD.c.status == row.status)
        return [one for one in rows if one.held_id in ids]

    return await writer.read(unit)


async def _all_counted(writer: Writer, left: int) -> None:
    """Every press was a decision, not merely an answer."""

    def unit(conn: Connection) -> int:
        copied = HELD.c.held_id.like("%-%")
        query = sa.select(sa.func.count()).where(copied, HELD.c.status == ApprovalStatus.PENDING.value)
        return conn.execute(query).scalar_one()

    waiting = -1

    async def settled() -> bool:
        nonlocal waiting
        waiting = await writer.read(unit)
        return waiting == left

    try:
        await until(settled, "every press to count", 60)
    except AssertionError as late:
        raise RuntimeError(f"{waiting} wait where {left} should") from late


def rows(folder: Path, many: int = PENDING) -> list[Figure]:
    """The figures of both chats, on both databases."""
    figures: list[Figure] = []
    with postgres(folder) as server, fresh_database(server) as url:
        for number, address in enumerate((None, url)):
            place = folder / f"invoke{number}"
            place.mkdir()
            figures += asyncio.run(measure(place, address, many))
    return figures


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="cs-bench-") as name:
        for item in rows(Path(name)):
            print(line(item))
