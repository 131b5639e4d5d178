"""Slack as a `bot.ports.ChatSurface`. Knows the Web API and how cards are drawn; knows no turn and decides nothing."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from weakref import WeakValueDictionary

from bot.cards import Card
from bot.messages import ChatUser, Room, SurfaceName, Thread
from bot.ports import Ask, Book, Home, Posted, Standing, SurfaceError
from bot.slack.blocks import Drawing, Sheet, answer, draw
from bot.slack.calls import Calls, Refused, web_client
from bot.slack.deliveries import SLACK
from bot.slack.home import home_view
from bot.slack.payload import Body, at, flag_at, list_at, text_at
from bot.slack.standing import standing_of, standing_of_error
from bot.slack.stream import Lacks, SlackStream
from policy.model import Json, Subject

log = logging.getLogger(__name__)

_PATIENCE_S = 20.0
_CHANNELS_FRESH_S = 600.0
_ROOM_FRESH_S = 60.0
_NOT_HERE = frozenset({"user_not_in_channel", "not_in_channel", "channel_not_found", "is_archived"})


@dataclass(frozen=True, slots=True)
class Workspace:
    """Where the bot is installed, as ``auth.test`` says."""

    team: str
    bot_user: str
    bot_id: str


@dataclass(frozen=True, slots=True)
class ChannelFacts:
    """What `countersign check` needs to know of a channel to which cards are posted."""

    channel: str
    is_private: bool
    is_shared: bool
    """With another organisation, now or pending."""
    members: tuple[str, ...]
    """Slack user ids, bots included but this one."""


class SlackSurface:
    """One workspace, one token. See `bot.ports.ChatSurface` for what each method promises."""

    def __init__(
        self,
        bot_token: str,
        *,
        book: Book,
        api_url: str | None = None,
        stream_every_s: float = 1.0,
        timeout_s: int = 10,
    ) -> None:
        self.calls = Calls(web_client(bot_token, api_url, timeout_s=timeout_s))
        self.api_url = api_url
        self._book = book
        self._every_s = stream_every_s
        self._lacks = Lacks()
        self._workspace: Workspace | None = None
        self._channels: dict[str, str] = {}
        self._channels_read = float("-inf")
        self._rooms: dict[str, tuple[float, Room]] = {}
        self._drawing: WeakValueDictionary[tuple[str, str], asyncio.Lock] = WeakValueDictionary()

    @property
    def name(self) -> SurfaceName:
        return SLACK

    async def workspace(self) -> Workspace:
        """Asked once; raises until Slack has answered."""
        if self._workspace is None:
            await self.health()
        if self._workspace is None:
            raise SurfaceError("Slack did not say which workspace the bot's token belongs to.")
        return self._workspace

    async def health(self) -> None:
        told = await self.calls.call("auth.test", {})
        self._workspace = Workspace(text_at(told, "team_id"), text_at(told, "user_id"), text_at(told, "bot_id"))
        if not self._workspace.team or not self._workspace.bot_user:
            self._workspace = None
            raise SurfaceError("Slack did not say which workspace the bot's token belongs to.")

    async def standing(self, who: ChatUser) -> Standing:
        try:
            own = (await self.workspace()).team
            if who.surface != SLACK or who.team != own or not who.user:
                return Standing.STRANGER
            told = await self.calls.call("users.info", {"user": who.user})
        except Refused as refused:
            return standing_of_error(refused.code)
        except SurfaceError:
            return Standing.UNKNOWN
        if text_at(told, "user", "id") != who.user:
            return Standing.UNKNOWN
        return standing_of(at(told, "user"), own)

    # --- saying --------------------------------------------------------------------------------------

    async def say(self, thread: Thread, text: str, asks: tuple[Ask, ...] = ()) -> Posted:
        await self._ours(thread.team)
        posted = Posted(SLACK, thread.team, thread.channel, "")
        for sheet in answer(text, asks):
            ts = await self._post_sheet(thread.channel, _thread_ts(thread), sheet)
            posted = Posted(SLACK, thread.team, thread.channel, ts)
        return posted

    async def whisper(self, thread: Thread, who: ChatUser, text: str, asks: tuple[Ask, ...] = ()) -> None:
        await self._ours(thread.team)
        for sheet in answer(text, asks):
            await self._whisper_sheet(thread, who, sheet)

    async def direct(self, who: ChatUser, text: str, asks: tuple[Ask, ...] = ()) -> Posted:
        await self._ours(who.team)
        channel = await self._dm(who.user)
        posted = Posted(SLACK, who.team, channel, "")
        for sheet in answer(text, asks):
            posted = Posted(SLACK, who.team, channel, await self._post_sheet(channel, None, sheet))
        return posted

    async def begin(self, thread: Thread, who: ChatUser) -> SlackStream:
        await self._ours(thread.team)
        stream = SlackStream(self.calls, self._lacks, thread, who, self._every_s)
        await stream.begin()
        return stream

    async def _whisper_sheet(self, thread: Thread, who: ChatUser, sheet: Sheet) -> None:
        if thread.room is Room.DM:
            await self._post_sheet(thread.channel, _thread_ts(thread), sheet)
            return
        args: dict[str, Json] = {"channel": thread.channel, "user": who.user, "thread_ts": _thread_ts(thread)}
        try:
            drawn: dict[str, Json] = {"blocks": list(sheet.blocks)} if sheet.blocks else {}
            await self.calls.call("chat.postEphemeral", {**args, **drawn, "text": sheet.text}, patience_s=_PATIENCE_S)
        except Refused as refused:
            if refused.code not in _NOT_HERE:
                raise
            await self._post_sheet(await self._dm(who.user), None, sheet)

    # --- cards ---------------------------------------------------------------------------------------

    async def post(self, team: str, destination: str, card: Card) -> Posted:
        """Posts the card; what does not fit follows in its thread, and only then the buttons appear."""
        await self._ours(team)
        channel = await self._channel(destination)
        mentioned = await self._mentioned(team, card)
        whole = draw(card, mentioned)
        first = draw(card, mentioned, buttons=False) if whole.pages or len(whole.sheets) > 1 else whole
        sent: list[str] = []
        try:
            sent.append(await self._post_sheet(channel, None, first.sheets[0]))
            for sheet in (*first.sheets[1:], *whole.pages):
                sent.append(await self._post_sheet(channel, sent[0], sheet, patience_s=_PATIENCE_S))
            message_id = "+".join(sent[: len(whole.sheets)])
            if first is not whole:
                await self._redraw(channel, message_id, whole, patience_s=_PATIENCE_S)
        except SurfaceError:
            # Half a card would be decided on half a draft: it is taken back, and the outbox posts it anew.
            await self._take_back(channel, sent)
            raise
        return Posted(SLACK, team, channel, message_id)

    async def update(self, posted: Posted, card: Card) -> None:
        await self._ours(posted.team)
        key = (posted.channel, posted.message_id)
        lock = self._drawing.setdefault(key, asyncio.Lock())
        async with lock:  # in the order in which the updates were asked for
            await self._redraw(posted.channel, posted.message_id, draw(card, await self._mentioned(posted.team, card)))

    async def _redraw(self, channel: str, message_id: str, drawing: Drawing, *, patience_s: float = 0) -> None:
        for ts, sheet in zip(message_id.split("+"), drawing.sheets, strict=False):
            args: dict[str, Json] = {"channel": channel, "ts": ts, "text": sheet.text, "blocks": list(sheet.blocks)}
            await self.calls.call("chat.update", args, patience_s=patience_s)

    async def _take_back(self, channel: str, sent: Sequence[str]) -> None:
        for ts in reversed(sent):
            try:
                await self.calls.call("chat.delete", {"channel": channel, "ts": ts}, patience_s=_PATIENCE_S)
            except SurfaceError as error:
                log.warning("Part of a card that could not be posted whole stays behind: %s", error)

    async def _mentioned(self, team: str, card: Card) -> tuple[str, ...]:
        """The Slack accounts, in this workspace, of the people the card is for."""
        tenant = self._book.tenant_of(SLACK, team)
        if tenant is None:
            return ()
        found: list[str] = []
        for mention in card.mention:
            issuer, _, sub = mention.partition("|")
            person = await self._book.by_subject(tenant, Subject(issuer, sub))
            accounts = person.accounts if person is not None else ()
            found += [account.user for account in accounts if account.surface == SLACK and account.team == team]
        return tuple(found)

    # --- places --------------------------------------------------------------------------------------

    async def link(self, thread: Thread) -> str | None:
        await self._ours(thread.team)
        if thread.root == thread.channel:
            return None
        try:
            told = await self.calls.call(
                "chat.getPermalink", {"channel": thread.channel, "message_ts": thread.root}, patience_s=2
            )
        except Refused as refused:
            if refused.gone:
                return None
            raise
        return text_at(told, "permalink") or None

    async def show_home(self, who: ChatUser, home: Home) -> None:
        await self._ours(who.team)
        await self.calls.call("views.publish", {"user_id": who.user, "view": home_view(home)}, patience_s=2)

    async def room(self, channel: str) -> Room:
        """Who can read along in `channel`; with outsiders in doubt, they are taken to be there."""
        read_at, room = self._rooms.get(channel, (float("-inf"), Room.SHARED))
        if time.monotonic() - read_at < _ROOM_FRESH_S:
            return room
        try:
            told = await self.calls.call("conversations.info", {"channel": channel})
        except SurfaceError:
            return Room.DM if channel.startswith("D") else Room.SHARED
        room = _room_of(at(told, "channel"))
        self._rooms[channel] = (time.monotonic(), room)
        return room

    async def channel_facts(self, name: str) -> ChannelFacts:
        """Of ``#name``. Raises `SurfaceError` when the bot is not in it."""
        channel = await self._channel(name)
        told = at(await self.calls.call("conversations.info", {"channel": channel}, patience_s=_PATIENCE_S), "channel")
        members: list[str] = []
        async for page in _pages(self.calls, "conversations.members", {"channel": channel}):
            members += [str(member) for member in list_at(page, "members")]
        # The bot has to be there to post, and presses nothing.
        own = (await self.workspace()).bot_user
        members = [member for member in members if member != own]
        return ChannelFacts(channel, flag_at(told, "is_private"), _room_of(told) is Room.SHARED, tuple(members))

    async def _channel(self, destination: str) -> str:
        if destination.startswith("dm:"):
            return await self._dm(destination.removeprefix("dm:"))
        if not destination.startswith("#"):
            raise SurfaceError(f"{destination!r} is no place in Slack. Write #channel or dm.")
        wanted = destination.removeprefix("#")
        if wanted not in self._channels or time.monotonic() - self._channels_read > _CHANNELS_FRESH_S:
            await self._read_channels()
        if wanted not in self._channels:
            raise SurfaceError(f"The bot is in no channel #{wanted}. Create it, or invite the bot there with /invite.")
        return self._channels[wanted]

    async def _read_channels(self) -> None:
        """The channels the bot is in: it can post nowhere else."""
        found: dict[str, str] = {}
        args: dict[str, Json] = {"types": "public_channel,private_channel", "exclude_archived": True}
        async for page in _pages(self.calls, "users.conversations", args):
            found |= {text_at(channel, "name"): text_at(channel, "id") for channel in list_at(page, "channels")}
        self._channels, self._channels_read = found, time.monotonic()

    async def _dm(self, user: str) -> str:
        told = await self.calls.call("conversations.open", {"users": user}, patience_s=2)
        return text_at(told, "channel", "id")

    async def _ours(self, team: str) -> None:
        if team != (await self.workspace()).team:
            raise SurfaceError("That is another Slack workspace; the bot is not installed there.")

    async def _post_sheet(self, channel: str, thread_ts: str | None, sheet: Sheet, *, patience_s: float = 0) -> str:
        args: dict[str, Json] = {
            "channel": channel,
            "thread_ts": thread_ts,
            "text": sheet.text or "…",
            "blocks": list(sheet.blocks) or None,
            "unfurl_links": False,
            "unfurl_media": False,
        }
        posted = await self.calls.call("chat.postMessage", args, patience_s=patience_s)
        return text_at(posted, "ts")


def _thread_ts(thread: Thread) -> str | None:
    return None if thread.root == thread.channel else thread.root


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
        page: Body = await calls.call(method, {**args, "limit": 999, "cursor": cursor or None}, patience_s=_PATIENCE_S)
        yield page
        cursor = text_at(page, "response_metadata", "next_cursor")
        if not cursor:
            return
