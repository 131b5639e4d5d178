"""The chat account's own word on a link, where no sign-in proves it. Knows the question, the code and the tries.

The yes alone would not do: who sends their own link to a colleague would say yes to becoming that colleague. So the
yes is answered with a code that only the browser which signed in can use: the account's holder and the browser's
have to be one person, or to deceive each other on purpose.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from bot.identity import opaque
from bot.identity.flows import Flow
from bot.identity.tables import Confirmation, table
from bot.messages import ChatUser, SurfaceName
from policy.model import Subject, TenantId

LIFETIME = timedelta(minutes=10)
TRIES = 5
LETTERS = "BCDFGHJKLMNPQRSTVWXZ23456789"
"""No vowels and nothing that looks like something else."""
CODE_LENGTH = 8
CONFIRMATION = table(Confirmation)


@dataclass(frozen=True, slots=True)
class Question:
    sha256: str
    tenant: TenantId
    who: ChatUser
    subject: Subject
    flow: str
    answered: bool


def ask(conn: Connection, flow: Flow, who: ChatUser, subject: Subject, now: datetime) -> str:
    """The id of a new question, which its buttons carry; older ones of the account end."""
    secret = opaque.fresh()
    end_all(conn, flow.tenant, who, now)
    row = Confirmation(
        sha256=opaque.digest(secret),
        tenant=flow.tenant,
        surface=who.surface,
        enterprise=who.enterprise,
        team=who.team,
        account=who.user,
        issuer=subject.issuer,
        sub=subject.sub,
        flow=flow.sha256,
        created_at=now,
        expires_at=now + LIFETIME,
    )
    conn.execute(sa.insert(CONFIRMATION).values(**row.model_dump()))
    return secret


def of_chat(conn: Connection, tenant: TenantId, who: ChatUser, secret: str, now: datetime) -> Question | None:
    """The open question that was put to this very account."""
    return _read(conn, now, *_account(tenant, who), CONFIRMATION.c.sha256 == opaque.digest(secret))


def of_flow(conn: Connection, flow: Flow, now: datetime) -> Question | None:
    """The open question that this browser waits for."""
    return _read(conn, now, CONFIRMATION.c.tenant == flow.tenant, CONFIRMATION.c.flow == flow.sha256)


def yes(conn: Connection, question: Question, now: datetime) -> str | None:
    """The code, told once: a second yes makes none. None: it was answered or ended meanwhile."""
    code = "".join(secrets.choice(LETTERS) for _ in range(CODE_LENGTH))
    unanswered = (*_open(question, now), CONFIRMATION.c.code_sha256.is_(None))
    told = conn.execute(
        sa.update(CONFIRMATION).where(*unanswered).values(code_sha256=opaque.digest(f"{question.flow} {code}"))
    )
    return code if told.rowcount == 1 else None


def redeem(conn: Connection, question: Question, typed: str, now: datetime) -> bool:
    """Whether `typed` is the code; the question ends with it. A wrong one is counted, and so many end it too."""
    code = "".join(letter for letter in typed.upper() if letter.isalnum())
    wanted = opaque.digest(f"{question.flow} {code}")
    right = sa.update(CONFIRMATION).where(*_open(question, now), CONFIRMATION.c.code_sha256 == wanted)
    if conn.execute(right.values(ended_at=now)).rowcount == 1:
        return True
    tries = CONFIRMATION.c.tries + 1
    over = sa.case((tries >= TRIES, sa.literal(now, CONFIRMATION.c.ended_at.type)), else_=CONFIRMATION.c.ended_at)
    conn.execute(sa.update(CONFIRMATION).where(*_open(question, now)).values(tries=tries, ended_at=over))
    return False


def end(conn: Connection, question: Question, now: datetime) -> bool:
    """Whether this transaction ended it."""
    return conn.execute(sa.update(CONFIRMATION).where(*_open(question, now)).values(ended_at=now)).rowcount == 1


def end_all(conn: Connection, tenant: TenantId, who: ChatUser, now: datetime) -> None:
    """Ends every open question to the account."""
    mine = (*_account(tenant, who), CONFIRMATION.c.ended_at.is_(None))
    conn.execute(sa.update(CONFIRMATION).where(*mine).values(ended_at=now))


def _read(conn: Connection, now: datetime, *wanted: sa.ColumnElement[bool]) -> Question | None:
    alive = (CONFIRMATION.c.ended_at.is_(None), CONFIRMATION.c.expires_at > now)
    row = conn.execute(sa.select(CONFIRMATION).where(*wanted, *alive)).first()
    if row is None:
        return None
    who = ChatUser(SurfaceName(row.surface), row.team, row.account, row.enterprise)
    subject = Subject(row.issuer, row.sub)
    return Question(row.sha256, TenantId(row.tenant), who, subject, row.flow, row.code_sha256 is not None)


def _account(tenant: TenantId, who: ChatUser) -> tuple[sa.ColumnElement[bool], ...]:
    return (
        CONFIRMATION.c.tenant == tenant,
        CONFIRMATION.c.surface == who.surface,
        CONFIRMATION.c.enterprise == who.enterprise,
        CONFIRMATION.c.team == who.team,
        CONFIRMATION.c.account == who.user,
    )


def _open(question: Question, now: datetime) -> tuple[sa.ColumnElement[bool], ...]:
    return (
        CONFIRMATION.c.sha256 == question.sha256,
        CONFIRMATION.c.tenant == question.tenant,
        CONFIRMATION.c.ended_at.is_(None),
        CONFIRMATION.c.expires_at > now,
    )
