"""A tool, a call, and the digest that a countersignature binds.

Knows neither who may call a tool nor how calls are held.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Protocol, TypeAlias

from policy.model import Json, Principal, Subject, TenantId, ToolName

Args: TypeAlias = Mapping[str, Json]
"""Arguments of a call: JSON without floats."""


@dataclass(frozen=True, slots=True)
class Fact:
    """One line an approver can rely on: read by the gateway from the system of record."""

    label: str
    value: str
    warning: bool = False
    """Draw the eye: this is unusual (a recipient outside the CRM, a second refund today)."""


@dataclass(frozen=True, slots=True)
class Draft:
    """What will be sent, word for word. The approver signs all of it."""

    to: str
    subject: str
    body: str
    attachments: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Reservation:
    """Money this call would take from a resource. Held calls reserve what is left of it."""

    resource: str
    """Names what is drawn from, e.g. ``order:1042``."""
    amount: Decimal
    currency: str
    available: Decimal
    """What the system of record said is left, read at `read_at`."""
    read_at: datetime


@dataclass(frozen=True, slots=True)
class Resolved:
    """A call with everything looked up that its effect depends on, before the digest is taken.

    `arguments` are complete: addresses, amounts, accounts are in them. They are digested, stored and
    executed. `facts` are shown on the card and are digested too; what changes between holding and
    executing is drift and voids the call. `headline` is one sentence: "Refund 42.00 USD for order 1042
    to Ada Lindqvist".
    """

    arguments: Args
    headline: str
    facts: tuple[Fact, ...] = ()
    draft: Draft | None = None
    reservation: Reservation | None = None
    stable: Args = field(default_factory=dict)
    """The part of the world that must not have changed at execution (ids, addresses, amounts paid)."""


class OutputClass(StrEnum):
    """Who may see what a tool returned."""

    PUBLIC = "public"
    INTERNAL = "internal"
    """Members of the tenant who may call the tool."""
    PERSONAL = "personal"
    """The asker alone."""


@dataclass(frozen=True, slots=True)
class Record:
    """A record that an action read, as its system of record names it: ``order`` and ``1042``, never anybody's words."""

    kind: str
    key: str

    @property
    def title(self) -> str:
        """ "Order 1042"."""
        return f"{self.kind.capitalize()} {self.key}"


@dataclass(frozen=True, slots=True)
class ToolResult:
    """What an action did.

    `content` goes to the model. `sentence` goes on the card and into the thread. `reference` is the
    provider's id of the effect. `before`/`after`: state of a reversible write, for the audit and undo.
    `untrusted`: `content` holds words by strangers (customer notes, mails).
    """

    content: Json
    sentence: str
    reference: str | None = None
    before: Json = None
    after: Json = None
    untrusted: bool = False
    output_class: OutputClass = OutputClass.INTERNAL
    records: tuple[Record, ...] = ()
    """What `content` was read from, so that an answer can say where it comes from. Only what was really found."""


class Certainty(StrEnum):
    """What is known of the effect when an action raises."""

    NOT_DONE = "not_done"
    """The provider refused, or was never reached: nothing happened."""
    UNKNOWN = "unknown"
    """It may have happened (invariant 7)."""


class ActionError(Exception):
    """An action could not finish. `str(e)` is a sentence for people: what happened, what to do."""

    def __init__(self, sentence: str, certainty: Certainty, *, retryable: bool = False) -> None:
        super().__init__(sentence)
        self.certainty = certainty
        self.retryable = retryable


class SignInAgain(ActionError):
    """Only the requester can help: their sign-in with the company's IdP no longer lets us act for them elsewhere."""

    def __init__(self, sentence: str) -> None:
        super().__init__(sentence, Certainty.NOT_DONE)


class Bearers(Protocol):
    """The requester's own tokens for other APIs, each for this one call."""

    async def bearer(self, name: str) -> str:
        """What the API that tenants.yaml calls `name` is called with, in the requester's name.

        Raises:
            SignInAgain, ActionError: there is none; certainly nothing was done. Let it pass: its sentence is for the
                card and the thread.
        """


class NoBearers:
    """Where no such API is configured."""

    async def bearer(self, name: str) -> str:
        raise ActionError(
            f"{name} cannot be called in your name: no such API is set up for your organisation. Nothing was done. "
            "Tell an admin.",
            Certainty.NOT_DONE,
        )


NO_BEARERS = NoBearers()


class Redo(StrEnum):
    """Whether an effect may be fired again with the same key after a crash (invariant 7)."""

    KEYED = "keyed"
    """The provider enforces idempotency keys, within `Tool.key_lifetime_s`."""
    NEVER = "never"
    """SMTP, external MCP tools: park it in doubt."""
    READ_ONLY = "read_only"


@dataclass(frozen=True, slots=True)
class CallContext:
    """What an action may know of the call it serves."""

    principal: Principal
    """The requester, as the call's token says (invariant 2). Everything is read with these rights."""
    call_id: str
    idempotency_key: str
    token: str
    """The call token, for a downstream API that checks it. At most 5 minutes old."""
    now: datetime
    downstream: Bearers = NO_BEARERS
    """For an API that checks its own authorization server's tokens: the requester's, downscoped to this tool."""


class Action(Protocol):
    """What a file in `tools/actions` implements. Every method raises `ActionError` and nothing else."""

    async def resolve(self, ctx: CallContext, args: Args) -> Resolved:
        """Look up what the effect depends on. Reads only. Called when held and again before the effect."""

    async def run(self, ctx: CallContext, args: Args) -> ToolResult:
        """Do it, with `ctx.idempotency_key` where the provider takes one. Called by the gateway alone."""

    async def look_up(self, ctx: CallContext, args: Args) -> ToolResult | None:
        """After a crash: proof that the effect happened, or None, which proves nothing."""


@dataclass(frozen=True, slots=True)
class Tool:
    """One tool of the catalog: an MCP tool with a schema, and the action behind it."""

    name: ToolName
    version: int
    """Of the schema. Part of the digest: an approval given for another version is void."""
    title: str
    """What a card calls it: "Refund", "E-mail"."""
    description: str
    """For the model: when to use it, what it returns."""
    input_schema: Mapping[str, Json]
    """JSON Schema 2020-12 with ``additionalProperties: false``; the gateway validates with it."""
    action: Action
    redo: Redo
    key_lifetime_s: int = 0
    example: str = ""
    raw_text: frozenset[str] = frozenset()
    """Arguments that are a draft's words: the audit keeps their length and hash, the approval row the words."""

    @property
    def wire_name(self) -> str:
        """The name on the wire: model APIs allow no dot."""
        return self.name.replace(".", "_")


@dataclass(frozen=True, slots=True)
class Call:
    """Exactly what will run. Its digest is what an approver signs (invariant 3)."""

    tool: ToolName
    version: int
    arguments: Args
    stable: Args
    tenant: TenantId
    requester: Subject
    nonce: str
    shown: str = ""
    """sha256 of what the card shows beside the arguments (headline, facts, draft), so that it cannot be swapped."""

    def canonical(self) -> bytes:
        """The signed bytes: JSON with sorted keys, no white space, UTF-8."""
        body = {
            "arguments": self.arguments,
            "nonce": self.nonce,
            "shown": self.shown,
            "requester": {"issuer": self.requester.issuer, "sub": self.requester.sub},
            "stable": self.stable,
            "tenant": self.tenant,
            "tool": self.tool,
            "version": self.version,
        }
        return json.dumps(body, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()

    def digest(self) -> str:
        """sha256 of `canonical`, hex."""
        return hashlib.sha256(self.canonical()).hexdigest()
