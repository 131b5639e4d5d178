"""A card as Teams messages: Adaptive Cards 1.5 out of `bot.cards`. Pure; knows no API call and decides nothing.

Words of people, models and records are drawn where Teams interprets no markup. What does not fit a message goes whole
into the messages below it: an approver signs what they see.
Teams takes messages of about 100 kB, in UTF-16, and advises 80: https://learn.microsoft.com/microsoftteams/platform/
bots/how-to/format-your-bot-messages. It refuses larger ones whole (413, ``MessageSizeTooBig``).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from bot.cards import Button, Card, Item, Quote, Tone
from bot.teams import action, words
from bot.teams.elements import (
    MOST_REFRESHED,
    Element,
    Sheet,
    actions,
    adaptive_card,
    columns,
    container,
    execute,
    link,
    rich,
    run,
    safe_address,
)
from bot.teams.plain import one_line, pieces, start, unshown, weight
from policy.approval import Verb
from policy.model import Json
from tools.spec import Draft, Fact

MAX_WEIGHT: Final = 72_000
"""Of one message as it is drawn here; what Teams advises leaves room for where it goes and who says it."""
ITEMS_PER_SHEET: Final = 4
_PAGE = 40_000
_ENVELOPE = 2_000
_HEAD = 1_200
_NAME = 600
_TOOLTIP = 240
_FACTS = 10
_FACT = 2_400
_QUOTES = 3
_MENTIONS = 20

_LOOKS: Final = {
    Tone.WAITING: ("⏳", "accent"),
    Tone.DONE: ("✅", "good"),
    Tone.REFUSED: ("🚫", "emphasis"),
    Tone.TROUBLE: ("⚠️", "warning"),
    Tone.STOPPED: ("🛑", "attention"),
}
"""The icon of a state, and the style of the box its words stand in."""
_STYLES: Final = {Verb.APPROVE: "positive", Verb.REJECT: "destructive"}


@dataclass(frozen=True, slots=True)
class Mention:
    """Somebody to notify: their id in Teams (``29:…`` or the aadObjectId) and the name it is shown with."""

    id: str
    name: str


@dataclass(frozen=True, slots=True)
class Drawing:
    """A card: its sheets hold the buttons, its pages follow below in order."""

    sheets: tuple[Sheet, ...]
    pages: tuple[Sheet, ...]

    def sheet_of(self, held_id: str) -> Sheet | None:
        """The sheet on which a request stands: what answers a press on it."""
        return next((sheet for sheet in self.sheets if held_id in sheet.held), None)


@dataclass(frozen=True, slots=True)
class _Passage:
    """Text that is too long for the card."""

    label: str
    length: int
    texts: tuple[str, ...]
    """As shown, a page each."""


def draw(
    card: Card, mentions: Sequence[Mention] = (), refresh_for: Sequence[str] = (), *, buttons: bool = True
) -> Drawing:
    """`card` as messages. `refresh_for`: Teams ids of those whose own view Teams asks for by itself.

    `buttons` False: while the pages are not posted yet. A card of N items has the same number of sheets in every
    state, so each can be updated in place.
    """
    groups = [card.items[i : i + ITEMS_PER_SHEET] for i in range(0, len(card.items), ITEMS_PER_SHEET)] or [()]
    summary = unshown(start(one_line(card.summary), _HEAD, " …")).strip() or "Approval"
    sheets: list[Sheet] = []
    pages: list[Sheet] = []
    for number, group in enumerate(groups):
        body, entities = _head(card, mentions) if number == 0 else (_continued(card, number, len(groups)), [])
        refresh = _refresh(group, refresh_for) if buttons else None
        budget = MAX_WEIGHT - _ENVELOPE - weight([*body, *entities, refresh]) - 3 * weight(summary)
        for position, item in enumerate(group):
            index = number * ITEMS_PER_SHEET + position
            drawn, passages = _item(item, index, budget // max(1, len(group)), buttons)
            body.append(drawn)
            pages += [page for passage in passages for page in _pages(item, passage)]
        held = tuple(item.held_id for item in group)
        sheets.append(Sheet(adaptive_card(body, summary, entities=entities, refresh=refresh), summary, held))
    return Drawing(tuple(sheets), tuple(pages))


# --- parts of a card ---------------------------------------------------------------------------------


def _head(card: Card, mentions: Sequence[Mention]) -> tuple[list[Json], list[Json]]:
    """What stands above the items, and whom Teams notifies of it."""
    title = rich(run(start(one_line(card.title), _NAME, " …"), bold=True, large=True, drawn=True))
    requester = start(one_line(card.requester), _NAME, " …")
    line: list[Json] = [run("Asked by "), run(requester, bold=True, drawn=True)]
    address = safe_address(card.thread_link)
    if address is not None:
        line += [run("  ·  "), link("Open the thread", address)]
    body: list[Json] = [title, rich(*line, spacing="Small")]
    names, entities = _mentions(mentions[:_MENTIONS])
    if names:
        # The one TextBlock: Teams finds mentions nowhere else. Its names are letters alone.
        body.append({"type": "TextBlock", "text": "For " + ", ".join(names), "wrap": True, "spacing": "Small"})
    return body, entities


def _mentions(mentions: Sequence[Mention]) -> tuple[list[str], list[Json]]:
    """Each name once, so that Teams cannot take one for the other."""
    names: list[str] = []
    entities: list[Json] = []
    for mention in mentions:
        name = re.sub(r"[^\w '.-]|_", "", mention.name).strip()[:60].strip() or "you"
        tag, again = f"<at>{name}</at>", 1
        while tag in names:
            again += 1
            tag = f"<at>{name} ({again})</at>"
        names.append(tag)
        entities.append({"type": "mention", "text": tag, "mentioned": {"id": mention.id, "name": tag[4:-5]}})
    return names, entities


def _continued(card: Card, number: int, of: int) -> list[Json]:
    title = start(one_line(card.title), _NAME, " …")
    return [rich(run(f"{title}, sheet {number + 1} of {of}", bold=True, drawn=True))]


def _refresh(group: Sequence[Item], people: Sequence[str]) -> Json:
    """What Teams asks by itself for `people`, and for everybody else from the message's menu; settled cards rest."""
    waiting = next((item for item in group if item.buttons), None)
    if waiting is None:
        return None
    asks: dict[str, Json] = {
        "type": "Action.Execute",
        "title": words.REFRESH_TITLE,
        "verb": action.REFRESH,
        "data": action.action_data(action.REFRESH, waiting.held_id),
    }
    return {"action": asks, "userIds": list(dict.fromkeys(people))[:MOST_REFRESHED]}


