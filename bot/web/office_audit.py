"""`/audit`: the log of the auditor's own organisation, searched, row by row. Reads only; knows no chain but this one.

What was written is shown as it was written: the bytes that were hashed stand beside the columns.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from typing import Final
from urllib.parse import urlencode

from sqlalchemy.engine import Connection
from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import Response

from audit import chain, query
from audit.canonical import clean_text
from audit.event import Kind
from audit.query import Filter, Row
from bot.parts import Parts
from bot.web.office_paper import nobody_here, nothing_here, page
from bot.web.office_visitor import AUDITOR, Reception, Visitor
from policy.model import Subject

HERE: Final = "/audit"
ROWS: Final = 50
MAX_WORD: Final = 200
MAX_SEQ: Final = 2**53
FIELDS: Final = ("who", "tool", "kind", "status", "call", "since", "until")
"""What can be asked for, in the order of the form."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """A question to the log, as typed and as meant. `wrong`: what of it cannot be meant."""

    typed: Mapping[str, str]
    filter: Filter
    wrong: tuple[str, ...] = ()

    @property
    def query(self) -> str:
        """For the address of the next page and of a download."""
        return urlencode({name: self.typed[name] for name in FIELDS if self.typed[name]})


@dataclass(frozen=True, slots=True)
class Line:
    """A row as the table shows it. People by name where the directory knows them."""

    row: Row
    who: str | None
    amount: str | None
    approvers: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class AuditPages:
    reception: Reception

    async def table(self, request: Request) -> Response:
        visitor = await self.reception.visitor(request)
        if visitor is None:
            return nobody_here(request, self.reception.browsers.to_signin(request))
        if not visitor.audits:
            return await refuse(self.reception, visitor, HERE, AUDITOR)
        wanted = wanted_of(request.query_params)
        before = _number(request.query_params.get("before", ""))

        def unit(conn: Connection) -> tuple[query.Page, tuple[Line, ...], int]:
            newest = query.query(conn, visitor.tenant, limit=1).rows
            if wanted.wrong:
                return query.Page((), None), (), newest[0].seq if newest else 0
            meant = known_person(conn, self.reception.parts, visitor, wanted.filter)
            found = query.query(conn, visitor.tenant, meant, before=before, limit=ROWS)
            return found, _lines(conn, self.reception.parts, visitor, found.rows), newest[0].seq if newest else 0

        found, lines, total = await self.reception.parts.writer.read(unit)
        return page(
            "audit.html",
            visitor,
            HERE,
            422 if wanted.wrong else 200,
            wanted=wanted,
            lines=lines,
            total=total,
            older=found.before,
            newer=before is not None,
            kinds=[kind.value for kind in Kind],
            tools=sorted(self.reception.parts.catalog),
        )

    async def row(self, request: Request) -> Response:
        visitor = await self.reception.visitor(request)
        if visitor is None:
            return nobody_here(request, self.reception.browsers.to_signin(request))
        if not visitor.audits:
            return await refuse(self.reception, visitor, HERE, AUDITOR)
        seq = request.path_params["seq"]
        if not 0 < seq < MAX_SEQ:
            return nothing_here()

        def unit(conn: Connection) -> Line | None:
            found = query.query(conn, visitor.tenant, before=seq + 1, limit=1).rows
            if not found or found[0].seq != seq:
                return None
            return _lines(conn, self.reception.parts, visitor, found)[0]

        line = await self.reception.parts.writer.read(unit)
        if line is None:
            return nothing_here()
        row = line.row
        holds = chain.link(row.prev_hash, row.canonical) == row.row_hash
        return page("audit_row.html", visitor, HERE, line=line, columns=_columns(row), holds=holds)


async def refuse(reception: Reception, visitor: Visitor, here: str, role: str) -> Response:
    """Says which role it takes; that somebody tried is a row."""
    await reception.turned_away(visitor, f"page {here}")
    return page("role.html", visitor, here, 403, role=role)


def wanted_of(params: QueryParams) -> Wanted:
    typed = {name: clean_text(params.get(name, "").strip())[:MAX_WORD].replace("\x00", "") for name in FIELDS}
    wrong: list[str] = []
    kind: Kind | None = None
    if typed["kind"]:
        try:
            kind = Kind(typed["kind"])
        except ValueError:
            wrong.append(f"Nothing of the kind “{typed['kind']}” is ever written.")
    days: dict[str, datetime | None] = {}
    for name in ("since", "until"):
        try:
            days[name] = (
                datetime.combine(date.fromisoformat(typed[name]), datetime.min.time(), UTC) if typed[name] else None
            )
        except ValueError:
            days[name] = None
            wrong.append(f"“{typed[name]}” is no day. Write it like 2026-01-31.")
    until = days["until"]
    try:
        end = None if until is None else until + timedelta(days=1)
    except OverflowError:
        end = None
    meant = Filter(
        who=typed["who"] or None,
        tool=typed["tool"] or None,
        since=days["since"],
        until=end,
        status=typed["status"] or None,
        kind=kind,
        call_id=typed["call"] or None,
    )
    return Wanted(typed, meant, tuple(wrong))


def known_person(conn: Connection, parts: Parts, visitor: Visitor, asked: Filter) -> Filter:
    """`asked`, with the id of the one person whose name or e-mail address was typed in place of it."""
    word = (asked.who or "").casefold()
    if " " not in word and "@" not in word:
        return asked
    people = parts.directory.people(conn, visitor.tenant)
    found = [one for one in people if word in (one.display_name.casefold(), (one.email or "").casefold())]
    return replace(asked, who=found[0].subject.sub) if len(found) == 1 else asked


def _lines(conn: Connection, parts: Parts, visitor: Visitor, rows: Iterable[Row]) -> tuple[Line, ...]:
    names: dict[str, str] = {}
    issuer = visitor.signed.subject.issuer

    def name(sub: str) -> str:
        if sub not in names:
            person = parts.directory.by_subject(conn, visitor.tenant, Subject(issuer, sub))
            names[sub] = sub if person is None else person.display_name
        return names[sub]

    return tuple(
        Line(
            row=row,
            who=None if row.actor_user_id is None else name(row.actor_user_id),
            amount=_amount(row),
            approvers=tuple(name(sub) for sub in (row.hitl_approver or "").split(",") if sub),
        )
        for row in rows
    )


def _amount(row: Row) -> str | None:
    args = row.tool_args or {}
    return f"{args['amount']} {args.get('currency', '')}".strip() if "amount" in args else None


def _columns(row: Row) -> tuple[tuple[str, str, bool], ...]:
    """Name, value and whether it is written in many lines, of every column that says something."""
    found: list[tuple[str, str, bool]] = []
    for name in Row.__slots__:
        value = getattr(row, name)
        if value in (None, (), "") or name in ("canonical", "prev_hash", "row_hash"):
            continue
        if isinstance(value, Mapping):
            found.append((name, json.dumps(value, ensure_ascii=False, indent=2), True))
        elif isinstance(value, datetime):
            found.append((name, f"{value:%Y-%m-%d %H:%M:%S.%f} UTC", False))
        else:
            found.append((name, ", ".join(value) if isinstance(value, tuple) else str(value), False))
    return tuple(found)


def _number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 16 else None
