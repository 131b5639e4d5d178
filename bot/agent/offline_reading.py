"""Sentences -> intents, for the offline stand-in. Patterns, no language model: English alone.

Knows words; knows no record, no tool result and no person. Whatever it does not recognise it leaves unrecognised.
"""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import date

from bot.agent import offline_words as words
from bot.agent.offline_clauses import change, mail, mail_head, refund, whom
from bot.agent.offline_intents import (
    Change,
    Intent,
    Ledger,
    LookUp,
    Mail,
    Refund,
    Talk,
    Topic,
    Unable,
    Undo,
    What,
    Whom,
)
from bot.agent.offline_questions import question
from bot.agent.offline_topics import about_requests, whole

_POLITE = re.compile(
    r"^(?:\W*(?:hi|hello|hey|good (?:morning|afternoon|evening|day)|dear)\b(?: there| countersign| bot| "
    r"team)?[\s,.!:-]+|"
    r"\W*(?:please|pls|kindly|so|ok|okay|now|then|also|and|well|sorry|thanks|thank you)\b[\s,!.:-]*|"
    r"(?:can|could|would|will) (?:you|we|i)(?: please| kindly| also| then)?\s+(?!see\b)|would you mind\s+|"
    r"(?:i|we)(?:'d| would) like (?:you )?to\s+|(?:i|we) (?:want|need|have|wish) (?:you )?to\s+|"
    r"(?:i|we) (?:want|need|would like|'d like) (?=(?:a |the )?(?:refund|mail|e-?mail))|"
    r"(?:go ahead and|let's|let us|make sure to|be so kind (?:as )?to)\s+)+",
    re.IGNORECASE,
)
_NUMBER = re.compile(r"\b(orders?)\s+(?:no|nr|num|number)\b\.?\s*#?\s*(?=[0-9])", re.IGNORECASE)
_MENTION = re.compile(r"^\W*<?@[\w.-]+>?[\s,:]*")
_VERBS = (
    r"e-?mail|mail|write|notify|inform|let (?!me\b)|tell (?!me\b)|send|message|refund|reimburse|note (?:on|for|that|"
    r"down)|"
    r"change|update|set|correct|look up|look|show|find|what|which|how|who|when|where|list|check|give|tell me|pay back|"
    r"undo|revert|remind|apologi[sz]e|thank|ask|add a note|upgrade|cancel|approve|credit|has|did|is|was"
)
_AGAIN_WORDS = r"(?:(?:for )?order #?[0-9]{3,}|[$€£¥]?[0-9][0-9.,]* ?(?:\w+ )?(?:on|for) (?:order )?#?[0-9]{3,})"
_AGAIN = re.compile(_AGAIN_WORDS, re.IGNORECASE)
_SPLIT = re.compile(
    r"(?:\s*(?:[;!?]|(?<![A-Z])\.)\s+(?:(?:and|then|also)\s+)?|\s*,?\s+(?:and then|and also|and|then|also|plus)\s+|"
    r"\s*,\s+(?=(?:then|please|and)\s))"
    rf"(?=(?:also |then |please |can you |could you )*(?:{_VERBS})\b|{_AGAIN_WORDS}\b)",
    re.IGNORECASE,
)
_SENTENCE = re.compile(r"(?<=[.!?;])\s+(?=[A-Z0-9$€£])")
_QUOTED = re.compile(r"[\"“][^\"“”]{1,4000}[\"”]")
_REFUND = re.compile(
    r"\b(refund(?:ing)?|reimburse|money back|pay(?:ing)? .{0,40}\bback|give .{0,40}\bback|credit(?! card))\b",
    re.IGNORECASE,
)
_NOT = re.compile(
    r"\b(?:do not|don't|never|not) (?:\w+ )?(?:refund|mail|e-?mail|send|pay|write|change)\b", re.IGNORECASE
)
_ASKS = re.compile(
    r"^\W*(?:(?:what|which|when|how|who|whose|where|why|was|were|is|are|has|have|had|did|does|do|should|may|"
    r"show|list|find|check|look|display|open|pull up|get|see|search|give me|tell me|status|info|details|track|"
    r"anything)\b|"
    r"what's|who's|where's|how's)",
    re.IGNORECASE,
)
_UNDO = re.compile(
    r"\b(undo|revert|(?:take|roll|put|change) (?:that|it|this)(?: change)? back|roll back)\b", re.IGNORECASE
)
_UNABLE = re.compile(
    r"^(?:cancel|delete|remove|erase|ship|re-?send|replace|create|order|charge|call|ring|schedule|book|translate|"
    r"reset|block|"
    r"unblock|close|reopen|merge|export|import|print|upload|download|transfer|wire|pay|buy|grant|make me|give "
    r".{1,30} access|"
    r"promote|hire|fire|run|execute|kill|resume|invoice|discount)\b[^.?!]{0,60}",
    re.IGNORECASE,
)
_EVERYBODY = re.compile(r"\b(?:all (?:the |our |of )?(?:customers|orders|clients)|every (?:customer|order|client)|"
                        r"everybody|everyone)\b", re.IGNORECASE)  # fmt: skip
