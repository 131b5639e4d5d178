"""A held call as others may read it, and what the gateway answers. Values only; rows live in `tools.approvals`."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import TypeAlias

from policy.approval import ApprovalStatus, PressResult, Verb
from policy.model import RoleName, Subject, TenantId, ToolName
from tools.spec import Args, Draft, Fact, ToolResult


class EffectState(StrEnum):
    """Where the effect of an approved call stands (the effect ledger)."""

    NONE = "none"
    WAITING = "waiting"
    """Approved, but it presupposes another call that has not taken effect yet."""
    QUEUED = "queued"
    STARTED = "started"
    DONE = "done"
    FAILED = "failed"
    IN_DOUBT = "in_doubt"


@dataclass(frozen=True, slots=True)
class VoteView:
    name: str
    subject: Subject
    at: datetime


@dataclass(frozen=True, slots=True)
class KillView:
    """A kill-switch that is on: by whom, since when, why."""

    scope: str
    """``all``, ``tool refund.issue`` or ``user <display name>``."""
    by: str
    since: datetime
    reason: str


@dataclass(frozen=True, slots=True)
class HeldView:
    """Everything a card, a list or an audit page shows of one held call. Times are aware UTC."""

    held_id: str
    tenant: TenantId
    card_id: str
    turn_id: str
    session_id: str
    thread_link: str | None
    tool: ToolName
    title: str
    requester: Subject
    requester_name: str
    asked: str
    """The requester's own words."""
    prose: str
    """What the model wrote beside the call; labelled as such wherever it is shown."""
    exposures: tuple[str, ...]
    """Sources of strangers' words the turn had read when it made this call."""
    arguments: Args
    headline: str
    facts: tuple[Fact, ...]
    draft: Draft | None
    status: ApprovalStatus
    effect: EffectState
    revision: int
    digest: str
    approver_roles: tuple[RoleName, ...]
    destinations: tuple[str, ...]
    needed: int
    votes: tuple[VoteView, ...]
    why: str
    waits_for: tuple[str, ...]
    """Headlines of the calls this one presupposes and that have not taken effect."""
    created_at: datetime
    expires_at: datetime
    settled_at: datetime | None
    settled_by: str | None
    reason: str | None
    """Why it was rejected, voided, or failed; a sentence for people."""
    result: str | None
    """What was done: the action's sentence."""
    reference: str | None
    stopped: KillView | None


@dataclass(frozen=True, slots=True)
class TurnContext:
    """The turn a proposal comes from. `asked` and `prose` are stored on the approval row only."""

    tenant: TenantId
    turn_id: str
    session_id: str
    thread_link: str | None
    asked: str
    prose: str = ""
    exposures: tuple[str, ...] = ()
    model: str | None = None
    cost_usd: Decimal | None = None


@dataclass(frozen=True, slots=True)
class Proposal:
    """A call the model asks for. `call_id` is stable across retries: proposing it twice holds it once."""

    call_id: str
    tool: ToolName
    arguments: Args | None
    """None: the model's JSON did not parse."""
    token: str
    """Minted for this call (invariant 2)."""
    out_of_scope: str | None = None
    """The guard `tool_scope` stopped it: the sentence to refuse it with. The door records it like any refusal."""


class BlockReason(StrEnum):
    """Why the door let nothing through. Closed: the audit stores these words."""

    TOKEN = "token"
    STOPPED = "stopped"
    LOCKED_OUT = "locked_out"
    UNKNOWN_TOOL = "unknown_tool"
    SCHEMA = "schema"
    TENANT = "tenant"
    ROLE = "role"
    SCOPE = "tool_scope"
    """The model called a tool that it had not been offered."""
    NO_APPROVERS = "no_approvers"
    RATE_LIMIT = "rate_limit"
    OVER_AVAILABLE = "over_available"
    UNRESOLVED = "unresolved"
    """The action could not look up what the call depends on."""
    PRESUPPOSES = "presupposes"
    """What it announces was refused in the same answer."""
    POLICY = "policy"
    AUDIT = "audit"
    """The audit could not be written, so nothing was done (invariant 6)."""


@dataclass(frozen=True, slots=True)
class Executed:
    call_id: str
    result: ToolResult


@dataclass(frozen=True, slots=True)
class Held:
    call_id: str
    view: HeldView


@dataclass(frozen=True, slots=True)
class Blocked:
    call_id: str
    reason: BlockReason
    sentence: str


@dataclass(frozen=True, slots=True)
class Failed:
    """It was tried. `in_doubt`: nobody knows whether it happened; it will not be tried again by itself."""

    call_id: str
    sentence: str
    in_doubt: bool


Outcome: TypeAlias = Executed | Held | Blocked | Failed


@dataclass(frozen=True, slots=True)
class PressRequest:
    """A press as the gateway judges it. `chat_account` is for the audit only."""

    press_id: str
    held_id: str
    revision: int
    digest: str
    verb: Verb
    text: str
    chat_account: str


@dataclass(frozen=True, slots=True)
class PressOutcome:
    """What became of a press; `sentence` is for the presser. `view`: the call as it is now."""

    result: PressResult
    sentence: str
    view: HeldView | None


@dataclass(frozen=True, slots=True)
class OwnCall:
    """A held call, and what one person could still do to it by a press."""

    view: HeldView
    verbs: frozenset[Verb]


class ScopeKind(StrEnum):
    ALL = "all"
    TENANT = "tenant"
    TOOL = "tool"
    USER = "user"


@dataclass(frozen=True, slots=True)
class Scope:
    """What a kill-switch covers. `value`: tool name, or ``issuer|sub`` of a person; empty otherwise.

    ALL is every tenant of the deployment (the shell); a tenant's admins stop at most their TENANT.
    """

    kind: ScopeKind
    value: str = ""


@dataclass(frozen=True, slots=True)
class KillReport:
    """What a kill stopped, or would stop."""

    active: tuple[KillView, ...]
    pending: int
    in_flight: tuple[HeldView, ...]
    """Effects that had been claimed before the kill committed."""
    reopened: int
    """Approved calls that went back to pending."""
