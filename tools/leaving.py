"""What becomes of a person's requests and votes once the directory no longer knows them, or they lost a role.

Runs in the transaction in which the directory changed and returns the audit rows for its caller to append last
(invariants 6, 9). Knows neither SCIM nor sessions nor chats.

Press against leave. A press, a hold or a claim passes the tenant's turnstile together with the others before it reads
who anybody is; a leaving writes its change to the directory first and passes alone here. So a decision either
committed before, and is found below, or reads the directory as the leaving left it. The kill lock is taken shared
after it, so that a kill, which locks the same calls in another order, is never met half-way. Calls are locked in the
order in which an expiry or a finished effect takes them: what is presupposed first, each group by id.

What has been claimed (`started`) is left: it is in flight, nobody can call it back. The row `person.left` lists it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import assert_never

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from audit.event import Event, Kind
from policy.approval import ApprovalStatus
from policy.decide import decide
from policy.model import Allowed, Denied, NeedsApproval, Principal, RoleName, Subject, TenantId, ToolName
from tools import approvals, killswitch, settling, turnstile
from tools.approvals import HELD, NEEDS, VOTE, HeldCall, Vote
from tools.door import Door
from tools.held import EffectState
from tools.settling import Ledger

FEW = 20
"""Up to so many people are looked at one by one; of a whole group, only those who have something waiting."""
CHUNK = 500
LISTED = 50
"""Calls in flight that one audit row names."""

SIGNED_OUT = "logout"
CHAT_ENDED = "account"
_WHY = {
    SIGNED_OUT: "was signed out by the company's sign-in",
    CHAT_ENDED: "has no active chat account any more",
}
_GONE = "is no longer active in the directory"

_LIVE = (
    HELD.c.status.in_([ApprovalStatus.PENDING.value, ApprovalStatus.APPROVED.value]),
    HELD.c.effect.in_([EffectState.NONE.value, EffectState.WAITING.value, EffectState.QUEUED.value]),
)
"""Waits for people, for another call or in the queue: nothing of it has begun."""
_CAST_ON = sa.and_(
    VOTE.c.tenant == HELD.c.tenant,
    VOTE.c.held_id == HELD.c.held_id,
    VOTE.c.revision == HELD.c.revision,
    VOTE.c.void.is_(False),
)


@dataclass(slots=True)
class _Count:
    voided: int = 0
    taken_back: int = 0
    reopened: int = 0


@dataclass(frozen=True, slots=True)
class _Asked:
    """A live request, its votes, and whether anything presupposes it: read for all of a person's at once."""

    row: HeldCall
    cast: list[Vote]
    announced: bool


@dataclass(frozen=True, slots=True)
class _Leaver:
    """One person as this transaction finds them. `now` None: gone, or taken to be. `gone`: the directory says so."""

    subject: Subject
    now: Principal | None
    gone: bool
    cause: str

    @property
    def why(self) -> str:
        """After their name: why they are taken to be gone."""
        return _WHY.get(self.cause, _GONE)


def reconsider(
    conn: Connection,
    door: Door,
    tenant: TenantId,
    subjects: Collection[Subject],
    cause: str,
    now: datetime,
    *,
    force: bool = False,
) -> list[Event]:
    """Take back what `subjects` may no longer have waiting, as the directory is in this transaction.

    Gone: every request that has not begun is voided, every vote on such a request taken back. Still there with fewer
    roles: what they may no longer ask or approve. Nothing lost: nothing is written. Passes the turnstile alone.

    Args:
        cause: the audit's word for why this is asked.
        force: treat them as gone although the directory still lists them.
    """
    if not subjects:
        return []
    turnstile.alone(conn, tenant)
    killswitch.lock(conn, tenant)
    concerned = set(subjects)
    if len(concerned) > FEW:
        concerned &= _involved(conn, tenant)
    people = sorted(concerned, key=str)
    _lock(conn, tenant, [held_id for who in people for held_id in _ids(conn, tenant, who)])
    work = Ledger(conn, door, now)
    for subject in people:
        current = door.people.current(conn, tenant, subject)
        _reconsider(work, tenant, _Leaver(subject, None if force else current, current is None, cause))
    return work.events


def _reconsider(work: Ledger, tenant: TenantId, leaver: _Leaver) -> None:
    count = _Count()
    for asked in _asked(work.conn, tenant, leaver.subject):
        reason = _may_not_ask(work.door, asked.row, leaver)
        if reason is not None:
            _void(work, asked, reason, leaver)
            count.voided += 1
    for row, vote in _voted(work.conn, tenant, leaver.subject):
        if leaver.now is None or not _may_approve(row, leaver.now):
            _take_back(work, row, vote, leaver, count)
    if leaver.now is None:
        _note(work, tenant, leaver, count)


