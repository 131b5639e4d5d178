"""Slack as a `bot.ports.ChatSurface`. Knows the Web API and how cards are drawn; knows no turn and decides nothing."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from weakref import WeakValueDictionary

from bot.cards import Card
from bot.messages import ChatUser, Room, SurfaceName, Thread
from bot.payload import Body, at, flag_at, list_at, text_at
from bot.ports import Answer, Ask, Book, Home, Posted, Standing, SurfaceError
from bot.slack import sheets
from bot.slack.blocks import draw
from bot.slack.calls import Calls, Refused
from bot.slack.deliveries import SLACK
from bot.slack.home import home_view
from bot.slack.sheets import PATIENCE_S
from bot.slack.spoken import spoken
from bot.slack.standing import standing_of, standing_of_error
from bot.slack.stream import Lacks, SlackStream
from bot.slack.workspaces import NotInstalled, OneToken, Workspace, Workspaces
from policy.model import Json, Subject

log = logging.getLogger(__name__)

_CHANNELS_FRESH_S = 600.0
_ROOM_FRESH_S = 60.0


@dataclass(frozen=True, slots=True)
class ChannelFacts:
    """What `countersign check` needs to know of a channel to which cards are posted."""

    channel: str
    is_private: bool
    is_shared: bool
    """With another organisation, now or pending."""
    members: tuple[str, ...]
    """Slack user ids, bots included but this one."""


@dataclass(slots=True)
class _Places:
    """What was read of one workspace's channels. Never of two: the same name is another channel elsewhere."""

    channels: dict[str, str] = field(default_factory=dict)
    channels_read: float = float("-inf")
    rooms: dict[str, tuple[float, Room]] = field(default_factory=dict)
    lacks: Lacks = field(default_factory=Lacks)


