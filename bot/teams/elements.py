"""The elements of Adaptive Cards that the house uses. Knows no card of ours.

Words that people, models and records wrote stand in TextRuns, in which Teams reads no Markdown.
See https://adaptivecards.io/explorer and https://learn.microsoft.com/microsoftteams/platform/task-modules-and-cards.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias
from urllib.parse import urlsplit

from bot.teams.plain import shown
from policy.model import Json

Element: TypeAlias = Mapping[str, Json]

CONTENT_TYPE: Final = "application/vnd.microsoft.card.adaptive"
SCHEMA: Final = "http://adaptivecards.io/schemas/adaptive-card.json"
CARD_VERSION: Final = "1.5"
TOO_NEW: Final = "This card needs a newer Teams. Open it in Teams for the web, or say pending to me."
"""Instead of the card. Nobody's words: clients read Markdown here."""
MOST_REFRESHED: Final = 60
"""People for whom Teams draws a card anew by itself."""


@dataclass(frozen=True, slots=True)
class Sheet:
    """One message that is a card."""

    card: Element
    summary: str
    """For notifications and screen readers."""
    held: tuple[str, ...] = ()
    """The requests whose buttons stand on it."""

    def attachment(self) -> dict[str, Json]:
        return {"contentType": CONTENT_TYPE, "content": self.card}

    def activity(self) -> dict[str, Json]:
        """The message, but for where it goes and who says it."""
        return {"type": "message", "summary": self.summary, "attachments": [self.attachment()]}


def adaptive_card(
    body: Sequence[Json],
    speak: str,
    *,
    entities: Sequence[Json] = (),
    refresh: Json = None,
    wide: bool = True,
) -> Element:
    """`wide`: as wide as the chat, for what is to be read; a row of buttons needs no more than it takes."""
    whole: dict[str, Json] = {
        "type": "AdaptiveCard",
        "$schema": SCHEMA,
        "version": CARD_VERSION,
        "speak": re.sub(r"[<>&]", " ", speak),  # it may be SSML
        "fallbackText": TOO_NEW,
        "body": list(body),
    }
    teams: dict[str, Json] = {"width": "Full"} if wide else {}
    if entities:
        teams["entities"] = list(entities)
    if teams:
        whole["msteams"] = teams
    if refresh is not None:
        whole["refresh"] = refresh
    return whole


def run(
    text: str, *, bold: bool = False, mono: bool = False, large: bool = False, color: str = "", drawn: bool = False
) -> Json:
    """Words as they are. `drawn`: `text` comes from `bot.teams.plain` already."""
    element: dict[str, Json] = {"type": "TextRun", "text": (text if drawn else shown(text)) if text else "—"}
    if bold:
        element["weight"] = "Bolder"
    if mono:
        element["fontType"] = "Monospace"
    if large:
        element["size"] = "Large"
    if color:
        element["color"] = color
    return element


def link(label: str, address: str) -> Json:
    """Words that open an address."""
    opens: dict[str, Json] = {"type": "Action.OpenUrl", "url": address, "title": label}
    return {"type": "TextRun", "text": label, "color": "Accent", "underline": True, "selectAction": opens}


def rich(*runs: Json, spacing: str = "") -> Element:
    element: dict[str, Json] = {"type": "RichTextBlock", "inlines": list(runs)}
    return {**element, "spacing": spacing} if spacing else element


def container(items: Sequence[Json], *, style: str = "", separator: bool = False, spacing: str = "") -> Element:
    element: dict[str, Json] = {"type": "Container", "items": list(items)}
    if style:
        element["style"] = style
    if separator:
        element["separator"] = True
    if spacing:
        element["spacing"] = spacing
    return element


def columns(*pairs: tuple[int, Element], spacing: str = "") -> Element:
    """Side by side, `width` being each one's share."""
    drawn: list[Json] = [{"type": "Column", "width": width, "items": [item]} for width, item in pairs]
    element: dict[str, Json] = {"type": "ColumnSet", "columns": drawn}
    return {**element, "spacing": spacing} if spacing else element


def execute(
    title: str, verb: str, data: Json, *, style: str = "", takes_inputs: bool = True, tooltip: str = ""
) -> Json:
    """A button that asks the bot at once; a client that does not know these sends a message instead."""
    inputs = "auto" if takes_inputs else "none"
    action: dict[str, Json] = {"type": "Action.Execute", "title": title, "verb": verb, "data": data}
    instead: dict[str, Json] = {"type": "Action.Submit", "title": title, "data": data}
    for drawn in (action, instead):
        drawn["associatedInputs"] = inputs
        if style:
            drawn["style"] = style
        if tooltip:
            drawn["tooltip"] = tooltip
    return {**action, "fallback": instead}


def says(title: str, words: str) -> Json:
    """A button that writes `words` in its presser's name."""
    spoken: Json = {"msteams": {"type": "imBack", "value": words}}
    return {"type": "Action.Submit", "title": title, "data": spoken, "associatedInputs": "none"}


def opens(title: str, address: str) -> Json:
    return {"type": "Action.OpenUrl", "title": title, "url": address}


def actions(buttons: Sequence[Json]) -> Element:
    return {"type": "ActionSet", "actions": list(buttons)}


def safe_address(address: str | None) -> str | None:
    """`address` if a browser may be sent there."""
    if not address or re.search(r"[\s\x00-\x1f\x7f]", address) or len(address) > 2_000:
        return None
    try:
        parts = urlsplit(address)
    except ValueError:
        return None
    return address if parts.scheme.lower() in ("http", "https") and parts.netloc else None
