"""What the service asks of chats, directories and models (Protocols). Knows no SDK.

A chat needs six verbs (compare teleport's plugin port): health, standing, say, whisper, post, update.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Protocol, TypeAlias

from sqlalchemy.engine import Connection

from bot.answers import Answer as Answer
from bot.answers import Source as Source
from bot.cards import Card
from bot.messages import AskAgain, ChatUser, Command, Feedback, Incoming, LinkAnswer, Press, SurfaceName, Thread
from policy.model import Json, Subject, TenantId
from policy.rules import Policy

# --- chats ------------------------------------------------------------------------------------------


class SurfaceError(Exception):
    """The chat did not take a message. `retry_after_s` when it said so; `gone`: post anew elsewhere."""

    def __init__(self, sentence: str, *, retry_after_s: float | None = None, gone: bool = False) -> None:
        super().__init__(sentence)
        self.retry_after_s = retry_after_s
        self.gone = gone


class Standing(StrEnum):
    """What the chat itself says of an account, read anew at every decision."""

    MEMBER = "member"
    GUEST = "guest"
    STRANGER = "stranger"
    """Of another team, invited, or unconfirmed."""
    BOT = "bot"
    DEACTIVATED = "deactivated"
    UNKNOWN = "unknown"
    """The chat did not answer: refused (invariant 13)."""


@dataclass(frozen=True, slots=True)
class Posted:
    """A message the bot posted, so that it can be drawn anew."""

    surface: SurfaceName
    team: str
    channel: str
    message_id: str


@dataclass(frozen=True, slots=True)
class Ask:
    """A button below a plain message, e.g. "Ask again"."""

    label: str
    action: str
    """``ask_again``, ``withdraw``, ``link_yes``, ``link_no`` or ``open``; a closed word of the surface contract."""
    held_id: str
    """Of `link_yes` and `link_no`: the confirmation that is answered. Of ``open``: the address."""
    revision: int = 0
    """Of what was asked, so that a withdrawal is judged as any other press; so is the digest."""
    digest: str = ""


@dataclass(frozen=True, slots=True)
class HomeLine:
    headline: str
    status: str
    link: str | None


@dataclass(frozen=True, slots=True)
class Home:
    """App Home: what waits for me, what I asked."""

    greeting: str
    stopped: str | None
    waiting_for_me: tuple[HomeLine, ...]
    asked_by_me: tuple[HomeLine, ...]


class Stream(Protocol):
    """An answer that grows. `done` settles it with the final text; both never raise for niceties.

    `answer` None: the text is the service's own word (an apology), not a model's.
    """

    async def add(self, text: str) -> None: ...

    async def done(self, text: str, answer: Answer | None = None) -> None: ...


class ChatSurface(Protocol):
    """One chat. Every method raises `SurfaceError` and nothing else."""

    @property
    def name(self) -> SurfaceName: ...

    async def health(self) -> None:
        """Returns when the chat answers; raises when it does not."""

    async def standing(self, who: ChatUser) -> Standing:
        """What the chat says of the account now. Never cached across decisions."""

    async def say(self, thread: Thread, text: str, asks: tuple[Ask, ...] = (), answer: Answer | None = None) -> Posted:
        """A message in the thread, everyone there reads it. `text` is Markdown."""

    async def whisper(
        self, thread: Thread, who: ChatUser, text: str, asks: tuple[Ask, ...] = (), answer: Answer | None = None
    ) -> None:
        """A message only `who` sees, where they are."""

    async def direct(self, who: ChatUser, text: str, asks: tuple[Ask, ...] = ()) -> Posted:
        """A private message to `who`, in their own conversation with the bot."""

    async def begin(self, thread: Thread, who: ChatUser) -> Stream:
        """Show that the bot is at it, and stream the answer where the chat can."""

    async def post(self, team: str, destination: str, card: Card) -> Posted:
        """Post a card. `destination`: ``#channel``, or ``dm:<chat user id>``.

        `gone` when there is no such place in that team: no channel of the name with the bot in it, an account that
        takes nothing from the bot, a team without the bot. Where another chat has the place that is no fault.
        """

    async def update(self, posted: Posted, card: Card) -> None:
        """Draw a posted card anew. `gone` when it no longer exists."""

    async def link(self, thread: Thread) -> str | None:
        """A link to the thread's first message."""

    async def show_home(self, who: ChatUser, home: Home) -> None: ...


@dataclass(frozen=True, slots=True)
class PressReply:
    """What a press led to. `sentence` is for the presser alone; `card` is the card as it is now, None: leave it."""

    sentence: str
    card: Card | None = None


class Service(Protocol):
    """What a chat hands on, once it has proved who sent it. Implemented by `bot.turn`.

    Resolving the account, deduplicating deliveries and every audit row are the implementation's business: the chat
    passes both ids of a delivery and calls as often as the platform delivers.
    """

    async def on_message(self, message: Incoming) -> None:
        """Durable once it returns; answers come through `ChatSurface`."""

    async def on_press(self, press: Press) -> PressReply: ...

    async def on_ask_again(self, again: AskAgain) -> PressReply: ...

    async def on_link_answer(self, answer: LinkAnswer) -> PressReply:
        """Somebody says whether a chat account is to be linked to whom a browser said it is."""

    async def on_command(self, command: Command) -> str:
        """The text of a private answer, Markdown."""

    async def home(self, who: ChatUser) -> Home: ...

    async def on_account_changed(self, who: ChatUser, standing: Standing) -> None:
        """The chat says that an account was deactivated or made a guest."""

    async def on_turned_away(self, who: ChatUser, standing: Standing, session_id: str | None) -> None:
        """The chat's own gate refused a delivery of `who` before it was read: an audit row, nothing else."""

    async def on_feedback(self, feedback: Feedback) -> None:
        """Somebody rated an answer of the bot's. Raises nothing for what a person did."""

    async def card_for(self, who: ChatUser, held_id: str) -> Card | None:
        """The card of a request as `who` may use it: with the buttons that would do something for them.

        None: it shows them nothing new (unknown, refused, or neither asked for nor approved by them).
        """

    async def follows(self, thread: Thread) -> bool:
        """Whether the bot takes part in the thread, so that a message there needs no mention."""


