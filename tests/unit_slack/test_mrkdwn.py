"""Markdown to mrkdwn: nobody is notified by accident, no link hides where it leads, nothing is lost."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.slack.mrkdwn import chunks, escape, mentions, mrkdwn, safe_markdown, typed

_MARKED = st.text(alphabet=st.sampled_from("<>&!@#|*_~`[]()\n -1.>:/ahtpsU\\"), max_size=80)


@pytest.mark.parametrize(
    ("markdown", "drawn"),
    [
        ("**bold** *it* ~~gone~~ `code`", "*bold* _it_ ~gone~ `code`"),
        ("# Title", "*Title*"),
        ("- one\n- two\n  - three", "• one\n• two\n    • three"),
        ("3. a\n4. b", "3. a\n4. b"),
        ("> quoted\n> more", "> quoted\n> more"),
        ("```python\na < b\n```", "```\na &lt; b\n```"),
        ("| a | b |\n|---|---|\n| 1 | **22** |", "```\na  b\n1  22\n```"),
        ("one\n\ntwo", "one\n\ntwo"),
        ("[the bank](https://evil.example/?a=1&b=2)", "the bank (<https://evil.example/?a=1&amp;b=2>)"),
        ("[https://bank.example](https://evil.example)", "https://bank.example (<https://evil.example>)"),
        ("<https://a.example>", "<https://a.example>"),
        ("![cat](https://x.example/c.png)", "cat (<https://x.example/c.png>)"),
        ("[x](tel:911)", "x (tel:911)"),
        ("<!channel> <@U1> <#C1> <!subteam^S1>", "&lt;!channel&gt; &lt;@U1&gt; &lt;#C1&gt; &lt;!subteam^S1&gt;"),
        ("`<!here>`", "`&lt;!here&gt;`"),
        ("a\u202eb", "ab"),
        ("<b>html</b>", "&lt;b&gt;html&lt;/b&gt;"),
    ],
)
def test_drawn(markdown: str, drawn: str) -> None:
    assert mrkdwn(markdown) == drawn


@given(_MARKED)
def test_only_addresses_stand_in_angle_brackets(markdown: str) -> None:
    for text in (mrkdwn(markdown), "\n".join(safe_markdown(line) for line in markdown.split("\n"))):
        for inside in re.findall(r"<([^>]*)", text):
            assert re.match(r"(https?://|mailto:)", inside, re.IGNORECASE)
            assert "|" not in inside


@given(_MARKED, st.integers(6, 40))
def test_chunks_lose_nothing_and_cut_no_entity(text: str, size: int) -> None:
    escaped = escape(text)
    pieces = chunks(escaped, size)
    assert "".join(pieces) == escaped
    assert all(len(piece) <= size for piece in pieces)
    for piece in pieces:
        assert not re.search(r"&[a-z]{0,3}$", piece)


@pytest.mark.parametrize(
    ("sent", "plain"),
    [
        ("<@U0BOT> refund order 1042", "refund order 1042"),
        ("please <@U0BOT|countersign> refund", "please refund"),
        ("kill user <@U2|bob> now", "kill user <@U2> now"),
        ("&lt;b&gt; &amp;amp; co", "<b> &amp; co"),
        (
            "see <https://a.example/x|a.example/x> and <mailto:a@b.example|a@b.example>",
            "see https://a.example/x and a@b.example",
        ),
        ("<https://a.example|the page>", "the page (https://a.example)"),
        ("<#C1|general> <!here> <!subteam^S1|@ops>", "#general @here @subteam"),
    ],
)
def test_what_was_typed(sent: str, plain: str) -> None:
    assert typed(sent, "U0BOT") == plain


def test_a_mention_is_of_that_account() -> None:
    assert mentions("hey <@U0BOT>", "U0BOT")
    assert mentions("hey <@U0BOT|x>", "U0BOT")
    assert not mentions("hey <@U0BOTTOM> &lt;@U0BOT&gt;", "U0BOT")


def test_a_stream_line_shows_where_links_lead() -> None:
    assert (
        safe_markdown("[bank](https://evil.example) <!here> **b**") == "bank (https://evil.example) &lt;!here&gt; **b**"
    )
