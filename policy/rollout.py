"""Which phase an action class has earned, and what that phase does to a decision.

Knows rollout.yaml and decisions; knows neither who asks nor how a phase is earned.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import assert_never

from policy.axes import ActionClass, floor
from policy.document import Field
from policy.model import Denied, DenyReason, ToolPolicy


class Phase(StrEnum):
    """How far the agent is trusted with an action class, least first."""

    SHADOW = "shadow"
    """Nothing executes. What would have been asked for is recorded."""
    SUGGEST = "suggest"
    """Nothing executes. The agent says what it would do; a person does it elsewhere."""
    ASSIST = "assist"
    """Reads run. Everything that changes something is approved, undoable writes included."""
    ACT_WITH_APPROVAL = "act_with_approval"
    """The gates of tools.yaml, as they are."""
    SCOPED_AUTO = "scoped_auto"
    """Runs without asking, where the gate allows it at all: never what must be approved."""


_NEVER_AUTO = (ActionClass.EXTERNAL_SEND, ActionClass.IRREVERSIBLE)


@dataclass(frozen=True, slots=True)
class Rollout:
    phases: Mapping[ActionClass, Phase]

    def phase(self, tool: ToolPolicy) -> Phase:
        """The phase that governs `tool`. A class the file does not name shadows (invariant 13)."""
        return self.phases.get(action_class(tool), Phase.SHADOW)


def action_class(tool: ToolPolicy) -> ActionClass:
    return floor(tool.reversibility, tool.blast_radius, tool.external_send).action


def held_back(tool: ToolPolicy, phase: Phase) -> Denied | None:
    """The denial, where `phase` lets nothing of this class happen."""
    match phase:
        case Phase.SHADOW:
            sentence = f"{tool.tool} runs in shadow: what you asked for was recorded and nothing was done."
            return Denied(DenyReason.PHASE, sentence)
        case Phase.SUGGEST:
            sentence = f"{tool.tool} may only be suggested for now: nothing was done. Do it yourself if you agree."
            return Denied(DenyReason.PHASE, sentence)
        case Phase.ASSIST | Phase.ACT_WITH_APPROVAL | Phase.SCOPED_AUTO:
            return None
        case _:
            assert_never(phase)


def read_rollout(root: Field) -> Rollout:
    keys = root.section(tuple(ActionClass))
    phases: dict[ActionClass, Phase] = {}
    for action in ActionClass:
        if action not in keys:
            continue
        written = keys[action]
        phase = written.word(Phase, "a phase", Phase.SHADOW)
        if phase is Phase.SCOPED_AUTO and action in _NEVER_AUTO:
            written.wrong(f"{action.value} can never run without approval.", "Write act_with_approval or less.")
        phases[action] = phase
    return Rollout(MappingProxyType(phases))
