"""A card as Slack messages: Block Kit out of `bot.cards`. Pure; knows no API call and decides nothing.

Words of people, models and records are drawn in elements in which Slack interprets no markup (``rich_text``,
``plain_text``). What does not fit a message goes whole into the thread below it: an approver signs what they see.
Limits: https://docs.slack.dev/reference/block-kit/blocks and ``msg_blocks_too_long`` at about 13,000 characters.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TypeAlias

from bot.cards import Button, Card, Item, Quote, Tone
from bot.slack.mrkdwn import chunks, escape
from bot.visible import visible
from policy.approval import Verb
from policy.model import Json
from tools.spec import Draft, Fact

Block: TypeAlias = Mapping[str, Json]

MAX_BLOCKS = 50
MAX_CHARS = 12_000
"""Of all text in one message; Slack refuses somewhat above 13,000."""
ITEMS_PER_SHEET = 4
_ELEMENT = 2_900
_PAGE = 3 * _ELEMENT
_FACTS = 10
_HEAD = 400
_QUOTES = 3

PRESS = "cs.press."
"""Action ids: this and a verb presses at once; `ASKS` and a verb opens a modal first."""
ASKS = "cs.modal."
ASK_AGAIN = "cs.ask_again"
LINK = "cs.link."
"""Begins the two answers to a link that waits for the account's own word."""
THUMB = "cs.thumb"
"""The thumbs below an answer; the value says which."""
OPEN = "cs.open"
"""A button that opens an address; Slack reports it, and nothing follows."""

_ICONS = {
    Tone.WAITING: "hourglass_flowing_sand",
    Tone.DONE: "white_check_mark",
    Tone.REFUSED: "no_entry_sign",
    Tone.TROUBLE: "warning",
    Tone.STOPPED: "octagonal_sign",
}


@dataclass(frozen=True, slots=True)
class Sheet:
    """One message."""

    blocks: tuple[Block, ...]
    text: str
    """For notifications and screen readers."""
    extra: tuple[Block, ...] = ()
    """Below `blocks`; a workspace that does not know such blocks gets the message without them."""


@dataclass(frozen=True, slots=True)
class Drawing:
    """A card: its sheets hold the buttons, its pages follow in the thread in order."""

    sheets: tuple[Sheet, ...]
    pages: tuple[Sheet, ...]


@dataclass(frozen=True, slots=True)
class _Passage:
    """Text that may be too long for the card."""

    label: str
    text: str


def draw(card: Card, mentioned: Sequence[str] = (), *, buttons: bool = True) -> Drawing:
    """`card` as messages. `mentioned`: Slack user ids. `buttons` False: while the pages are not posted yet.

    A card of N items has the same number of sheets in every state, so each can be updated in place.
    """
    groups = [card.items[i : i + ITEMS_PER_SHEET] for i in range(0, len(card.items), ITEMS_PER_SHEET)] or [()]
    sheets: list[Sheet] = []
    pages: list[Sheet] = []
    for number, group in enumerate(groups):
        blocks: list[Block] = [*_head(card, mentioned)] if number == 0 else [_continued(card, number, len(groups))]
        budget = (MAX_CHARS - 1_500) // max(1, len(group))
        for item in group:
            drawn, passages = _item(item, budget, buttons)
            blocks += [{"type": "divider"}, *drawn]
            pages += [page for passage in passages for page in _pages(item, passage)]
        sheets.append(Sheet(tuple(blocks), escape(card.summary) or "Approval"))
    return Drawing(tuple(sheets), tuple(pages))


def button_value(held_id: str, revision: int, digest: str) -> str:
    return f"{held_id}:{revision}:{digest}"


def read_value(value: str) -> tuple[str, int, str]:
    """What `button_value` wrote; ids that name nothing where it is something else, so the door refuses and records."""
    match = re.fullmatch(r"(.+):([0-9]{1,9}):([^:]*)", value)
    return (match[1], int(match[2]), match[3]) if match else ("", 0, "")


# --- parts of a card ---------------------------------------------------------------------------------


