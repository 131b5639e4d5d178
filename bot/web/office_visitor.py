"""Who looks at a page: the browser's sign-in, and what its holder may do at this moment. Knows no page.

The same questions in the same order as for a press in a chat, asked anew for every request (invariants 9, 13).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy.engine import Connection
from starlette.requests import Request

from audit.event import Event, Json, Kind
from bot.identity.resolve import Refusal
from bot.identity.tenants import Tenants
from bot.parts import ADMIN, Parts
from bot.web.signed_in import WEB, SignedIn, SignedInBrowsers
from policy.model import Principal, RoleName, TenantId
from tools import limits

AUDITOR: Final = RoleName("auditor")
REFUSALS_A_MINUTE: Final = 20
"""Of one person: a row each; a page that is opened again and again fills no log."""


@dataclass(frozen=True, slots=True)
class Visitor:
    """Somebody signed in. `principal` None: nothing may be done for them now, and `refusal` says why."""

    signed: SignedIn
    organisation: str
    principal: Principal | None
    refusal: str = ""

    @property
    def tenant(self) -> TenantId:
        return self.signed.tenant

    @property
    def name(self) -> str:
        return self.signed.person.display_name

    @property
    def roles(self) -> tuple[str, ...]:
        return () if self.principal is None else tuple(sorted(self.principal.roles))

    @property
    def audits(self) -> bool:
        return AUDITOR in self.roles

    @property
    def rules(self) -> bool:
        return ADMIN in self.roles


@dataclass(frozen=True, slots=True)
class Reception:
    """Finds out who a request is from."""

    parts: Parts
    browsers: SignedInBrowsers
    tenants: Tenants

    async def visitor(self, request: Request, *, by_itself: bool = False) -> Visitor | None:
        """None: nobody is signed in. `by_itself`: the page asks, not its reader."""
        signed = await self.browsers.signed_in(request, touch=not by_itself)
        return None if signed is None else await self.known(signed)

    async def known(self, signed: SignedIn) -> Visitor:
        tenant = self.tenants.get(signed.tenant)
        name = signed.tenant if tenant is None else tenant.name
        who = await self.parts.resolver.resolve(signed.account, self.parts.surfaces[WEB])
        if isinstance(who, Refusal):
            return Visitor(signed, name, None, who.sentence)
        return Visitor(signed, name, who)

    async def turned_away(self, visitor: Visitor, page: str) -> None:
        """Somebody opened what their roles do not show: a row."""
        now = self.parts.clock()
        event = said(visitor, Kind.COMMAND_REFUSED, "refused", now, command=page)

        def unit(conn: Connection) -> None:
            who = str(visitor.signed.subject)
            if limits.take(conn, visitor.tenant, "page_refused", who, REFUSALS_A_MINUTE, 60, now):
                self.parts.audit.append(conn, [event])

        await self.parts.writer.run(unit)


def said(visitor: Visitor, kind: Kind, status: str, now: datetime, **detail: Json) -> Event:
    """The row of something that `visitor` did on the page, other than pressing a button of a card."""
    return Event(
        kind=kind,
        tenant=visitor.tenant,
        occurred_at=now,
        status=status,
        actor_user_id=visitor.signed.subject.sub,
        actor_roles=visitor.roles,
        detail={"account": str(visitor.signed.account), **detail},
    )
