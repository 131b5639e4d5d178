"""Markdown to Slack's mrkdwn, and what people typed in Slack back to plain text. Knows no message and no API.

Everything that could notify people or hide where a link leads is taken away: ``<!channel>``, ``<@U1>`` and ``<#C1>``
come out as text, and a link always shows its address.
See https://docs.slack.dev/messaging/formatting-message-text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import takewhile

from markdown_it import MarkdownIt
from markdown_it.token import Token

_PARSER = MarkdownIt("commonmark", {"html": False}).enable(["table", "strikethrough"])
_ADDRESS = re.compile(r"^(https?://|mailto:)[^\s<>|\x00-\x1f]+$", re.IGNORECASE)
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\u200e\u200f\u202a-\u202e\u2066-\u2069]")
"""Control and direction characters: they would show words in another order than they are."""


def escape(text: str) -> str:
    """`text` as mrkdwn reads it literally, but for emphasis marks."""
    return _CONTROL.sub("", text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def mrkdwn(markdown: str) -> str:
    """`markdown` as Slack draws it."""
    return _blocks(_PARSER.parse(markdown)).strip("\n")


def safe_markdown(line: str) -> str:
    """One finished line for Slack's own Markdown (streams): no mention can form, a link shows its address."""
    shown = re.sub(r"!?\[([^\]]*)\]\(\s*<?([^)\s>]*)>?[^)]*\)", lambda m: f"{m[1]} ({m[2]})", line)
    return escape(shown)


def chunks(text: str, size: int) -> tuple[str, ...]:
    """`text` in pieces of at most `size` characters, cut at a line or a word where there is one; nothing is lost."""
    pieces: list[str] = []
    while len(text) > size:
        cut = max(text.rfind("\n", size // 2, size), text.rfind(" ", size // 2, size)) + 1 or size
        # Never through an entity: "&am" and "p;" would be shown as they are.
        entity = text.rfind("&", max(0, cut - 5), cut)
        if entity > 0 and ";" not in text[entity:cut]:
            cut = entity
        pieces.append(text[:cut])
        text = text[cut:]
    pieces.append(text)
    return tuple(pieces)


_SENT = re.compile(r"<([@#!]?)([^<>|]*)(?:\|([^<>]*))?>")


def typed(text: str, bot_user: str) -> str:
    """What a person typed, from the text Slack sent: the bot's mention stripped, entities and links undone.

    Mentions of other people stay ``<@U123>``: that names an account, a display name does not.
    """

    def undo(match: re.Match[str]) -> str:
        mark, body, label = match[1], match[2], match[3]
        if mark == "@":
            return "" if body == bot_user else f"<@{body}>"
        if mark == "#":
            return f"#{label or body}"
        if mark == "!":
            return f"@{body.split('^')[0]}"
        return body.removeprefix("mailto:") if not label or label in body else f"{label} ({body})"

    plain = _SENT.sub(undo, text)
    plain = plain.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
    return re.sub(r"[ \t]{2,}", " ", plain).strip()


def mentions(text: str, user: str) -> bool:
    return any(m[1] == "@" and m[2] == user for m in _SENT.finditer(text))


# --- Markdown's tokens -------------------------------------------------------------------------------


def _blocks(tokens: Sequence[Token]) -> str:
    writer = _Writer()
    for token in tokens:
        writer.take(token)
    return "".join(writer.out)


class _Writer:
    """One pass over the block tokens."""

    def __init__(self) -> None:
        self.out: list[str] = []
        self._lists: list[int | None] = []
        """Open lists: the next number, None for bullets."""
        self._quotes = 0
        self._fresh_item = False
        self._heading = False
        self._rows: list[list[str]] = []

    def take(self, token: Token) -> None:
        match token.type:
            case "inline":
                self._text(_inline(token.children or ()))
            case "fence" | "code_block":
                body = escape(token.content).rstrip("\n").replace("```", "'''")
                self.out.append(f"```\n{body}\n```\n")
            case "hr":
                self.out.append("───\n")
            case "heading_open" | "heading_close":
                self._heading = token.type == "heading_open"
            case "blockquote_open" | "blockquote_close":
                self._quotes += token.nesting
            case _:
                self._list(token)
                self._cells(token)

    def _list(self, token: Token) -> None:
        match token.type:
            case "bullet_list_open":
                self._lists.append(None)
            case "ordered_list_open":
                self._lists.append(int(token.attrs.get("start", 1)))
            case "bullet_list_close" | "ordered_list_close":
                self._lists.pop()
                self.out.append("" if self._lists else "\n")
            case "list_item_open":
                self._fresh_item = True
            case _:
                pass

    def _cells(self, token: Token) -> None:
        match token.type:
            case "tr_open":
                self._rows.append([])
            case "table_close":
                self.out.append(_table(self._rows))
                self._rows = []
            case _:
                pass

    def _text(self, text: str) -> None:
        if self._rows:
            self._rows[-1].append(text)
            return
        if self._heading:
            text = f"*{text.replace('*', '')}*"
        text = self._bullet() + text
        if self._quotes:
            text = "\n".join(f"> {line}" for line in text.split("\n"))
        self.out.append(text + ("\n" if self._lists or self._heading else "\n\n"))

    def _bullet(self) -> str:
        if not self._lists:
            return ""
        indent = "    " * (len(self._lists) - 1)
        if not self._fresh_item:
            return indent + "  "
        self._fresh_item = False
        number = self._lists[-1]
        if number is None:
            return indent + "• "
        self._lists[-1] = number + 1
        return f"{indent}{number}. "


def _table(rows: list[list[str]]) -> str:
    """Slack's mrkdwn has no tables: aligned columns in a fixed-width block."""
    clean = [[cell.replace("`", "'").replace("*", "") for cell in row] for row in rows]
    widths = [max((len(row[i]) for row in clean if i < len(row)), default=0) for i in range(max(map(len, clean)))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=False)).rstrip() for row in clean]
    return "```\n" + "\n".join(lines) + "\n```\n"


def _inline(tokens: Sequence[Token]) -> str:
    return "".join(_spans(iter(tokens)))


_MARKS = {"strong_open": "*", "strong_close": "*", "em_open": "_", "em_close": "_", "s_open": "~", "s_close": "~"}


def _spans(tokens: Iterator[Token]) -> Iterator[str]:
    for token in tokens:
        match token.type:
            case "text":
                yield escape(token.content)
            case "softbreak" | "hardbreak":
                yield "\n"
            case "code_inline":
                yield "`" + escape(token.content).replace("`", "'") + "`"
            case "link_open":
                yield _link(str(token.attrs.get("href", "")), _until(tokens, "link_close"))
            case "image":
                yield _link(str(token.attrs.get("src", "")), escape(token.content))
            case mark if mark in _MARKS:
                yield _MARKS[mark]
            case _:
                yield escape(token.content)


def _until(tokens: Iterator[Token], end: str) -> str:
    return _inline(tuple(takewhile(lambda token: token.type != end, tokens)))


def _link(address: str, label: str) -> str:
    """A link that shows where it leads; anything but the web and mail is text."""
    if not _ADDRESS.match(address):
        return f"{label} ({escape(address)})" if address and escape(address) != label else label
    shown = f"<{address.replace('&', '&amp;')}>"
    return shown if label in ("", escape(address), escape(address).removeprefix("mailto:")) else f"{label} ({shown})"
