"""Held calls as others may read them: rows in, `HeldView` out. Changes nothing."""

from __future__ import annotations

import json
from collections.abc import Sequence

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from policy.approval import ApprovalStatus
from policy.model import Principal, RoleName, Subject, TenantId, ToolName
from tools import approvals, killswitch
from tools.approvals import HELD, HeldCall
from tools.held import EffectState, HeldView, VoteView
from tools.killswitch import Target
from tools.spec import Draft, Fact

MOST = 100


def one(conn: Connection, tenant: TenantId, held_id: str) -> HeldView | None:
    row = approvals.read(conn, tenant, held_id)
    return None if row is None else of(conn, row)


def card(conn: Connection, tenant: TenantId, card_id: str) -> tuple[HeldView, ...]:
    """Every call on one card, in the order they were asked for."""
    rows = approvals.select(conn, tenant, HELD.c.card_id == card_id)
    return tuple(of(conn, row) for row in sorted(rows, key=lambda row: (row.created_at, row.call_id)))


def waiting_for(conn: Connection, who: Principal) -> tuple[HeldView, ...]:
    """Pending calls that `who` may decide: the right roles, not their own, not voted on yet; newest first."""
    rows = approvals.select(conn, who.tenant, HELD.c.status == ApprovalStatus.PENDING.value, limit=2000)
    found: list[HeldView] = []
    for row in rows:
        own = approvals.requester(row) == who.subject or (row.person_key and row.person_key == who.person_key)
        if own or not who.roles.intersection(approvals.roles(row)):
            continue
        view = of(conn, row)
        if any(vote.subject == who.subject for vote in view.votes):
            continue
        found.append(view)
        if len(found) >= MOST:
            break
    return tuple(found)


def asked_by(conn: Connection, tenant: TenantId, subject: Subject) -> tuple[HeldView, ...]:
    """What `subject` asked for, newest first."""
    mine = (HELD.c.requester_issuer == subject.issuer, HELD.c.requester_sub == subject.sub)
    return tuple(of(conn, row) for row in approvals.select(conn, tenant, *mine, limit=MOST))


def pending_count(conn: Connection, *where: sa.ColumnElement[bool]) -> int:
    query = sa.select(sa.func.count()).select_from(HELD).where(HELD.c.status == ApprovalStatus.PENDING.value, *where)
    return int(conn.execute(query).scalar_one())


def in_flight(conn: Connection, *where: sa.ColumnElement[bool]) -> tuple[HeldView, ...]:
    """Calls whose effect had been claimed and has not ended."""
    query = sa.select(HELD).where(HELD.c.effect == EffectState.STARTED.value, *where).limit(MOST)
    return tuple(of(conn, HeldCall(**row)) for row in conn.execute(query).mappings())


def in_doubt(conn: Connection, tenant: TenantId) -> tuple[HeldView, ...]:
    rows = approvals.select(conn, tenant, HELD.c.effect == EffectState.IN_DOUBT.value, limit=MOST)
    return tuple(of(conn, row) for row in rows)


def of(conn: Connection, row: HeldCall) -> HeldView:
    tenant = TenantId(row.tenant)
    subject = approvals.requester(row)
    switch = None
    if row.status == ApprovalStatus.PENDING.value:
        switch = killswitch.covering(conn, Target(tenant, ToolName(row.tool), subject))
    return HeldView(
        held_id=row.held_id,
        tenant=tenant,
        card_id=row.card_id,
        turn_id=row.turn_id,
        session_id=row.session_id,
        thread_link=row.thread_link,
        tool=ToolName(row.tool),
        title=row.title,
        requester=subject,
        requester_name=row.requester_name,
        asked=row.asked,
        prose=row.prose,
        exposures=approvals.names(row.exposures),
        arguments=approvals.arguments(row) or {},
        headline=row.headline,
        facts=facts_from(row.facts),
        draft=draft_from(row.draft),
        status=ApprovalStatus(row.status),
        effect=EffectState(row.effect),
        revision=row.revision,
        digest=row.digest,
        approver_roles=tuple(RoleName(role) for role in approvals.roles(row)),
        destinations=approvals.names(row.destinations),
        needed=row.needed,
        votes=_votes(approvals.votes(conn, row)),
        why=row.why,
        waits_for=tuple(other.headline for other in approvals.unmet(conn, row)),
        created_at=row.created_at,
        expires_at=row.expires_at,
        settled_at=row.settled_at,
        settled_by=row.settled_by,
        reason=row.reason,
        result=row.result,
        reference=row.reference,
        stopped=None if switch is None else killswitch.view(switch),
    )


def _votes(rows: Sequence[approvals.Vote]) -> tuple[VoteView, ...]:
    return tuple(VoteView(row.name, Subject(row.issuer, row.sub), row.at) for row in rows)


def facts_text(facts: Sequence[Fact]) -> str:
    return json.dumps([[fact.label, fact.value, fact.warning] for fact in facts], ensure_ascii=False)


def facts_from(text: str) -> tuple[Fact, ...]:
    try:
        return tuple(Fact(label, value, warning) for label, value, warning in json.loads(text))
    except (TypeError, ValueError):
        return (Fact("Damaged", "The facts of this request cannot be read. It cannot be approved.", warning=True),)


def draft_text(draft: Draft | None) -> str | None:
    if draft is None:
        return None
    return json.dumps([draft.to, draft.subject, draft.body, list(draft.attachments)], ensure_ascii=False)


def draft_from(text: str | None) -> Draft | None:
    if text is None:
        return None
    try:
        to, subject, body, attachments = json.loads(text)
        return Draft(to, subject, body, tuple(attachments))
    except (TypeError, ValueError):
        return Draft("", "", "The draft of this request cannot be read. It cannot be approved.")
