"""Answers as Teams messages: Markdown that says what was meant, labels and sources, nothing that passes for them."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping

import pytest
from hypothesis import Phase, example, given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from markdown_it.token import Token

from bot.ports import Answer, Ask, Home, HomeLine, Source
from bot.slack import modals
from bot.teams import words
from bot.teams.answers import MAX_WEIGHT, draw_answer
from bot.teams.home_card import draw_home, draw_welcome
from bot.teams.markdown import escape, messages
from bot.teams.plain import JOIN, weight
from policy.approval import Verb
from tests.unit_teams.adaptive_kit import accept, elements, shown

_READER = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
"""Somebody who reads every Markdown and every tag there is."""


def tokens(markdown: str) -> list[Token]:
    return [leaf for token in _READER.parse(markdown) for leaf in (token, *(token.children or ()))]


def kinds(markdown: str) -> set[str]:
    return {token.type for token in tokens(markdown)}


def read(markdown: str) -> str:
    """The words a reader sees."""
    seen = [
        t.content if t.type in ("text", "code_inline", "fence") else "\n"
        for t in tokens(markdown)
        if t.type != "inline"
    ]
    return "".join(seen).replace(JOIN, "")


@pytest.mark.parametrize(
    ("markdown", "drawn"),
    [
        ("Hello **world**", "Hello **world**"),
        ("# A *title*", "**A title**"),
        ("one\ntwo", "one\n\ntwo"),
        ("- a\n- b\n  - c", "- a\n- b\n    - c"),
        ("3. a\n4. b", "3. a\n4. b"),
        ("> quoted\n> more", "> quoted\n>\n> more"),
        ("`x < y`", "`x < y`"),
        ("```py\nif a < b:\n```", "```\nif a < b:\n```"),
        ("---", "───"),
        ("~~gone~~", "~~gone~~"),
        ("[docs](https://a.example/x_y)", "docs (https://a.example/x_y)"),
        ("<https://a.example/x>", "https://a.example/x"),
        ("![cat](https://a.example/c.png)", "cat (https://a.example/c.png)"),
        ("[x](javascript:alert(1))", "\\[x\\](javascript:alert(1))"),
        ("|a|b|\n|-|-|\n|1|**2**|", "```\na  b\n1  2\n```"),
        ("as in [1]", "as in \\[1\\]"),
        ("order_id is 7", "order_id is 7"),
        ("", "…"),
    ],
)
def test_markdown_as_teams_draws_it(markdown: str, drawn: str) -> None:
    assert messages(markdown, MAX_WEIGHT) == (drawn,)


def test_a_link_shows_where_it_leads() -> None:
    (drawn,) = messages("[https://bank.example](https://evil.example/*a*_b_)", MAX_WEIGHT)
    assert drawn == "https://bank.example (https://evil.example/%2Aa%2A%5Fb%5F)"


@pytest.mark.parametrize(
    "attack",
    [
        "<at>Ann</at>",
        "<a href='https://evil.example'>bank</a>",
        "<img src=x>",
        "&lt;at&gt;Ann&lt;/at&gt;",
        "`<at>Ann</at>`",
        "```\n<at>Ann</at>\n```",
        "| <at>Ann</at> |\n|-|\n| <b>x</b> |",
        "\\<at>Ann</at>",
        "<!-- x -->",
    ],
)
def test_no_tag_can_form(attack: str) -> None:
    drawn = "".join(messages(attack, MAX_WEIGHT))
    assert not re.search(r"<[A-Za-z/!?]", drawn)
    assert not kinds(drawn) & {"html_inline", "html_block", "link_open", "image"}


def test_direction_marks_are_taken_out() -> None:
    assert messages("pay 1\u202e000", MAX_WEIGHT) == ("pay 1000",)


@settings(max_examples=300, deadline=None)
@given(st.text("ab 1.*_`[]()<>!#&;~|\\-+=@\n:/\"'", max_size=60))
def test_escaped_text_reads_as_it_was(text: str) -> None:
    drawn = f"x {escape(text)}"
    assert not kinds(drawn) & {"html_inline", "html_block", "link_open", "image", "code_inline", "fence", "code_block"}
    assert re.sub(r"\s", "", read(drawn)) == re.sub(r"\s", "", f"x{text}")


_ANYTHING = st.text("ab 1.*_`[]()<>!#&;~|\\-+=@\n:/", max_size=200) | st.lists(
    st.sampled_from(
        [
            "- ",
            "> ",
            "\n",
            "\n\n",
            "**",
            "`",
            "```\n",
            "[a](https://b.example)",
            "| a | b |\n",
            "|-|-|\n",
            "a b ",
            "<at>",
        ]
    )
).map("".join)


@settings(max_examples=100, deadline=None)
@given(_ANYTHING, st.integers(1, 60))
def test_any_markdown_is_drawn_within_the_limit(markdown: str, times: int) -> None:
    drawn = messages(markdown * times, MAX_WEIGHT)
    assert all(weight(text) <= MAX_WEIGHT for text in drawn)
    assert not re.search(r"<[A-Za-z/!?]", "".join(drawn))


@settings(max_examples=8, deadline=None, phases=(Phase.explicit, Phase.reuse, Phase.generate))
@given(st.sampled_from(["word{} ", "line{}\n", "- item{}\n", "para{}\n\n", "> said{}\n", "ü{}🙂 "]), st.booleans())
def test_a_long_answer_is_told_whole(piece: str, in_code: bool) -> None:
    text = "".join(piece.format(number) for number in range(9_000))
    drawn = messages(f"```\n{text}\n```" if in_code else text, MAX_WEIGHT)
    assert len(drawn) > 1
    assert all(weight(part) <= MAX_WEIGHT for part in drawn)
    found = [int(number) for part in drawn for number in re.findall(r"\d+", part)]
    whole = found == list(range(9_000))
    assert whole
    assert not in_code or all(part.startswith("```\n") and part.endswith("\n```") for part in drawn)


# --- labels, sources, thumbs --------------------------------------------------------------------------

SOURCES = (Source("Order 1042", "Read by crm.read."), Source("Ada [2] **L**", "Read by crm.read. " + "x" * 300))


def test_a_models_answer_is_labelled_cited_and_rated() -> None:
    (said,) = draw_answer("It was paid.", (), Answer(SOURCES))
    activity = json.loads(json.dumps(said.activity()))
    assert activity["text"] == "It was paid.\n\nSources: Order 1042 [1], Ada \\[2\\] \\*\\*L\\*\\* [2]"
    assert activity["channelData"] == {"feedbackLoop": {"type": "default"}}
    (label,) = activity["entities"]
    assert label["type"] == "https://schema.org/Message"
    assert label["additionalType"] == ["AIGeneratedContent"]
    assert [claim["position"] for claim in label["citation"]] == [1, 2]
    for claim in label["citation"]:
        assert claim["appearance"]["@type"] == "DigitalDocument"
        assert 0 < len(claim["appearance"]["name"]) <= 80
        assert 0 < len(claim["appearance"]["abstract"]) <= 160


def test_the_services_own_words_are_not_labelled() -> None:
    (said,) = draw_answer("I could not reach the model.")
    assert said.activity() == {"type": "message", "textFormat": "markdown", "text": "I could not reach the model."}


def test_a_long_answer_is_labelled_in_every_part_and_rated_once() -> None:
    said = draw_answer("word " * 12_000, (Ask("Withdraw", "withdraw", "h1", 1, "d"),), Answer(SOURCES))
    assert len(said) > 2
    assert all(part.entities for part in said)
    assert [part.rated for part in said] == [False] * (len(said) - 1) + [True]
    assert [part.buttons is not None for part in said] == [False] * (len(said) - 1) + [True]
    assert all("citation" not in part.entities[0] for part in said[:-1])
    for part in said:
        assert weight(part.activity()) <= 28_000


def test_a_hundred_sources_are_counted() -> None:
    (said,) = draw_answer("x", (), Answer(tuple(Source(f"Order {n}", "d") for n in range(100))))
    assert said.text.endswith("Order 19 [20] and 80 more")
    citation = said.entities[0]["citation"]
    assert isinstance(citation, list)
    assert len(citation) == 20
    assert weight(said.activity()) <= 28_000


def test_sources_of_any_length_fit() -> None:
    many = tuple(Source("🙂" * 500, "🙂" * 500) for _ in range(30))
    said = draw_answer("é " * 20_000, (), Answer(many))
    assert all(weight(part.text) <= MAX_WEIGHT + 100 for part in said)
    assert all(weight(part.activity()) <= 60_000 for part in said)
    assert re.search(r"Sources: .* and \d+ more$", said[-1].text)


def test_a_button_that_leads_nowhere_is_left_out() -> None:
    (said,) = draw_answer("x", (Ask("Open", "open", "javascript:alert(1)"),))
    assert said.buttons is None


# --- home and welcome ---------------------------------------------------------------------------------


def test_home_says_what_waits() -> None:
    line = HomeLine("Refund **42** <at>x</at>", "Waiting.", "https://teams.microsoft.com/l/message/x")
    sheet = draw_home(Home("Hello Ann", "Stopped by Eve.", (line,) * 25, ()))
    accept(sheet)
    text = shown(sheet)
    for said in ("Hello Ann", "Stopped by Eve.", "Waiting for me (25)", "Refund **42** <at>x</at>", "… and 5 more"):
        assert said in text, said
    assert "You have asked for nothing" in text
    assert len(elements(sheet, "Action.OpenUrl")) == 20


@example("🙂" * 3_000, 60)
@example("https://teams.microsoft.com/" + "x" * 1_900, 60)
@given(st.text(max_size=3_000), st.integers(0, 60))
@settings(max_examples=30, deadline=None)
def test_home_fits_whatever_stands_in_it(text: str, lines: int) -> None:
    accept(
        draw_home(
            Home(
                text, text or None, (HomeLine(text * 3, text * 3, text),) * lines, (HomeLine(text, text, None),) * lines
            )
        )
    )


@pytest.mark.parametrize("personal", [True, False])
def test_the_welcome_offers_what_to_say(personal: bool) -> None:
    sheet = draw_welcome(personal=personal)
    accept(sheet)
    said = []
    for node in elements(sheet, "Action.Submit"):
        data = node["data"]
        assert isinstance(data, Mapping)
        said.append(data["msteams"])
    assert said == ([{"type": "imBack", "value": text} for _, text in words.PROMPTS] if personal else [])


# --- what was typed -----------------------------------------------------------------------------------


@pytest.mark.parametrize("verb", list(Verb))
@pytest.mark.parametrize("text", ["", "ab", "abc", "x" * 2_000, "x" * 2_001])
def test_teams_wants_the_text_that_slack_wants(verb: Verb, text: str) -> None:
    """Of what Slack opens a modal for; the other buttons take what is there."""
    asked = verb in words.NEEDS_TEXT
    expected = modals.complaint(verb, text) is not None if asked else len(text) > words.MOST
    assert (words.complaint(verb, text) is not None) == expected
