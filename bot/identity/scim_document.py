"""A SCIM resource as a row: the JSON document and the columns drawn from it. Knows the attributes, no SQL.

What is never kept: passwords (not ours to know), and what is somebody else's to say (id, meta, groups, members).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, TypeAlias
from unicodedata import normalize

from scim2_models import InvalidValueException, Resource

from bot.identity.scim_changes import Facts
from bot.identity.scim_provider import ENTERPRISE, USER

Document: TypeAlias = dict[str, Any]
"""A SCIM resource as JSON."""

MAX_VALUES = 100
"""Of one attribute. Each takes the core a tenth of a millisecond whenever one of them is edited."""
MAX_NAME = 512
"""Characters of what is indexed: PostgreSQL's index rows end at 2,700 bytes."""
_ELSEWHERE = ("id", "meta", "groups", "members", "password")


def document_of(resource: Resource[Any]) -> Document:
    """What is stored of `resource`.

    Raises:
        InvalidValueException: an attribute has more values than a person has.
    """
    document: Document = resource.model_dump()
    for key in _ELSEWHERE:
        document.pop(key, None)
    for key, value in document.items():
        # What was added request by request, too: every later one reads them all.
        if isinstance(value, list) and len(value) > MAX_VALUES:
            raise InvalidValueException(detail=f"{key} has at most {MAX_VALUES} values. Nothing was changed.")
    return document


def dumped(document: Document) -> str:
    return json.dumps(document, sort_keys=True, separators=(",", ":"))


def storable(text: str) -> bool:
    """Whether both databases can hold `text`: no NUL, no half of a surrogate pair."""
    return "\x00" not in text and not any("\ud800" <= letter <= "\udfff" for letter in text)


def key_of(text: str) -> str:
    """`text` as filters and uniqueness compare it; `scim2_models.default_comparison_key`, without a binding."""
    return normalize("NFC", normalize("NFC", text).lower())


def facts_of(resource_type: str, document: Document) -> Facts:
    """The columns of a document.

    Raises:
        InvalidValueException: one of them cannot be stored.
    """
    external_id = _text(document, "externalId")
    display_name = _text(document, "displayName")
    name_key = key_of(display_name) if display_name else None
    if resource_type != USER:
        return Facts(external_id, None, display_name, True, None, None, name_key)
    user_name = _text(document, "userName")
    enterprise = document.get(ENTERPRISE)
    return Facts(
        external_id=external_id,
        unique_name=key_of(user_name) if user_name else None,
        display_name=display_name or _name(document) or user_name,
        active=document.get("active") is not False,
        employee_number=_text(enterprise, "employeeNumber") if isinstance(enterprise, dict) else None,
        email=_email(document),
        name_key=name_key,
    )


def _text(holder: Mapping[str, Any], key: str) -> str | None:
    value = holder.get(key)
    if not isinstance(value, str) or not value.strip():
        return None
    if len(value) > MAX_NAME or not storable(value):
        raise InvalidValueException(detail=f"{key} must be text of at most {MAX_NAME} characters. Nothing was changed.")
    return value


def _name(document: Document) -> str | None:
    name = document.get("name")
    if not isinstance(name, dict):
        return None
    formatted = _text(name, "formatted")
    parts = (_text(name, "givenName"), _text(name, "familyName"))
    return formatted or " ".join(part for part in parts if part) or None


def _email(document: Document) -> str | None:
    """The primary one, else that of work, else the first."""
    emails = document.get("emails")
    found = [one for one in emails if isinstance(one, dict)] if isinstance(emails, list) else []
    found = [one for one in found if _text(one, "value")]
    best = min(found, key=lambda one: (one.get("primary") is not True, one.get("type") != "work"), default=None)
    return None if best is None else _text(best, "value")
