"""What a sentence asks for, read with patterns: the understanding half of the offline stand-in. English only.

Knows words; knows no record, no tool result and no person. Whatever it does not recognise it leaves unrecognised.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal
from typing import TypeAlias

_MONTHS = [
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
]
_UNITS = [
    "zero",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
    "thirteen",
    "fourteen",
    "fifteen",
    "sixteen",
]
_UNITS += ["seventeen", "eighteen", "nineteen"]
_TENS = {
    word: 10 * n
    for n, word in enumerate(["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"], 2)
}
_CURRENCY = {"$": "USD", "€": "EUR", "£": "GBP", "¥": "JPY"}
_CURRENCY |= {"usd": "USD", "dollar": "USD", "dollars": "USD", "buck": "USD", "bucks": "USD", "eur": "EUR"}
_CURRENCY |= {"euro": "EUR", "euros": "EUR", "gbp": "GBP", "pound": "GBP", "pounds": "GBP", "jpy": "JPY", "yen": "JPY"}
_WORDS = "|".join(sorted((w for w in _CURRENCY if w.isalpha()), key=len, reverse=True))
_NUMBER = r"\d{1,3}(?:,\d{3})+(?:\.\d{1,2})?|\d+(?:[.,]\d{1,2})?"
_AMOUNT = re.compile(rf"([$€£¥])\s?({_NUMBER})|({_NUMBER})\s?(?:({_WORDS})\b|([$€£¥]))", re.IGNORECASE)
_SPELLED = re.compile(
    rf"\b((?:{'|'.join([*_UNITS, *_TENS, 'hundred', 'and', '-'])}|\s|-)+)\s+({_WORDS})\b", re.IGNORECASE
)
_ORDER = re.compile(r"(?:\borders?\b\s*(?:no\.?|number|nr\.?|id)?\s*[#:]?\s*|#)(\d{3,10})\b", re.IGNORECASE)
_BARE = re.compile(r"(?<![\w.,$€£¥+-])(\d{4,10})(?![\w]|[.,]\d)")
_CUSTOMER_ID = re.compile(r"\bC-\d{1,10}\b", re.IGNORECASE)
_EMAIL = re.compile(r"[\w.+-]+@[\w-]+(?:\.[\w-]+)+")
_NAME = re.compile(r"\b([A-Z][\w'’-]+(?:\s+(?:[A-Z][\w'’-]+|van|von|de|der|la|O'[A-Z]\w+))*\s+[A-Z][\w'’-]+)\b")
_ONE_NAME = re.compile(
    r"(?:\bfor|\bof|\bto|\bcustomer|\bdid|\bhas|\bis|\bmail|\bemail|\btell|\bwrite)\s+([A-Z][a-z'’-]{2,})\b"
)
_NOT_NAMES = {"Refund", "Order", "Please", "Mail", "Send", "The", "Customer", "Thursday", "Countersign", "What", "Who"}
_NOT_NAMES |= {"Show", "Look", "Note", "Change", "Update", "Tell", "Write", "Email", "And", "Set", "Find", "When"}
_NOT_NAMES |= {
    day.capitalize() for day in ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"]
}
_NOT_NAMES |= {month.capitalize() for month in _MONTHS}
_REFUND = re.compile(
    r"\b(refund(?:ed|ing)?|reimburse|money back|pay(?:ing)? back|give .{0,30}\bback|credit)\b", re.IGNORECASE
)
_ASKS_ABOUT = re.compile(
    r"^\s*(?:(?:please|so|and|hey|hi|hello)\b[ ,]*)*(?:what|which|when|how|who|where|was|were|is|are|has|have|had|did|"
    r"does|do|show|list|find|check|look|tell me|give me|can i see)\b",
    re.IGNORECASE,
)
_FULL = re.compile(
    r"\b(in full|full(?:y)?|full amount|everything|all of it|entire|the whole|completely)\b", re.IGNORECASE
)
_HALF = re.compile(r"\b(half|50 ?%)", re.IGNORECASE)
_MAIL_HEAD = re.compile(
    r"\b(?:e-?mail|write(?: to)?|notify|inform|message|let(?= [^.]* know)|drop|tell(?! me\b)|"
    r"send(?=[^.]*\b(?:e-?mail|mail|note|message|letter)\b)|mail)\b",
    re.IGNORECASE,
)
_SPLIT = re.compile(
    r"(?:\s*[;.]\s+|\s*,?\s+(?:and|then|and then|also|plus)\s+)"
    r"(?=(?:also |then |please )*(?:e-?mail|mail|write|notify|inform|let|tell(?! me)|send|message|refund|reimburse|note|"
    r"change|update|set|look|show|find|what|which|how|who|when|list|check|give)\b)",
    re.IGNORECASE,
)
_CHANGE = re.compile(r"\b(change|update|set|correct|replace)\b", re.IGNORECASE)
_FIELDS = (
    ("phone", r"phone(?: number)?|telephone|mobile|number"),
    ("address", r"(?:shipping |postal |home )?address"),
    ("tier", r"tier|level|status|segment"),
    ("note", r"notes?"),
)
_UNDO = re.compile(r"\b(undo|revert|take (?:that|it) back|roll(?: that)? back)\b", re.IGNORECASE)
_HELP = re.compile(
    r"^\W*(?:(?:hi|hello|hey|good (?:morning|day|evening)|help|what can you do|who are you|thanks|thank you|cheers)\b.{0,40})$",
    re.IGNORECASE,
)
_WAITING = re.compile(
    r"\b(pending|what(?:'s| is) waiting|waiting for|how (?:does it|do(?:es)? (?:that|things)) stand)\b", re.IGNORECASE
)


@dataclass(frozen=True, slots=True)
class Money:
    """An amount as it was written. `currency` None: the order's own."""

    text: str
    currency: str | None


