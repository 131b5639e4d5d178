"""One clause that asks for a refund, a mail or a change -> its parts: who, how much, why, what to write.

Knows words; knows no record and no tool.
"""

from __future__ import annotations

import re

from bot.agent import offline_words as words
from bot.agent.offline_intents import Change, Intent, Mail, Pick, Refund, Unable, Whom

FIELDS = (
    ("phone", r"phone(?: number)?|telephone(?: number)?|mobile(?: number)?|number"),
    ("address", r"(?:shipping |postal |home |street )?address"),
    ("tier", r"tier|level|segment"),
    ("note", r"notes?"),
)
_UNCHANGEABLE = re.compile(
    r"\b(e-?mail(?: address)?|name|status|order|price|total|payment|password|role|currency|delivery date|invoice|id)\b",
    re.IGNORECASE,
)
_NTH = re.compile(
    r"\b(first|second|third|fourth|fifth|1st|2nd|3rd|4th|5th|last|latter|former)\s+(?:one|of (?:them|these|those)|"
    r"entry)\b|"
    r"^\W*(?:the )?(first|second|third|fourth|fifth|1st|2nd|3rd|4th|5th|last|latter|former)\W*(?:please)?\W*$|"
    r"\b(?:number|no\.?|#)\s*([1-9])\b(?![0-9])",
    re.IGNORECASE,
)
_ORDINALS = {"first": 1, "1st": 1, "former": 1, "second": 2, "2nd": 2, "third": 3, "3rd": 3, "fourth": 4, "4th": 4}
_ORDINALS |= {"fifth": 5, "5th": 5, "last": -1, "latter": -1}
_NEWEST = re.compile(
    r"\b(?:last|latest|newest|most recent)\s+(?:order|purchase|parcel|one they|thing)\b", re.IGNORECASE
)
_OLDEST = re.compile(r"\b(?:first|oldest|earliest)\s+(?:order|purchase)\b", re.IGNORECASE)
_REFUND_HEAD = re.compile(
    r"^.*?\b(?:refund(?:ed|ing)?|reimburse|credit|money back|pay(?:ing)?(?:.{0,40}\bback)?|give|back)\b", re.IGNORECASE
)
_BECAUSE = re.compile(
    r"\b(?:because(?: of)?|since(?! \d)|as(?= (?:the|she|he|it|they|we)\b)|reason(?: is|:)?|due to)\s+(.+)$",
    re.IGNORECASE,
)
_LEADING = re.compile(
    r"^(?:\s|[,:;.#–—-]|\b(?:for|of|on|to|with|an?|amount|please|orders?|customer|client|it|in|him|her|them|back|"
    r"their|his|the "
    r"(?:customer|client|order|amount|money)|the(?=\s*$)|number|and|from|at|by|is|without (?:asking |any )?approval|"
    r"now|right|"
    r"away|immediately|today)\b)+",
    re.IGNORECASE,
)
_CONNECTING = re.compile(
    r"^\W*(?:(?:and|please|amount|without (?:\w+ )?approval|now|today|customer)\b\W*)+", re.IGNORECASE
)
_PAID_FOR = re.compile(r"\bof the \S+ (?:\w+ )?(?:she|he|they|that was) paid\b(?: for)?", re.IGNORECASE)
_HEAD = re.compile(
    r"\b(?:(?:send|write|draft|compose|drop)(?: (?:an?|the|another))? (?:\w+[ -]){0,3}?(?:e-?mail|mail|note|message|"
    r"letter|line)\b|"
    r"(?:send|write|drop) (?=.{2,60}?\b(?:an? )?(?:\w+[ -]){0,3}(?:e-?mail|mail|message|letter|note|line)\b)|"
    r"e-?mail(?! (?:address )?(?:of|for|to (?:be|\S+@)))|mail(?! (?:address|from))|write(?! me\b)(?: to)?|notify|"
    r"inform|message|"
    r"let (?=.{2,60}? know)|tell (?!me\b)|remind|reply(?: to)?|apologi[sz]e(?: to)?|say sorry to|thank|congratulate|"
    r"ask (?=.{2,60}?\b(?:whether|if|to|for|about|how|when|what)\b)(?!me\b))",
    re.IGNORECASE,
)
_TEXT = re.compile(
    r"(?:\b(?P<word>that|saying(?: that)?|to say(?: that)?|to tell (?:her|him|them)(?: that)?|telling (?:her|him|"
    r"them)(?: that)?|"
    r"know(?: that)?|whether|if|about|regarding|asking|to (?=\w+ (?:us|me|the|a|an|their|her|his)\b)|with the "
    r"(?:text|message)|"
    r"for|how|when|what)\b|(?P<colon>:))\s*(?P<rest>.+)$",
    re.IGNORECASE,
)
_KEEP = frozenset(("whether", "if", "about", "regarding", "asking", "to", "for", "how", "when", "what"))
_FILLING = re.compile(
    r"^\W*(?:(?:to|the|a|an|customer|client|her|him|them|it|of|for|e-?mail|mail|message|note|too|please|now|know|"
    r"quickly|short|quick|as well)\b\W*)+",
    re.IGNORECASE,
)
_QUOTED = re.compile(r"[\"“]([^\"“”]{1,4000})[\"”]")
_SUBJECT = re.compile(
    r",?\s*(?:with )?(?:the )?subject(?: line)?:?\s*(?:[\"“]([^\"“”]{1,150})[\"”]|([^,.:;]{3,80}))", re.IGNORECASE
)
_CHANGE = re.compile(
    r"\b(change|update|set|correct|replace|modify|edit|switch|make|upgrade|downgrade|move)\b", re.IGNORECASE
)
_NOTED = re.compile(
    r"\b(?:note|remark|comment)\b(?: down)?(?:\s+(?:on|for|to|in|about|against)\b(?P<who>[^:]*?))?\s*(?:\bthat\b|"
    r"\bsaying\b|:)"
    r"\s+(?P<text>.+)$",
    re.IGNORECASE,
)
_ADD_NOTE = re.compile(r"\badd (?P<text>[\"“].+?[\"”]|.+?) to the notes?\b(?P<who>.*)$", re.IGNORECASE)
_CLEAR = re.compile(r"\b(?:clear|delete|remove|empty|erase)\b.{0,40}\bnotes?\b", re.IGNORECASE)
_TIER = re.compile(r"\b(standard|silver|gold|platinum)\b", re.IGNORECASE)


