"""What a person did, whatever the chat: Incoming, Press, Command. Knows no SDK and no policy."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import NewType

from policy.approval import Verb

SurfaceName = NewType("SurfaceName", str)
"""``slack``, ``teams`` or ``demo``."""


@dataclass(frozen=True, slots=True)
class ChatUser:
    """A chat account. Never an identity by itself: `identity.resolve` turns it into a principal."""

    surface: SurfaceName
    team: str
    """Slack team id, Entra tenant id; ``demo`` in the demo."""
    user: str
    enterprise: str = ""
    """Slack's Enterprise Grid organisation, where the team is part of one."""

    def __str__(self) -> str:
        return f"{self.surface}:{self.team}:{self.user}"


class Room(StrEnum):
    """Who can read along."""

    DM = "dm"
    CHANNEL = "channel"
    SHARED = "shared"
    """A channel in which outsiders are present: nothing drawn from a tool is ever said here."""


@dataclass(frozen=True, slots=True)
class Thread:
    """Where a conversation lives."""

    surface: SurfaceName
    team: str
    channel: str
    root: str
    """The thread's first message. In a DM without threads: the channel itself."""
    room: Room = Room.DM

    @property
    def session_id(self) -> str:
        """Names the conversation in the audit and for the queue that keeps its segments in order."""
        return f"{self.surface}:{self.team}:{self.channel}:{self.root}"


@dataclass(frozen=True, slots=True)
class Incoming:
    """One message addressed to the bot (a DM, a mention, a follow-up in its thread)."""

    who: ChatUser
    thread: Thread
    message_id: str
    """The chat's id of the message, unique within the channel."""
    event_id: str
    """The delivery's id; one message can come under two."""
    text: str
    """As typed, the bot's mention stripped."""


@dataclass(frozen=True, slots=True)
class Press:
    """A button on a card. Everything in it came from outside: ids are looked up, `who` is resolved."""

    who: ChatUser
    press_id: str
    """The delivery's id, so that a replayed request is one row's duplicate and not a second vote."""
    held_id: str
    revision: int
    digest: str
    """What the card displayed."""
    verb: Verb
    text: str = ""
    """The reason of a rejection, the question of an Ask."""
    channel: str = ""
    message_id: str = ""
    """The message it was pressed on, where the chat says so."""


@dataclass(frozen=True, slots=True)
class AskAgain:
    """The requester pressed "Ask again" on an expired request."""

    who: ChatUser
    press_id: str
    held_id: str


@dataclass(frozen=True, slots=True)
class LinkAnswer:
    """The holder of a chat account says yes or no to a link that a browser asked for."""

    who: ChatUser
    press_id: str
    confirmation_id: str
    yes: bool


@dataclass(frozen=True, slots=True)
class Feedback:
    """A thumb under an answer of the bot's, with a reason if its giver wrote one."""

    who: ChatUser
    thread: Thread
    feedback_id: str
    """The delivery's id, so that one thumb is one row."""
    message_id: str
    """The answer that was rated."""
    good: bool
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Command:
    """A slash command, or the same words as a message."""

    who: ChatUser
    thread: Thread
    command_id: str
    text: str
    """Everything after ``/countersign``."""
