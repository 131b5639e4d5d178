"""One press, in one transaction: who pressed, what the state machine says, what follows (invariants 4, 5).

Judges nothing itself (`policy.approval` does) and runs no action.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import assert_never

from sqlalchemy.engine import Connection

from audit.canonical import clean_text
from audit.event import Kind
from policy.approval import (
    ApprovalStatus,
    Asked,
    Ballot,
    Counted,
    PressResult,
    Refused,
    Settled,
    Snapshot,
    Verb,
    Verdict,
    is_own_request,
    judge,
)
from policy.approval import Vote as Cast
from policy.model import Principal, RoleName, TenantId, ToolName
from tools import approvals, entering, evidence, killswitch, settling, signing, strangers, views
from tools.approvals import HeldCall, PressRow, Vote
from tools.door import Door
from tools.held import OwnCall, PressOutcome, PressRequest
from tools.killswitch import Generation, Target
from tools.ports import Notice, NoticeKind
from tools.settling import Ledger
from tools.strangers import Act

MAX_TEXT = 3_000
MAX_ID = 200
STRANGER_SENTENCE = (
    "I do not know who you are in your company's directory, so your press did not count. Ask an admin to add you."
)


def press(
    conn: Connection, door: Door, tenant: TenantId | None, who: Principal | None, request: PressRequest
) -> PressOutcome:
    """Judge and record one press. Every way out writes an audit row, or counts into one."""
    work = Ledger(conn, door, door.clock())
    request = _storable(request)
    if who is None or tenant is None:
        return _stranger(work, tenant, request)
    generation = entering.decide(conn, tenant)
    # Somebody of another organisation, even one whom this one knows as well, finds nothing here (invariant 14).
    row = approvals.read(conn, tenant, request.held_id, lock=True) if who.tenant == tenant else None
    if row is None:
        sentence = "There is no such request. It may have been erased; nothing was done."
        work.events.append(evidence.of_lost_press(tenant, request, PressResult.UNKNOWN, who, work.now))
        work.commit_events()
        return PressOutcome(PressResult.UNKNOWN, sentence, None)
    outcome = _known(work, row, who, request, generation)
    work.commit_events()
    return outcome


def open_to(conn: Connection, door: Door, who: Principal, held_id: str) -> tuple[OwnCall, ...]:
    """Every call on the card of `held_id` with the presses that would count by `who` now. Changes nothing.

    Empty: there is no such request, or it is none of theirs. What the state machine would refuse is not offered.
    """
    found = approvals.read(conn, who.tenant, held_id)
    current = None if found is None else door.people.current(conn, who.tenant, who.subject)
    if found is None or current is None:
        return ()
    now, own = door.clock(), []
    for view in views.card(conn, who.tenant, found.card_id):
        row = approvals.read(conn, who.tenant, view.held_id)
        if row is None:
            continue
        snapshot = _snapshot(conn, row, stopped=view.stopped is not None)
        if not (is_own_request(snapshot, current) or current.roles.intersection(snapshot.approver_roles)):
            return ()
        ballots = (Ballot(current, verb, row.revision, row.digest) for verb in Verb)
        own.append(
            OwnCall(view, frozenset(one.verb for one in ballots if not isinstance(judge(snapshot, one, now), Refused)))
        )
    return tuple(own)


def _storable(request: PressRequest) -> PressRequest:
    """The press as both databases can keep it: a chat's ids and words are untrusted, and every press is a row."""
    press_id = clean_text(request.press_id)
    return replace(
        request,
        press_id=press_id if len(press_id) <= MAX_ID else hashlib.sha256(press_id.encode()).hexdigest(),
        held_id=clean_text(request.held_id)[:MAX_ID],
        digest=clean_text(request.digest)[:MAX_ID],
        text=clean_text(request.text),
        chat_account=clean_text(request.chat_account)[:MAX_ID],
    )


def _known(work: Ledger, row: HeldCall, who: Principal, request: PressRequest, generation: Generation) -> PressOutcome:
    conn, door, tenant = work.conn, work.door, TenantId(row.tenant)
    current = door.people.current(conn, tenant, who.subject)
    if current is None:
        _log_press(work, row, who, request, PressResult.STRANGER)
        return PressOutcome(PressResult.STRANGER, STRANGER_SENTENCE, None)
    before = approvals.press(conn, tenant, request.press_id)
    if before is not None:
        _log_press(work, row, who, request, PressResult.DUPLICATE)
        return PressOutcome(PressResult.DUPLICATE, before.sentence, views.of(conn, row))
    if row.status == ApprovalStatus.PENDING.value and not signing.intact(conn, door.mac, row):
        # Approving seals the row anew, so nothing that was altered may get that far.
        _log_press(work, row, who, request, PressResult.LATE)
        settling.end(work, row, ApprovalStatus.VOIDED, settling.TAMPERED, detail={"cause": "tampered"})
        return PressOutcome(PressResult.LATE, settling.TAMPERED, views.of(conn, row))
    _drop_lost_votes(work, row)
    switch = killswitch.covering(conn, Target(tenant, ToolName(row.tool), approvals.requester(row)))
    snapshot = _snapshot(conn, row, stopped=switch is not None)
    verdict = judge(snapshot, Ballot(current, request.verb, request.revision, request.digest), work.now)
    result, sentence = _apply(work, row, current, request, verdict, generation)
    approvals.add_press(
        conn,
        PressRow(
            tenant=tenant,
            press_id=request.press_id,
            held_id=row.held_id,
            result=result.value,
            sentence=sentence,
            at=work.now,
        ),
    )
    if result is PressResult.STOPPED and switch is not None:
        # Said, not kept: why it was stopped is somebody's words.
        sentence = f"{killswitch.stopped_sentence(switch)}. Nothing was approved; press again after it resumes."
    return PressOutcome(result, sentence, views.of(conn, row))


