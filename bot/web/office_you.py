"""`/you`: whom Countersign takes the reader for, and what follows from it. Reads only."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final, assert_never

from sqlalchemy.engine import Connection
from starlette.requests import Request
from starlette.responses import Response

from bot.identity import links
from bot.identity.links import How, Link
from bot.messages import ChatUser
from bot.web.office_paper import nobody_here, page
from bot.web.office_visitor import Reception, Visitor

HERE: Final = "/you"
OWN: Final = "it is your company account itself"


@dataclass(frozen=True, slots=True)
class Rights:
    """What somebody may ask for, and what of others they may approve."""

    asks: tuple[str, ...]
    approves: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Account:
    """A chat account of the reader's. `since` None: it needs no link."""

    who: ChatUser
    since: datetime | None
    how: str


@dataclass(frozen=True, slots=True)
class YouPages:
    reception: Reception

    async def you(self, request: Request) -> Response:
        visitor = await self.reception.visitor(request)
        if visitor is None:
            return nobody_here(request, self.reception.browsers.to_signin(request))

        def unit(conn: Connection) -> tuple[Link, ...]:
            return links.of_subject(conn, visitor.tenant, visitor.signed.subject)

        found = await self.reception.parts.writer.read(unit)
        linked = [Account(link.who, link.linked_at, how(link)) for link in found]
        known = {one.who for one in linked}
        own = [Account(who, None, OWN) for who in visitor.signed.person.accounts if who not in known]
        accounts = [*linked, *own]
        return page("you.html", visitor, HERE, accounts=accounts, rights=self._rights(visitor))

    def _rights(self, visitor: Visitor) -> Rights:
        who = visitor.principal
        if who is None:
            return Rights((), ())
        policy = self.reception.parts.policy(visitor.tenant)
        approves = (
            rule.tool
            for rule in policy.tools.values()
            if any(who.roles & set(roles) for roles in rule.gate.approver_roles.values())
        )
        return Rights(tuple(sorted(policy.roles.tools_of(who.roles))), tuple(sorted(approves)))


def how(link: Link) -> str:
    """What the link rests on, for people."""
    match link.how:
        case How.PROVED:
            return "you proved both sides"
        case How.TEAMS_SSO:
            return "your company's sign-in is the chat's own"
        case How.SHELL:
            return f"set by an operator ({link.by})"
        case _:
            assert_never(link.how)
