"""Two organisations at one service, their people signed in to its page: the real core, the real door, no socket.

The chat writes down what it is told and the model says what the test scripts; everything between is the product.
"""

from __future__ import annotations

import asyncio
import contextlib
import html
import re
import shutil
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

import httpx2
import sqlalchemy as sa
from sqlalchemy.engine import Connection
from starlette.applications import Starlette

from bot import app, proving
from bot.agent.routing import Router
from bot.core import Core, Running, open_core, running, utc_now
from bot.identity import sessions
from bot.messages import ChatUser, Incoming, SurfaceName, Thread
from bot.parts import Parts
from bot.ports import ModelAnswer, ModelRequest
from bot.settings import read
from bot.web.browser import static_mount
from policy.model import Json, Subject, TenantId
from policy.model_rules import Adapter, ModelName, Models
from policy.rules import FILE_NAMES
from tests.kit.provision import ISSUER, Hire, Idp, write_tenants
from tests.kit.scripted import RecordedChat, Script, ScriptedModel, calls, refund_and_mail
from tools.held import HeldView
from tools.seed import seed

ROOT = Path(__file__).parents[2]
BASE = "http://127.0.0.1:8020"
SLACK = SurfaceName("slack")
ACME, GLOBEX = TenantId("acme"), TenantId("globex")
TEAMS = {ACME: "T0ACME", GLOBEX: "T0GLOBEX"}
ASK = "Refund order 1042, please"
T = TypeVar("T")


def asked_for(request: ModelRequest) -> ModelAnswer:
    """``Refund order 1043, 180.00 USD`` is one refund of just that; everything else as `refund_and_mail`."""
    said = re.search(r"efund order (\d+), (\d+\.\d\d) ([A-Z]{3})", getattr(request.messages[-1], "text", ""))
    if said is None:
        return refund_and_mail(request)
    wanted: dict[str, Json] = {"order_id": said[1], "amount": said[2], "currency": said[3], "reason": "damaged"}
    return calls(("refund_issue", wanted), text="The customer sent a photograph.")


def _hire(tenant: TenantId, sub: str, name: str, *groups: str, email: str | None = None) -> Hire:
    account = ChatUser(SLACK, TEAMS[tenant], f"U{sub.upper()}")
    return Hire(sub, name, groups, email or f"{sub}@{tenant}.example", f"{tenant}-{sub}", (account,))


PEOPLE: Mapping[TenantId, tuple[Hire, ...]] = {
    ACME: (
        _hire(ACME, "dana", "Dana Reyes", "support"),
        _hire(ACME, "ann", "Ann Okafor", "finance-approvers"),
        _hire(ACME, "bob", "Bob Lindgren", "finance-approvers"),
        _hire(ACME, "lee", "Lee Morgan", "support-leads"),
        _hire(ACME, "ada", "Ada Kim", "countersign-admins"),
        _hire(ACME, "aud", "Aud Novak", "auditors"),
        _hire(ACME, "nora", "Nora Nobody", "knitting"),
    ),
    GLOBEX: (
        _hire(GLOBEX, "gina", "Gina Gold", "support"),
        _hire(GLOBEX, "gus", "Gus Green", "finance-approvers", "support-leads"),
        _hire(GLOBEX, "gada", "Gada Gray", "countersign-admins"),
        _hire(GLOBEX, "gaud", "Gaud Grant", "auditors"),
    ),
}


@dataclass
class Browser:
    """Somebody's, signed in. `secret` empty: nobody's."""

    client: httpx2.AsyncClient
    secret: str = ""

    @property
    def csrf(self) -> str:
        return sessions.form_token(self.secret)

    async def get(self, path: str, **headers: str) -> httpx2.Response:
        return await self.client.get(path, headers=headers)

    async def poll(self, path: str = "/requests/live") -> httpx2.Response:
        return await self.client.get(path, headers={"hx-request": "true"})

    async def post(self, path: str, fields: Mapping[str, str] | None = None, **headers: str) -> httpx2.Response:
        """As our page's own form, unless `headers` say otherwise."""
        sent = {"origin": str(self.client.base_url).rstrip("/"), **headers}
        return await self.client.post(path, data={"csrf": self.csrf, **(fields or {})}, headers=sent)

    async def press(self, view: HeldView, verb: str, text: str = "", **more: str) -> httpx2.Response:
        fields = {"revision": str(view.revision), "digest": view.digest, "verb": verb, "text": text, **more}
        return await self.post(f"/requests/{view.held_id}/press", fields)