# --- people -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody the directory knows."""

    tenant: TenantId
    subject: Subject
    display_name: str
    email: str | None
    active: bool
    groups: tuple[str, ...]
    employee_number: str | None
    accounts: tuple[ChatUser, ...]
    confirmed_at: datetime | None = None
    """When the IdP last vouched for what is known here. None: a file, which does not age."""


class Directory(Protocol):
    """Who is who. Fails closed: not found is None, never a guess.

    `conn` is the caller's transaction: a directory in the database answers as of it, a file does not look at it.
    """

    def by_account(self, conn: Connection, who: ChatUser) -> Person | None: ...

    def by_subject(self, conn: Connection, tenant: TenantId, subject: Subject) -> Person | None: ...

    def people(self, conn: Connection, tenant: TenantId) -> tuple[Person, ...]:
        """Everybody, active or not."""

    def members(self, conn: Connection, tenant: TenantId, groups: frozenset[str]) -> tuple[Person, ...]:
        """Active people in any of `groups`."""

    def groups_unmapped(self, conn: Connection, tenant: TenantId, known: frozenset[str]) -> tuple[str, ...]:
        """Groups that exist but that no role names."""

    def tenant_of(self, surface: SurfaceName, team: str) -> TenantId | None:
        """Which tenant a chat team belongs to."""

    def teams_of(self, tenant: TenantId) -> tuple[tuple[SurfaceName, str], ...]:
        """Every chat team of the tenant, whether the bot is in it or not."""

    def implied(self, who: ChatUser) -> Subject | None:
        """Whose the account is without a link, where the chat's accounts are the IdP's own. The person may not be
        known, or the account taken away from them: `by_account` says."""

    def tenants(self) -> tuple[TenantId, ...]:
        """Every tenant that is served here, in alphabetical order."""


class Book(Protocol):
    """The directory, asked on its own: for what is no part of a transaction."""

    async def by_account(self, who: ChatUser) -> Person | None: ...

    async def by_subject(self, tenant: TenantId, subject: Subject) -> Person | None: ...

    async def people(self, tenant: TenantId) -> tuple[Person, ...]: ...

    def tenant_of(self, surface: SurfaceName, team: str) -> TenantId | None: ...


PolicyOf: TypeAlias = Callable[[TenantId], Policy]
"""The policy of a tenant as it is now."""


# --- models -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class UserSaid:
    text: str


@dataclass(frozen=True, slots=True)
class OthersSaid:
    """What somebody else wrote in the thread: untrusted text, quoted as such to the model."""

    who: str
    text: str


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A call the model asks for. `arguments` None: the model's JSON did not parse (see `raw`)."""

    id: str
    name: str
    """The wire name, e.g. ``crm_read``."""
    arguments: dict[str, Json] | None
    raw: str = ""


@dataclass(frozen=True, slots=True)
class AssistantSaid:
    text: str
    calls: tuple[ToolCall, ...] = ()
    opaque: Json = None
    """What the provider wants back verbatim (thinking blocks, reasoning items); of `model` alone."""
    model: str = ""


@dataclass(frozen=True, slots=True)
class ToolReturned:
    call_id: str
    content: str
    """JSON text. Words of strangers inside are wrapped and labelled by the loop."""
    is_error: bool = False


@dataclass(frozen=True, slots=True)
class EventHappened:
    """A held call was settled. Tells the model; not a user's word."""

    text: str


Message: TypeAlias = UserSaid | OthersSaid | AssistantSaid | ToolReturned | EventHappened


@dataclass(frozen=True, slots=True)
class ToolOffer:
    """A tool as a model sees it."""

    name: str
    description: str
    input_schema: Json


class Stop(StrEnum):
    END = "end"
    TOOLS = "tools"
    MAX_TOKENS = "max_tokens"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Usage:
    input_tokens: int
    output_tokens: int
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0


@dataclass(frozen=True, slots=True)
class ModelRequest:
    system: str
    messages: tuple[Message, ...]
    tools: tuple[ToolOffer, ...]
    max_tokens: int
    timeout_s: float


@dataclass(frozen=True, slots=True)
class ModelAnswer:
    text: str
    calls: tuple[ToolCall, ...]
    usage: Usage
    model: str
    stop: Stop
    opaque: Json = None


class ModelError(Exception):
    """The model gave no answer. `str(e)` is a sentence for people; nothing internal is in it."""

    def __init__(self, sentence: str, *, retry_after_s: float | None = None, transient: bool) -> None:
        super().__init__(sentence)
        self.retry_after_s = retry_after_s
        self.transient = transient


OnText: TypeAlias = Callable[[str], Awaitable[None]]


class Model(Protocol):
    """One model behind one adapter."""

    @property
    def name(self) -> str:
        """What the audit and the cost table call it, e.g. ``claude-sonnet-5-5``, ``offline``."""

    async def answer(self, request: ModelRequest, on_text: OnText | None = None) -> ModelAnswer:
        """One answer. Streams text to `on_text` where the API can.

        Raises:
            ModelError: rate limits, overload, time-outs after the adapter's own retries; refusals by the API.
        """
