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
        if self._closed or len(self._text) - self._looked_at < AT_LEAST:
            return
        self._looked_at = len(self._text)
        # Judged as a whole and shown without its end: whatever begins in the shown part has been seen complete.
        safe = self._guard(self._text).text
        safe = safe[: max(0, len(safe) - HELD_BACK)]
        if not safe.startswith(self._shown):
            self._closed = len(safe) >= len(self._shown)  # masks what was shown: only the whole text may settle it
            return
        if len(safe) > len(self._shown):
            fresh, self._shown = safe[len(self._shown) :], safe
            await self._on_text(fresh)
