"""Cards as Block Kit: within Slack's limits, nothing cut, nothing interpreted."""

from __future__ import annotations

import dataclasses
import random
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.cards import Button, Card, Item, Quote, Tone
from bot.ports import Ask
from bot.slack.blocks import button_value, draft_text, draw, read_value
from bot.slack.spoken import spoken
from bot.visible import visible
from policy.approval import Verb
from tests.rigs.slack_house import a_card
from tests.unit_slack.block_kit import accept, everything, preformatted, shown, walk
from tools.spec import Draft, Fact

LONG = "".join(random.Random(7).choice(string.ascii_letters + "    \n<>&*_`") for _ in range(30_000))


def one(card: Card) -> Item:
    return card.items[0]


def test_a_card_says_everything_an_approver_needs() -> None:
    drawing = draw(a_card(), ["U03ANN"])
    (sheet,) = drawing.sheets
    accept(sheet)
    text = shown(sheet)
    for words in (
        "Approval needed: refund",
        "Dana Reyes",
        "Open the thread",
        "Refund 42.00 USD for order 1042 to Ada Lindqvist",
        "Waiting for 1 person: Finance",
        "84.00 USD",
        "Dana Reyes asked",
        "Refund order 1042, the parcel *never* came <!channel>",
        "ada@example.com",
        "Your refund",
        "Dear Ada,\nyour refund is on its way.",
    ):
        assert words in text, words
    assert drawing.pages == ()
    users = [node["user_id"] for node in walk(list(sheet.blocks)) if node.get("type") == "user"]
    assert users == ["U03ANN"]


def test_buttons_carry_what_was_shown() -> None:
    buttons = [node for node in walk(list(draw(a_card()).sheets[0].blocks)) if node.get("type") == "button"]
    assert [button["action_id"] for button in buttons] == [
        "cs.press.approve",
        "cs.modal.reject",
        "cs.modal.ask",
        "cs.press.withdraw",
    ]
    assert {button["value"] for button in buttons} == {f"held1:1:{'d' * 64}"}
    assert [button.get("style") for button in buttons] == ["primary", "danger", None, None]
    assert not any("confirm" in button for button in buttons)


def test_a_settled_card_has_no_button() -> None:
    assert not [
        node for node in walk(list(draw(a_card(tone=Tone.DONE)).sheets[0].blocks)) if node.get("type") == "actions"
    ]


def test_times_are_shown_in_the_readers_zone() -> None:
    (date,) = [node for node in walk(list(draw(a_card()).sheets[0].blocks)) if node.get("type") == "date"]
    assert date["timestamp"] == 1795442520
    assert date["fallback"] == "2026-11-23 14:02 UTC"


def test_a_draft_of_30_000_characters_is_readable_to_its_last() -> None:
    drawing = draw(a_card(body=LONG))
    for sheet in (*drawing.sheets, *drawing.pages):
        accept(sheet)
    whole = draft_text(Draft("ada@example.com", "Your refund", LONG))
    assert preformatted(drawing) == whole
    assert len(drawing.pages) == 4
    assert f"Draft: {len(whole):,} characters in 4 part(s)" in shown(drawing.sheets[0])
    assert "Draft, part 2 of 4" in shown(drawing.pages[1])
    assert "version 1" in shown(drawing.pages[1])


def test_buttons_wait_for_the_pages() -> None:
    before = draw(a_card(body=LONG), buttons=False)
    assert not [node for node in walk(list(before.sheets[0].blocks)) if node.get("type") == "button"]
    assert "The buttons follow" in shown(before.sheets[0])


def test_a_card_has_as_many_sheets_settled_as_waiting() -> None:
    waiting, settled = draw(a_card(items=11)), draw(a_card(items=11, tone=Tone.DONE))
    assert len(waiting.sheets) == len(settled.sheets) == 3
    for sheet in (*waiting.sheets, *settled.sheets):
        accept(sheet)
    values = {str(n["value"]).split(":")[0] for s in waiting.sheets for n in walk(list(s.blocks)) if "value" in n}
    assert values == {f"held{number}" for number in range(1, 12)}


@pytest.mark.parametrize("hidden", ["\u202e", "\u200b", "\x1b", "\ufeff", "\U000e0041", "\u2066"])
def test_what_cannot_be_seen_is_spelt_out(hidden: str) -> None:
    drawing = draw(a_card(body=f"pay 1{hidden}000"))
    assert f"pay 1⟨U+{ord(hidden):04X}⟩000" in shown(drawing.sheets[0])


