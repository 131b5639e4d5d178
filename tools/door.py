"""What the gateway is made of: its ports, keys and clock in one frozen value. Decides nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from audit.store import AuditStore
from audit.writer import Writer
from policy.model import TenantId, ToolName
from policy.rules import Policy
from tools.integrity import MacKey
from tools.ports import Observer, Outbox, People, Resume, TokenVerifier, UserTokens
from tools.spec import Tool


@dataclass(frozen=True, slots=True)
class Timings:
    """How long things may take, in seconds."""

    action: float = 30.0
    """One run of an action. After this, plus `grace`, a claim whose process is silent may be taken over."""
    grace: float = 5.0
    resolve: float = 15.0
    contention: float = 1.0
    """Before looking again at a resource that another call has just drawn from."""
    retry_pauses: tuple[float, ...] = (0.5, 2.0)
    """Between tries of what certainly did not happen."""


@dataclass(frozen=True, slots=True)
class Door:
    """Everything the gateway holds on to; made once in the composition root."""

    writer: Writer
    audit: AuditStore
    policy: Callable[[TenantId], Policy]
    """A tenant's policy as it is now; a reload between two calls applies to the second."""
    catalog: Mapping[ToolName, Tool]
    outbox: Outbox
    resume: Resume
    tokens: TokenVerifier
    people: People
    observer: Observer
    mac: MacKey = field(repr=False)
    clock: Callable[[], datetime]
    executor: str
    """Names this process in the effect ledger."""
    timings: Timings = Timings()
    user_tokens: UserTokens | None = None
    """People's own tokens for other APIs. None: no such API is configured."""
