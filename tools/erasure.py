"""Erasing the raw text of held calls that are over: requests, drafts, arguments, questions (invariant 11).

The audit keeps digests, amounts and hashes of texts, so the chain stays whole. Knows no transcript (`bot.agent` does).
"""

from __future__ import annotations

from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from policy.approval import ApprovalStatus
from policy.model import Subject, TenantId
from tools.approvals import HELD, PRESS
from tools.held import EffectState

ERASED = "(erased)"

_OVER = sa.or_(
    HELD.c.status.not_in([ApprovalStatus.PENDING.value, ApprovalStatus.APPROVED.value]),
    HELD.c.effect.in_([EffectState.DONE.value, EffectState.FAILED.value]),
)
"""Settled for good. What waits, runs or is in doubt keeps its text: people still have to decide on it."""


def erase(
    conn: Connection, tenant: TenantId, now: datetime, *, subject: Subject | None = None, before: datetime | None = None
) -> int:
    """Blank the raw text of ended calls of a person, or of everybody before a time; returns how many calls.

    Raises:
        ValueError: neither was given, which would erase a whole tenant by accident.
    """
    where = [HELD.c.tenant == tenant, HELD.c.erased_at.is_(None), _OVER]
    if subject is not None:
        where += [HELD.c.requester_issuer == subject.issuer, HELD.c.requester_sub == subject.sub]
    if before is not None:
        where.append(HELD.c.created_at < before)
    if subject is None and before is None:
        raise ValueError("Say whose requests to erase: a person's, or everything before a date.")
    ids = list(conn.execute(sa.select(HELD.c.held_id).where(*where)).scalars())
    for start in range(0, len(ids), 500):
        some = ids[start : start + 500]
        conn.execute(
            sa.update(HELD)
            .where(HELD.c.tenant == tenant, HELD.c.held_id.in_(some))
            .values(
                asked=ERASED,
                prose="",
                arguments="{}",
                stable="{}",
                headline=ERASED,
                facts="[]",
                draft=None,
                exposures="[]",
                reason=None,
                questions="[]",
                result=None,
                erased_at=now,
            )
        )
        conn.execute(sa.update(PRESS).where(PRESS.c.tenant == tenant, PRESS.c.held_id.in_(some)).values(sentence=""))
    return len(ids)


def older(conn: Connection, tenant: TenantId, before: datetime) -> bool:
    """Whether an ended call from before a time still has its text."""
    where = (HELD.c.tenant == tenant, HELD.c.erased_at.is_(None), _OVER, HELD.c.created_at < before)
    return conn.execute(sa.select(HELD.c.held_id).where(*where).limit(1)).first() is not None
