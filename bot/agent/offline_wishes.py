"""One wish of the offline stand-in -> its next step: look something up, propose a call, or say something.

Knows the conversation and what is offered; knows no wording of requests and runs nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import assert_never

from bot.agent import offline_answers as say
from bot.agent import offline_letters as letters
from bot.agent import offline_people as people
from bot.agent import offline_records as records
from bot.agent.offline_intents import (
    Change,
    Intent,
    Ledger,
    LookUp,
    Mail,
    Query,
    Refund,
    Talk,
    Topic,
    Unable,
    Undo,
    What,
    Whom,
)
from bot.agent.offline_memory import Made, Memory, Record
from bot.agent.offline_money import decimal, part
from bot.agent.offline_questions import refunds_since, span_of
from bot.agent.offline_records import Do, Need, Say, Step, Waits
from policy.model import Json

_TALK = {
    Topic.THANKS: "You are welcome.",
    Topic.NEVER_MIND: "All right, I leave it. What already waits for approval keeps waiting until you withdraw it.",
    Topic.APPROVE: (
        "I cannot approve or reject anything: that is for the people the card was sent to, with its buttons. "
        "Nothing was decided."
    ),
    Topic.WITHDRAW: (
        "I cannot take a request back for you, but you can: press *Withdraw* below the request in this conversation. "
        "Until then it keeps waiting."
    ),
    Topic.FOREIGN: f"I understand English only, so I did nothing. Please ask me in English. {say.STAND_IN}",
}


@dataclass(frozen=True, slots=True)
class Scene:
    """What a step may look at."""

    memory: Memory
    offered: frozenset[str]
    """Wire names."""
    today: date | None
    requester: str


def step(intent: Intent, all_of: Sequence[Intent], scene: Scene) -> Step:
    match intent:
        case Refund():
            return _refund(intent, scene)
        case Mail():
            return _mail(intent, all_of, scene)
        case LookUp():
            return _look_up(intent, scene)
        case Change():
            return _change(intent, scene)
        case Undo():
            return _undo(scene)
        case Ledger():
            return _ledger(intent, scene)
        case Query():
            return _query(intent, scene)
        case Talk(topic=topic):
            return Say(talk(topic, scene))
        case Unable(what=what):
            return Say(say.unable(what, scene.offered))
        case _:
            assert_never(intent)


def talk(topic: Topic, scene: Scene) -> str:
    match topic:
        case Topic.HELLO:
            return f"Hello. {say.STAND_IN}\n\n{say.able(scene.offered)}"
        case Topic.HELP:
            return f"{say.STAND_IN} I understand plain English requests.\n\n{say.able(scene.offered)}"
        case Topic.PENDING:
            return say.standing(scene.memory)
        case Topic.THANKS | Topic.NEVER_MIND | Topic.APPROVE | Topic.WITHDRAW | Topic.FOREIGN:
            return _TALK[topic]
        case _:
            assert_never(topic)


# --- refunds and mails ------------------------------------------------------------------------------


def _refund(intent: Refund, scene: Scene) -> Step:
    if "refund_issue" not in scene.offered:
        return Say(say.not_allowed("issue refunds"))
    order = records.order(intent.whom, scene.memory)
    if not isinstance(order, Mapping):
        return order
    number = str(order.get("order_id"))
    made = scene.memory.made("refund_issue", order_id=number)
    if made is not None:
        return Waits(made) if made.status == "held" else Say(say.outcome(made))
    value = _value(intent, order)
    if isinstance(value, Say):
        return value
    arguments: dict[str, Json] = {
        "order_id": number,
        "amount": f"{value:.2f}",
        "currency": str(order.get("currency")),
        "reason": (intent.reason or "No reason was given.")[:400],
    }
    # Another reason is another refund, even of the same sum; the same words twice are one.
    same = [name for name in ("order_id", "amount", "reason") if name != "reason" or intent.reason]
    before = scene.memory.held_before("refund_issue", **{name: arguments[name] for name in same})
    return (
        Say(say.still_waits(before, say.names_in(scene.memory)))
        if before is not None
        else Do(("refund_issue", arguments))
    )


def _value(intent: Refund, order: Record) -> Decimal | Say:
    """How much, or what has to be said first."""
    left, paid, currency = say.left(order), decimal(order.get("paid")), order.get("currency")
    if left is None or paid is None:
        return Say(say.unpaid(order))
    if left <= 0:
        return Say(say.nothing_left(order))
    wanted = intent.amount
    if wanted is not None and wanted.currency not in (None, currency):
        return Say(say.other_currency(order, str(wanted.currency)))
    if wanted is not None:
        value = decimal(wanted.text) or Decimal(0)
    elif intent.share is not None:
        value = left if intent.share == 100 else part(paid, intent.share, currency)
    else:
        return Say(say.how_much(order, left))
    if value <= 0:
        return Say(say.not_positive(order))
    return Say(say.too_much(order, left, value)) if value > left else value


def _mail(intent: Mail, all_of: Sequence[Intent], scene: Scene) -> Step:
    if "email_send" not in scene.offered:
        return Say(say.not_allowed("send e-mail"))
    refunds = [one for one in all_of if isinstance(one, Refund)]
    announces = bool(refunds) and letters.announces(intent.about)
    announced = _announced(refunds, scene) if announces else []
    if isinstance(announced, Need | Say):
        return announced
    to = _recipient(intent.whom, scene)
    if isinstance(to, Need | Say):
        return to
    address, customer = to
    if not intent.about and not announces:
        return Say(f"What shall I write to {customer.get('name') if customer else address}?")
    if not announced and letters.announces(intent.about) and customer is not None:
        waiting = _refund_of(customer, scene, waiting=True)
        if waiting is not None:
            return Say(
                f"{say.still_waits(waiting)} So I drafted no mail yet that announces it; ask me once it is paid."
            )
        done = _refund_of(customer, scene, waiting=False)
        announced = [] if done is None else [done.given]
    if intent.verbatim:
        subject, body = letters.verbatim(intent.about, scene.requester, intent.subject)
    else:
        about = _order_for(intent.whom, customer, scene)
        subject, body = letters.letter(intent.about, customer, about, announced, scene.requester, intent.subject)
    made = scene.memory.made("email_send", to=address, subject=subject)
    if made is not None:
        return Waits(made) if made.status == "held" else Say(say.outcome(made))
    before = scene.memory.held_before("email_send", to=address, subject=subject, body=body)
    if before is not None:
        return Say(say.still_waits(before, say.names_in(scene.memory)))
    return Do(("email_send", {"to": address, "subject": subject, "body": body}))


def _announced(refunds: Sequence[Refund], scene: Scene) -> list[Record] | Need | Say:
    """The refunds of this request that the mail may announce. None of them comes about: it is not written."""
    found: list[Record] = []
    for one in refunds:
        next_step = _refund(one, scene)
        match next_step:
            case Need():
                return next_step
            case Do(wish=(_, arguments)):
                found.append(arguments)
            case Waits(made=made):
                found.append(made.given)
            case Say():
                continue
            case _:
                assert_never(next_step)
    return found or Say("I drafted no mail: there is no refund yet that it could announce.")


def _recipient(whom: Whom, scene: Scene) -> tuple[str, Record | None] | Need | Say:
    """Customer id or address, and the customer if they are one."""
    found = records.customer(whom, scene.memory)
    if isinstance(found, Mapping):
        return str(found.get("customer_id")), found
    if isinstance(found, Say) and whom.email is not None and not whom.customer_id:
        return whom.email, None  # nobody the CRM knows: the approver is told so on the card
    return found


def _refund_of(customer: Record, scene: Scene, *, waiting: bool) -> Made | None:
    """The last refund of this conversation for this customer that still waits, or that was paid."""
    calls = scene.memory.waiting.values() if waiting else scene.memory.executed
    for made in reversed(list(calls)):
        order = scene.memory.orders.get(str(made.given.get("order_id")))
        theirs = order is not None and order.get("customer_id") == customer.get("customer_id")
        if made.call.name == "refund_issue" and theirs:
            return made
    return None


def _order_for(whom: Whom, customer: Record | None, scene: Scene) -> Record | None:
    """The order that a mail's "it" means."""
    order = scene.memory.orders.get(whom.order or scene.memory.before.order or "")
    theirs = order is not None and customer is not None and order.get("customer_id") == customer.get("customer_id")
    return order if theirs else None


