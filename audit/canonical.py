"""The bytes that are hashed: RFC 8785 JSON, restricted so that writing it is cheap. Knows values, no columns.

Keys are ASCII (so code points sort as RFC 8785's UTF-16 units do), there are no floats, and integers stay
within 53 bits. For such values Python's own encoder writes exactly what RFC 8785 asks for; a property
test holds it against the `rfc8785` package.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal

from audit.event import Json

SAFE_INTEGER = 2**53 - 1
"""RFC 8785 section 3.2.2.3: integers beyond this are not the same number in every reader."""
MAX_DEPTH = 64
COST_PLACES = Decimal("0.00000001")
"""Costs are kept to a hundred-millionth of a dollar: a single cached token costs more than that."""
COST_LIMIT = Decimal(10) ** 10
REPLACEMENT = "\N{REPLACEMENT CHARACTER}"

_encode = json.JSONEncoder(
    ensure_ascii=False, sort_keys=True, separators=(",", ":"), allow_nan=False, check_circular=False
).encode


class NotCanonical(Exception):
    """The value has no canonical form. `str(e)` names the place and never shows the value itself."""


def canonical_text(value: Json) -> str:
    """`value` as canonical JSON.

    Raises:
        NotCanonical: a float, a large integer, a key that is not ASCII, a lone surrogate, or no JSON at all.
    """
    return _encode(_checked(value, "value", 0))


def canonical_bytes(value: Json) -> bytes:
    """`canonical_text` in UTF-8, which is what is hashed."""
    return canonical_text(value).encode()


def restricted_text(value: Json) -> str:
    """`canonical_text` of `restrict(value)`, in one walk.

    Raises:
        NotCanonical: the value is not JSON at all.
    """
    return _encode(_restricted(value, 0))


def restrict(value: Json) -> Json:
    """`value` made to fit, so that no argument a model invents can keep its own audit row from being written.

    Floats and large integers become their decimal text, keys are escaped to ASCII, NUL and lone surrogates
    become U+FFFD (PostgreSQL stores neither), and what nests deeper than `MAX_DEPTH` is cut with a note.

    Raises:
        NotCanonical: the value is not JSON at all.
    """
    return _restricted(value, 0)


def clean_text(text: str) -> str:
    """`text` as both databases can keep it: without NUL and lone surrogates."""
    if text.isascii() and "\x00" not in text:
        return text
    if "\x00" in text:
        text = text.replace("\x00", REPLACEMENT)
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def iso(moment: datetime) -> str:
    """`moment` (aware) as ISO-8601 UTC of fixed width, so that text sorts as time: ``2026-01-31T09:30:00.000000Z``.

    Raises:
        ValueError: a time without an offset; nobody can say which moment it means.
    """
    if moment.tzinfo is None:
        raise ValueError(f"{moment!r} has no time zone. Use aware UTC times, e.g. datetime.now(UTC).")
    return moment.astimezone(UTC).isoformat(timespec="microseconds")[:26] + "Z"


def from_iso(text: str) -> datetime:
    """The aware UTC time that `iso` wrote."""
    return datetime.fromisoformat(text).astimezone(UTC)


def _checked(value: Json, where: str, depth: int) -> Json:
    if value is None or value is True or value is False:
        return value
    if isinstance(value, str):
        if not value.isascii():
            _check_unicode(value, where)
        return value
    if isinstance(value, int):
        if not -SAFE_INTEGER <= value <= SAFE_INTEGER:
            raise NotCanonical(f"{where} is an integer beyond 53 bits. Write it as text.")
        return value
    if depth >= MAX_DEPTH:
        raise NotCanonical(f"{where} nests deeper than {MAX_DEPTH} levels.")
    if isinstance(value, Mapping):
        return {_checked_key(key, where): _checked(item, f"{where}.{key}", depth + 1) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_checked(item, f"{where}[{index}]", depth + 1) for index, item in enumerate(value)]
    if isinstance(value, float):
        raise NotCanonical(f"{where} is a float. Write it as decimal text.")
    raise NotCanonical(f"{where} is a {type(value).__name__}, which JSON does not have.")


def _checked_key(key: object, where: str) -> str:
    if not isinstance(key, str):
        raise NotCanonical(f"{where} has a key that is a {type(key).__name__}. Keys are text.")
    if not key.isascii():
        raise NotCanonical(f"{where} has a key that is not ASCII.")
    return key


def _check_unicode(text: str, where: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise NotCanonical(f"{where} holds a lone surrogate, which UTF-8 cannot carry.") from None


def _restricted(value: Json, depth: int) -> Json:
    if isinstance(value, str):
        return clean_text(value)
    if value is None or value is True or value is False:
        return value
    if isinstance(value, int):
        return int(value) if -SAFE_INTEGER <= value <= SAFE_INTEGER else hex(value)
    if isinstance(value, float):
        return repr(float(value))
    if depth >= MAX_DEPTH:
        return f"(cut: nested deeper than {MAX_DEPTH} levels)"
    if isinstance(value, (dict, Mapping)):
        return {_restricted_key(key): _restricted(item, depth + 1) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_restricted(item, depth + 1) for item in value]
    raise NotCanonical(f"A {type(value).__name__} is not JSON and cannot be audited.")


def _restricted_key(key: object) -> str:
    if not isinstance(key, str):
        raise NotCanonical(f"A key that is a {type(key).__name__} is not JSON and cannot be audited.")
    if key.isascii() and "\x00" not in key:
        return key
    return key.replace("\x00", REPLACEMENT).encode("ascii", "backslashreplace").decode()
