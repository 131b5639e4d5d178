"""Questions about many records -> one read-only SELECT, put together from closed words. Knows no tool.

No word of the question ever stands in a statement: columns, tables and states are chosen from the lists below.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import date, timedelta
from typing import Final

from bot.agent.offline_intents import Query
from bot.agent.offline_words import UNITS, amount, without_money

_COUNTS: Final = {
    "orders": "SELECT COUNT(*) AS n FROM orders",
    "customers": "SELECT COUNT(*) AS n FROM customers",
    "payments": "SELECT COUNT(*) AS n FROM payments",
    "refunds": "SELECT COUNT(*) AS n FROM refunds",
}
_PER: Final = {
    ("orders", "status"): "SELECT status, COUNT(*) AS orders FROM orders GROUP BY status",
    ("orders", "currency"): "SELECT currency, COUNT(*) AS orders FROM orders GROUP BY currency",
    ("orders", "customer"): "SELECT customer_id, COUNT(*) AS orders FROM orders GROUP BY customer_id",
    ("customers", "tier"): "SELECT tier, COUNT(*) AS customers FROM customers GROUP BY tier",
    ("payments", "currency"): "SELECT currency, COUNT(*) AS payments FROM payments GROUP BY currency",
    ("payments", "customer"): "SELECT customer_id, COUNT(*) AS payments FROM payments GROUP BY customer_id",
    ("refunds", "currency"): "SELECT currency, COUNT(*) AS refunds FROM refunds GROUP BY currency",
}
_SUMS: Final = {
    "orders": "SELECT currency, COUNT(*) AS orders, SUM(total_minor) AS total_minor FROM orders",
    "payments": "SELECT currency, COUNT(*) AS payments, SUM(amount_minor) AS total_minor FROM payments",
    "refunds": "SELECT currency, COUNT(*) AS refunds, SUM(amount_minor) AS total_minor FROM refunds",
}
_LISTS: Final = {
    "orders": "SELECT id, customer_id, status, total_minor, currency FROM orders",
    "payments": "SELECT order_id, amount_minor, currency, paid_at FROM payments",
    "refunds": "SELECT order_id, amount_minor, currency, reason, refunded_at FROM refunds",
    "customers": "SELECT id, name, tier FROM customers",
}
_MONEY: Final = {"orders": "total_minor", "payments": "amount_minor", "refunds": "amount_minor"}
_TIMES: Final = {
    "orders": "placed_at",
    "payments": "paid_at",
    "refunds": "refunded_at",
    "customers": "created_at",
}
_STATES: Final = {
    word: f"status = '{word}'" for word in ("shipped", "delivered", "cancelled", "returned", "pending", "paid")
} | {"unpaid": "status = 'pending'", "open": "status IN ('pending', 'paid')"}
_TIERS: Final = {word: f"tier = '{word}'" for word in ("standard", "silver", "gold", "platinum")}

_COUNTED = re.compile(r"\b(how many|count|number of)\b", re.IGNORECASE)
_SUMMED = re.compile(r"\b(revenue|turnover|total|sum|how much (?:money )?(?:did|have) we|in total)\b", re.IGNORECASE)
_LARGEST = re.compile(r"\b(largest|biggest|highest|greatest|most expensive|top|priciest)\b", re.IGNORECASE)
_SMALLEST = re.compile(r"\b(smallest|lowest|cheapest|least expensive)\b", re.IGNORECASE)
_LISTED = re.compile(r"^\W*(?:list|show|which|what|give|are there|find|name|display|get)\b", re.IGNORECASE)
_NEWEST = re.compile(r"\b(latest|newest|most recent|last)\b", re.IGNORECASE)
_HOW_MANY = re.compile(rf"\b([0-9]{{1,3}}|{'|'.join(UNITS[1:])})\b", re.IGNORECASE)
_PER_WORD = re.compile(r"\b(?:per|by|for each|in each|each|grouped by)\s+(status|currency|customer|tier)\b")
_OVER = re.compile(r"\b(over|above|more than|at least|exceeding|under|below|less than|cheaper than)\b", re.IGNORECASE)
_SPAN = re.compile(
    r"\b(today|yesterday|(?:this|last|past|current) (?:week|month|year)|(?:last|past) [0-9]{1,3} days|"
    r"since (?:monday|yesterday))\b",
    re.IGNORECASE,
)
_KNOWN_WORDS = (
    "how many much count number of the are there do does we have has had our us in is was were which what show "
    "list me "
    "give all a an any per by for each grouped status currency customer tier largest biggest highest greatest most "
    "expensive top priciest smallest lowest cheapest least latest newest recent last revenue turnover total sum "
    "money "
    "amount amounts value values did you tell please can see that been placed made came come went gone go out "
    "issued "
    "done taken received worth with and to from right now currently at moment so far over above more than "
    "exceeding "
    "under below less cheaper still find name display get order orders customers client clients payment payments "
    "refund refunds one ones it them they paid unpaid open i be these those on this system database know since"
)
_KNOWN = frozenset((*_KNOWN_WORDS.split(), *UNITS))
"""A question with any other word asks for something these queries would not tell: it is not answered."""
_MOST = 50


def question(part: str, today: date | None = None) -> Query | None:
    """The query that answers `part`, None: it is no question about many records."""
    low = part.lower()
    table = _table(low)
    if re.match(r"\s*(?:run:?\s+|query:?\s+)?(?:select|with)\s+[\w*(]", part, re.IGNORECASE):
        sql = re.sub(r"^\s*(?:run|query):?\s+", "", part, flags=re.IGNORECASE).strip()
        return Query(sql, "your query") if 8 <= len(sql) <= 4000 else None
    if table is None or not _all_known(low):
        return None
    if table == "orders" and "refunded" in low:
        return Query("SELECT COUNT(DISTINCT order_id) AS n FROM refunds", "orders with a refund")
    words, where = _where(low, table)
    days = span_of(low, today)
    if days is not None:
        since, until = days
        where.append(f"{_TIMES[table]} >= '{since.isoformat()}'")
        where.append(f"{_TIMES[table]} < '{(until + timedelta(days=1)).isoformat()}'")
        words.append(_SPAN.search(low)[0])  # type: ignore[index]  # span_of found it there
    about = " ".join([*[word for word in words if word in _STATES or word in _TIERS], table])
    about += "".join(f", {word}" for word in words if word not in _STATES and word not in _TIERS)
    return _shape(low, table, about, where)


def _shape(low: str, table: str, about: str, where: list[str]) -> Query | None:
    """Counts, sums, rankings or a plain list."""
    per = _PER_WORD.search(low)
    if per is not None and (table, per[1]) in _PER:
        head, _, group = _PER[table, per[1]].partition(" GROUP BY ")
        return Query(_sql(head, where, f"GROUP BY {group} ORDER BY 2 DESC, 1"), f"{about} per {per[1]}")
    ranked = _LARGEST.search(low) or _SMALLEST.search(low)
    if ranked is not None and table in _MONEY:
        order = "DESC" if _LARGEST.search(low) else "ASC"
        tail = f"ORDER BY {_MONEY[table]} {order}, 1 LIMIT {_limit(low, table)}"
        return Query(_sql(_LISTS[table], where, tail), f"the {ranked[1]} {about}")
    if _COUNTED.search(low):
        return Query(_sql(_COUNTS[table], where), about)
    if _SUMMED.search(low) and table in _SUMS:
        return Query(_sql(_SUMS[table], where, "GROUP BY currency ORDER BY currency"), f"{about} in total")
    if where or (_LISTED.search(low) and (_NEWEST.search(low) or re.search(rf"\ball (?:the |our )?{table}\b", low))):
        return Query(
            _sql(_LISTS[table], where, f"ORDER BY {_TIMES[table]} DESC, 1 LIMIT {_limit(low, table, 20)}"), about
        )
    return None


def refunds_since(kind: str, since: date | None) -> Query:
    """Payments or refunds for somebody who may query, but not read the ledger."""
    table = "payments" if kind == "payment" else "refunds"
    where = [] if since is None else [f"{_TIMES[table]} >= '{since.isoformat()}'"]
    return Query(_sql(_LISTS[table], where, f"ORDER BY {_TIMES[table]} DESC, 1 LIMIT 20"), table)


def span_of(text: str, today: date | None) -> tuple[date, date] | None:
    """First and last day of the span that `text` names, counted from `today`."""
    found = _SPAN.search(text)
    if found is None or today is None:
        return None
    word = found[1].lower()
    days = re.search(r"[0-9]+", word)
    monday, first = today - timedelta(days=today.weekday()), today.replace(day=1)
    if days is not None:
        return today - timedelta(days=int(days[0])), today
    if "yesterday" in word:
        return today - timedelta(days=1), today if "since" in word else today - timedelta(days=1)
    if "today" in word:
        return today, today
    if word.startswith("last"):
        ends = {"week": monday, "month": first, "year": first.replace(month=1)}
        last = ends[word.split()[-1]] - timedelta(days=1)
        begins = {"week": last - timedelta(days=6), "month": last.replace(day=1), "year": last.replace(month=1, day=1)}
        return begins[word.split()[-1]], last
    begins = {"week": monday, "monday": monday, "month": first, "year": first.replace(month=1)}
    return begins[word.split()[-1]], today


def _table(low: str) -> str | None:
    """The table a question is about: the noun that stands first."""
    found = re.search(r"\b(orders?|customers?|clients?|payments?|refunds?|revenue|turnover)\b", low)
    if found is None:
        return None
    word = found[1].rstrip("s") + "s"
    return {"clients": "customers", "revenues": "payments", "turnovers": "payments"}.get(word, word)


def _all_known(low: str) -> bool:
    """Whether every word of the question has been taken into account."""
    rest = without_money(_SPAN.sub(" ", low))
    words = set(re.findall(r"[^\W\d_]+", rest.replace("'s", " ")))
    about_orders = {"refunded"} if _COUNTED.search(low) else set()
    return words <= _KNOWN | _STATES.keys() | _TIERS.keys() | about_orders


def _where(low: str, table: str) -> tuple[list[str], list[str]]:
    """The states and bounds a question names, and the conditions they stand for."""
    words: list[str] = []
    where: list[str] = []
    known = {"orders": _STATES, "customers": _TIERS}.get(table, {})
    for word, condition in known.items():
        if re.search(rf"(?<!not )\b{word}\b(?! by)", low) and not (word == "paid" and "unpaid" in low):
            words.append(word)
            where.append(condition)
            break
    bound = _OVER.search(low)
    wanted = amount(low[bound.end() :]) if bound is not None else None
    if bound is not None and wanted is not None and wanted.currency is not None and table in _MONEY:
        digits = 0 if wanted.currency == "JPY" else 2
        minor = int(wanted.text.replace(".", "")) if digits else int(wanted.text.partition(".")[0])
        below = bound[1].lower() in ("under", "below", "less than", "cheaper than")
        sign = "<" if below else ">=" if bound[1].lower() == "at least" else ">"
        where += [f"{_MONEY[table]} {sign} {minor}", f"currency = '{wanted.currency}'"]
        words.append(f"{bound[1].lower()} {wanted.text} {wanted.currency}")
    return words, where


def _limit(low: str, table: str, usual: int = 5) -> int:
    """How many are wanted: "the largest order" is one, "the largest orders" five."""
    found = _HOW_MANY.search(_SPAN.sub(" ", re.sub(r"[0-9.,]+ ?(?:dollars|euros?|usd|eur)|[$€£¥][0-9.,]+", " ", low)))
    if found is not None:
        number = int(found[1]) if found[1].isdigit() else UNITS.index(found[1].lower())
        return max(1, min(number, _MOST))
    return usual if re.search(rf"\b{table}\b", low) else 1


def _sql(head: str, where: Iterable[str], tail: str = "") -> str:
    conditions = " AND ".join(where)
    return " ".join(part for part in (head, "WHERE" if conditions else "", conditions, tail) if part)
