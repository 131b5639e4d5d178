"""A model that is listened to: what it asked for, what the door told it, what it cost. Changes nothing it says."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal

from bot.ports import Model, ModelAnswer, ModelRequest, OnText, ToolCall, ToolReturned, Usage
from evals.grading import SeenCall


@dataclass(slots=True)
class Record:
    """Of one task, all its conversations together."""

    calls: list[ToolCall] = field(default_factory=list)
    told: dict[str, str] = field(default_factory=dict)
    """The door's word for each call, by the model's id of it."""
    usage: list[tuple[str, Usage]] = field(default_factory=list)

    @property
    def models(self) -> tuple[str, ...]:
        """Which models answered."""
        return tuple(dict.fromkeys(model for model, _ in self.usage))

    def cost(self, price: Callable[[str, Usage], Decimal]) -> Decimal:
        return sum((price(model, usage) for model, usage in self.usage), Decimal(0))

    def seen(self, names: Callable[[str], str]) -> tuple[SeenCall, ...]:
        """The calls, under the tools' names of the audit."""
        return tuple(
            SeenCall(names(call.name), call.arguments or {}, self.told.get(call.id, "")) for call in self.calls
        )


@dataclass(frozen=True, slots=True)
class Recorded:
    """Implements `bot.ports.Model` around another one."""

    inner: Model
    record: Record

    @property
    def name(self) -> str:
        return self.inner.name

    async def answer(self, request: ModelRequest, on_text: OnText | None = None) -> ModelAnswer:
        for message in request.messages:
            if isinstance(message, ToolReturned):
                self.record.told.setdefault(message.call_id, _status(message.content))
        answer = await self.inner.answer(request, on_text)
        self.record.calls.extend(answer.calls)
        self.record.usage.append((answer.model, answer.usage))
        return answer


def _status(content: str) -> str:
    """``done``, ``held``, … as `bot.agent.results` tells a model."""
    try:
        told = json.loads(content.partition("\n")[0])
    except ValueError:
        return ""
    return str(told.get("status", "")) if isinstance(told, dict) else ""
