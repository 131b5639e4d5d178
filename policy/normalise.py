"""A text in the forms it may be hiding in: look-alike letters, invisible characters, encodings.

Knows how words are disguised; knows no attack and no verdict. Every step is bounded and linear.
"""

from __future__ import annotations

import base64
import binascii
import html
import re
import unicodedata
from functools import lru_cache

import re2

_MAX_CHUNKS = 8
_MAX_CHUNK = 8192

_ZERO_WIDTH = "\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180e\u200b\u200c\u200d\u200e\u200f\u2060\u2061\u2062\u2063"
_BIDI = "\u2064\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u206a\u206b\u206c\u206d\u206e\u206f\ufeff\ufff9"
_LOOK_ALIKES = {
    **dict(zip("аеорсухіјѕһԁԛԝ", "aeopcyxijshdqw", strict=True)),
    **dict(zip("αεικνορτυχϲϳ", "aeiknoptuxcj", strict=True)),
    **dict(zip("ıɩɑɡɪʀʟɴℓⅼ", "iiagirlnll", strict=True)),
    **dict(zip("ᴀʙᴄᴅᴇꜰɢʜᴊᴋᴍᴏᴘꜱᴛᴜᴠᴡʏᴢ", "abcdefghjkmopstuvwyz", strict=True)),
    **dict.fromkeys("‘’‚‛′´`＇", "'"),
    **dict.fromkeys("“”„‟″«»＂「」", '"'),
    **dict.fromkeys("‐‑‒–—―−﹘﹣", "-"),
    **dict.fromkeys("\x85\u2028\u2029", "\n"),
    "\u1680": " ",
}
_DIACRITICS: dict[int, None] = dict.fromkeys(range(0x0300, 0x0370))
_INVISIBLE: dict[int, int | str | None] = {
    **dict.fromkeys(map(ord, _ZERO_WIDTH + _BIDI)),
    **dict.fromkeys(range(0xFE00, 0xFE10)),
    **dict.fromkeys(range(0xE0100, 0xE01F0)),
    # Lone surrogates: not characters at all, and RE2 takes valid UTF-8 only.
    **dict.fromkeys(range(0xD800, 0xE000)),
    # Tag characters spell ASCII that no screen shows.
    **{0xE0000 + code: chr(code) for code in range(0x20, 0x7F)},
}
_FOLD = {ord(glyph): latin for glyph, latin in _LOOK_ALIKES.items()}
_LEET = str.maketrans("013457@$!|", "oieastasil")
_ROT13 = str.maketrans("abcdefghijklmnopqrstuvwxyz", "nopqrstuvwxyzabcdefghijklm")
_ROT13_SIGNS = ("vtaber", "vafgehpgvba", "cebzcg", "qvfertneq", "sbetrg", "cerivbhf", "flfgrz", "erirny")
"""ignore, instruction, prompt, disregard, forget, previous, system, reveal: in rot13."""
_NOT_LETTERS = str.maketrans("", "", " \t\n.-_*/|+~,'\"")

_FOREIGN_RUN = re.compile(r"[^\x00-\x7f]{1,256}")
_BLANKS = re.compile(r"[^\S\n]+")
_LINES = re.compile(r"\s*\n\s*")
_RARE_BLANKS = ("  ", "\t", "\r", "\x0b", "\x0c", "\x1c", "\x1d", "\x1e", "\x1f")
_LEETED = re2.compile(r"[a-z][013457@$!|]{1,2}[a-z]|[1!|][a-z]{2}")
_SPELLED = re2.compile(r"(?:\b\w[ .\-_*/|+~,]{1,2}){7}")
_BASE64 = re2.compile(r"[A-Za-z0-9+/_\-]{24,}={0,2}")
_HEX = re2.compile(r"(?:[0-9A-Fa-f]{2}[ :]?){16,}")


def fold(text: str) -> str:
    """`text` in lower case, without what no reader sees, look-alike letters as the Latin ones they imitate."""
    if not text.isascii():
        text = _FOREIGN_RUN.sub(_fold_run, text)
    text = text.lower()
    if any(blank in text for blank in _RARE_BLANKS):
        text = _BLANKS.sub(" ", text)
    return _LINES.sub("\n", text) if "\n" in text else text


def _fold_run(run: re.Match[str]) -> str:
    return _folded(run[0])


@lru_cache(maxsize=1024)
def _folded(run: str) -> str:
    """A run of characters beyond ASCII; short runs repeat, so they are remembered."""
    plain = unicodedata.normalize("NFKD", run.translate(_INVISIBLE)).translate(_DIACRITICS)
    return unicodedata.normalize("NFC", plain).lower().translate(_FOLD)


def fold_letters(pattern: str) -> str:
    """A pattern's letters folded like a text's, its ASCII syntax untouched."""
    plain = unicodedata.normalize("NFKD", pattern).translate(_DIACRITICS)
    return unicodedata.normalize("NFC", plain).translate(_FOLD)


def disguises(text: str, folded: str) -> list[str]:
    """Other readings of `text`, as far as there is a sign of one. Folded, so patterns fit."""
    views: list[str] = []
    if any(sign in folded for sign in _ROT13_SIGNS):
        views.append(folded.translate(_ROT13))
    if "&#" in text or "%20" in text:
        views.append(fold(html.unescape(text).replace("%20", " ")))
    if _LEETED.search(folded):
        views.append(folded.translate(_LEET))
    if _SPELLED.search(folded):
        views.append(spelled_together(folded))
    views.extend(fold(chunk) for chunk in _decoded(text))
    return views


def spelled_together(folded: str) -> str:
    """``i g n o r e`` as ``ignore``: every letter joined, for patterns that need no spaces."""
    return folded.translate(_NOT_LETTERS)


def _decoded(text: str) -> list[str]:
    if not text.isascii():
        text = text.encode("utf-8", "replace").decode()
    found: list[str] = []
    for match in _BASE64.finditer(text):
        if len(found) >= _MAX_CHUNKS:
            break
        chunk = match[0][:_MAX_CHUNK].rstrip("=").replace("-", "+").replace("_", "/")
        found.extend(_readable(_from_base64(chunk)))
    for match in _HEX.finditer(text):
        if len(found) >= _MAX_CHUNKS:
            break
        digits = match[0][:_MAX_CHUNK].replace(" ", "").replace(":", "")
        found.extend(_readable(bytes.fromhex(digits[: len(digits) // 2 * 2])))
    return found


def _from_base64(chunk: str) -> bytes:
    chunk = chunk[: len(chunk) // 4 * 4] if len(chunk) % 4 == 1 else chunk
    try:
        return base64.b64decode(chunk + "=" * (-len(chunk) % 4))
    except (binascii.Error, ValueError):
        return b""


def _readable(data: bytes) -> list[str]:
    """The text in `data`, when it is one: random bytes are not worth a scan."""
    if len(data) < 8:
        return []
    text = data.decode("utf-8", "replace")
    odd = sum(1 for char in text if char == "\ufffd" or (char < " " and char not in "\t\n\r"))
    return [text] if odd * 10 <= len(text) else []
