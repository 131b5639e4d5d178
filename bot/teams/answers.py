"""An answer as Teams messages: its Markdown, the label and the sources of a model's words, the buttons below. Pure.

See https://learn.microsoft.com/microsoftteams/platform/bots/how-to/bot-messages-ai-generated-content.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from bot.ports import Answer, Ask, Source
from bot.teams import action
from bot.teams.elements import Element, Sheet, actions, adaptive_card, execute, opens, safe_address
from bot.teams.markdown import escape, messages
from bot.teams.plain import weight
from bot.visible import visible
from policy.approval import Verb
from policy.model import Json

MAX_WEIGHT: Final = 24_000
"""Of one message's text, in bytes; Teams refuses a message above 28 kB in some places."""
_SOURCES = 20
_CITED = 16_000
_TITLE = 80
_DETAIL = 160
"""Teams' own limits for what a citation shows."""


@dataclass(frozen=True, slots=True)
class Said:
    """One message of text."""

    text: str
    """Markdown as Teams reads it."""
    entities: tuple[Element, ...] = ()
    rated: bool = False
    """Whether Teams shows thumbs below it."""
    buttons: Sheet | None = None

    def activity(self) -> dict[str, Json]:
        """The message, but for where it goes and who says it."""
        drawn: dict[str, Json] = {"type": "message", "textFormat": "markdown", "text": self.text}
        if self.entities:
            drawn["entities"] = list(self.entities)
        if self.rated:
            drawn["channelData"] = {"feedbackLoop": {"type": "default"}}
        if self.buttons is not None:
            drawn["attachments"] = [self.buttons.attachment()]
        return drawn


def draw_answer(markdown: str, asks: Sequence[Ask] = (), answer: Answer | None = None) -> tuple[Said, ...]:
    """A plain message, in as many messages as it takes; buttons, sources and thumbs stand with the last."""
    cited = () if answer is None else _citable(answer.sources)
    named = _named(cited, 0 if answer is None else len(answer.sources))
    texts = list(messages(markdown, MAX_WEIGHT - weight(named)))
    if named:
        texts[-1] = f"{texts[-1]}\n\n{named}"
    said = [Said(text, () if answer is None else (_made_by_ai(()),)) for text in texts]
    label = () if answer is None else (_made_by_ai(cited),)
    said[-1] = Said(texts[-1], label, answer is not None, _buttons(asks))
    return tuple(said)


def _citable(sources: Sequence[Source]) -> tuple[Source, ...]:
    """As many as Teams shows and a message holds."""
    cited = sources[:_SOURCES]
    while cited and weight([_citation(1, source) for source in cited]) > _CITED:
        cited = cited[:-1]
    return tuple(cited)


def _named(cited: Sequence[Source], of: int) -> str:
    """The numbers that Teams turns into citations, with names for clients that do not."""
    if not cited:
        return ""
    names = ", ".join(f"{escape(_short(source.title, _TITLE))} [{n}]" for n, source in enumerate(cited, start=1))
    return f"Sources: {names}" + (f" and {of - len(cited)} more" if of > len(cited) else "")


def _made_by_ai(cited: Sequence[Source]) -> Element:
    label: dict[str, Json] = {
        "type": "https://schema.org/Message",
        "@type": "Message",
        "@context": "https://schema.org",
        "@id": "",
        "additionalType": ["AIGeneratedContent"],
    }
    if cited:
        label["citation"] = [_citation(number, source) for number, source in enumerate(cited, start=1)]
    return label


def _citation(position: int, source: Source) -> Json:
    name = _short(source.title, _TITLE)
    shown: Json = {"@type": "DigitalDocument", "name": name, "abstract": _short(source.detail, _DETAIL) or name}
    return {"@type": "Claim", "position": position, "appearance": shown}


def _short(text: str, most: int) -> str:
    line = " ".join(visible(text).split()) or "?"
    return line if len(line) <= most else line[: most - 1] + "…"


def _buttons(asks: Sequence[Ask]) -> Sheet | None:
    drawn = [button for button in map(_ask, asks) if button is not None]
    if not drawn:
        return None
    said = ", ".join(ask.label for ask in asks)
    return Sheet(adaptive_card([actions(drawn)], said, wide=False), said)


def _ask(ask: Ask) -> Json:
    title = ask.label[:75]
    match ask.action:
        case "open":
            address = safe_address(ask.held_id)
            return None if address is None else opens(title, address)
        case "ask_again":
            return execute(title, action.ASK_AGAIN, action.action_data(action.ASK_AGAIN, ask.held_id))
        case "link_yes" | "link_no" as act:
            return execute(title, act, action.action_data(act, ask.held_id))
        case _:
            data = action.action_data(
                action.WITHDRAW, ask.held_id, revision=ask.revision, digest=ask.digest, verb=Verb.WITHDRAW
            )
            return execute(title, action.WITHDRAW, data)
