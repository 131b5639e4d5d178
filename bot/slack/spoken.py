"""What the bot says, as Slack messages: text, its sources, buttons below it. Pure; knows no card and no API call."""

from __future__ import annotations

from collections.abc import Sequence

from bot.ports import Answer, Ask
from bot.slack.blocks import ASK_AGAIN, LINK, OPEN, PRESS, Block, Sheet, button_value
from bot.slack.mrkdwn import chunks, mrkdwn
from policy.approval import Verb
from policy.model import Json

_TEXT = 3_500
_SECTION = 2_900


def spoken(markdown: str, asks: Sequence[Ask] = (), answer: Answer | None = None) -> tuple[Sheet, ...]:
    """A plain message, in as many messages as it takes; the buttons stand below the last."""
    texts = chunks(mrkdwn(markdown) or " ", _TEXT if not asks else _SECTION)
    sheets = [Sheet((), text) for text in texts]
    if asks:
        section: Block = {"type": "section", "text": {"type": "mrkdwn", "text": texts[-1], "verbatim": True}}
        row: Block = {"type": "actions", "elements": [_ask(ask) for ask in asks]}
        sheets[-1] = Sheet((section, row), texts[-1])
    return tuple(sheets)


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
