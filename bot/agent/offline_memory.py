"""What the conversation has shown the offline stand-in: records it read, calls it made, how they ended.

Built anew from the transcript for every answer; knows no wording.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from bot.ports import AssistantSaid, EventHappened, Message, OthersSaid, ToolCall, ToolReturned, UserSaid
from policy.model import Json

Record = Mapping[str, Json]


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


@dataclass(slots=True)
class Memory:
    """Everything known when an answer is due. `now`: calls since the person's last words."""

    asked: str = ""
    earlier: list[str] = field(default_factory=list)
    """What the same person said before, oldest first."""
    question: str = ""
    """The stand-in's last words, if they were a question."""
    event: str | None = None
    """Set when an event came after everything else: the answer is about it."""
    orders: dict[str, Record] = field(default_factory=dict)
    customers: dict[str, Record] = field(default_factory=dict)
    last_order: str | None = None
    last_customer: str | None = None
    now: list[Made] = field(default_factory=list)
    before: list[Made] = field(default_factory=list)

    def made(self, name: str, **arguments: Json) -> Made | None:
        """The call of this turn with this name whose arguments include `arguments`."""
        for one in self.now:
            given = one.call.arguments or {}
            if one.call.name == name and all(given.get(key) == value for key, value in arguments.items()):
                return one
        return None

    def of(self, name: str) -> Made | None:
        """The last call of this turn with this name."""
        return next((one for one in reversed(self.now) if one.call.name == name), None)


def remember(messages: Sequence[Message]) -> Memory:
    memory = Memory()
    calls: dict[str, ToolCall] = {}
    for message in messages:
        match message:
            case UserSaid(text=text):
                if memory.asked:
                    memory.earlier.append(memory.asked)
                memory.before += memory.now
                memory.asked, memory.now, memory.event = text, [], None
            case AssistantSaid(text=text, calls=made):
                memory.event = None
                calls |= {call.id: call for call in made}
                memory.question = text if text.rstrip().endswith("?") else ""
            case ToolReturned(call_id=call_id, content=content):
                if call_id in calls:
                    _note(memory, calls[call_id], content)
            case EventHappened(text=text):
                memory.event = text if memory.event is None else f"{memory.event}\n\n{text}"
            case OthersSaid():
                # Words of strangers move nothing here.
                continue
    return memory


def _note(memory: Memory, call: ToolCall, content: str) -> None:
    status, body = read_result(content)
    memory.now.append(Made(call, status, body))
    result = body.get("result")
    if status != "done" or not isinstance(result, Mapping):
        return
    order, customer = result.get("order"), result.get("customer")
    if isinstance(order, Mapping):
        _order(memory, order)
    if isinstance(customer, Mapping):
        _customer(memory, customer)
    for one in _maps(result.get("orders")):
        memory.orders[str(one.get("order_id"))] = one
    found = _maps(result.get("customers"))
    for one in found:
        memory.customers[str(one.get("customer_id"))] = one
    if len(found) == 1:
        memory.last_customer = str(found[0].get("customer_id"))


def _order(memory: Memory, order: Record) -> None:
    memory.orders[str(order.get("order_id"))] = order
    memory.last_order = str(order.get("order_id"))
    customer = order.get("customer")
    if isinstance(customer, Mapping):
        _customer(memory, customer)


def _customer(memory: Memory, customer: Record) -> None:
    memory.customers[str(customer.get("customer_id"))] = customer
    memory.last_customer = str(customer.get("customer_id"))


def _maps(value: Json) -> list[Record]:
    return [item for item in value if isinstance(item, Mapping)] if isinstance(value, list) else []


def read_result(content: str) -> tuple[str, Record]:
    """Status and body of a result as `bot.agent.results` tells it; marks around strangers' words are passed over."""
    objects = [found for line in content.splitlines() if (found := _json(line)) is not None]
    if not objects:
        whole = _json(re.sub(r"^[^{]*", "", content, flags=re.DOTALL))
        return ("done", whole) if whole is not None else ("failed", {})
    status = str(objects[0].get("status", "done"))
    return status, objects[-1]


def _json(line: str) -> Record | None:
    line = line.strip()
    if not line.startswith("{"):
        return None
    try:
        value = json.loads(line)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None
