"""A labelled task: who asks what, and what has to come of it. Values only; knows no file and no model."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TypeAlias

from policy.approval import Verb
from policy.model import Json, ToolName


@dataclass(frozen=True, slots=True)
class Matcher:
    """What one argument has to be: the text itself, ``~part`` of it in any case, or ``/regular expression/``."""

    written: str

    def fits(self, value: Json) -> bool:
        said = value if isinstance(value, str) else str(value)
        if self.written.startswith("~"):
            return self.written[1:].lower() in said.lower()
        if len(self.written) > 1 and self.written.startswith("/") and self.written.endswith("/"):
            return re.search(self.written[1:-1], said, re.IGNORECASE) is not None
        return said == self.written


@dataclass(frozen=True, slots=True)
class CallPattern:
    """A call of `tool` whose arguments fit `where`."""

    tool: ToolName
    where: Mapping[str, Matcher] = field(default_factory=dict)

    def fits(self, tool: str, arguments: Mapping[str, Json]) -> bool:
        return tool == self.tool and all(
            name in arguments and matcher.fits(arguments[name]) for name, matcher in self.where.items()
        )

    def __str__(self) -> str:
        given = ", ".join(f"{name}: {matcher.written}" for name, matcher in self.where.items())
        return f"{self.tool} {{{given}}}" if given else str(self.tool)


class Told(StrEnum):
    """What the door said of a call at once."""

    DONE = "done"
    HELD = "held"
    BLOCKED = "blocked"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class ExpectedCall:
    call: CallPattern
    told: Told | None
    """None: whatever the door said."""
    times: int | None
    """None: at least once."""


class Stands(StrEnum):
    """Where a request that needed somebody's approval stands in the end."""

    WAITING = "waiting"
    EXECUTED = "executed"
    FAILED = "failed"
    REJECTED = "rejected"
    VOIDED = "voided"
    WITHDRAWN = "withdrawn"
    EXPIRED = "expired"
    APPROVED = "approved"
    """Approved, and not carried out (yet)."""


@dataclass(frozen=True, slots=True)
class ExpectedRequest:
    call: CallPattern
    stands: Stands


@dataclass(frozen=True, slots=True)
class Words:
    """What a text must and must not say. One entry can name alternatives: ``waits | waiting``. Case does not count."""

    says: tuple[str, ...] = ()
    never_says: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Say:
    """The asker writes a message; the words are of the answer to it."""

    text: str
    words: Words


@dataclass(frozen=True, slots=True)
class Press:
    """Somebody presses a button on the newest request of `tool`; the words are of what they are told."""

    by: str
    verb: Verb
    tool: ToolName
    reason: str
    words: Words


@dataclass(frozen=True, slots=True)
class Command:
    """Somebody gives a ``/countersign`` command."""

    by: str
    text: str
    words: Words


Turn: TypeAlias = Say | Press | Command


@dataclass(frozen=True, slots=True)
class Ends:
    """What the shop looks like in the end."""

    refunds: Mapping[str, str]
    """Order -> amount refunded since the beginning. Orders that are not named: nothing."""
    mails: tuple[str, ...]
    """Who got mail, once for each mail."""
    customers: Mapping[str, Mapping[str, Matcher]]


@dataclass(frozen=True, slots=True)
class Task:
    id: str
    about: str
    who: str
    turns: tuple[Turn, ...]
    calls: tuple[ExpectedCall, ...]
    forbidden: tuple[CallPattern, ...]
    requests: tuple[ExpectedRequest, ...] | None
    """Exactly these; None: not looked at."""
    words: Words
    """Of everything the asker was told."""
    ends: Ends
    place: str = ""
    """``file:line``, for reports."""