def whom(text: str) -> Whom:
    """The order or customer that `text` names."""
    nth = _NTH.search(text)
    number = None
    if nth is not None:
        number = int(nth[3]) if nth[3] else _ORDINALS[(nth[1] or nth[2]).lower()]
    pick = Pick.NEWEST if _NEWEST.search(text) else Pick.OLDEST if _OLDEST.search(text) else None
    order = words.order_number(text)
    return Whom(
        order=order,
        customer_id=words.customer_id(text),
        email=words.email(text),
        name=words.name(text),
        nth=number if order is None else None,
        pick=pick if order is None and number is None else None,
        hint=text[:400],
    )


def refund(part: str) -> Refund:
    amount = words.amount(part)
    share = None if amount is not None else words.share(part)
    if amount is None and share is None:
        number = words.order_number(part)
        amount = words.plain_amount(part.replace(number, " ", 1) if number is not None else part)
    return Refund(_owner(part), amount, share, _reason(part))


def _owner(part: str) -> Whom:
    """Whom a refund is for. Names in the reason are no owner."""
    because = _BECAUSE.search(part)
    head = part[: because.start()] if because else part
    found = whom(head)
    if found.order is None:
        return found
    before = re.split(r",(?! *(?:for|of|to)\b)", head)
    near = whom(next((piece for piece in before if found.order in piece), before[0]))
    return Whom(order=found.order, customer_id=near.customer_id, email=near.email, name=near.name, hint=found.hint)


def _reason(part: str) -> str:
    """What is left of the clause once order, amount and politeness are taken out."""
    because = _BECAUSE.search(part)
    pieces = [because[1]] if because else re.split(r"\s*(?:,\s+|;\s*|\.\s+|\s[–—-]\s|:\s+)", part)
    found = []
    for piece in pieces:
        is_head = not because and _REFUND_HEAD.match(piece) is not None
        rest = _REFUND_HEAD.sub(" ", _PAID_FOR.sub(" ", piece)) if is_head else piece
        for pattern in (words.ORDER, words.CUSTOMER_ID, words.EMAIL):
            rest = pattern.sub(" ", rest)
        rest = words.without_money(rest)
        if is_head:
            name = words.name(piece)
            rest = re.sub(rf"{re.escape(name)}(?:['’]s)?", " ", rest) if name else rest
            rest = re.sub(r"\b[0-9][0-9.,]*\b|['’]s\b|\b(?:the )?money back\b|\bback\b", " ", rest)
            rest = _LEADING.sub("", _NEWEST.sub(" ", _OLDEST.sub(" ", _NTH.sub(" ", rest))))
            rest = rest if " " in rest.strip() else ""
        rest = _CONNECTING.sub("", rest)
        rest = " ".join(rest.split()).strip(" ,;.:-–—#")
        if (
            len(rest) >= 4
            and "masked" not in rest
            and re.search(r"[^\W\d_]{3}", rest)
            and not re.fullmatch(r"(?:USD|EUR|please|order)", rest)
        ):
            found.append(rest)
    return ", ".join(found)[:400]


