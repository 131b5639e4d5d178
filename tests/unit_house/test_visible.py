"""Nothing that an approver signs is hidden from them, whichever chat or page draws it."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bot.visible import visible
from bot.web.panes import environment

SEEN = "Refund 42.00 USD – 4 × Tasse, für Ada Lindqvist 👍🏽 ❤️ 日本語 می‌خواهم\n\tdone"


@pytest.mark.parametrize(
    "char",
    [
        "\u200b",
        "\u202e",
        "\u2066",
        "\u061c",
        "\u3164",
        "\u115f",
        "\u034f",
        "\ufe0f",
        "\ufeff",
        "\x00",
        "\x9f",
        "\U000e0041",
    ],
)
def test_what_cannot_be_seen_or_reorders_is_spelt_out(char: str) -> None:
    assert visible(f"pay a{char}b now") == f"pay a⟨U+{ord(char):04X}⟩b now"


def test_what_people_write_stays_as_it_is() -> None:
    assert visible(SEEN) == SEEN


def test_letters_piled_over_the_lines_above_are_spelt_out() -> None:
    assert visible("a" + "\u0301" * 40).count("⟨U+0301⟩") >= 30


@given(st.text())
@example("\r\n\r")
def test_nothing_is_lost_and_nothing_that_is_left_is_hidden(text: str) -> None:
    out = visible(text)
    assert visible(out) == out
    assert not any(unicodedata.category(char) in ("Cc", "Cs", "Zl", "Zp") and char not in "\n\t" for char in out)


def test_the_pages_cards_spell_it_out_too() -> None:
    drawn = environment().from_string("{{ text|visible }}").render(text="a\u202eb")
    assert drawn == "a⟨U+202E⟩b"
    source = (environment().loader.get_source(environment(), "cards.html"))[0]  # type: ignore[union-attr]
    for words in (
        "item.draft.body",
        "item.draft.to",
        "item.draft.subject",
        "quote.text",
        "fact.value",
        "item.headline",
    ):
        assert f"{{{{ {words}|visible }}}}" in source
