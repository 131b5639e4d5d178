"""Which messages are commands: the words themselves, not sentences that begin with one. Pure; carries out nothing.

Teams has no slash commands: its command menu types the words into the message.
"""

from __future__ import annotations

from typing import Final

WORD: Final = "/countersign"
HOME: Final = "home"
"""What Slack has a page for: a card in Teams, where the bot has no page of its own."""
_ALONE: Final = frozenset({HOME, "help", "whoami", "pending", "status", "link"})
_SWITCHES: Final = frozenset({"kill", "resume"})
_SCOPES: Final = frozenset({"all", "tool", "user"})


def command_of(text: str) -> str | None:
    """Everything after ``/countersign``, with or without that word; None: an ordinary message.

    After ``/countersign`` anything is meant as a command. Without it ``kill`` and ``resume`` stand alone or name a
    scope, ``unlink`` names at most one person, the others stand alone: "help me with order 1042" is a request.
    """
    words = text.split()
    if not words:
        return None
    first = words[0].lower()
    if first == WORD:
        return _lowered(words[1:])
    rest = words[1:]
    if first in _ALONE:
        meant = not rest
    elif first in _SWITCHES:
        meant = not rest or rest[0].lower() in _SCOPES
    else:
        meant = first == "unlink" and len(rest) <= 1
    return _lowered(words) if meant else None


def _lowered(words: list[str]) -> str:
    """The words as the grammar reads them, the first in lower case."""
    return " ".join([words[0].lower(), *words[1:]]) if words else ""
