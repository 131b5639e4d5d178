"""What was signed: a held call's row, its digest, its MAC and the MACs of its votes (invariant 3).

Knows which columns bind and how they are sealed; knows no policy and changes no row.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from datetime import UTC, datetime

from sqlalchemy.engine import Connection

from policy.model import TenantId, ToolName
from tools import approvals
from tools.approvals import HELD, HeldCall, Vote
from tools.integrity import MacKey, SealedCall, SealedVote, same
from tools.spec import Call

MOVES = frozenset(
    {
        *("mac", "status", "effect", "remind_at", "settled_at", "settled_by"),
        *("reason", "questions", "result", "reference", "finished_at", "erased_at"),
    }
)
"""The columns that change while a call waits and ends. Every other one, new ones included, is sealed."""
SEALED = tuple(sorted(column.name for column in HELD.columns if column.name not in MOVES))


def drawn_up(row: HeldCall) -> Call:
    """The call as the row states it now; its digest must be the one that was signed."""
    return Call(
        tool=ToolName(row.tool),
        version=row.version,
        arguments=json.loads(row.arguments),
        stable=json.loads(row.stable),
        tenant=TenantId(row.tenant),
        requester=approvals.requester(row),
        nonce=row.nonce,
        shown=shown(row.headline, row.facts, row.draft),
    )


def shown(headline: str, facts: str, draft: str | None) -> str:
    text = json.dumps([headline, facts, draft], ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def seal(key: MacKey, row: HeldCall, needs: Sequence[str]) -> str:
    """The MAC of the row as it is now. `needs`: the held calls it presupposes."""
    values = [getattr(row, name) for name in SEALED]
    columns = tuple(
        (name, value.astimezone(UTC).isoformat(timespec="microseconds") if isinstance(value, datetime) else value)
        for name, value in zip(SEALED, values, strict=True)
    )
    return key.call(SealedCall(columns, tuple(sorted(set(needs)))))


def seal_vote(key: MacKey, vote: Vote) -> str:
    return key.vote(
        SealedVote(
            tenant=vote.tenant,
            held_id=vote.held_id,
            revision=vote.revision,
            digest=vote.digest,
            subject=str(approvals.subject_of(vote)),
            name=vote.name,
            person_key=vote.person_key,
            at=vote.at,
        )
    )


def intact(conn: Connection, key: MacKey, row: HeldCall) -> bool:
    """Whether the row and its votes are what the door wrote. Garbage in a column is no different from a forgery."""
    if not same(seal(key, row, approvals.needs(conn, row)), row.mac):
        return False
    try:
        digest = drawn_up(row).digest()
    except ValueError:
        return False
    cast = approvals.votes(conn, row)
    return same(digest, row.digest) and all(
        same(vote.digest, digest) and same(seal_vote(key, vote), vote.mac) for vote in cast
    )


def agreed(conn: Connection, row: HeldCall) -> bool:
    """Whether as many different people voted as the row needs. An approved row without them was forged."""
    keys = {vote.person_key.strip().casefold() for vote in approvals.votes(conn, row)} - {""}
    return len(keys) >= max(row.needed, 1)
