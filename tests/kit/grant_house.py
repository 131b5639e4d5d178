"""Sealed grants over a database of the test's own, and an IdP that rotates refresh tokens and punishes reuse."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import sqlalchemy as sa
from sqlmodel import SQLModel

from audit import ddl
from audit.store import AuditStore
from audit.writer import Writer, make_engine
from bot.identity.grants import Grants
from bot.identity.oidc import OidcError, OidcFault, Refreshed
from bot.identity.sealing import Sealer
from bot.identity.tables import SealedGrant, table
from bot.identity.wrapping import Wrapping
from policy.model import Subject, TenantId
from policy.pii import redact

ACME, OTHER = TenantId("acme"), TenantId("other")
ADA, BOB = Subject("https://idp.acme.example", "ada"), Subject("https://idp.acme.example", "bob")
GRANT = table(SealedGrant)


@dataclass
class Idp:
    """Rotates refresh tokens, and takes the second use of one for a theft, as RFC 9700 asks."""

    live: str = "rt-0"
    spent: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    at_once: int = 0
    most: int = 0

    async def __call__(self, token: str) -> Refreshed:
        self.asked.append(token)
        self.at_once += 1
        self.most = max(self.most, self.at_once)
        try:
            if token != self.live:
                self.live = "revoked"
                raise OidcError(OidcFault.GRANT, "spent")
            self.spent.append(token)
            self.live = f"rt-{len(self.spent)}"
            said = self.live
            await asyncio.sleep(0.01)
            return Refreshed(f"at-{len(self.spent)}", said, f"id-{len(self.spent)}")
        finally:
            self.at_once -= 1


@dataclass
class Clock:
    now: datetime = datetime(2026, 11, 20, 9, 0, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now


@dataclass
class Replica:
    grants: Grants
    writer: Writer
    clock: Clock

    async def sign_in(self, token: str = "rt-0", tenant: TenantId = ACME, subject: Subject = ADA) -> None:
        vessel = await self.grants.prepare(tenant, subject)

        def unit(conn: sa.Connection) -> None:
            AuditStore(redact).append(conn, self.grants.store(conn, vessel, token, self.clock()))

        await self.writer.run(unit)

    def rows(self, query: str) -> list[tuple[object, ...]]:
        return self.writer.read_blocking(lambda conn: [tuple(row) for row in conn.execute(sa.text(query))])

    def audit(self) -> list[tuple[object, ...]]:
        return self.rows("SELECT kind, status, actor_user_id, tenant_id FROM agent_audit_log ORDER BY tenant_id, seq")

    def write(self, statement: sa.Update) -> None:
        self.writer.run_blocking(lambda conn: conn.execute(statement).rowcount)


@contextmanager
def replica(
    url: str, keys: Path, *, fresh: bool = True, patience: float = 5.0, kms: str | None = None
) -> Iterator[Replica]:
    engine = make_engine(url)
    if fresh:
        with engine.begin() as conn:
            SQLModel.metadata.create_all(conn)
            ddl.create_all(conn)
    writer, clock = Writer(engine), Clock()
    try:
        sealer = Sealer(Wrapping(keys, kms=kms).open())
        yield Replica(Grants(writer, AuditStore(redact), sealer, clock, patience=patience), writer, clock)
    finally:
        writer.close()
        engine.dispose()
