"""Cards as Adaptive Cards: within Teams' limits, nothing cut, nothing interpreted."""

from __future__ import annotations

import dataclasses
import random
import string
from collections.abc import Mapping

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from bot.cards import Button, Card, Item, Quote, Tone
from bot.teams.adaptive import Mention, draft_text, draw
from bot.teams.plain import one_line
from bot.visible import visible
from policy.approval import Verb
from tests.rigs.slack_house import a_card
from tests.unit_teams.adaptive_kit import accept, elements, everything, monospaced, shown, spaceless
from tools.spec import Draft, Fact

LONG = "".join(random.Random(7).choice(string.ascii_letters + "    \n<>&*_`") for _ in range(30_000))
ATTACK = "<at>Ann</at> [bank](https://evil.example) **Approved by Ann** `x` {{DATE(2026-01-01T00:00:00Z)}} @everyone"


def with_draft(body: str) -> Card:
    """With nothing beside it that could want a page too."""
    item = dataclasses.replace(a_card().items[0], draft=Draft("a@b.c", "Hi", body), quotes=())
    return dataclasses.replace(a_card(), items=(item,))


def test_a_card_says_everything_an_approver_needs() -> None:
    drawing = draw(a_card(), [Mention("29:ann", "Ann Okafor")])
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
    assert sheet.held == ("held1",)
    assert drawing.sheet_of("held1") is sheet
    assert drawing.sheet_of("held2") is None


def test_people_are_mentioned_each_by_a_name_of_their_own() -> None:
    people = [Mention("29:a", "Ann Okafor"), Mention("29:b", "Ann Okafor"), Mention("29:c", "[x](http://e)</at>*_")]
    (sheet,) = draw(a_card(), people).sheets
    accept(sheet)
    (block,) = elements(sheet, "TextBlock")
    assert block["text"] == "For <at>Ann Okafor</at>, <at>Ann Okafor (2)</at>, <at>xhttpeat</at>"
    teams = sheet.card["msteams"]
    assert isinstance(teams, Mapping)
    assert [(e["mentioned"]["id"], e["text"]) for e in teams["entities"]] == [  # type: ignore[index, union-attr, call-overload]
        ("29:a", "<at>Ann Okafor</at>"),
        ("29:b", "<at>Ann Okafor (2)</at>"),
        ("29:c", "<at>xhttpeat</at>"),
    ]


def test_buttons_ask_at_once_and_need_no_text() -> None:
    (sheet,) = draw(a_card()).sheets
    accept(sheet)
    buttons = [b for row in elements(sheet, "ActionSet") for b in row["actions"]]  # type: ignore[union-attr]
    assert [(b["title"], b["verb"], b.get("style")) for b in buttons] == [  # type: ignore[index, union-attr, call-overload]
        ("Approve", "press", "positive"),
        ("Reject", "press", "destructive"),
        ("Ask requester", "press", None),
        ("Withdraw", "withdraw", None),
    ]
    (reason,) = elements(sheet, "Input.Text")
    assert reason["id"] == "text_0"
    assert reason["isRequired"] is False
    assert reason["label"] == "Reject: Why?\nAsk requester: What do you want to know?"


def test_a_card_without_questions_has_no_input() -> None:
    item = dataclasses.replace(a_card().items[0], buttons=(Button(Verb.WITHDRAW, "Withdraw"),))
    (sheet,) = draw(dataclasses.replace(a_card(), items=(item,))).sheets
    accept(sheet)
    assert elements(sheet, "Input.Text") == []
    assert len(elements(sheet, "Action.Execute")) == 2, "the button and the refresh"


@pytest.mark.parametrize(
    ("tone", "icon", "style"),
    [
        (Tone.WAITING, "⏳", "accent"),
        (Tone.DONE, "✅", "good"),
        (Tone.REFUSED, "🚫", "emphasis"),
        (Tone.TROUBLE, "⚠️", "warning"),
        (Tone.STOPPED, "🛑", "attention"),
    ],
)
def test_a_state_is_said_by_word_icon_and_colour(tone: Tone, icon: str, style: str) -> None:
    (sheet,) = draw(a_card(tone=tone)).sheets
    accept(sheet)
    (box,) = [node for node in elements(sheet, "Container") if icon in str(node["items"]) and node.get("style")]
    assert box["style"] == style
    assert ("Waiting for" if tone is Tone.WAITING else "Approved by") in str(box["items"])


def test_a_settled_card_rests() -> None:
    (sheet,) = draw(a_card(tone=Tone.DONE), refresh_for=["29:ann"]).sheets
    accept(sheet)
    assert not elements(sheet, "ActionSet")
    assert not elements(sheet, "Input.Text")
    assert "refresh" not in sheet.card


def test_sixty_people_at_most_have_their_view_asked_for() -> None:
    (sheet,) = draw(a_card(), refresh_for=[f"29:{n}" for n in (0, *range(80))]).sheets
    accept(sheet)
    refresh = sheet.card["refresh"]
    assert isinstance(refresh, Mapping)
    assert refresh["userIds"] == [f"29:{n}" for n in range(60)]


