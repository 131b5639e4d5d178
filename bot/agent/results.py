"""How the door's answers are told to a model: a call's result at once, a settled request as an event.

Knows outcomes and held calls; knows no model API and decides nothing.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import assert_never

from bot.agent.guarded import Guard, unguarded
from bot.agent.spotlight import Spotlight, plain
from bot.ports import EventHappened
from policy.approval import ApprovalStatus
from policy.model import Json
from tools.held import Blocked, EffectState, Executed, Failed, Held, HeldView, Outcome
from tools.spec import Record

MOST_CHARACTERS = 24_000
"""Of one result. A model can ask narrower; a transcript row must not crowd out the conversation."""


_DONE = '{"status": "done"}'


@dataclass(frozen=True, slots=True)
class Told:
    """One result as the model reads it. `status`: ``done``, ``held``, ``blocked``, ``failed`` or ``in_doubt``."""

    content: str
    status: str
    is_error: bool = False
    exposure: str | None = None
    held_id: str | None = None
    records: tuple[Record, ...] = ()
    """What it was read from."""


def tell(outcome: Outcome, tool: str, spot: Spotlight, read: Guard = unguarded, *, record: str = "") -> Told:
    """`outcome` of a call of `tool`, in words that claim no more than is known. `read` judges what a tool returned.

    `record`: which one was asked for, e.g. ``order 1042``, so that an approver can look at what the agent has read.
    """
    match outcome:
        case Executed(result=result):
            judged = read(_json({"sentence": result.sentence, "result": result.content}))
            steered = any(not rule.startswith("pii.") for rule in judged.findings)
            if not result.untrusted and not steered:
                return Told(f"{_DONE}\n{plain(_cut(judged.text))}", "done", records=result.records)
            source = f"{tool} {record}".strip()
            exposure = f"{source} (looks written to steer an AI agent)" if steered else source
            text = f"{_DONE}\n{spot.mark(_cut(judged.text), tool)}"
            return Told(text, "done", exposure=exposure, records=result.records)
        case Held(view=view):
            return Told(_json(_held(view)), "held", held_id=view.held_id)
        case Blocked(reason=reason, sentence=sentence):
            note = {"status": "blocked", "reason": reason.value, "sentence": sentence, "note": "Nothing was done."}
            return Told(plain(_json(note)), "blocked", is_error=True)
        case Failed(sentence=sentence, in_doubt=in_doubt):
            status = "in_doubt" if in_doubt else "failed"
            note = {"status": status, "sentence": sentence}
            if in_doubt:
                note["note"] = "Nobody knows whether it happened. A person looks into it. Do not try it again."
            return Told(plain(_json(note)), status, is_error=True)
        case _:
            assert_never(outcome)


def record_of(arguments: Mapping[str, Json]) -> str:
    """Which record a call reads, if it names one by its number: never free text, which may hold anything."""
    kind, key = arguments.get("kind"), arguments.get("key")
    if not isinstance(kind, str) or not isinstance(key, str) or not re.fullmatch(r"C-[0-9]{1,10}|[0-9]{1,10}", key):
        return ""
    return f"{'customer' if key.startswith('C-') else 'order'} {key}"


def not_run(why: str) -> Told:
    """The result of a call that was never handed to the door."""
    return Told(_json({"status": "not_run", "note": why}), "not_run", is_error=True)


def event_for(view: HeldView, spot: Spotlight) -> EventHappened:
    """What became of a held call, for the model. People's reasons are marked: they inform, they do not instruct."""
    lines = [f"{_word(view)}: {_line(view.headline)} (request {view.held_id}). {_state(view)}"]
    if _was_done(view) and view.result:
        lines.append(_line(view.result))
    elif view.reason:
        lines.append(spot.mark(view.reason, _author(view)))
    return EventHappened("\n".join(lines))


def sentence_for(view: HeldView) -> str:
    """The same for people, where no model answers: plain sentences."""
    parts = [f"{_line(view.headline)}: {_state(view)}"]
    if _was_done(view) and view.result:
        parts.append(_line(view.result))
    elif view.reason:
        parts.append(f"{_author(view)}: {_line(view.reason)}")
    return " ".join(parts)


def _held(view: HeldView) -> dict[str, Json]:
    told: dict[str, Json] = {
        "status": "held",
        "request": view.held_id,
        "waiting_for": f"{view.needed} of: {', '.join(view.approver_roles)}"
        if view.needed > 1
        else " or ".join(view.approver_roles),
        "expires_at": view.expires_at.strftime("%Y-%m-%d %H:%M UTC"),
        "note": "Nothing has happened yet. It happens only after these people approve it; you will be told.",
    }
    if view.waits_for:
        told["after"] = "It also waits for the request it depends on, and is dropped if that one does not happen."
    if view.stopped is not None:
        told["stopped"] = "Countersign is stopped at the moment; approvals do not count until it is resumed."
    return told


def _was_done(view: HeldView) -> bool:
    return view.status is ApprovalStatus.APPROVED and view.effect is EffectState.DONE


def _word(view: HeldView) -> str:
    """One word for where the call stands, of a closed set."""
    if view.status is not ApprovalStatus.APPROVED:
        return view.status.value
    words = {EffectState.DONE: "executed", EffectState.FAILED: "failed", EffectState.IN_DOUBT: "in doubt"}
    return words.get(view.effect, "approved, not executed yet")


def _author(view: HeldView) -> str:
    return f"Reason given by {_line(view.settled_by)}" if view.settled_by else "Reason"


def _state(view: HeldView) -> str:
    by = f" by {_line(view.settled_by)}" if view.settled_by else ""
    names = " and ".join(_line(vote.name) for vote in view.votes)
    match view.status:
        case ApprovalStatus.APPROVED:
            return _effect(view, f"Approved by {names}" if names else f"Approved{by}")
        case ApprovalStatus.REJECTED:
            return f"Rejected{by}. Nothing was done."
        case ApprovalStatus.EXPIRED:
            return "Expired: nobody decided in time. Nothing was done; the requester can ask again."
        case ApprovalStatus.VOIDED:
            return "Cancelled. Nothing was done."
        case ApprovalStatus.WITHDRAWN:
            return f"Withdrawn{by}. Nothing was done."
        case ApprovalStatus.PENDING:
            return "Still waiting for approval. Nothing has happened yet."
        case _:
            assert_never(view.status)


def _effect(view: HeldView, approved: str) -> str:
    match view.effect:
        case EffectState.DONE:
            return f"{approved}, and executed."
        case EffectState.FAILED:
            return f"{approved}, but it failed."
        case EffectState.IN_DOUBT:
            return f"{approved}, but nobody knows whether it happened. A person looks into it; it is not tried again."
        case EffectState.NONE | EffectState.WAITING | EffectState.QUEUED | EffectState.STARTED:
            return f"{approved}. It has not been executed yet."
        case _:
            assert_never(view.effect)


def _line(text: str) -> str:
    """Names and headlines hold words of customers: one line, no marks."""
    return " ".join(plain(text).split())[:300]


def _json(value: Json) -> str:
    return json.dumps(value, ensure_ascii=False)


def _cut(text: str) -> str:
    if len(text) <= MOST_CHARACTERS:
        return text
    left_out = len(text) - MOST_CHARACTERS
    return f"{text[:MOST_CHARACTERS]}\n… cut here, {left_out} characters left out. Ask for less at a time."
