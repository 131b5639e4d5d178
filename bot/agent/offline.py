"""A deterministic stand-in for a language model, for the demo and the tests. It is no AI, and says so.

Reads patterns (`offline_reading`), looks records up, proposes calls through the same door as any model, and reports
what came back. Knows no right and no approval: the door decides about it as about every model.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import TypeAlias, assert_never

from bot.agent import offline_answers as say
from bot.agent.offline_memory import Memory, Record, remember
from bot.agent.offline_reading import (
    Change,
    Intent,
    Ledger,
    LookUp,
    Mail,
    Pending,
    Query,
    Refund,
    Talk,
    Undo,
    Whom,
    read,
    whom,
)
from bot.ports import ModelAnswer, ModelRequest, OnText, Stop, ToolCall, Usage
from policy.model import Json

NAME = "offline"
_ROUNDS = 8

Wish: TypeAlias = tuple[str, dict[str, Json]]
"""Wire name and arguments of a call."""


@dataclass(frozen=True, slots=True)
class Need:
    """Something has to be looked up first."""

    wish: Wish


@dataclass(frozen=True, slots=True)
class Do:
    wish: Wish


@dataclass(frozen=True, slots=True)
class Say:
    text: str


Step: TypeAlias = Need | Do | Say


class Offline:
    """Implements `bot.ports.Model`. Stateless: everything it knows stands in the request."""

    @property
    def name(self) -> str:
        return NAME

    async def answer(self, request: ModelRequest, on_text: OnText | None = None) -> ModelAnswer:
        text, wishes = decide(request)
        calls = tuple(
            ToolCall(id=f"off_{len(request.messages)}_{n}", name=name, arguments=arguments)
            for n, (name, arguments) in enumerate(wishes)
        )
        if on_text is not None and text:
            await on_text(text)
        usage = Usage(_tokens(request), max(1, len(text) // 4))
        return ModelAnswer(text, calls, usage, NAME, Stop.TOOLS if calls else Stop.END)


def decide(request: ModelRequest) -> tuple[str, list[Wish]]:
    """The next text and calls of this conversation. Always the same for the same request."""
    memory = remember(request.messages)
    if memory.event is not None:
        return say.event(memory.event), []
    offered = {tool.name for tool in request.tools}
    intents = _understood(memory)
    if not intents:
        return say.not_understood(offered), []
    steps = [(intent, _step(intent, intents, memory, offered, request.system)) for intent in intents]
    needs = [step.wish for _, step in steps if isinstance(step, Need)]
    if needs:
        return "", _fresh(needs, memory, offered)
    wishes = _fresh([step.wish for _, step in steps if isinstance(step, Do)], memory, offered)
    texts = [step.text for _, step in steps if isinstance(step, Say) and step.text]
    if wishes:
        return "", wishes
    return "\n\n".join(dict.fromkeys(texts)) or say.not_understood(offered), []


def _understood(memory: Memory) -> tuple[Intent, ...]:
    """What is asked now. A short answer to the stand-in's own question completes what was asked before."""
    intents = read(memory.asked)
    short = len(memory.asked.split()) <= 8
    if memory.question and memory.earlier and short and (not intents or isinstance(intents[0], LookUp)):
        joined = read(f"{memory.earlier[-1]} {memory.asked}")
        return joined or intents
    return intents


def _step(intent: Intent, all_of: Sequence[Intent], memory: Memory, offered: set[str], system: str) -> Step:
    match intent:
        case Refund():
            return _refund(intent, memory, offered)
        case Mail():
            return _mail(intent, all_of, memory, offered, system)
        case LookUp():
            return _look_up(intent, memory, offered)
        case Change():
            return _change(intent, memory, offered)
        case Undo():
            return _undo(memory, offered)
        case Ledger():
            return _ledger(intent, memory, offered, system)
        case Query(sql=sql, about=about):
            return _once(memory, offered, "db_query", {"sql": sql}, lambda made: say.table(made, about))
        case Pending():
            return Say(say.PENDING)
        case Talk():
            return Say(say.hello(offered))
        case _:
            assert_never(intent)


