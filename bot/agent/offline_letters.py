"""The mails that the offline stand-in drafts. Knows what was asked to be written and the records; sends none."""

from __future__ import annotations

import re
from collections.abc import Sequence

from bot.agent.offline_memory import Record
from bot.agent.offline_money import money

_REFUNDED = re.compile(
    r"\b(?:refund(?:ed|s)?|(?:the|their|her|his) money|reimburse\w*)\b|"
    r"^(?:that )?(?:it|this|the money|the refund)(?:'s| is| has been| was| will be)? "
    r"(?:now |already )?(?:on (?:its|the) way|coming|processed|done|issued|under ?way|approved|sent)\b",
    re.IGNORECASE,
)
_IT = re.compile(r"^(?:it|this|that)(?='s| is| will| has| was| should| arrives| ships)", re.IGNORECASE)
_SWAPS = (
    (r"\b(?:she|he|the customer|the client)'s\b", "you are"),
    (r"\b(?:she|he|they|the customer|the client) (?:is|are)\b", "you are"),
    (r"\bthey're\b", "you are"),
    (r"\b(?:she|he|they|the customer) (?:was|were)\b", "you were"),
    (r"\b(?:she|he|they|the customer) (?:has|have)\b", "you have"),
    (r"\b(?:she|he|the customer) (?:does)\b", "you do"),
    (r"\b(?:she|he) ([a-z]{3,}[^s\W])s\b", r"you \1"),
    (r"\b(?:she|he|they|the customer|the client)\b", "you"),
    (r"\b(?:the customer's|her|his|their)(?= [a-z])(?! (?:to|that|when|if|at|on|for|by|in|and|know)\b)", "your"),
    (r"\b(?:hers|theirs)\b", "yours"),
    (r"\b(?:her|him|them)\b", "you"),
)


def announces(about: str) -> bool:
    """Whether a mail about `about` says that a refund is coming. Nothing said: it does, beside a refund."""
    return not about or _REFUNDED.search(about) is not None


def speaks_of_a_person(text: str) -> bool:
    return re.search(r"\b(?:she|he|they|her|his|him|their|them|customer)\b", text, re.IGNORECASE) is not None


def letter(
    about: str, to: Record | None, order: Record | None, refunds: Sequence[Record], sender: str, subject: str = ""
) -> tuple[str, str]:
    """Subject and body of a mail about `about`, to `to`. `refunds`: the arguments of those it announces."""
    first = str((to or {}).get("name", "")).split(" ")[0]
    greeting = f"Hello {first}," if first else "Hello,"
    if refunds:
        numbers = " and ".join(str(one.get("order_id")) for one in refunds)
        each = [f"{money(one.get('amount'), one.get('currency'))} for order {one.get('order_id')}" for one in refunds]
        topic, text = f"Your refund for order {numbers}", f"Your refund of {' and of '.join(each)} is on its way."
    else:
        topic, text = _plain(about, order)
    return (subject or topic)[:150], f"{greeting}\n\n{text}\n\nKind regards\n{sender}"


def verbatim(text: str, sender: str, subject: str = "") -> tuple[str, str]:
    """A mail whose words were dictated: they stand as they are."""
    signed = text if re.search(r"\b(?:regards|sincerely|best wishes|yours)\b", text, re.IGNORECASE) else None
    return (subject or _topic(text))[:150], signed or f"{text}\n\nKind regards\n{sender}"


def _plain(about: str, order: Record | None) -> tuple[str, str]:
    number = f"order {order.get('order_id')}" if order is not None else "order"
    word, _, rest = about.partition(" ")
    told = to_you(rest)
    match word.lower():
        case "thank":
            what = re.sub(r"^you\b\s*", "", told) or "for your order"
            what = re.sub(r"^for (?:your|the) (?:last|latest|recent) order\b", f"for your last {number}", what)
            return "Thank you", f"Thank you very much {what}. We are glad to have you with us."
        case "whether" | "if":
            return _topic(f"A question: {told}"), f"I would like to ask whether {told}."
        case "ask" | "asking":
            told = re.sub(r"^(?:if|whether)\b", "whether", told)
            return _topic("A question"), f"I would like to ask {told if told.startswith('whether') else f'you {told}'}."
        case "remind":
            return "A reminder", f"I would like to remind you {told}."
        case "congratulate":
            return "Congratulations", f"Congratulations {told}!"
        case "about" | "regarding":
            return _topic(told), f"I am writing to you about {told}."
        case "to":
            return _topic(f"Please {told}"), f"Could you please {told}?"
        case "for" | "how" | "when" | "what":
            return _topic(told), f"I am writing to you about {'' if word == 'for' else f'{word} '}{told}."
        case _:
            told = _IT.sub(f"your {number}" if order is not None else "it", to_you(about))
            return _topic(told), _sentence(told)


def to_you(about: str) -> str:
    """The requester speaks of the customer; the mail speaks to them."""
    for pattern, word in _SWAPS:
        about = re.sub(pattern, word, about, flags=re.IGNORECASE)
    return about.strip()


def _sentence(text: str) -> str:
    text = text.strip() or "There is news about your order"
    text = text[:1].upper() + text[1:]
    return text if text.endswith((".", "!", "?")) else f"{text}."


def _topic(text: str) -> str:
    """A subject line out of the first words."""
    words = " ".join(text.split()).split(" ")
    short = " ".join(words[:9])[:120].rstrip(".,;:?!")
    return (short[:1].upper() + short[1:] + ("…" if len(words) > 9 else "")) or "A message"
