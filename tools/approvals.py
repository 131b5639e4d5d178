"""Held calls and votes: the tables, and compare-and-swap changes of their rows.

Every function takes the caller's open transaction and filters on the tenant (invariant 14). Decides nothing:
`policy.approval` judges, `tools.gateway` calls both.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime

import sqlalchemy as sa
from sqlalchemy.engine import Connection, RowMapping
from sqlmodel import Field, SQLModel

from audit.types import UtcDateTime
from policy.approval import ApprovalStatus
from policy.model import Subject, TenantId
from tools.held import EffectState
from tools.spec import Args


class HeldCall(SQLModel, table=True):
    """One call that waits for people. Raw text (request, draft, arguments) lives here and in the transcript only."""

    __tablename__ = "held_call"

    held_id: str = Field(primary_key=True)
    tenant: str
    call_id: str
    card_id: str
    turn_id: str
    session_id: str
    thread_link: str | None = None
    tool: str
    version: int
    title: str
    requester_issuer: str
    requester_sub: str
    requester_name: str
    requester_roles: str
    person_key: str | None = None
    asked: str
    prose: str
    exposures: str
    model: str | None = None
    arguments: str
    stable: str
    headline: str
    facts: str
    draft: str | None = None
    nonce: str
    digest: str
    mac: str
    status: str
    effect: str
    revision: int
    approver_roles: str
    destinations: str
    needed: int
    why: str
    resource: str | None = None
    amount: str | None = None
    currency: str | None = None
    created_at: datetime = Field(sa_type=UtcDateTime)
    expires_at: datetime = Field(sa_type=UtcDateTime)
    remind_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    settled_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    settled_by: str | None = None
    reason: str | None = None
    questions: str = "[]"
    """What approvers asked the requester, in order: a list of `Question`."""
    result: str | None = None
    reference: str | None = None
    finished_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    kills_everywhere: int = 0
    kills_tenant: int = 0
    erased_at: datetime | None = Field(default=None, sa_type=UtcDateTime)

    __table_args__ = (
        sa.UniqueConstraint("tenant", "call_id"),
        sa.Index("held_call_due", "status", "expires_at"),
        sa.Index("held_call_remind", "status", "remind_at"),
        # No index on the tenant alone: with ten thousand rows SQLite would scan a tenant instead of one card.
        sa.Index("held_call_card", "tenant", "card_id"),
        sa.Index("held_call_turn", "tenant", "turn_id"),
        sa.Index("held_call_resource", "tenant", "resource"),
        sa.Index("held_call_status", "tenant", "status", "created_at"),
        sa.Index("held_call_requester", "tenant", "requester_issuer", "requester_sub", "created_at"),
    )


class Vote(SQLModel, table=True):
    """One person's approval of one revision. Void once the revision changes or the voter loses the right."""

    __tablename__ = "vote"

    tenant: str = Field(primary_key=True)
    held_id: str = Field(primary_key=True)
    revision: int = Field(primary_key=True)
    issuer: str = Field(primary_key=True)
    sub: str = Field(primary_key=True)
    name: str
    person_key: str
    digest: str
    at: datetime = Field(sa_type=UtcDateTime)
    mac: str
    void: bool = False

    __table_args__ = (sa.Index("vote_voter", "tenant", "issuer", "sub"),)


class Presupposes(SQLModel, table=True):
    """`held_id` may run only after `on_held_id` has taken effect."""

    __tablename__ = "presupposes"

    tenant: str = Field(primary_key=True)
    held_id: str = Field(primary_key=True)
    on_held_id: str = Field(primary_key=True, index=True)


class PressRow(SQLModel, table=True):
    """One delivery of a press, so that a replay is recognised. Holds no words of the presser (invariant 11)."""

    __tablename__ = "press"

    tenant: str = Field(primary_key=True)
    press_id: str = Field(primary_key=True)
    held_id: str = Field(index=True)
    result: str
    sentence: str
    at: datetime = Field(sa_type=UtcDateTime)


def table(model: type[SQLModel]) -> sa.Table:
    """The Core table of a SQLModel class."""
    found: sa.Table = sa.inspect(model).local_table
    return found


HELD = table(HeldCall)
VOTE = table(Vote)
NEEDS = table(Presupposes)
PRESS = table(PressRow)


def insert(conn: Connection, row: HeldCall) -> None:
    """Write a new held call. The primary key makes a second proposal of the same call an IntegrityError."""
    conn.execute(sa.insert(HELD).values(**row.model_dump()))


