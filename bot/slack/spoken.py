"""What the bot says, as Slack messages: text, its sources, buttons below it. Pure; knows no card and no API call."""

from __future__ import annotations

from collections.abc import Sequence

from bot.ports import Answer, Ask
from bot.slack.blocks import ASK_AGAIN, LINK, OPEN, PRESS, THUMB, Block, Sheet, button_value
from bot.slack.mrkdwn import chunks, mrkdwn
from policy.approval import Verb
from policy.model import Json

_TEXT = 3_500
_SECTION = 2_900
_CONTEXT = 1_900
GOOD, BAD = "good", "bad"


def spoken(markdown: str, asks: Sequence[Ask] = (), answer: Answer | None = None) -> tuple[Sheet, ...]:
    """A plain message, in as many messages as it takes; sources, buttons and thumbs stand below the last."""
    plain = not asks and answer is None
    texts = chunks(mrkdwn(markdown) or " ", _TEXT if plain else _SECTION)
    sheets = [Sheet((), text) for text in texts]
    if not plain:
        section: Block = {"type": "section", "text": {"type": "mrkdwn", "text": texts[-1], "verbatim": True}}
        row: Block = {"type": "actions", "elements": [_ask(ask) for ask in asks]}
        below = (*cited(answer), *((row,) if asks else ()))
        sheets[-1] = Sheet((section, *below), texts[-1], rated(answer))
    return tuple(sheets)


def cited(answer: Answer | None) -> tuple[Block, ...]:
    """A small line that says what the answer was read from; none where nothing was."""
    if answer is None or not answer.sources:
        return ()
    line: Json = {"type": "plain_text", "text": answer.cited[:_CONTEXT], "emoji": False}
    return ({"type": "context", "elements": [line]},)


def rated(answer: Answer | None) -> tuple[Block, ...]:
    """Slack's own thumbs, below what a model said and nothing else."""
    if answer is None:
        return ()
    thumbs: Json = {
        "type": "feedback_buttons",
        "action_id": THUMB,
        "positive_button": _thumb("Good answer", GOOD),
        "negative_button": _thumb("Bad answer", BAD),
    }
    return ({"type": "context_actions", "elements": [thumbs]},)


def _thumb(label: str, value: str) -> Json:
    text: Json = {"type": "plain_text", "text": label}
    return {"text": text, "value": value, "accessibility_label": label}


def _ask(ask: Ask) -> Json:
    button: dict[str, Json] = {
        "type": "button",
        "text": {"type": "plain_text", "text": ask.label or "—", "emoji": False},
    }
    match ask.action:
        case "ask_again":
            return {**button, "action_id": ASK_AGAIN, "value": ask.held_id}
        case "link_yes" | "link_no":
            return {**button, "action_id": LINK + ask.action, "value": ask.held_id}
        case "open":
            return {**button, "action_id": OPEN, "url": ask.held_id}
        case _:
            value = button_value(ask.held_id, ask.revision, ask.digest)
            return {**button, "action_id": PRESS + Verb.WITHDRAW.value, "value": value}
