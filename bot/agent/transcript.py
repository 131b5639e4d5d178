"""What was said in one thread by and to one person, as rows. One of the two places that hold raw text.

Knows how messages are kept, replayed and erased; knows no model, no chat and no tool.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TypeAlias, assert_never

import sqlalchemy as sa
from sqlalchemy.engine import Connection
from sqlmodel import Field, SQLModel

from audit.types import UtcDateTime, json_column
from audit.writer import Writer
from bot.agent.history import read_back, spell, window
from bot.agent.spotlight import Spotlight
from bot.ports import AssistantSaid, EventHappened, Message, OthersSaid, UserSaid
from policy.model import Json, Subject, TenantId


class TranscriptEntry(SQLModel, table=True):
    """One message. `seq` None: received, but the segment that reads it has not begun."""

    __tablename__ = "transcript"

    id: int | None = Field(default=None, primary_key=True)
    tenant: str
    session_id: str
    subject: str
    seq: int | None = None
    turn_id: str
    segment: str
    step: str
    part: int
    content: dict[str, object] = Field(sa_type=json_column())
    exposure: str | None = None
    note: dict[str, object] | None = Field(default=None, sa_type=json_column())
    created_at: datetime = Field(sa_type=UtcDateTime)

    __table_args__ = (
        sa.UniqueConstraint("tenant", "turn_id", "segment", "step", "part", name="transcript_once"),
        sa.UniqueConstraint("tenant", "session_id", "subject", "seq", name="transcript_order"),
        sa.Index("transcript_age", "tenant", "created_at"),
    )


_rows = SQLModel.metadata.tables["transcript"]

Heard: TypeAlias = UserSaid | OthersSaid | EventHappened
"""What reaches the bot from outside the loop."""

MOST_ROWS = 400
"""A thread's newest rows that are looked at; the token budget ends sooner in all but odd cases."""

RECEIVED = "received"
"""The step under which messages stand that came in before their segment began."""

REMARK = "remark"
"""The step under which stands what somebody thinks of an answer."""


@dataclass(frozen=True, slots=True)
class Key:
    """Whose conversation: a transcript belongs to one person in one thread."""

    tenant: TenantId
    session_id: str
    subject: Subject


@dataclass(frozen=True, slots=True)
class Entry:
    """One message about to be kept. `exposure` names the stranger whose words are in it.

    `note`: what the step that wrote it found out (usage, cost, how it ended); numbers and closed words only.
    """

    message: Message
    exposure: str | None = None
    note: Mapping[str, Json] | None = None


@dataclass(frozen=True, slots=True)
class Written:
    """What a step has written: the places of its messages and the note of the first."""

    seqs: tuple[int, ...]
    note: Mapping[str, Json]


@dataclass(frozen=True, slots=True)
class Loaded:
    """A transcript as a model may read it, and whose words it is thereby exposed to."""

    messages: tuple[Message, ...]
    exposures: tuple[str, ...]


def receive(conn: Connection, key: Key, turn_id: str, segment: str, messages: Sequence[Heard], now: datetime) -> None:
    """Keeps what people said until `segment` begins. Joins the caller's transaction; again: changes nothing.

    So the queue that starts the segment carries ids only, and a message that comes in while an earlier
    segment is at work does not get between a call and its result.
    """
    if not _step_rows(conn, key.tenant, turn_id, segment, RECEIVED):
        _insert(conn, key, turn_id, segment, RECEIVED, heard(messages, Spotlight()), now, first_seq=None)


def remark(conn: Connection, key: Key, remark_id: str, good: bool, text: str, now: datetime) -> None:
    """Keeps what somebody thinks of an answer, beside the conversation. It is given no place in it: no model reads it.

    It goes when the conversation goes. Joins the caller's transaction.
    """
    values: dict[str, object] = {
        "tenant": key.tenant,
        "session_id": key.session_id,
        "subject": str(key.subject),
        "seq": None,
        "turn_id": remark_id,
        "segment": REMARK,
        "step": REMARK,
        "part": 0,
        "content": _storable({"kind": REMARK, "good": good, "text": text}),
        "created_at": now,
    }
    conn.execute(sa.insert(_rows), [values])