# --- looking up -------------------------------------------------------------------------------------


def _look_up(intent: LookUp, scene: Scene) -> Step:
    if "crm_read" not in scene.offered:
        return Say(say.not_allowed("look up customers and orders"))
    memory, target = scene.memory, intent.whom
    if intent.what is What.SEARCH:
        made = memory.made("crm_read", kind="search", key=intent.words[:200])
        if made is None:
            return Need(("crm_read", {"kind": "search", "key": intent.words[:200]}))
        listed = made.result.get("customers")
        found = [one for one in listed if isinstance(one, Mapping)] if isinstance(listed, list) else []
        return Say(people.found(intent.words, found) if made.status == "done" else say.outcome(made))
    about_order = target.order is not None or target.pick is not None or (target.nth and memory.before.orders)
    about_it = target.nobody and memory.before.order is not None and not letters.speaks_of_a_person(target.hint)
    if intent.what is What.ORDER or (intent.what is What.PAYMENTS and (about_order or about_it)):
        if target.nth and memory.before.customers:
            return _customer(target, "", scene)
        order = records.order(target, memory)
        if not isinstance(order, Mapping):
            return order
        return Say(say.paid(order) if intent.what is What.PAYMENTS else say.order(order, intent.aspect))
    if intent.what is What.CUSTOMER:
        return _customer(target, intent.aspect, scene)
    customer = records.customer(target, memory)
    if not isinstance(customer, Mapping):
        return customer
    orders = records.orders_of(customer, memory)
    if not isinstance(orders, list):
        return orders
    tell = say.paid_in_all if intent.what is What.PAYMENTS else say.orders
    return Say(tell(orders, customer))


