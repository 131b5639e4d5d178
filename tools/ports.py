"""What the door needs from above, implemented in `bot` and wired in `bot.app`.

Knows no chat, no queue and no key format: only the questions the gateway asks.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Protocol

from sqlalchemy.engine import Connection

from policy.model import Principal, RoleName, Subject, TenantId, ToolName


class NoticeKind(StrEnum):
    """What has to be told to people once the transaction that decided it has committed."""

    CARD = "card"
    """Post the card of a held call where its approvers are, and tell the requester."""
    CARD_CHANGED = "card_changed"
    """Draw every posted copy of the card anew, in every chat."""
    REMINDER = "reminder"
    QUESTION = "question"
    """An approver asks the requester something; nothing was decided."""
    STOPS_CHANGED = "stops_changed"
    """The kill-switch was thrown or lifted: draw every pending card of the tenant anew. No held id."""
    IN_DOUBT = "in_doubt"
    """Nobody can say whether the effect happened: a person has to look."""


@dataclass(frozen=True, slots=True)
class Notice:
    """One thing to tell. Carries ids only (invariant 11): whoever sends it reads the rows then."""

    kind: NoticeKind
    tenant: TenantId
    held_id: str
    revision: int
    press_id: str | None = None
    """For QUESTION: the press row that holds the text."""


class Outbox(Protocol):
    """Telling people. `put` joins the caller's transaction: told exactly when it commits."""

    def put(self, conn: Connection, notice: Notice) -> None: ...


class Resume(Protocol):
    """Going on after a decision. Both join the caller's transaction and carry ids only."""

    def execute(self, conn: Connection, tenant: TenantId, held_id: str, revision: int) -> None:
        """Have `Gateway.execute(held_id)` called once the transaction has committed."""

    def outcome(self, conn: Connection, tenant: TenantId, held_id: str) -> None:
        """The held call is settled for good: let the model and the requester know."""


class TokenRefused(Exception):
    """A call token did not hold. `str(e)` may go to the audit, never to a chat."""


@dataclass(frozen=True, slots=True)
class CallToken:
    """What a verified call token says (invariant 2)."""

    principal: Principal
    tool: ToolName
    actor: str
    """``act``: the agent that acts for the subject."""
    jti: str
    expires_at: datetime
    approval_id: str | None


class TokenVerifier(Protocol):
    def verify(self, token: str, *, tool: ToolName, now: datetime) -> CallToken:
        """The claims of `token`, which is for `tool`, unexpired and at most 5 minutes long.

        Raises:
            TokenRefused: anything else.
        """


class UserTokens(Protocol):
    """A person's own token for another API, downscoped to one tool (invariant 2)."""

    async def bearer(self, who: Principal, name: str, tool: ToolName, call_id: str) -> str:
        """What the API `name` is called with in the name of `who`, for this one call. Not to be kept.

        Raises:
            tools.spec.SignInAgain: the person's sign-in no longer lets us; certainly nothing was done.
            tools.spec.ActionError: there is none for another reason; certainly nothing was done.
        """


class People(Protocol):
    """Who holds which roles *now*. Asked again at every decision (invariants 3, 9)."""

    def current(self, conn: Connection, tenant: TenantId, subject: Subject) -> Principal | None:
        """The person as the directory knows them at this moment; None: gone or deactivated."""

    def stale(self, conn: Connection, tenant: TenantId, subject: Subject) -> str | None:
        """Why what is known of them is too old to be acted on, for people to read; None: it is not."""

    def holders(self, conn: Connection, tenant: TenantId, roles: tuple[RoleName, ...]) -> tuple[Principal, ...]:
        """Everybody who holds one of `roles`."""


class Observer(Protocol):
    """Tracing and metrics. Never raises, never blocks."""

    def tool_call(self, *, call_id: str, tool: ToolName, status: str, latency_ms: int) -> None: ...
