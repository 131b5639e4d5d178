"""Teams as a `bot.ports.ChatSurface`. Knows where and to whom; how it is drawn and sent is its neighbours' business.

A conversation is spoken in by what its last activity told of it (`bot.teams.places`). What is for one person alone goes
to their own conversation with the bot and nowhere else.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import Final, TypeVar
from urllib.parse import quote, urlencode
from weakref import WeakValueDictionary

from audit.store import AuditStore
from audit.writer import Writer
from bot.cards import Card
from bot.messages import ChatUser, Room, SurfaceName, Thread
from bot.payload import Body
from bot.ports import Answer, Ask, Book, Home, Posted, Standing, SurfaceError
from bot.teams.adaptive import Drawing, Mention, draw
from bot.teams.answers import draw_answer
from bot.teams.connector import Connector
from bot.teams.deliveries import TEAMS
from bot.teams.elements import Sheet
from bot.teams.finding import Finder
from bot.teams.home_card import draw_home, draw_welcome
from bot.teams.places import Place
from bot.teams.refusals import NO_CONVERSATION, NOT_THERE, Refused
from bot.teams.roster import ChannelFacts, Roster
from bot.teams.saying import Sayer
from bot.teams.sso import TeamsSignIn
from bot.teams.stream import EVERY_S, TeamsStream
from bot.teams.tables import Kind
from policy.model import Json, Subject

log = logging.getLogger(__name__)

T = TypeVar("T")

_PATIENCE_S: Final = 20.0
_BAD_REQUEST: Final = 400
_ACCOUNT: Final = "29:"
"""How Teams' ids of people begin."""
_LINK: Final = "https://teams.microsoft.com/l/message"


