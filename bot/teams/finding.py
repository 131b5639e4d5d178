"""From what people write (``#channel``, ``dm:<id>``) to a conversation. Knows rows and lists; says nothing anywhere."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Sequence
from datetime import datetime
from functools import partial
from typing import Final, TypeVar

from sqlalchemy.engine import Connection

from audit.event import Event
from audit.event import Kind as Fact
from audit.faults import StoreUnavailable
from audit.store import AuditStore
from audit.writer import Writer
from bot.ports import Book, SurfaceError
from bot.teams import places
from bot.teams.connector import Connector, Where
from bot.teams.deliveries import TEAMS
from bot.teams.places import Known, Met, Place
from bot.teams.refusals import Refused
from bot.teams.tables import Kind
from policy.model import TenantId

log = logging.getLogger(__name__)

T = TypeVar("T")

FRESH_S: Final = 600.0
"""How long a Teams team's list of channels is taken to be right."""
_AGAIN_S: Final = 5.0
"""How long, where it does not have a name that is asked for."""
_SILENT_S: Final = 60.0
"""How long a team that gives no list is not asked again."""


def where(place: Place, root: str = "") -> Where:
    """`root`: the reply chain in a channel; chats have none."""
    chain = f";messageid={root}" if root and root != place.conversation and place.kind is Kind.CHANNEL else ""
    return Where(place.team, place.service_url, place.conversation + chain)


