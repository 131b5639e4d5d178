"""The words every decision is made of: principals, roles, tools, gates, decisions.

Knows nothing of where a principal came from, of chats, tables or clocks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from typing import NewType, TypeAlias

TenantId = NewType("TenantId", str)
RoleName = NewType("RoleName", str)
ToolName = NewType("ToolName", str)
"""A tool's name as policy, log and cards spell it, e.g. ``refund.issue``."""

Json: TypeAlias = None | bool | int | float | str | Sequence["Json"] | Mapping[str, "Json"]
"""A JSON value. Arguments of calls use no floats: money is a decimal string."""


@dataclass(frozen=True, slots=True)
class Subject:
    """Who a person is to the IdP: issuer and ``sub``. Never an e-mail address."""

    issuer: str
    sub: str

    def __str__(self) -> str:
        return f"{self.issuer}|{self.sub}"


@dataclass(frozen=True, slots=True)
class Principal:
    """A person as the door sees them, read from the directory for one call and then forgotten."""

    tenant: TenantId
    subject: Subject
    display_name: str
    roles: frozenset[RoleName]
    person_key: str | None
    """What tells two people apart (default the subject; employee number where people hold two
    accounts). None: the configured key is missing for this person, so they can approve nothing."""
    email: str | None = None


class Reversibility(StrEnum):
    """How far an effect can be taken back. ``NA``: it only reads."""

    NA = "n/a"
    HIGH = "high"
    LOW = "low"
    NONE = "none"


class BlastRadius(StrEnum):
    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"
    CRITICAL = "critical"


class GateKind(StrEnum):
    """What stands between a call and its effect, least strict first."""

    AUTONOMOUS = "autonomous"
    LOGGED = "logged"
    """Runs at once; state before and after goes to the audit, a sample is queued for review."""
    APPROVAL = "approval"


@dataclass(frozen=True, slots=True)
class Threshold:
    """Above this sum a second person must approve.

    The sum counts what one resource and what one requester gathered within ``window_s`` seconds,
    pending calls included. A currency that is not listed is above every threshold.
    """

    above: Mapping[str, Decimal]
    window_s: int


@dataclass(frozen=True, slots=True)
class Gate:
    """The gate of one tool as the policy files state it."""

    kind: GateKind
    approver_roles: Mapping[RoleName, tuple[RoleName, ...]]
    """Requester's role -> roles that may approve. The key ``*`` stands for every requester."""
    destinations: Mapping[RoleName, tuple[str, ...]]
    """Approver role -> where its cards go, as `policy.places` reads it: ``#channel``, ``teams:#channel``, ``dm``."""
    threshold: Threshold | None
    expires_s: int
    presupposes: tuple[ToolName, ...] = ()
    """Calls of these tools in the same turn must have taken effect before this one may run."""


@dataclass(frozen=True, slots=True)
class ToolPolicy:
    """What the security team says of one tool."""

    tool: ToolName
    reversibility: Reversibility
    blast_radius: BlastRadius
    gate: Gate
    external_send: bool
    limits: Mapping[str, int]
    """Limit name -> how many, e.g. ``per_user_per_min`` or ``per_user_per_day``."""


class DenyReason(StrEnum):
    """Why a call may not even be held. Closed: the audit stores these words."""

    UNKNOWN_TOOL = "unknown_tool"
    ROLE_LACKS_TOOL = "role_lacks_tool"
    NO_ROLE = "no_role"
    NO_APPROVERS = "no_approvers"
    OTHER_TENANT = "other_tenant"
    POLICY_MISSING = "policy_missing"
    PHASE = "phase"


@dataclass(frozen=True, slots=True)
class Denied:
    """The call is refused. ``sentence`` may be shown to the requester as it is."""

    reason: DenyReason
    sentence: str


@dataclass(frozen=True, slots=True)
class Allowed:
    """The call may run at once. ``logged``: record the state before and after."""

    logged: bool


@dataclass(frozen=True, slots=True)
class NeedsApproval:
    """The call must be countersigned by ``needed`` different people holding one of ``approver_roles``."""

    approver_roles: tuple[RoleName, ...]
    needed: int
    destinations: tuple[str, ...]
    expires_s: int
    why: str
    """For the card: why these people were asked, in one sentence."""


Decision: TypeAlias = Allowed | NeedsApproval | Denied
