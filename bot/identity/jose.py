"""The compact form of signed tokens (RFC 7515), read so that no two parsers can disagree on what one says.

Knows segments, base64url and JSON objects; knows no key, no signature and no claim.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from enum import StrEnum
from typing import NoReturn, TypeAlias

JsonObject: TypeAlias = Mapping[str, object]

MAX_DEPTH = 32
"""Boxes in boxes: whoever walks a token later does so without running out of stack."""


class JoseFault(StrEnum):
    """What keeps a text from being a token. Closed."""

    NOT_A_TOKEN = "not_a_token"
    TOO_LONG = "too_long"
    ENCRYPTED = "encrypted"
    """Five segments: a JWE. Nobody here holds a key to open one."""
    NOT_CANONICAL = "not_canonical"
    """The same bytes spelled another way: two spellings of one token would pass for two tokens."""
    NOT_JSON = "not_json"
    SAID_TWICE = "said_twice"
    """One key twice in an object: the first reader would believe one, the second the other."""


class JoseRefused(Exception):
    """A text is no token. `str(e)` holds nothing of the text."""

    def __init__(self, fault: JoseFault, sentence: str) -> None:
        super().__init__(sentence)
        self.fault = fault


def parts(token: str, max_chars: int) -> tuple[JsonObject, JsonObject]:
    """Header and claims of `token`; its signature is not looked at.

    Raises:
        JoseRefused: it is no compact JWS of JSON objects in canonical form. Nothing else is raised.
    """
    if len(token) > max_chars:
        raise JoseRefused(JoseFault.TOO_LONG, "That is too long to be a token.")
    if token.isascii() and token.count(".") == 4:
        raise JoseRefused(JoseFault.ENCRYPTED, "The token is encrypted, not signed.")
    if not token.isascii() or token.count(".") != 2:
        raise JoseRefused(JoseFault.NOT_A_TOKEN, "That is not a token.")
    header, claims, signature = token.split(".")
    unb64(signature)
    return json_object(unb64(header)), json_object(unb64(claims))


def json_object(raw: bytes) -> JsonObject:
    """The one JSON object that `raw` is, each key once, in UTF-8.

    Raises:
        JoseRefused: it is anything else. Nothing else is raised.
    """
    try:
        value = json.loads(raw.decode("utf-8"), object_pairs_hook=_once, parse_constant=_no_number)
        # Half a surrogate pair is a string to Python, and an error to the first database that is given it.
        json.dumps(value, ensure_ascii=False).encode("utf-8")
    except (ValueError, RecursionError) as error:
        raise JoseRefused(JoseFault.NOT_JSON, "The token does not hold JSON.") from error
    if not isinstance(value, dict):
        raise JoseRefused(JoseFault.NOT_JSON, "The token does not hold an object.")
    if _deeper(value, MAX_DEPTH):
        raise JoseRefused(JoseFault.NOT_JSON, "The token is nested deeper than any token.")
    return value


def unb64(part: str) -> bytes:
    """The bytes of base64url without padding, in its one canonical spelling.

    Raises:
        JoseRefused: it is spelled another way. Nothing else is raised.
    """
    try:
        raw = base64.b64decode(part + "=" * (-len(part) % 4), altchars=b"-_", validate=True)
    except ValueError as error:
        raise JoseRefused(JoseFault.NOT_CANONICAL, "The token is not base64url.") from error
    if b64(raw) != part:
        raise JoseRefused(JoseFault.NOT_CANONICAL, "The token is not in canonical form.")
    return raw


def b64(raw: bytes) -> str:
    """`raw` in base64url without padding."""
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise JoseRefused(JoseFault.SAID_TWICE, "The token says something twice.")
    return found


def _deeper(value: object, levels: int) -> bool:
    layer = [value]
    for _ in range(levels + 1):
        inner = [box.values() if isinstance(box, dict) else box for box in layer if isinstance(box, dict | list)]
        layer = [one for box in inner for one in box]
        if not layer:
            return False
    return True


def _no_number(word: str) -> NoReturn:
    raise JoseRefused(JoseFault.NOT_JSON, "The token does not hold JSON.")
