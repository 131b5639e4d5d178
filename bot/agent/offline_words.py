"""What single words and phrases mean to the offline stand-in: money, names, order numbers, days, English or not.

Knows words alone; knows no request, no record and no tool.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


_UNITS = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen"
)
UNITS = tuple(_UNITS.split())
_TENS = {
    w: 10 * n for n, w in enumerate(("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"), 2)
}
_DAYS = _set("monday tuesday wednesday thursday friday saturday sunday")
_MONTHS = _set("january february march april may june july august september october november december")
_SIGNS = {"$": "USD", "€": "EUR", "£": "GBP", "¥": "JPY"}
_CURRENCIES = _SIGNS | {
    **dict.fromkeys(("usd", "dollar", "dollars", "buck", "bucks"), "USD"),
    **dict.fromkeys(("eur", "euro", "euros"), "EUR"),
    **dict.fromkeys(("gbp", "pound", "pounds", "quid"), "GBP"),
    **dict.fromkeys(("jpy", "yen"), "JPY"),
    **{code.lower(): code for code in ("CHF", "SEK", "NOK", "DKK", "CAD", "AUD", "PLN", "CZK")},
}
_WORDS = "|".join(sorted((w for w in _CURRENCIES if w.isalpha()), key=len, reverse=True))
_NUMBER = r"[0-9]{1,3}(?:,[0-9]{3})+(?:\.[0-9]{1,2})?|[0-9]{1,3}(?:\.[0-9]{3})+,[0-9]{1,2}|[0-9]+(?:[.,][0-9]{1,2})?"
_AMOUNT = re.compile(
    rf"(?P<minus>(?<![\w])[-−]\s?|\bminus )?(?:(?:US)?(?P<sign>[$€£¥])\s?(?P<a>{_NUMBER})(?![0-9])|"
    rf"\b(?P<code>{_WORDS})\s(?P<b>{_NUMBER})(?![0-9.])|"
    rf"(?<![0-9.,])(?P<c>{_NUMBER})\s?-?(?:(?P<word>{_WORDS})\b|(?P<tail>[$€£¥])))",
    re.IGNORECASE,
)
_SPELLED = re.compile(
    rf"\b((?:(?:{'|'.join([*UNITS, *_TENS, 'hundred', 'thousand', 'and', 'a'])})(?:\s+|-))+)({_WORDS})\b",
    re.IGNORECASE,
)
_PLAIN = re.compile(
    r"(?<![\w.,$€£¥%/:+-])([0-9]{1,6}(?:\.[0-9]{1,2})?)(?=\s*(?:$|,|;|\.\s|\.$|!|\?|\)|\b(?:for|on|to|because|back|"
    r"since|"
    r"please|from)\b))",
    re.IGNORECASE,
)
_PERCENT = re.compile(r"\b([0-9]{1,3}(?:\.[0-9]{1,2})?)\s?(?:%|percent\b|per cent\b)", re.IGNORECASE)
_FULL = re.compile(
    r"\b(in full|fully|full(?: amount| refund| price)?|everything|all of (?:it|that)|all the money|all(?= they paid)|"
    r"entire|(?:the )?whole(?: amount| thing| order| lot| of)?|completely|what(?:'s| is) left|the rest|the "
    r"remainder)\b",
    re.IGNORECASE,
)
_HALF = re.compile(r"\bhal(?:f|ve)\b", re.IGNORECASE)
ORDER = re.compile(
    r"(?:\border(?:s|ed)?\b\s*(?:no\.?|number|num\.?|nr\.?|id)?\s*[#:]?\s*|#\s?)([0-9]{3,20})\b", re.IGNORECASE
)
_BARE = re.compile(r"(?<![\w.,$€£¥+@-])(?<!in )(?<!since )(?<!year )([0-9]{4,10})(?![\w%@]|[.,-][0-9])", re.IGNORECASE)
CUSTOMER_ID = re.compile(r"\bC-[0-9]{1,10}\b", re.IGNORECASE)
_CUSTOMER_NUMBER = re.compile(r"\b(?:customer|client)\s*(?:no\.?|number|id|#)?\s*#?([0-9]{3,10})\b", re.IGNORECASE)
EMAIL = re.compile(r"[A-Za-z0-9][\w.+-]{0,63}@[A-Za-z0-9-]{1,63}(?:\.[A-Za-z0-9-]{1,63})+")
_PHONE = re.compile(r"\+[0-9][0-9 ()./-]{5,30}[0-9]")
_WORD = re.compile(r"[^\W\d_][\w'’.-]*[^\W_]|[^\W\d_]")
_PARTICLES = _set("van von de der den la le di da du bin al")
_AFTER = re.compile(
    r"\b(?:for|of|to|from|by|customer|client|did|has|have|is|was|does|about|mail|e-?mail|tell|write|notify|inform|let|"
    r"remind|ask|thank|refund|find|look up|show(?: me)?|search(?: for)?|and|note on)\s+"
    r"(?:the |a )?(?:customer |client |mr\.? |mrs\.? |ms\.? )?((?:[^\W\d_][\w'’-]+\s?){1,3})",
    re.IGNORECASE,
)
_SURE = re.compile(
    r"(?:customer|client|did|has|of|for|mail|e-?mail|tell|refund|find|look up) (?!the |a )|is ", re.IGNORECASE
)
_OWNER = re.compile(r"(?<!\w)([A-Z][\w-]{2,})'s\b")
_NOT_NAMES = _set(
    "reimburse credit upgrade downgrade replace remove delete clear compose congratulate revert correct reply respond "
    "really sure exactly hmm wow test ignore erase weather like kindly hold apology apologies refunding paying prices "
    "message messages joke poem story news there's that's what's it's who's where's how's let's modify edit switch "
    "a about after again all also amount an and any are as ask at back be because been before bill broke broken "
    "but "
    "buy by can cancel change check client clients come could count country countersign currency customer "
    "customers "
    "damaged day days detail details did do does dollars draft e-mail each email euro euros ever every everybody "
    "everyone everything find first for from full get give goods had half has have he hello help her hers hey "
    "hi him "
    "his how i if in inform is issue it item its just keep know last late ledger left let list look lost mail "
    "mails "
    "make many me message minus missing money month more most mr mrs ms much my need needs never new next no not "
    "note notes notify of ok on one ones only or order ordered orders our out over owe owes paid parcel parcels "
    "pay "
    "payment payments per phone please pounds prepare problem provider put query record records reason refund "
    "refunded refunds remind reply return returned same say search second see send sent set she shipped should "
    "show "
    "since so some someone status still such team tell thank thanks that the their them then there these they "
    "thing "
    "third this those tier to today too total track tracking undo until up update us usd vip want was we week were "
    "what when where whether which who whom why will with without would write wrong year yen yes yesterday yet you "
    "your good morning evening afternoon day dear sorry apologise apologize select sql gold silver platinum "
    "standard "
    "delivered pending placed cancelled mug vase lamp chair sofa blanket pan knife board towels candles tea "
    "address "
    "number kindly go ahead got ours theirs mine eur gbp jpy chf customer's wednesday's ship ships arrived arrive "
    "arrives arriving anybody anyone nobody approval approve approved reject rejected data database everyone's "
    "another other others doing works work time times tomorrow tonight now"
) | frozenset([*_DAYS, *_MONTHS, *UNITS, *_TENS])

_FOREIGN = _set(
    "bitte bestellung bestellungen erstatte erstatten erstattung kunde kunden kundin rechnung schicke sende zurück "
    "wieviel viele nicht und für der das ein eine hallo danke guten ich euro-betrag zahlung "
    "bonjour merci commande commandes rembourse rembourser remboursez remboursement combien les des pour et une "
    "envoyez quels quelle est je "
    "hola gracias pedido pedidos reembolsa reembolsar reembolso por favor cuánto cuántos cliente clientes el los y "
    "una está envía qué "
    "ciao grazie ordine ordini rimborsa rimborsare rimborso quanti quanto il gli che un per "
    "hej tack beställning beställningen återbetala kund kunden och att en ett "
    "bestelling terugbetalen klant het een niet graag zamówienie zwróć proszę klienta objednávka vraťte prosím "
    "pedido encomenda obrigado não reembolse"
) - {"per", "en", "un", "des"}
_ENGLISH = _set(
    "the is are was were a an of to and what which who how many did does do has have please refund order orders "
    "mail "
    "customer customers send show tell find look up change set note my me i in on for that it you can"
)


@dataclass(frozen=True, slots=True)
class Amount:
    """An amount as it was written: a decimal string with two places. `currency` None: the order's own."""

    text: str
    currency: str | None


