"""`countersign serve` as a real process of its own, on a home that a test owns. Knows its environment, not its inside.

A `Home` holds what an operator would: keys, databases, tenants.yaml with local-slack's workspace, a copy of the policy
files; its people are provisioned and linked. A `Service` is one process on it; several may share a home's database, as
replicas do.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
import uuid
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
import psycopg
import sqlalchemy as sa
import yaml
from psycopg import sql

from bot.messages import ChatUser, SurfaceName
from policy.model import TenantId
from policy.rules import FILE_NAMES
from tests.kit.provision import hires, idp, write_tenants
from tests.rigs import teams_playground, teams_wire
from tests.rigs.local_slack import APP_TOKEN, BOT_TOKEN, PEOPLE, SIGNING_SECRET, TEAM, free_port
from tools.business import open_business, payments
from tools.seed import seed

ROOT = Path(__file__).parents[2]
DEMO = TenantId("demo")
OFFLINE = "offline:offline"
READY_S = 40.0
KEPT = ("PATH", "HOME", "LANG", "TMPDIR", "LD_LIBRARY_PATH")


@dataclass(frozen=True)
class Home:
    """What one deployment has on disk."""

    folder: Path
    database_url: str | None = None
    """None: SQLite below the folder."""

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def policy(self) -> Path:
        return self.folder / "policy"

    @property
    def database(self) -> Path:
        return self.data / "countersign.sqlite"

    @property
    def url(self) -> str:
        return self.database_url or f"sqlite:///{self.database}"

    @property
    def business_url(self) -> str:
        return f"sqlite:///{self.data / 'business.sqlite'}"

    @property
    def tenants(self) -> Path:
        return self.folder / "tenants.yaml"

    def environment(self, **more: str) -> dict[str, str]:
        """The whole environment of a process: nothing of the developer's own."""
        base = {name: os.environ[name] for name in KEPT if name in os.environ}
        base |= {
            "COUNTERSIGN_DATA_DIR": str(self.data),
            "COUNTERSIGN_POLICY_DIR": str(self.policy),
            "COUNTERSIGN_TENANTS": str(self.tenants),
            "COUNTERSIGN_BASE_URL": "http://127.0.0.1:8080",
            "PYTHONPATH": str(ROOT),
            "PYTHONUNBUFFERED": "1",
        }
        if self.database_url is not None:
            base["COUNTERSIGN_DATABASE_URL"] = self.database_url
        return base | more

    def run(self, *words: str, **more: str) -> subprocess.CompletedProcess[str]:
        """`countersign …` to its end."""
        return subprocess.run(
            [sys.executable, "-m", "bot", *words],
            cwd=self.folder,
            env=self.environment(COLUMNS="200", **more),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    async def cli(self, *words: str, **more: str) -> subprocess.CompletedProcess[str]:
        """`run` beside a chat that goes on meanwhile."""
        return await asyncio.to_thread(lambda: self.run(*words, **more))

    # --- what an operator writes ---------------------------------------------------------------------

    def write_tenants(self, *chats: str) -> None:
        """One organisation, in local-slack's workspace, the playground's tenant or both."""
        places = {"slack": TEAM, "teams": teams_wire.TENANT}
        write_tenants(self.tenants, {"demo": [{"surface": chat, "team": places[chat]} for chat in chats or ("slack",)]})

    def join_teams(self, *chats: str) -> None:
        """The organisation is in Teams too (`chats`: in these), where the demo's people have accounts of their own."""
        self.write_tenants(*(chats or ("slack", "teams")))
        with idp(self.environment()) as theirs:
            for one in teams_playground.PEOPLE:
                if one is not teams_playground.GUS:
                    theirs.link(_sub(one.name), teams_account(one))

    def hire(self) -> None:
        """The demo's people, provisioned and linked to local-slack's accounts. The database is migrated."""
        users = {name: (ChatUser(SurfaceName("slack"), TEAM, user),) for user, name in PEOPLE.items()}
        with idp(self.environment()) as theirs:
            theirs.hire(hires((ROOT / "bot/web/demo/directory.yaml").read_text("utf-8"), users))

    def change_person(self, name: str, *, groups: Sequence[str] | None = None, active: bool | None = None) -> None:
        """What the IdP says of the person `name` from now on."""
        with idp(self.environment()) as theirs:
            if groups is not None:
                theirs.move(_sub(name), groups)
            if active is not None:
                theirs.activate(_sub(name), active)

    def unlink(self, name: str) -> None:
        """No chat account is the person's any more."""
        with idp(self.environment()) as theirs:
            theirs.unlink(*(ChatUser(SurfaceName("slack"), TEAM, user) for user, one in PEOPLE.items() if one == name))

    def write_policy(self, *models: str, expires: str | None = None) -> None:
        """The shipped files, with these models and another expiry. What a server of one's own costs is stated."""
        self.policy.mkdir(parents=True, exist_ok=True)
        for name in FILE_NAMES:
            shutil.copy(ROOT / "policy" / name, self.policy / name)
        own = {model: {"input": 0.4, "output": 0.6} for model in models if model.startswith("openai-chat:")}
        named = {"default": list(models or (OFFLINE,)), "prices": own}
        (self.policy / "models.yaml").write_text(yaml.safe_dump({key: value for key, value in named.items() if value}))
        if expires is not None:
            tools = self.policy / "tools.yaml"
            tools.write_text(tools.read_text("utf-8").replace("expires: 24h", f"expires: {expires}"))

    # --- what is in the databases --------------------------------------------------------------------

    def rows(self, query: str, url: str | None = None) -> list[dict[str, Any]]:
        """The answer of the product's database (or the one at `url`), read as anybody could."""
        engine = sa.create_engine(url or self.url)
        try:
            with engine.connect() as conn:
                return [dict(row._mapping) for row in conn.execute(sa.text(query))]
        finally:
            engine.dispose()

    def audit(self) -> list[tuple[str, str, str | None]]:
        """(kind, status, actor) of every row of the organisation, in order."""
        rows = self.rows("SELECT kind, status, actor_user_id FROM agent_audit_log WHERE tenant_id='demo' ORDER BY seq")
        return [(row["kind"], row["status"], row["actor_user_id"]) for row in rows]

    def refunds(self, order: str = "1042") -> list[int]:
        """Minor units of each refund in the embedded ledger."""
        query = f"SELECT amount_minor FROM refunds WHERE tenant='demo' AND order_id='{order}'"
        return [int(row["amount_minor"]) for row in self.rows(query, self.business_url)]

    def mails(self) -> list[dict[str, Any]]:
        """The mail that left, in the local outbox."""
        return self.rows("SELECT recipient, subject, body FROM mail_outbox ORDER BY sent_at", self.business_url)

    def pay_with(self, order: str, provider_ref: str) -> None:
        """Has the order's payment be this one at the provider."""
        engine = sa.create_engine(self.business_url)
        with engine.begin() as conn:
            where = (payments.c.tenant == DEMO) & (payments.c.order_id == order)
            done = conn.execute(sa.update(payments).where(where).values(provider_ref=provider_ref))
            assert done.rowcount == 1
        engine.dispose()


def make_home(folder: Path, database_url: str | None = None) -> Home:
    """A deployment that `countersign migrate` has set up, its shop filled."""
    home = Home(folder, database_url)
    folder.mkdir(parents=True, exist_ok=True)
    home.write_tenants()
    home.write_policy()
    migrated = home.run("migrate")
    assert migrated.returncode == 0, migrated.stdout + migrated.stderr
    home.hire()
    fill_shop(home)
    return home


def teams_account(member: teams_playground.Member) -> ChatUser:
    return ChatUser(SurfaceName("teams"), teams_wire.TENANT, member.oid)


def _sub(name: str) -> str:
    """The demo's people have their first names as subjects."""
    return name.split()[0].lower()


def fill_shop(home: Home) -> None:
    business = open_business(home.business_url)
    try:
        seed(business, DEMO, datetime.now(UTC))
    finally:
        business.close()


def copy_home(template: Home, folder: Path) -> Home:
    """A deployment like `template`, all its own: quicker than migrating each time. SQLite only."""
    shutil.copytree(template.folder, folder, dirs_exist_ok=True)
    return Home(folder)


@dataclass
class Service:
    """One `countersign serve`."""

    home: Home
    env: dict[str, str]
    port: int
    process: asyncio.subprocess.Process
    log: Path
    killed: bool = field(default=False)

    @property
    def base(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def ready(self) -> None:
        """Until it takes messages; fails with its log when it does not."""
        deadline = time.monotonic() + READY_S
        async with aiohttp.ClientSession() as session:
            while time.monotonic() < deadline:
                if self.process.returncode is not None:
                    break
                with contextlib.suppress(aiohttp.ClientError):
                    async with session.get(self.base + "/readyz") as told:
                        if told.status == 200:
                            return
                        if told.status == 500:
                            break
                await asyncio.sleep(0.05)
        raise AssertionError(f"countersign serve is not ready ({self.process.returncode}):\n{self.said()}")

    def said(self) -> str:
        """Everything it has logged."""
        return self.log.read_text("utf-8", "replace")

    async def kill9(self) -> None:
        """Gone at once, nothing cleaned up."""
        self.killed = True
        self.process.send_signal(signal.SIGKILL)
        await self.process.wait()

    async def stop(self) -> int:
        """SIGTERM, as an init system does it; its exit status."""
        if self.process.returncode is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                await asyncio.wait_for(self.process.wait(), 20)
            except TimeoutError:
                self.process.kill()
                await self.process.wait()
                raise AssertionError(f"it did not end on SIGTERM:\n{self.said()}") from None
        return self.process.returncode or 0


async def start(
    home: Home,
    api_url: str | None,
    *,
    mode: str = "socket",
    port: int | None = None,
    ahead: Path | None = None,
    also: Mapping[str, str] | None = None,
    **more: str,
) -> Service:
    """Starts one and waits until it is ready.

    Args:
        api_url: Slack's; None: without Slack.
        mode: ``socket`` or ``events``.
        also: of its environment: that of another chat.
        ahead: a file of seconds by which its clock is ahead, read again and again.
    """
    port = port or free_port()
    at = {"COUNTERSIGN_PORT": str(port), "COUNTERSIGN_BASE_URL": f"http://127.0.0.1:{port}"}
    slack = {} if api_url is None else slack_environment(api_url, mode)
    env = home.environment(**slack, **{**at, **(also or {}), **more})
    words = ("bot", "serve") if ahead is None else ("tests.kit.serve_ahead", str(ahead))
    log = home.folder / f"serve-{port}-{time.monotonic_ns()}.log"
    with log.open("wb") as out:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", *words, cwd=home.folder, env=env, stdout=out, stderr=out
        )  # fmt: skip
    service = Service(home, env, port, process, log)
    try:
        await service.ready()
    except BaseException:
        await _end(service)
        raise
    return service


@contextlib.asynccontextmanager
async def serving(
    home: Home,
    api_url: str | None,
    *,
    mode: str = "socket",
    port: int | None = None,
    ahead: Path | None = None,
    also: Mapping[str, str] | None = None,
    **more: str,
) -> AsyncIterator[Service]:
    """`start`, and the process dies with the block whatever happens."""
    service = await start(home, api_url, mode=mode, port=port, ahead=ahead, also=also, **more)
    try:
        yield service
    finally:
        await _end(service)


async def _end(service: Service) -> None:
    if service.process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            service.process.kill()
        await service.process.wait()


def slack_environment(api_url: str, mode: str) -> dict[str, str]:
    base = {"SLACK_BOT_TOKEN": BOT_TOKEN, "SLACK_API_URL": api_url}
    return base | ({"SLACK_APP_TOKEN": APP_TOKEN} if mode == "socket" else {"SLACK_SIGNING_SECRET": SIGNING_SECRET})


@contextlib.contextmanager
def exclusive_lock(database: Path) -> Iterator[None]:
    """Another process's hold on a SQLite file: nobody can write for the length of the block."""
    holder = sqlite3.connect(database, timeout=20, isolation_level=None)
    try:
        holder.execute("BEGIN EXCLUSIVE")
        yield
        holder.execute("ROLLBACK")
    finally:
        holder.close()


@contextlib.contextmanager
def fresh_database(server: str) -> Iterator[str]:
    """A PostgreSQL database for the length of the block, as SQLAlchemy spells it. `server`: as libpq does."""
    name = f"t_{uuid.uuid4().hex}"
    with psycopg.connect(server, autocommit=True) as conn:
        conn.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    path, _, query = server.partition("?")
    yield f"postgresql+psycopg{path.removeprefix('postgresql').rpartition('/')[0]}/{name}" + (query and f"?{query}")
    with psycopg.connect(server, autocommit=True) as conn:
        conn.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))