def read(conn: Connection, tenant: TenantId, held_id: str, *, lock: bool = False) -> HeldCall | None:
    """The row; with `lock` nobody else changes it until the transaction ends (SQLite: one writer anyway)."""
    query = sa.select(HELD).where(HELD.c.tenant == tenant, HELD.c.held_id == held_id)
    if lock:
        query = query.with_for_update()
    row = conn.execute(query).mappings().first()
    return None if row is None else _held(row)


def select(conn: Connection, tenant: TenantId, *where: sa.ColumnElement[bool], limit: int = 500) -> list[HeldCall]:
    """Rows of one tenant, newest first."""
    query = (
        sa.select(HELD)
        .where(HELD.c.tenant == tenant, *where)
        .order_by(HELD.c.created_at.desc(), HELD.c.held_id)
        .limit(limit)
    )
    return [_held(row) for row in conn.execute(query).mappings()]


def change(conn: Connection, row: HeldCall, **values: object) -> bool:
    """Compare-and-swap: set `values` if status, effect and revision are still what `row` says."""
    done = conn.execute(
        sa.update(HELD)
        .where(
            HELD.c.tenant == row.tenant,
            HELD.c.held_id == row.held_id,
            HELD.c.status == row.status,
            HELD.c.effect == row.effect,
            HELD.c.revision == row.revision,
        )
        .values(**values)
    )
    if done.rowcount != 1:
        return False
    for name, value in values.items():
        setattr(row, name, value)
    return True


def votes(conn: Connection, row: HeldCall) -> list[Vote]:
    """The valid votes for the row's revision, in the order they were cast."""
    query = (
        sa.select(VOTE)
        .where(
            VOTE.c.tenant == row.tenant,
            VOTE.c.held_id == row.held_id,
            VOTE.c.revision == row.revision,
            VOTE.c.void.is_(False),
        )
        .order_by(VOTE.c.at, VOTE.c.sub)
    )
    return [Vote(**found) for found in conn.execute(query).mappings()]


def add_vote(conn: Connection, vote: Vote) -> None:
    """Record a vote. One that was void before (the voter lost the right and got it back) is cast anew."""
    key = (
        VOTE.c.tenant == vote.tenant,
        VOTE.c.held_id == vote.held_id,
        VOTE.c.revision == vote.revision,
        VOTE.c.issuer == vote.issuer,
        VOTE.c.sub == vote.sub,
    )
    conn.execute(sa.delete(VOTE).where(*key, VOTE.c.void.is_(True)))
    conn.execute(sa.insert(VOTE).values(**vote.model_dump()))


def void_vote(conn: Connection, vote: Vote) -> None:
    conn.execute(
        sa.update(VOTE)
        .where(
            VOTE.c.tenant == vote.tenant,
            VOTE.c.held_id == vote.held_id,
            VOTE.c.revision == vote.revision,
            VOTE.c.issuer == vote.issuer,
            VOTE.c.sub == vote.sub,
        )
        .values(void=True)
    )


def require(conn: Connection, row: HeldCall, on: Iterable[str]) -> None:
    """`row` presupposes the held calls `on`."""
    rows = [{"tenant": row.tenant, "held_id": row.held_id, "on_held_id": other} for other in sorted(set(on))]
    if rows:
        conn.execute(sa.insert(NEEDS), rows)


def needs(conn: Connection, row: HeldCall) -> list[str]:
    """The ids of the held calls that `row` presupposes, whatever became of them."""
    query = sa.select(NEEDS.c.on_held_id).where(NEEDS.c.tenant == row.tenant, NEEDS.c.held_id == row.held_id)
    return list(conn.execute(query.order_by(NEEDS.c.on_held_id)).scalars())


def unmet(conn: Connection, row: HeldCall) -> list[HeldCall]:
    """The calls `row` presupposes that have not taken effect."""
    on = sa.select(NEEDS.c.on_held_id).where(NEEDS.c.tenant == row.tenant, NEEDS.c.held_id == row.held_id)
    ids = list(conn.execute(on).scalars())
    if not ids:
        return []
    query = (
        sa.select(HELD)
        .where(HELD.c.tenant == row.tenant, HELD.c.held_id.in_(ids), HELD.c.effect != EffectState.DONE.value)
        .order_by(HELD.c.created_at)
    )
    return [_held(found) for found in conn.execute(query).mappings()]


