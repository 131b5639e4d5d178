"""Text as Teams must show it: every character seen, none interpreted. Knows no card and no message.

An Adaptive Card reads no Markdown in a TextRun, but it does read ``{{DATE(…)}}`` and mentions, and it shows no run of
spaces and no second line that begins empty. `shown` is for what somebody signs or relies on.
"""

from __future__ import annotations

import json
import re
import unicodedata

from bot.visible import JOINERS, visible
from policy.model import Json

BREAK = "\u200b"
"""Takes no space. Ours alone: `visible` spells out any that was there before."""
JOIN = "\u200c"
"""Takes no space either, and no line breaks at it. `visible` spells out any that stood beside a Latin letter."""
_SPACE = "\u00a0"
_LONG = 40
"""Characters without a space, after which a line may break: a card must not be wider than its reader's screen."""
_STEP = 20
_LONG_WORD = re.compile(rf"[^\s{BREAK}]{{{_LONG},}}")
_LOST_SPACE = re.compile(r"^ | $|(?<= ) ", re.MULTILINE)
_NO_LINE = re.compile(r"^$", re.MULTILINE)


def one_line(text: str) -> str:
    """`text` where a second line would pass for something of ours: a line end is spelt out too."""
    return visible(text).replace("\n", "⟨U+000A⟩")


def shown(text: str) -> str:
    """`text` for a TextRun, so that it reads there as it is."""
    return _laid_out(visible(text))


def _laid_out(text: str) -> str:
    text = _inert(text).replace("\t", "    ")
    text = _LONG_WORD.sub(_breakable, text)
    return _NO_LINE.sub(_SPACE, _LOST_SPACE.sub(_SPACE, text))


def unshown(text: str) -> str:
    """What a reader of a `shown` text sees, for comparing: no break, and every space a space."""
    text = re.sub(f"(?<=[{{<]){JOIN}", "", text.replace(BREAK, "")).replace(_SPACE, " ")
    lines = text.split("\n")
    return "\n".join("" if line == " " else line for line in lines)


def _inert(text: str) -> str:
    """No function and no mention of a card can form."""
    text = re.sub(r"\{(?=\{)", "{" + JOIN, text)
    return re.sub(r"<(?=/?at\b)", "<" + JOIN, text, flags=re.IGNORECASE)


def _breakable(word: re.Match[str]) -> str:
    pieces: list[str] = []
    rest = word[0]
    while len(rest) > _STEP:
        cut = _STEP
        while cut < len(rest) and _belongs(rest[cut - 1], rest[cut]):
            cut += 1
        pieces.append(rest[:cut])
        rest = rest[cut:]
    return BREAK.join([*pieces, rest] if rest else pieces)


def _belongs(before: str, char: str) -> bool:
    """Whether `char` is drawn together with what stands before it."""
    return (
        before in JOINERS
        or char in JOINERS
        or unicodedata.category(char) in ("Mn", "Me", "Mc", "Sk")
        or 0x1F1E6 <= ord(char) <= 0x1F1FF
    )


def weight(value: Json) -> int:
    """Bytes of `value` on the way, by the worse of two counts: as we send it, and in UTF-16 as Teams counts it."""
    sent = len(json.dumps(value))
    return max(sent, len(json.dumps(value, ensure_ascii=False).encode("utf-16-le", "surrogatepass")))


def start(text: str, most: int, more: str) -> str:
    """`text` as shown if it weighs at most `most`; otherwise its beginning and `more`."""
    text = visible(text) or "—"
    if weight(_laid_out(text)) <= most:
        return _laid_out(text)
    return _laid_out(_fitting(text, most - weight(more))) + more


def pieces(text: str, most: int) -> tuple[str, ...]:
    """`text` as shown, cut so that no piece weighs more than `most`; at a line or a word where there is one.

    Nothing is lost: read one after the other, the pieces are `text`.
    """
    text = visible(text)
    found: list[str] = []
    while text:
        head = _fitting(text, most)
        if len(head) < len(text):
            cut = max(head.rfind("\n", len(head) // 2), head.rfind(" ", len(head) // 2)) + 1
            head = head[:cut] if cut else head
            # A line that begins with spaces begins with all of them.
            head = head.rstrip(" ") if head.rstrip(" ").endswith("\n") else head
        found.append(_laid_out(head))
        text = text[len(head) :]
    return tuple(found) or (_laid_out(""),)


def _fitting(text: str, most: int) -> str:
    """A long beginning of `text`, one character at least, that weighs at most `most` as it is shown."""
    size = min(len(text), max(1, most // 2))
    while size > 1:
        weighs = weight(_laid_out(text[:size])) + 8  # a space that ends up last takes more room
        if weighs <= most:
            break
        size = max(1, min(size - 1, size * most // weighs))
    while 1 < size < len(text) and _belongs(text[size - 1], text[size]):
        size -= 1
    return text[:size]
