"""Who somebody is in Teams now, and who can read along. Knows rosters; decides nothing and says nothing."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from bot.messages import ChatUser, Room
from bot.payload import Body, text_at
from bot.ports import Standing, SurfaceError
from bot.teams.connector import Connector, Where
from bot.teams.deliveries import BOT, TEAMS, conversation_of
from bot.teams.finding import Finder, where
from bot.teams.met import standing_met
from bot.teams.places import Place
from bot.teams.refusals import AGAIN, Refused
from bot.teams.standing import standing_in, standing_of, standing_of_refusal
from bot.teams.tables import Kind
from policy.model import Json

_ROOM_FRESH_S: Final = 60.0


@dataclass(frozen=True, slots=True)
class ChannelFacts:
    """What `countersign check` needs to know of a place to which cards are posted."""

    channel: str
    is_private: bool | None
    """None: Teams does not tell bots whether everybody in the organisation may join."""
    is_shared: bool
    """Guests, or people of another organisation, read along."""
    members: tuple[str, ...]
    """aadObjectIds, in lower case; without bots."""


class Roster:
    def __init__(self, connector: Connector, finder: Finder) -> None:
        self._connector = connector
        self._finder = finder
        self._rooms: dict[tuple[str, str], tuple[float, Room]] = {}

    async def standing(self, who: ChatUser) -> Standing:
        """Asked of their own conversation with the bot, else of where they were met last, else of any place."""
        if who.surface != TEAMS or not who.user:
            return Standing.STRANGER
        met = standing_met(who)
        if met is not None:
            return met
        try:
            self._finder.tenant(who.team)
        except SurfaceError:
            return Standing.STRANGER
        try:
            asked = await self._asked_of(who)
        except SurfaceError:
            return Standing.UNKNOWN
        for place, account, theirs in asked:
            told = await self._ask(where(place), account, who)
            if told is Standing.STRANGER and not theirs:
                continue  # not everybody is in every chat
            if told is not Standing.UNKNOWN:
                return told
        return Standing.UNKNOWN

    async def name_of(self, who: ChatUser) -> str | None:
        """What Teams calls somebody who was met; None: it does not say. Raises: SurfaceError."""
        for place, account, theirs in await self._asked_of(who):
            member = await self._connector.member(where(place), account) if theirs else {}
            told = text_at(member, "aadObjectId") or text_at(member, "objectId")
            if told.lower() == who.user:
                return text_at(member, "name") or None
        return None

    async def standing_at(self, who: ChatUser, body: Body) -> Standing:
        """The same for the sender of a verified delivery, asked of the conversation it came from.

        Teams counts the questions about a conversation together: where one sender, or sixty who look at a card, have
        used them up, the others are asked about in their own conversation, whose count is theirs alone.
        """
        if who.surface != TEAMS:
            return Standing.STRANGER
        place = Where(who.team, text_at(body, "serviceUrl"), conversation_of(body))
        account = text_at(body, "from", "id") or who.user
        try:
            return standing_of(await self._connector.member(place, account, patience_s=0), who.team, who.user)
        except Refused as refusal:
            if refusal.status not in AGAIN:
                return standing_of_refusal(refusal)
        except SurfaceError as error:
            if error.retry_after_s is None:
                return Standing.UNKNOWN
        try:
            own = await self._finder.theirs(who.team, who.user, None)
        except SurfaceError:
            return Standing.UNKNOWN
        return await self._ask(where(own[0]) if own else place, account, who)

    async def room(self, place: Place) -> Room:
        """Who can read along; with outsiders in doubt, they are taken to be there."""
        if place.kind is Kind.PERSONAL:
            return Room.DM
        key = (place.team, place.conversation)
        read_at, room = self._rooms.get(key, (float("-inf"), Room.SHARED))
        if time.monotonic() - read_at < _ROOM_FRESH_S:
            return room
        try:
            members = await self._connector.members(where(place))
        except SurfaceError:
            return Room.SHARED
        room = _room(members, place.team)
        self._rooms[key] = (time.monotonic(), room)
        return room

    async def facts(self, place: Place) -> ChannelFacts:
        """Raises: SurfaceError when the bot is not there, or Teams does not say."""
        members = await self._connector.members(where(place))
        people = [one for one in members if not text_at(one, "id").startswith(BOT)]
        ids = [text_at(one, "aadObjectId").lower() or text_at(one, "objectId").lower() for one in people]
        return ChannelFacts(
            channel=place.conversation,
            is_private=True if place.kind is Kind.GROUP else None,
            is_shared=_room(members, place.team) is Room.SHARED,
            members=tuple(one for one in ids if one),
        )

    async def _asked_of(self, who: ChatUser) -> list[tuple[Place, str, bool]]:
        """Where to ask, under which id, and whether they are known to be there."""
        known = (await self._finder.known(who.team, [who.user])).get(who.user)
        account = known.account if known is not None else who.user
        asked = [(place, account, True) for place in await self._finder.theirs(who.team, who.user, known)]
        near = None if asked else await self._finder.near(who.team)
        return asked if near is None else [(near, account, False)]

    async def _ask(self, place: Where, account: str, who: ChatUser) -> Standing:
        try:
            member = await self._connector.member(place, account)
        except Refused as refusal:
            return standing_of_refusal(refusal)
        except SurfaceError:
            return Standing.UNKNOWN
        return standing_of(member, who.team, who.user)


def _room(members: Sequence[Json], team: str) -> Room:
    """An outsider is whoever is not plainly of the organisation; a list of nobody was not read whole."""
    own = (Standing.MEMBER, Standing.BOT)
    inside = bool(members) and all(standing_in(one, team) in own for one in members)
    return Room.CHANNEL if inside else Room.SHARED
