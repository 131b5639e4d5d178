"""One organisation in Slack and in Teams, and another one beside it: the real core, two chats that write down.

Acme's people come from Entra, and its Teams is that Entra tenant: there an account is its person without a link. In
Slack they are linked. A chat can be told which channels it has, to refuse, and to hang.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import shutil
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx2
import sqlalchemy as sa
import yaml
from starlette.applications import Starlette

from bot import app, proving
from bot.agent.routing import Router
from bot.cards import Card, Item
from bot.core import Core, Running, open_core, running, utc_now
from bot.identity import sessions
from bot.messages import ChatUser, Command, Incoming, Press, SurfaceName, Thread
from bot.ports import Ask, Posted, PressReply, SurfaceError
from bot.settings import read
from bot.web.browser import static_mount
from bot.web.identity_pages import IdentityPages
from policy.approval import Verb
from policy.model import Principal, Subject, TenantId
from policy.model_rules import Adapter, ModelName, Models
from policy.rules import FILE_NAMES
from tests.kit.office_house import asked_for, text_of
from tests.kit.provision import Hire, Idp
from tests.kit.scripted import RecordedChat, ScriptedModel
from tools.held import HeldView
from tools.seed import seed

ROOT = Path(__file__).parents[2]
SLACK, TEAMS = SurfaceName("slack"), SurfaceName("teams")
ACME, GLOBEX = TenantId("acme"), TenantId("globex")
WORKSPACE: Mapping[TenantId, str] = {ACME: "T0ACME", GLOBEX: "T0GLOBEX"}
ENTRA: Mapping[TenantId, str] = {
    ACME: "aaaaaaaa-0000-4000-8000-000000000000",
    GLOBEX: "bbbbbbbb-0000-4000-8000-000000000000",
}
ISSUER: Mapping[TenantId, str] = {name: f"https://login.microsoftonline.com/{tid}/v2.0" for name, tid in ENTRA.items()}
FINANCE = "#finance-approvals"
BASE = "https://countersign.example"
NAMES = ("dana", "danb", "ann", "bob", "lee", "ada")


def oid(sub: str) -> str:
    """The Entra object id of somebody of the staff: their externalId, and their account in Teams."""
    return f"{NAMES.index(sub):08x}-1111-4111-8111-abcdefabcdef"


def account(sub: str, chat: SurfaceName, tenant: TenantId = ACME) -> ChatUser:
    return ChatUser(chat, WORKSPACE[tenant], f"U-{sub}") if chat == SLACK else ChatUser(chat, ENTRA[tenant], oid(sub))


def subject(sub: str, tenant: TenantId = ACME) -> Subject:
    return Subject(ISSUER[tenant], oid(sub))


def staff(tenant: TenantId) -> list[Hire]:
    """``danb`` is Dana's second account at the IdP: another subject, the same employee number."""

    def hire(sub: str, name: str, number: str, *groups: str) -> Hire:
        own = (account(sub, SLACK, tenant),)
        return Hire(oid(sub), f"{name} {tenant}", groups, f"{sub}@{tenant}.example", number, own)

    return [
        hire("dana", "Dana Reyes", "1001", "support", "finance-approvers"),
        hire("danb", "Dana Reyes (admin)", "1001", "finance-approvers"),
        hire("ann", "Ann Okafor", "1002", "finance-approvers"),
        hire("bob", "Bob Lindgren", "1003", "finance-approvers"),
        hire("lee", "Lee Morgan", "1004", "support-leads", "support"),
        hire("ada", "Ada Kim", "1005", "countersign-admins"),
    ]


def linked_staff(tenant: TenantId) -> list[Hire]:
    """The same people where Teams accounts are linked like any other."""
    return [replace(one, accounts=(*one.accounts, ChatUser(TEAMS, ENTRA[tenant], one.sub))) for one in staff(tenant)]


