"""What linking asks of chats, and how it names accounts to people. Decides nothing, knows no row."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, TypeAlias

from bot.messages import ChatUser, SurfaceName
from bot.ports import Person

SLACK: Final = SurfaceName("slack")
TEAMS: Final = SurfaceName("teams")
_CHATS: Final = {SLACK: "Slack", TEAMS: "Microsoft Teams", SurfaceName("demo"): "the demo chat"}
_MARKS: Final = re.compile(r"([\\`*_\[\]()#!|<>~&]|^[-+=]|(?<=^\d)\.)")

NEW_LINK: Final = "Write `/countersign link` to Countersign in your chat to get a new link."

Tell: TypeAlias = Callable[[ChatUser, str], Awaitable[None]]
"""A private message to an account, Markdown. Raises `SurfaceError`."""
AskInChat: TypeAlias = Callable[[ChatUser, str, str], Awaitable[None]]
"""A private message to an account: the sentence (Markdown) above two buttons, "Yes, link me" and "No, that was not
me", which carry the confirmation id. Raises `SurfaceError`."""
NameOf: TypeAlias = Callable[[ChatUser], Awaitable[str | None]]
"""What the chat calls an account; None: it does not say. Raises `SurfaceError`."""


async def nameless(_who: ChatUser) -> str | None:
    """For chats that tell no names."""
    return None


@dataclass(frozen=True, slots=True)
class Both:
    """The two identities a link is about, for people to read."""

    who: ChatUser
    chat_name: str | None
    organisation: str
    person: Person

    @property
    def chat(self) -> str:
        return chat(self.who)


@dataclass(frozen=True, slots=True)
class Linked:
    both: Both
    others: tuple[ChatUser, ...]
    """The person's accounts from before."""


def chat(who: ChatUser) -> str:
    """What the chat is called."""
    return _CHATS.get(who.surface, str(who.surface))


def account(who: ChatUser) -> str:
    """An account as people can compare it: the chat's own ids."""
    grid = f"organisation {who.enterprise}, " if who.enterprise else ""
    return f"{chat(who)}, {grid}team {who.team}, user {who.user}"


def plain(text: str) -> str:
    """`text`, which somebody chose for themselves, as Markdown that shows it letter by letter and does nothing."""
    one_line = "".join(letter if letter.isprintable() else " " for letter in text)
    return _MARKS.sub(r"\\\1", one_line)


def named(person: Person) -> str:
    """A person, in Markdown: name, and what tells two of one name apart."""
    return f"**{plain(person.display_name)}** ({plain(person.email or person.subject.sub)})"
