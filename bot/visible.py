"""Text of which nothing is hidden from whoever signs it. Knows characters; knows no chat and no card."""

from __future__ import annotations

import re
import unicodedata

_MARKS = 4
"""Accents on one letter; piled higher they cover the lines above."""

_KEEP = frozenset("\n\t")
JOINERS = frozenset("\u200c\u200d")
_KEYCAP = "\u20e3"
_EMPTY = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0")
"""Letters and marks by their category that nobody can see."""
_MONGOLIAN = frozenset("\u180b\u180c\u180d\u180f")
"""Selectors of the shapes of that script's letters."""
_IGNORED = re.compile("[\u2065\ufff0-\ufff8\U000e0000-\U000e00ff\U000e01f0-\U000e0fff]")
"""Not assigned yet, and drawn as nothing: Unicode's Default_Ignorable_Code_Point."""
_PLAIN = re.compile(r"[\n\t\x20-\x7e]*")


def visible(text: str) -> str:
    """`text` with every character that cannot be seen, or that reorders or covers the others, spelt out.

    For what an approver signs: nothing in it may be invisible.
    """
    text = text.replace("\r\n", "\n")
    if _PLAIN.fullmatch(text):
        return text
    out: list[str] = []
    marks = 0
    for position, char in enumerate(text):
        category = unicodedata.category(char)
        marks = marks + 1 if category in ("Mn", "Me") else 0
        out.append(f"⟨U+{ord(char):04X}⟩" if marks > _MARKS or _hidden(text, position, category) else char)
    return "".join(out)


def _hidden(text: str, position: int, category: str) -> bool:
    char = text[position]
    before = text[position - 1] if position else " "
    after = text[position + 1] if position + 1 < len(text) else " "
    if char in JOINERS:
        # They shape Persian and Indic words and join emoji; between Latin letters they only hide.
        return before.isascii() or after.isascii() or before in JOINERS
    if _is_selector(char):
        return _is_selector(before) or (before.isascii() and after != _KEYCAP)
    if char in _EMPTY or _IGNORED.match(char):
        return True
    return category in ("Cc", "Cf", "Cs", "Zl", "Zp") and char not in _KEEP


def _is_selector(char: str) -> bool:
    """Whether it says how the character before it looks, and shows nothing itself."""
    return "\ufe00" <= char <= "\ufe0f" or "\U000e0100" <= char <= "\U000e01ef" or char in _MONGOLIAN
