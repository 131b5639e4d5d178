"""Which order or customer is meant: from the words, from what was listed, or by looking it up first.

Knows the conversation's memory and crm.read; knows no wish and proposes nothing that has an effect.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from bot.agent import offline_answers as say
from bot.agent.offline_intents import Pick, Whom
from bot.agent.offline_memory import Made, Memory, Record
from bot.agent.offline_people import which_customer
from policy.model import Json

Wish: TypeAlias = tuple[str, dict[str, Json]]
"""Wire name and arguments of a call."""


@dataclass(frozen=True, slots=True)
class Need:
    """Something has to be looked up first."""

    wish: Wish


@dataclass(frozen=True, slots=True)
class Do:
    """A call whose answer ends this wish."""

    wish: Wish


@dataclass(frozen=True, slots=True)
class Say:
    text: str


@dataclass(frozen=True, slots=True)
class Waits:
    """The wish is a held call now."""

    made: Made


Step: TypeAlias = Need | Do | Say | Waits


def order(target: Whom, memory: Memory) -> Record | Need | Say:
    """The order that is meant, read in this turn."""
    number = target.order or _listed_order(target, memory)
    if number is None and (target.named or target.pick is not None or _listed_customer(target, memory) is not None):
        return _order_of_customer(target, memory)
    if number is None and target.nth is not None and memory.before.orders:
        return Say(f"The list has only {len(memory.before.orders)} orders. {say.WHICH_ORDER}")
    number = number or (_by_what_was_bought(target.hint, _known_orders(memory)) if not memory.before.order else None)
    number = number or memory.before.order
    if number is None and memory.before.customer is not None:
        return _order_of_customer(Whom(customer_id=memory.before.customer, hint=target.hint), memory)
    if number is None:
        return Say(say.WHICH_ORDER)
    found = _read("order", number, memory)
    if not isinstance(found, Made):
        return found
    record = found.result.get("order")
    if not isinstance(record, Mapping):
        return Say(say.outcome(found))
    return _belongs(record, target)


def customer(target: Whom, memory: Memory) -> Record | Need | Say:
    """The customer that is meant, read in this turn."""
    key = target.customer_id or target.email or _listed_customer(target, memory)
    if key is None and target.name is not None:
        return _search(target.name, memory)
    if key is None and (target.order is not None or target.nth is not None):
        found = order(target, memory)
        if not isinstance(found, Mapping):
            return found
        theirs = found.get("customer")
        return theirs if isinstance(theirs, Mapping) else Say(say.WHICH_CUSTOMER)
    key = key or memory.before.customer
    if key is None:
        return Say(say.WHICH_CUSTOMER)
    made = _read("customer", key, memory)
    if not isinstance(made, Made):
        return made
    record = made.result.get("customer")
    return record if isinstance(record, Mapping) else Say(say.outcome(made))


def orders_of(who: Record, memory: Memory) -> list[Record] | Need | Say:
    """All orders of a customer, newest first."""
    found = _read("orders", str(who.get("customer_id")), memory)
    if not isinstance(found, Made):
        return found
    listed = found.result.get("orders")
    return [one for one in listed if isinstance(one, Mapping)] if isinstance(listed, list) else Say(say.outcome(found))


def _order_of_customer(target: Whom, memory: Memory) -> Record | Need | Say:
    who = customer(target, memory)
    if not isinstance(who, Mapping):
        return who
    listed = orders_of(who, memory)
    if not isinstance(listed, list):
        return listed
    number = None
    if target.pick is not None and listed:
        number = str(listed[0 if target.pick is Pick.NEWEST else -1].get("order_id"))
    elif len(listed) == 1:
        number = str(listed[0].get("order_id"))
    number = number or _by_what_was_bought(target.hint, listed)
    if number is None:
        return Say(say.which_of(who, listed))
    return order(Whom(order=number), memory)


def _by_what_was_bought(hint: str, listed: Sequence[Record]) -> str | None:
    """ "The sofa": the one order that has such a thing."""
    words = set(re.findall(r"[^\W\d_]{3,}", hint.lower())) - {"set", "tin", "the", "wool", "glass"}
    fits = []
    for one in listed:
        items = one.get("items")
        bought = " ".join(str(item) for item in items).lower() if isinstance(items, list) else ""
        if words & set(re.findall(r"[^\W\d_]{3,}", bought)):
            fits.append(str(one.get("order_id")))
    return fits[0] if len(fits) == 1 else None


def _known_orders(memory: Memory) -> list[Record]:
    return [memory.orders[one] for one in memory.before.orders if one in memory.orders]


def _belongs(record: Record, target: Whom) -> Record | Say:
    """The order, unless the words give it to somebody else."""
    owner = record.get("customer")
    if not isinstance(owner, Mapping):
        return record
    name = str(owner.get("name", "")).lower()
    other = target.customer_id is not None and target.customer_id != owner.get("customer_id")
    other = other or (target.email is not None and target.email.lower() != str(owner.get("email", "")).lower())
    if target.name is not None and not other:
        other = not set(target.name.lower().split()) & set(name.split())
    asked = target.customer_id or target.email or target.name
    return Say(say.belongs_to(record, str(asked))) if other else record


def _listed_order(target: Whom, memory: Memory) -> str | None:
    return _nth(target.nth, memory.before.orders) if not target.named else None


def _listed_customer(target: Whom, memory: Memory) -> str | None:
    return _nth(target.nth, memory.before.customers)


def _nth(number: int | None, of: tuple[str, ...]) -> str | None:
    if number is None or not of or number == 0 or abs(number) > len(of):
        return None
    return of[number - 1 if number > 0 else number]


def _read(kind: str, key: str, memory: Memory) -> Made | Need | Say:
    made = memory.made("crm_read", kind=kind, key=key)
    if made is None:
        return Need(("crm_read", {"kind": kind, "key": key[:200]}))
    return made if made.status == "done" else Say(say.outcome(made))


def _search(name: str, memory: Memory) -> Record | Need | Say:
    made = _read("search", name, memory)
    if not isinstance(made, Made):
        return made
    found = made.result.get("customers")
    people = [one for one in found if isinstance(one, Mapping)] if isinstance(found, list) else []
    exact = [one for one in people if str(one.get("name", "")).lower() == name.lower()]
    words = set(name.lower().split())
    close = [one for one in people if words <= set(str(one.get("name", "")).lower().split())]
    chosen = next((some for some in (exact, close, people) if len(some) == 1), None)
    return chosen[0] if chosen is not None else Say(which_customer(name, close or people))
