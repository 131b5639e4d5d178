"""The service's own rows: turns, deliveries seen, cards posted, threads the bot is in, replicas.

Knows ids and states only. What people wrote is in the transcript and on the approval row, nowhere else
(invariant 11). Every function takes the caller's open transaction; every tenant's row is read by tenant (14).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Connection
from sqlmodel import Field, SQLModel

from audit.types import UtcDateTime
from bot.messages import ChatUser, Command, Feedback, Incoming, Room, SurfaceName, Thread
from bot.ports import Posted
from policy.model import Principal, Subject, TenantId
from tools.approvals import HeldCall


class TurnStatus(StrEnum):
    """Where a turn stands. ``WAITING``: it has said what it could and something it asked for is held."""

    QUEUED = "queued"
    WAITING = "waiting"
    DONE = "done"
    FAILED = "failed"


class TurnRow(SQLModel, table=True):
    """One message that started a turn, by whom and where."""

    __tablename__ = "turn"

    turn_id: str = Field(primary_key=True)
    tenant: str = Field(index=True)
    session_id: str = Field(index=True)
    surface: str
    team: str
    channel: str
    root: str
    room: str
    account: str
    issuer: str
    sub: str
    message_id: str
    thread_link: str | None = None
    status: str
    private: bool = False
    """A tool has told this turn something that not everybody in the channel may read."""
    created_at: datetime = Field(sa_type=UtcDateTime)
    changed_at: datetime = Field(sa_type=UtcDateTime)


class SeenRow(SQLModel, table=True):
    """One delivery by a chat: its event id, or the message's place. Unique, so a message is taken once."""

    __tablename__ = "seen_message"

    key: str = Field(primary_key=True)
    tenant: str | None = None
    seen_at: datetime = Field(sa_type=UtcDateTime, index=True)


class PostedCard(SQLModel, table=True):
    """One copy of a card in a chat. The key makes a card stand once at each destination."""

    __tablename__ = "posted_card"

    tenant: str = Field(primary_key=True)
    card_id: str = Field(primary_key=True)
    surface: str = Field(primary_key=True)
    team: str = Field(primary_key=True)
    destination: str = Field(primary_key=True)
    channel: str
    message_id: str
    drawn: str
    """sha256 of what the copy shows, so that a copy that lags is seen."""
    posted_at: datetime = Field(sa_type=UtcDateTime)


class ThreadRow(SQLModel, table=True):
    """A thread in which the bot takes part: a message there needs no mention."""

    __tablename__ = "thread_bot"

    tenant: str = Field(primary_key=True)
    session_id: str = Field(primary_key=True)
    since: datetime = Field(sa_type=UtcDateTime)


class ToldRow(SQLModel, table=True):
    """Something was said, so that it is not said twice. `about`: a turn or a held call. `by`: which segment said it."""

    __tablename__ = "told"

    tenant: str = Field(primary_key=True)
    about: str = Field(primary_key=True)
    what: str = Field(primary_key=True)
    by: str | None = None
    told_at: datetime = Field(sa_type=UtcDateTime)


class ReplicaRow(SQLModel, table=True):
    """One running process. A stale heartbeat means that its segments may be taken over."""

    __tablename__ = "replica"

    replica_id: str = Field(primary_key=True)
    machine: str
    pid: int
    started_at: datetime = Field(sa_type=UtcDateTime)
    beat_at: datetime = Field(sa_type=UtcDateTime)
    taken_by: str | None = None
    taken_at: datetime | None = Field(default=None, sa_type=UtcDateTime)


def table(model: type[SQLModel]) -> sa.Table:
    """The Core table of a SQLModel class."""
    found = model.__dict__["__table__"]
    if not isinstance(found, sa.Table):
        raise TypeError(f"{model.__name__} is not a table.")
    return found


TURN = table(TurnRow)
SEEN = table(SeenRow)
POSTED = table(PostedCard)
THREAD = table(ThreadRow)
TOLD = table(ToldRow)
REPLICA = table(ReplicaRow)


def put_once(conn: Connection, where: sa.Table, **values: object) -> bool:
    """Insert unless the key is there; whether it was new."""
    dialect = sqlite if conn.dialect.name == "sqlite" else postgresql
    # Not rowcount: psycopg's is not kept for an INSERT.
    new = dialect.insert(where).values(**values).on_conflict_do_nothing().returning(sa.literal(1))
    return conn.execute(new).first() is not None


# --- deliveries -------------------------------------------------------------------------------------


def delivery_keys(message: Incoming) -> tuple[str, str]:
    """The two names of one message: its delivery and its place. Either seen before means: seen."""
    who, thread = message.who, message.thread
    return (
        f"{who.surface}:{who.team}:event:{message.event_id}",
        f"{who.surface}:{who.team}:message:{thread.channel}:{message.message_id}",
    )


