"""Markdown to what Teams makes of Markdown. Knows no message and no API.

Everything that could pass for something else is taken away: no tag (Teams reads some HTML in a text), no mention, no
image, a link always shows its address, and ``[1]`` is a source only where we say so.
See https://learn.microsoft.com/microsoftteams/platform/bots/how-to/format-your-bot-messages.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from markdown_it import MarkdownIt
from markdown_it.tree import SyntaxTreeNode

from bot.teams.plain import JOIN, weight

_PARSER = MarkdownIt("commonmark", {"html": False}).enable(["table", "strikethrough"])
_ADDRESS = re.compile(r"(https?://|mailto:)[^\s<>\x00-\x1f]+", re.IGNORECASE)
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")
"""Control and direction characters: they would show words in another order than they are."""
_MARKUP = re.compile(r"[\\`*\[\]]|~(?=~)|(?<=~)~|(?<![^\W_])_|_(?![^\W_])")
_AT_START = re.compile(r"^(\s*)([#>+=-]|\d{1,9}(?=[.)]))", re.MULTILINE)
_MARKS = {"strong": "**", "em": "_", "s": "~~"}


def escape(text: str) -> str:
    """`text` as Markdown that reads literally."""
    marked = _MARKUP.sub(lambda m: "\\" + m[0], _tagless(text))
    marked = re.sub(r"&(?=#?\w+;)", "&amp;", marked)
    return _AT_START.sub(lambda m: f"{m[1]}{m[2]}{JOIN}" if m[2].isdigit() else f"{m[1]}\\{m[2]}", marked)


def _tagless(text: str) -> str:
    return re.sub(r"<(?=[A-Za-z/!?])", "<" + JOIN, _CONTROL.sub("", text))


def messages(markdown: str, most: int) -> tuple[str, ...]:
    """`markdown` as Teams draws it, in texts that weigh at most `most` bytes each; nothing is lost."""
    texts: list[str] = []
    for block in _cut(_blocks(SyntaxTreeNode(_PARSER.parse(markdown))), most):
        if texts and weight(f"{texts[-1]}\n\n{block}") <= most:
            texts[-1] += f"\n\n{block}"
        else:
            texts.append(block)
    return tuple(texts) or ("…",)


def _cut(blocks: Sequence[str], most: int) -> Iterator[str]:
    """`blocks`, those that are too long in parts: of code each part is code."""
    for block in blocks:
        fence = "```\n" if block.startswith("```\n") else ""
        inner = block[4:-4] if fence else block
        if weight(block) <= most:
            yield block
            continue
        while inner:
            part = _beginning(inner, most - 40)
            inner = inner[len(part) :]
            yield f"{fence}{part}\n```" if fence else part.strip("\n")


def _beginning(text: str, most: int) -> str:
    size = min(len(text), most // 2)
    while size > 1 and weight(text[:size]) > most:
        size = size * 3 // 4
    if size < len(text):
        size = max(text.rfind("\n", size // 2, size), text.rfind(" ", size // 2, size)) + 1 or size
        size -= text[:size].endswith("\\") and size > 1
    return text[:size]


# --- blocks ------------------------------------------------------------------------------------------


def _blocks(node: SyntaxTreeNode) -> list[str]:
    return [block for child in node.children for block in _block(child) if block]


def _block(node: SyntaxTreeNode) -> list[str]:
    match node.type:
        case "paragraph":
            # A single line end is a space in Teams.
            return _inline(node).split("\n")
        case "heading":
            return [f"**{_inline(node, plain=True)}**".replace("\n", " ")]
        case "fence" | "code_block":
            body = _tagless(node.content).rstrip("\n").replace("```", "'''")
            return [f"```\n{body}\n```"]
        case "hr":
            return ["───"]
        case "bullet_list" | "ordered_list":
            return ["\n".join(_items(node))]
        case "blockquote":
            return ["\n>\n".join(re.sub(r"^", "> ", block, flags=re.MULTILINE) for block in _blocks(node))]
        case "table":
            return [_table(node)]
        case _:
            return _blocks(node) if node.children else [escape(node.content)]


def _items(node: SyntaxTreeNode) -> Iterator[str]:
    number = int(node.attrs.get("start", 1)) if node.type == "ordered_list" else None
    for item in node.children:
        lines = "\n\n".join(_blocks(item)) if _is_loose(item) else "\n".join(_blocks(item))
        yield ("- " if number is None else f"{number}. ") + lines.replace("\n", "\n    ").replace("\n    \n", "\n\n")
        number = None if number is None else number + 1


def _is_loose(item: SyntaxTreeNode) -> bool:
    """Whether there is more in it than a line and a list below."""
    return any(child.type not in ("paragraph", "bullet_list", "ordered_list") for child in item.children)


def _table(node: SyntaxTreeNode) -> str:
    """Teams draws no tables in a text: aligned columns in a fixed-width block."""
    rows = [[_plain(cell) for cell in row.children] for part in node.children for row in part.children]
    widths = [max((len(row[i]) for row in rows if i < len(row)), default=0) for i in range(max(map(len, rows)))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=False)).rstrip() for row in rows]
    return "```\n" + "\n".join(lines).replace("```", "'''") + "\n```"


def _plain(node: SyntaxTreeNode) -> str:
    """The words of a cell: in a fixed-width block nothing is marked up."""
    words = []
    for leaf in node.walk(include_self=False):
        if leaf.type in ("text", "code_inline"):
            words.append(leaf.content)
        elif leaf.type in ("softbreak", "hardbreak"):
            words.append(" ")
        elif leaf.type == "image":
            words.append(f"({leaf.attrs.get('src', '')})")
    links = [str(leaf.attrs.get("href", "")) for leaf in node.walk(include_self=False) if leaf.type == "link"]
    text = "".join(words)
    return _tagless(" ".join([text, *(f"({href})" for href in links if href != text)]))


# --- inside a line -----------------------------------------------------------------------------------


def _inline(node: SyntaxTreeNode, *, plain: bool = False) -> str:
    """`plain`: no emphasis, because it stands in emphasis."""
    return "".join(_span(child, plain) for child in node.children)


def _span(node: SyntaxTreeNode, plain: bool) -> str:
    match node.type:
        case "inline":
            return _inline(node, plain=plain)
        case "text":
            return escape(node.content)
        case "softbreak" | "hardbreak":
            return "\n"
        case "code_inline":
            return "`" + _tagless(node.content).replace("`", "'") + "`"
        case "link":
            return _link(str(node.attrs.get("href", "")), _inline(node, plain=True))
        case "image":
            return _link(str(node.attrs.get("src", "")), escape(node.content))
        case mark if mark in _MARKS:
            inner = _inline(node, plain=plain)
            return inner if plain or not inner.strip() else f"{_MARKS[mark]}{inner}{_MARKS[mark]}"
        case _:
            return escape(node.content)


def _link(address: str, label: str) -> str:
    """A link that shows where it leads; anything but the web and mail is text."""
    if not _ADDRESS.fullmatch(address):
        return f"{label} ({escape(address)})" if address and escape(address) != label else label
    # Teams makes a link of an address by itself; nothing in it may be read as Markdown.
    bare = re.sub(r"[\\`*\[\]()~]|(?<![^\W_])_|_(?![^\W_])", lambda m: f"%{ord(m[0]):02X}", _CONTROL.sub("", address))
    shown = bare.removeprefix("mailto:")
    return shown if label in ("", escape(shown), escape(address), shown, address) else f"{label} ({shown})"