def amount(text: str) -> Amount | None:
    """The first amount of money in `text` that names its currency."""
    found = _AMOUNT.search(text)
    spelled = _SPELLED.search(text)
    if spelled is not None and (found is None or spelled.start() < found.start()):
        value = number_word(spelled[1])
        if value is not None:
            return Amount(f"{value}.00", _CURRENCIES[spelled[2].lower()])
    if found is None:
        return None
    currency = _CURRENCIES[(found["sign"] or found["code"] or found["word"] or found["tail"]).lower()]
    value_text = _decimal(found["a"] or found["b"] or found["c"])
    return Amount(f"-{value_text}" if found["minus"] else value_text, currency)


def plain_amount(text: str) -> Amount | None:
    """An amount without a currency: "42.50", or "42" where nothing else can be meant."""
    found = _PLAIN.search(without_money(CUSTOMER_ID.sub(" ", ORDER.sub(" ", text))))
    return Amount(_decimal(found[1]), None) if found is not None else None


def share(text: str) -> Decimal | None:
    """What part of the payment is meant, in percent; 100: all that is left."""
    percent = _PERCENT.search(text)
    if percent is not None:
        return Decimal(percent[1])
    if _HALF.search(text):
        return Decimal(50)
    return Decimal(100) if _FULL.search(text) else None


