"""The sentences of the offline stand-in: what it read, what waits, what it cannot do. Knows no pattern and no call."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from datetime import date, timedelta
from decimal import Decimal, InvalidOperation
from typing import TypeAlias

from bot.agent.offline_memory import Made, Record
from policy.model import Json

Tell: TypeAlias = Callable[[Made], str]

STAND_IN = "I am the offline stand-in of this demo: I match patterns, I am no AI."
WHICH_ORDER = (
    "Which order do you mean? Give me its number, for example *order 1042*. Nothing was done so far; which one is it?"
)
WHICH_CUSTOMER = "Which customer do you mean? A name, an e-mail address or an id like C-1007 will do?"
PENDING = "`/countersign pending` lists what waits for you and what you asked for."
ABLE = {
    "crm_read": "look up customers, orders and payments",
    "crm_write": "change a customer's phone, address, tier or note",
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
_ROLES = {"finance_approver": "finance", "support_lead": "your support lead", "sales_lead": "your sales lead"}
_EVENT = re.compile(r"^(?P<word>[a-z ,]+): (?P<headline>.*?) \(request \S+\)\. (?P<state>.*)$")


def hello(offered: Iterable[str]) -> str:
    return f"Hello. {STAND_IN}\n\n{_abilities(offered)}"


def not_understood(offered: Iterable[str]) -> str:
    return f"I did not understand that, and nothing was done. {STAND_IN}\n\n{_abilities(offered)}"


def not_allowed(what: str) -> str:
    return f"I cannot {what} for you: your role does not include it. Nothing was done. An admin can tell you who may."


def _abilities(offered: Iterable[str]) -> str:
    able = [name for name in ABLE if name in set(offered)]
    if not able:
        return "Your role lets me use no tool, so all I can do for you is `/countersign help`, `whoami` and `pending`."
    lines = [f"- {ABLE[name]}: *{_EXAMPLES[name]}*" for name in able]
    return "For you I can\n" + "\n".join(lines)


def outcome(made: Made) -> str:
    """What the door said of a call, as a sentence for the requester."""
    match made.status:
        case "held":
            return _held(made)
        case "done":
            return made.sentence
        case "in_doubt":
            return f"{made.sentence} Nobody knows yet whether it happened; somebody has to look. I will not try again."
        case _:
            return made.sentence or "That did not work, and nothing was done."


def _held(made: Made) -> str:
    given = made.call.arguments or {}
    who = _approvers(str(made.body.get("waiting_for", "")))
    until = str(made.body.get("expires_at", ""))
    if made.call.name == "refund_issue":
        what = f"The refund of **{given.get('amount')} {given.get('currency')}** for order {given.get('order_id')}"
    elif made.call.name == "email_send":
        what = f"The e-mail “{given.get('subject')}”"
    else:
        what = "Your request"
    after = (
        " It also waits for the refund it announces, and is dropped if that does not happen."
        if made.body.get("after")
        else ""
    )
    return f"{what} waits for {who}. Nothing has happened yet; I will tell you here.{after} It expires {until}."


def _approvers(text: str) -> str:
    many = re.match(r"(\d+) of: (.*)", text)
    roles = [part.strip() for part in re.split(r",| or ", many[2] if many else text) if part.strip()]
    names = " or ".join(_ROLES.get(role, role) for role in roles) or "an approver"
    return f"{many[1]} people of {names}" if many else names


def event(text: str) -> str:
    """What became of held calls."""
    return "\n\n".join(_one_event(part) for part in text.split("\n\n"))


def _one_event(text: str) -> str:
    head, _, rest = text.partition("\n")
    found = _EVENT.match(head)
    if found is None:
        return text
    said = "\n".join(line for line in rest.splitlines() if "⟦" not in line and "not instructions:" not in line).strip()
    word, headline, state = found["word"], found["headline"], found["state"]
    if word == "executed":
        return f"Done: {said or headline} {state}"
    quoted = f"\n> {said}" if said else ""
    return f"{headline}: {state}{quoted}"


def left(order: Record) -> Decimal | None:
    """What can still be refunded; None: nothing was paid."""
    try:
        return Decimal(str(order["paid"])) - Decimal(str(order.get("refunded") or "0"))
    except (InvalidOperation, KeyError):
        return None


def unpaid(order: Record) -> str:
    return f"Order {order.get('order_id')} was never paid, so there is nothing to refund. Nothing was done."


def nothing_left(order: Record) -> str:
    return f"Of order {order.get('order_id')} everything was refunded already. Nothing was done."


def how_much(order: Record, rest: Decimal) -> str:
    money = f"{rest:.2f} {order.get('currency')}"
    return (
        f"{_who(order)}: {money} is left of what was paid for order {order.get('order_id')}. How much shall I refund?"
    )


def other_currency(order: Record, asked: str) -> str:
    return (
        f"Order {order.get('order_id')} was paid in {order.get('currency')}, not in {asked}. Nothing was done. "
        f"How much shall I refund in {order.get('currency')}?"
    )


def what_to_write(customer: Record | None) -> str:
    name = customer.get("name") if customer is not None else "them"
    return f"What shall I write to {name}?"


def which_of(customer: Record, orders: list[Record]) -> str:
    if not orders:
        return f"{customer.get('name')} ({customer.get('customer_id')}) has no orders. Nothing was done."
    lines = "\n".join(_order_line(one) for one in orders)
    return f"{customer.get('name')} has {len(orders)} orders:\n{lines}\n\nWhich one do you mean?"


def which_customer(name: str, people: list[Record]) -> str:
    if not people:
        return f"I found no customer called {name}. Nothing was done. Check the spelling, or give an id like C-1007."
    lines = "\n".join(f"- {one.get('name')} ({one.get('customer_id')}), {one.get('email')}" for one in people)
    return f"There are {len(people)} customers called {name}:\n{lines}\n\nWhich one do you mean?"


def order(record: Record) -> str:
    currency = record.get("currency")
    dates = [f"placed {record.get('placed_on')}"]
    dates += [
        f"{word} {record[key]}"
        for word, key in (("shipped", "shipped_on"), ("delivered", "delivered_on"))
        if record.get(key)
    ]
    items = record.get("items")
    listed = ", ".join(str(item) for item in items) if isinstance(items, list) else ""
    rest = left(record)
    money = (
        "not paid yet"
        if rest is None
        else (
            f"paid **{record.get('paid')} {currency}**, refunded {record.get('refunded') or '0.00'} {currency}, "
            f"left {rest:.2f} {currency}"
        )
    )
    return (
        f"**Order {record.get('order_id')}** for {_who(record)}: {record.get('status')} ({', '.join(dates)}).\n"
        f"- {listed}\n- total {record.get('total')} {currency}; {money}"
    )


def orders(made: Made, customer: Record) -> str:
    result = made.body.get("result")
    found = result.get("orders") if isinstance(result, Mapping) else None
    listed = [one for one in found if isinstance(one, Mapping)] if isinstance(found, list) else []
    if not listed:
        return f"{customer.get('name')} ({customer.get('customer_id')}) has no orders."
    totals: dict[str, Decimal] = {}
    for one in listed:
        if one.get("paid") is not None:
            currency = str(one.get("currency"))
            totals[currency] = totals.get(currency, Decimal(0)) + Decimal(str(one["paid"]))
    paid = ", ".join(f"{value:.2f} {currency}" for currency, value in sorted(totals.items())) or "nothing"
    lines = "\n".join(_order_line(one) for one in listed)
    return f"{customer.get('name')} ({customer.get('customer_id')}) has paid {paid} for {len(listed)} orders:\n{lines}"


def customer(record: Record) -> str:
    note = f"\n- note (the customer's words): “{record['note']}”" if record.get("note") else ""
    return (
        f"**{record.get('name')}** ({record.get('customer_id')}), {record.get('tier')} customer since "
        f"{record.get('customer_since')}\n- {record.get('email')}, {record.get('phone')}\n- {record.get('address')}{note}"
    )


def table(made: Made, about: str) -> str:
    result = made.body.get("result")
    if not isinstance(result, Mapping):
        return made.sentence
    columns = [str(name) for name in _list(result.get("columns"))]
    rows = [
        [_cell(column, value) for column, value in zip(columns, _list(row), strict=False)]
        for row in _list(result.get("rows"))
    ]
    if len(rows) == 1 and len(columns) == 1:
        return f"{about[:1].upper()}{about[1:]}: **{rows[0][0]}**"
    lines = "\n".join("- " + ", ".join(cells) for cells in rows[:20])
    return f"{about[:1].upper()}{about[1:]} ({', '.join(columns)}):\n{lines or '- nothing'}"


def ledger(made: Made) -> str:
    result = made.body.get("result")
    if not isinstance(result, Mapping):
        return made.sentence
    entries = [one for one in _list(result.get("entries")) if isinstance(one, Mapping)]
    lines = "\n".join(
        f"- {str(one.get('at', ''))[:10]} {one.get('kind')} {one.get('amount')} {one.get('currency')}, order {one.get('order_id')}"
        for one in entries[:15]
    )
    more = f"\n… and {len(entries) - 15} more" if len(entries) > 15 else ""
    return f"{made.sentence}\n{lines}{more}" if entries else "The ledger has no such entries."


def since(span: str | None, system: str) -> str | None:
    """The first day of a span, counted from the day the system prompt names."""
    found = re.search(r"Today is (\d{4}-\d{2}-\d{2})", system)
    if span is None or found is None:
        return None
    today = date.fromisoformat(found[1])
    firsts = {
        "today": today,
        "week": today - timedelta(days=today.weekday()),
        "month": today.replace(day=1),
        "year": today.replace(month=1, day=1),
    }
    return firsts[span].isoformat()


def requester(system: str) -> str:
    """Whose name stands under a mail."""
    found = re.search(r"You act as (.+?) \(roles:", system)
    return found[1] if found else "Customer care"


def letter(about: str, to: Record | None, refund: Mapping[str, Json] | None, sender: str) -> tuple[str, str]:
    """Subject and body of a mail about `about`."""
    name = str((to or {}).get("name", "")).split(" ")[0]
    greeting = f"Hello {name}," if name else "Hello,"
    if refund is not None and re.search(
        r"\b(on (?:its|the) way|refund|money|coming|processed|done|issued)\b", about, re.IGNORECASE
    ):
        money = f"{refund.get('amount')} {refund.get('currency')}"
        subject = f"Your refund for order {refund.get('order_id')}"
        text = f"your refund of {money} for order {refund.get('order_id')} is on its way."
    elif re.search(r"\bthank(?:s|[- ]you)?\b", about, re.IGNORECASE):
        subject, text = (
            "Thank you for your order",
            "thank you very much for your last order. We are glad to have you with us.",
        )
    else:
        told = _to_you(about)
        subject = _subject(told)
        text = f"{told[:1].upper()}{told[1:]}." if not told.endswith((".", "!", "?")) else told
    return subject, f"{greeting}\n\n{text}\n\nKind regards\n{sender}"


def _to_you(about: str) -> str:
    """The requester speaks of the customer; the mail speaks to them."""
    swaps = (
        (r"\b(?:she|he|they) (?:is|are)\b", "you are"),
        (r"\b(?:she|he|they) (?:has|have)\b", "you have"),
        (r"\b(?:she|he|they)\b", "you"),
        (r"\b(?:her|his|their)\b", "your"),
        (r"\b(?:him|them)\b", "you"),
    )
    for pattern, word in swaps:
        about = re.sub(pattern, word, about, flags=re.IGNORECASE)
    return about.strip()


def _subject(text: str) -> str:
    words = text.split()
    short = " ".join(words[:8])
    return (short[:1].upper() + short[1:]).rstrip(".,;:") + ("…" if len(words) > 8 else "")


def _order_line(one: Record) -> str:
    items = one.get("items")
    listed = ", ".join(str(item) for item in items) if isinstance(items, list) else ""
    return f"- order {one.get('order_id')}, {one.get('placed_on')}, {one.get('status')}, {one.get('total')} {one.get('currency')}: {listed}"


def _who(record: Record) -> str:
    customer_of = record.get("customer")
    if isinstance(customer_of, Mapping):
        return f"{customer_of.get('name')} ({customer_of.get('customer_id')})"
    return str(record.get("customer_id"))


def _cell(column: str, value: Json) -> str:
    if column.endswith("_minor") and isinstance(value, int):
        return f"{Decimal(value) / 100:.2f}"
    return str(value)


def _list(value: Json) -> list[Json]:
    return list(value) if isinstance(value, list | tuple) else []
