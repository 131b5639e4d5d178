"""How a held call leaves Pending or ends, and what that does to the calls that presuppose it.

Runs inside the gateway's transactions; runs no action and judges no press.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy.engine import Connection

from audit.event import Event, Kind
from policy.approval import ApprovalStatus
from policy.model import Json, Principal, TenantId, ToolName
from tools import approvals, evidence, signing
from tools.approvals import HeldCall, Vote
from tools.door import Door
from tools.held import EffectState
from tools.killswitch import Generation
from tools.ports import Notice, NoticeKind
from tools.spec import Tool

ENDED_BADLY = {
    ApprovalStatus.REJECTED: "was rejected",
    ApprovalStatus.EXPIRED: "expired",
    ApprovalStatus.VOIDED: "was voided",
    ApprovalStatus.WITHDRAWN: "was withdrawn",
}

TAMPERED = "The stored request no longer matches what was signed. Nothing was done; tell an admin."


class LostRace(Exception):
    """The row changed between reading and writing although it was locked: refused, nothing written."""


@dataclass(slots=True)
class Ledger:
    """One transaction's work: the rows it changes and the events it appends last."""

    conn: Connection
    door: Door
    now: datetime
    events: list[Event] = field(default_factory=list)

    def tool(self, row: HeldCall) -> Tool | None:
        return self.door.catalog.get(ToolName(row.tool))

    def log(
        self,
        kind: Kind,
        status: str,
        row: HeldCall,
        *,
        actor: Principal | None = None,
        by: str | None = None,
        detail: Mapping[str, Json] | None = None,
        latency_ms: int | None = None,
        votes: list[Vote] | None = None,
    ) -> None:
        cast = approvals.votes(self.conn, row) if votes is None else votes
        self.events.append(
            evidence.of_held(
                kind,
                status,
                row,
                self.tool(row),
                self.now,
                votes=cast,
                actor=actor,
                by=by,
                detail=detail,
                latency_ms=latency_ms,
            )
        )

    def change(self, row: HeldCall, **values: object) -> None:
        if not approvals.change(self.conn, row, **values):
            raise LostRace(row.held_id)

    def redraw(self, row: HeldCall) -> None:
        self.door.outbox.put(
            self.conn, Notice(NoticeKind.CARD_CHANGED, TenantId(row.tenant), row.held_id, row.revision)
        )

    def tell_outcome(self, row: HeldCall) -> None:
        self.door.resume.outcome(self.conn, TenantId(row.tenant), row.held_id)

    def commit_events(self) -> None:
        """Seal the audit rows; the last thing a transaction does (DESIGN, State)."""
        self.door.audit.append(self.conn, self.events)


def approve(work: Ledger, row: HeldCall, by: Principal, seen: Generation) -> None:
    """Enough different people agreed: queue the effect, or wait for what it presupposes. `row` is intact."""
    waits = bool(approvals.unmet(work.conn, row))
    # Sealed with the switches thrown so far: an approval of before a kill cannot be passed off as one of after it.
    fresh = row.model_copy(update={"kills_everywhere": seen.everywhere, "kills_tenant": seen.tenant})
    work.change(
        row,
        mac=signing.seal(work.door.mac, fresh, approvals.needs(work.conn, row)),
        status=ApprovalStatus.APPROVED.value,
        effect=(EffectState.WAITING if waits else EffectState.QUEUED).value,
        settled_at=work.now,
        settled_by=by.display_name,
        kills_everywhere=seen.everywhere,
        kills_tenant=seen.tenant,
    )
    work.log(Kind.APPROVAL_DECIDED, ApprovalStatus.APPROVED.value, row, actor=by)
    if not waits:
        work.door.resume.execute(work.conn, TenantId(row.tenant), row.held_id, row.revision)
    work.redraw(row)