_LEDGER = re.compile(r"\b(ledger|refunds|payments|transactions|bookings)\b", re.IGNORECASE)
_MONEY_WORDS = re.compile(r"\b(paid|payments?|pays?|refund(?:ed|able|s)?|left|ow(?:e|es|ed)|balance|spent|spend)\b")
_ASPECTS = (
    ("note", r"\bnotes?\b"),
    ("phone", r"\b(?:phone|telephone|mobile|call)\b"),
    ("email", r"\be-?mail\b|\bmail address\b"),
    ("address", r"\baddress\b|\blives?\b"),
    ("tier", r"\b(?:tier|level)\b"),
    ("tracking", r"\btrack(?:ing)?\b"),
)
_SEARCH = re.compile(
    r"\b(?:(?:customers?|clients?|anyone|anybody|someone|somebody|people|everyone)\s+(?:who (?:is|are) )?(?:in|from|"
    r"at|near|"
    r"named|called|living in|with (?:the )?(?:name|phone|phone number|number|address))|live in|lives in|search(?: "
    r"for)?)\s+"
    r"(.{2,80}?)[?.!]*$",
    re.IGNORECASE,
)


def read(text: str, today: date | None = None) -> tuple[Intent, ...]:
    """Everything `text` asks for that this stand-in understands, in order; empty: nothing."""
    text = _NUMBER.sub(r"\1 ", _MENTION.sub("", " ".join(text.replace("’", "'").split())))
    topic = whole(text)
    if topic is not None:
        return (Talk(topic),)
    text = _POLITE.sub("", text)
    if words.is_foreign(text):
        return (Talk(Topic.FOREIGN),)
    if question(text, today) is not None and text.lower().startswith(("select", "with", "run", "query")):
        return (question(text, today),)  # type: ignore[return-value]  # it is there, the line above says
    read_parts = [(part, _clause(part, today)) for part in parts(text)]
    return _joined(read_parts) or _mentioned(text)


def parts(text: str) -> list[str]:
    """The clauses of a request: "refund …, and mail …" is two. What stands in quotation marks stays whole."""
    quoted = [found.span() for found in _QUOTED.finditer(text)]
    begin, pieces = 0, []
    cuts = sorted({found.span() for pattern in (_SPLIT, _SENTENCE) for found in pattern.finditer(text)})
    for start, end in cuts:
        if start >= begin and not any(a < end and start < b for a, b in quoted):
            pieces.append(text[begin:start])
            begin = end
    pieces.append(text[begin:])
    return [tidy for piece in pieces if (tidy := _POLITE.sub("", piece.strip(" ,;"))).strip(" .!?-")]


def follow(asked: tuple[Intent, ...], reply: str, question_asked: str, today: date | None = None) -> tuple[Intent, ...]:
    """What is wanted, after `reply` was given to a question about `asked`. A new request takes its place."""
    new = read(reply, today)
    if "shall I write" in question_asked and not any(isinstance(one, Talk | Refund) for one in new):
        return tuple(_told(one, reply, new) for one in asked)
    if any(not _continues(one, asked, reply) for one in new):
        return new
    target = whom(reply)
    if target.nobody:
        target = replace(target, name=words.only_a_name(reply))
    how_much = "How much" in question_asked
    found = [_answered(one, target, reply, how_much) for one in asked]
    return tuple(found) if tuple(found) != asked or not new else new


# --- one clause -------------------------------------------------------------------------------------


def _clause(part: str, today: date | None) -> Intent | None:
    if _UNDO.search(part):
        return Undo()
    has_order = words.order_number(part) is not None
    topic = about_requests(part)
    if topic is Topic.APPROVE or (topic is not None and not has_order):
        return Talk(topic)
    if _NOT.search(part):
        return None
    asks = _ASKS.match(part) is not None
    target = whom(part)
    if not target.named and target.order is None:
        counted = question(part, today)
        if counted is not None and not isinstance(_ledger(part, target), Ledger):
            return counted
    return _act(part, asks) or _unable(part, asks) or _ledger(part, target) or _look_up(part, asks, target)


