"""A chat that writes down what it is told, for one task. Implements `bot.ports.ChatSurface`; decides nothing."""

from __future__ import annotations

from dataclasses import dataclass, field

from bot.cards import Card
from bot.messages import ChatUser, Room, SurfaceName, Thread
from bot.ports import Answer, Ask, Home, Posted, Standing, Stream

SURFACE = SurfaceName("demo")
TEAM = "demo"


@dataclass(frozen=True, slots=True)
class Line:
    channel: str
    text: str


@dataclass(slots=True)
class _Answer:
    chat: RecordingChat
    thread: Thread

    async def add(self, text: str) -> None:
        """Nobody watches it grow."""

    async def done(self, text: str, answer: Answer | None = None) -> None:
        self.chat.lines.append(Line(self.thread.channel, text))


@dataclass(slots=True)
class RecordingChat:
    """Everybody in it is a member; posting always works."""

    lines: list[Line] = field(default_factory=list)
    posts: int = 0

    @property
    def name(self) -> SurfaceName:
        return SURFACE

    async def health(self) -> None:
        return

    async def standing(self, who: ChatUser) -> Standing:
        return Standing.MEMBER if (who.surface, who.team) == (SURFACE, TEAM) else Standing.STRANGER

    async def say(self, thread: Thread, text: str, asks: tuple[Ask, ...] = (), answer: Answer | None = None) -> Posted:
        self.lines.append(Line(thread.channel, text))
        return self._posted(thread.channel)

    async def whisper(
        self, thread: Thread, who: ChatUser, text: str, asks: tuple[Ask, ...] = (), answer: Answer | None = None
    ) -> None:
        self.lines.append(Line(direct(who.user).channel, text))

    async def direct(self, who: ChatUser, text: str, asks: tuple[Ask, ...] = ()) -> Posted:
        self.lines.append(Line(direct(who.user).channel, text))
        return self._posted(direct(who.user).channel)

    async def begin(self, thread: Thread, who: ChatUser) -> Stream:
        return _Answer(self, thread)

    async def post(self, team: str, destination: str, card: Card) -> Posted:
        return self._posted(destination)

    async def update(self, posted: Posted, card: Card) -> None:
        return

    async def link(self, thread: Thread) -> str | None:
        return None

    async def show_home(self, who: ChatUser, home: Home) -> None:
        return

    def heard_by(self, user: str, since: int = 0) -> str:
        """What stands in the direct messages of `user`, from line `since` on."""
        channel = direct(user).channel
        return "\n".join(line.text for line in self.lines[since:] if line.channel == channel)

    def _posted(self, channel: str) -> Posted:
        self.posts += 1
        return Posted(SURFACE, TEAM, channel, str(self.posts))


def account(user: str) -> ChatUser:
    return ChatUser(SURFACE, TEAM, user)


def direct(user: str) -> Thread:
    """The one conversation `user` has with the bot."""
    return Thread(SURFACE, TEAM, f"dm-{user}", f"dm-{user}", Room.DM)