def _apply(
    work: Ledger, row: HeldCall, who: Principal, request: PressRequest, verdict: Verdict, generation: Generation
) -> tuple[PressResult, str]:
    """Write what the verdict says; the press's own row always comes first."""
    match verdict:
        case Refused(result=result, sentence=sentence):
            _log_press(work, row, who, request, result)
            return result, sentence
        case Asked():
            words = request.text[:MAX_TEXT]
            work.change(
                row, questions=approvals.with_question(row, request.press_id, who.display_name, words, work.now)
            )
            _log_press(work, row, who, request, PressResult.ASKED)
            work.door.outbox.put(
                work.conn,
                Notice(NoticeKind.QUESTION, TenantId(row.tenant), row.held_id, row.revision, press_id=request.press_id),
            )
            return PressResult.ASKED, f"Your question goes to {row.requester_name}. Nothing was decided."
        case Counted(have=have, needed=needed):
            _vote(work, row, who)
            _log_press(work, row, who, request, PressResult.COUNTED)
            work.redraw(row)
            return PressResult.COUNTED, f"Counted: {have} of {needed}. Somebody else has to approve it too."
        case Settled(status=ApprovalStatus.APPROVED):
            _vote(work, row, who)
            _log_press(work, row, who, request, PressResult.APPROVED)
            settling.approve(work, row, who, generation)
            return PressResult.APPROVED, "Approved."
        case Settled(status=status, result=result):
            _log_press(work, row, who, request, result)
            settling.end(work, row, status, request.text[:MAX_TEXT] or "No reason was given.", actor=who)
            done = "Withdrawn" if status is ApprovalStatus.WITHDRAWN else "Rejected"
            return result, f"{done}. Nothing was done; {_told(row, request.verb)}"
        case _:
            assert_never(verdict)


def _told(row: HeldCall, verb: Verb) -> str:
    return "the approvers see it." if verb is Verb.WITHDRAW else f"{row.requester_name} is told why."


def _vote(work: Ledger, row: HeldCall, who: Principal) -> None:
    vote = Vote(
        tenant=row.tenant,
        held_id=row.held_id,
        revision=row.revision,
        issuer=who.subject.issuer,
        sub=who.subject.sub,
        name=who.display_name,
        person_key=who.person_key or "",
        digest=row.digest,
        at=work.now,
        mac="",
    )
    vote.mac = signing.seal_vote(work.door.mac, vote)
    approvals.add_vote(work.conn, vote)


def _drop_lost_votes(work: Ledger, row: HeldCall) -> None:
    """A vote counts as long as its voter may cast it: roles can go between two presses (invariant 9)."""
    if row.status != ApprovalStatus.PENDING.value:
        return
    wanted = frozenset(RoleName(role) for role in approvals.roles(row))
    for vote in approvals.votes(work.conn, row):
        voter = work.door.people.current(work.conn, TenantId(row.tenant), approvals.subject_of(vote))
        if voter is None or not voter.roles & wanted:
            approvals.void_vote(work.conn, vote)
            work.log(Kind.APPROVAL_VOIDED, "vote_voided", row, by=vote.sub, detail={"cause": "not_entitled"})
            work.redraw(row)


def _snapshot(conn: Connection, row: HeldCall, *, stopped: bool) -> Snapshot:
    return Snapshot(
        tenant=TenantId(row.tenant),
        requester=approvals.requester(row),
        requester_person_key=row.person_key,
        status=ApprovalStatus(row.status),
        revision=row.revision,
        digest=row.digest,
        approver_roles=tuple(RoleName(role) for role in approvals.roles(row)),
        needed=row.needed,
        votes=tuple(Cast(approvals.subject_of(vote), vote.person_key) for vote in approvals.votes(conn, row)),
        expires_at=row.expires_at,
        stopped=stopped,
        questions=len(approvals.questions(row)),
    )


def _log_press(work: Ledger, row: HeldCall, who: Principal, request: PressRequest, result: PressResult) -> None:
    work.events.append(evidence.of_press(request, result, row, work.tool(row), who, work.now))


# -- strangers -----------------------------------------------------------------------------------------------------


def _stranger(work: Ledger, tenant: TenantId | None, request: PressRequest) -> PressOutcome:
    """Somebody the directory does not know: never counts; one row each until it becomes a flood."""
    event = evidence.of_lost_press(tenant, request, PressResult.STRANGER, None, work.now)
    work.events.extend(strangers.counted(work.conn, Act.PRESS, tenant, event, work.now))
    work.commit_events()
    return PressOutcome(PressResult.STRANGER, STRANGER_SENTENCE, None)