def seen(conn: Connection, keys: tuple[str, ...]) -> bool:
    return conn.execute(sa.select(SEEN.c.key).where(SEEN.c.key.in_(keys)).limit(1)).first() is not None


def mark_seen(conn: Connection, keys: tuple[str, ...], tenant: TenantId | None, now: datetime) -> bool:
    """Take a delivery; False if somebody had taken it (or the same message under another event id)."""
    fresh = [put_once(conn, SEEN, key=key, tenant=tenant, seen_at=now) for key in keys]
    return all(fresh)


@dataclass(slots=True)
class Once:
    """One delivery of a command, taken in the transaction of what the command changes. Without keys: any number."""

    keys: tuple[str, ...]
    tenant: TenantId | None
    now: datetime
    first: bool | None = None
    """None: not asked yet."""

    def take(self, conn: Connection) -> bool:
        self.first = mark_seen(conn, self.keys, self.tenant, self.now)
        return self.first


def command_keys(command: Command) -> tuple[str, ...]:
    """The name of one slash command; none if the chat gave it no id, because a kill must not wait for one."""
    if not command.command_id.rpartition(":")[2]:
        return ()
    return (f"{command.who.surface}:{command.who.team}:command:{command.command_id}",)


def feedback_key(feedback: Feedback) -> str:
    """The name of one thumb: its delivery, or what was rated by whom if the chat gave it none."""
    who = feedback.who
    name = feedback.feedback_id or f"{feedback.thread.channel}:{feedback.message_id}:{who.user}:{feedback.good}"
    # A hash: a thumb's id may be of any length and hold what a database keeps in no text.
    return f"{who.surface}:{who.team}:feedback:{hashlib.sha256(name.encode('utf-8', 'replace')).hexdigest()}"


def forget_seen(conn: Connection, before: datetime) -> int:
    """Drop deliveries no chat repeats any more."""
    return conn.execute(sa.delete(SEEN).where(SEEN.c.seen_at < before)).rowcount


# --- turns ------------------------------------------------------------------------------------------


def add_turn(
    conn: Connection, turn_id: str, who: Principal, message: Incoming, link: str | None, now: datetime
) -> TurnRow:
    thread = message.thread
    row = TurnRow(
        turn_id=turn_id,
        tenant=who.tenant,
        session_id=thread.session_id,
        surface=thread.surface,
        team=thread.team,
        channel=thread.channel,
        root=thread.root,
        room=thread.room.value,
        account=message.who.user,
        issuer=who.subject.issuer,
        sub=who.subject.sub,
        message_id=message.message_id,
        thread_link=link,
        status=TurnStatus.QUEUED.value,
        created_at=now,
        changed_at=now,
    )
    conn.execute(sa.insert(TURN).values(**row.model_dump()))
    put_once(conn, THREAD, tenant=who.tenant, session_id=thread.session_id, since=now)
    return row


def turn(conn: Connection, tenant: TenantId, turn_id: str) -> TurnRow | None:
    found = conn.execute(sa.select(TURN).where(TURN.c.tenant == tenant, TURN.c.turn_id == turn_id)).mappings().first()
    return None if found is None else TurnRow(**found)


def set_turn(conn: Connection, tenant: TenantId, turn_id: str, status: TurnStatus, now: datetime) -> None:
    conn.execute(
        sa.update(TURN)
        .where(TURN.c.tenant == tenant, TURN.c.turn_id == turn_id)
        .values(status=status.value, changed_at=now)
    )


def set_private(conn: Connection, tenant: TenantId, turn_id: str) -> None:
    conn.execute(sa.update(TURN).where(TURN.c.tenant == tenant, TURN.c.turn_id == turn_id).values(private=True))


def is_private(conn: Connection, row: TurnRow) -> bool:
    """Whether any turn of this person in this thread drew on what not everybody may read: later answers may too."""
    query = sa.select(TURN.c.turn_id).where(
        TURN.c.tenant == row.tenant,
        TURN.c.session_id == row.session_id,
        TURN.c.issuer == row.issuer,
        TURN.c.sub == row.sub,
        TURN.c.private.is_(True),
    )
    return conn.execute(query.limit(1)).first() is not None


def thread_of(row: TurnRow) -> Thread:
    return Thread(SurfaceName(row.surface), row.team, row.channel, row.root, Room(row.room))


def account_of(row: TurnRow) -> ChatUser:
    return ChatUser(SurfaceName(row.surface), row.team, row.account)


def subject_of(row: TurnRow) -> Subject:
    return Subject(row.issuer, row.sub)


