"""What the model adapters share: reading a model's arguments, and faults in words for people.

Knows JSON and HTTP status codes; knows no SDK.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from bot.ports import ModelError
from policy.model import Json

log = logging.getLogger(__name__)

MOST_RAW = 4_000
"""Characters kept of arguments that did not parse."""


class _Odd(ValueError):
    pass


def arguments(raw: str) -> dict[str, Json] | None:
    """The JSON object in `raw`; None: it is not one that can be digested and stored as it stands.

    Stricter than `json.loads`: a key given twice, NaN, half a surrogate pair and NUL are refused, because two
    readers could take them for different things.
    """
    try:
        value = json.loads(raw or "{}", object_pairs_hook=_once, parse_constant=_refuse)
        json.dumps(value, ensure_ascii=False).encode()
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) and "\\u0000" not in json.dumps(value) else None


def _once(pairs: Iterable[tuple[str, Json]]) -> dict[str, Json]:
    out: dict[str, Json] = {}
    for key, value in pairs:
        if key in out:
            raise _Odd(key)
        out[key] = value
    return out


def _refuse(constant: str) -> Json:
    raise _Odd(constant)


def timed_out(provider: str) -> ModelError:
    return ModelError(f"{provider} did not answer in time.", transient=True)


def unreachable(provider: str) -> ModelError:
    return ModelError(f"{provider} could not be reached.", transient=True)


def garbled(provider: str) -> ModelError:
    return ModelError(f"{provider} answered with something that could not be read.", transient=True)


def status_fault(provider: str, status: int, kind: str | None, request_id: str | None, after: str | None) -> ModelError:
    """The fault that `status` means. `kind` (the provider's own word) decides where a stream fails with status 200."""
    log.warning("%s refused a request: status %s, %s, request %s", provider, status, kind, request_id)
    wait = retry_after(after)
    if status == 429 or kind in ("rate_limit_error", "rate_limit_exceeded"):
        return ModelError(f"{provider} limits requests at the moment.", retry_after_s=wait, transient=True)
    if status >= 500 or status in (408, 409) or kind in ("overloaded_error", "api_error", "server_error"):
        return ModelError(f"{provider} is overloaded or has a fault at the moment.", retry_after_s=wait, transient=True)
    if status in (401, 402, 403):
        return ModelError(
            f"{provider} refused Countersign's key. An admin has to check the key and its account.", transient=False
        )
    if status == 404:
        return ModelError(f"{provider} does not know the configured model. An admin has to change it.", transient=False)
    return ModelError(f"{provider} refused the request as it was put.", transient=False)


def retry_after(header: str | None) -> float | None:
    """Seconds to wait, from a ``Retry-After`` header (RFC 9110, 10.2.3); None: it names no time to come."""
    if header is None:
        return None
    try:
        seconds = float(header)
    except ValueError:
        try:
            seconds = (parsedate_to_datetime(header) - datetime.now(UTC)).total_seconds()
        except (TypeError, ValueError):
            return None
    return seconds if 0 <= seconds < 3600 else None
