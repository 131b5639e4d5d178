"""What the demo page shows beside the chat: audit rows, mail, refunds, the switch. Knows their shape, not their source.

Implemented at the composition root, from `audit.query`, `audit.verify`, the gateway and the demo's business database.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Protocol

from tools.held import KillView


@dataclass(frozen=True, slots=True)
class AuditLine:
    """One row of `agent_audit_log` as the page shows it."""

    seq: int
    at: datetime
    who: str | None
    """A name for people; the actor id where there is none."""
    kind: str
    tool: str | None
    amount: str | None
    """"42.00 USD"."""
    status: str
    approver: str | None
    row_hash: str
    about: str | None = None
    """Whom an identity provider changed."""


@dataclass(frozen=True, slots=True)
class AuditPage:
    """The newest rows, newest first. `total`: how many there are in all."""

    total: int
    lines: tuple[AuditLine, ...]


@dataclass(frozen=True, slots=True)
class MailLine:
    """A mail that left, word for word."""

    id: str
    at: datetime
    to: str
    subject: str
    body: str


@dataclass(frozen=True, slots=True)
class RefundLine:
    """A refund that was issued."""

    id: str
    at: datetime
    order_id: str
    customer: str
    amount: Decimal
    currency: str
    reason: str


@dataclass(frozen=True, slots=True)
class ChainCheck:
    """What the verifier found. `sentence`: for people, with the place where the chain breaks if it does."""

    intact: bool
    sentence: str


@dataclass(frozen=True, slots=True)
class Doorway:
    """Another page that belongs to the demo. `note`: what one needs to know in front of it."""

    label: str
    href: str
    note: str


@dataclass(frozen=True, slots=True)
class ServiceState:
    """`offline`: the answers come from the stand-in, not from an AI. `stopped`: the kill-switches that are on."""

    model: str
    offline: bool
    stopped: tuple[KillView, ...]


class DemoData(Protocol):
    """Read only; every method may be called often. A method that raises leaves its panel as it was."""

    async def mark(self) -> str:
        """Changes whenever something below may have changed. Cheap: asked twice a second while a page is open."""

    async def state(self) -> ServiceState: ...

    async def waiting(self) -> Mapping[str, int]:
        """Demo account (``ann``) -> how many requests wait for that person's countersignature."""

    async def unlinked(self) -> frozenset[str]:
        """The demo accounts of which nobody has proved whose they are."""

    async def withdrawable(self, user: str) -> frozenset[str]:
        """The requests of that demo account (held ids) that nobody has settled yet."""

    async def audit(self, newest: int) -> AuditPage: ...

    async def mails(self) -> tuple[MailLine, ...]:
        """Newest first."""

    async def refunds(self) -> tuple[RefundLine, ...]:
        """Newest first."""

    async def verify(self) -> ChainCheck: ...