def _act(part: str, asks: bool) -> Intent | None:
    """A refund, a change or a mail."""
    if asks:
        return None
    back, head = _REFUND.search(part), mail_head(part)
    if re.match(r"\W*(?:note|add|change|set|update|replace|clear|remark)\b", part, re.IGNORECASE):
        changed = change(part)
        if changed is not None:
            return changed
    if (back or head) and _EVERYBODY.search(part) and whom(part).nobody:
        return Unable("do that for everybody at once: one order, or one customer, at a time")
    if back is not None and (head is None or back.start() < head.start()):
        return refund(part)
    return change(part) or (mail(part, head) if head is not None else None)


def _unable(part: str, asks: bool) -> Intent | None:
    found = None if asks else _UNABLE.match(part)
    if found is None or (re.match(r"order\b", part, re.IGNORECASE) and words.order_number(part)):
        return None
    return Unable(found[0].strip(" ,"))


def _ledger(part: str, target: Whom) -> Intent | None:
    found = _LEDGER.search(part)
    if found is None or not (target.nobody or (target.named and target.order is None and "ledger" in part.lower())):
        return None
    if re.search(
        r"\b(how many|count|number of|per|by|largest|biggest|smallest|total|over|above|under)\b", part, re.IGNORECASE
    ):
        return None
    low = part.lower()
    kind = "refund" if "refund" in low else "payment" if "payment" in low else None
    span = re.search(r"\b(today|yesterday|(?:this|last|past|current) \w+|[0-9]+ days)\b", low)
    return Ledger(kind, part if span else None)


def _look_up(part: str, asks: bool, target: Whom) -> Intent | None:
    low = part.lower()
    short = len(part.split()) <= 5
    if not (asks or short or "?" in part):
        return None
    found = _SEARCH.search(part)
    if found is not None and not (target.customer_id or target.email or target.order):
        return LookUp(
            Whom(), What.SEARCH, words=re.sub(r"^(?:the |for )", "", found[1].strip(" '\""), flags=re.IGNORECASE)
        )
    number = words.phone(part)
    if number is not None and target.nobody:
        return LookUp(Whom(), What.SEARCH, words=number)
    aspect = next((name for name, pattern in _ASPECTS if re.search(pattern, low)), "")
    one_order = target.order is not None or target.pick is not None
    if _MONEY_WORDS.search(low):
        return LookUp(target, What.PAYMENTS)
    if one_order:
        on_order = aspect if aspect == "tracking" else ""
        of_customer = aspect and aspect != "tracking" and target.order is not None
        return LookUp(target, What.CUSTOMER, aspect) if of_customer else LookUp(target, What.ORDER, on_order)
    if re.search(r"\b(orders?|ordered|bought|buy|purchas\w+)\b", low) and (not target.nobody or _pronoun(low)):
        return LookUp(target, What.ORDERS)
    if target.nth is not None:
        return LookUp(target, What.ORDER)
    cue = re.search(
        r"\b(customer|client|who|whose|look|find|show|search|know|about|where|when|status|parcel|package)\b", low
    )
    if re.search(r"\b(parcel|package|delivery|shipped|delivered|arrive\w*)\b", low) and (asks or "?" in part):
        return LookUp(target, What.ORDER)
    if target.named or (aspect and (asks or "?" in part)) or (cue and _pronoun(low) and asks):
        return LookUp(target, What.CUSTOMER, aspect)
    name = words.only_a_name(part)
    return LookUp(Whom(name=name, hint=part), What.CUSTOMER) if name and part[:1].isupper() else None


def _pronoun(low: str) -> bool:
    return re.search(r"\b(she|he|they|her|his|him|them|their|it|that|this|the customer)\b", low) is not None


# --- several clauses --------------------------------------------------------------------------------