class TeamsSurface:
    """Every organisation in which the bot was met. See `bot.ports.ChatSurface` for the promises."""

    def __init__(
        self,
        connector: Connector,
        writer: Writer,
        book: Book,
        clock: Callable[[], datetime],
        *,
        app_id: str,
        audit: AuditStore | None = None,
        stream_every_s: float = EVERY_S,
    ) -> None:
        """`audit`: where it is noted that Teams says the bot is not wanted somewhere any more."""
        self.connector = connector
        self.book = book
        self.app_id = app_id
        self._finder = Finder(connector, writer, book, clock, audit)
        self._sayer = Sayer(connector, self._finder)
        self._roster = Roster(connector, self._finder)
        self._every_s = stream_every_s
        self.sign_in: TeamsSignIn | None = None
        """Single sign-on, where it is set up; given once there are pages to fall back on."""
        self._drawing: WeakValueDictionary[tuple[str, str, str], asyncio.Lock] = WeakValueDictionary()

    @property
    def name(self) -> SurfaceName:
        return TEAMS

    async def health(self) -> None:
        await self.connector.health()

    async def close(self) -> None:
        await self.connector.close()

    async def standing(self, who: ChatUser) -> Standing:
        return await self._roster.standing(who)

    async def name_of(self, who: ChatUser) -> str | None:
        """For the page on which somebody says that an account is theirs: its ids would tell them nothing."""
        return await self._roster.name_of(who)

    async def standing_at(self, who: ChatUser, body: Body) -> Standing:
        """Of the sender of a verified delivery, asked of the conversation it came from (`bot.teams.endpoint`)."""
        return await self._roster.standing_at(who, body)

    # --- saying --------------------------------------------------------------------------------------

    async def say(self, thread: Thread, text: str, asks: tuple[Ask, ...] = (), answer: Answer | None = None) -> Posted:
        place = await self._finder.at(thread.team, thread.channel)
        root = _root(thread)
        reader = ChatUser(TEAMS, thread.team, place.person) if place.person else None
        drawn = self._drawn(reader, text, asks, answer)
        return Posted(TEAMS, thread.team, thread.channel, await self._said(place, drawn, root))

    async def whisper(
        self, thread: Thread, who: ChatUser, text: str, asks: tuple[Ask, ...] = (), answer: Answer | None = None
    ) -> None:
        """Outside their own conversation: there, or not at all. It is never said in the open."""
        if who.team != thread.team:
            raise SurfaceError("This person is of another Microsoft 365 organisation. Nothing was posted.")
        drawn = self._drawn(who, text, asks, answer)
        if thread.room is Room.DM:
            place = await self._finder.at(thread.team, thread.channel)
            if place.person == who.user:
                await self._said(place, drawn)
                return
        await self._privately(who, drawn)

    async def direct(self, who: ChatUser, text: str, asks: tuple[Ask, ...] = ()) -> Posted:
        return await self._privately(who, self._drawn(who, text, asks))

    async def begin(self, thread: Thread, who: ChatUser) -> TeamsStream:
        place = await self._finder.at(thread.team, thread.channel)
        stream = TeamsStream(self._sayer, place, _root(thread), every_s=self._every_s)
        await stream.begin()
        return stream

    async def show_home(self, who: ChatUser, home: Home) -> None:
        """Teams has no page of the bot's own without a tab: a message in the person's own conversation."""
        await self._privately(who, [draw_home(home).activity()])

    def _drawn(
        self, reader: ChatUser | None, text: str, asks: tuple[Ask, ...], answer: Answer | None = None
    ) -> list[dict[str, Json]]:
        """`reader`: who alone reads it. An invitation asks Teams for their token before it shows its button."""
        card = self.sign_in.attachment(reader, asks) if self.sign_in is not None and reader is not None else None
        drawn = [said.activity() for said in draw_answer(text, asks if card is None else (), answer)]
        if card is not None:
            drawn[-1]["attachments"] = [card]
        return drawn

    async def welcome(self, thread: Thread) -> None:
        """What the bot is for, said where it has just come to."""
        place = await self._finder.at(thread.team, thread.channel)
        await self._said(place, [draw_welcome(personal=place.kind is Kind.PERSONAL).activity()], _root(thread))

    async def _said(self, place: Place, drawn: Sequence[dict[str, Json]], root: str = "") -> str:
        message_id = ""
        for activity in drawn:
            message_id = await self._sayer.post(place, activity, root)
        return message_id

    async def _privately(self, who: ChatUser, drawn: Sequence[dict[str, Json]]) -> Posted:
        place = await self._finder.person(who.team, who.user)
        try:
            message_id = await self._said(place, drawn[:1])
        except Refused as refusal:
            if refusal.code not in (NO_CONVERSATION, NOT_THERE):
                raise
            place = await self._finder.person(who.team, who.user, anew=True)
            message_id = await self._said(place, drawn[:1])
        message_id = await self._said(place, drawn[1:]) or message_id
        return Posted(TEAMS, who.team, place.conversation, message_id)

    # --- cards ---------------------------------------------------------------------------------------

    async def post(self, team: str, destination: str, card: Card) -> Posted:
        """Posts the card; what does not fit follows below it, and only then the buttons appear."""
        place = await self._finder.destination(team, destination)
        try:
            return await self._post(place, card)
        except Refused as refusal:
            if refusal.code not in (NO_CONVERSATION, NOT_THERE) or not destination.startswith("dm:"):
                raise
            return await self._post(
                await self._finder.person(team, destination.removeprefix("dm:").lower(), anew=True), card
            )

    async def _post(self, place: Place, card: Card) -> Posted:
        async def post(whole: Drawing, first: Drawing) -> Posted:
            return await self._posted(place, whole, first)

        return await self._mentioning(place, card, post)

    async def _posted(self, place: Place, whole: Drawing, first: Drawing) -> Posted:
        sent: list[str] = []
        try:
            sent.append(await self._sayer.post(place, first.sheets[0].activity()))
            for sheet in (*first.sheets[1:], *whole.pages):
                sent.append(await self._sayer.post(place, sheet.activity(), sent[0], patience_s=_PATIENCE_S))
            message_id = "+".join(sent[: len(whole.sheets)])
            if first is not whole:
                await self._redraw(place, message_id, whole.sheets)
        except SurfaceError:
            # Half a card would be decided on half a draft: it is taken back, and the outbox posts it anew.
            await self._take_back(place, sent)
            raise
        return Posted(TEAMS, place.team, place.conversation, message_id)

    async def update(self, posted: Posted, card: Card) -> None:
        place = await self._finder.at(posted.team, posted.channel)
        key = (posted.team, posted.channel, posted.message_id)
        lock = self._drawing.setdefault(key, asyncio.Lock())

        async def redraw(whole: Drawing, first: Drawing) -> None:
            await self._redraw(place, posted.message_id, whole.sheets)

        async with lock:  # in the order in which the updates were asked for
            await self._mentioning(place, card, redraw)

    async def _mentioning(self, place: Place, card: Card, use: Callable[[Drawing, Drawing], Awaitable[T]]) -> T:
        """`use` of the card, and of what is posted first: without buttons while not all of it is there.

        Teams may refuse a message for whom it names; the card is what matters.
        """
        mentioned = await self._accounts(place, card.mention)
        shown = () if place.kind is Kind.PERSONAL else mentioned
        # Whoever asked comes first: what stands on the shared card are the others' buttons.
        own = await self._accounts(place, (card.asker,)) if card.asker else ()
        views = [one.id for one in (*own, *mentioned) if one.id.startswith(_ACCOUNT)]
        try:
            return await use(*_sheets(card, shown, views))
        except Refused as refusal:
            if refusal.status != _BAD_REQUEST or not shown:
                raise
            log.info("A card is posted without mentions: %s", refusal)
            return await use(*_sheets(card, (), views))

    async def _redraw(self, place: Place, message_id: str, sheets: Sequence[Sheet]) -> None:
        ids = message_id.split("+")
        for one, sheet in zip(ids, sheets, strict=False):
            await self._sayer.change(place, one, sheet.activity(), ids[0])

    async def _take_back(self, place: Place, sent: Sequence[str]) -> None:
        for one in reversed(sent):
            try:
                await self._sayer.take_back(place, one, sent[0])
            except SurfaceError as error:
                log.warning("Part of a card that could not be posted whole stays behind: %s", error)

    async def _accounts(self, place: Place, people: Sequence[str]) -> tuple[Mention, ...]:
        """The Teams accounts, in this organisation, of people that a card names by their subjects."""
        tenant = self._finder.tenant(place.team)
        found: dict[str, str] = {}
        for named in people:
            issuer, _, sub = named.partition("|")
            person = await self.book.by_subject(tenant, Subject(issuer, sub))
            for account in () if person is None else person.accounts:
                if person is not None and account.surface == TEAMS and account.team == place.team:
                    found[account.user] = person.display_name
        known = await self._finder.known(place.team, list(found)) if found else {}
        return tuple(Mention(known[user].account if user in known else user, name) for user, name in found.items())

    # --- places --------------------------------------------------------------------------------------

    async def link(self, thread: Thread) -> str | None:
        self._finder.tenant(thread.team)
        if thread.root == thread.channel:
            return None
        query = urlencode({"tenantId": thread.team, "parentMessageId": thread.root})
        return f"{_LINK}/{quote(thread.channel, safe='')}/{quote(thread.root, safe='')}?{query}"

    async def room(self, thread: Thread) -> Room:
        """Who can read along in `thread` now; with outsiders in doubt, they are taken to be there."""
        try:
            place = await self._finder.at(thread.team, thread.channel)
        except SurfaceError:
            return Room.SHARED
        return await self._roster.room(place)

    async def channel_facts(self, name: str, team: str) -> ChannelFacts:
        """Of a destination in `team`. Raises `SurfaceError` when the bot is not in it."""
        return await self._roster.facts(await self._finder.destination(team, name))


def _sheets(card: Card, mentions: Sequence[Mention], views: Sequence[str]) -> tuple[Drawing, Drawing]:
    whole = draw(card, mentions, views)
    if not whole.pages and len(whole.sheets) == 1:
        return whole, whole
    return whole, draw(card, mentions, (), buttons=False)


def _root(thread: Thread) -> str:
    """The reply chain; a card's first message where it has several."""
    return "" if thread.root == thread.channel else thread.root.partition("+")[0]