def _customer(target: Whom, aspect: str, scene: Scene) -> Step:
    found = records.customer(target, scene.memory)
    return Say(people.customer(found, aspect)) if isinstance(found, Mapping) else found


def _query(intent: Query, scene: Scene) -> Step:
    if "db_query" not in scene.offered:
        return Say(say.not_allowed(say.ABLE["db_query"]))
    made = scene.memory.made("db_query", sql=intent.sql)
    if made is None:
        return Do(("db_query", {"sql": intent.sql}))
    return Say(people.table(made, intent.about) if made.status == "done" else say.outcome(made))


def _ledger(intent: Ledger, scene: Scene) -> Step:
    days = span_of((intent.span or "").lower(), scene.today)
    if "ledger_read" not in scene.offered:
        if "db_query" in scene.offered:
            return _query(refunds_since(intent.kind or "refund", days[0] if days is not None else None), scene)
        return Say(say.not_allowed("read the ledger"))
    arguments: dict[str, Json] = {} if intent.kind is None else {"kind": intent.kind}
    words = ""
    if days is not None:
        since, until = days[0].isoformat(), days[1].isoformat()
        arguments |= {"since": since, "until": until}
        words = f" from {since} to {until}" if since != until else f" on {since}"
    made = scene.memory.made("ledger_read", **arguments)
    if made is None:
        return Do(("ledger_read", arguments))
    what = {"refund": "refunds", "payment": "payments"}.get(intent.kind or "", "entries")
    return Say(people.ledger(made, what, words) if made.status == "done" else say.outcome(made))


# --- changes ----------------------------------------------------------------------------------------


def _change(intent: Change, scene: Scene) -> Step:
    if "crm_write" not in scene.offered:
        return Say(say.not_allowed("change customer records"))
    customer = records.customer(intent.whom, scene.memory)
    if not isinstance(customer, Mapping):
        return customer
    name, now = str(customer.get("customer_id")), str(customer.get(intent.field) or "")
    made = scene.memory.made("crm_write", customer_id=name, field=intent.field)
    if made is not None:
        after = f"\n> {made.result.get('after')}" if made.status == "done" and made.result.get("after") else ""
        undo = "\n\nSay *undo* and I take it back." if made.status == "done" else ""
        return Waits(made) if made.status == "held" else Say(f"{say.outcome(made)}{after}{undo}")
    value = _sentence(intent.value) if intent.field == "note" else intent.value
    if intent.add and now:
        # The note is replaced as a whole: what stood there stays.
        value = now if value in now else f"{now} {value}"
    if value[:2000] == now:
        return Say(f"The {intent.field} of {customer.get('name')} ({name}) already says so. Nothing was changed.")
    return Do(("crm_write", {"customer_id": name, "field": intent.field, "value": value[:2000]}))


def _sentence(text: str) -> str:
    text = text.strip()
    return text if not text or text.endswith((".", "!", "?")) else f"{text[:1].upper()}{text[1:]}."


def _undo(scene: Scene) -> Step:
    if "crm_write" not in scene.offered:
        return Say(say.not_allowed("change customer records"))
    made = next((one for one in scene.memory.now if one.call.name == "crm_write"), None)
    if made is not None:
        return Waits(made) if made.status == "held" else Say(people.undone(made, say.names_in(scene.memory)))
    changes = [one for one in scene.memory.earlier if one.call.name == "crm_write" and one.status == "done"]
    undone = {one.given.get("undo_of") for one in changes}
    open_ones = [one for one in changes if "undo_of" not in one.given and one.result.get("call_id") not in undone]
    if not open_ones or not open_ones[-1].result.get("call_id"):
        return Say("There is no change in this conversation that I could take back. Nothing was changed.")
    last = open_ones[-1]
    arguments: dict[str, Json] = {
        "customer_id": last.given.get("customer_id"),
        "field": last.given.get("field"),
        "value": "",
        "undo_of": last.result.get("call_id"),
    }
    return Do(("crm_write", arguments))