def heard(messages: Sequence[Heard], spot: Spotlight) -> tuple[Entry, ...]:
    """`messages` as they are kept: other people's words marked as data, and counted as an exposure."""
    entries: list[Entry] = []
    for message in messages:
        match message:
            case OthersSaid(who, text):
                marked = OthersSaid(who, spot.mark(text, f"{who}, who also writes in this thread"))
                entries.append(Entry(marked, exposure=f"{who} in the thread"))
            case UserSaid() | EventHappened():
                entries.append(Entry(message))
            case _:
                assert_never(message)
    return tuple(entries)


class Transcript:
    """The transcript of one person in one thread. Every write is one transaction and may be repeated."""

    def __init__(self, writer: Writer, key: Key) -> None:
        self.key = key
        self._writer = writer

    async def open(
        self, turn_id: str, segment: str, step: str, entries: Sequence[Entry], now: datetime
    ) -> tuple[int, ...]:
        """Gives what was `receive`d for `segment` its place, then appends `entries`. Returns the places."""

        def unit(conn: Connection) -> tuple[int, ...]:
            admitted: list[int] = []
            for row_id, seq in _step_rows(conn, self.key.tenant, turn_id, segment, RECEIVED):
                place = self._next(conn) if seq is None else seq
                if seq is None:
                    conn.execute(sa.update(_rows).where(_rows.c.id == row_id).values(seq=place))
                admitted.append(place)
            return (*admitted, *self._append(conn, turn_id, segment, step, entries, now))

        return await self._writer.run(unit)

    async def append(
        self, turn_id: str, segment: str, step: str, entries: Sequence[Entry], now: datetime
    ) -> tuple[int, ...]:
        """Appends `entries` and returns their places. A step that wrote before writes nothing again."""
        return await self._writer.run(lambda conn: self._append(conn, turn_id, segment, step, entries, now))

    async def written(self, turn_id: str, segment: str, step: str) -> Written | None:
        """What `step` wrote before it was interrupted; None: nothing."""

        def unit(conn: Connection) -> Written | None:
            found = _step_rows(conn, self.key.tenant, turn_id, segment, step)
            if not found:
                return None
            note = conn.execute(sa.select(_rows.c.note).where(_rows.c.id == found[0][0])).scalar()
            return Written(tuple(seq for _, seq in found if seq is not None), note or {})

        return await self._writer.read(unit)

    async def load(self, budget: int) -> Loaded:
        """The newest part within `budget` tokens, whole.

        Exposures are those of the whole thread: what a stranger wrote lives on in the answers drawn from it.
        """

        def unit(conn: Connection) -> Loaded:
            query = sa.select(_rows.c.content).where(*self._mine(), _rows.c.seq.is_not(None))
            newest = conn.execute(query.order_by(_rows.c.seq.desc()).limit(MOST_ROWS)).scalars().all()
            messages = window([read_back(content) for content in reversed(newest)], budget)
            return Loaded(messages, self._exposures(conn))

        return await self._writer.read(unit)

    async def at(self, seq: int) -> Message | None:
        """The message at `seq`; None: erased or never written."""

        def unit(conn: Connection) -> Message | None:
            found = conn.execute(sa.select(_rows.c.content).where(*self._mine(), _rows.c.seq == seq)).scalar()
            return None if found is None else read_back(found)

        return await self._writer.read(unit)

    async def text(self, seq: int) -> str:
        """What the bot said at `seq`; empty when it has been erased."""
        message = await self.at(seq)
        return message.text if isinstance(message, AssistantSaid) else ""

    def _mine(self) -> tuple[sa.ColumnElement[bool], ...]:
        return (
            _rows.c.tenant == self.key.tenant,
            _rows.c.session_id == self.key.session_id,
            _rows.c.subject == str(self.key.subject),
        )

    def _exposures(self, conn: Connection) -> tuple[str, ...]:
        query = (
            sa.select(_rows.c.exposure)
            .where(*self._mine(), _rows.c.seq.is_not(None), _rows.c.exposure.is_not(None))
            .group_by(_rows.c.exposure)
            .order_by(sa.func.min(_rows.c.seq))
        )
        return tuple(conn.execute(query).scalars())

    def _next(self, conn: Connection) -> int:
        highest: int | None = conn.execute(sa.select(sa.func.max(_rows.c.seq)).where(*self._mine())).scalar()
        return 1 if highest is None else highest + 1

    def _append(
        self, conn: Connection, turn_id: str, segment: str, step: str, entries: Sequence[Entry], now: datetime
    ) -> tuple[int, ...]:
        before = _step_rows(conn, self.key.tenant, turn_id, segment, step)
        if before:
            return tuple(seq for _, seq in before if seq is not None)
        if not entries:
            return ()
        first = self._next(conn)
        _insert(conn, self.key, turn_id, segment, step, entries, now, first)
        return tuple(range(first, first + len(entries)))