@dataclass(frozen=True, slots=True)
class Whom:
    """Which order or customer a sentence is about; everything None: whatever the conversation was about."""

    order: str | None = None
    customer_id: str | None = None
    email: str | None = None
    name: str | None = None

    @property
    def nobody(self) -> bool:
        return not (self.order or self.customer_id or self.email or self.name)


@dataclass(frozen=True, slots=True)
class Refund:
    whom: Whom
    amount: Money | None
    share: str | None
    """``full`` or ``half`` of what is left."""
    reason: str


@dataclass(frozen=True, slots=True)
class Mail:
    whom: Whom
    about: str
    """What to write, in the sentence's own words."""


@dataclass(frozen=True, slots=True)
class LookUp:
    whom: Whom
    what: str
    """``customer``, ``order``, ``orders`` or ``payments``."""


@dataclass(frozen=True, slots=True)
class Change:
    whom: Whom
    field: str
    value: str


@dataclass(frozen=True, slots=True)
class Undo:
    """Take back the last change of this conversation."""


@dataclass(frozen=True, slots=True)
class Ledger:
    kind: str | None
    days: str | None
    """``today``, ``week``, ``month``, ``year``, or None for all."""


@dataclass(frozen=True, slots=True)
class Query:
    sql: str
    about: str


@dataclass(frozen=True, slots=True)
class Talk:
    """Greetings, thanks, help."""


@dataclass(frozen=True, slots=True)
class Pending:
    """What waits?"""


Intent: TypeAlias = Refund | Mail | LookUp | Change | Undo | Ledger | Query | Talk | Pending


def read(text: str) -> tuple[Intent, ...]:
    """Everything `text` asks for that this stand-in understands, in order; empty: nothing."""
    if _HELP.match(text.strip()):
        return (Talk(),)
    found: list[Intent] = []
    for part in parts(text):
        intent = _read_part(part)
        if intent is not None:
            found.append(intent)
    return tuple(found)


def parts(text: str) -> list[str]:
    """The clauses of a request: "refund …, and mail …" is two."""
    pieces = [piece.strip(" ,;.") for piece in _SPLIT.split(" ".join(text.split()))]
    return [piece for piece in pieces if piece]