def _void(work: Ledger, asked: _Asked, reason: str, leaver: _Leaver) -> None:
    settling.end(
        work,
        asked.row,
        ApprovalStatus.VOIDED,
        reason,
        detail={"cause": leaver.cause},
        # Whoever is gone hears nothing more; the cards tell the others.
        resume=not leaver.gone,
        cast=asked.cast,
        announced=asked.announced,
    )


def _may_not_ask(door: Door, row: HeldCall, leaver: _Leaver) -> str | None:
    """For the card: why the request ends; None: they may still ask for it."""
    if leaver.now is None:
        return f"{row.requester_name} {leaver.why}, so this was cancelled. Nothing was done."
    decision = decide(door.policy(leaver.now.tenant), leaver.now, ToolName(row.tool), None)
    match decision:
        case Denied():
            return f"{row.requester_name} may no longer ask for this, so it was cancelled. Nothing was done."
        case Allowed() | NeedsApproval():
            return None
        case _:
            assert_never(decision)


def _may_approve(row: HeldCall, who: Principal) -> bool:
    return not who.roles.isdisjoint(RoleName(role) for role in approvals.roles(row))


def _take_back(work: Ledger, row: HeldCall, vote: Vote, leaver: _Leaver, count: _Count) -> None:
    """The vote no longer counts. An approved call that needed it goes back to pending and needs fresh presses."""
    work.log(Kind.APPROVAL_VOIDED, "vote_voided", row, by=vote.sub, detail={"cause": leaver.cause})
    count.taken_back += 1
    rest = [one for one in approvals.votes(work.conn, row) if approvals.subject_of(one) != leaver.subject]
    others = {one.person_key.strip().casefold() for one in rest}
    if row.status == ApprovalStatus.APPROVED.value and len(others - {""}) < row.needed:
        lost = leaver.why if leaver.now is None else "may no longer approve it"
        # While the vote still stands: what was signed has to be whole before it is sealed anew.
        settling.reopen(work, row, f"{vote.name}, who approved this, {lost}")
        count.reopened += 1
    else:
        work.redraw(row)
    approvals.void_vote(work.conn, vote)


def _note(work: Ledger, tenant: TenantId, leaver: _Leaver, count: _Count) -> None:
    """One row that adds up what a leaving did, and lists what it could not stop."""
    began = _in_flight(work.conn, tenant, leaver.subject)
    if not (count.voided or count.taken_back or began):
        return
    work.events.append(
        Event(
            kind=Kind.PERSON_LEFT,
            tenant=tenant,
            occurred_at=work.now,
            status="left",
            actor_user_id=leaver.subject.sub,
            detail={
                "cause": leaver.cause,
                "voided": count.voided,
                "votes_taken_back": count.taken_back,
                "reopened": count.reopened,
                "in_flight": began,
            },
        )
    )


# -- rows ----------------------------------------------------------------------------------------------------------


def _ids(conn: Connection, tenant: TenantId, subject: Subject) -> list[str]:
    """The live calls that `subject` asked for or voted on, and what presupposes them; not locked yet."""
    asked = sa.select(HELD.c.held_id).where(HELD.c.tenant == tenant, *_mine(subject), *_LIVE)
    voted = (
        sa.select(HELD.c.held_id)
        .join(VOTE, _CAST_ON)
        .where(VOTE.c.tenant == tenant, VOTE.c.issuer == subject.issuer, VOTE.c.sub == subject.sub, *_LIVE)
    )
    found = list(conn.execute(sa.union(asked, voted)).scalars())
    for some in _chunks(found):
        query = sa.select(NEEDS.c.held_id).where(NEEDS.c.tenant == tenant, NEEDS.c.on_held_id.in_(some))
        found = [*found, *conn.execute(query).scalars()]
    return found


def _lock(conn: Connection, tenant: TenantId, held_ids: Iterable[str]) -> None:
    """Lock the calls; see the module's docstring for the order. On SQLite the write transaction is the lock."""
    if conn.dialect.name != "postgresql":
        return
    ids = sorted(set(held_ids))
    announces = sa.exists().where(NEEDS.c.tenant == tenant, NEEDS.c.held_id == HELD.c.held_id)
    for which in (~announces, announces):
        for some in _chunks(ids):
            where = (HELD.c.tenant == tenant, HELD.c.held_id.in_(some), which)
            conn.execute(sa.select(HELD.c.held_id).where(*where).order_by(HELD.c.held_id).with_for_update()).all()


