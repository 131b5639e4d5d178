"""The small texts of Teams' cards, and what is wrong with what somebody typed into one. Knows no element."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from bot.cards import Button
from policy.approval import Verb

NEEDS_TEXT: Final = frozenset({Verb.REJECT, Verb.ASK})
"""What nobody does without saying why, or what; Slack asks for it in a modal."""
LEAST: Final = 3
MOST: Final = 2_000

REFRESH_TITLE: Final = "Refresh"
ELSEWHERE: Final = " … (whole in the messages below)"
FOLLOW: Final = "The buttons follow as soon as all of it is posted below."
TOO_LONG: Final = "Too long for a card, so it stands whole in the messages below. Read it before you decide."

WELCOME: Final = (
    "I look up customers and orders, draft e-mails and refunds, and do nothing that cannot be undone before the right "
    "person has approved exactly that."
)
WELCOME_PERSONAL: Final = "Just write to me, or press one of these:"
WELCOME_SHARED: Final = (
    "Mention me to ask for something. Requests that need an approval may be posted here; what I find for one person "
    "I tell that person alone."
)

PROMPTS: Final = (
    ("What can you do for me?", "What can you do for me?"),
    ("Look up an order", "Show me order 1042"),
    ("What is waiting?", "Which of my requests are waiting, and for whom?"),
    ("Commands", "help"),
)
"""A button and what it says for whom presses it; the first three as in Slack's manifest."""


def input_label(buttons: Sequence[Button]) -> str:
    """Above the one input of an item: what it is for, with the questions that its buttons ask."""
    asking = [button for button in buttons if button.asks_text is not None]
    return "\n".join(f"{button.label}: {button.asks_text}" for button in asking)


def placeholder(buttons: Sequence[Button]) -> str:
    needed = [button.label for button in buttons if button.asks_text is not None]
    return f"Needed for {' and '.join(needed)}"


def complaint(verb: Verb, text: str) -> str | None:
    """What is wrong with the text that came with a press, in words for whoever wrote it; None: nothing."""
    if verb in NEEDS_TEXT and len(text) < LEAST:
        what = "your question" if verb is Verb.ASK else "why"
        return (
            f"Nothing was decided. First write {what} into the box above the buttons, {LEAST} characters at least: "
            + (
                "a question nobody can read helps nobody."
                if verb is Verb.ASK
                else "the person who asked gets to read it."
            )
        )
    if len(text) > MOST:
        return f"Nothing was decided. Too long by {len(text) - MOST} characters: {MOST} is the most."
    return None
