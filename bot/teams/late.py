"""Work that goes on after a delivery was answered. Knows tasks; knows no chat."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any, Final, TypeVar

T = TypeVar("T")
log = logging.getLogger(__name__)

CLOSE_S: Final = 10.0
NOT_TAKEN: Final = "I could not take that down. Nothing was done. Please try again in a minute."


class Late:
    """Keeps tasks alive until they are done. None of them may raise for what a person did."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()

    def go_on(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._over)
        return task

    async def close(self) -> None:
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=CLOSE_S)

    def _over(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            log.error("What went on after a delivery failed: %s", type(task.exception()).__name__)
