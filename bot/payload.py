"""Reading JSON that came from outside: total accessors, so that a strange shape is a missing value and never a crash.

Knows no Slack field by name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias

from policy.model import Json

Body: TypeAlias = Mapping[str, Json]
"""A request or an answer, as parsed."""


def at(value: Json, *path: str | int) -> Json:
    """The value below `path`, None where there is none."""
    for step in path:
        if isinstance(step, str):
            value = value.get(step) if isinstance(value, Mapping) else None
        elif isinstance(value, Sequence) and not isinstance(value, str) and step < len(value):
            value = value[step]
        else:
            return None
    return value


def text_at(value: Json, *path: str | int) -> str:
    """The string below `path`; empty where there is none or it is something else.

    Without NUL and half surrogates, which JSON can spell and no database stores.
    """
    found = at(value, *path)
    return found.replace("\x00", "").encode("utf-8", "replace").decode() if isinstance(found, str) else ""


def flag_at(value: Json, *path: str | int) -> bool:
    """Whether something other than false or nothing stands below `path`: a strange value counts as set."""
    return at(value, *path) not in (None, False)


def list_at(value: Json, *path: str | int) -> Sequence[Json]:
    found = at(value, *path)
    return found if isinstance(found, Sequence) and not isinstance(found, str) else ()
