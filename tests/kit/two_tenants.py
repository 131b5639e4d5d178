"""One deployment that serves two organisations which have everything in common but their chat teams.

Same provider, user names, e-mail addresses, employee numbers, groups, subjects, chat user ids and order numbers. What
tells them apart is a word that stands in every name: where it shows on the other side, something crossed the border.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import shutil
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import httpx2
import pytest
import sqlalchemy as sa
from starlette.applications import Starlette

from bot import app as bot_app
from bot import chats as bot_chats
from bot import service as bot_service
from bot.core import Core, Running, open_core, running, utc_now
from bot.identity import sessions
from bot.messages import AskAgain, ChatUser, Command, Incoming, LinkAnswer, Press, Room, Thread
from bot.ports import PressReply
from bot.proving import Provider, provider
from bot.settings import Settings, Slack, read
from bot.slack.installs import Installs
from bot.turn import Turn
from policy.approval import Verb
from policy.model import Json, Principal, Subject, TenantId, ToolName
from tests.kit.idp_keys import Published
from tests.kit.provision import ISSUER, Hire, Idp, write_tenants
from tests.kit.quiet import at_rest
from tests.kit.wall import SLACK as SLACK
from tests.kit.wall import TEAM as TEAM
from tests.kit.wall import Wall as Wall
from tools.business import customers, orders
from tools.held import Held, HeldView, Outcome, Proposal, TurnContext
from tools.seed import seed

ROOT = Path(__file__).parents[2]
ACME, GLOBEX = TenantId("acme"), TenantId("globex")
BOTH = (ACME, GLOBEX)
WORD: Mapping[TenantId, str] = {ACME: "zebra", GLOBEX: "walrus"}
BASE = "https://countersign.example"
SIGNING = "signing-secret-of-the-test"
ASK = "Refund order 1042, 42 dollars, the parcel never came"
STAFF: Mapping[str, tuple[str, ...]] = {
    "dana": ("support",),
    "sam": ("sales",),
    "fay": ("finance",),
    "ann": ("finance-approvers",),
    "bob": ("finance-approvers",),
    "lee": ("support-leads",),
    "ada": ("countersign-admins",),
    "aud": ("auditors",),
}


def other(tenant: TenantId) -> TenantId:
    return GLOBEX if tenant == ACME else ACME


def chat(tenant: TenantId, sub: str) -> ChatUser:
    return ChatUser(SLACK, TEAM[tenant], f"U-{sub}")


def dm(tenant: TenantId, sub: str) -> Thread:
    return Thread(SLACK, TEAM[tenant], f"D-{sub}", f"D-{sub}", Room.DM)


def subject(sub: str) -> Subject:
    return Subject(ISSUER, sub)


def staff(tenant: TenantId) -> list[Hire]:
    return [
        Hire(sub, f"{sub.title()} {WORD[tenant]}", groups, f"{sub}@shared.example", f"10{n}", (chat(tenant, sub),))
        for n, (sub, groups) in enumerate(STAFF.items())
    ]


# -- the chat -------------------------------------------------------------------------------------------------


def environment(folder: Path, url: str | None = None) -> dict[str, str]:
    return {
        "COUNTERSIGN_DATA_DIR": str(folder / "data"),
        "COUNTERSIGN_DATABASE_URL": url or f"sqlite:///{folder / 'countersign.sqlite'}",
        "COUNTERSIGN_BUSINESS_URL": f"sqlite:///{folder / 'business.sqlite'}",
        "COUNTERSIGN_KEYS_DIR": str(folder / "keys"),
        "COUNTERSIGN_POLICY_DIR": str(folder / "policy"),
        "COUNTERSIGN_TENANTS": str(folder / "tenants.yaml"),
        "COUNTERSIGN_PERSON_KEY": "employee_number",
        "COUNTERSIGN_BASE_URL": BASE,
        "COUNTERSIGN_RETENTION_DAYS": "0",
        "SLACK_CLIENT_ID": "1.2",
        "SLACK_CLIENT_SECRET": "slack-secret",
        "SLACK_SIGNING_SECRET": SIGNING,
    }


def tenants_file(folder: Path, teams: Mapping[TenantId, tuple[str, ...]], own: tuple[TenantId, ...] = ()) -> None:
    """`own`: organisations with a policy folder of their own, ``policy-NAME``."""
    path = folder / "tenants.yaml"
    write_tenants(path, {name: [{"surface": "slack", "team": one} for one in each] for name, each in teams.items()})
    text = path.read_text()
    for name in own:
        (folder / f"policy-{name}").mkdir(exist_ok=True)
        text = text.replace(f"    name: {name.title()}\n", f"    name: {name.title()}\n    policy: policy-{name}\n")
    path.write_text(text)


def found_deployment(folder: Path, url: str | None = None) -> None:
    """Both organisations provisioned by their IdP, their shops filled; nobody has asked for anything."""
    shutil.copytree(ROOT / "policy", folder / "policy", ignore=shutil.ignore_patterns("*.py", "__pycache__"))
    models = folder / "policy" / "models.yaml"
    models.write_text('default: ["offline:offline"]\n')
    tenants_file(folder, {name: (team,) for name, team in TEAM.items()})
    settings = read(environment(folder, url), file_here=False)
    bot_app.migrate(settings, None)
    with opened(settings) as core:
        for tenant in BOTH:
            Idp(core, tenant).hire(staff(tenant))
            seed(core.business, tenant, utc_now())
            core.business.write_blocking(lambda conn, tenant=tenant: _mark(conn, tenant))  # type: ignore[misc]


def _mark(conn: sa.Connection, tenant: TenantId) -> int:
    """The same customers by the same ids, but every name and address says whose they are."""
    mine = customers.c.tenant == tenant
    named = {"name": customers.c.name + f" {WORD[tenant]}", "email": sa.literal(WORD[tenant]) + customers.c.email}
    conn.execute(sa.update(customers).where(mine).values(**named))
    return conn.execute(sa.select(sa.func.count()).select_from(orders).where(orders.c.tenant == tenant)).scalar_one()


@contextlib.contextmanager
def opened(settings: Settings) -> Iterator[Core]:
    core = open_core(settings)
    try:
        yield core
    finally:
        core.close()


@dataclass
class Two:
    """The deployment. `app`: the whole HTTP application as `countersign serve` mounts it."""

    core: Core
    folder: Path
    environ: dict[str, str]
    wall: Wall = field(default_factory=Wall)
    served: tuple[Running, Starlette] | None = None
    numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    @property
    def turn(self) -> Turn:
        return self._served()[0].turn

    @property
    def app(self) -> Starlette:
        return self._served()[1]

    def _served(self) -> tuple[Running, Starlette]:
        assert self.served is not None, "this test has the door alone"
        return self.served

    def next(self, letter: str) -> str:
        return f"{letter}{next(self.numbers)}"

    # -- people in the chat

    async def write(self, tenant: TenantId, sub: str, text: str = ASK, *, n: str = "") -> None:
        n = n or self.next("m")
        await self.turn.on_message(Incoming(chat(tenant, sub), dm(tenant, sub), n, f"ev-{n}", text))

    async def press(
        self, tenant: TenantId, sub: str, view: HeldView, verb: Verb = Verb.APPROVE, text: str = "", press_id: str = ""
    ) -> PressReply:
        name = press_id or self.next("p")
        press = Press(chat(tenant, sub), name, view.held_id, view.revision, view.digest, verb, text)
        return await self.turn.on_press(press)

    async def again(self, tenant: TenantId, sub: str, held_id: str) -> PressReply:
        return await self.turn.on_ask_again(AskAgain(chat(tenant, sub), self.next("a"), held_id))

    async def answer(self, tenant: TenantId, sub: str, confirmation: str, yes: bool = True) -> PressReply:
        return await self.turn.on_link_answer(LinkAnswer(chat(tenant, sub), self.next("l"), confirmation, yes))

    async def command(self, tenant: TenantId, sub: str, text: str, *, n: str = "") -> str:
        return await self.turn.on_command(Command(chat(tenant, sub), dm(tenant, sub), n or self.next("c"), text))

    async def pending(self, tenant: TenantId, sub: str = "dana") -> HeldView:
        """What `sub` asked for in the chat, once it is held and its card stands."""
        found: list[HeldView] = []
        end = time.monotonic() + 30
        while not found or not any(one.held_id == found[0].held_id for one in self.wall.items_of(tenant)):
            assert time.monotonic() < end, f"nothing is held\n{self.wall.heard(tenant)}"
            await asyncio.sleep(0.02)
            found = list(await self.core.gateway.asked_by(tenant, subject(sub)))
        return found[0]

    # -- people at the door

    async def who(self, tenant: TenantId, sub: str) -> Principal:
        found = await self.core.writer.read(lambda conn: self.core.people.current(conn, tenant, subject(sub)))
        assert found is not None
        return found

    def turn_of(self, tenant: TenantId, sub: str, turn_id: str = "") -> TurnContext:
        return TurnContext(
            tenant, turn_id or self.next("t"), dm(tenant, sub).session_id, None, f"please {WORD[tenant]}"
        )

    async def propose(
        self, tenant: TenantId, sub: str, tool: str, arguments: Mapping[str, Json], *, call_id: str = ""
    ) -> Outcome:
        call_id = call_id or self.next("call")
        token = self.core.tokens.mint(await self.who(tenant, sub), ToolName(tool), utc_now(), jti=call_id)
        call = Proposal(call_id, ToolName(tool), dict(arguments), token)
        (outcome,) = await self.core.gateway.propose(self.turn_of(tenant, sub), [call])
        return outcome

    async def refund(self, tenant: TenantId, amount: str = "42.00", order: str = "1042", call_id: str = "") -> HeldView:
        reason = f"the parcel never came {WORD[tenant]}"
        wanted = {"order_id": order, "amount": amount, "currency": "USD", "reason": reason}
        outcome = await self.propose(tenant, "dana", "refund.issue", wanted, call_id=call_id)
        assert isinstance(outcome, Held), outcome
        return outcome.view

    # -- rows

    async def rows(self, query: str, **values: Any) -> list[Any]:
        return await self.core.writer.read(lambda conn: [tuple(row) for row in conn.execute(sa.text(query), values)])

    async def log(self, tenant: TenantId, *, kinds: str = "%") -> list[Any]:
        query = "SELECT kind, status, actor_user_id, tool_args, detail, seq FROM agent_audit_log WHERE tenant_id = :t"
        return await self.rows(f"{query} AND kind LIKE :k ORDER BY seq", t=tenant, k=kinds)

    async def state(self, tenant: TenantId) -> dict[str, list[Any]]:
        """Every row of `tenant` in every table that has a tenant. Its log too."""

        def look(conn: sa.Connection) -> dict[str, list[Any]]:
            found = {}
            for name, columns in tables(conn).items():
                column = "tenant_id" if "tenant_id" in columns else "tenant"
                query = sa.text(f'SELECT * FROM "{name}" WHERE {column} = :t')
                found[name] = sorted(str(tuple(row)) for row in conn.execute(query, {"t": tenant}))
            return found

        return await self.core.writer.read(look)

    async def quiet(self) -> None:
        """Until nothing is still being told or run: what was queued before would look like a change."""
        for _ in range(100):
            await at_rest(self.core.writer)
            before = [await self.state(tenant) for tenant in BOTH]
            await asyncio.sleep(0.1)
            if [await self.state(tenant) for tenant in BOTH] == before:
                return
        raise AssertionError("something goes on changing")

    # -- browsers

    def browser(self, secret: str = "", **headers: str) -> httpx2.AsyncClient:
        """`secret`: of a session, as its cookie."""
        cookie = {"cookie": f"__Host-cs-session={secret}"} if secret else {}
        return httpx2.AsyncClient(
            transport=httpx2.ASGITransport(app=self.app), base_url=BASE, headers={"origin": BASE, **cookie, **headers}
        )

    async def sign_in(self, tenant: TenantId, sub: str, sid: str = "sid-1") -> str:
        """The secret of a session, as the sign-in leaves it."""

        def unit(conn: sa.Connection) -> str:
            secret, events = sessions.start(conn, tenant, subject(sub), utc_now(), sid=sid)
            self.core.audit.append(conn, events)
            return secret

        return await self.core.writer.run(unit)

    async def until(self, done: Callable[[], bool], seconds: float = 30) -> None:
        end = time.monotonic() + seconds
        while not done():
            assert time.monotonic() < end, "what this test waits for did not happen in time"
            await asyncio.sleep(0.02)


def tables(conn: sa.Connection) -> dict[str, list[str]]:
    """Tables with rows of an organisation, and their columns."""
    inspector = sa.inspect(conn)
    named = {name: [column["name"] for column in inspector.get_columns(name)] for name in inspector.get_table_names()}
    return {name: columns for name, columns in named.items() if {"tenant", "tenant_id"} & set(columns)}


# -- serving it -----------------------------------------------------------------------------------------------


@dataclass
class _Taken:
    """What `serve` put together, taken where it would have gone to the network."""

    app: asyncio.Future[Any]
    running: list[Running] = field(default_factory=list)
    over: asyncio.Event = field(default_factory=asyncio.Event)

    def server(self, config: Any) -> Any:
        taken = self

        class Server:
            async def serve(self) -> None:
                taken.app.set_result(config.app)
                await taken.over.wait()

        return Server()


@contextlib.asynccontextmanager
async def serving(folder: Path, url: str | None = None) -> AsyncIterator[Two]:
    """`countersign serve` on the deployment in `folder`, but for sockets: Slack is a wall, the IdP's keys are known."""
    environ = environment(folder, url)
    settings = read(environ, file_here=False)
    assert settings.slack is not None
    taken, wall = _Taken(asyncio.get_running_loop().create_future()), Wall()
    installs = bot_chats.installs_of

    def slack_of(core: Core, slack: Slack) -> tuple[Any, Installs | None]:
        wall.book = core.book
        return wall, installs(core, slack)

    @contextlib.asynccontextmanager
    async def known(*args: Any, **more: Any) -> AsyncIterator[Running]:
        async with running(*args, **more) as service:
            taken.running.append(service)
            yield service

    @contextlib.asynccontextmanager
    async def keyed() -> AsyncIterator[Provider]:
        async with provider() as idp:
            yield replace(idp, keys=Published())  # type: ignore[arg-type]

    with pytest.MonkeyPatch.context() as patch, opened(settings) as core:
        patch.setattr(bot_chats, "slack_of", slack_of)
        patch.setattr(bot_service, "running", known)
        patch.setattr(bot_service, "provider", keyed)
        patch.setattr(bot_service, "OrderlyServer", taken.server)
        task = asyncio.create_task(bot_service.serve(core))
        try:
            ended: set[asyncio.Future[Any]] = {task, taken.app}
            await asyncio.wait(ended, return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                task.result()
            yield Two(core, folder, environ, wall, (taken.running[0], taken.app.result()))
        finally:
            taken.over.set()
            await task


@contextlib.contextmanager
def door_alone(folder: Path, url: str | None = None) -> Iterator[Two]:
    """What decides, as the shell has it too: nothing that is queued runs by itself."""
    environ = environment(folder, url)
    with opened(read(environ, file_here=False)) as core:
        yield Two(core, folder, environ)