def without_money(text: str) -> str:
    """`text` with amounts and shares taken out."""
    for pattern in (_AMOUNT, _SPELLED, _PERCENT, _FULL, _HALF):
        text = pattern.sub(" ", text)
    return text


def order_number(text: str) -> str | None:
    found = ORDER.search(text)
    if found is None:
        found = _BARE.search(
            _PHONE.sub(" ", without_money(EMAIL.sub(" ", _CUSTOMER_NUMBER.sub(" ", CUSTOMER_ID.sub(" ", text)))))
        )
    return found[1] if found is not None else None


def customer_id(text: str) -> str | None:
    found = CUSTOMER_ID.search(text)
    if found is not None:
        return found[0].upper()
    numbered = _CUSTOMER_NUMBER.search(text)
    return f"C-{numbered[1]}" if numbered is not None else None


def email(text: str) -> str | None:
    found = EMAIL.search(text)
    return found[0] if found is not None and len(found[0]) <= 254 else None


def phone(text: str) -> str | None:
    found = _PHONE.search(text)
    return found[0] if found is not None else None


def name(text: str) -> str | None:
    """Whose name stands in `text`: two capitalised words, else what follows "customer", "for", "did", …"""
    text = CUSTOMER_ID.sub(" ; ", EMAIL.sub(" ", text))
    shouted = text.isupper()
    for run in () if shouted else _capitalised(text):
        if len(run) >= 2:
            return " ".join(run)
    for found in _AFTER.finditer(text.lower() if shouted else text):
        words = [_bare(word) for word in found[1].split()]
        wanted: list[str] = []
        for word in words:
            if word.lower() in _NOT_NAMES or len(word) < 3:
                break
            wanted.append(word)
        # A lower-case word alone is more often a thing than a person.
        if wanted and (wanted[0][0].isupper() or (len(wanted) == len(words) == 2 and _SURE.match(found[0]))):
            return " ".join(wanted)
    single = None if shouted else _OWNER.search(text)
    return single[1] if single is not None and single[1].lower() not in _NOT_NAMES else None


def only_a_name(text: str) -> str | None:
    """`text`, if it is nothing but one to three words that may be a name."""
    words = [_bare(word) for word in text.strip(" .!?,").split()]
    fits = 1 <= len(words) <= 3 and all(_WORD.fullmatch(word) and word.lower() not in _NOT_NAMES for word in words)
    return " ".join(words) if fits and len(words[0]) >= 3 else None


def number_word(words: str) -> int | None:
    """``forty-two`` -> 42. None: not a number above zero."""
    total = group = 0
    for word in re.split(r"[\s-]+", words.lower().strip()):
        if word in UNITS:
            group += UNITS.index(word)
        elif word in _TENS:
            group += _TENS[word]
        elif word == "hundred":
            group = max(group, 1) * 100
        elif word == "thousand":
            total, group = total + max(group, 1) * 1000, 0
    return total + group or None


def is_foreign(text: str) -> bool:
    """Whether `text` is in another language than English, as far as a word list can tell."""
    letters = [c for c in text if c.isalpha()]
    if letters and sum(ord(c) > 0x24F for c in letters) * 3 > len(letters):
        return True
    words = re.findall(r"[^\W\d_]+", text.lower())
    foreign = sum(word in _FOREIGN for word in words)
    return foreign > sum(word in _ENGLISH for word in words)


def _decimal(number: str) -> str:
    if re.fullmatch(r"[0-9]+,[0-9]{1,2}", number) or re.fullmatch(r"[0-9.]+,[0-9]{1,2}", number):
        number = number.replace(".", "").replace(",", ".")
    return f"{Decimal(number.replace(',', '')):.2f}"


def _capitalised(text: str) -> list[list[str]]:
    """Runs of words that begin with a capital and can be a name, in order."""
    runs: list[list[str]] = []
    run: list[str] = []
    end = -1
    for found in _WORD.finditer(text):
        word, joined = _bare(found[0]), text[end : found.start()] == " "
        end = found.end()
        named = word[:1].isupper() and word.lower() not in _NOT_NAMES
        if run and joined and (named or word.lower() in _PARTICLES):
            run.append(word)
        else:
            runs.append(run)
            run = [word] if named else []
        if found[0] != word:
            # "Lindqvist's chair": a possessive ends the name.
            runs.append(run)
            run = []
    return [_trimmed(one) for one in [*runs, run]]


def _trimmed(run: list[str]) -> list[str]:
    while run and not run[-1][:1].isupper():
        run = run[:-1]
    return run


def _bare(word: str) -> str:
    return re.sub(r"['’]s?$", "", word).rstrip(".,")