def _head(card: Card, mentioned: Sequence[str]) -> tuple[Block, ...]:
    line: list[Json] = [_text("Asked by "), _text(card.requester[:200] or "?", bold=True)]
    if card.thread_link:
        line += [_text("  ·  "), {"type": "link", "url": card.thread_link, "text": "Open the thread"}]
    if mentioned:
        line.append(_text("  ·  For "))
        for user in mentioned:
            line += [{"type": "user", "user_id": user}, _text(" ")]
    return {"type": "header", "text": _plain(card.title[:150] or "Approval")}, _rich(_section(line))


def _continued(card: Card, number: int, of: int) -> Block:
    return _rich(_section([_text(f"{card.title[:150]}, sheet {number + 1} of {of}", bold=True)]))


def _item(item: Item, budget: int, buttons: bool) -> tuple[list[Block], list[_Passage]]:
    """The blocks of one item (11 at most) and what has to go into the thread."""
    writer = _Writer(budget - 600)
    writer.head(item)
    writer.facts(item.facts)
    writer.notes(item.notes)
    if item.draft:
        writer.draft(item.draft)
    for position, quote in enumerate(item.quotes):
        writer.quote(quote, drawable=position < _QUOTES)
    if writer.paged:
        writer.blocks.append(_rich(_section([_text(_where(writer.paged), bold=True)])))
    if item.buttons and buttons:
        row: list[Json] = [_button(item, button) for button in item.buttons]
        writer.blocks.append({"type": "actions", "block_id": f"held:{item.held_id}"[:255], "elements": row})
    elif item.buttons:
        writer.blocks.append(_rich(_section([_text("The buttons follow as soon as all of it is in the thread.")])))
    return writer.blocks, writer.paged


class _Writer:
    """Fills the blocks of one item as far as its share of the message goes; the rest is for the thread."""

    def __init__(self, budget: int) -> None:
        self.blocks: list[Block] = []
        self.paged: list[_Passage] = []
        self._left = budget

    def _fits(self, cost: int, otherwise: _Passage) -> bool:
        if cost > self._left:
            self.paged.append(otherwise)
            return False
        self._left -= cost
        return True

    def head(self, item: Item) -> None:
        headline, status = visible(item.headline), visible(item.status)
        for label, text in (("Headline", headline), ("Status", status)):
            if len(text) > _HEAD:
                self.paged.append(_Passage(label, text))
        icon: Json = {"type": "emoji", "name": _ICONS[item.tone]}
        first = _section([_text(_start(headline), bold=True)])
        self.blocks.append(_rich(first, _section([icon, _text(" "), *_timed(_start(status))])))
        self._left -= min(len(headline), _HEAD) + min(len(status), _HEAD)

    def facts(self, facts: Sequence[Fact]) -> None:
        short = [fact for fact in facts if _cost(fact) <= 600][:_FACTS]
        while short and sum(map(_cost, short)) > self._left:
            short.pop()
        if len(short) < len(facts):
            self.paged.append(_Passage("All facts", "\n".join(f"{fact.label}: {fact.value}" for fact in facts)))
        self.blocks += _facts(short)
        self._left -= sum(map(_cost, short))

    def notes(self, notes: Sequence[str]) -> None:
        text = visible("\n".join(notes))
        if text and self._fits(len(text), _Passage("Notes", text)):
            self.blocks.append(_rich(_section(_timed(text))))

    def draft(self, draft: Draft) -> None:
        whole = draft_text(draft)
        if self._fits(len(visible(whole)), _Passage("Draft", whole)):
            self.blocks.append(_draft(draft))

    def quote(self, quote: Quote, *, drawable: bool) -> None:
        otherwise = _Passage(_label(quote), quote.text)
        if not drawable:
            self.paged.append(otherwise)
        elif self._fits(len(visible(quote.text)) + len(quote.label) + 60, otherwise):
            self.blocks.append(_quote(quote))


def _cost(fact: Fact) -> int:
    return len(fact.label) + len(visible(fact.value)) + 20


def draft_text(draft: Draft) -> str:
    """All that an approver signs of a draft, as one text."""
    lines = [f"To: {draft.to}", f"Subject: {draft.subject}"]
    lines += [f"Attachment: {name}" for name in draft.attachments]
    return "\n".join([*lines, "", draft.body])


def _start(text: str) -> str:
    return text if len(text) <= _HEAD else text[: _HEAD - 20] + " … (whole in the thread)"


