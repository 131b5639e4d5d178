"""What is taken out of an event before it is written. Knows that it must happen, not what PII is.

The detector lives in `policy.guardrails`; the composition root hands its `redact` in.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TypeAlias

from audit.event import Event, Json

Redactor: TypeAlias = Callable[[str], str]
"""Masks card numbers, SSNs and secrets in a text; leaves recipients, orders and amounts readable."""


def redact_json(value: Json, redactor: Redactor) -> Json:
    """`value` with every string passed through `redactor`, keys included."""
    if isinstance(value, str):
        return redactor(value)
    if isinstance(value, Mapping):
        return {redactor(key): redact_json(item, redactor) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [redact_json(item, redactor) for item in value]
    return value


def redact_event(event: Event, redactor: Redactor) -> Event:
    """`event` as it may be written: arguments and detail redacted, everything else as it was."""
    return replace(
        event,
        tool_args=redact_mapping(event.tool_args, redactor),
        detail=redact_mapping(event.detail, redactor),
    )


def redact_mapping(value: Mapping[str, Json] | None, redactor: Redactor) -> Mapping[str, Json] | None:
    """`redact_json` for a column that may be empty."""
    if value is None:
        return None
    return {redactor(key): redact_json(item, redactor) for key, item in value.items()}