def _asked(conn: Connection, tenant: TenantId, subject: Subject) -> Iterator[_Asked]:
    """The live requests of `subject`: what announces another one first, so that it ends with its own reason."""
    mine = (HELD.c.tenant == tenant, *_mine(subject), *_LIVE)
    announces = sa.exists().where(NEEDS.c.tenant == tenant, NEEDS.c.held_id == HELD.c.held_id)
    announced = sa.exists().where(NEEDS.c.tenant == tenant, NEEDS.c.on_held_id == HELD.c.held_id)
    query = sa.select(HELD, announces.label("announces"), announced.label("announced")).where(*mine)
    found = [dict(row) for row in conn.execute(query).mappings()]
    cast = _cast(conn, tenant, [row["held_id"] for row in found])
    for values in sorted(found, key=lambda row: (not row["announces"], row["held_id"])):
        follows, followed = values.pop("announces"), values.pop("announced")
        # What announces may have ended with what it announced, a moment ago; nothing else takes another one along.
        row = _live(conn, tenant, values["held_id"]) if follows else HeldCall(**values)
        if row is not None:
            votes = [vote for vote in cast.get(row.held_id, ()) if vote.revision == row.revision]
            yield _Asked(row, sorted(votes, key=lambda vote: (vote.at, vote.sub)), followed)


def _cast(conn: Connection, tenant: TenantId, held_ids: list[str]) -> dict[str, list[Vote]]:
    """The votes on these calls that were not taken back, whatever their revision."""
    found: dict[str, list[Vote]] = {}
    for some in _chunks(held_ids):
        query = sa.select(VOTE).where(VOTE.c.tenant == tenant, VOTE.c.held_id.in_(some), VOTE.c.void.is_(False))
        for vote in conn.execute(query).mappings():
            found.setdefault(vote["held_id"], []).append(Vote(**vote))
    return found


def _voted(conn: Connection, tenant: TenantId, subject: Subject) -> Iterator[tuple[HeldCall, Vote]]:
    """The votes of `subject` that count, on calls that have not begun."""
    query = (
        sa.select(VOTE)
        .join(HELD, _CAST_ON)
        .where(VOTE.c.tenant == tenant, VOTE.c.issuer == subject.issuer, VOTE.c.sub == subject.sub, *_LIVE)
    )
    cast = [Vote(**found) for found in conn.execute(query).mappings()]
    # Sorted here: asked to sort, SQLite reads every vote of the tenant in the order of its primary key.
    for vote in sorted(cast, key=lambda one: one.held_id):
        row = _live(conn, tenant, vote.held_id)
        if row is not None and row.revision == vote.revision:
            yield row, vote


def _live(conn: Connection, tenant: TenantId, held_id: str) -> HeldCall | None:
    row = conn.execute(sa.select(HELD).where(HELD.c.tenant == tenant, HELD.c.held_id == held_id, *_LIVE)).mappings()
    found = row.first()
    return None if found is None else HeldCall(**found)


def _involved(conn: Connection, tenant: TenantId) -> set[Subject]:
    """Everybody who asked for a live call or voted on one."""
    asked = sa.select(HELD.c.requester_issuer, HELD.c.requester_sub).where(HELD.c.tenant == tenant, *_LIVE)
    voted = sa.select(VOTE.c.issuer, VOTE.c.sub).join(HELD, _CAST_ON).where(HELD.c.tenant == tenant, *_LIVE)
    began = sa.select(HELD.c.requester_issuer, HELD.c.requester_sub).where(HELD.c.tenant == tenant, _BEGUN)
    return {Subject(issuer, sub) for issuer, sub in conn.execute(sa.union(asked, voted, began))}


_BEGUN = HELD.c.effect == EffectState.STARTED.value


def _in_flight(conn: Connection, tenant: TenantId, subject: Subject) -> list[str]:
    query = sa.select(HELD.c.held_id).where(HELD.c.tenant == tenant, *_mine(subject), _BEGUN)
    return list(conn.execute(query.order_by(HELD.c.held_id).limit(LISTED)).scalars())


def _mine(subject: Subject) -> tuple[sa.ColumnElement[bool], ...]:
    return HELD.c.requester_issuer == subject.issuer, HELD.c.requester_sub == subject.sub


def _chunks(ids: list[str]) -> Iterator[list[str]]:
    for start in range(0, len(ids), CHUNK):
        yield ids[start : start + CHUNK]