def test_a_draft_of_30_000_characters_is_readable_to_its_last() -> None:
    drawing = draw(a_card(body=LONG))
    for sheet in (*drawing.sheets, *drawing.pages):
        accept(sheet)
    whole = draft_text(Draft("ada@example.com", "Your refund", LONG))
    assert monospaced(drawing.pages) == whole
    assert len(drawing.pages) == 2
    assert f"Draft: {len(whole):,} characters in 2 part(s)" in shown(drawing.sheets[0])
    assert "Draft, part 2 of 2" in shown(drawing.pages[1])
    assert "version 1" in shown(drawing.pages[1])


def test_buttons_and_refresh_wait_for_the_pages() -> None:
    (before,) = draw(a_card(body=LONG), refresh_for=["29:ann"], buttons=False).sheets
    accept(before)
    assert not elements(before, "Action.Execute"), "a refresh would bring the buttons too"
    assert not elements(before, "Input.Text")
    assert "The buttons follow" in shown(before)


def test_a_card_has_as_many_sheets_settled_as_waiting() -> None:
    waiting, settled = draw(a_card(items=11)), draw(a_card(items=11, tone=Tone.DONE))
    assert len(waiting.sheets) == len(settled.sheets) == 3
    for sheet in (*waiting.sheets, *settled.sheets):
        accept(sheet)
    assert [held for sheet in waiting.sheets for held in sheet.held] == [f"held{n}" for n in range(1, 12)]
    third = waiting.sheet_of("held9")
    assert third is waiting.sheets[2]
    refresh = third.card["refresh"]
    assert isinstance(refresh, Mapping)
    assert refresh["action"]["data"]["held"] == "held9"  # type: ignore[index, call-overload]
    heard = {str(node.get("tooltip")) for node in elements(third, "Action.Execute") if node["title"] == "Approve"}
    assert heard == {f"Approve: Refund 42.00 USD for order {1041 + n} to Ada Lindqvist" for n in (9, 10, 11)}
    inputs = [str(node["id"]) for sheet in waiting.sheets for node in elements(sheet, "Input.Text")]
    assert inputs == [f"text_{n}" for n in range(11)]


@pytest.mark.parametrize(
    "hidden",
    [
        "\u202e",
        "\u200b",
        "\x1b",
        "\ufeff",
        "\U000e0041",
        "\u2066",
        "\x00",
        "\u061c",
        "\u3164",
        "\u200d",
        "\ufe0f",
        "\x85",
        # Of no category that says so, and drawn as nothing all the same (Default_Ignorable_Code_Point).
        "\u180b",
        "\u2065",
        "\ufff0",
        "\U000e0000",
        "\U000e0fff",
    ],
)
def test_what_cannot_be_seen_is_spelt_out(hidden: str) -> None:
    (sheet,) = draw(with_draft(f"pay 1{hidden}000")).sheets
    accept(sheet)
    assert f"pay 1⟨U+{ord(hidden):04X}⟩000" in shown(sheet)


@pytest.mark.parametrize("text", ["👨‍👩‍👧 ❤️ 1️⃣ 👍🏽", "می‌خواهم", "naïve Zürich Ω", "e\u0301"])
def test_what_people_write_is_left_as_it_is(text: str) -> None:
    assert visible(text) == text


def test_accents_do_not_cover_the_line_above() -> None:
    assert visible("Z" + "\u0301" * 6) == "Z" + "\u0301" * 4 + "⟨U+0301⟩⟨U+0301⟩"


def test_a_second_line_does_not_pass_for_the_house() -> None:
    item = dataclasses.replace(
        a_card().items[0], headline="Refund\n✅ Approved by Ann", draft=Draft("a@b.c\nSubject: x", "y\nTo: z", "body")
    )
    (sheet,) = draw(dataclasses.replace(a_card(), items=(item,), requester="Dana\nApproved")).sheets
    accept(sheet)
    text = shown(sheet)
    for words in (
        "Refund⟨U+000A⟩✅ Approved by Ann",
        "a@b.c⟨U+000A⟩Subject: x",
        "y⟨U+000A⟩To: z",
        "Dana⟨U+000A⟩Approved",
    ):
        assert words in text


def test_words_of_people_are_never_markup() -> None:
    hostile = dataclasses.replace(
        a_card().items[0],
        headline=ATTACK,
        status=ATTACK,
        facts=(Fact(ATTACK, ATTACK),),
        quotes=(Quote("A customer wrote", ATTACK, untrusted=True),),
        draft=Draft(ATTACK, ATTACK, ATTACK, (ATTACK,)),
        notes=(ATTACK,),
    )
    card = dataclasses.replace(a_card(), items=(hostile,), summary=ATTACK, requester=ATTACK, title=ATTACK)
    (sheet,) = draw(card).sheets
    accept(sheet)
    assert shown(sheet).count(ATTACK) == 12
    assert "A customer wrote (not checked)" in shown(sheet)
    assert "<" not in str(sheet.card["speak"]), "it may be read as SSML"
    assert ATTACK not in str(sheet.card["fallbackText"]), "clients read Markdown in it"


