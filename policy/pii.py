"""Card numbers, social security numbers and secrets in a text: found, and masked.

Knows issuer prefixes, check digits, key prefixes and the words around a number. Leaves names, addresses,
order numbers and amounts alone. Total and linear in the text's length.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from itertools import pairwise

import re2
from stdnum import iban, luhn
from stdnum.us import ssn


class Pii(StrEnum):
    CARD = "pii.card"
    SSN = "pii.ssn"
    SECRET = "pii.secret"


@dataclass(frozen=True, slots=True)
class Finding:
    kind: Pii
    start: int
    end: int
    keep: str = ""
    """What may stay readable: a card's last four digits."""


_MASKS = {Pii.CARD: "[card number removed]", Pii.SSN: "[SSN removed]", Pii.SECRET: "[secret removed]"}
_PASSES = 6


def redact(text: str) -> str:
    """`text` with everything found masked. Never raises; doing it twice changes nothing more."""
    for _ in range(_PASSES):
        found = find(text)
        if not found:
            return text
        parts: list[str] = []
        at = 0
        for finding in found:
            parts += [text[at : finding.start], mask(finding)]
            at = finding.end
        text = "".join(parts) + text[at:]
    return text


def mask(finding: Finding) -> str:
    """What stands in the place of a finding. Holds nothing that could be found again."""
    if finding.kind is Pii.CARD:
        return f"[card number removed, ends in {finding.keep}]"
    return _MASKS[finding.kind]


def find(text: str) -> tuple[Finding, ...]:
    """Everything sensitive in `text`, in order, without overlaps."""
    plain = _flat(text)
    found = list(_secrets(plain))
    if _NUMBERS.search(plain):
        found += _cards(plain)
        found += _ssns(plain)
    return _apart(found)


def _apart(found: list[Finding]) -> tuple[Finding, ...]:
    """The findings in order; of two that overlap, the one that starts first, then the longer."""
    kept: list[Finding] = []
    for finding in sorted(found, key=lambda item: (item.start, -item.end)):
        if not kept or finding.start >= kept[-1].end:
            kept.append(finding)
    return tuple(kept)


# --- one character stays one character, so that spans fit the original ----------------------------------

_NUMBERS = re.compile(r"[0-9](?:[^A-Za-z0-9]{0,3}[0-9]){8}")
_FOREIGN_RUN = re.compile(r"[^\x00-\x7f]{1,256}")
_DASHES = frozenset("‐‑‒–—―−﹘﹣－")
_INVISIBLE = frozenset(
    "\u00ad\u180e\u200b\u200c\u200d\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2060\u2061\u2062\u2063\u2064\ufeff"
)


def _flat(text: str) -> str:
    """`text`, same length, with every decimal digit, space and dash as the ASCII one; lone surrogates gone."""
    text = text.replace("\t", " ").replace("\r", " ")
    return text if text.isascii() else _FOREIGN_RUN.sub(_flat_run, text)


def _flat_run(run: re.Match[str]) -> str:
    return _flattened(run[0])


@lru_cache(maxsize=1024)
def _flattened(run: str) -> str:
    return "".join(map(_flat_char, run))


def _flat_char(char: str) -> str:
    if char in _DASHES:
        return "-"
    if char.isspace() or char in _INVISIBLE:
        return " "
    if char.isdecimal():
        return str(int(char))
    return "?" if "\ud800" <= char <= "\udfff" else char


# --- cards ------------------------------------------------------------------------------------------------

_GROUP = re.compile(r"[0-9]+")
_GAP = re.compile(r"[ \-.\n/]{1,3}")
_IBAN = re.compile(r"\b[A-Z]{2}[0-9]{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,4})?\b")
_LABEL = (
    r"(?:order|tracking|track|invoice|po|p\.o\.|purchase order|ref|reference|ticket|case|batch|timestamp|time|id|sku|"
    r"isbn|ean|upc|gtin|parcel|shipment|consignment|waybill|serial|lot|part|item|imei|imsi|iccid|rma|job|build|request|"
    r"transaction|session|version|record|row|document|doc|contract|policy|quote|booking|reservation|voucher)s?"
)
_LABELLED = re.compile(
    rf"\b{_LABEL}(?:[ \-_]?(?:number|num|no|nr|id|code|key|is|was))*[\"'.:#= \-_\[(]*$", re.IGNORECASE | re.ASCII
)
_CARD_WORD = re.compile(
    r"\b(?:card|cards|cc|visa|mastercard|maestro|amex|american express|discover|diners|jcb|unionpay|credit|debit|"
    r"pan|cvv|cvc|expir\w*|exp|kreditkarte|karte|carte|tarjeta|carta|cartao|kaart)\b",
    re.IGNORECASE,
)
_NEAR = 48

