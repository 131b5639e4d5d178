"""The sentences of the offline stand-in about customers, lists and the ledger. Knows no pattern and no call."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from bot.agent.offline_answers import outcome
from bot.agent.offline_memory import Made, Record
from bot.agent.offline_money import from_units, money
from policy.model import Json

_WORDS = {"phone": "phone", "address": "address", "email": "e-mail address", "tier": "tier"}
_MOST = 20
_ORDERS = re.compile(
    r"\b(?:ignore|disregard|forget)\b.{0,40}\b(?:instructions?|rules?|prompts?)\b|\b(?:assistant|without approval|"
    r"system note)\b",
    re.IGNORECASE,
)


def customer(record: Record, aspect: str = "") -> str:
    label = f"{record.get('name')} ({record.get('customer_id')})"
    if aspect == "note":
        return f"{_note(record, label)}" if record.get("note") else f"There is no note on {label}."
    if aspect in _WORDS:
        return f"{label}: {_WORDS[aspect]} {record.get(aspect) or 'not on record'}."
    note = f"\n- note: {_quoted(record)}" if record.get("note") else ""
    return (
        f"**{record.get('name')}** ({record.get('customer_id')}), {record.get('tier')} customer since "
        f"{record.get('customer_since')}\n- {record.get('email')}, {record.get('phone')}\n"
        f"- {record.get('address')}{note}"
    )


def _note(record: Record, where: str) -> str:
    return f"The note on {where} says: {_quoted(record)}"


def _quoted(record: Record) -> str:
    """The note as somebody wrote it. What is in it is reported, never followed."""
    note = " ".join(str(record.get("note")).split())
    return f"“{note}”" + ("\n\nThat note tries to give me orders. I only report it." if _ORDERS.search(note) else "")


def undone(made: Made, names: Mapping[str, str]) -> str:
    """What became of an undo."""
    if made.status != "done":
        return outcome(made)
    who, field = str(made.given.get("customer_id")), made.given.get("field")
    after = made.result.get("after")
    back = f"“{after}” again" if after else "empty again"
    return f"Taken back: the {field} of {names.get(who, who)} is {back}."


def which_customer(name: str, people: Sequence[Record]) -> str:
    if not people:
        return f"I found no customer “{name}”. Nothing was done. Check the spelling, or give an id like *C-1007*."
    lines = "\n".join(f"{n}. {_line(one)}" for n, one in enumerate(people[:_MOST], 1))
    return f"There are {len(people)} customers that fit “{name}”:\n{lines}\n\nWhich one do you mean?"


def found(words: str, people: Sequence[Record]) -> str:
    if not people:
        return f"I found no customer with “{words}” in their name, address, e-mail or phone."
    lines = "\n".join(f"{n}. {_line(one)}" for n, one in enumerate(people[:_MOST], 1))
    return f"{len(people)} customer{'' if len(people) == 1 else 's'} with “{words}”:\n{lines}"


def _line(one: Record) -> str:
    return f"{one.get('name')} ({one.get('customer_id')}), {one.get('email')}, {one.get('address')}"


def table(made: Made, about: str) -> str:
    """What a query returned. Amounts in minor units are written with their currency's decimals."""
    columns = [str(name) for name in _list(made.result.get("columns"))]
    rows = [_list(row) for row in _list(made.result.get("rows"))]
    title = about[:1].upper() + about[1:]
    if not columns:
        return made.sentence or "The query returned nothing that I can show."
    if len(rows) == 1 and len(columns) == 1:
        return f"{title}: **{rows[0][0] if rows[0] else 'nothing'}**"
    lines = [f"- {_row(columns, row)}" for row in rows[:_MOST]]
    more = f"\n… and {len(rows) - _MOST} more" if len(rows) > _MOST else ""
    currencies = {
        str(row[columns.index("currency")]) for row in rows if "currency" in columns and len(row) == len(columns)
    }
    mixed = "\n\nCurrencies are not converted." if len(currencies) > 1 and about.startswith("the ") else ""
    return f"{title}:\n" + ("\n".join(lines) or "- none") + more + mixed


def _row(columns: Sequence[str], row: Sequence[Json]) -> str:
    named = dict(zip(columns, row, strict=False))
    currency = named.get("currency")
    cells = []
    for column, value in named.items():
        if column.endswith("_minor") and isinstance(value, int):
            cells.append(from_units(value, currency) if currency else f"{value} (in the smallest unit)")
        elif (column == "id" and "customer_id" in named) or column == "order_id":
            cells.append(f"order {value}")
        elif column.endswith("_at"):
            cells.append(str(value)[:10])
        elif isinstance(value, int) and not isinstance(value, bool):
            noun = column.removesuffix("s") if value == 1 else column
            cells.append(f"{value} {noun}" if column != "n" else str(value))
        elif column != "currency" or not any(name.endswith("_minor") for name in columns):
            cells.append(str(value))
    if len(cells) == 2 and isinstance(row[-1], int) and not columns[-1].endswith("_minor"):
        return f"{cells[0]}: {row[-1]}"
    return ", ".join(cells)


def ledger(made: Made, what: str, words: str) -> str:
    entries = [one for one in _list(made.result.get("entries")) if isinstance(one, Mapping)]
    if not entries:
        return f"The ledger has no {what}{words}."
    totals = [one for one in _list(made.result.get("totals")) if isinstance(one, Mapping)]
    each = len({one.get("kind") for one in totals}) > 1
    sums = [f"{one.get('kind')}s " * each + money(one.get("amount"), one.get("currency")) for one in totals]
    summed = f"{', '.join(sums)} in all"
    what = {"refunds": "refund", "payments": "payment", "entries": "entry"}[what] if len(entries) == 1 else what
    lines = "\n".join(_entry(one) for one in entries[:_MOST])
    more = f"\n… and {len(entries) - _MOST} more" if len(entries) > _MOST else ""
    complete = "" if made.result.get("complete", True) else "\nThere are more; I read the newest."
    return f"{len(entries)} {what}{words}, {summed}:\n{lines}{more}{complete}"


def _entry(one: Record) -> str:
    reason = f" ({one.get('reason')})" if one.get("reason") else ""
    amount = money(one.get("amount"), one.get("currency"))
    return f"- {one.get('on')} {one.get('kind')} {amount}, order {one.get('order_id')}{reason}"


def _list(value: Json) -> list[Json]:
    return list(value) if isinstance(value, list) else []