def whom(text: str) -> Whom:
    """The order or customer that `text` names."""
    order = _ORDER.search(text) or _BARE.search(_AMOUNT.sub(" ", _CUSTOMER_ID.sub(" ", text)))
    customer, email = _CUSTOMER_ID.search(text), _EMAIL.search(text)
    return Whom(
        order=order[1] if order else None,
        customer_id=customer[0].upper() if customer else None,
        email=email[0] if email else None,
        name=_name(text),
    )


def amount(text: str) -> Money | None:
    """The first amount of money in `text`, as a decimal string with two places."""
    found = _AMOUNT.search(text)
    if found is not None:
        sign, number = found[1] or found[5], found[2] or found[3]
        currency = _CURRENCY[(sign or found[4]).lower()]
        if re.fullmatch(r"\d+,\d{1,2}", number):
            number = number.replace(",", ".")
        return Money(f"{Decimal(number.replace(',', '')):.2f}", currency)
    spelled = _SPELLED.search(text)
    value = None if spelled is None else _spelled(spelled[1])
    return None if spelled is None or value is None else Money(f"{value}.00", _CURRENCY[spelled[2].lower()])


def _read_part(part: str) -> Intent | None:
    asks = _ASKS_ABOUT.match(part) is not None
    if re.match(r"\s*(?:run:?\s+|query:?\s+)?(?:select|with)\s+\w", part, re.IGNORECASE):
        return Query(re.sub(r"^\s*(?:run|query):?\s+", "", part, flags=re.IGNORECASE), "your query")
    if _UNDO.search(part):
        return Undo()
    if _WAITING.search(part) and "order" not in part.lower():
        return Pending()
    counted = _counted(part)
    if counted is not None:
        return counted
    mail = _MAIL_HEAD.search(part)
    if _REFUND.search(part) and not asks and (mail is None or _REFUND.search(part).start() < mail.start()):  # type: ignore[union-attr]
        return _refund(part)
    if re.search(r"\b(ledger|refunds|payments)\b", part, re.IGNORECASE) and whom(part).nobody:
        return _ledger(part)
    change = None if asks else _change(part)
    if change is not None:
        return change
    if mail is not None and not (asks and "?" in part):
        return _mail(part, mail)
    return _look_up(part)


def _refund(part: str) -> Refund:
    share = "full" if _FULL.search(part) else "half" if _HALF.search(part) else None
    return Refund(whom(part), amount(part), share, _reason(part))


def _reason(part: str) -> str:
    """What is left of the sentence once order, amount and politeness are taken out."""
    because = re.search(r"\b(?:because|since|as|reason:?)\s+(.+)$", part, re.IGNORECASE)
    rest = because[1] if because else part
    for pattern in (_ORDER, _AMOUNT, _SPELLED, _CUSTOMER_ID, _EMAIL, _FULL, _HALF):
        rest = pattern.sub(" ", rest)
    if not because:
        rest = re.sub(r"^.*?\b(?:refund(?:ed|ing)?|reimburse|credit|money back|back)\b", " ", rest, flags=re.IGNORECASE)
        rest = _NAME.sub(" ", rest)
        rest = re.sub(
            r"^(?:\s|[,:;.#-]|\b(?:for|of|on|to|the|a|an|amount|please|order|customer|it|in|him|her|them)\b)+",
            "",
            rest,
            flags=re.IGNORECASE,
        )
    rest = re.sub(r"\s*,\s*(?=,|$)", "", " ".join(rest.split())).strip(" ,;.:-")
    return rest if len(rest) >= 4 else ""


def _mail(part: str, head: re.Match[str]) -> Mail:
    body = part[head.end() :].strip(" ,")
    said = re.search(r"\b(?:that|saying|:|know(?: that)?|whether|about|asking)\s+(.+)$", body, re.IGNORECASE)
    about = said[1] if said else body
    if said and said[0].lower().startswith(("about", "whether", "asking")):
        about = said[0]
    return Mail(whom(part), about.strip(" ."))


