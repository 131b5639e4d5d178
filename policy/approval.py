"""The approval state machine: Pending -> Approved | Rejected | Expired | Voided.

Pure: what was read from the rows comes in, a verdict goes out. Knows no table, chat or clock.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import TypeAlias, assert_never

from policy.model import Principal, RoleName, Subject, TenantId

MOST_QUESTIONS = 20
"""How many questions one request carries to its requester."""


class ApprovalStatus(StrEnum):
    """Where a held call stands. ``PENDING`` is the only one that can still change by a press."""

    PENDING = "pending"
    APPROVED = "approved"
    REJECTED = "rejected"
    EXPIRED = "expired"
    VOIDED = "voided"
    WITHDRAWN = "withdrawn"


class Verb(StrEnum):
    """What a person pressed."""

    APPROVE = "approve"
    REJECT = "reject"
    WITHDRAW = "withdraw"
    ASK = "ask"


class PressResult(StrEnum):
    """What became of a press. Closed: each is an audit row's status (invariant 5)."""

    APPROVED = "approved"
    COUNTED = "counted"
    """A valid vote, but more people are needed."""
    REJECTED = "rejected"
    WITHDRAWN = "withdrawn"
    ASKED = "asked"
    TOO_MANY = "too_many"
    """As many questions as a request may carry have been asked about it."""
    DUPLICATE = "duplicate"
    SAME_PERSON = "same_person"
    """The same human under another account."""
    OWN_REQUEST = "own_request"
    NOT_APPROVER = "not_approver"
    NOT_REQUESTER = "not_requester"
    NO_PERSON_KEY = "no_person_key"
    STALE = "stale"
    """The card showed another revision or digest."""
    LATE = "late"
    """Already settled."""
    EXPIRED = "expired"
    STOPPED = "stopped"
    """The kill-switch is on."""
    OTHER_TENANT = "other_tenant"
    UNKNOWN = "unknown"
    """No such request."""
    STRANGER = "stranger"
    """The presser could not be resolved to a person."""


@dataclass(frozen=True, slots=True)
class Vote:
    subject: Subject
    person_key: str


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The approval row and its votes as one transaction read them, locked."""

    tenant: TenantId
    requester: Subject
    requester_person_key: str | None
    status: ApprovalStatus
    revision: int
    digest: str
    approver_roles: tuple[RoleName, ...]
    needed: int
    votes: tuple[Vote, ...]
    expires_at: datetime
    stopped: bool
    """A kill-switch covers this call."""
    questions: int = 0
    """How many were put to the requester."""


@dataclass(frozen=True, slots=True)
class Ballot:
    """One press: who, what, and which revision they were looking at."""

    who: Principal
    verb: Verb
    revision: int
    digest: str


@dataclass(frozen=True, slots=True)
class Settled:
    """The call leaves Pending. ``result`` names the press that did it."""

    status: ApprovalStatus
    result: PressResult


@dataclass(frozen=True, slots=True)
class Counted:
    """A vote to be recorded, the call stays Pending."""

    have: int
    needed: int


@dataclass(frozen=True, slots=True)
class Asked:
    """A question to the requester; nothing is decided."""


@dataclass(frozen=True, slots=True)
class Refused:
    """Nothing changes but the audit. ``sentence`` may be shown to the presser."""

    result: PressResult
    sentence: str


Verdict: TypeAlias = Settled | Counted | Asked | Refused


def judge(row: Snapshot, ballot: Ballot, now: datetime) -> Verdict:
    """What `ballot` does to `row` at `now` (aware, UTC). Total: every input has a verdict."""
    if ballot.who.tenant != row.tenant:
        return Refused(PressResult.OTHER_TENANT, "This request belongs to another organisation.")
    if row.status is not ApprovalStatus.PENDING:
        # In the card's own word.
        ended = "cancelled" if row.status is ApprovalStatus.VOIDED else row.status.value
        return Refused(PressResult.LATE, f"Already {ended}. Your press changed nothing.")
    if now >= row.expires_at:
        return Refused(PressResult.EXPIRED, "This request has expired. Nothing was done; the requester can ask again.")
    if ballot.revision != row.revision or ballot.digest != row.digest:
        return Refused(PressResult.STALE, "This card shows an older version. Look at the newest card and press again.")
    match ballot.verb:
        case Verb.WITHDRAW:
            return _withdraw(row, ballot)
        case Verb.ASK:
            return _not_entitled(row, ballot) or _ask(row)
        case Verb.REJECT:
            return _not_entitled(row, ballot) or Settled(ApprovalStatus.REJECTED, PressResult.REJECTED)
        case Verb.APPROVE:
            return _not_entitled(row, ballot) or _approve(row, ballot)
        case _:
            assert_never(ballot.verb)


def is_own_request(row: Snapshot, who: Principal) -> bool:
    """Whether `who` is the requester, under this or another account (invariant 4)."""
    if who.subject == row.requester:
        return True
    key = _person(who.person_key)
    return key is not None and key == _person(row.requester_person_key)


def people_for(row: Snapshot) -> frozenset[str]:
    """The different people whose votes count: one per person key, the requester never among them.

    Rows are read again here because this count is the two-person rule: a vote that should not
    have been stored must not help.
    """
    requester = _person(row.requester_person_key)
    keys = (_person(vote.person_key) for vote in row.votes if vote.subject != row.requester)
    return frozenset(key for key in keys if key is not None and key != requester)


def _person(key: str | None) -> str | None:
    """A person key as it is compared: keys that differ in case or white space are one person's."""
    return (key or "").strip().casefold() or None


