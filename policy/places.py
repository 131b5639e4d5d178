"""Where cards are posted: the words of `post_to`. Knows how a place is written; knows no chat and no person."""

from __future__ import annotations

import re
from dataclasses import dataclass

DM = "dm"
"""To each approver, in a conversation of their own."""
CHATS = ("slack", "teams")
"""What may stand before a channel, to mean it in that chat alone."""
HOW = 'Write dm, or a channel in quotes: "#finance-approvals", or in one chat alone "teams:#finance-approvals".'

_NAME = r"#[^\s#,]{1,80}"
# In Teams channels are called "Finance approvals", and may be told apart by their team: "#Finance/Approvals".
_SPACED = r"#[^\s#,](?:[^#,\t\r\n]{0,158}[^\s#,])?"
# A conversation of Teams by its id, beyond doubt: names of channels and group chats are anybody's to choose.
_ID = r"teams:19:[A-Za-z0-9_.-]{1,160}@[a-z0-9.]{1,40}"
_CHANNEL = re.compile(rf"(?:(?:slack:)?{_NAME}|teams:{_SPACED}|{_ID})")


@dataclass(frozen=True, slots=True)
class Channel:
    """A channel by name."""

    name: str
    """As chats know it, ``#finance-approvals``; of Teams also a conversation's id, ``19:…``."""
    chat: str | None = None
    """The one chat that is meant, which has to have it. None: every chat with a channel of the name, one at least."""


def is_place(written: str) -> bool:
    """Whether `written` may stand in `post_to`."""
    return written == DM or _CHANNEL.fullmatch(written) is not None


def channel_of(place: str) -> Channel | None:
    """The channel that `place` names; None: it is for people directly."""
    if place == DM:
        return None
    if place.startswith("teams:19:"):
        return Channel(place.removeprefix("teams:"), "teams")
    chat, colon, name = place.partition(":#")
    return Channel(f"#{name}", chat) if colon and chat in CHATS else Channel(place)


def name_in(place: str, chat: str) -> str | None:
    """What the channel `place` is called in `chat`; None: it is not meant there."""
    found = channel_of(place)
    return found.name if found is not None and found.chat in (None, chat) else None
