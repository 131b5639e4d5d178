"""The hash chain, pure: seals records one behind the other and says whether a row follows from the one before.

Knows which columns are hashed and in which form; knows no database.

``row_hash = hex(sha256(prev_hash || canonical))``, `prev_hash` in its 64 hex digits, so that anybody can check
a row with ``printf '%s%s' "$prev_hash" "$canonical" | sha256sum``. The first row of a tenant follows `genesis`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from json.encoder import encode_basestring
from typing import TypeAlias

from audit.canonical import COST_LIMIT, COST_PLACES, SAFE_INTEGER, NotCanonical, clean_text, iso, restricted_text
from audit.event import SYSTEM_CHAIN, Event, Json
from audit.redact import Redactor, redact_json

FORMAT = 1
"""Which columns the canonical bytes hold. A column more is a new number, and rows of the old one stay as they are."""

Cell: TypeAlias = str | int | None
Cells: TypeAlias = tuple[Cell, ...]
"""One row's hashed columns, in the order of `COLUMNS`, in the form that is hashed: times as ISO-8601 text,
costs as decimal text, JSON as canonical text."""

COLUMNS = (
    "actor_roles",
    "actor_user_id",
    "agent_name",
    "authz_decision",
    "call_id",
    "cost_usd",
    "detail",
    "format",
    "guardrail_verdict",
    "hitl_approver",
    "hitl_status",
    "kind",
    "latency_ms",
    "model",
    "occurred_at",
    "seq",
    "session_id",
    "status",
    "tenant_id",
    "tool_args",
    "tool_name",
)
"""Every column that is hashed, sorted as RFC 8785 sorts keys."""
JSON_COLUMNS = frozenset({"actor_roles", "detail", "tool_args"})
INTEGER_COLUMNS = frozenset({"format", "latency_ms", "seq"})
SEQ = COLUMNS.index("seq")
TENANT = COLUMNS.index("tenant_id")


@dataclass(frozen=True, slots=True)
class Head:
    """Where a tenant's chain ends. `seq` 0: nothing was written yet and `hash` is the genesis."""

    tenant: str
    seq: int
    hash: str


@dataclass(frozen=True, slots=True)
class Sealed:
    """A row that may be inserted as it is."""

    cells: Cells
    canonical: str
    prev_hash: str
    row_hash: str


def genesis(tenant: str) -> str:
    """What the first row of `tenant` follows: differs per tenant, so one chain cannot be passed off as another's."""
    return hashlib.sha256(f"countersign audit chain 1\n{tenant}".encode()).hexdigest()


def link(prev_hash: str, canonical: str) -> str:
    """The hash of a row with these canonical bytes behind `prev_hash`."""
    return hashlib.sha256((prev_hash + canonical).encode()).hexdigest()


def canonical_row(cells: Cells) -> str:
    """The canonical JSON of a row: what `canonical_text` says of the same columns as a mapping, ten times as fast.

    Trusts that JSON cells are JSON and integer cells integers; `audit.scan` checks that where rows are read back.
    """
    (roles, actor, agent, authz, call, cost, detail, form, guard, approver, hitl) = cells[:11]
    (kind, latency, model, moment, seq, session, status, tenant, args, tool) = cells[11:21]
    q = _quote
    return (
        f'{{"actor_roles":{roles},"actor_user_id":{q(actor)},"agent_name":{q(agent)},"authz_decision":{q(authz)}'
        f',"call_id":{q(call)},"cost_usd":{q(cost)},"detail":{detail or "null"},"format":{form}'
        f',"guardrail_verdict":{q(guard)},"hitl_approver":{q(approver)},"hitl_status":{q(hitl)},"kind":{q(kind)}'
        f',"latency_ms":{"null" if latency is None else latency},"model":{q(model)},"occurred_at":{q(moment)}'
        f',"seq":{seq},"session_id":{q(session)},"status":{q(status)},"tenant_id":{q(tenant)}'
        f',"tool_args":{args or "null"},"tool_name":{q(tool)}}}'
    )


def _quote(cell: Cell, quote: Callable[[str], str] = encode_basestring) -> str:
    # A number where text belongs raises TypeError: only a tampered row has one.
    return "null" if cell is None else quote(cell)  # type: ignore[arg-type]


def record(event: Event, redactor: Redactor) -> Cells:
    """`event` redacted, as cells, `seq` still 0.

    Raises:
        NotCanonical: the event holds something that cannot be hashed.
    """
    return (
        restricted_text(event.actor_roles),
        _text(event.actor_user_id),
        clean_text(event.agent_name),
        _text(event.authz_decision),
        _text(event.call_id),
        _cost(event.cost_usd),
        _json(event.detail, redactor),
        FORMAT,
        _text(event.guardrail_verdict),
        _text(event.hitl_approver),
        _text(event.hitl_status),
        str(event.kind),
        _milliseconds(event.latency_ms),
        _text(event.model),
        _moment(event),
        0,
        _text(event.session_id),
        clean_text(event.status),
        SYSTEM_CHAIN if event.tenant is None else clean_text(event.tenant),
        _json(event.tool_args, redactor),
        _text(event.tool_name),
    )


def seal(head: Head, records: Iterable[Cells]) -> Iterator[Sealed]:
    """`records`, all of the head's tenant, numbered and chained behind `head`."""
    seq, previous = head.seq, head.hash
    for cells in records:
        seq += 1
        numbered = (*cells[:SEQ], seq, *cells[SEQ + 1 :])
        canonical = canonical_row(numbered)
        row_hash = link(previous, canonical)
        yield Sealed(numbered, canonical, previous, row_hash)
        previous = row_hash


def _json(value: Mapping[str, Json] | None, redactor: Redactor) -> str | None:
    return None if value is None else restricted_text(redact_json(value, redactor))


def _text(value: str | None) -> str | None:
    return None if value is None else clean_text(value)


def _moment(event: Event) -> str:
    try:
        return iso(event.occurred_at)
    except ValueError as error:
        raise NotCanonical(str(error)) from None


def _cost(dollars: Decimal | None) -> str | None:
    if dollars is None:
        return None
    if not dollars.is_finite() or abs(dollars) >= COST_LIMIT:
        raise NotCanonical("cost_usd is not an amount of dollars.")
    return format(dollars.quantize(COST_PLACES) + 0, "f")  # + 0: there is no minus zero


def _milliseconds(value: int | None) -> int | None:
    if value is None:
        return None
    if type(value) is not int or abs(value) > SAFE_INTEGER:
        raise NotCanonical("latency_ms is not a whole number of milliseconds.")
    return value
