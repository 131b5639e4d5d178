"""What a step remembers, and how it is read back. Knows no step.

A durable runtime keeps these results: places, ids, numbers and closed words, never text (invariant 11).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TypeAlias

from policy.model import Json

StepResult: TypeAlias = Mapping[str, Json]

Step: TypeAlias = Callable[[str, Callable[[], Awaitable[StepResult]]], Awaitable[StepResult]]
"""Runs a step once and remembers its result under its name. After a crash a step may run again before it was
remembered: every step of the loop finds what it wrote and does not write, ask or propose a second time."""


def word(result: StepResult, key: str) -> str:
    """The text under `key`; empty when there is none."""
    value = result.get(key)
    return value if isinstance(value, str) else ""


def number(result: StepResult, key: str) -> int:
    value = result.get(key)
    return value if isinstance(value, int) else 0


def listed(result: StepResult, key: str) -> tuple[Json, ...]:
    value = result.get(key)
    return tuple(value) if isinstance(value, Sequence) and not isinstance(value, str) else ()