def test_words_of_people_are_never_markup() -> None:
    attack = "<!channel> <@U1> <https://evil.example|bank> *Approved by Ann* `x` :white_check_mark:"
    item = one(a_card())
    hostile = dataclasses.replace(
        item,
        headline=attack,
        status=attack,
        facts=(Fact("Customer", attack),),
        quotes=(Quote("A customer wrote", attack, untrusted=True),),
        draft=Draft(attack, attack, attack),
        notes=(attack,),
    )
    (sheet,) = draw(
        dataclasses.replace(a_card(), items=(hostile,), summary=attack, requester=attack, title=attack)
    ).sheets
    accept(sheet)
    for node in walk(list(sheet.blocks)):
        if node.get("type") == "mrkdwn":
            assert "<" not in str(node["text"])
            assert "Approved" not in str(node["text"])
    assert "<!channel>" not in sheet.text
    assert "A customer wrote (not checked)" in shown(sheet)


class Writer:
    """Cards of every shape, the same for the same seed; lengths lie around the limits."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def words(self, most: int = 40_000) -> str:
        size = min(most, self.random.choice([0, 1, 20, 399, 401, 2_899, 2_901, 8_701, 30_000]))
        return "".join(self.random.choices("ab <>&*_`\n\u202eé🙂", k=size))

    def some(self, most: int) -> range:
        return range(self.random.randint(0, most))

    def item(self, number: int) -> Item:
        buttons = (Button(Verb.APPROVE, "Approve"), Button(Verb.REJECT, "Reject", "Why?"))
        draft = Draft(self.words(60), self.words(), self.words(), tuple(self.words(20) for _ in self.some(3)))
        return Item(
            held_id=f"held{number}",
            revision=number,
            digest="e" * 64,
            tone=self.random.choice(list(Tone)),
            headline=self.words(),
            status=self.words(),
            facts=tuple(Fact(self.words(), self.words(), self.random.random() < 0.5) for _ in self.some(14)),
            quotes=tuple(Quote(self.words(60), self.words(), self.random.random() < 0.5) for _ in self.some(5)),
            draft=self.random.choice([None, draft]),
            notes=tuple(self.words() for _ in self.some(3)),
            buttons=self.random.choice([(), buttons]),
        )

    def card(self) -> Card:
        items = tuple(self.item(number) for number in self.some(6))
        link = self.random.choice([None, "https://acme.slack.com/archives/C1/p1"])
        return Card("c", self.words(300), self.words(300), link, (), items, self.random.choice(["A summary.", "\x08"]))


@pytest.mark.parametrize("seed", range(40))
def test_slack_takes_every_card_and_nothing_is_lost(seed: int) -> None:
    card = Writer(seed).card()
    drawing = draw(card)
    for sheet in (*drawing.sheets, *drawing.pages):
        accept(sheet)
    # Texts go on from page to page; between them stand only the pages' own headings.
    seen = everything(drawing)
    whole = preformatted(drawing)
    for item in card.items:
        texts = [quote.text for quote in item.quotes] + [fact.value for fact in item.facts] + list(item.notes)
        texts += [item.headline, item.status]
        if item.draft is not None:
            texts += [item.draft.to, item.draft.subject, item.draft.body, *item.draft.attachments]
        for text in texts:
            assert visible(text) in seen or visible(text) in whole


_HELD_ID = st.text(min_size=1).filter(lambda text: "\n" not in text)


@given(
    _HELD_ID,
    st.integers(0, 999),
    st.text("0123456789abcdef", max_size=64),
)
def test_a_buttons_value_is_read_back(held_id: str, revision: int, digest: str) -> None:
    assert read_value(button_value(held_id, revision, digest)) == (held_id, revision, digest)


@given(st.text())
def test_any_value_is_read(value: str) -> None:
    held_id, revision, digest = read_value(value)
    assert revision >= 0
    assert isinstance(held_id + digest, str)


def test_an_answer_with_buttons_and_a_long_one() -> None:
    (sheet,) = spoken(
        "It **expired**.", (Ask("Ask again", "ask_again", "h1"), Ask("Withdraw", "withdraw", "h2", 3, "ff"))
    )
    assert sheet.text == "It *expired*."
    buttons = [node for node in walk(list(sheet.blocks)) if node.get("type") == "button"]
    assert [(b["action_id"], b["value"]) for b in buttons] == [("cs.ask_again", "h1"), ("cs.press.withdraw", "h2:3:ff")]
    pieces = spoken("word " * 3_000)
    assert all(len(piece.text) <= 3_500 for piece in pieces)
    assert "".join(piece.text for piece in pieces).split() == ["word"] * 3_000
