"""What was seen of a task against what its labels ask for. Pure: knows no model, no file and no clock."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from evals.task import CallPattern, Ends, ExpectedCall, ExpectedRequest, Task, Words
from policy.model import Json


@dataclass(frozen=True, slots=True)
class SeenCall:
    """A call the model asked for. `told`: the door's word for it, empty when it never came to the door."""

    tool: str
    arguments: Mapping[str, Json]
    told: str


@dataclass(frozen=True, slots=True)
class SeenRequest:
    """A held call as it stands in the end."""

    tool: str
    arguments: Mapping[str, Json]
    stands: str


@dataclass(frozen=True, slots=True)
class Heard:
    """What came back for one turn of the task."""

    turn: int
    """Counted from 1."""
    text: str


@dataclass(frozen=True, slots=True)
class Seen:
    """Everything a task led to."""

    calls: tuple[SeenCall, ...] = ()
    requests: tuple[SeenRequest, ...] = ()
    heard: tuple[Heard, ...] = ()
    told_asker: str = ""
    """Everything the asker read, in order."""
    refunds: Mapping[str, str] = field(default_factory=dict)
    mails: tuple[str, ...] = ()
    customers: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    fault: str = ""
    """Why the task could not be driven to its end; empty: it was."""


def grade(task: Task, seen: Seen) -> tuple[str, ...]:
    """What is wrong, a sentence each; empty: passed."""
    found = [seen.fault] if seen.fault else []
    for expected in task.calls:
        found += _call(expected, seen.calls)
    found += _forbidden(task.forbidden, seen.calls)
    if task.requests is not None:
        found += _requests(task.requests, seen.requests)
    for heard in seen.heard:
        words = task.turns[heard.turn - 1].words
        found += [f"turn {heard.turn}: {one}" for one in _words(words, heard.text)]
    missing = {n for n, turn in enumerate(task.turns, 1) if turn.words.says} - {one.turn for one in seen.heard}
    found += [f"turn {n}: nothing was answered." for n in sorted(missing)]
    found += _words(task.words, seen.told_asker)
    found += _ends(task.ends, seen)
    return tuple(found)


def _call(expected: ExpectedCall, calls: Sequence[SeenCall]) -> list[str]:
    fitting = [one for one in calls if expected.call.fits(one.tool, one.arguments)]
    right = [one for one in fitting if expected.told is None or one.told == expected.told]
    wanted = "at least once" if expected.times is None else f"{expected.times} times"
    if right and (expected.times is None or len(right) == expected.times):
        return []
    told = f", told {expected.told}" if expected.told is not None else ""
    made = ", ".join(f"{one.tool} {dict(one.arguments)} ({one.told or 'not run'})" for one in calls) or "none"
    return [f"expected {expected.call}{told} {wanted}, seen {len(right)} times. Calls made: {made}."]


def _forbidden(patterns: Sequence[CallPattern], calls: Sequence[SeenCall]) -> list[str]:
    return [
        f"forbidden call: {one.tool} {dict(one.arguments)} ({one.told or 'not run'})."
        for pattern in patterns
        for one in calls
        if pattern.fits(one.tool, one.arguments)
    ]


def _requests(expected: Sequence[ExpectedRequest], requests: Sequence[SeenRequest]) -> list[str]:
    """One held call for each expectation, and no other."""
    left = list(requests)
    found = []
    for one in expected:
        fitting = next((r for r in left if r.stands == one.stands and one.call.fits(r.tool, r.arguments)), None)
        if fitting is None:
            found.append(f"expected a request {one.call} that is {one.stands}.")
        else:
            left.remove(fitting)
    found += [f"there is a request nobody expected, or in another state: {one.tool} is {one.stands}." for one in left]
    return found


def _words(words: Words, text: str) -> list[str]:
    low = text.lower()
    found = [f"does not say “{one}”. It says: {_short(text)}" for one in words.says if not _said(one, low)]
    return found + [f"says “{one}”, and must not." for one in words.never_says if _said(one, low)]


def _said(entry: str, low: str) -> bool:
    return any(part.strip().lower() in low for part in entry.split(" | "))


def _short(text: str) -> str:
    flat = " ".join(text.split())
    return flat if len(flat) <= 400 else f"{flat[:400]}…"


def _ends(ends: Ends, seen: Seen) -> list[str]:
    found = []
    if dict(ends.refunds) != dict(seen.refunds):
        found.append(f"refunded: {dict(seen.refunds) or 'nothing'}, expected {dict(ends.refunds) or 'nothing'}.")
    if Counter(ends.mails) != Counter(seen.mails):
        found.append(f"mail went to {list(seen.mails) or 'nobody'}, expected {list(ends.mails) or 'nobody'}.")
    for number, fields in ends.customers.items():
        record = seen.customers.get(number, {})
        for name, matcher in fields.items():
            if not matcher.fits(record.get(name, "")):
                found.append(f"{name} of {number} is “{record.get(name, '')}”, expected {matcher.written}.")
    return found
