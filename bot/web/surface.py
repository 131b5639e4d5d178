"""The demo workspace as a chat (`bot.ports.ChatSurface`). Knows rooms and lines; knows no page and decides nothing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlencode

from audit.faults import StoreUnavailable
from bot.cards import Card
from bot.messages import ChatUser, SurfaceName, Thread
from bot.ports import Answer, Ask, Home, Posted, Standing, SurfaceError
from bot.web.chatlog import BOT, ChatLog, Line, LineKind
from bot.web.live import Hub
from bot.web.workspace import DEMO, TEAM, Workspace


class DemoStream:
    """An answer that grows on every page that shows its room."""

    def __init__(self, surface: DemoSurface, thread: Thread) -> None:
        self._surface = surface
        self._thread = thread
        self._key = surface.hub.start(thread)

    async def add(self, text: str) -> None:
        self._surface.hub.grow(self._key, text)

    async def done(self, text: str, answer: Answer | None = None) -> None:
        try:
            if text:
                await self._surface.say(self._thread, text, answer=answer)
        finally:
            self._surface.hub.settle(self._key)


class DemoSurface:
    """One workspace, kept in our own database so that a restart keeps it."""

    def __init__(self, log: ChatLog, workspace: Workspace) -> None:
        self.log = log
        self.workspace = workspace
        self.hub = Hub()

    @property
    def name(self) -> SurfaceName:
        return DEMO

    async def health(self) -> None:
        with _as_surface_error():
            await self.log.last_break("")

    async def standing(self, who: ChatUser) -> Standing:
        if who.surface != DEMO or who.team != TEAM or self.workspace.member(who.user) is None:
            return Standing.STRANGER
        return Standing.MEMBER

    async def say(self, thread: Thread, text: str, asks: tuple[Ask, ...] = (), answer: Answer | None = None) -> Posted:
        room = self._room(thread.channel)
        return await self._add(Line(LineKind.SAID, room, BOT, text, root=thread.root, asks=asks, answer=answer))

    async def whisper(
        self, thread: Thread, who: ChatUser, text: str, asks: tuple[Ask, ...] = (), answer: Answer | None = None
    ) -> None:
        room = self._room(thread.channel)
        line = Line(LineKind.SAID, room, BOT, text, root=thread.root, only_for=who.user, asks=asks, answer=answer)
        await self._add(line)

    async def direct(self, who: ChatUser, text: str, asks: tuple[Ask, ...] = ()) -> Posted:
        room = self._room(f"dm:{who.user}")
        return await self._add(Line(LineKind.SAID, room, BOT, text, root=room, asks=asks))

    async def begin(self, thread: Thread, who: ChatUser) -> DemoStream:
        self._room(thread.channel)
        return DemoStream(self, thread)

    async def post(self, team: str, destination: str, card: Card) -> Posted:
        if team != TEAM:
            raise SurfaceError(
                f"The demo workspace is the team {TEAM}, not {team}. The card was not posted.", gone=True
            )
        return await self._add(Line(LineKind.CARD, self._room(destination), BOT, card.summary, card=card))

    async def update(self, posted: Posted, card: Card) -> None:
        with _as_surface_error():
            drawn = posted.message_id.isdecimal() and await self.log.redraw(int(posted.message_id), card)
        if not drawn:
            raise SurfaceError("That card is no longer in the demo workspace.", gone=True)
        self.hub.wake()

    async def link(self, thread: Thread) -> str | None:
        return f"/open?{urlencode({'channel': thread.channel, 'root': thread.root})}"

    async def show_home(self, who: ChatUser, home: Home) -> None:
        # The page reads its home anew whenever it is drawn; there is nothing to push but the news that it changed.
        self.hub.wake()

    async def hear(self, line: Line) -> Line:
        """A line that a person typed."""
        with _as_surface_error():
            written = await self.log.add(line)
        self.hub.wake()
        return written

    async def _add(self, line: Line) -> Posted:
        written = await self.hear(line)
        return Posted(DEMO, TEAM, written.channel, str(written.id))

    def _room(self, channel: str) -> str:
        if self.workspace.room_of(channel) is None:
            raise SurfaceError(
                f"The demo workspace has no room {channel}. Nothing was posted there: name one of "
                f"{', '.join(place.channel for place in self.workspace.channels)} in policy/tools.yaml.",
                gone=True,
            )
        return channel


@contextmanager
def _as_surface_error() -> Iterator[None]:
    try:
        yield
    except StoreUnavailable as error:
        raise SurfaceError(str(error), retry_after_s=1.0) from error
