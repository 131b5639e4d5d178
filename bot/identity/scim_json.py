"""The body of a SCIM request as JSON, or why it is none. Knows shapes, no attribute.

Refused beyond what a parser refuses: a key twice (SCIM ignores the case of names, so ``active`` beside ``Active`` is
twice), deep nesting, text that no database holds. Who reads such a body otherwise than we do could mean another
person. And what takes the core minutes to read, while everybody else's requests wait: more attributes, values or edits
than a person has. Members are another matter: they pass the core by.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import NoReturn, cast

from scim2_models import InvalidSyntaxException, PayloadTooLargeException

from bot.identity.scim_document import MAX_VALUES, storable
from policy.model import Json

MAX_DEPTH = 24
MAX_KEYS = 500
"""Of one object."""
MAX_EDITS = 100
"""Of one PATCH, members aside; measured: 1,200 e-mail addresses, added one by one, took the core 107 seconds."""
MAX_ALL_EDITS = 500
"""Of all in one bulk request."""
MAX_MEMBER_EDITS = 2_000
_LONG = ("members", "operations", "value")
"""Lists with bounds of their own."""


def parse(body: bytes) -> Json:
    """The value of `body`.

    Raises:
        InvalidSyntaxException: it is no JSON that means one thing.
        PayloadTooLargeException: it holds more than can be meant.
    """
    try:
        found = cast("Json", json.loads(body, object_pairs_hook=_object, parse_constant=_constant))
    except InvalidSyntaxException:
        raise
    except (ValueError, RecursionError) as error:
        raise InvalidSyntaxException(detail="The body is not JSON. Nothing was changed.") from error
    _check(found)
    return found


def bounded(patches: Iterable[Json]) -> None:
    """Looks at the PATCH bodies of one request, before anything is done for them.

    Raises:
        PayloadTooLargeException: they hold more edits than a request may.
    """
    edits = members = 0
    for patch in patches:
        operations = _under(patch, "operations")
        weights = [_weight(one) for one in operations] if isinstance(operations, list) else []
        mine = sum(weight for weight, of_members in weights if not of_members)
        edits, members = edits + mine, members + sum(weight for weight, of_members in weights if of_members)
        if mine > MAX_EDITS or edits > MAX_ALL_EDITS or members > MAX_MEMBER_EDITS:
            raise PayloadTooLargeException(
                detail=f"One PATCH makes at most {MAX_EDITS} edits, and {MAX_MEMBER_EDITS} of members. "
                "Nothing was changed; send them in several requests."
            )


def _weight(operation: Json) -> tuple[int, bool]:
    """How many edits an operation makes, and whether of a group's members."""
    path, value = _under(operation, "path"), _under(operation, "value")
    if not isinstance(path, str) or not path.strip():
        said = value.items() if isinstance(value, dict) else ()
        return max(1, sum(_values(item) for key, item in said if key.lower() != "members")), False
    if path.lower().rpartition(":group:")[2].lstrip().startswith("members"):
        return 1, True
    return _values(value), False


def _values(value: Json) -> int:
    return max(1, len(value)) if isinstance(value, list) else 1


def _under(value: Json, name: str) -> Json:
    return next((value[key] for key in value if key.lower() == name), None) if isinstance(value, dict) else None


def _object(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
    names = [name.lower() for name, _ in pairs]
    if len(set(names)) != len(names):
        raise InvalidSyntaxException(detail="The body names an attribute twice. Nothing was changed.")
    return dict(pairs)


def _constant(_name: str) -> NoReturn:
    raise InvalidSyntaxException(detail="The body holds a number that JSON does not have. Nothing was changed.")


def _check(value: Json) -> None:
    level: list[Json] = [value]
    for _ in range(MAX_DEPTH):
        below: list[Json] = []
        for one in level:
            if isinstance(one, dict):
                if len(one) > MAX_KEYS or any(_long(key, item) for key, item in one.items()):
                    raise PayloadTooLargeException(
                        detail=f"An object holds at most {MAX_KEYS} attributes, an attribute at most {MAX_VALUES} "
                        "values. Nothing was changed."
                    )
                below += [*one.keys(), *one.values()]
            elif isinstance(one, list):
                below += one
            elif isinstance(one, str) and not storable(one):
                raise InvalidSyntaxException(detail="The body holds text that cannot be stored. Nothing was changed.")
        level = below
    if level:
        raise InvalidSyntaxException(detail="The body is nested too deeply. Nothing was changed.")


def _long(key: str, value: Json) -> bool:
    return isinstance(value, list) and len(value) > MAX_VALUES and key.lower() not in _LONG
