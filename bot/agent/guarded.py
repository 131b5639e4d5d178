"""The output guard on text that is still growing: what is streamed has passed the guard, as the end has.

Knows when a part is safe to show; knows neither what PII is nor which chat shows it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from bot.ports import OnText

HELD_BACK = 240
"""Characters at the end that wait: a card number or a key may still be growing there."""
AT_LEAST = 60
"""Characters that must be new before the guard looks again."""


@dataclass(frozen=True, slots=True)
class Guarded:
    """What may be shown. `findings`: closed words of the guard, empty when it let the text pass as it was."""

    text: str
    findings: tuple[str, ...] = ()


Guard: TypeAlias = Callable[[str], Guarded]
"""`policy.guardrails` on what the bot is about to say. Pure."""


def unguarded(text: str) -> Guarded:
    """Lets everything pass."""
    return Guarded(text)


class GuardedStream:
    """Passes a growing text on, behind the guard. What was passed on is always a beginning of the guarded text.

    The last `HELD_BACK` characters are never passed on here: the surface settles the message with the whole text.
    """

    def __init__(self, guard: Guard, on_text: OnText) -> None:
        self._guard = guard
        self._on_text = on_text
        self._text = ""
        self._shown = ""
        self._looked_at = 0
        self._closed = False

    async def add(self, delta: str) -> None:
        self._text += delta
        end = self._boundary()
        if self._closed or end - self._looked_at < AT_LEAST:
            return
        self._looked_at = end
        safe = self._guard(self._text[:end]).text
        if not safe.startswith(self._shown):
            self._closed = True  # the guard now masks what has been shown: only the whole text may settle it
            return
        if len(safe) > len(self._shown):
            fresh, self._shown = safe[len(self._shown) :], safe
            await self._on_text(fresh)

    @property
    def shown(self) -> bool:
        return bool(self._shown)

    def _boundary(self) -> int:
        """The last white space before what is held back, so that no number or key is cut in two."""
        reach = len(self._text) - HELD_BACK
        if reach <= 0:
            return 0
        return max(self._text.rfind(" ", 0, reach), self._text.rfind("\n", 0, reach), 0)