def last_thread(conn: Connection, tenant: TenantId, subject: Subject) -> TurnRow | None:
    """Where the person last spoke to the bot."""
    found = (
        conn.execute(
            sa.select(TURN)
            .where(TURN.c.tenant == tenant, TURN.c.issuer == subject.issuer, TURN.c.sub == subject.sub)
            .order_by(TURN.c.created_at.desc())
            .limit(1)
        )
        .mappings()
        .first()
    )
    return None if found is None else TurnRow(**found)


def follows(conn: Connection, tenant: TenantId, session_id: str) -> bool:
    query = sa.select(THREAD.c.session_id).where(THREAD.c.tenant == tenant, THREAD.c.session_id == session_id)
    return conn.execute(query).first() is not None


def in_order(rows: Sequence[HeldCall]) -> list[HeldCall]:
    """Held calls in the order they were asked for; those of one answer have the same time."""
    return sorted(rows, key=lambda row: (row.created_at, row.call_id))


# --- cards ------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Copy:
    """A posted copy of a card and what it shows."""

    destination: str
    posted: Posted
    drawn: str


def copies(conn: Connection, tenant: TenantId, card_id: str) -> tuple[Copy, ...]:
    rows = conn.execute(
        sa.select(POSTED).where(POSTED.c.tenant == tenant, POSTED.c.card_id == card_id).order_by(POSTED.c.destination)
    ).mappings()
    return tuple(
        Copy(
            row["destination"],
            Posted(SurfaceName(row["surface"]), row["team"], row["channel"], row["message_id"]),
            row["drawn"],
        )
        for row in rows
    )


def put_copy(conn: Connection, tenant: TenantId, card_id: str, copy: Copy, now: datetime) -> None:
    """Record a copy, or what it shows now (the message may be another one: the old one was gone)."""
    values = {
        "channel": copy.posted.channel,
        "message_id": copy.posted.message_id,
        "drawn": copy.drawn,
        "posted_at": now,
    }
    key = {
        "tenant": tenant,
        "card_id": card_id,
        "surface": copy.posted.surface,
        "team": copy.posted.team,
        "destination": copy.destination,
    }
    if not put_once(conn, POSTED, **key, **values):
        conn.execute(
            sa.update(POSTED).where(*(POSTED.c[name] == value for name, value in key.items())).values(**values)
        )


def told(conn: Connection, tenant: TenantId, about: str, what: str) -> bool:
    query = sa.select(TOLD.c.what).where(TOLD.c.tenant == tenant, TOLD.c.about == about, TOLD.c.what == what)
    return conn.execute(query).first() is not None


def all_told(conn: Connection, tenant: TenantId, about: str) -> tuple[str, ...]:
    return tuple(conn.execute(sa.select(TOLD.c.what).where(TOLD.c.tenant == tenant, TOLD.c.about == about)).scalars())


def mark_told(conn: Connection, tenant: TenantId, about: str, what: str, now: datetime, by: str | None = None) -> bool:
    """Whether it was new: nobody had said it, or claimed to."""
    return put_once(conn, TOLD, tenant=tenant, about=about, what=what, by=by, told_at=now)


def told_by(conn: Connection, tenant: TenantId, about: str, what: str) -> str | None:
    query = sa.select(TOLD.c.by).where(TOLD.c.tenant == tenant, TOLD.c.about == about, TOLD.c.what == what)
    return conn.execute(query).scalar()


# --- replicas ---------------------------------------------------------------------------------------


def beat(conn: Connection, replica_id: str, machine: str, pid: int, now: datetime) -> bool:
    """Say that a replica lives. False: its row was gone, because the others had given it up."""
    done = conn.execute(
        sa.update(REPLICA).where(REPLICA.c.replica_id == replica_id).values(beat_at=now, taken_by=None, taken_at=None)
    )
    if done.rowcount:
        return True
    put_once(conn, REPLICA, replica_id=replica_id, machine=machine, pid=pid, started_at=now, beat_at=now)
    return False


def leave(conn: Connection, replica_id: str) -> None:
    conn.execute(sa.delete(REPLICA).where(REPLICA.c.replica_id == replica_id))


def replicas(conn: Connection) -> tuple[ReplicaRow, ...]:
    return tuple(ReplicaRow(**row) for row in conn.execute(sa.select(REPLICA)).mappings())


def claim_dead(conn: Connection, dead: ReplicaRow, by: str, now: datetime, lease: timedelta) -> bool:
    """Become the one who takes over `dead`; the claim lapses after `lease` in case the taker dies too."""
    done = conn.execute(
        sa.update(REPLICA)
        .where(
            REPLICA.c.replica_id == dead.replica_id,
            REPLICA.c.beat_at == dead.beat_at,
            sa.or_(REPLICA.c.taken_by.is_(None), REPLICA.c.taken_at < now - lease),
        )
        .values(taken_by=by, taken_at=now)
    )
    return done.rowcount == 1