def _withdraw(row: Snapshot, ballot: Ballot) -> Verdict:
    if not is_own_request(row, ballot.who):
        return Refused(PressResult.NOT_REQUESTER, "Only the person who asked can withdraw this request.")
    return Settled(ApprovalStatus.WITHDRAWN, PressResult.WITHDRAWN)


def _ask(row: Snapshot) -> Verdict:
    if row.questions >= MOST_QUESTIONS:
        return Refused(
            PressResult.TOO_MANY,
            f"{MOST_QUESTIONS} questions have been asked about this already, so yours was not passed on. "
            "Write to the requester yourself, or approve or reject it.",
        )
    return Asked()


def _not_entitled(row: Snapshot, ballot: Ballot) -> Refused | None:
    if is_own_request(row, ballot.who):
        return Refused(PressResult.OWN_REQUEST, "You asked for this, so somebody else has to decide it.")
    if not ballot.who.roles.intersection(row.approver_roles):
        wanted = " or ".join(row.approver_roles)
        only = f"Only people with the role {wanted} can" if wanted else "No role may"
        return Refused(PressResult.NOT_APPROVER, f"{only} decide this. Your press changed nothing.")
    if _person(ballot.who.person_key) is None or _person(row.requester_person_key) is None:
        return Refused(
            PressResult.NO_PERSON_KEY,
            "The directory does not say which person an account belongs to, so it cannot be proved that "
            "two different people agreed. Ask an admin to complete the directory entry.",
        )
    return None


def _approve(row: Snapshot, ballot: Ballot) -> Verdict:
    if row.stopped:
        sentence = "Countersign is stopped. Nothing was approved; press again after it resumes."
        return Refused(PressResult.STOPPED, sentence)
    key = _person(ballot.who.person_key)
    for vote in row.votes:
        if vote.subject == ballot.who.subject:
            return Refused(PressResult.DUPLICATE, "You have already approved this. It counts once.")
        if _person(vote.person_key) == key:
            return Refused(PressResult.SAME_PERSON, "You have already approved this under another account.")
    have = len(people_for(row)) + 1
    if have < row.needed:
        return Counted(have, row.needed)
    return Settled(ApprovalStatus.APPROVED, PressResult.APPROVED)
