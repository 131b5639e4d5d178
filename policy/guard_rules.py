"""guardrails.yaml: which guards are on, how strict they are, and when a person is locked out.

Knows the file's schema; how a text is judged is in `policy.guardrails`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import re2

from policy.document import Field


class Action(StrEnum):
    """What a guard does with a text, mildest first. ``PASS`` cannot be configured."""

    PASS = "pass"
    FLAG = "flag"
    """Goes on; the audit and the cards say what was noticed."""
    REDACT = "redact"
    """Goes on with the sensitive parts masked."""
    REFUSE = "refuse"
    """Nothing goes on; the person is told why."""
    KILL = "kill"
    """Refused before any cost, and counted towards the lockout (invariant 12)."""


_CONFIGURABLE = (Action.KILL, Action.REFUSE, Action.FLAG, Action.REDACT)
_MAX_PATTERNS, _MAX_PATTERN = 50, 500


@dataclass(frozen=True, slots=True)
class Guard:
    action: Action
    patterns: tuple[str, ...] = ()
    """The house's own RE2 patterns, matched against the text in lower case besides the built-in ones."""


@dataclass(frozen=True, slots=True)
class InputGuards:
    injection: Guard
    pii_exfil: Guard
    max_input_tokens: int


@dataclass(frozen=True, slots=True)
class OutputGuards:
    tool_scope: Guard
    pii_redaction: Guard


@dataclass(frozen=True, slots=True)
class RateLimits:
    per_user_per_min: int
    """Messages of one person."""
    refund_issue_per_user_per_day: int
    """Refunds asked for by one person; the stricter of this and tools.yaml counts."""


@dataclass(frozen=True, slots=True)
class KillSwitch:
    on_repeated_injection: int
    """That many kill verdicts within `lockout_minutes` lock a person out."""
    lockout_minutes: int


@dataclass(frozen=True, slots=True)
class Guardrails:
    input_guards: InputGuards
    output_guards: OutputGuards
    rate_limits: RateLimits
    kill_switch: KillSwitch


def read_guardrails(root: Field) -> Guardrails:
    parts = root.section(("input_guards", "output_guards", "rate_limits", "kill_switch"))
    before = _keys(parts, "input_guards", ("injection", "pii_exfil", "max_input_tokens"))
    after = _keys(parts, "output_guards", ("tool_scope", "pii_redaction"))
    rates = _keys(parts, "rate_limits", ("per_user_per_min", "refund_issue_per_user_per_day"))
    switch = _keys(parts, "kill_switch", ("on_repeated_injection", "lockout_minutes"))
    return Guardrails(
        InputGuards(
            _guard(before.get("injection"), (Action.KILL, Action.REFUSE, Action.FLAG), own_patterns=True),
            _guard(before.get("pii_exfil"), _CONFIGURABLE, own_patterns=True),
            _number(before.get("max_input_tokens"), 16, 200_000),
        ),
        OutputGuards(
            _guard(after.get("tool_scope"), (Action.KILL, Action.REFUSE)),
            _guard(after.get("pii_redaction"), (Action.KILL, Action.REFUSE, Action.REDACT)),
        ),
        RateLimits(
            _number(rates.get("per_user_per_min"), 1, 10_000),
            _number(rates.get("refund_issue_per_user_per_day"), 1, 100_000),
        ),
        KillSwitch(
            _number(switch.get("on_repeated_injection"), 1, 1_000),
            _number(switch.get("lockout_minutes"), 1, 7 * 24 * 60),
        ),
    )


def _keys(parts: dict[str, Field], name: str, keys: tuple[str, ...]) -> dict[str, Field]:
    return parts[name].section(keys) if name in parts else {}


def _number(written: Field | None, least: int, most: int) -> int:
    return least if written is None else written.integer(least, most)


def _guard(written: Field | None, allowed: tuple[Action, ...], *, own_patterns: bool = False) -> Guard:
    """Either a bare action, or ``{action, patterns}`` where the house adds patterns of its own."""
    if written is None:
        return Guard(Action.REFUSE)
    if not written.is_mapping():
        return Guard(written.word(Action, "an action here", Action.REFUSE, allowed))
    keys = written.section(("action",), ("patterns",) if own_patterns else ())
    action = Action.REFUSE
    if "action" in keys:
        action = keys["action"].word(Action, "an action here", Action.REFUSE, allowed)
    return Guard(action, _patterns(keys["patterns"]) if "patterns" in keys else ())


def _patterns(written: Field) -> tuple[str, ...]:
    good: list[str] = []
    for item in written.items():
        pattern = item.text()
        if pattern is None:
            continue
        if len(pattern) > _MAX_PATTERN or len(good) >= _MAX_PATTERNS:
            limit = f"{_MAX_PATTERNS} patterns of {_MAX_PATTERN} characters"
            item.wrong(f"is more than {limit}.", "Shorten it; a guard is read by people.")
            continue
        fault = pattern_fault(pattern)
        if fault is not None:
            item.wrong(f"is not a pattern RE2 takes: {fault}.", "RE2 has no look-around and no back-references.")
            continue
        good.append(pattern)
    return tuple(good)


def pattern_fault(pattern: str) -> str | None:
    """Why RE2 does not take `pattern`; None when it does and does not match the empty text."""
    options = re2.Options()
    options.log_errors = False
    options.max_mem = 1 << 20
    try:
        compiled = re2.compile(pattern, options)
    except re2.error as error:
        reason = error.args[0] if error.args else "syntax"
        return reason.decode(errors="replace") if isinstance(reason, bytes) else str(reason)
    return "it matches the empty text" if compiled.search("") else None