class SlackSurface:
    """Every workspace with the bot in it, each with its own token. See `bot.ports.ChatSurface` for the promises."""

    def __init__(
        self,
        workspaces: Workspaces | str,
        *,
        book: Book,
        api_url: str | None = None,
        stream_every_s: float = 1.0,
        timeout_s: int = 10,
    ) -> None:
        """`workspaces`: a bot token stands for the one workspace it belongs to."""
        if isinstance(workspaces, str):
            workspaces = OneToken(workspaces, api_url, timeout_s=timeout_s)
        self.workspaces: Workspaces = workspaces
        self.api_url = api_url
        self.book = book
        self._every_s = stream_every_s
        self._places: dict[str, _Places] = {}
        self._drawing: WeakValueDictionary[tuple[str, str, str], asyncio.Lock] = WeakValueDictionary()

    @property
    def name(self) -> SurfaceName:
        return SLACK

    async def workspace(self) -> Workspace:
        """The one workspace. Raises where there are several, none, or Slack has not answered."""
        teams = await self.workspaces.teams()
        if len(teams) != 1:
            raise SurfaceError(f"The app is installed in {len(teams)} Slack workspaces: say which one is meant.")
        return await self.workspaces.of(teams[0])

    async def health(self) -> None:
        await self.workspaces.health()

    async def standing(self, who: ChatUser) -> Standing:
        if who.surface != SLACK or not who.user:
            return Standing.STRANGER
        try:
            own = await self.workspaces.of(who.team)
        except NotInstalled:
            return Standing.STRANGER
        except SurfaceError:
            return Standing.UNKNOWN
        if who.enterprise != own.enterprise:
            return Standing.STRANGER
        try:
            told = await own.calls.call("users.info", {"user": who.user})
        except Refused as refused:
            return standing_of_error(refused.code)
        except SurfaceError:
            return Standing.UNKNOWN
        if text_at(told, "user", "id") != who.user:
            return Standing.UNKNOWN
        return standing_of(at(told, "user"), own.team, own.enterprise)

    # --- saying --------------------------------------------------------------------------------------

    async def say(self, thread: Thread, text: str, asks: tuple[Ask, ...] = (), answer: Answer | None = None) -> Posted:
        calls = await self._calls(thread.team)
        posted = Posted(SLACK, thread.team, thread.channel, "")
        for sheet in spoken(text, asks, answer):
            ts = await sheets.post(calls, thread.channel, sheets.thread_ts(thread), sheet)
            posted = Posted(SLACK, thread.team, thread.channel, ts)
        return posted

    async def whisper(
        self, thread: Thread, who: ChatUser, text: str, asks: tuple[Ask, ...] = (), answer: Answer | None = None
    ) -> None:
        calls = await self._calls(thread.team)
        for sheet in spoken(text, asks, answer):
            await sheets.whisper(calls, thread, who, sheet)

    async def direct(self, who: ChatUser, text: str, asks: tuple[Ask, ...] = ()) -> Posted:
        calls = await self._calls(who.team)
        channel = await sheets.dm(calls, who.user)
        posted = Posted(SLACK, who.team, channel, "")
        for sheet in spoken(text, asks):
            posted = Posted(SLACK, who.team, channel, await sheets.post(calls, channel, None, sheet))
        return posted

    async def begin(self, thread: Thread, who: ChatUser) -> SlackStream:
        calls = await self._calls(thread.team)
        stream = SlackStream(calls, self._of(thread.team).lacks, thread, who, self._every_s)
        await stream.begin()
        return stream

    # --- cards ---------------------------------------------------------------------------------------

    async def post(self, team: str, destination: str, card: Card) -> Posted:
        """Posts the card; what does not fit follows in its thread, and only then the buttons appear."""
        calls = await self._calls(team)
        channel = await self._channel(team, calls, destination)
        mentioned = await self._mentioned(team, card)
        whole = draw(card, mentioned)
        first = draw(card, mentioned, buttons=False) if whole.pages or len(whole.sheets) > 1 else whole
        sent: list[str] = []
        try:
            sent.append(await sheets.post(calls, channel, None, first.sheets[0]))
            for sheet in (*first.sheets[1:], *whole.pages):
                sent.append(await sheets.post(calls, channel, sent[0], sheet, patience_s=PATIENCE_S))
            message_id = "+".join(sent[: len(whole.sheets)])
            if first is not whole:
                await sheets.redraw(calls, channel, message_id, whole, patience_s=PATIENCE_S)
        except SurfaceError:
            # Half a card would be decided on half a draft: it is taken back, and the outbox posts it anew.
            await sheets.take_back(calls, channel, sent)
            raise
        return Posted(SLACK, team, channel, message_id)

    async def update(self, posted: Posted, card: Card) -> None:
        calls = await self._calls(posted.team)
        key = (posted.team, posted.channel, posted.message_id)
        lock = self._drawing.setdefault(key, asyncio.Lock())
        async with lock:  # in the order in which the updates were asked for
            drawing = draw(card, await self._mentioned(posted.team, card))
            await sheets.redraw(calls, posted.channel, posted.message_id, drawing)

    async def _mentioned(self, team: str, card: Card) -> tuple[str, ...]:
        """The Slack accounts, in this workspace, of the people the card is for."""
        tenant = self.book.tenant_of(SLACK, team)
        if tenant is None:
            return ()
        found: list[str] = []
        for mention in card.mention:
            issuer, _, sub = mention.partition("|")
            person = await self.book.by_subject(tenant, Subject(issuer, sub))
            accounts = person.accounts if person is not None else ()
            found += [account.user for account in accounts if account.surface == SLACK and account.team == team]
        return tuple(found)

    # --- places --------------------------------------------------------------------------------------

    async def link(self, thread: Thread) -> str | None:
        calls = await self._calls(thread.team)
        if thread.root == thread.channel:
            return None
        try:
            told = await calls.call(
                "chat.getPermalink", {"channel": thread.channel, "message_ts": thread.root}, patience_s=2
            )
        except Refused as refused:
            if refused.gone:
                return None
            raise
        return text_at(told, "permalink") or None

    async def show_home(self, who: ChatUser, home: Home) -> None:
        calls = await self._calls(who.team)
        await calls.call("views.publish", {"user_id": who.user, "view": home_view(home)}, patience_s=2)

    async def room(self, own: Workspace, channel: str) -> Room:
        """Who can read along in `channel`; with outsiders in doubt, they are taken to be there."""
        rooms = self._of(own.team).rooms
        read_at, room = rooms.get(channel, (float("-inf"), Room.SHARED))
        if time.monotonic() - read_at < _ROOM_FRESH_S:
            return room
        try:
            told = await own.calls.call("conversations.info", {"channel": channel})
        except SurfaceError:
            return Room.DM if channel.startswith("D") else Room.SHARED
        room = _room_of(at(told, "channel"))
        rooms[channel] = (time.monotonic(), room)
        return room

    async def channel_facts(self, name: str, team: str | None = None) -> ChannelFacts:
        """Of ``#name`` in `team`, or in the one workspace there is. Raises `SurfaceError` when the bot is not in it."""
        own = await self.workspace() if team is None else await self.workspaces.of(team)
        channel = await self._channel(own.team, own.calls, name)
        told = at(await own.calls.call("conversations.info", {"channel": channel}, patience_s=PATIENCE_S), "channel")
        members: list[str] = []
        async for page in _pages(own.calls, "conversations.members", {"channel": channel}):
            members += [str(member) for member in list_at(page, "members") if member != own.bot_user]
        return ChannelFacts(channel, flag_at(told, "is_private"), _room_of(told) is Room.SHARED, tuple(members))

    async def _channel(self, team: str, calls: Calls, destination: str) -> str:
        if destination.startswith("dm:"):
            return await sheets.dm(calls, destination.removeprefix("dm:"))
        if not destination.startswith("#"):
            raise SurfaceError(f"{destination!r} is no place in Slack. Write #channel or dm.")
        wanted, places = destination.removeprefix("#"), self._of(team)
        if wanted not in places.channels or time.monotonic() - places.channels_read > _CHANNELS_FRESH_S:
            places.channels, places.channels_read = await _channels(calls), time.monotonic()
        if wanted not in places.channels:
            mend = "Create it, or invite the bot there with /invite."
            raise SurfaceError(f"The bot is in no channel #{wanted}. {mend}", gone=True)
        return places.channels[wanted]

    async def _calls(self, team: str) -> Calls:
        """What speaks in `team`, and nowhere else (invariant 14)."""
        return (await self.workspaces.of(team)).calls

    def _of(self, team: str) -> _Places:
        return self._places.setdefault(team, _Places())


async def _channels(calls: Calls) -> dict[str, str]:
    """The channels the bot is in: it can post nowhere else."""
    found: dict[str, str] = {}
    args: dict[str, Json] = {"types": "public_channel,private_channel", "exclude_archived": True}
    async for page in _pages(calls, "users.conversations", args):
        found |= {text_at(channel, "name"): text_at(channel, "id") for channel in list_at(page, "channels")}
    return found


def _room_of(channel: Json) -> Room:
    if flag_at(channel, "is_im"):
        return Room.DM
    shared = ("is_ext_shared", "is_pending_ext_shared", "is_org_shared", "is_shared")
    if not text_at(channel, "id") or any(flag_at(channel, flag) for flag in shared):
        return Room.SHARED
    return Room.CHANNEL


async def _pages(calls: Calls, method: str, args: dict[str, Json]) -> AsyncIterator[Body]:
    cursor = ""
    for _ in range(100):
        page: Body = await calls.call(method, {**args, "limit": 999, "cursor": cursor or None}, patience_s=PATIENCE_S)
        yield page
        cursor = text_at(page, "response_metadata", "next_cursor")
        if not cursor:
            return