def _change(part: str) -> Change | None:
    noted = re.search(
        r"\b(?:add a )?note\b(?: down)?(?: (?:on|for|to|in)\b[^:]*?)?\s*(?:that|saying|:)\s+(.+)$", part, re.IGNORECASE
    )
    if noted is not None:
        return Change(whom(part[: noted.start(1)]), "note", noted[1].strip())
    if not _CHANGE.search(part):
        return None
    for field, words in _FIELDS:
        found = re.search(rf"\b(?:{words})\b(.*?)\b(?:to|as|:|=)\s+(.+)$", part, re.IGNORECASE)
        if found is not None:
            return Change(whom(part[: found.start(2)]), field, found[2].strip(" ."))
    return None


def _ledger(part: str) -> Ledger:
    kind = (
        "refund"
        if re.search(r"refund", part, re.IGNORECASE)
        else "payment"
        if re.search(r"payment", part, re.IGNORECASE)
        else None
    )
    span = re.search(r"\b(today|week|month|year)\b", part, re.IGNORECASE)
    return Ledger(kind, span[1].lower() if span else None)


def _counted(part: str) -> Query | None:
    low = part.lower()
    if not re.search(
        r"\b(how many|count|number of|largest|biggest|highest|top \w+|most expensive|average|total of)\b", low
    ):
        return None
    most = re.search(r"\b(?:top|which|the)?\s*(\d+|two|three|four|five|six|seven|eight|nine|ten)\b", low)
    limit = 5 if most is None else int(most[1]) if most[1].isdigit() else _UNITS.index(most[1])
    if re.search(r"\b(largest|biggest|highest|most expensive|top)\b", low):
        columns = "id, customer_id, status, total_minor, currency"
        return Query(
            f"SELECT {columns} FROM orders ORDER BY total_minor DESC LIMIT {min(limit, 50)}", "the largest orders"
        )
    per = re.search(r"\b(?:per|by|for each)\s+(status|currency|customer|tier|country)\b", low)
    table = next((name for name in ("customers", "payments", "refunds") if name.rstrip("s") in low), "orders")
    if "order" in low:
        table = "orders"
    column = (
        {"status": "status", "currency": "currency", "customer": "customer_id", "tier": "tier"}.get(per[1])
        if per
        else None
    )
    if column is not None:
        return Query(
            f"SELECT {column}, COUNT(*) AS n FROM {table} GROUP BY {column} ORDER BY n DESC",
            f"{table} per {per[1] if per else ''}",
        )
    state = next((s for s in ("shipped", "delivered", "cancelled", "placed", "returned") if s in low), None)
    if table == "orders" and state is not None:
        return Query(f"SELECT COUNT(*) AS n FROM orders WHERE status = '{state}'", f"{state} orders")
    return Query(f"SELECT COUNT(*) AS n FROM {table}", table)


def _look_up(part: str) -> LookUp | None:
    low, who = part.lower(), whom(part)
    if re.search(r"\b(paid|payments?|pay|refunded|refunds?|left|owed?)\b", low):
        return LookUp(who, "payments" if who.order or who.customer_id or who.email else "orders")
    if who.order is not None:
        return LookUp(who, "order")
    if re.search(r"\b(orders?|ordered|bought|buy|purchases?)\b", low) and (not who.nobody or _pronoun(low)):
        return LookUp(who, "orders")
    if re.search(r"\b(customer|client|who|look|find|show|phone|address|e-?mail|tier|search|know about)\b", low):
        return LookUp(who, "customer") if not who.nobody or _pronoun(low) else None
    return None


def _pronoun(low: str) -> bool:
    return re.search(r"\b(she|he|they|her|his|him|them|their|it|that|this)\b", low) is not None


def _name(text: str) -> str | None:
    for found in _NAME.finditer(text):
        words = found[1].split()
        while words and words[0] in _NOT_NAMES:
            words = words[1:]
        if len(words) >= 2:
            return " ".join(words)
    one = _ONE_NAME.search(text)
    return one[1] if one is not None and one[1] not in _NOT_NAMES else None


def _spelled(words: str) -> int | None:
    total = 0
    for word in re.split(r"[\s-]+", words.lower().strip()):
        if word in _UNITS:
            total += _UNITS.index(word)
        elif word in _TENS:
            total += _TENS[word]
        elif word == "hundred":
            total = max(total, 1) * 100
        elif word not in ("and", ""):
            return None
    return total or None