def end(
    work: Ledger,
    row: HeldCall,
    status: ApprovalStatus,
    reason: str,
    *,
    actor: Principal | None = None,
    by: str | None = None,
    resume: bool = True,
    detail: Mapping[str, Json] | None = None,
    cast: list[Vote] | None = None,
    announced: bool = True,
) -> None:
    """The call will never run: rejected, withdrawn, expired or voided. What presupposes it is voided too.

    `cast`, `announced`: its votes, and whether anything may presuppose it, where the caller ends many and has looked.
    """
    name = actor.display_name if actor is not None else by
    cast = approvals.votes(work.conn, row) if cast is None else cast
    work.change(
        row,
        status=status.value,
        effect=EffectState.NONE.value,
        settled_at=work.now,
        settled_by=name,
        reason=reason,
    )
    # A person's words stay on the approval row, the audit keeps their hash (invariant 11); our own sentence is plain.
    said: Mapping[str, Json] = {
        "reason": reason if actor is None else evidence.text_trace(reason),
        **(detail or {}),
    }
    who = None if actor is not None else by or "countersign"
    work.log(evidence.settled_kind(status), status.value, row, actor=actor, by=who, detail=said, votes=cast)
    work.redraw(row)
    if resume:
        work.tell_outcome(row)
    if announced:
        void_dependents(work, row, ENDED_BADLY[status])


def void_dependents(work: Ledger, row: HeldCall, how: str) -> None:
    """Void what presupposes `row`; it announces something that will not happen."""
    for other in approvals.dependents(work.conn, row):
        end(
            work,
            other,
            ApprovalStatus.VOIDED,
            f"It was to follow “{row.headline}”, which {how}. Nothing was sent.",
            detail={"because": row.held_id},
        )


def release_dependents(work: Ledger, row: HeldCall) -> None:
    """`row` took effect: what was approved and waited only for it may run now."""
    for other in approvals.dependents(work.conn, row):
        if approvals.unmet(work.conn, other):
            continue
        if other.status == ApprovalStatus.APPROVED.value:
            work.change(other, effect=EffectState.QUEUED.value)
            work.door.resume.execute(work.conn, TenantId(other.tenant), other.held_id, other.revision)
        work.redraw(other)


def reopen(work: Ledger, row: HeldCall, why: str) -> None:
    """An approved call that the kill-switch stopped goes back to pending and needs fresh presses (invariant 8)."""
    if not (signing.intact(work.conn, work.door.mac, row) and signing.agreed(work.conn, row)):
        # What was altered is never sealed anew.
        end(work, row, ApprovalStatus.VOIDED, TAMPERED, detail={"cause": "tampered"})
        return
    cast = approvals.votes(work.conn, row)
    work.log(Kind.APPROVAL_REOPENED, "reopened", row, by="countersign", detail={"why": why}, votes=cast)
    fresh = row.model_copy(update={"revision": row.revision + 1})
    work.change(
        row,
        status=ApprovalStatus.PENDING.value,
        effect=EffectState.NONE.value,
        revision=fresh.revision,
        mac=signing.seal(work.door.mac, fresh, approvals.needs(work.conn, row)),
        settled_at=None,
        settled_by=None,
        reason=None,
    )
    work.redraw(row)


def finished(
    work: Ledger,
    row: HeldCall,
    state: EffectState,
    sentence: str,
    *,
    reference: str | None = None,
    latency_ms: int | None = None,
    detail: Mapping[str, Json] | None = None,
    by: str | None = None,
    logged: str | None = None,
) -> None:
    """The effect ended: done, failed or in doubt. `logged`: what the audit keeps if `sentence` has a person's words."""
    kind, status = {
        EffectState.DONE: (Kind.TOOL_EXECUTED, "executed"),
        EffectState.FAILED: (Kind.TOOL_FAILED, "failed"),
        EffectState.IN_DOUBT: (Kind.TOOL_IN_DOUBT, "in_doubt"),
    }[state]
    done = state is EffectState.DONE
    work.change(
        row,
        effect=state.value,
        result=sentence if done else row.result,
        reason=None if done else sentence,
        reference=reference or row.reference,
        finished_at=work.now,
    )
    more: dict[str, Json] = dict(detail or {})
    if reference is not None:
        more["reference"] = reference
    if not done:
        more["sentence"] = sentence if logged is None else logged
    work.log(kind, status, row, detail=more or None, latency_ms=latency_ms, by=by)
    work.redraw(row)
    work.tell_outcome(row)
    match state:
        case EffectState.DONE:
            release_dependents(work, row)
        case EffectState.FAILED:
            void_dependents(work, row, "failed")
        case _:
            notice = Notice(NoticeKind.IN_DOUBT, TenantId(row.tenant), row.held_id, row.revision)
            work.door.outbox.put(work.conn, notice)
