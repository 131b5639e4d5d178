"""The directory as the service asks it outside of decisions: each question is a read of its own. Decides nothing."""

from __future__ import annotations

from dataclasses import dataclass

from audit.writer import Writer
from bot.messages import ChatUser, SurfaceName
from bot.ports import Directory, Person
from policy.model import Subject, TenantId


@dataclass(frozen=True, slots=True)
class DirectoryBook:
    """Implements `bot.ports.Book`."""

    writer: Writer
    directory: Directory

    async def by_account(self, who: ChatUser) -> Person | None:
        return await self.writer.read(lambda conn: self.directory.by_account(conn, who))

    async def by_subject(self, tenant: TenantId, subject: Subject) -> Person | None:
        return await self.writer.read(lambda conn: self.directory.by_subject(conn, tenant, subject))

    async def people(self, tenant: TenantId) -> tuple[Person, ...]:
        return await self.writer.read(lambda conn: self.directory.people(conn, tenant))

    def tenant_of(self, surface: SurfaceName, team: str) -> TenantId | None:
        return self.directory.tenant_of(surface, team)
