"""What a turn is made of: the door, the queue, people, models and chats, in one frozen value. Decides nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from sqlalchemy.engine import Connection

from audit.store import AuditStore
from audit.writer import Writer
from bot.agent.loop import Bounds, Price
from bot.agent.spans import Tracing
from bot.durable import Durable
from bot.identity.book import DirectoryBook
from bot.identity.leavers import Leavers
from bot.identity.link_commands import LinkCommands
from bot.identity.resolve import Resolver
from bot.identity.tokens import CallTokens
from bot.messages import ChatUser, SurfaceName
from bot.ports import ChatSurface, Directory, Model, PolicyOf
from policy.axes import ActionClass
from policy.model import Principal, RoleName, Subject, TenantId, ToolName
from tools import killswitch
from tools.gateway import Gateway
from tools.killswitch import Target
from tools.ports import People
from tools.spec import Tool

ADMIN = RoleName("admin")
"""Who may stop everything, and who is told when nobody can say whether an effect happened."""


class ChatWord(Protocol):
    """Takes a chat account's own answer on a link."""

    async def answered(self, who: ChatUser, confirmation_id: str, *, yes: bool) -> str: ...


@dataclass(frozen=True, slots=True)
class Parts:
    """Made once in `bot.app`."""

    writer: Writer
    audit: AuditStore
    gateway: Gateway
    durable: Durable
    policy: PolicyOf
    directory: Directory
    resolver: Resolver
    people: People
    tokens: CallTokens = field(repr=False)
    catalog: Mapping[ToolName, Tool]
    models: Callable[[Iterable[ActionClass]], Model]
    """The model for a turn in which calls of these classes may be made."""
    price: Price
    tracing: Tracing
    surfaces: Mapping[SurfaceName, ChatSurface]
    clock: Callable[[], datetime]
    links: LinkCommands | None = None
    """Who may link chat accounts here; None: people stand in a file with their accounts (the demo)."""
    chat_word: ChatWord | None = None
    """What takes a chat account's own answer on a link."""
    leavers: Leavers | None = None
    bounds: Bounds = field(default_factory=Bounds)
    organisation: str = ""

    @property
    def book(self) -> DirectoryBook:
        return DirectoryBook(self.writer, self.directory)

    async def person(self, tenant: TenantId, subject: Subject) -> Principal | None:
        """Who they are by the directory at this moment; None: gone."""
        return await self.writer.read(lambda conn: self.people.current(conn, tenant, subject))

    def speaks_for(self, tenant: TenantId, surface: SurfaceName, team: str) -> bool:
        """Whether what concerns `tenant` may be said in that chat team: it is another's once it has moved there."""
        return self.directory.tenant_of(surface, team) == tenant

    async def holds(self, who: Principal, account: ChatUser) -> bool:
        """Whether `account` is still `who`'s: what is meant for a person goes to no account that changed hands."""
        owner = await self.book.by_account(account)
        return owner is not None and (owner.tenant, owner.subject) == (who.tenant, who.subject)

    async def holders(self, tenant: TenantId, roles: tuple[RoleName, ...]) -> tuple[Principal, ...]:
        return await self.writer.read(lambda conn: self.people.holders(conn, tenant, roles))

    async def stopped(self, who: Principal) -> str | None:
        """Why `who` may start nothing just now, as a sentence: stopped, or not vouched for lately."""
        return await self.writer.read(
            lambda conn: stop_of(conn, who) or self.people.stale(conn, who.tenant, who.subject)
        )


def stop_of(conn: Connection, who: Principal) -> str | None:
    """`Parts.stopped` within a transaction."""
    switch = killswitch.covering(conn, Target(who.tenant, None, who.subject))
    if switch is None:
        return None
    return f"{killswitch.stopped_sentence(switch)}. Nothing was done; write again after it is resumed."