def mail_head(part: str) -> re.Match[str] | None:
    return _HEAD.search(part)


def mail(part: str, head: re.Match[str]) -> Mail:
    subject = _SUBJECT.search(part)
    named = (subject[1] or subject[2]).strip() if subject is not None else ""
    body = part[head.end() :]
    if subject is not None:
        body = _SUBJECT.sub("", body)
    verb = head[0].lower()
    found = _TEXT.search(body)
    to = whom(head[0] + (body[: found.start()] if found is not None else body))
    if to.nobody:
        # "Mail the customer of order 1042": the order may be named anywhere, people only before the text.
        rest = whom(part)
        to = Whom(order=rest.order, pick=rest.pick, nth=rest.nth, hint=rest.hint)
    quoted = _QUOTED.search(body)
    if quoted is not None:
        return Mail(to, quoted[1].strip(), named, verbatim=True)
    return Mail(to, _about(verb, body, found, part)[:4000], named)


def _about(verb: str, body: str, found: re.Match[str] | None, part: str) -> str:
    text = ""
    if found is not None:
        word = (found["word"] or "").lower().strip()
        text = found["rest"].strip(" .")
        if word in _KEEP:
            text = f"{word} {text}"
    if verb.startswith(("apolog", "say sorry")):
        return f"we are sorry {text}".strip() if text else "we are sorry for the trouble"
    if verb == "thank" or re.search(
        r"\bthank[- ]?you\b(?=[\w -]{0,20}\b(?:mail|e-?mail|note|message|letter|line)\b)", part, re.IGNORECASE
    ):
        return f"thank you {text}".strip()
    if verb.startswith(("ask", "remind", "congrat")) and text:
        return f"{verb.split()[0]} {text}"
    if found is None:
        name = words.name(body)
        rest = body.replace(name, " ") if name else body
        for pattern in (words.CUSTOMER_ID, words.EMAIL, words.ORDER):
            rest = pattern.sub(" ", rest)
        rest = _FILLING.sub("", rest)
        text = rest.strip(" .,!?") if len(rest.split()) >= 3 else ""
    return text


def change(part: str) -> Intent | None:
    """A change of a customer's record, or of something nothing here may change."""
    for pattern in (_NOTED, _ADD_NOTE):
        noted = pattern.search(part)
        if noted is not None and not re.match(r"\W*(?:send|write|drop)\b", part, re.IGNORECASE):
            text = noted["text"].strip(' "“”')
            replaces = re.match(r"\W*(?:replace|change|set|overwrite)\b", part, re.IGNORECASE) is not None
            return Change(whom(part.replace(noted["text"], " ")), "note", text[:1500], add=not replaces)
    if _CLEAR.search(part):
        return Change(whom(part), "note", "")
    verb = _CHANGE.search(part)
    moved = re.search(r"\b(?:moved|has moved|lives now|new address is)\b(?: to)?:?\s+(.+)$", part, re.IGNORECASE)
    if moved is not None and mail_head(part) is None:
        return Change(whom(part[: moved.start(1)]), "address", moved[1].strip(" ."))
    if verb is None or (mail_head(part) is not None and mail_head(part).start() < verb.start()):  # type: ignore[union-attr]
        return None
    for field, names in FIELDS:
        found = re.search(rf"\b(?:{names})\b(.*?)(?:\b(?:to|as|with)\b|:|=)\s+(.+)$", part, re.IGNORECASE)
        if found is not None:
            value = found[2].strip(' ."“”')
            return Change(whom(part[: found.start(2)]), field, value.lower() if field == "tier" else value[:300])
    tier = _TIER.search(part)
    if tier is not None and re.search(r"\b(make|upgrade|downgrade|move|set|change|switch)\b", part, re.IGNORECASE):
        return Change(whom(part[: tier.start()] + part[tier.end() :]), "tier", tier[1].lower())
    other = _UNCHANGEABLE.search(part)
    if other is not None and re.match(r"\W*(?:change|update|set|correct|replace|modify|edit)\b", part, re.IGNORECASE):
        return Unable(f"change {other[1].lower()}s of customers or orders; phone, address, tier and note I can")
    return None
