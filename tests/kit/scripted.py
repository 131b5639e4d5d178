"""The scripted half of the product under test: a chat that writes down what it is told, a model that says its lines."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from bot.cards import Card, Item
from bot.messages import ChatUser, SurfaceName, Thread
from bot.ports import (
    Answer,
    Ask,
    EventHappened,
    Home,
    ModelAnswer,
    ModelError,
    ModelRequest,
    OnText,
    Posted,
    Standing,
    Stop,
    Stream,
    SurfaceError,
    ToolCall,
    ToolReturned,
    Usage,
)
from policy.model import Json, TenantId

ROOT = Path(__file__).parents[2]
DEMO = TenantId("demo")
SURFACE = SurfaceName("demo")
DM_ROOM = "dm-"


@dataclass(frozen=True)
class Said:
    thread: Thread
    text: str
    asks: tuple[Ask, ...] = ()
    only_for: str | None = None
    answer: Answer | None = None


@dataclass
class RecordedStream:
    chat: RecordedChat
    thread: Thread
    parts: list[str] = field(default_factory=list)

    async def add(self, text: str) -> None:
        self.parts.append(text)

    async def done(self, text: str, answer: Answer | None = None) -> None:
        self.chat.fault("done")
        self.chat.said.append(Said(self.thread, text, answer=answer))


@dataclass
class RecordedChat:
    """`faults[verb]`: errors to raise, one a call, before that verb works again."""

    said: list[Said] = field(default_factory=list)
    cards: dict[tuple[str, str], Card] = field(default_factory=dict)
    posts: list[tuple[str, Card]] = field(default_factory=list)
    standings: dict[str, Standing] = field(default_factory=dict)
    faults: dict[str, list[SurfaceError]] = field(default_factory=dict)
    numbers: Iterable[int] = field(default_factory=lambda: itertools.count(1))

    name: SurfaceName = SURFACE

    def fault(self, verb: str) -> None:
        if self.faults.get(verb):
            raise self.faults[verb].pop(0)

    async def health(self) -> None: ...

    async def standing(self, who: ChatUser) -> Standing:
        return self.standings.get(who.user, Standing.MEMBER)

    async def say(self, thread: Thread, text: str, asks: tuple[Ask, ...] = (), answer: Answer | None = None) -> Posted:
        self.fault("say")
        self.said.append(Said(thread, text, asks, answer=answer))
        return Posted(self.name, thread.team, thread.channel, str(next(iter(self.numbers))))

    async def whisper(
        self, thread: Thread, who: ChatUser, text: str, asks: tuple[Ask, ...] = (), answer: Answer | None = None
    ) -> None:
        self.fault("whisper")
        self.said.append(Said(thread, text, asks, only_for=who.user, answer=answer))

    async def direct(self, who: ChatUser, text: str, asks: tuple[Ask, ...] = ()) -> Posted:
        self.fault("direct")
        thread = Thread(self.name, who.team, f"dm:{who.user}", f"dm:{who.user}")
        self.said.append(Said(thread, text, asks, only_for=who.user))
        return Posted(self.name, who.team, thread.channel, str(next(iter(self.numbers))))

    async def begin(self, thread: Thread, who: ChatUser) -> Stream:
        self.fault("begin")
        return RecordedStream(self, thread)

    async def post(self, team: str, destination: str, card: Card) -> Posted:
        self.fault("post")
        posted = Posted(self.name, team, destination, str(next(iter(self.numbers))))
        self.posts.append((destination, card))
        self.cards[(destination, card.card_id)] = card
        return posted

    async def update(self, posted: Posted, card: Card) -> None:
        self.fault("update")
        self.cards[(posted.channel, card.card_id)] = card

    async def link(self, thread: Thread) -> str | None:
        return f"https://chat.example/{thread.channel}/{thread.root}"

    async def show_home(self, who: ChatUser, home: Home) -> None: ...

    def heard_by(self, thread: Thread) -> str:
        return "\n".join(said.text for said in self.said if said.thread == thread)

    def items(self) -> list[Item]:
        return [item for card in self.cards.values() for item in card.items]


Script = Callable[[ModelRequest], ModelAnswer]


@dataclass
class ScriptedModel:
    """Answers as `script` says; `down` makes it unreachable."""

    script: Script
    asked: int = 0
    down: bool = False
    gate: asyncio.Event | None = None
    name: str = "scripted"

    async def answer(self, request: ModelRequest, on_text: OnText | None = None) -> ModelAnswer:
        self.asked += 1
        if self.gate is not None:
            await self.gate.wait()
        if self.down:
            raise ModelError("The model cannot be reached.", transient=True)
        found = self.script(request)
        if on_text is not None and found.text:
            await on_text(found.text)
        return found


def says(text: str) -> ModelAnswer:
    return ModelAnswer(text, (), Usage(10, 5), "scripted", Stop.END)


def calls(*wanted: tuple[str, dict[str, Json]], text: str = "") -> ModelAnswer:
    made = tuple(ToolCall(f"call_{n}", name, dict(args)) for n, (name, args) in enumerate(wanted))
    return ModelAnswer(text, made, Usage(10, 5), "scripted", Stop.TOOLS)


REFUND: tuple[str, dict[str, Json]] = (
    "refund_issue",
    {"order_id": "1042", "amount": "42.00", "currency": "USD", "reason": "the parcel never came"},
)
MAIL: tuple[str, dict[str, Json]] = (
    "email_send",
    {"to": "C-1007", "subject": "Your refund", "body": "Your refund of 42.00 USD is on its way."},
)


def refund_and_mail(request: ModelRequest) -> ModelAnswer:
    """Asks for both in the first answer, then reports what it has been told since it last spoke."""
    last = request.messages[-1]
    events = [
        message.text
        for message in itertools.takewhile(lambda m: isinstance(m, EventHappened), reversed(request.messages))
        if isinstance(message, EventHappened)
    ]
    if events:
        return says("You should know: " + "\n".join(reversed(events)))
    if isinstance(last, ToolReturned):
        return says("Both wait for approval.")
    text = getattr(last, "text", "")
    if "efund order" in text:
        return calls(REFUND, MAIL, text="I prepared both.")
    return says(f"You should know: {text}")
