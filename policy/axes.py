"""What follows from a tool's two axes: its action class, and the least gate it can have.

Knows reversibility, blast radius and whether something leaves the house; knows no file and no person.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import assert_never

from policy.model import BlastRadius, GateKind, Reversibility


class ActionClass(StrEnum):
    """What kind of thing a call does. Rollout phases and model routes are given per class."""

    READ = "read"
    REVERSIBLE_WRITE = "reversible_write"
    EXTERNAL_SEND = "external_send"
    IRREVERSIBLE = "irreversible"


@dataclass(frozen=True, slots=True)
class Floor:
    """The least that must stand between a call and its effect. Files may add to it, never take away."""

    action: ActionClass
    kind: GateKind
    needs_limit: bool
    """A rate limit has to be stated."""
    needs_threshold: bool
    """It has to be stated above which sum a second person approves."""
    because: str
    """The derivation, as half a sentence."""


_STRICTNESS = {GateKind.AUTONOMOUS: 0, GateKind.LOGGED: 1, GateKind.APPROVAL: 2}


def floor(reversibility: Reversibility, blast: BlastRadius, external_send: bool) -> Floor:
    """The gate that follows from the axes (DESIGN section 4)."""
    wide = blast in (BlastRadius.HIGH, BlastRadius.CRITICAL)
    match reversibility:
        case Reversibility.NONE:
            because = "what it does cannot be taken back, so somebody else approves it first"
            return Floor(ActionClass.IRREVERSIBLE, GateKind.APPROVAL, True, blast is not BlastRadius.LOW, because)
        case _ if external_send:
            because = "it sends something out of the house, so somebody else approves it first"
            return Floor(ActionClass.EXTERNAL_SEND, GateKind.APPROVAL, False, False, because)
        case Reversibility.NA:
            return Floor(ActionClass.READ, GateKind.AUTONOMOUS, False, False, "it only reads, so it runs at once")
        case Reversibility.HIGH if wide:
            because = f"it can be undone but its blast radius is {blast.value}, so somebody else approves it"
            return Floor(ActionClass.REVERSIBLE_WRITE, GateKind.APPROVAL, False, False, because)
        case Reversibility.HIGH:
            because = "it can be undone, so it runs at once and the state before and after is logged"
            return Floor(ActionClass.REVERSIBLE_WRITE, GateKind.LOGGED, False, False, because)
        case Reversibility.LOW:
            because = "its effect is hard to take back, so somebody else approves it"
            return Floor(ActionClass.IRREVERSIBLE, GateKind.APPROVAL, False, False, because)
        case _:
            assert_never(reversibility)


def looser(kind: GateKind, than: GateKind) -> bool:
    """Whether `kind` lets more through than `than`."""
    return _STRICTNESS[kind] < _STRICTNESS[than]


def stricter_of(one: GateKind, other: GateKind) -> GateKind:
    return other if looser(one, other) else one
