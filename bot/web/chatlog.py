"""What was said in the demo chat, kept through restarts. Knows rows, not people, rooms or markup."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, TypeAlias

from pydantic import TypeAdapter
from sqlalchemy import ColumnElement, RowMapping, Select, Table, and_, delete, func, insert, or_, select, update
from sqlalchemy.engine import Connection
from sqlmodel import SQLModel

from audit.writer import Writer
from bot.answers import Answer
from bot.cards import Card
from bot.ports import Ask
from bot.web import tables
from policy.model import TenantId

BOT = "countersign"
LINES = 400
"""How many lines of a room a page shows."""

_message: Table = SQLModel.metadata.tables[str(tables.DemoMessage.__tablename__)]
_seen: Table = SQLModel.metadata.tables[str(tables.DemoSeen.__tablename__)]
_CARD: TypeAdapter[Card] = TypeAdapter(Card)
_ANSWER: TypeAdapter[Answer] = TypeAdapter(Answer)
_ASKS: TypeAdapter[tuple[Ask, ...]] = TypeAdapter(tuple[Ask, ...])
_Values: TypeAlias = dict[str, Any]


class LineKind(StrEnum):
    SAID = "said"
    CARD = "card"
    BREAK = "break"
    """A new conversation starts here."""


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a room. `id` 0: not written yet."""

    kind: LineKind
    channel: str
    author: str
    text: str = ""
    root: str | None = None
    only_for: str | None = None
    asks: tuple[Ask, ...] = ()
    answer: Answer | None = None
    """The words are a model's, and rest on these records."""
    card: Card | None = None
    id: int = 0
    at: datetime = datetime(1970, 1, 1, tzinfo=UTC)

    @property
    def by_bot(self) -> bool:
        return self.author == BOT


class ChatLog:
    """The messages of one tenant's demo workspace. Every method raises `audit.faults.StoreUnavailable` alone."""

    def __init__(self, writer: Writer, tenant: TenantId) -> None:
        self._writer = writer
        self._tenant = tenant

    async def add(self, line: Line) -> Line:
        """Writes `line`; returns it with its id and time once it is on disk."""
        now = datetime.now(UTC)
        values: _Values = {
            "tenant": self._tenant,
            "channel": line.channel,
            "root": line.root,
            "kind": line.kind.value,
            "author": line.author,
            "only_for": line.only_for,
            "text": line.text,
            "asks": _ASKS.dump_python(line.asks, mode="json") if line.asks else None,
            "answer": None if line.answer is None else _ANSWER.dump_python(line.answer, mode="json"),
            "card": _CARD.dump_python(line.card, mode="json") if line.card else None,
            "created_at": now,
        }

        def unit(conn: Connection) -> Line:
            row = conn.execute(insert(_message).values(values).returning(_message)).mappings().one()
            return _line(row)

        return await self._writer.run(unit)

    async def redraw(self, message_id: int, card: Card) -> bool:
        """Replaces the card of a message; False: there is no such card."""

        def unit(conn: Connection) -> bool:
            changed = conn.execute(
                update(_message)
                .where(
                    _message.c.tenant == self._tenant,
                    _message.c.id == message_id,
                    _message.c.kind == LineKind.CARD.value,
                )
                .values(card=_CARD.dump_python(card, mode="json"), changed_at=datetime.now(UTC))
            )
            return changed.rowcount == 1

        return await self._writer.run(unit)

    async def line(self, message_id: int) -> Line | None:
        query = select(_message).where(_message.c.tenant == self._tenant, _message.c.id == message_id)

        def unit(conn: Connection) -> Line | None:
            row = conn.execute(query).mappings().one_or_none()
            return None if row is None else _line(row)

        return await self._writer.read(unit)

    async def lines(self, channel: str, reader: str) -> tuple[Line, ...]:
        """The newest lines of a room that `reader` may see, oldest first."""
        query = (
            select(_message)
            .where(_message.c.tenant == self._tenant, _message.c.channel == channel, _visible_to(reader))
            .order_by(_message.c.id.desc())
            .limit(LINES)
        )

        def unit(conn: Connection) -> tuple[Line, ...]:
            return tuple(_line(row) for row in reversed(conn.execute(query).mappings().all()))

        return await self._writer.read(unit)

    async def last_break(self, channel: str) -> str | None:
        """The root of the conversation that is going on in a DM; None: the first one, the channel itself."""
        query = select(func.max(_message.c.id)).where(
            _message.c.tenant == self._tenant, _message.c.channel == channel, _message.c.kind == LineKind.BREAK.value
        )

        def unit(conn: Connection) -> str | None:
            found = conn.execute(query).scalar_one()
            return None if found is None else str(found)

        return await self._writer.read(unit)

    async def unread(self, rooms: Mapping[str, tuple[str, ...]]) -> Mapping[tuple[str, str], int]:
        """How many lines each reader has not had on screen: (reader, channel) -> count. `rooms`: reader -> channels."""

        def unit(conn: Connection) -> Mapping[tuple[str, str], int]:
            return {
                (reader, channel): conn.execute(self._unread_query(reader, channel)).scalar_one()
                for reader, channels in rooms.items()
                for channel in channels
            }

        return await self._writer.read(unit)

    def _unread_query(self, reader: str, channel: str) -> Select[int]:
        seen = (
            select(_seen.c.message_id)
            .where(_seen.c.tenant == self._tenant, _seen.c.user == reader, _seen.c.channel == channel)
            .scalar_subquery()
        )
        return select(func.count()).where(
            _message.c.tenant == self._tenant,
            _message.c.channel == channel,
            _message.c.id > func.coalesce(seen, 0),
            _message.c.author != reader,
            _message.c.kind != LineKind.BREAK.value,
            _visible_to(reader),
        )

    async def saw(self, user: str, channel: str) -> None:
        """Remembers that `user` has had the whole room on screen. Writes only if there was something new."""
        if not (await self.unread({user: (channel,)}))[user, channel]:
            return
        key = and_(_seen.c.tenant == self._tenant, _seen.c.user == user, _seen.c.channel == channel)
        newest = (
            select(func.max(_message.c.id))
            .where(_message.c.tenant == self._tenant, _message.c.channel == channel)
            .scalar_subquery()
        )

        def unit(conn: Connection) -> None:
            changed = conn.execute(update(_seen).where(key).values(message_id=newest))
            if changed.rowcount == 0:
                values = {"tenant": self._tenant, "user": user, "channel": channel, "message_id": newest}
                conn.execute(insert(_seen).values(values))

        await self._writer.run(unit)


def _visible_to(reader: str) -> ColumnElement[bool]:
    return or_(_message.c.only_for.is_(None), _message.c.only_for == reader)


def _line(row: RowMapping) -> Line:
    return Line(
        kind=LineKind(row["kind"]),
        channel=row["channel"],
        author=row["author"],
        text=row["text"],
        root=row["root"],
        only_for=row["only_for"],
        asks=() if row["asks"] is None else _ASKS.validate_python(row["asks"], strict=False),
        answer=None if row["answer"] is None else _ANSWER.validate_python(row["answer"], strict=False),
        card=None if row["card"] is None else _CARD.validate_python(row["card"], strict=False),
        id=row["id"],
        at=row["created_at"],
    )


def erase(conn: Connection, tenant: TenantId, before: datetime) -> int:
    """Deletes the demo's chat before a time: it stands in for the chat provider, and holds raw text like one."""
    done = conn.execute(delete(_message).where(_message.c.tenant == tenant, _message.c.created_at < before))
    return done.rowcount
