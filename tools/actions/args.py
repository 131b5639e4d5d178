"""What every action shares: reading arguments, and letting nothing but `ActionError` out. Knows no tool."""

from __future__ import annotations

import functools
from collections.abc import Callable, Coroutine
from datetime import datetime
from typing import Any, ParamSpec, TypeVar

from tools.spec import ActionError, Args, Certainty

P = ParamSpec("P")
T = TypeVar("T")


def refuse(sentence: str, *, retryable: bool = False) -> ActionError:
    """Nothing was done, and `sentence` says why."""
    return ActionError(sentence, Certainty.NOT_DONE, retryable=retryable)


def text(args: Args, name: str, *, limit: int, required: bool = True, multiline: bool = False) -> str:
    """The text argument `name`, trimmed. The gateway has checked the schema; this holds without it too.

    Raises:
        ActionError: missing, not a text, too long, or with control characters (line breaks too unless `multiline`).
    """
    value = args.get(name, "")
    if not isinstance(value, str):
        raise refuse(f"{name} must be a text.")
    value = value.strip()
    if required and not value:
        raise refuse(f"{name} is missing.")
    if len(value) > limit:
        raise refuse(f"{name} is too long: {len(value)} characters, at most {limit} are allowed.")
    if not is_clean(value, multiline=multiline):
        raise refuse(f"{name} contains control characters, which are not allowed. Write it as plain text.")
    return value


def is_clean(value: str, *, multiline: bool = False) -> bool:
    """Whether `value` is free of control characters, separators that act as line breaks, and lone surrogates."""
    allowed = "\n\t" if multiline else ""
    return not any(
        (ord(c) < 32 and c not in allowed) or 127 <= ord(c) < 160 or c in "\u2028\u2029" or 0xD800 <= ord(c) < 0xE000
        for c in (value.replace("\r\n", "\n") if multiline else value)
    )


def day(moment: datetime) -> str:
    """A date as facts and sentences spell it: ``3 Nov 2026``."""
    return f"{moment.day} {moment:%b %Y}"


def reads(action: Callable[P, Coroutine[Any, Any, T]]) -> Callable[P, Coroutine[Any, Any, T]]:
    """For a method without an effect: whatever goes wrong in it, nothing was done."""
    return _only_action_errors(action, Certainty.NOT_DONE, "It could not be looked up because of a fault in the tool")


def takes_effect(action: Callable[P, Coroutine[Any, Any, T]]) -> Callable[P, Coroutine[Any, Any, T]]:
    """For a method with an effect: a fault nobody foresaw leaves it unknown whether the effect happened."""
    return _only_action_errors(
        action, Certainty.UNKNOWN, "A fault in the tool left it unknown whether this was done; somebody has to look"
    )


def _only_action_errors(
    action: Callable[P, Coroutine[Any, Any, T]], certainty: Certainty, sentence: str
) -> Callable[P, Coroutine[Any, Any, T]]:
    @functools.wraps(action)
    async def guarded(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return await action(*args, **kwargs)
        except ActionError:
            raise
        except Exception as error:
            # The type alone: a message may carry somebody's data (invariant 11).
            raise ActionError(f"{sentence} ({type(error).__name__}). Tell an admin.", certainty) from error

    return guarded