def dependents(conn: Connection, row: HeldCall) -> list[HeldCall]:
    """The unsettled calls that presuppose `row`, locked."""
    by = sa.select(NEEDS.c.held_id).where(NEEDS.c.tenant == row.tenant, NEEDS.c.on_held_id == row.held_id)
    ids = list(conn.execute(by).scalars())
    if not ids:
        return []
    query = (
        sa.select(HELD)
        .where(
            HELD.c.tenant == row.tenant,
            HELD.c.held_id.in_(ids),
            HELD.c.status.in_([ApprovalStatus.PENDING.value, ApprovalStatus.APPROVED.value]),
            HELD.c.effect.in_([EffectState.NONE.value, EffectState.WAITING.value]),
        )
        .order_by(HELD.c.held_id)
        .with_for_update()
    )
    return [_held(found) for found in conn.execute(query).mappings()]


def press(conn: Connection, tenant: TenantId, press_id: str) -> PressRow | None:
    query = sa.select(PRESS).where(PRESS.c.tenant == tenant, PRESS.c.press_id == press_id)
    row = conn.execute(query).mappings().first()
    return None if row is None else PressRow(**row)


def add_press(conn: Connection, row: PressRow) -> None:
    conn.execute(sa.insert(PRESS).values(**row.model_dump()))


@dataclass(frozen=True, slots=True)
class Question:
    """What an approver asked the requester. `at`: ISO 8601, UTC."""

    press_id: str
    by: str
    text: str
    at: str


def questions(row: HeldCall) -> tuple[Question, ...]:
    """What was asked about the call, in order; what somebody wrote into the column by hand is passed over."""
    try:
        found = json.loads(row.questions)
    except ValueError:
        return ()
    names = Question.__slots__
    rows = [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []
    return tuple(
        Question(**{name: str(one[name]) for name in names}) for one in rows if all(name in one for name in names)
    )


def with_question(row: HeldCall, press_id: str, by: str, text: str, at: datetime) -> str:
    """The column `questions` with one more. The caller has locked the row."""
    new = Question(press_id, by, text, at.astimezone(UTC).isoformat(timespec="seconds"))
    return json.dumps([asdict(one) for one in (*questions(row), new)], ensure_ascii=False)


def due(conn: Connection, now: datetime, limit: int) -> list[tuple[TenantId, str]]:
    """Pending calls whose time is over, oldest first, over all tenants."""
    query = (
        sa.select(HELD.c.tenant, HELD.c.held_id)
        .where(HELD.c.status == ApprovalStatus.PENDING.value, HELD.c.expires_at <= now)
        .order_by(HELD.c.expires_at)
        .limit(limit)
    )
    return [(TenantId(tenant), held_id) for tenant, held_id in conn.execute(query)]


def to_remind(conn: Connection, now: datetime, limit: int) -> list[tuple[TenantId, str]]:
    """Pending calls whose one reminder is due."""
    query = (
        sa.select(HELD.c.tenant, HELD.c.held_id)
        .where(
            HELD.c.status == ApprovalStatus.PENDING.value,
            HELD.c.remind_at.is_not(None),
            HELD.c.remind_at <= now,
            HELD.c.expires_at > now,
        )
        .order_by(HELD.c.remind_at)
        .limit(limit)
    )
    return [(TenantId(tenant), held_id) for tenant, held_id in conn.execute(query)]


def requester(row: HeldCall) -> Subject:
    return Subject(row.requester_issuer, row.requester_sub)


def subject_of(vote: Vote) -> Subject:
    return Subject(vote.issuer, vote.sub)


def roles(row: HeldCall) -> tuple[str, ...]:
    return names(row.approver_roles)


def names(text: str) -> tuple[str, ...]:
    """A column that holds a list of words; empty if somebody wrote garbage into it."""
    try:
        found = json.loads(text)
    except ValueError:
        return ()
    return tuple(item for item in found if isinstance(item, str)) if isinstance(found, list) else ()


def arguments(row: HeldCall) -> Args | None:
    """The arguments as the row states them; None if somebody wrote garbage into it."""
    try:
        found = json.loads(row.arguments)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def approver_names(cast: Sequence[Vote]) -> str | None:
    """Every approver's subject, comma-joined, as rows after a decision name them."""
    return ",".join(vote.sub for vote in cast) or None


def _held(row: RowMapping) -> HeldCall:
    return HeldCall(**row)