def _item(item: Item, index: int, budget: int, buttons: bool) -> tuple[Element, list[_Passage]]:
    """One item and what has to go below the card."""
    foot = _foot(item, index, buttons)
    writer = _Writer(budget - weight(foot) - 900)
    writer.head(item)
    writer.facts(item.facts)
    writer.notes(item.notes)
    if item.draft:
        writer.draft(item.draft)
    for position, quote in enumerate(item.quotes):
        writer.quote(quote, drawable=position < _QUOTES)
    if writer.paged:
        writer.elements.append(rich(run(_where(writer.paged), bold=True)))
    return container([*writer.elements, *foot], separator=True, spacing="Large"), writer.paged


def _foot(item: Item, index: int, buttons: bool) -> list[Json]:
    if not item.buttons:
        return []
    if not buttons:
        return [rich(run(words.FOLLOW))]
    name = f"text_{index}"
    asks = any(button.asks_text is not None for button in item.buttons)
    row = actions([_button(item, button, name if asks else None) for button in item.buttons])
    return [_input(item.buttons, name), row] if asks else [row]


def _input(buttons: Sequence[Button], name: str) -> Element:
    """On the same card: what is typed here goes with the press. Never required, or Approve would want it too."""
    return {
        "type": "Input.Text",
        "id": name,
        "label": words.input_label(buttons)[:400],
        "placeholder": words.placeholder(buttons)[:100],
        "isMultiline": True,
        "isRequired": False,
        "maxLength": words.MOST,
    }


def _button(item: Item, button: Button, name: str | None) -> Json:
    withdraws = button.verb is Verb.WITHDRAW
    act = action.WITHDRAW if withdraws else action.PRESS
    data = action.action_data(
        act, item.held_id, revision=item.revision, digest=item.digest, verb=button.verb, text_in=name
    )
    label = button.label[:75]
    # Several calls on one card have the same buttons; whoever hears them read out must know which is which.
    what = f"{label}: {unshown(start(one_line(item.headline), _TOOLTIP, ' …'))}"
    style = _STYLES.get(button.verb, "")
    return execute(label, act, data, style=style, takes_inputs=name is not None, tooltip=what)


