"""What the conversation has shown the offline stand-in: records it read, calls it made, how they ended.

Built anew from the transcript for every answer; knows no wording.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from bot.ports import AssistantSaid, EventHappened, Message, OthersSaid, ToolCall, ToolReturned, UserSaid
from policy.model import Json

Record = Mapping[str, Json]

_REQUEST = re.compile(r"\(request (\S+?)\)")


@dataclass(frozen=True, slots=True)
class Made:
    """A call and what the door said of it."""

    call: ToolCall
    status: str
    """``done``, ``held``, ``blocked``, ``failed``, ``in_doubt`` or ``not_run``."""
    body: Record

    @property
    def sentence(self) -> str:
        return str(self.body.get("sentence", ""))

    @property
    def given(self) -> Record:
        return self.call.arguments or {}

    @property
    def result(self) -> Record:
        """What the tool returned; empty unless it is an object."""
        found = self.body.get("result")
        return found if isinstance(found, Mapping) else {}


@dataclass(frozen=True, slots=True)
class Sight:
    """What the conversation was about when the person last spoke: "it", "her", "the second one"."""

    order: str | None = None
    customer: str | None = None
    orders: tuple[str, ...] = ()
    """The orders that were listed last; empty when customers were."""
    customers: tuple[str, ...] = ()


@dataclass(slots=True)
class Memory:
    """Everything known when an answer is due. `now`: calls since the person's last words."""

    asked: list[tuple[str, str]] = field(default_factory=list)
    """The person's words: the request, then each answer to a question. First of each: the question it answers."""
    question: str = ""
    """The stand-in's last words, if they were a question."""
    events: list[str] = field(default_factory=list)
    """Events after everything else: the answer is about them."""
    orders: dict[str, Record] = field(default_factory=dict)
    customers: dict[str, Record] = field(default_factory=dict)
    before: Sight = field(default_factory=Sight)
    """As it was when the person spoke: what is read meanwhile does not change whom they mean."""
    sight: Sight = field(default_factory=Sight)
    now: list[Made] = field(default_factory=list)
    earlier: list[Made] = field(default_factory=list)
    waiting: dict[str, Made] = field(default_factory=dict)
    """Held calls of which no end was told, by the id of the request."""
    executed: list[Made] = field(default_factory=list)
    """Held calls that were approved and took effect, oldest first."""
    ended: list[str] = field(default_factory=list)
    """Events of this conversation, oldest first."""

    def made(self, name: str, **arguments: Json) -> Made | None:
        """The call since the person's last words with this name whose arguments include `arguments`."""
        for one in self.now:
            if one.call.name == name and all(one.given.get(key) == value for key, value in arguments.items()):
                return one
        return None

    def held_before(self, name: str, **arguments: Json) -> Made | None:
        """A call from before that still waits."""
        ids = {one.call.id for one in self.now}
        for one in self.waiting.values():
            same = one.call.name == name and all(one.given.get(key) == value for key, value in arguments.items())
            if same and one.call.id not in ids:
                return one
        return None


def remember(messages: Sequence[Message]) -> Memory:
    memory = Memory()
    calls: dict[str, ToolCall] = {}
    for message in messages:
        match message:
            case UserSaid(text=text):
                answer = bool(memory.question and memory.asked)
                memory.asked = [*memory.asked, (memory.question, text)][-6:] if answer else [("", text)]
                memory.earlier += memory.now
                memory.now, memory.events, memory.before, memory.question = [], [], memory.sight, ""
            case AssistantSaid(text=text, calls=made):
                memory.events = []
                calls |= {call.id: call for call in made}
                memory.question = text if text.rstrip().endswith("?") else ""
            case ToolReturned(call_id=call_id, content=content):
                if call_id in calls:
                    _note(memory, calls[call_id], content)
            case EventHappened(text=text):
                _end(memory, text)
            case OthersSaid():
                # Words of strangers move nothing here.
                continue
    return memory


def _end(memory: Memory, text: str) -> None:
    memory.events.append(text)
    memory.ended.append(text)
    for request in _REQUEST.findall(text.partition("\n")[0]):
        made = memory.waiting.pop(request, None)
        if made is not None and text.startswith("executed:"):
            memory.executed.append(made)


def _note(memory: Memory, call: ToolCall, content: str) -> None:
    status, body = read_result(content)
    made = Made(call, status, body)
    memory.now.append(made)
    if status == "held":
        memory.waiting[str(body.get("request"))] = made
    if status != "done":
        return
    result = made.result
    order, customer = result.get("order"), result.get("customer")
    if isinstance(order, Mapping):
        _order(memory, order)
    if isinstance(customer, Mapping):
        _customer(memory, customer)
    if call.name == "crm_write":
        memory.sight = replace(memory.sight, customer=str(result.get("customer_id") or memory.sight.customer))
    _listed(memory, result)


def _listed(memory: Memory, result: Record) -> None:
    """Records that came as a list: "the second one" is one of these."""
    orders, customers = _maps(result.get("orders")), _maps(result.get("customers"))
    for one in orders:
        memory.orders[str(one.get("order_id"))] = one
    for one in customers:
        memory.customers[str(one.get("customer_id"))] = one
    if orders:
        ids = tuple(str(one.get("order_id")) for one in orders)
        memory.sight = replace(memory.sight, orders=ids, customers=(), customer=str(orders[0].get("customer_id")))
    if len(customers) > 1:
        memory.sight = Sight(customers=tuple(str(one.get("customer_id")) for one in customers))
    elif customers:
        memory.sight = replace(memory.sight, customer=str(customers[0].get("customer_id")))
    columns = result.get("columns")
    if isinstance(columns, list) and columns[:2] == ["id", "customer_id"]:
        rows = result.get("rows")
        ids = tuple(str(row[0]) for row in rows if isinstance(row, list) and row) if isinstance(rows, list) else ()
        memory.sight = Sight(orders=ids)


def _order(memory: Memory, order: Record) -> None:
    number = str(order.get("order_id"))
    memory.orders[number] = order
    memory.sight = replace(memory.sight, order=number)
    customer = order.get("customer")
    if isinstance(customer, Mapping):
        memory.customers[str(customer.get("customer_id"))] = customer
        memory.sight = replace(memory.sight, customer=str(customer.get("customer_id")))


def _customer(memory: Memory, customer: Record) -> None:
    name = str(customer.get("customer_id"))
    memory.customers[name] = customer
    known = memory.orders.get(memory.sight.order or "")
    theirs = known is not None and known.get("customer_id") == name
    memory.sight = replace(memory.sight, customer=name, order=memory.sight.order if theirs else None)


def _maps(value: Json) -> list[Record]:
    return [item for item in value if isinstance(item, Mapping)] if isinstance(value, list) else []


def read_result(content: str) -> tuple[str, Record]:
    """Status and body of a result as `bot.agent.results` tells it; marks around strangers' words are passed over."""
    objects = [found for line in content.splitlines() if (found := _json(line)) is not None]
    if not objects:
        return "failed", {}
    return str(objects[0].get("status", "done")), objects[-1]


def _json(line: str) -> Record | None:
    line = line.strip()
    if not line.startswith("{"):
        return None
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None