@dataclass
class OfficeHouse:
    core: Core
    service: Running
    chat: RecordedChat
    model: ScriptedModel
    app: Starlette
    base_url: str
    clients: list[httpx2.AsyncClient] = field(default_factory=list)

    def idp(self, tenant: TenantId = ACME) -> Idp:
        return Idp(self.core, tenant)

    def browser(self) -> Browser:
        transport = httpx2.ASGITransport(app=self.app)
        client = httpx2.AsyncClient(transport=transport, base_url=self.base_url)
        self.clients.append(client)
        return Browser(client)

    async def sign_in(self, sub: str, tenant: TenantId = ACME) -> Browser:
        def unit(conn: Connection) -> str:
            secret, events = sessions.start(conn, tenant, Subject(ISSUER, sub), utc_now())
            self.core.audit.append(conn, events)
            return secret

        browser = self.browser()
        browser.secret = await self.core.writer.run(unit)
        browser.client.cookies.set("cs-session", browser.secret)
        return browser

    async def ask(self, sub: str = "dana", tenant: TenantId = ACME, text: str = ASK) -> list[HeldView]:
        """A direct message in the chat; what it led to that waits, the refund first."""
        before = {view.held_id for view in await self.asked(sub, tenant)}
        account = ChatUser(SLACK, TEAMS[tenant], f"U{sub.upper()}")
        thread = Thread(SLACK, TEAMS[tenant], f"D{sub}", f"D{sub}")
        stamp = f"{time.monotonic_ns()}"
        await self.service.turn.on_message(Incoming(account, thread, stamp, f"e{stamp}", text))

        async def held() -> list[HeldView] | None:
            new = [view for view in await self.asked(sub, tenant) if view.held_id not in before]
            return new or None

        return sorted(await self.until(held), key=lambda view: view.tool != "refund.issue")

    async def asked(self, sub: str, tenant: TenantId = ACME) -> tuple[HeldView, ...]:
        return await self.core.gateway.asked_by(tenant, Subject(ISSUER, sub))

    async def view(self, held_id: str, tenant: TenantId = ACME) -> HeldView:
        found = await self.core.gateway.view(tenant, held_id)
        assert found is not None
        return found

    async def until(self, probe: Callable[[], Awaitable[T | None]], seconds: float = 30) -> T:
        deadline = time.monotonic() + seconds
        while True:
            found = await probe()
            if found:
                return found
            assert time.monotonic() < deadline, f"not so within {seconds} s"
            await asyncio.sleep(0.03)

    async def rows(self, query: str) -> list[sa.Row[tuple[object, ...]]]:
        return list(await self.core.writer.read(lambda conn: conn.execute(sa.text(query)).all()))

    async def audit(self, kinds: str, tenant: TenantId = ACME) -> list[tuple[str, str, str | None]]:
        """(kind, status, actor) of the rows whose kind begins so, in order."""
        query = (
            "SELECT kind, status, actor_user_id FROM agent_audit_log "
            f"WHERE tenant_id = '{tenant}' AND kind LIKE '{kinds}%' ORDER BY seq"
        )
        return [(row.kind, row.status, row.actor_user_id) for row in await self.rows(query)]

    async def change(self, statement: str) -> None:
        """Behind the product's back."""
        await self.core.writer.run(lambda conn: conn.execute(sa.text(statement)))


@contextlib.asynccontextmanager
async def office_house(
    folder: Path, script: Script = asked_for, base_url: str = BASE, url: str | None = None
) -> AsyncIterator[OfficeHouse]:
    policy = folder / "policy"
    policy.mkdir(parents=True)
    for name in FILE_NAMES:
        shutil.copy(ROOT / "policy" / name, policy / name)
    teams = {str(tenant): [{"surface": "slack", "team": team}] for tenant, team in TEAMS.items()}
    write_tenants(folder / "tenants.yaml", teams)
    settings = read(
        {
            "COUNTERSIGN_DATA_DIR": str(folder / "data"),
            "COUNTERSIGN_POLICY_DIR": str(policy),
            "COUNTERSIGN_TENANTS": str(folder / "tenants.yaml"),
            "COUNTERSIGN_BASE_URL": base_url,
            **({} if url is None else {"COUNTERSIGN_DATABASE_URL": url}),
        },
        file_here=False,
    )
    app.migrate(settings)
    core, chat, model = open_core(settings), RecordedChat(name=SLACK), ScriptedModel(script)
    try:
        for tenant in TEAMS:
            seed(core.business, tenant, datetime.now(UTC))
            Idp(core, tenant).hire(PEOPLE[tenant])
        router = Router(
            Models((ModelName(Adapter.OFFLINE, "scripted"),), {}, {}), {Adapter.OFFLINE: lambda _name: model}
        )
        async with proving.provider() as idp:
            pages = proving.pages_of(core, idp, base_url, {chat.name: chat})

            def complete(parts: Parts) -> Parts:
                return proving.complete(core, pages, parts)

            async with running(core, lambda _core: (chat, proving.office_chat(core)), router, complete) as service:
                site = Starlette(routes=[*pages.routes, *proving.office_of(service, pages), static_mount()])
                house = OfficeHouse(core, service, chat, model, site, base_url)
                yield house
                for client in house.clients:
                    await client.aclose()
    finally:
        core.close()


def guards(conn: Connection) -> list[str]:
    """The triggers that keep the log append-only: what somebody who alters it drops first."""
    found = conn.execute(sa.text("SELECT name FROM sqlite_master WHERE type = 'trigger'")).scalars()
    return [str(name) for name in found]


def text_of(answer: httpx2.Response) -> str:
    """What a reader sees, roughly."""
    body = re.sub(r"<(style|script|title)\b.*?</\1>", " ", answer.text, flags=re.DOTALL)
    return html.unescape(re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", body))).strip()
