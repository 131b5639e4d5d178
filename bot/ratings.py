"""Thumbs under answers: one row of the audit each, and the reason beside the conversation it is about (invariant 11).

Knows where a reason is kept; knows no chat and draws no conclusion: no model is told what somebody thought of it.
"""

from __future__ import annotations

import hashlib

from sqlalchemy.engine import Connection

from audit.canonical import clean_text
from audit.event import Event, Kind
from bot import store
from bot.agent.transcript import Key, remark
from bot.messages import Feedback
from bot.parts import Parts
from policy.model import Json, Principal
from policy.pii import redact
from tools.evidence import text_trace

GOOD, BAD = "good", "bad"
MOST_CHARACTERS = 2_000
MAX_ID = 200


async def keep(parts: Parts, who: Principal, feedback: Feedback) -> None:
    """Note one thumb once, however often its delivery comes."""
    now, key = parts.clock(), store.feedback_key(feedback)
    # Masked like a message; what would stop one is kept, because nothing is done with it.
    reason = redact(clean_text(feedback.reason).strip())[:MOST_CHARACTERS]

    def unit(conn: Connection) -> None:
        if not store.mark_seen(conn, (key,), who.tenant, now):
            return
        detail: dict[str, Json] = {
            "account": str(feedback.who),
            "message_id": clean_text(feedback.message_id)[:MAX_ID],
        }
        if reason:
            # Named after the delivery, so that no two share a name and the row and the reason can be put together.
            remark_id = "r_" + hashlib.sha256(key.encode()).hexdigest()[:32]
            remark(
                conn, Key(who.tenant, feedback.thread.session_id, who.subject), remark_id, feedback.good, reason, now
            )
            detail |= {"remark": remark_id, "reason": text_trace(reason)}
        row = Event(
            kind=Kind.ANSWER_RATED,
            tenant=who.tenant,
            occurred_at=now,
            status=GOOD if feedback.good else BAD,
            actor_user_id=who.subject.sub,
            actor_roles=tuple(sorted(who.roles)),
            session_id=feedback.thread.session_id,
            detail=detail,
        )
        parts.audit.append(conn, [row])

    await parts.writer.run(unit)