_ISSUERS = re.compile(
    r"(?:4[0-9]{12}|4[0-9]{15}|4[0-9]{18}"
    r"|5[1-5][0-9]{14}|(?:222[1-9]|22[3-9][0-9]|2[3-6][0-9]{2}|27[01][0-9]|2720)[0-9]{12}"
    r"|3[47][0-9]{13}"
    r"|(?:6011|64[4-9][0-9]|65[0-9]{2})[0-9]{12}(?:[0-9]{3})?"
    r"|62[0-9]{14,17}"
    r"|(?:30[0-5]|309|36[0-9]|3[89][0-9])[0-9]{11}(?:[0-9]{2})?"
    r"|35[0-9]{14}(?:[0-9]{3})?|(?:2131|1800)[0-9]{11}"
    r"|(?:5018|5020|5038|5893|6304|6759|676[1-3])[0-9]{8,15}"
    r"|220[0-4][0-9]{12})",
    re.ASCII,
)


def _cards(text: str) -> Iterator[Finding]:
    accounts = [match.span() for match in _IBAN.finditer(text) if iban.is_valid(match[0])]
    groups = [match.span() for match in _GROUP.finditer(text)]
    linked = [_GAP.fullmatch(text, end, begin) is not None for (_, end), (begin, _) in pairwise(groups)]
    after = account = 0
    for first, (start, end) in enumerate(groups):
        while account < len(accounts) and accounts[account][1] <= start:
            account += 1
        in_account = account < len(accounts) and accounts[account][0] <= start
        if start < after or in_account or not _free_before(text, start):
            continue
        length = end - start
        if length <= 2 and first and linked[first - 1] and groups[first - 1][1] - groups[first - 1][0] == length:
            # The middle of a spelled out number: it was tried from its beginning.
            continue
        end = _card_from(text, groups, linked, first)
        if end:
            yield Finding(Pii.CARD, start, end, _digits(text, start, end)[-4:])
            after = end


def _card_from(text: str, groups: list[tuple[int, int]], linked: list[bool], first: int) -> int:
    """Where the card that starts with group `first` ends; 0: there is none."""
    start = groups[first][0]
    lengths: list[int] = []
    total = longest = 0
    for index in range(first, min(first + 19, len(groups))):
        if lengths and not linked[index - 1]:
            break
        begin, end = groups[index]
        lengths.append(end - begin)
        total += end - begin
        if total > 19:
            break
        if total >= 12 and _free_after(text, end) and _card_like(text, start, end, lengths):
            longest = end
    return longest


def _card_like(text: str, start: int, end: int, lengths: list[int]) -> bool:
    number = _digits(text, start, end)
    if not _written_like_a_card(lengths) or not _ISSUERS.fullmatch(number) or not luhn.is_valid(number):
        return False
    if len(set(number)) == 1:
        return False
    ambiguous = len(number) <= 13 or number.startswith(("1800", "2131"))
    if len(lengths) > 1 and not ambiguous:
        return True
    before = text[max(0, start - _NEAR) : start]
    if _LABELLED.search(before):
        return False
    # 13 digits are also a barcode or a time in milliseconds: only the words around make it a card.
    return not ambiguous or _CARD_WORD.search(before + " " + text[end : end + _NEAR]) is not None


def _written_like_a_card(lengths: list[int]) -> bool:
    """In one piece, in fours, as Amex and Diners print it, or spelled out evenly."""
    if len(lengths) == 1:
        return True
    if lengths in ([4, 6, 5], [4, 6, 4], [8, 8], [6, 13], [6, 10]):
        return True
    if all(length == 4 for length in lengths[:-1]) and lengths[-1] <= 4:
        return True
    return max(lengths) <= 2 and len(set(lengths[:-1])) == 1


def _free_before(text: str, start: int) -> bool:
    """Not the tail of a word, a decimal, or a phone number with its plus."""
    if not start:
        return True
    before = text[start - 1]
    if before.isalnum() or before in "_+":
        return False
    return not (before in ".," and start > 1 and text[start - 2].isdigit())


def _free_after(text: str, end: int) -> bool:
    return end >= len(text) or not (text[end].isalnum() or text[end] == "_")


def _digits(text: str, start: int, end: int) -> str:
    return "".join(_GROUP.findall(text, start, end))


# --- social security numbers ------------------------------------------------------------------------------

_SSN_SHAPE = re.compile(r"(?<![\w\-.+])([0-9]{3})([ .\-]?)([0-9]{2})\2([0-9]{4})(?![\w\-]|\.[0-9])", re.ASCII)
_SSN_WORD = re.compile(r"\bssns?\b|\bsocial[ \-]?sec|\bsocial (?:number|#)|\btax(?:payer)? id", re.IGNORECASE)


def _ssns(text: str) -> Iterator[Finding]:
    for match in _SSN_SHAPE.finditer(text):
        start, end = match.span()
        before = text[max(0, start - _NEAR) : start]
        said = _SSN_WORD.search(before + " " + text[end : end + _NEAR]) is not None
        shaped = match[2] == "-" and ssn.is_valid(match[0]) and not _LABELLED.search(before)
        if said or shaped:
            yield Finding(Pii.SSN, start, end)


# --- secrets ----------------------------------------------------------------------------------------------