def _refund(intent: Refund, memory: Memory, offered: set[str]) -> Step:
    made = memory.of("refund_issue")
    if made is not None:
        return Say(say.outcome(made))
    if "refund_issue" not in offered:
        return Say(say.not_allowed("issue refunds"))
    order = _order(intent.whom, memory)
    if not isinstance(order, Mapping):
        return order
    left = say.left(order)
    wanted = intent.amount
    if left is None:
        return Say(say.unpaid(order))
    if intent.share is not None and wanted is None:
        value = left if intent.share == "full" else (left / 2).quantize(Decimal("0.01"))
    elif wanted is not None:
        value = Decimal(wanted.text)
    else:
        return Say(say.how_much(order, left))
    currency = str(order.get("currency"))
    if wanted is not None and wanted.currency not in (None, currency):
        return Say(say.other_currency(order, wanted.currency or ""))
    if value <= 0:
        return Say(say.nothing_left(order))
    arguments: dict[str, Json] = {
        "order_id": str(order.get("order_id")),
        "amount": f"{value:.2f}",
        "currency": currency,
        "reason": (intent.reason or "asked for by the requester")[:400],
    }
    return Do(("refund_issue", arguments))


def _mail(intent: Mail, all_of: Sequence[Intent], memory: Memory, offered: set[str], system: str) -> Step:
    made = memory.of("email_send")
    if made is not None:
        return Say(say.outcome(made))
    if "email_send" not in offered:
        return Say(say.not_allowed("send e-mail"))
    refund = next((one for one in all_of if isinstance(one, Refund)), None)
    target = intent.whom
    if target.nobody and refund is not None:
        target = refund.whom
    customer: Record | None = None
    address = target.email
    if address is None:
        found = _customer(target, memory)
        if not isinstance(found, Mapping):
            return found
        customer = found
    if not intent.about:
        return Say(say.what_to_write(customer))
    refund_call = None
    if refund is not None:
        step = _refund(refund, memory, offered)
        if isinstance(step, Need):
            return step
        if isinstance(step, Do):
            refund_call = step.wish[1]
        else:
            done = memory.of("refund_issue")
            if done is None or done.status != "held":
                # What the mail would announce is not going to happen: it is not written.
                return Say("")
            refund_call = done.call.arguments
    subject, body = say.letter(intent.about, customer, refund_call, say.requester(system))
    to = address or str((customer or {}).get("customer_id"))
    return Do(("email_send", {"to": to, "subject": subject, "body": body}))


def _look_up(intent: LookUp, memory: Memory, offered: set[str]) -> Step:
    if "crm_read" not in offered:
        return Say(say.not_allowed("look up customers and orders"))
    if intent.what == "order" or (intent.what == "payments" and intent.whom.order):
        order = _order(intent.whom, memory)
        return Say(say.order(order)) if isinstance(order, Mapping) else order
    if intent.whom.nobody and memory.last_order is not None and intent.what in ("payments", "order"):
        order = _order(Whom(order=memory.last_order), memory)
        return Say(say.order(order)) if isinstance(order, Mapping) else order
    customer = _customer(intent.whom, memory)
    if not isinstance(customer, Mapping):
        return customer
    if intent.what == "customer":
        return Say(say.customer(customer))
    key = str(customer.get("customer_id"))
    return _once(memory, offered, "crm_read", {"kind": "orders", "key": key}, lambda made: say.orders(made, customer))


def _change(intent: Change, memory: Memory, offered: set[str]) -> Step:
    made = memory.of("crm_write")
    if made is not None:
        return Say(say.outcome(made))
    if "crm_write" not in offered:
        return Say(say.not_allowed("change customer records"))
    customer = _customer(intent.whom, memory)
    if not isinstance(customer, Mapping):
        return customer
    arguments: dict[str, Json] = {
        "customer_id": str(customer.get("customer_id")),
        "field": intent.field,
        "value": intent.value,
    }
    return Do(("crm_write", arguments))


def _undo(memory: Memory, offered: set[str]) -> Step:
    made = memory.of("crm_write")
    if made is not None:
        return Say(say.outcome(made))
    last = next((one for one in reversed(memory.before) if one.call.name == "crm_write" and one.status == "done"), None)
    if last is None or "crm_write" not in offered:
        return Say("There is no change in this conversation that I could take back. Nothing was done.")
    result = last.body.get("result")
    reference = str(result.get("undo", "")).rpartition("=")[2] if isinstance(result, dict) else ""
    given = last.call.arguments or {}
    return Do(("crm_write", {**given, "value": "", "undo_of": reference}))


def _ledger(intent: Ledger, memory: Memory, offered: set[str], system: str) -> Step:
    arguments: dict[str, Json] = {}
    if intent.kind is not None:
        arguments["kind"] = intent.kind
    since = say.since(intent.days, system)
    if since is not None:
        arguments["since"] = since
    if "ledger_read" not in offered and "db_query" in offered:
        table = "payments" if intent.kind == "payment" else "refunds"
        sql = f"SELECT currency, COUNT(*) AS n, SUM(amount_minor) AS total_minor FROM {table} GROUP BY currency"
        return _once(memory, offered, "db_query", {"sql": sql}, lambda made: say.table(made, table))
    return _once(memory, offered, "ledger_read", arguments, say.ledger)


