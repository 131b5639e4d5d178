"""The body of a SCIM request as JSON, or why it is none. Knows shapes, no attribute.

Refused beyond what a parser refuses: a key twice (SCIM ignores the case of names, so ``active`` beside ``Active`` is
twice), deep nesting, text that no database holds. Who reads such a body otherwise than we do could mean another
person.
"""

from __future__ import annotations

import json
from typing import NoReturn, cast

from scim2_models import InvalidSyntaxException

from bot.identity.scim_document import storable
from policy.model import Json

MAX_DEPTH = 24


def parse(body: bytes) -> Json:
    """The value of `body`.

    Raises:
        InvalidSyntaxException: it is no JSON that means one thing.
    """
    try:
        found = cast("Json", json.loads(body, object_pairs_hook=_object, parse_constant=_constant))
    except InvalidSyntaxException:
        raise
    except (ValueError, RecursionError) as error:
        raise InvalidSyntaxException(detail="The body is not JSON. Nothing was changed.") from error
    _check(found)
    return found


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
                below += [*one.keys(), *one.values()]
            elif isinstance(one, list):
                below += one
            elif isinstance(one, str) and not storable(one):
                raise InvalidSyntaxException(detail="The body holds text that cannot be stored. Nothing was changed.")
        level = below
    if level:
        raise InvalidSyntaxException(detail="The body is nested too deeply. Nothing was changed.")