def _step_rows(
    conn: Connection, tenant: TenantId, turn_id: str, segment: str, step: str
) -> list[tuple[int, int | None]]:
    query = (
        sa.select(_rows.c.id, _rows.c.seq)
        .where(
            _rows.c.tenant == tenant,
            _rows.c.turn_id == turn_id,
            _rows.c.segment == segment,
            _rows.c.step == step,
        )
        .order_by(_rows.c.part)
    )
    return [(row_id, seq) for row_id, seq in conn.execute(query)]


def _insert(
    conn: Connection,
    key: Key,
    turn_id: str,
    segment: str,
    step: str,
    entries: Sequence[Entry],
    now: datetime,
    first_seq: int | None,
) -> None:
    values: list[dict[str, object]] = [
        {
            "tenant": key.tenant,
            "session_id": key.session_id,
            "subject": str(key.subject),
            "seq": None if first_seq is None else first_seq + part,
            "turn_id": turn_id,
            "segment": segment,
            "step": step,
            "part": part,
            "content": _storable(spell(entry.message)),
            "exposure": entry.exposure,
            "note": None if entry.note is None else dict(entry.note),
            "created_at": now,
        }
        for part, entry in enumerate(entries)
    ]
    if values:
        conn.execute(sa.insert(_rows), values)


def _storable(value: Json) -> Json:
    """PostgreSQL keeps neither NUL nor half a surrogate pair in JSON: a sign takes their place."""
    if isinstance(value, str):
        return value.replace("\x00", "\ufffd").encode("utf-8", "replace").decode()
    if isinstance(value, Mapping):
        return {str(_storable(key)): _storable(item) for key, item in value.items()}
    if isinstance(value, Sequence):
        return [_storable(item) for item in value]
    return value


def erase(
    conn: Connection,
    tenant: TenantId,
    *,
    subject: Subject | None = None,
    session_id: str | None = None,
    before: datetime | None = None,
) -> int:
    """Deletes the transcripts of a person, of a thread, or of everybody before a time; returns how many rows.

    At least one of the three has to be given. The audit chain is not touched: it holds no transcript text.

    Raises:
        ValueError: nothing was given, which would erase a whole tenant by accident.
    """
    conditions: list[sa.ColumnElement[bool]] = [_rows.c.tenant == tenant]
    if subject is not None:
        conditions.append(_rows.c.subject == str(subject))
    if session_id is not None:
        conditions.append(_rows.c.session_id == session_id)
    if before is not None:
        conditions.append(_rows.c.created_at < before)
    if len(conditions) == 1:
        raise ValueError("Say whose transcript to erase: a person, a thread, or everything before a date.")
    return conn.execute(sa.delete(_rows).where(*conditions)).rowcount


def older(conn: Connection, tenant: TenantId, before: datetime) -> bool:
    """Whether there is transcript from before a time."""
    query = sa.select(_rows.c.tenant).where(_rows.c.tenant == tenant, _rows.c.created_at < before).limit(1)
    return conn.execute(query).first() is not None
