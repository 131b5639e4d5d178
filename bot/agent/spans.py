"""What the loop reports of a turn: values handed to whoever traces, after the fact. Knows no tracing SDK."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Protocol

from bot.ports import Usage
from tools.held import HeldView


@dataclass(frozen=True, slots=True)
class TurnRef:
    """Names a turn's segment. The ids of its trace and spans are derived from these, so that a segment resumed
    by another process, or run again after a crash, lands in the same trace under the same spans."""

    tenant: str
    turn_id: str
    segment: str
    session_id: str
    subject: str


@dataclass(frozen=True, slots=True)
class Chat:
    """One request to a model. `error`: a closed word when it gave no answer."""

    step: str
    model: str
    started: datetime
    ended: datetime
    usage: Usage
    cost_usd: Decimal
    stop: str
    error: str | None = None


@dataclass(frozen=True, slots=True)
class ToolUse:
    """One call at the door. `status`: ``done``, ``held``, ``blocked``, ``failed``, ``in_doubt`` or ``not_run``."""

    call_id: str
    tool: str
    status: str
    started: datetime
    ended: datetime


@dataclass(frozen=True, slots=True)
class Finished:
    """A whole segment."""

    started: datetime
    ended: datetime
    ending: str
    usage: Usage
    cost_usd: Decimal
    steps: int


class TurnTrace(Protocol):
    """One segment's part of a trace. Never raises, never waits."""

    def chat(self, chat: Chat) -> None: ...

    def at_the_door(self, call_ids: tuple[str, ...]) -> None:
        """The loop is about to report these calls itself."""

    def tool(self, use: ToolUse) -> None: ...

    def approval(self, view: HeldView) -> None:
        """A held call was settled: the wait is a span of its own."""

    def finished(self, segment: Finished) -> None: ...


class Tracing(Protocol):
    """Where traces go. Never raises, never waits."""

    def turn(self, ref: TurnRef) -> TurnTrace: ...

    def close(self) -> None:
        """Sends what is left, for a few seconds at most."""


class NoTrace:
    """Nobody traces: every report is dropped."""

    def turn(self, ref: TurnRef) -> TurnTrace:
        return self

    def chat(self, chat: Chat) -> None: ...

    def at_the_door(self, call_ids: tuple[str, ...]) -> None: ...

    def tool(self, use: ToolUse) -> None: ...

    def tool_call(self, *, call_id: str, tool: str, status: str, latency_ms: int) -> None: ...

    def approval(self, view: HeldView) -> None: ...

    def finished(self, segment: Finished) -> None: ...

    def close(self) -> None: ...
