"""Our Slack adapter for several workspaces on a database of the test's own, beside `slack_oauth`. Knows no turn."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from slack_sdk.oauth.installation_store import Installation
from sqlalchemy.engine import Engine
from sqlmodel import SQLModel
from starlette.applications import Starlette
from starlette.responses import HTMLResponse, Response

from audit import ddl
from audit.store import AuditStore
from audit.writer import Writer, make_engine
from bot.identity.sealing import Sealer, open_or_make
from bot.messages import ChatUser, SurfaceName
from bot.ports import Person
from bot.slack.install import install_routes
from bot.slack.installs import App, Installs
from bot.slack.ledger import Ledger
from bot.slack.vault import Vault
from policy.model import Subject, TenantId
from policy.pii import redact
from tests.rigs.slack_oauth import CLIENT_ID, CLIENT_SECRET, SlackOAuth

BASE = "http://127.0.0.1:9"
"""Where browsers would be sent back to; the tests take the address and go there themselves."""


def utc_now() -> datetime:
    return datetime.now(UTC)


@dataclass
class Listed:
    """A `bot.ports.Book` that knows which team is whose; its people are accounts of every listed team."""

    teams: dict[str, str] = field(default_factory=dict)

    def tenant_of(self, surface: SurfaceName, team: str) -> TenantId | None:
        return TenantId(self.teams[team]) if surface == "slack" and team in self.teams else None

    async def by_account(self, who: ChatUser) -> Person | None:
        tenant = self.tenant_of(who.surface, who.team)
        return None if tenant is None else await self.by_subject(tenant, Subject("idp", who.user))

    async def by_subject(self, tenant: TenantId, subject: Subject) -> Person | None:
        teams = [team for team, owner in self.teams.items() if owner == tenant]
        accounts = tuple(ChatUser(SurfaceName("slack"), team, subject.sub) for team in teams)
        return Person(tenant, subject, subject.sub, None, True, (), None, accounts)

    async def people(self, tenant: TenantId) -> tuple[Person, ...]:
        return ()


@dataclass
class Replica:
    """One process's view of the installations."""

    engine: Engine
    writer: Writer
    installs: Installs
    book: Listed

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        with self.engine.connect() as conn:
            return [tuple(row) for row in conn.execute(sa.text(query))]

    def audited(self) -> list[tuple[str, str, str]]:
        query = "SELECT kind, status, tenant_id FROM agent_audit_log ORDER BY tenant_id, seq"
        return [(kind, status, tenant) for kind, status, tenant in self.rows(query)]

    def web(self) -> Starlette:
        return Starlette(routes=install_routes(self.installs, plain_page, "https://slack.test/oauth/v2/authorize"))

    async def install(self, oauth: SlackOAuth, team: str) -> None:
        """As the browser's way does it, the browser left out."""
        told = oauth._token(oauth.teams[team])
        await self.installs.ledger.save(
            Installation(
                app_id=told["app_id"],
                team_id=team,
                enterprise_id=oauth.teams[team].enterprise or None,
                bot_token=told["access_token"],
                bot_id="B01",
                bot_user_id=told["bot_user_id"],
                bot_refresh_token=told.get("refresh_token"),
                bot_token_expires_in=told.get("expires_in"),
                user_id="U07ADA",
            ),
            team,
            TenantId(self.book.teams[team]),
        )
        self.installs.drop(team)


def plain_page(title: str, text: str, status: int) -> Response:
    return HTMLResponse(f"<h1>{title}</h1><p>{text}</p>", status_code=status)


@contextlib.contextmanager
def replica(url: str, keys: Path, oauth: SlackOAuth, book: Listed, *, timeout_s: int = 5) -> Iterator[Replica]:
    keys.mkdir(parents=True, exist_ok=True)
    engine = make_engine(url, busy_timeout_ms=1000)
    SQLModel.metadata.create_all(engine)
    with engine.begin() as conn:
        ddl.create_all(conn)
    writer = Writer(engine)
    vault = Vault(Sealer(open_or_make(keys)), CLIENT_ID)
    ledger = Ledger(CLIENT_ID, writer=writer, audit=AuditStore(redact), vault=vault, clock=utc_now)
    app = App(CLIENT_ID, CLIENT_SECRET, BASE, oauth.api_url)
    try:
        yield Replica(engine, writer, Installs(app, ledger, book, timeout_s=timeout_s), book)
    finally:
        writer.close()
        engine.dispose()


@contextlib.asynccontextmanager
async def settled(*replicas: Replica) -> AsyncIterator[None]:
    """Whatever they were still renewing has ended when the block does."""
    try:
        yield
    finally:
        await asyncio.gather(*(one.installs.close() for one in replicas))