def _where(paged: Sequence[_Passage]) -> str:
    parts = [f"{p.label}: {len(p.text):,} characters in {_page_count(p)} part(s)" for p in paged]
    return "Too long for a card, so it stands whole in this card's thread. Read it before you decide. " + "; ".join(
        parts
    )


def _pages(item: Item, passage: _Passage) -> list[Sheet]:
    texts = _cut(passage)
    headline = _start(visible(item.headline))
    sheets = []
    for number, text in enumerate(texts, start=1):
        part = f"part {number} of {len(texts)}"
        title = f"{passage.label[:150]}, {part} ({len(passage.text):,} characters in all)"
        body: Json = {"type": "rich_text_preformatted", "elements": _texts(text)}
        about = _section([_text(title, bold=True), _text(f"\n{headline}, version {item.revision}")])
        sheets.append(Sheet((_rich(about, body),), escape(title)))
    return sheets


def _cut(passage: _Passage) -> tuple[str, ...]:
    return chunks(visible(passage.text) or "(empty)", _PAGE)


def _page_count(passage: _Passage) -> int:
    return len(_cut(passage))


def _facts(facts: Sequence[Fact]) -> list[Block]:
    """Two columns: what it is, and its value as plain text."""
    blocks: list[Block] = []
    for start in range(0, len(facts), 5):
        fields: list[Json] = []
        for fact in facts[start : start + 5]:
            mark = ":warning: " if fact.warning else ""
            fields += [
                {"type": "mrkdwn", "text": f"{mark}*{escape(fact.label) or '?'}*", "verbatim": True},
                _plain(visible(fact.value)),
            ]
        blocks.append({"type": "section", "fields": fields})
    return blocks


def _draft(draft: Draft) -> Block:
    head: list[Json] = [_text("To: ", bold=True), *_texts(visible(draft.to))]
    head += [_text("\nSubject: ", bold=True), *_texts(visible(draft.subject))]
    for name in draft.attachments:
        head += [_text("\nAttachment: ", bold=True), *_texts(visible(name))]
    return _rich(_section(head), {"type": "rich_text_preformatted", "elements": _texts(visible(draft.body))})


def _quote(quote: Quote) -> Block:
    label = _section([_text(_label(quote), bold=True)])
    return _rich(label, {"type": "rich_text_quote", "elements": _texts(visible(quote.text))})


def _label(quote: Quote) -> str:
    return f"{quote.label} (not checked)" if quote.untrusted else quote.label


def _button(item: Item, button: Button) -> Json:
    drawn: dict[str, Json] = {
        "type": "button",
        "action_id": (ASKS if button.asks_text is not None else PRESS) + button.verb.value,
        "text": _plain(button.label[:75]),
        "value": button_value(item.held_id, item.revision, item.digest),
    }
    if button.verb is Verb.APPROVE:
        drawn["style"] = "primary"
    elif button.verb is Verb.REJECT:
        drawn["style"] = "danger"
    return drawn


# --- elements ----------------------------------------------------------------------------------------

_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d(?::\d\d(?:\.\d+)?)?Z")


def _timed(text: str) -> list[Json]:
    """`text`, its UTC times (ISO 8601 with Z) as dates that Slack shows in the reader's own zone."""
    elements: list[Json] = []
    position = 0
    for match in _TIME.finditer(text):
        try:
            moment = datetime.fromisoformat(match[0])
        except ValueError:
            continue
        if match.start() > position:
            elements += _texts(text[position : match.start()])
        fallback = f"{moment:%Y-%m-%d %H:%M} UTC"
        shown = "{date_short_pretty} {time}"
        elements.append({"type": "date", "timestamp": int(moment.timestamp()), "format": shown, "fallback": fallback})
        position = match.end()
    if position < len(text) or not elements:
        elements += _texts(text[position:])
    return elements


def _plain(text: str) -> Json:
    return {"type": "plain_text", "text": text or "—", "emoji": False}


def _text(text: str, *, bold: bool = False) -> Json:
    element: dict[str, Json] = {"type": "text", "text": text or "—"}
    if bold:
        element["style"] = {"bold": True}
    return element


def _texts(text: str) -> list[Json]:
    return [_text(piece) for piece in chunks(text, _ELEMENT)]


def _section(elements: Sequence[Json]) -> Json:
    return {"type": "rich_text_section", "elements": elements}


def _rich(*elements: Json) -> Block:
    return {"type": "rich_text", "elements": elements}