@dataclass
class Chat(RecordedChat):
    """One chat of a floor. `closed`: what it says to every card until it is opened again."""

    channels: set[str] = field(default_factory=lambda: {FINANCE})
    closed: SurfaceError | None = None
    hangs: asyncio.Event | None = None
    teams: dict[tuple[str, str], Card] = field(default_factory=dict)
    """By team and place."""
    blocked: set[str] = field(default_factory=set)
    """Accounts that take nothing from the bot."""
    left: set[str] = field(default_factory=set)
    """Conversations the bot was put out of."""

    async def post(self, team: str, destination: str, card: Card) -> Posted:
        await self._busy()
        if destination.startswith("#") and destination not in self.channels:
            raise SurfaceError(f"The bot is in no channel {destination}.", gone=True)
        if destination.removeprefix("dm:") in self.blocked:
            raise SurfaceError("They have blocked the bot.", gone=True)
        posted = await super().post(team, destination, card)
        self.teams[team, destination] = card
        return posted

    async def update(self, posted: Posted, card: Card) -> None:
        await self._busy()
        await super().update(posted, card)
        self.teams[posted.team, posted.channel] = card

    async def say(self, thread: Thread, text: str, asks: tuple[Ask, ...] = (), *more: Any) -> Posted:
        if self.closed is not None:
            raise self.closed
        if thread.channel in self.left:
            raise SurfaceError("The bot is not in that conversation.", gone=True)
        return await super().say(thread, text, asks, *more)

    async def direct(self, who: ChatUser, text: str, asks: tuple[Ask, ...] = ()) -> Posted:
        if who.user in self.blocked:
            raise SurfaceError("They have blocked the bot.", gone=True)
        return await super().direct(who, text, asks)

    async def _busy(self) -> None:
        if self.hangs is not None:
            await self.hangs.wait()
        if self.closed is not None:
            raise self.closed


