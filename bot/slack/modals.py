"""The modal that asks for a reason or a question before a press counts. Pure.

``private_metadata`` says where to answer and which request was meant; it is routing and never authority: the door
looks everything up and resolves who submitted.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from bot.payload import Body, at, text_at
from policy.approval import Verb
from policy.model import Json

CALLBACK = "cs.press"
_BLOCK = "text"
_INPUT = "value"
_MIN = 3
_MAX = 2_000

_WORDS = {
    Verb.APPROVE: ("Approve", "A note for the record"),
    Verb.REJECT: ("Reject", "Why? The person who asked reads this."),
    Verb.WITHDRAW: ("Withdraw", "Why? The approvers read this."),
    Verb.ASK: ("Ask", "Your question to the person who asked. Nothing is decided by it."),
}


@dataclass(frozen=True, slots=True)
class Routing:
    """Which button opened the modal."""

    value: str
    """Of the button: see `bot.slack.blocks.read_value`."""
    verb: Verb
    channel: str
    message: str


def modal(routing: Routing) -> Json:
    title, label = _WORDS[routing.verb]
    return {
        "type": "modal",
        "callback_id": CALLBACK,
        "private_metadata": json.dumps([routing.value, routing.verb.value, routing.channel, routing.message]),
        "title": _plain(title),
        "submit": _plain(title),
        "close": _plain("Cancel"),
        "blocks": [
            {
                "type": "input",
                "block_id": _BLOCK,
                "label": _plain(label),
                "element": {
                    "type": "plain_text_input",
                    "action_id": _INPUT,
                    "multiline": True,
                    "focus_on_load": True,
                    "max_length": _MAX,
                },
            }
        ],
    }


def routing_of(body: Body) -> Routing | None:
    """What `modal` wrote; None where it is something else."""
    try:
        value, verb, channel, message = json.loads(text_at(body, "view", "private_metadata"))
        return Routing(str(value), Verb(verb), str(channel), str(message))
    except (ValueError, TypeError):
        return None


def text_of(body: Body) -> str:
    return text_at(at(body, "view", "state", "values", _BLOCK, _INPUT), "value").strip()


def complaint(verb: Verb, text: str) -> str | None:
    """What is wrong with the text, in words for whoever wrote it."""
    if len(text) < _MIN:
        return f"Write at least {_MIN} characters: " + (
            "a question nobody can read helps nobody." if verb is Verb.ASK else "the person who asked gets to read it."
        )
    return None if len(text) <= _MAX else f"Too long by {len(text) - _MAX} characters: {_MAX} is the most."


def errors(sentence: str) -> dict[str, str]:
    """For ``response_action: errors``."""
    return {_BLOCK: sentence}


def _plain(text: str) -> Json:
    return {"type": "plain_text", "text": text, "emoji": False}