def _joined(found: list[tuple[str, Intent | None]]) -> tuple[Intent, ...]:
    """Clauses that lean on others get from them who is meant; what is no request of its own explains its neighbour."""
    intents: list[Intent] = []
    said: list[str] = []
    acts = any(isinstance(intent, Refund | Mail | Change) for _, intent in found)
    for part, read_as in found:
        intent = _like_before(part, read_as, intents)
        if acts and isinstance(intent, LookUp) and _ASKS.match(part) is None:
            intent = None  # "Order 1042 arrived broken. Refund it": it tells why
        if intent is not None:
            intents.append(intent)
        elif (
            intents
            and isinstance(intents[-1], Mail | Change)
            and isinstance(_with_more(intents[-1], part), Mail | Change)
        ):
            intents[-1] = _with_more(intents[-1], part)
        elif not _NOT.search(part):
            said.append(part)
    around = [whom(part) for part in said]
    before = next((one for one in around if not one.nobody), Whom())
    explained: list[Intent] = []
    for intent in intents:
        if isinstance(intent, Refund) and not intent.reason and said:
            intent = replace(intent, reason=" ".join(said).strip(" .")[:400])
        if isinstance(intent, Refund) and intent.amount is None and intent.share is None:
            more = " ".join(said)
            intent = replace(
                intent, amount=words.amount(more), share=words.share(more) if words.amount(more) is None else None
            )
        if isinstance(intent, Refund | Mail | LookUp | Change) and not (isinstance(intent, LookUp) and intent.words):
            intent = replace(intent, whom=intent.whom.filled(before))
            before = intent.whom if not intent.whom.nobody else before
        explained.append(intent)
    return tuple(explained)


def _like_before(part: str, intent: Intent | None, intents: list[Intent]) -> Intent | None:
    """ "Refund order 1042, 5 dollars, and order 1047, 6 dollars": the second is a refund too."""
    again = _AGAIN.match(part) is not None
    if again and intents and isinstance(intents[-1], Refund) and (intent is None or isinstance(intent, LookUp)):
        return refund(f"refund {part}")
    return intent


def _with_more(intent: Intent, part: str) -> Intent:
    """What was cut off at an "and" belongs to the text before it."""
    if isinstance(intent, Mail) and intent.about and not intent.verbatim:
        return replace(intent, about=f"{intent.about} and {part}"[:4000])
    if isinstance(intent, Change) and intent.field == "note":
        return replace(intent, value=f"{intent.value} and {part}"[:1500])
    return Talk(Topic.NEVER_MIND)


def _mentioned(text: str) -> tuple[Intent, ...]:
    """No request, but an order or a customer: show it."""
    target = whom(text)
    if _NOT.search(text) or target.nobody or target.nth is not None or target.pick is not None:
        return ()
    return (LookUp(target, What.ORDER if target.order else What.CUSTOMER),)


# --- answers to questions ---------------------------------------------------------------------------


def _continues(new: Intent, asked: tuple[Intent, ...], reply: str) -> bool:
    """Whether `new`, read from a reply, may be part of the answer and no request of its own."""
    if isinstance(new, LookUp):
        return _ASKS.match(reply) is None and not new.words
    same = any(type(one) is type(new) for one in asked)
    leans = isinstance(new, Refund | Mail | Change) and (new.whom.nobody or new.whom.nth is not None)
    return same and leans


def _answered(intent: Intent, target: Whom, reply: str, how_much: bool) -> Intent:
    if isinstance(intent, Refund):
        amount = words.amount(reply) or (words.plain_amount(reply) if how_much else None)
        if how_much and amount is None and re.fullmatch(r"[0-9]{1,6}", reply.strip(" .!")):
            amount = words.Amount(f"{reply.strip(' .!')}.00", None)
        share = words.share(reply) if amount is None else None
        if how_much and (amount is not None or share is not None):
            return replace(intent, amount=amount, share=share)
        intent = replace(intent, amount=amount or intent.amount, share=share or (None if amount else intent.share))
        return replace(intent, whom=intent.whom.answered(target))
    if isinstance(intent, Mail | Change) or (isinstance(intent, LookUp) and not intent.words):
        return replace(intent, whom=intent.whom.answered(target))
    return intent


def _told(intent: Intent, reply: str, new: tuple[Intent, ...]) -> Intent:
    if not isinstance(intent, Mail):
        return intent
    better = next((one for one in new if isinstance(one, Mail) and one.about), None)
    if better is not None:
        return replace(intent, about=better.about, verbatim=better.verbatim)
    quoted = _QUOTED.search(reply)
    if quoted is not None:
        return replace(intent, about=quoted[0][1:-1], verbatim=True)
    return replace(
        intent, about=re.sub(r"^\W*(?:that|about|write|say)\s+", "", reply, flags=re.IGNORECASE).strip()[:4000]
    )