@dataclass
class Floor:
    core: Core
    service: Running
    slack: Chat
    teams: Chat
    model: ScriptedModel
    site: Starlette
    pages: IdentityPages
    numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def chat(self, name: SurfaceName) -> Chat:
        return self.slack if name == SLACK else self.teams

    def idp(self, tenant: TenantId = ACME) -> Idp:
        return Idp(self.core, tenant, issuer=ISSUER[tenant])

    def dm(self, sub: str, chat: SurfaceName, tenant: TenantId = ACME) -> Thread:
        who = account(sub, chat, tenant)
        return Thread(chat, who.team, f"D-{sub}", f"D-{sub}")

    async def write(self, sub: str, chat: SurfaceName, text: str, tenant: TenantId = ACME) -> None:
        n = next(self.numbers)
        who = account(sub, chat, tenant)
        await self.service.turn.on_message(Incoming(who, self.dm(sub, chat, tenant), f"m{n}", f"e{n}", text))

    async def ask(
        self, sub: str, chat: SurfaceName, amount: str = "42.00", order: str = "1042", tenant: TenantId = ACME
    ) -> HeldView:
        """A refund, asked for in a direct message, once it is held."""
        before = {view.held_id for view in await self.asked(sub, tenant)}
        await self.write(sub, chat, f"Refund order {order}, {amount} USD", tenant)
        found: list[HeldView] = []

        async def held() -> bool:
            found[:] = [view for view in await self.asked(sub, tenant) if view.held_id not in before]
            return bool(found)

        await self.until(held)
        return found[0]

    async def asked(self, sub: str, tenant: TenantId = ACME) -> tuple[HeldView, ...]:
        return await self.core.gateway.asked_by(tenant, subject(sub, tenant))

    async def press(
        self,
        sub: str,
        chat: SurfaceName,
        view: HeldView,
        verb: Verb = Verb.APPROVE,
        text: str = "",
        tenant: TenantId = ACME,
    ) -> PressReply:
        name = f"p{next(self.numbers)}"
        who = account(sub, chat, tenant)
        return await self.service.turn.on_press(Press(who, name, view.held_id, view.revision, view.digest, verb, text))

    async def command(self, sub: str, chat: SurfaceName, text: str, tenant: TenantId = ACME) -> str:
        who = account(sub, chat, tenant)
        name = f"c{next(self.numbers)}"
        return await self.service.turn.on_command(Command(who, self.dm(sub, chat, tenant), name, text))

    async def view(self, held_id: str, tenant: TenantId = ACME) -> HeldView:
        found = await self.core.gateway.view(tenant, held_id)
        assert found is not None
        return found

    async def person(self, who: ChatUser) -> Principal | None:
        """Whom the service takes an account for now, through everything it asks."""
        found = await self.service.turn.parts.resolver.resolve(who, self.chat(who.surface))
        return found if isinstance(found, Principal) else None

    def items(self, chat: SurfaceName, place: str = FINANCE, tenant: TenantId = ACME) -> tuple[Item, ...]:
        """What stands in one place of one chat."""
        team = WORKSPACE[tenant] if chat == SLACK else ENTRA[tenant]
        card = self.chat(chat).teams.get((team, place))
        return () if card is None else card.items

    def shows(self, chat: SurfaceName, words: str, place: str = FINANCE, tenant: TenantId = ACME) -> bool:
        return any(words in item.status for item in self.items(chat, place, tenant))

    async def both_show(self, words: str, seconds: float = 30, place: str = FINANCE) -> float:
        """How long it took until both chats' cards said so."""
        began = time.monotonic()
        await self.until(lambda: self.shows(SLACK, words, place) and self.shows(TEAMS, words, place), seconds)
        return time.monotonic() - began

    async def until(self, done: Callable[[], bool | Awaitable[bool]], seconds: float = 30) -> None:
        end = time.monotonic() + seconds
        while True:
            found = done()
            if found if isinstance(found, bool) else await found:
                return
            assert time.monotonic() < end, f"not so within {seconds} s\n{self.told()}"
            await asyncio.sleep(0.02)

    async def page(self, sub: str, path: str, tenant: TenantId = ACME) -> str:
        """What somebody who is signed in reads there."""

        def unit(conn: sa.Connection) -> str:
            secret, events = sessions.start(conn, tenant, subject(sub, tenant), utc_now())
            self.core.audit.append(conn, events)
            return secret

        cookie = {"cookie": f"__Host-cs-session={await self.core.writer.run(unit)}"}
        transport = httpx2.ASGITransport(app=self.site)
        async with httpx2.AsyncClient(transport=transport, base_url=BASE, headers=cookie) as browser:
            answer = await browser.get(path)
        assert answer.status_code == 200, answer.text
        return text_of(answer)

    async def quiet(self) -> None:
        """Until nothing waits to be told or run."""
        schema = "dbos." if self.core.engine.dialect.name == "postgresql" else ""
        waits = f"SELECT count(*) FROM {schema}workflow_status WHERE status IN ('PENDING', 'ENQUEUED', 'DELAYED')"

        async def idle() -> bool:
            return await self.rows(waits) == [(0,)]

        await self.until(idle)

    def told(self) -> str:
        """What both chats have shown and said."""
        cards = [
            f"{chat.name} {team} {place}: {item.headline}: {item.status}"
            for chat in (self.slack, self.teams)
            for (team, place), card in chat.teams.items()
            for item in card.items
        ]
        return "\n".join([*cards, *(f"{s.thread.session_id}: {s.text}" for s in (*self.slack.said, *self.teams.said))])

    async def rows(self, query: str) -> list[tuple[Any, ...]]:
        return await self.core.writer.read(lambda conn: [tuple(row) for row in conn.execute(sa.text(query))])

    async def audit(self, kinds: str, tenant: TenantId = ACME) -> list[tuple[Any, ...]]:
        """(kind, status, actor) of the rows whose kind begins so, in order."""
        query = "SELECT kind, status, actor_user_id FROM agent_audit_log"
        return await self.rows(f"{query} WHERE tenant_id = '{tenant}' AND kind LIKE '{kinds}%' ORDER BY seq")

    async def refunds(self, tenant: TenantId = ACME, order: str = "1042") -> list[int]:
        query = sa.text(f"SELECT amount_minor FROM refunds WHERE tenant='{tenant}' AND order_id='{order}'")
        return await self.core.business.read(lambda conn: list(conn.execute(query).scalars().all()))


