"""The sentences of the offline stand-in: what it read, what waits, what it cannot do. Knows no pattern and no call."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import TypeAlias

from bot.agent.offline_memory import Made, Memory, Record
from bot.agent.offline_money import decimal, money

Names: TypeAlias = Mapping[str, str]
"""Customer ids and what these customers are called."""
NOBODY: Names = {}

STAND_IN = "I am the offline stand-in of this demo: I match patterns, I am no AI."
WHICH_ORDER = "Which order do you mean? Its number will do, for example *1042*, or a customer's name?"
WHICH_CUSTOMER = "Which customer do you mean? A name, an e-mail address or an id like *C-1007* will do?"
ABLE = {
    "crm_read": "look up customers, orders and payments",
    "crm_write": "change a customer's phone, address, tier or note, and undo it",
    "ledger_read": "read the ledger",
    "db_query": "count and list orders, customers, payments and refunds",
    "email_send": "draft an e-mail to a customer, which somebody approves before it leaves",
    "refund_issue": "prepare a refund, which finance approves before it is paid",
}
_EXAMPLES = {
    "crm_read": "What did Ada Lindqvist order?",
    "crm_write": "Change the phone of C-1007 to +1 206 555 0199",
    "ledger_read": "Which refunds went out this month?",
    "db_query": "How many orders are there per status?",
    "email_send": "Mail Ada Lindqvist that her parcel arrives on Thursday",
    "refund_issue": "Refund order 1042, 42 dollars, the parcel never came",
}
_ROLES = {
    "finance_approver": "a finance approver",
    "support_lead": "a support lead",
    "sales_lead": "a sales lead",
}
_EVENT = re.compile(r"^(?P<word>[a-z ,]+): (?P<headline>.*) \(request \S+\)\. (?P<state>.*)$", re.DOTALL)


def able(offered: Iterable[str]) -> str:
    names = [name for name in ABLE if name in set(offered)]
    if not names:
        return "Your role lets me use no tool, so all I can do for you is `/countersign help`, `whoami` and `pending`."
    return "For you I can\n" + "\n".join(f"- {ABLE[name]}: *{_EXAMPLES[name]}*" for name in names)


def not_allowed(what: str) -> str:
    return f"I cannot {what} for you: your role does not include it. Nothing was done. An admin can tell you who may."


def unable(what: str, offered: Iterable[str]) -> str:
    names = [ABLE[name] for name in ABLE if name in set(offered)]
    instead = f" What I can do for you: {'; '.join(names)}." if names else ""
    return f"I cannot {what}. Nothing was done.{instead}"


def names_in(memory: Memory) -> Names:
    return {number: str(one.get("name")) for number, one in memory.customers.items()}


# --- what the door said -----------------------------------------------------------------------------


def outcome(made: Made) -> str:
    """What the door said of a call that was not held, as a sentence for the requester."""
    match made.status:
        case "done":
            return made.sentence or "I got an answer that is too long to show. Ask for less at a time."
        case "in_doubt":
            return (
                f"{made.sentence} Nobody knows yet whether it happened; a person looks into it. I will not try again."
            )
        case "held":
            return held([made])
        case "not_run":
            return "I did not get to that, so nothing was done about it. Ask me for it again."
        case _:
            said = made.sentence or "That did not work."
            said = said[:1].upper() + said[1:]
            return said if re.search(r"\b[Nn]othing\b", said) else f"{said} Nothing was done."


def held(made: Sequence[Made], names: Names = NOBODY) -> str:
    """What waits for whom, all of one answer together. `names`: what customers are called."""
    lines = [_ready(one, names) for one in made]
    stopped = " Countersign is stopped at the moment, so approvals do not count until it is resumed."
    end = "Nothing has happened yet; I will tell you here." + (
        stopped if any(one.body.get("stopped") for one in made) else ""
    )
    return f"{lines[0]} {end}" if len(lines) == 1 else "\n".join(f"- {line}" for line in lines) + f"\n\n{end}"


def _ready(made: Made, names: Names) -> str:
    """One held call. Where it was asked and until when, Countersign itself says right below."""
    after = " and for the refund it announces" if made.body.get("after") else ""
    return f"{_what(made, names)} waits for {_approvers(str(made.body.get('waiting_for', '')))}{after}."


def waits(made: Made, names: Names = NOBODY) -> str:
    """One held call: what, for whom, until when."""
    until = _moment(str(made.body.get("expires_at", "")))
    after = " and for the refund it announces" if made.body.get("after") else ""
    end = f", until {until}" if until else ""
    return f"{_what(made, names)} waits for {_approvers(str(made.body.get('waiting_for', '')))}{after}{end}."


def still_waits(made: Made, names: Names = NOBODY) -> str:
    waiting = _approvers(str(made.body.get("waiting_for", "")))
    return f"{_what(made, names)} already waits for {waiting}. I did not ask twice."


def _moment(text: str) -> str:
    """``24 Nov 00:13 UTC``, as the cards write it."""
    try:
        at = datetime.strptime(text, "%Y-%m-%d %H:%M UTC").replace(tzinfo=UTC)
    except ValueError:
        return text
    return f"{at.day} {at:%b %H:%M} UTC"


def standing(memory: Memory) -> str:
    """How the requests of this conversation stand, as far as it was told here."""
    lines = [f"- {waits(one, names_in(memory))}" for one in memory.waiting.values()]
    lines += [f"- {event(text)}" for text in memory.ended[-3:]]
    if not lines:
        return (
            "Nothing that you asked for in this conversation waits. `/countersign pending` lists everything of yours."
        )
    return "As far as I know:\n" + "\n".join(lines) + "\n\n`/countersign pending` shows it as it is this minute."


def _what(made: Made, names: Names) -> str:
    given = made.given
    if made.call.name == "refund_issue":
        return (
            f"The refund of **{money(given.get('amount'), given.get('currency'))}** for order {given.get('order_id')}"
        )
    if made.call.name == "email_send":
        return f"The e-mail “{given.get('subject')}” to {names.get(str(given.get('to')), given.get('to'))}"
    if made.call.name == "crm_write":
        return f"The change of the {given.get('field')} of {given.get('customer_id')}"
    return "Your request"


def _approvers(text: str) -> str:
    many = re.match(r"(\d+) of: (.*)", text)
    roles = [part.strip() for part in re.split(r",| or ", many[2] if many else text) if part.strip()]
    names = " or ".join(_ROLES.get(role, role.replace("_", " ")) for role in roles) or "an approver"
    if many is None:
        return names
    return f"{'two' if many[1] == '2' else many[1]} different people ({names.removeprefix('a ')}s)"


def event(text: str) -> str:
    """What became of a held call."""
    head, _, rest = text.partition("\n")
    found = _EVENT.match(head)
    if found is None:
        return head.strip() or "Something ended, but I was not told what."
    said = " ".join(line for line in rest.splitlines() if "⟦" not in line and "not instructions:" not in line).strip()
    state = found["state"].strip()
    headline = found["headline"].rstrip(".")
    if found["word"] == "executed":
        return f"Done. {said or f'{headline}.'} {state.replace(', and executed', '')}".strip()
    reason = f"\n> {said}" if said and said != "No reason was given." else ""
    return f"**{headline}**: {state[:1].lower()}{state[1:]}{reason}"


# --- orders -----------------------------------------------------------------------------------------


def left(order: Record) -> Decimal | None:
    """What can still be refunded; None: nothing was paid."""
    paid = decimal(order.get("paid"))
    return None if paid is None else paid - (decimal(order.get("refunded") or "0") or Decimal(0))


def unpaid(order: Record) -> str:
    return f"Order {order.get('order_id')} of {who(order)} was never paid, so there is nothing to refund."


def nothing_left(order: Record) -> str:
    amount = money(order.get("paid"), order.get("currency"))
    return f"Order {order.get('order_id')} was refunded in full already ({amount}). There is nothing left to refund."


def how_much(order: Record, rest: Decimal) -> str:
    return (
        f"Order {order.get('order_id')} of {who(order)}: {_items(order)}. "
        f"Of what was paid, {money(rest, order.get('currency'))} is left. How much shall I refund?"
    )


def too_much(order: Record, rest: Decimal, wanted: Decimal) -> str:
    currency = order.get("currency")
    paid, back = money(order.get("paid"), currency), decimal(order.get("refunded") or "0") or Decimal(0)
    so_far = f" and {money(back, currency)} refunded before" if back else ""
    return (
        f"{money(wanted, currency)} is more than I can refund: for order {order.get('order_id')} {paid} was "
        f"paid{so_far}, "
        f"so {money(rest, currency)} is left. I asked for nothing. How much shall I refund?"
    )


def other_currency(order: Record, asked: str) -> str:
    currency = order.get("currency")
    return (
        f"Order {order.get('order_id')} was paid in {currency}, not in {asked}, and I do not convert. I asked for "
        f"nothing. "
        f"How much shall I refund in {currency}?"
    )


def not_positive(order: Record) -> str:
    return f"A refund has to be more than zero. How much shall I refund for order {order.get('order_id')}?"


def belongs_to(order: Record, asked: str) -> str:
    number = order.get("order_id")
    return f"Order {number} belongs to {who(order)}, not to {asked}. Nothing was done. Which order do you mean?"


def which_of(customer: Record, orders: Sequence[Record]) -> str:
    if not orders:
        return f"{_label(customer)} has no orders. Nothing was done."
    lines = "\n".join(f"{n}. {order_line(one)}" for n, one in enumerate(orders, 1))
    return f"{_label(customer)} has {len(orders)} orders:\n{lines}\n\nWhich one do you mean?"


def order(record: Record, aspect: str = "") -> str:
    number = record.get("order_id")
    dates = [f"placed {record.get('placed_on')}"]
    dates += [
        f"{w} {record[k]}" for w, k in (("shipped", "shipped_on"), ("delivered", "delivered_on")) if record.get(k)
    ]
    if aspect == "tracking":
        code = record.get("tracking")
        return f"Order {number}: {record.get('status')}, " + (
            f"tracking {code}." if code else "no tracking number yet."
        )
    tracking = (
        f"; tracking {record.get('tracking')}" if record.get("tracking") and not record.get("delivered_on") else ""
    )
    return (
        f"**Order {number}** of {who(record)} is {record.get('status')} ({', '.join(dates)}{tracking}).\n"
        f"- {_items(record)}\n- total {money(record.get('total'), record.get('currency'))}; {_paid(record)}"
    )


def paid(record: Record) -> str:
    """The money side of one order."""
    return f"Order {record.get('order_id')} of {who(record)}, {record.get('status')}: {_paid(record)}."


def _paid(record: Record) -> str:
    rest, currency = left(record), record.get("currency")
    if rest is None:
        return "not paid yet"
    back = decimal(record.get("refunded") or "0") or Decimal(0)
    if not back:
        return f"**{money(record.get('paid'), currency)}** paid, nothing refunded"
    all_of_it = money(record.get("paid"), currency)
    return f"**{all_of_it}** paid, {money(back, currency)} refunded, {money(rest, currency)} left"


def orders(found: Sequence[Record], customer: Record) -> str:
    if not found:
        return f"{_label(customer)} has no orders."
    lines = "\n".join(f"{n}. {order_line(one)}" for n, one in enumerate(found, 1))
    return f"{_label(customer)} has {len(found)} order{'' if len(found) == 1 else 's'}, newest first:\n{lines}"


def paid_in_all(found: Sequence[Record], customer: Record) -> str:
    """What a customer has paid and got back, over all their orders."""
    sums: dict[str, list[Decimal]] = {}
    for one in found:
        of = sums.setdefault(str(one.get("currency")), [Decimal(0), Decimal(0)])
        of[0] += decimal(one.get("paid") or "0") or Decimal(0)
        of[1] += decimal(one.get("refunded") or "0") or Decimal(0)
    texts = [
        f"**{money(total, currency)}**" + (f", of which {money(back, currency)} was refunded" if back else "")
        for currency, (total, back) in sorted(sums.items())
        if total
    ]
    number = f"{len(found)} order{'' if len(found) == 1 else 's'}"
    return f"{_label(customer)} has paid {' and '.join(texts) or 'nothing'} so far, over {number}."


def order_line(one: Record) -> str:
    total = money(one.get("total"), one.get("currency"))
    return f"order {one.get('order_id')}, {one.get('placed_on')}, {one.get('status')}, {total}: {_items(one)}"


def who(record: Record) -> str:
    """The customer of an order."""
    owner = record.get("customer")
    return _label(owner) if isinstance(owner, Mapping) else str(record.get("customer_id"))


def _label(customer: Record) -> str:
    return f"{customer.get('name')} ({customer.get('customer_id')})"


def _items(record: Record) -> str:
    items = record.get("items")
    return ", ".join(str(item) for item in items) if isinstance(items, list) and items else "no items"