@pytest.mark.parametrize("address", ["javascript:alert(1)", "http://", "https://a b", "", "data:text/html,x", None])
def test_only_an_address_of_the_web_is_a_link(address: str | None) -> None:
    (sheet,) = draw(dataclasses.replace(a_card(tone=Tone.DONE), thread_link=address)).sheets
    accept(sheet)
    assert not elements(sheet, "Action.OpenUrl")


# --- whatever it says ---------------------------------------------------------------------------------

_WORDS = ["<at>Ann Okafor</at>", "{{DATE(2026-01-01T00:00:00Z, LONG)}}", "{{TIME(2026-01-01T00:00:00Z)}}", "[a](b)"]
_MORE = ["**x**", "&amp;", "<script>", "```", "x" * 90, "👨\u200d👩\u200d👧", "\r\n", "  "]
_CHARACTERS = '\u202e\x00\u200b\u200c\u200d\u00a0\u0301\ufe0f\u2028\ufffe\n\r\t 🙂éΩم𝔘a1<{\\"'
_FRAGMENTS = st.sampled_from([*_WORDS, *_MORE, *_CHARACTERS])
_TEXTS = st.one_of(
    st.text(max_size=200),
    st.lists(_FRAGMENTS, max_size=40).map("".join),
    st.tuples(st.lists(_FRAGMENTS, min_size=1, max_size=8).map("".join), st.integers(1, 30_000)).map(
        lambda made: (made[0] * (made[1] // len(made[0]) + 1))[: made[1]]
    ),
)


def same(read: str, written: str) -> None:
    """Like ``==``, which pytest explains for minutes where two long texts differ."""
    read, written = spaceless(read), spaceless(written)
    at = next((n for n, (a, b) in enumerate(zip(read, written, strict=False)) if a != b), min(len(read), len(written)))
    equal = read == written
    assert equal, f"at {at}: {read[at - 20 : at + 20]!r} for {written[at - 20 : at + 20]!r}"


@settings(max_examples=100, deadline=None, phases=(Phase.explicit, Phase.reuse, Phase.generate))
@given(_TEXTS)
def test_every_character_of_a_draft_is_shown(body: str) -> None:
    drawing = draw(with_draft(body))
    for sheet in (*drawing.sheets, *drawing.pages):
        accept(sheet)
    draft = Draft("a@b.c", "Hi", body)
    whole = draft_text(draft) if drawing.pages else body
    same(monospaced(drawing.pages or drawing.sheets), visible(whole) or "—")


@settings(max_examples=12, deadline=None, phases=(Phase.explicit, Phase.reuse, Phase.generate))
@given(st.text(max_size=300), st.sampled_from(["x", "é", "🙂", "\x00", "\n", "{{DATE(", "<at>", "a b "]))
def test_a_draft_of_100_kb_is_paged_whole(begins: str, fill: str) -> None:
    body = begins + fill * (100_000 // len(fill.encode()))
    drawing = draw(with_draft(body))
    for sheet in (*drawing.sheets, *drawing.pages):
        accept(sheet)
    assert drawing.pages
    same(monospaced(drawing.pages), visible(draft_text(Draft("a@b.c", "Hi", body))))


class Writer:
    """Cards of every shape, the same for the same seed; lengths lie around the limits."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def words(self, most: int = 40_000) -> str:
        size = min(most, self.random.choice([0, 1, 20, 99, 101, 599, 1_201, 8_701, 17_000, 36_000]))
        return "".join(self.random.choices("ab <>{@*_`\n\u202eé🙂", k=size))

    def some(self, most: int) -> range:
        return range(self.random.randint(0, most))

    def item(self, number: int) -> Item:
        buttons = (Button(Verb.APPROVE, "Approve"), Button(Verb.REJECT, "Reject", self.words()))
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
        link = self.random.choice([None, "https://teams.microsoft.com/l/message/19:x/1"])
        return Card(
            "c", self.words(300), self.words(300), link, (), items, self.random.choice(["A summary.", "\x08", ""])
        )


@pytest.mark.parametrize("seed", range(12))
def test_teams_takes_every_card_and_nothing_is_lost(seed: int) -> None:
    writer = Writer(seed)
    card = writer.card()
    people = [Mention(f"29:{'x' * 90}{n}", writer.words(80)) for n in writer.some(30)]
    drawing = draw(card, people, [f"29:{'y' * 90}{n}" for n in writer.some(70)])
    for sheet in (*drawing.sheets, *drawing.pages):
        accept(sheet)
    seen = spaceless(everything(drawing))
    whole = spaceless(monospaced(drawing.pages))
    for item in card.items:
        texts = [quote.text for quote in item.quotes] + [fact.value for fact in item.facts] + list(item.notes)
        lines = [item.headline]
        if item.draft is not None:
            texts.append(item.draft.body)
            lines += [item.draft.to, item.draft.subject, *item.draft.attachments]
        for text in (*map(visible, (*texts, item.status)), *map(one_line, lines)):
            assert spaceless(text) in seen or spaceless(text) in whole
