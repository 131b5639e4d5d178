"""What one person sees of one room, ready to be drawn. Knows lines and people; knows no markup."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from bot.messages import Room
from bot.ports import Ask
from bot.web.chatlog import Line, LineKind
from bot.web.live import Growing
from bot.web.workspace import BOT_NAME, Member, Place, Workspace

_GROUPED_WITHIN = timedelta(minutes=3)


@dataclass(frozen=True, slots=True)
class View:
    """Who looks at what. `reply`: the root of the thread the next message goes to; None: none chosen."""

    member: Member
    place: Place
    reply: str | None = None

    @property
    def base(self) -> str:
        return f"/w/{self.member.user}/{self.place.slug}"


@dataclass(frozen=True, slots=True)
class Bubble:
    """One line, with what its neighbours say about how to draw it."""

    line: Line
    author: Member | None
    """None: the bot, or somebody who is no longer there."""
    name: str
    grouped: bool
    """Same author shortly before: no avatar, no name."""
    earlier: bool
    """In a DM: it belongs to a conversation before the one that is going on."""


@dataclass(frozen=True, slots=True)
class Strand:
    """A line of the room and, in a channel, the thread below it."""

    head: Bubble
    replies: tuple[Bubble, ...]
    growing: tuple[Growing, ...]
    chosen: bool


@dataclass(frozen=True, slots=True)
class Transcript:
    strands: tuple[Strand, ...]
    growing: tuple[Growing, ...]
    """Answers that grow at the end of the room."""
    withdrawable: frozenset[str] = frozenset()
    """The requests that the viewer can still withdraw."""

    def asks(self, line: Line) -> tuple[Ask, ...]:
        """The buttons below `line` that still do something for the viewer."""
        return tuple(ask for ask in line.asks if ask.action != "withdraw" or ask.held_id in self.withdrawable)


def transcript(
    view: View,
    workspace: Workspace,
    lines: tuple[Line, ...],
    growing: tuple[Growing, ...],
    withdrawable: frozenset[str] = frozenset(),
) -> Transcript:
    """`lines` (oldest first) as strands: one after the other in a DM, with threads below their roots in a channel."""
    if view.place.room is Room.DM:
        current = max(
            (str(line.id) for line in lines if line.kind is LineKind.BREAK), key=int, default=view.place.channel
        )
        bubbles = _bubbles(lines, workspace, current)
        return Transcript(tuple(Strand(bubble, (), (), False) for bubble in bubbles), growing, withdrawable)
    roots = {str(line.id) for line in lines if line.root is None or line.root == str(line.id)}
    heads = [line for line in lines if line.root is None or line.root == str(line.id) or line.root not in roots]
    strands = []
    for head in heads:
        root = str(head.id)
        replies = [line for line in lines if line.root == root and line is not head]
        here = tuple(answer for answer in growing if answer.thread.root == root)
        strands.append(
            Strand(
                _bubbles([head], workspace, None)[0],
                tuple(_bubbles(replies, workspace, None)),
                here,
                view.reply == root,
            )
        )
    return Transcript(tuple(strands), (), withdrawable)


def _bubbles(lines: Iterable[Line], workspace: Workspace, current: str | None) -> list[Bubble]:
    bubbles: list[Bubble] = []
    before: Line | None = None
    for line in lines:
        author = None if line.by_bot else workspace.member(line.author)
        name = BOT_NAME if line.by_bot else author.name if author else line.author
        bubbles.append(Bubble(line, author, name, _continues(before, line), _is_earlier(line, current)))
        before = line
    return bubbles


def _continues(before: Line | None, line: Line) -> bool:
    return (
        before is not None
        and before.kind is line.kind is LineKind.SAID
        and (before.author, before.only_for, before.root) == (line.author, line.only_for, line.root)
        and line.at - before.at < _GROUPED_WITHIN
    )


def _is_earlier(line: Line, current: str | None) -> bool:
    """Late news of an older conversation, below the break that started the new one."""
    if current is None or line.root is None or line.root == current or not current.isdecimal():
        return False
    return line.id > int(current)


def clock(moment: datetime) -> str:
    """The time of day where this machine is: the demo is looked at where it runs."""
    return moment.astimezone().strftime("%H:%M")


def clock_seconds(moment: datetime) -> str:
    return moment.astimezone().strftime("%H:%M:%S")


def day(moment: datetime) -> str:
    return moment.astimezone().strftime("%-d %b")
