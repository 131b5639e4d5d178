"""What changes without a row: who is to look again, and answers that are still growing. Knows no chat and no page."""

from __future__ import annotations

import asyncio
import itertools
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from bot.messages import Thread


@dataclass(frozen=True, slots=True)
class Growing:
    """An answer the bot is writing. Lost on a restart; the finished one is a line of the chat."""

    key: int
    thread: Thread
    text: str


class Watch:
    """One browser's bell. `rang` returns once something may have changed since it last returned."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._bell = asyncio.Event()
        self.closed = False

    def ring(self) -> None:
        """Callable from any thread: turns may run in an event loop of their own."""
        try:
            self._loop.call_soon_threadsafe(self._bell.set)
        except RuntimeError:  # that loop is gone, and its browser with it
            return

    async def rang(self, at_most_s: float) -> bool:
        """True: something may have changed. False: `at_most_s` went by."""
        try:
            await asyncio.wait_for(self._bell.wait(), at_most_s)
        except TimeoutError:
            return False
        self._bell.clear()
        return True


class Hub:
    """Tells every open page to look again. Usable from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._watches: set[Watch] = set()
        self._growing: dict[int, Growing] = {}
        self._keys = itertools.count(1)
        self._closed = False

    @contextmanager
    def watching(self) -> Iterator[Watch]:
        watch = Watch(asyncio.get_running_loop())
        with self._lock:
            watch.closed = self._closed
            self._watches.add(watch)
        try:
            yield watch
        finally:
            with self._lock:
                self._watches.discard(watch)

    @property
    def watched(self) -> bool:
        return bool(self._watches)

    def wake(self) -> None:
        with self._lock:
            watches = tuple(self._watches)
        for watch in watches:
            watch.ring()

    def close(self) -> None:
        """Ends every live page, so that a server that is stopping does not wait for them."""
        with self._lock:
            self._closed = True
            for watch in self._watches:
                watch.closed = True
        self.wake()

    def start(self, thread: Thread) -> int:
        """An answer begins to grow in `thread`."""
        with self._lock:
            key = next(self._keys)
            self._growing[key] = Growing(key, thread, "")
        self.wake()
        return key

    def grow(self, key: int, text: str) -> None:
        with self._lock:
            found = self._growing.get(key)
            if found is None:
                return
            self._growing[key] = replace(found, text=found.text + text)
        self.wake()

    def settle(self, key: int) -> None:
        with self._lock:
            self._growing.pop(key, None)
        self.wake()

    def growing(self, channel: str) -> tuple[Growing, ...]:
        with self._lock:
            return tuple(answer for answer in self._growing.values() if answer.thread.channel == channel)