class Finder:
    """Every conversation the bot may speak in, each of one organisation (invariant 14).

    `audit`: where it is noted that Teams says the bot is not wanted somewhere any more.
    """

    def __init__(
        self,
        connector: Connector,
        writer: Writer,
        book: Book,
        clock: Callable[[], datetime],
        audit: AuditStore | None = None,
    ) -> None:
        self._connector = connector
        self._writer = writer
        self._book = book
        self._clock = clock
        self._audit = audit
        self._listed: dict[tuple[str, str], float] = {}
        self._silent: set[tuple[str, str]] = set()
        """Teams whose list could not be read when it was asked for last."""
        self._names: dict[tuple[str, str], str] = {}

    def tenant(self, team: str) -> TenantId:
        """Whose `team` is. Raises: SurfaceError when nobody's."""
        tenant = self._book.tenant_of(TEAMS, team)
        if tenant is None:
            raise SurfaceError("This Microsoft 365 organisation is none of those served here. Nothing was posted.")
        return tenant

    async def at(self, team: str, conversation: str) -> Place:
        """The conversation of that id. Raises: SurfaceError when the bot was never in it, or is not any more."""
        tenant = self.tenant(team)
        found = await self._read(lambda conn: places.place(conn, tenant, team, conversation))
        if found is None:
            raise SurfaceError("The bot has not been in that conversation in Teams. Add the app there.", gone=True)
        if found.removed:
            raise _left(found)
        return found

    async def person(self, team: str, person: str, *, anew: bool = False) -> Place:
        """`person`'s own conversation with the bot, made where there is none. `anew`: Teams knows the last one no more.

        Raises:
            SurfaceError: they took the bot out of it or blocked it, or it cannot be made.
        """
        tenant = self.tenant(team)
        own = await self._read(lambda conn: places.personal(conn, tenant, team, person))
        if own is not None and not anew:
            if own.removed:
                raise _left(own)
            return own
        near = await self.near(team)
        if near is None:
            raise SurfaceError(
                "Nobody has met the bot in this Microsoft 365 organisation yet, so it cannot write to anybody there. "
                "Install the app in a team or a chat first.",
                gone=True,
            )
        met = (await self.known(team, [person])).get(person)
        begun = await self._connector.begin(where(near), near.bot, met.account if met else person)
        now = self._clock()
        told = Met(
            team,
            begun,
            Kind.PERSONAL,
            near.service_url,
            near.bot,
            now,
            person=person,
            account=met.account if met else None,
        )
        await self._run(lambda conn: places.remember(conn, tenant, told))
        return Place(team, begun, Kind.PERSONAL, near.service_url, near.bot, None, None, person, removed=False)

    async def destination(self, team: str, destination: str) -> Place:
        """``#name`` of a channel, ``#Team/channel``, ``dm:<aadObjectId>``, or a conversation's id."""
        if destination.startswith("dm:"):
            return await self.person(team, destination.removeprefix("dm:").lower())
        if destination.startswith("#"):
            return await self._named(team, destination.removeprefix("#"))
        if ":" in destination:
            return await self.at(team, destination)
        raise SurfaceError(f"{destination!r} is no place in Teams. Write #channel, #Team/channel or dm.")

    async def near(self, team: str) -> Place | None:
        """Any place in `team`, for its address."""
        tenant = self.tenant(team)
        return await self._read(lambda conn: places.anywhere(conn, tenant, team))

    async def known(self, team: str, people: Sequence[str]) -> dict[str, Known]:
        tenant = self.tenant(team)
        return await self._read(lambda conn: places.known(conn, tenant, team, people))

    async def theirs(self, team: str, person: str, known: Known | None) -> tuple[Place, ...]:
        """Where `person` can be asked about: their own conversation with the bot, then where they were met last."""
        tenant = self.tenant(team)

        def unit(conn: Connection) -> tuple[Place, ...]:
            met = None if known is None else places.place(conn, tenant, team, known.met_in)
            found = (places.personal(conn, tenant, team, person), met)
            return tuple(dict.fromkeys(one for one in found if one is not None and not one.removed))

        return await self._read(unit)

    async def note_left(self, place: Place, refusal: Refused) -> None:
        """Teams says that the bot is not in `place`, or blocked there: nothing is posted until it comes back."""
        tenant, now = self.tenant(place.team), self._clock()

        def unit(conn: Connection) -> None:
            if places.removed(conn, tenant, place.team, place.conversation, now) and self._audit is not None:
                detail = {
                    "surface": TEAMS,
                    "team": place.team,
                    "conversation": place.conversation,
                    "kind": place.kind.value,
                    "why": refusal.code,
                }
                self._audit.append(conn, [Event(Fact.CHAT_REMOVED, tenant, now, "refused", detail=detail)])

        await self._run(unit)

    # --- rows ----------------------------------------------------------------------------------------

    async def _read(self, unit: Callable[[Connection], T]) -> T:
        try:
            return await self._writer.read(unit)
        except StoreUnavailable as error:
            raise SurfaceError(f"It is not known where to speak in Teams: {error}") from error

    async def _run(self, unit: Callable[[Connection], T]) -> T:
        try:
            return await self._writer.run(unit)
        except StoreUnavailable as error:
            raise SurfaceError(f"What Teams said could not be kept: {error}") from error

    # --- names ---------------------------------------------------------------------------------------

    async def _named(self, team: str, name: str) -> Place:
        """Lists are read anew when a name is not known, and now and then because channels are renamed."""
        for stale_s in (FRESH_S, _AGAIN_S):
            whole = await self._list(team, stale_s)
            found = await self._called(team, name)
            if found:
                break
        if not found:
            raise SurfaceError(
                f"The bot is in no channel #{name} of Teams. Add the app to its team; for a private channel, mention "
                "the bot there once. A group chat is named by its id.",
                # Where a list could not be read it may be there all the same: tried again.
                gone=whole,
            )
        if len(found) > 1:
            several = ", ".join(sorted([await self._full_name(one) for one in found]))
            raise SurfaceError(
                f"#{name} is {len(found)} places in Teams: {several}. Write #Team/channel or the conversation's id. "
                "Nothing was posted."
            )
        return found[0]

    async def _called(self, team: str, name: str) -> tuple[Place, ...]:
        tenant = self.tenant(team)
        everywhere = await self._read(lambda conn: places.shared(conn, tenant, team))
        # Whoever is in a group chat may call it what they like, the approvers' channel too: by its id alone.
        shared = [one for one in everywhere if one.kind is Kind.CHANNEL]
        found = places.named(shared, name)
        if found or "/" not in name:
            return found
        of_team, _, channel = name.partition("/")
        wanted = of_team.strip().casefold()
        return tuple(
            [one for one in places.named(shared, channel) if (await self._team_name(one)).strip().casefold() == wanted]
        )

    async def _list(self, team: str, stale_s: float) -> bool:
        """Reads the channels of every Teams team the bot is in, where the list is older than `stale_s`. False: not all
        could be read."""
        tenant = self.tenant(team)
        shared = await self._read(lambda conn: places.shared(conn, tenant, team))
        near = {one.teams_team: one for one in reversed(shared) if one.teams_team is not None}
        for teams_team, one in near.items():
            key = (team, teams_team)
            now = time.monotonic()
            if now - self._listed.get(key, float("-inf")) < stale_s:
                continue
            try:
                listed = await self._connector.channels(where(one), teams_team)
            except SurfaceError as error:
                log.info("The channels of a team in Teams could not be listed: %s", error)
                self._listed[key] = now - FRESH_S + _SILENT_S
                self._silent.add(key)
                continue
            noted = partial(places.rename, tenant=tenant, near=one, listed=listed, at=self._clock())
            await self._run(noted)
            self._listed[key] = now
            self._silent.discard(key)
            self._names.pop(key, None)
        return self._silent.isdisjoint((team, teams_team) for teams_team in near)

    async def _team_name(self, place: Place) -> str:
        """Raises: SurfaceError when it cannot be read: a channel of another team must not be taken for it, nor for
        none."""
        if place.teams_team is None:
            return ""
        key = (place.team, place.teams_team)
        if key not in self._names:
            self._names[key] = await self._connector.team_name(where(place), place.teams_team)
        return self._names[key]

    async def _full_name(self, place: Place) -> str:
        with contextlib.suppress(SurfaceError):
            return f"#{await self._team_name(place)}/{place.name}"
        return place.conversation


def _left(place: Place) -> SurfaceError:
    if place.kind is Kind.PERSONAL:
        sentence = "This person has removed or blocked the bot in Teams. It writes again once they write to it."
    else:
        sentence = "The bot is not in that conversation in Teams any more. Add the app there again."
    return SurfaceError(f"{sentence} Nothing was posted.", gone=True)