_CERTAIN = (
    r"xox[abeoprs]-[A-Za-z0-9\-]{10,}",
    r"xapp-[0-9]-[A-Za-z0-9\-]{10,}",
    r"https://hooks\.slack\.com/(?:services|workflows|triggers)/[A-Za-z0-9/_\-]{10,}",
    r"https://(?:ptb\.|canary\.)?discord(?:app)?\.com/api/webhooks/[0-9]+/[A-Za-z0-9_\-]{20,}",
    r"gh[oprsu]_[A-Za-z0-9]{30,}",
    r"github_pat_[A-Za-z0-9_]{30,}",
    r"gl(?:pat|ptt|dt|rt|cbt|soat)-[A-Za-z0-9_\-]{18,}",
    r"npm_[A-Za-z0-9]{30,}",
    r"pypi-AgE[A-Za-z0-9_\-]{20,}",
    r"hf_[A-Za-z0-9]{30,}",
    r"(?:A3T[A-Z0-9]|AKIA|ASIA|AGPA|AIDA|AROA|ANPA)[A-Z0-9]{16}\b",
    r"AIza[A-Za-z0-9_\-]{30,}",
    r"ya29\.[A-Za-z0-9_\-]{20,}",
    r"GOCSPX-[A-Za-z0-9_\-]{20,}",
    r"(?:sk|rk|pk)_(?:live|test)_[A-Za-z0-9]{10,}",
    r"whsec_[A-Za-z0-9+/=]{16,}",
    r"SG\.[A-Za-z0-9_\-]{16,}\.[A-Za-z0-9_\-]{20,}",
    r"shp(?:at|ca|pa|ss)_[A-Fa-f0-9]{32}",
    r"do[opr]_v1_[a-f0-9]{32,}",
    r"dapi[a-f0-9]{32}",
    r"lin_api_[A-Za-z0-9]{30,}",
    r"EAACEdEose0cBA[A-Za-z0-9]+",
    r"sq0(?:atp|csp)-[A-Za-z0-9_\-]{20,}",
    r"key-[0-9a-f]{32}",
    r"(?:AC|SK)[0-9a-f]{32}",
    r"AGE-SECRET-KEY-1[A-Z0-9]{50,}",
    r"hvs\.[A-Za-z0-9_\-]{20,}",
    r"vault:v[0-9]+:[A-Za-z0-9+/=]{20,}",
    r"eyJ[A-Za-z0-9_\-]{8,}\.[A-Za-z0-9_\-]{8,}\.[A-Za-z0-9_\-]*",
    r"(?:sk|pk)-lf-[0-9a-f\-]{30,}",
    r"[sp]k-(?:ant|proj|svcacct|admin|or)-[A-Za-z0-9_\-]{16,}",
)
_PEM = (
    r"-----BEGIN [A-Z ]*PRIVATE KEY(?: BLOCK)?-----(?:(?:\s|\\[nr])*[A-Za-z0-9+/]{16,}={0,2})*"
    r"(?:(?:\s|\\[nr])*[A-Za-z0-9+/=]*(?:\s|\\[nr])*-----END [A-Z ]*PRIVATE KEY(?: BLOCK)?-----)?"
)
_PASSWORD_IN_URL = r"[a-z][a-z0-9+.\-]{1,20}://[^\s/:@]{0,64}:([^\s/@]{3,128})@"
_BEARER = r"(?i:\b(?:bearer|basic|token)\s+)([A-Za-z0-9_\-.=+/]{20,})"
_ASSIGNED = (
    r"(?i:\b[a-z0-9_\-]{0,32}(?:password|passwd|pwd|passphrase|secret|api[_\- ]?key|access[_\- ]?key|auth[_\- ]?token|"
    r"client[_\- ]?secret|private[_\- ]?key)[\"']?\s{0,2}(?:=|:)\s{0,2}[\"']?)([^\s\"',;\[\]]{8,200})"
)
_LOOSE = r"\bsk-([A-Za-z0-9_\-]{20,})"


def _compiled(pattern: str) -> re2._Regexp[str]:
    options = re2.Options()
    options.max_mem = 32 << 20
    return re2.compile(pattern, options)


_SURE = _compiled(rf"\b(?:{'|'.join(_CERTAIN)})|{_PEM}")
_LIKELY = _compiled(rf"{_PASSWORD_IN_URL}|{_BEARER}|{_ASSIGNED}|{_LOOSE}")


def _secrets(text: str) -> Iterator[Finding]:
    for match in _SURE.finditer(text):
        yield Finding(Pii.SECRET, *match.span())
    for match in _LIKELY.finditer(text):
        group = match.lastindex or 0
        value = match[group]
        if group == 1 or _random(value):
            yield Finding(Pii.SECRET, *(match.span() if group == 4 else match.span(group)))


def _random(value: str) -> bool:
    """Not a word, a path or a name with dashes: letters and digits mixed in one run."""
    runs = re.findall(r"[A-Za-z0-9]{8,}", value)
    return any(not run.isalpha() and not run.isdigit() for run in runs)