def tenants_text(
    *, linking: str = "", subject_claim: str = "", teams: Mapping[TenantId, str] = ENTRA, slack: bool = True
) -> str:
    """tenants.yaml of both organisations. `linking`: what Acme's Teams entry says of it."""
    issuers: dict[str, dict[str, str]] = {}
    tenants: dict[str, dict[str, Any]] = {}
    for name in (ACME, GLOBEX):
        issuers[f"entra-{name}"] = {
            "preset": "entra",
            "client_id": "countersign",
            "tid": ENTRA[name],
            **({"subject_claim": subject_claim} if subject_claim else {}),
        }
        own = {"surface": "teams", "team": teams[name], **({"linking": linking} if linking else {})}
        workspace = [{"surface": "slack", "team": WORKSPACE[name]}] if slack else []
        tenants[name] = {"name": name.title(), "issuer": f"entra-{name}", "teams": [*workspace, own]}
    return yaml.safe_dump({"issuers": issuers, "tenants": tenants}, sort_keys=False)


@contextlib.asynccontextmanager
async def two_chats(
    folder: Path, url: str, *, tenants: str = "", post_to: str = "", people: Callable[[TenantId], list[Hire]] = staff
) -> AsyncIterator[Floor]:
    """`post_to`: where finance approvers' cards go, as tools.yaml writes it."""
    policy = folder / "policy"
    policy.mkdir(parents=True)
    for name in FILE_NAMES:
        shutil.copy(ROOT / "policy" / name, policy / name)
    if post_to:
        tools = policy / "tools.yaml"
        written = tools.read_text("utf-8")
        assert f'finance_approver: "{FINANCE}"' in written
        tools.write_text(written.replace(f'finance_approver: "{FINANCE}"', f"finance_approver: {post_to}"), "utf-8")
    (folder / "tenants.yaml").write_text(tenants or tenants_text(), "utf-8")
    settings = read(
        {
            "COUNTERSIGN_DATA_DIR": str(folder / "data"),
            "COUNTERSIGN_DATABASE_URL": url,
            "COUNTERSIGN_POLICY_DIR": str(policy),
            "COUNTERSIGN_TENANTS": str(folder / "tenants.yaml"),
            "COUNTERSIGN_PERSON_KEY": "employee_number",
            "COUNTERSIGN_BASE_URL": BASE,
        },
        file_here=False,
    )
    app.migrate(settings)
    core, model = open_core(settings), ScriptedModel(asked_for)
    slack, teams = Chat(name=SLACK), Chat(name=TEAMS)
    try:
        for tenant in (ACME, GLOBEX):
            seed(core.business, tenant, datetime.now(UTC))
            Idp(core, tenant, issuer=ISSUER[tenant]).hire(people(tenant))
        only = Models((ModelName(Adapter.OFFLINE, "scripted"),), {}, {})
        router = Router(only, {Adapter.OFFLINE: lambda _name: model})
        chats = {SLACK: slack, TEAMS: teams}
        async with proving.provider() as idp:
            pages = proving.pages_of(core, idp, BASE, chats)
            async with running(
                core,
                lambda _core: (slack, teams, proving.office_chat(core)),
                router,
                lambda parts: proving.complete(core, pages, parts),
            ) as service:
                site = Starlette(routes=[*pages.routes, *proving.office_of(service, pages), static_mount()])
                yield Floor(core, service, slack, teams, model, site, pages)
    finally:
        core.close()