def _order(target: Whom, memory: Memory) -> Record | Step:
    """The order that is meant, or what to do to find it."""
    number = target.order
    if number is None and (target.customer_id or target.name or target.email):
        return _order_of_customer(target, memory)
    number = number or memory.last_order
    if number is None:
        earlier = next((found for text in reversed(memory.earlier) if (found := whom(text).order)), None)
        if earlier is None:
            return Say(say.WHICH_ORDER)
        number = earlier
    made = memory.made("crm_read", kind="order", key=number)
    if made is None:
        return Need(("crm_read", {"kind": "order", "key": number}))
    if made.status != "done":
        return Say(say.outcome(made))
    return memory.orders.get(number) or Say(say.WHICH_ORDER)


def _order_of_customer(target: Whom, memory: Memory) -> Record | Step:
    customer = _customer(target, memory)
    if not isinstance(customer, Mapping):
        return customer
    key = str(customer.get("customer_id"))
    made = memory.made("crm_read", kind="orders", key=key)
    if made is None:
        return Need(("crm_read", {"kind": "orders", "key": key}))
    found = [one for one in memory.orders.values() if one.get("customer_id") == key]
    if len(found) == 1:
        return _order(Whom(order=str(found[0].get("order_id"))), memory)
    return Say(say.which_of(customer, found))


def _customer(target: Whom, memory: Memory) -> Record | Step:
    """The customer that is meant, or what to do to find them."""
    if target.customer_id is not None or target.email is not None:
        return _read_customer(str(target.customer_id or target.email), memory)
    if target.order is not None:
        order = _order(Whom(order=target.order), memory)
        if not isinstance(order, Mapping):
            return order
        return memory.customers.get(str(order.get("customer_id"))) or Say(say.WHICH_CUSTOMER)
    if target.name is not None:
        return _search(target.name, memory)
    known = memory.last_customer
    if known is not None and known in memory.customers:
        return memory.customers[known]
    earlier = next((found for text in reversed(memory.earlier) if not (found := whom(text)).nobody), None)
    return Say(say.WHICH_CUSTOMER) if earlier is None else _customer(earlier, memory)


def _read_customer(key: str, memory: Memory) -> Record | Step:
    made = memory.made("crm_read", kind="customer", key=key)
    if made is None:
        return Need(("crm_read", {"kind": "customer", "key": key}))
    result = made.body.get("result")
    customer = result.get("customer") if isinstance(result, dict) else None
    return customer if made.status == "done" and isinstance(customer, dict) else Say(say.outcome(made))


def _search(name: str, memory: Memory) -> Record | Step:
    name = re.sub(r"['’]s$", "", name)
    made = memory.made("crm_read", kind="search", key=name)
    if made is None:
        return Need(("crm_read", {"kind": "search", "key": name}))
    result = made.body.get("result")
    found = result.get("customers") if isinstance(result, dict) else None
    if made.status != "done" or not isinstance(found, list):
        return Say(say.outcome(made))
    people = [one for one in found if isinstance(one, dict)]
    exact = [one for one in people if str(one.get("name", "")).lower() == name.lower()]
    chosen = exact if len(exact) == 1 else people
    return chosen[0] if len(chosen) == 1 else Say(say.which_customer(name, people))


def _once(memory: Memory, offered: set[str], name: str, arguments: dict[str, Json], tell: say.Tell) -> Step:
    """Make the call if it was not made yet, then tell what came back."""
    if name not in offered:
        return Say(say.not_allowed(say.ABLE.get(name, "do that")))
    made = memory.made(name, **arguments)
    if made is None:
        return Do((name, arguments))
    return Say(tell(made) if made.status == "done" else say.outcome(made))


def _fresh(wishes: Sequence[Wish], memory: Memory, offered: set[str]) -> list[Wish]:
    """Calls not made yet, each once. Bounded, so that a record that is not there cannot keep it busy."""
    found: list[Wish] = []
    for name, arguments in wishes:
        known = name not in offered or memory.made(name, **arguments) is not None
        if not known and (name, arguments) not in found and len(memory.now) < _ROUNDS:
            found.append((name, arguments))
    return found


def _tokens(request: ModelRequest) -> int:
    return len(request.system) // 4 + sum(len(str(message)) for message in request.messages) // 4
