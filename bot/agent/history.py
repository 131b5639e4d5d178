"""What every model API demands of a conversation, as pure functions: whole, bounded, and spelled as JSON.

Knows messages; knows no table, no SDK and no clock.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import assert_never

from bot.ports import AssistantSaid, EventHappened, Message, OthersSaid, ToolCall, ToolReturned, UserSaid
from policy.model import Json

BROKEN_OFF = json.dumps(
    {
        "status": "unknown",
        "note": "The turn broke off before the result of this call was noted. Do not say that it happened or that it "
        "did not. If it needs approval it may be waiting already. Read the records before you propose it again.",
    }
)
"""The result of a call that has none. It keeps the transcript whole without claiming anything."""


def whole(messages: Sequence[Message]) -> tuple[Message, ...]:
    """`messages` as every API takes them: each call has one result, directly after its answer, in order.

    Results without a call are dropped, the first result of a call counts, a second call under an id already
    used is renamed together with its result, and a call without a result is given `BROKEN_OFF`.
    """
    out: list[Message] = []
    used: set[str] = set()
    items = list(messages)
    for at, message in enumerate(items):
        match message:
            case AssistantSaid():
                answer, returned = _paired(message, _results_after(items, at), used)
                out.append(answer)
                out.extend(returned)
            case ToolReturned():
                continue  # placed with its call
            case UserSaid() | OthersSaid() | EventHappened():
                out.append(message)
            case _:
                assert_never(message)
    return tuple(out)


def _results_after(items: Sequence[Message], at: int) -> list[ToolReturned]:
    """Results up to the next answer that makes calls: a message may have come between, a result of later calls not."""
    found: list[ToolReturned] = []
    for message in items[at + 1 :]:
        if isinstance(message, AssistantSaid) and message.calls:
            break
        if isinstance(message, ToolReturned):
            found.append(message)
    return found


def _paired(
    answer: AssistantSaid, results: list[ToolReturned], used: set[str]
) -> tuple[AssistantSaid, list[ToolReturned]]:
    calls: list[ToolCall] = []
    returned: list[ToolReturned] = []
    for call in answer.calls:
        result = next((r for r in results if r.call_id == call.id), None)
        if result is None:
            result = ToolReturned(call.id, BROKEN_OFF, is_error=True)
        else:
            results.remove(result)
        name = fresh_id(call.id, used)
        used.add(name)
        calls.append(replace(call, id=name))
        returned.append(replace(result, call_id=name))
    return replace(answer, calls=tuple(calls)), returned


def fresh_id(wanted: str, used: set[str]) -> str:
    """`wanted`, or a name like it that is not in `used`. Servers exist that number calls anew in every answer."""
    stem = wanted or "call"
    name, n = stem, 1
    while name in used:
        n += 1
        name = f"{stem}_{n}"
    return name


def tokens(message: Message) -> int:
    """About how many tokens `message` costs; rather too many than too few."""
    return 8 + len(json.dumps(spell(message), ensure_ascii=False).encode()) // 3


def window(messages: Sequence[Message], budget: int) -> tuple[Message, ...]:
    """The newest part of `messages` (made whole first) that fits `budget` tokens.

    Never cuts between a call and its result, always begins with somebody's words, and always keeps the last
    thing that somebody said, whatever it costs. What is left out is left out from the oldest on.
    """
    groups = _groups(whole(messages))
    last = max((n for n, group in enumerate(groups) if _is_said(group[0])), default=None)
    if last is None:
        return ()
    left = budget - sum(map(tokens, groups[last]))
    tail: list[Message] = []
    cut = False
    for group in reversed(groups[last + 1 :]):
        cost = sum(map(tokens, group))
        if cost > left:
            cut = True
            break
        left -= cost
        tail[:0] = group
    kept: list[Message] = [*groups[last], *tail]
    if cut:
        return tuple(kept)
    pending: list[Message] = []
    for group in reversed(groups[:last]):
        left -= sum(map(tokens, group))
        if left < 0:
            break
        pending[:0] = group
        if _is_said(group[0]):
            kept[:0] = pending
            pending = []
    return tuple(kept)


def _groups(messages: Sequence[Message]) -> list[list[Message]]:
    groups: list[list[Message]] = []
    for message in messages:
        if isinstance(message, ToolReturned):
            groups[-1].append(message)
        else:
            groups.append([message])
    return groups


def _is_said(message: Message) -> bool:
    return isinstance(message, UserSaid | OthersSaid | EventHappened)


def without_tools(messages: Sequence[Message]) -> tuple[Message, ...]:
    """`messages` for a person who may use no tool any more: APIs refuse calls where no tool is offered."""
    out: list[Message] = []
    for message in messages:
        match message:
            case AssistantSaid(calls=calls) if calls:
                names = ", ".join(call.name for call in calls)
                out.append(AssistantSaid(text=f"{message.text}\n(Earlier I called: {names}.)".strip()))
            case ToolReturned():
                continue
            case _:
                out.append(message)
    return tuple(out)


def spell(message: Message) -> dict[str, Json]:
    """`message` as JSON; `read_back` reverses it exactly."""
    match message:
        case UserSaid(text):
            return {"kind": "user", "text": text}
        case OthersSaid(who, text):
            return {"kind": "others", "who": who, "text": text}
        case AssistantSaid(text, calls, opaque, model):
            listed = [{"id": c.id, "name": c.name, "arguments": c.arguments, "raw": c.raw} for c in calls]
            return {"kind": "assistant", "text": text, "calls": listed, "opaque": opaque, "model": model}
        case ToolReturned(call_id, content, is_error):
            return {"kind": "result", "call_id": call_id, "content": content, "is_error": is_error}
        case EventHappened(text):
            return {"kind": "event", "text": text}
        case _:
            assert_never(message)


def read_back(stored: Mapping[str, Json]) -> Message:
    """The message that `spell` wrote.

    Raises:
        ValueError: not one of ours.
    """
    match stored:
        case {"kind": "user", "text": str(text)}:
            return UserSaid(text)
        case {"kind": "others", "who": str(who), "text": str(text)}:
            return OthersSaid(who, text)
        case {"kind": "result", "call_id": str(call_id), "content": str(content), "is_error": bool(is_error)}:
            return ToolReturned(call_id, content, is_error)
        case {"kind": "event", "text": str(text)}:
            return EventHappened(text)
        case {"kind": "assistant", "text": str(text), "calls": list(calls), "opaque": opaque, "model": str(model)}:
            return AssistantSaid(text, tuple(_call(c) for c in calls), opaque, model)
        case _:
            raise ValueError("A transcript row holds no message of a known kind.")


def _call(stored: Json) -> ToolCall:
    match stored:
        case {"id": str(call_id), "name": str(name), "arguments": None, "raw": str(raw)}:
            return ToolCall(call_id, name, None, raw)
        case {"id": str(call_id), "name": str(name), "arguments": dict(arguments), "raw": str(raw)}:
            return ToolCall(call_id, name, arguments, raw)
        case _:
            raise ValueError("A transcript row holds no call of a known form.")
