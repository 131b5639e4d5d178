"""The closed set of facts. One event is one row of `agent_audit_log`.

Knows the columns and the words; knows neither how rows are hashed nor where they are kept.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import TypeAlias

Json: TypeAlias = None | bool | int | float | str | Sequence["Json"] | Mapping[str, "Json"]

SYSTEM_CHAIN = "_system"
"""The chain of events that belong to no tenant."""


class Kind(StrEnum):
    """What happened: ``subject.action``. Closed; a new fact is a new word here and nowhere else."""

    TURN_STARTED = "turn.started"
    TURN_FINISHED = "turn.finished"
    TURN_BLOCKED = "turn.blocked"
    TURN_FLAGGED = "turn.flagged"
    TURN_FAILED = "turn.failed"
    OUTPUT_REDACTED = "output.redacted"
    TOOL_REQUESTED = "tool.requested"
    TOOL_STARTED = "tool.started"
    TOOL_EXECUTED = "tool.executed"
    TOOL_FAILED = "tool.failed"
    TOOL_BLOCKED = "tool.blocked"
    TOOL_IN_DOUBT = "tool.in_doubt"
    TOOL_RESOLVED = "tool.resolved"
    """A person said what became of a call that was in doubt."""
    APPROVAL_PRESSED = "approval.pressed"
    APPROVAL_DECIDED = "approval.decided"
    APPROVAL_VOIDED = "approval.voided"
    APPROVAL_REOPENED = "approval.reopened"
    """An approved call went back to pending: the kill-switch stopped it before its effect."""
    APPROVAL_REMINDED = "approval.reminded"
    NOTICE_GIVEN_UP = "notice.given_up"
    """Something that had to be told or done after a decision failed for a whole day and is not tried any more."""
    NOTICE_UNDELIVERED = "notice.undelivered"
    """A chat did not take a card, or what had changed on it: once for each state of the card and each place."""
    NOTICE_DELIVERED = "notice.delivered"
    """What a chat had not taken it has taken since."""
    PRESS_FLOOD = "press.flood"
    """Presses by unlinked strangers, counted, one row a minute."""
    MESSAGE_FLOOD = "message.flood"
    """Messages by unlinked strangers, counted, one row a minute."""
    KILL_SWITCHED = "kill.switched"
    KILL_RESUMED = "kill.resumed"
    COMMAND_RUN = "command.run"
    COMMAND_REFUSED = "command.refused"
    IDENTITY_LINKED = "identity.linked"
    IDENTITY_UNLINKED = "identity.unlinked"
    IDENTITY_REFUSED = "identity.refused"
    PERSON_LEFT = "person.left"
    """Somebody is gone: how much of theirs was voided and taken back, and what was in flight."""
    SESSION_STARTED = "session.started"
    """Somebody signed in to the page."""
    SESSION_ENDED = "session.ended"
    SCIM_CHANGED = "scim.changed"
    """The IdP created, changed or deleted a user or a group."""
    SCIM_REFUSED = "scim.refused"
    """A SCIM request without a token that is valid now."""
    SCIM_FLOOD = "scim.flood"
    """Refused SCIM requests, counted, one row a minute."""
    SCIM_TOKEN_CREATED = "scim.token_created"
    SCIM_TOKEN_REVOKED = "scim.token_revoked"
    CHAT_INSTALLED = "chat.installed"
    """The app was installed in a chat team of the tenant."""
    CHAT_REFUSED = "chat.refused"
    """Somebody installed the app in a chat team that no tenant names; nothing of it was kept."""
    CHAT_REMOVED = "chat.removed"
    """The app was taken out of a chat team, or its token was revoked there."""
    ANSWER_RATED = "answer.rated"
    """Somebody gave an answer a thumb. Their reason is kept where the conversation is, not here."""
    ACCOUNT_CHANGED = "account.changed"
    """A chat says that an account was deactivated, restored or made a guest."""
    LOCKOUT_STARTED = "lockout.started"
    LOCKOUT_LIFTED = "lockout.lifted"
    POLICY_RELOADED = "policy.reloaded"
    POLICY_REJECTED = "policy.rejected"
    """A reload failed; the policy before it still holds."""
    SERVICE_STARTED = "service.started"
    SERVICE_STOPPED = "service.stopped"
    DATA_ERASED = "data.erased"
    KEYS_ROTATED = "keys.rotated"
    """The keys of call tokens, or of sealed grants, changed."""
    GRANT_STORED = "grant.stored"
    GRANT_ENDED = "grant.ended"
    """What let us act for a person elsewhere is gone: signed out, refused by the IdP, or used twice."""
    GRANT_EXCHANGED = "grant.exchanged"
    """A downstream API's token for one call was asked for in a person's name."""


@dataclass(frozen=True, slots=True)
class Event:
    """One fact, before it is redacted, sealed and written.

    `tenant` None goes to the chain ``_system``. `occurred_at` is aware UTC. `tool_args`
    and `detail` hold JSON without floats and with ASCII keys; money is a decimal string. `status`,
    `authz_decision`, `guardrail_verdict`, `hitl_status` are words of closed enums upstream.
    `hitl_approver`: every approver, comma-joined, in the order they pressed.
    """

    kind: Kind
    tenant: str | None
    occurred_at: datetime
    status: str
    actor_user_id: str | None = None
    actor_roles: tuple[str, ...] = ()
    session_id: str | None = None
    agent_name: str = "countersign"
    call_id: str | None = None
    tool_name: str | None = None
    tool_args: Mapping[str, Json] | None = None
    authz_decision: str | None = None
    guardrail_verdict: str | None = None
    hitl_status: str | None = None
    hitl_approver: str | None = None
    latency_ms: int | None = None
    model: str | None = None
    cost_usd: Decimal | None = None
    detail: Mapping[str, Json] | None = None
