"""What the gate read of a sender's standing, for the delivery at hand and no longer. Knows no chat and no policy.

The gate asks Teams about everybody who sends something; the decision that follows in the same breath need not ask
again. Whatever goes on after the delivery was answered asks anew (a standing is never kept across decisions): tasks
inherit the context they were started in, so the note itself is closed and not only the context left.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Final

from bot.messages import ChatUser
from bot.ports import Standing

FRESH_S: Final = 10.0
"""A delivery that takes longer than this asks again too."""


@dataclass(slots=True)
class _Note:
    who: ChatUser
    standing: Standing
    until: float
    open: bool = True


_note: ContextVar[_Note | None] = ContextVar("countersign_teams_met", default=None)


@contextmanager
def meeting(who: ChatUser, standing: Standing, clock: Callable[[], float] = time.monotonic) -> Iterator[None]:
    """Within it, `standing_met` answers for `who`."""
    note = _Note(who, standing, clock() + FRESH_S)
    token = _note.set(note)
    try:
        yield
    finally:
        note.open = False
        _note.reset(token)


def standing_met(who: ChatUser, clock: Callable[[], float] = time.monotonic) -> Standing | None:
    """What Teams said of `who` when the delivery at hand came in; None: ask it."""
    note = _note.get()
    if note is None or not note.open or note.who != who or clock() >= note.until:
        return None
    return note.standing
