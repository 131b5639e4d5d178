"""How often the bot may speak in one conversation, so that Teams need not refuse it. Knows times only.

The figures are Teams' own, for one bot in one conversation
(https://learn.microsoft.com/microsoftteams/platform/bots/how-to/rate-limit#per-bot-per-thread-limit). They hold for one
process: several replicas together can go over them, and then Teams answers 429.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import Final

SAYING: Final = ((1.0, 7), (2.0, 8), (30.0, 60), (3600.0, 1800))
"""Seconds and messages: sent, changed, deleted, conversations begun."""
READING: Final = ((1.0, 14), (2.0, 16), (30.0, 120), (3600.0, 3600))
_KEPT = 10_000
"""Conversations remembered; beyond, those that rest are forgotten."""


class Rates:
    """One set of windows over many conversations. `clock`: monotonic seconds."""

    def __init__(self, windows: tuple[tuple[float, int], ...], clock: Callable[[], float] = time.monotonic) -> None:
        self._windows = windows
        self._longest = max(seconds for seconds, _ in windows)
        self._clock = clock
        self._taken: dict[tuple[str, str], deque[float]] = {}

    def take(self, key: tuple[str, str]) -> float:
        """0: go ahead, it is counted. Else how many seconds to wait before asking again; nothing is counted."""
        now = self._clock()
        taken = self._taken.get(key)
        if taken is None:
            self._forget(now)
            taken = self._taken[key] = deque()
        while taken and taken[0] <= now - self._longest:
            taken.popleft()
        wait = max((self._wait(taken, seconds, most, now) for seconds, most in self._windows), default=0.0)
        if wait > 0:
            return wait
        taken.append(now)
        return 0.0

    @staticmethod
    def _wait(taken: deque[float], seconds: float, most: int, now: float) -> float:
        """Until the oldest of the last `most` leaves the window."""
        if len(taken) < most:
            return 0.0
        return max(0.0, taken[-most] + seconds - now)

    def _forget(self, now: float) -> None:
        if len(self._taken) >= _KEPT:
            resting = [key for key, taken in self._taken.items() if not taken or taken[-1] <= now - self._longest]
            for key in resting or list(self._taken)[: _KEPT // 10]:
                del self._taken[key]