class _Writer:
    """Fills one item as far as its share of the message goes; the rest is for below."""

    def __init__(self, budget: int) -> None:
        self.elements: list[Json] = []
        self.paged: list[_Passage] = []
        self._left = budget

    def _add(self, element: Element) -> None:
        self.elements.append(element)
        self._left -= weight(element)

    def _page(self, label: str, text: str) -> None:
        self.paged.append(_Passage(one_line(label[:100]), len(text), pieces(text or "(empty)", _PAGE)))

    def _fits(self, element: Element) -> bool:
        fits = weight(element) <= self._left
        if fits:
            self._add(element)
        return fits

    def head(self, item: Item) -> None:
        parts = []
        for label, text in (("Headline", one_line(item.headline)), ("Status", item.status)):
            part = start(text, _HEAD, words.ELSEWHERE)
            if part.endswith(words.ELSEWHERE):
                self._page(label, text)
            parts.append(part)
        icon, style = _LOOKS[item.tone]
        self._add(rich(run(parts[0], bold=True, drawn=True)))
        state = rich(run(f"{icon} "), run(parts[1], drawn=True))
        self._add(container([state], style=style, spacing="Small"))

    def facts(self, facts: Sequence[Fact]) -> None:
        drawn = [_fact(fact) for fact in facts[:_FACTS]]
        short = [element for element in drawn if weight(element) <= _FACT]
        while short and sum(map(weight, short)) > self._left:
            short.pop()
        if len(short) < len(facts):
            self._page("All facts", "\n".join(f"{fact.label}: {fact.value}" for fact in facts))
        for element in short:
            self._add(element)

    def notes(self, notes: Sequence[str]) -> None:
        if notes and not self._fits(container([rich(run(note), spacing="Small") for note in notes], spacing="Medium")):
            self._page("Notes", "\n".join(notes))

    def draft(self, draft: Draft) -> None:
        if not (self._may_fit(draft.body) and self._fits(_draft(draft))):
            self._page("Draft", draft_text(draft))

    def quote(self, quote: Quote, *, drawable: bool) -> None:
        if not (drawable and self._may_fit(quote.text) and self._fits(_quote(quote))):
            self._page(_label(quote), quote.text)

    def _may_fit(self, text: str) -> bool:
        """Without drawing what is far too long anyway."""
        return 2 * len(text) <= self._left


def draft_text(draft: Draft) -> str:
    """All that an approver signs of a draft, as one text."""
    return "\n".join([*(f"{label}: {one_line(value)}" for label, value in _addressed(draft)), "", draft.body])


def _addressed(draft: Draft) -> list[tuple[str, str]]:
    attached = [("Attachment", name) for name in draft.attachments]
    return [("To", draft.to), ("Subject", draft.subject), *attached]


def _where(paged: Sequence[_Passage]) -> str:
    parts = [f"{page.label}: {page.length:,} characters in {len(page.texts)} part(s)" for page in paged]
    return f"{words.TOO_LONG} " + "; ".join(parts)


def _pages(item: Item, passage: _Passage) -> list[Sheet]:
    headline = start(one_line(item.headline), _HEAD, " …")
    sheets = []
    for number, text in enumerate(passage.texts, start=1):
        part = f"part {number} of {len(passage.texts)}"
        title = f"{passage.label}, {part} ({passage.length:,} characters in all)"
        about = rich(run(f"{headline}, version {item.revision}", drawn=True), spacing="Small")
        body = container([rich(run(text, mono=True, drawn=True))], style="emphasis")
        sheets.append(Sheet(adaptive_card([rich(run(title, bold=True)), about, body], title), title))
    return sheets


def _fact(fact: Fact) -> Element:
    """Two columns: what it is, and its value as plain text."""
    mark, color = ("⚠️ ", "Attention") if fact.warning else ("", "")
    label = rich(run(f"{mark}{one_line(fact.label) or '?'}", bold=True, color=color))
    return columns((2, label), (3, rich(run(fact.value))), spacing="Small")


def _draft(draft: Draft) -> Element:
    head: list[Json] = [
        rich(run(f"{label}: ", bold=True), run(one_line(value)), spacing="Small") for label, value in _addressed(draft)
    ]
    return container([*head, rich(run(draft.body, mono=True), spacing="Medium")], style="emphasis", spacing="Medium")


def _quote(quote: Quote) -> Element:
    label = rich(run(one_line(_label(quote)), bold=True))
    return container([label, container([rich(run(quote.text))], style="emphasis", spacing="Small")], spacing="Medium")


def _label(quote: Quote) -> str:
    return f"{quote.label} (not checked)" if quote.untrusted else quote.label
