"""A browser on its way through sign-ins. Knows its steps and what follows from its cookie; speaks to no IdP.

State, nonce, PKCE verifier and form token are derived from the cookie's 256 bits, of which the row holds a hash: who
reads the database can finish nobody's sign-in, and an answer of the IdP counts in the browser that asked alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from bot.identity import opaque
from bot.identity.tables import SigninFlow, table
from policy.model import Subject, TenantId

LIFETIME = timedelta(minutes=20)
FLOW = table(SigninFlow)


class Purpose(StrEnum):
    LINK = "link"
    PAGE = "page"


class Step(StrEnum):
    """What this browser has to do next."""

    SLACK = "slack"
    """Sign in with Slack: proves the chat account."""
    COMPANY = "company"
    """The company's IdP: proves the person."""
    CONFIRM = "confirm"
    """Read both names and say that they are one's own."""
    CODE = "code"
    """Type the code that the chat account was told."""


@dataclass(frozen=True, slots=True)
class Flow:
    sha256: str
    tenant: TenantId
    purpose: Purpose
    step: Step
    ticket: str | None
    subject: Subject | None
    chat_proved: bool
    back_to: str | None


@dataclass(frozen=True, slots=True)
class Answers:
    """What a leg of a flow sends to the IdP and expects back."""

    state: str
    nonce: str
    verifier: str


def answers(cookie: str, step: Step) -> Answers:
    """Each leg has its own, so that one IdP's answer is worth nothing at the other's callback."""
    return Answers(*(opaque.derived(cookie, f"{step} {what}") for what in ("state", "nonce", "verifier")))


def form_token(cookie: str) -> str:
    """What a form of this flow must carry."""
    return opaque.derived(cookie, "form")


def start(
    conn: Connection,
    tenant: TenantId,
    purpose: Purpose,
    step: Step,
    now: datetime,
    *,
    ticket: str | None = None,
    back_to: str | None = None,
) -> str:
    """The cookie of a new flow. Always a fresh one: a cookie that was planted is worth nothing."""
    cookie = opaque.fresh()
    row = SigninFlow(
        sha256=opaque.digest(cookie),
        tenant=tenant,
        purpose=purpose.value,
        ticket=ticket,
        step=step.value,
        back_to=back_to,
        created_at=now,
        expires_at=now + LIFETIME,
    )
    conn.execute(sa.insert(FLOW).values(**row.model_dump()))
    return cookie


def of_cookie(conn: Connection, cookie: str, now: datetime) -> Flow | None:
    """The flow this browser is in; None: none, or it is over."""
    alive = (FLOW.c.ended_at.is_(None), FLOW.c.expires_at > now)
    row = conn.execute(sa.select(FLOW).where(FLOW.c.sha256 == opaque.digest(cookie), *alive)).first()
    if row is None:
        return None
    subject = Subject(row.issuer, row.sub) if row.issuer is not None and row.sub is not None else None
    return Flow(
        row.sha256,
        TenantId(row.tenant),
        Purpose(row.purpose),
        Step(row.step),
        row.ticket,
        subject,
        bool(row.chat_proved),
        row.back_to,
    )


def advance(
    conn: Connection,
    flow: Flow,
    step: Step,
    now: datetime,
    *,
    subject: Subject | None = None,
    chat_proved: bool = False,
) -> bool:
    """Whether this transaction took the flow on to `step`: an answer that comes twice does so once."""
    values: dict[str, object] = {"step": step.value}
    if subject is not None:
        values |= {"issuer": subject.issuer, "sub": subject.sub}
    if chat_proved:
        values["chat_proved"] = True
    return conn.execute(sa.update(FLOW).where(*_as_read(flow, now)).values(**values)).rowcount == 1


def end(conn: Connection, flow: Flow, now: datetime) -> bool:
    """Whether this transaction ended it."""
    return conn.execute(sa.update(FLOW).where(*_as_read(flow, now)).values(ended_at=now)).rowcount == 1


def _as_read(flow: Flow, now: datetime) -> tuple[sa.ColumnElement[bool], ...]:
    return (
        FLOW.c.sha256 == flow.sha256,
        FLOW.c.tenant == flow.tenant,
        FLOW.c.step == flow.step.value,
        FLOW.c.ended_at.is_(None),
        FLOW.c.expires_at > now,
    )
