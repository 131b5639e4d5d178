"""Where a card goes: the places of tools.yaml as the chats, teams and accounts that are there now. Posts nothing."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeAlias

from bot.messages import ChatUser, SurfaceName
from bot.parts import Parts
from bot.ports import ChatSurface
from bot.store import TurnRow
from policy.model import Principal, TenantId
from policy.places import DM, name_in
from tools.held import HeldView

Team: TypeAlias = tuple[SurfaceName, str]
"""A chat, and a team in it."""


@dataclass(frozen=True, slots=True)
class Spot:
    """One place in one chat, as `ChatSurface.post` takes it."""

    surface: ChatSurface
    team: str
    destination: str

    @property
    def chat(self) -> Team:
        return self.surface.name, self.team

    @property
    def key(self) -> tuple[SurfaceName, str, str]:
        return self.surface.name, self.team, self.destination


@dataclass(frozen=True, slots=True)
class Aim:
    """Whom a card has to reach: a channel wherever it is, or one person at one of their accounts."""

    spots: tuple[Spot, ...]
    everywhere: bool
    """At every spot that there is, one at least. Else at the first that takes it."""
    named: str
    """For people: ``#finance-approvals``."""


async def aims_of(parts: Parts, view: HeldView, row: TurnRow) -> tuple[Aim, ...]:
    """Everybody who has to see the card of `view`, which `row` asked for."""
    found: list[Aim] = []
    for place in view.destinations:
        if place == DM:
            asked = [
                who for who in await parts.holders(view.tenant, view.approver_roles) if who.subject != view.requester
            ]
            found += await people(parts, asked, row)
        else:
            found.append(Aim(_channels(parts, view.tenant, place), everywhere=True, named=place))
    return tuple(found)


async def people(parts: Parts, asked: Iterable[Principal], row: TurnRow) -> tuple[Aim, ...]:
    """Each of them once, in the requester's chat if they are there; who has no account in a chat is left out."""
    found: list[Aim] = []
    for who in asked:
        spots = tuple(
            Spot(parts.surfaces[account.surface], account.team, f"dm:{account.user}")
            for account in await accounts_of(parts, who, row)
        )
        found += [Aim(spots, everywhere=False, named=DM)] if spots else []
    return tuple(found)


def _channels(parts: Parts, tenant: TenantId, place: str) -> tuple[Spot, ...]:
    """The channel of that name in every connected team in which it is meant."""
    teams = [(parts.surfaces.get(name), name, team) for name, team in parts.directory.teams_of(tenant)]
    return tuple(
        Spot(surface, team, called)
        for surface, name, team in teams
        if surface is not None and (called := name_in(place, name)) is not None
    )


async def accounts_of(parts: Parts, who: Principal, row: TurnRow) -> list[ChatUser]:
    """The accounts of `who` in connected chats: first the requester's chat, then where they have been met for sure."""
    person = await parts.book.by_subject(who.tenant, who.subject)
    accounts = () if person is None else (one for one in person.accounts if one.surface in parts.surfaces)

    def far(one: ChatUser) -> tuple[bool, bool, bool]:
        # An account that needs no link may never have been used in its chat.
        elsewhere = parts.directory.implied(one) is not None
        return one.surface != row.surface, one.team != row.team, elsewhere

    return sorted(accounts, key=far)
