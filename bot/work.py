"""What the queue runs: kinds of segments, and how one says "later". Knows ids; knows no queue and no chat."""

from __future__ import annotations

from enum import StrEnum
from typing import Protocol

from policy.model import TenantId
from tools.ports import Notice


class Segment(StrEnum):
    """The kinds of work that survive a crash."""

    TURN_START = "turn_start"
    TURN_RESUME = "turn_resume"
    EXECUTE = "execute"
    TELL = "tell"


class Later(Exception):
    """Raised by a segment: not now, run me again. `pause_s` when the other side said how long."""

    def __init__(self, why: str, *, pause_s: float | None = None) -> None:
        super().__init__(why)
        self.pause_s = pause_s


class Segments(Protocol):
    """What `bot.turn` registers. Each may run more than once: what is done already is in the rows."""

    async def turn_start(self, tenant: TenantId, turn_id: str) -> None: ...

    async def turn_resume(self, tenant: TenantId, held_id: str) -> None: ...

    async def execute(self, tenant: TenantId, held_id: str, revision: int) -> None: ...

    async def tell(self, notice: Notice) -> None: ...

    async def gave_up(self, segment: Segment, tenant: TenantId, subject_id: str, why: str) -> None:
        """A segment failed for a whole day. `subject_id`: the turn or the held call it was about."""

    async def sweep(self) -> None:
        """Called every few seconds on every replica: what is due by the clock."""
