"""Somebody left: in one transaction links and sessions end and what waited for them is taken back (invariant 9).

Knows which rows say that a person is themselves; knows neither SCIM nor OIDC nor a chat. What becomes of requests and
votes is the door's business (`tools.leaving`). Every method joins the caller's transaction, in which the change itself
is already written, and returns the audit rows for the caller to append last.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from datetime import datetime
from typing import Protocol

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from audit.event import Event, Kind
from bot.identity import confirmations, links, sessions, tickets
from bot.identity.confirmations import CONFIRMATION
from bot.identity.flows import FLOW
from bot.identity.sessions import SESSION, SessionEnd
from bot.identity.tables import SealedGrant, table
from bot.identity.tickets import TicketEnd
from bot.messages import ChatUser
from bot.ports import Directory, Person, PolicyOf
from policy.model import Subject, TenantId
from tools import turnstile
from tools.leaving import CHAT_ENDED, FEW, SIGNED_OUT

GRANT = table(SealedGrant)
BY = "countersign"


class Reconsiders(Protocol):
    """What the leavers need of the door."""

    def reconsider(
        self, conn: Connection, tenant: TenantId, subjects: Collection[Subject], cause: str, *, force: bool = False
    ) -> list[Event]: ...


class Leavers:
    """Made once in the composition root."""

    def __init__(
        self, gateway: Reconsiders, directory: Directory, policy: PolicyOf, clock: Callable[[], datetime]
    ) -> None:
        self._gateway = gateway
        self._directory = directory
        self._policy = policy
        self._clock = clock

    def changed(self, conn: Connection, tenant: TenantId, subjects: Iterable[Subject], cause: str) -> list[Event]:
        """The IdP said something about `subjects` that may concern what they may do.

        Deleted, inactive, or in no group any more that has a role: everything of theirs ends. Fewer groups: what needs
        a role they lost. Nothing lost: nothing is written. `cause`: the audit's word.
        """
        concerned = set(subjects)
        if not concerned:
            return []
        turnstile.alone(conn, tenant)
        now, gone = self._clock(), self._gone(conn, tenant, concerned)
        events: list[Event] = []
        for subject in sorted(gone, key=str):
            events += _end_identity(conn, tenant, subject, SessionEnd.LEFT, cause, now)
        return [*events, *self._gateway.reconsider(conn, tenant, concerned, cause)]

    def logged_out(
        self,
        conn: Connection,
        tenant: TenantId,
        issuer: str,
        *,
        subject: Subject | None = None,
        sid: str | None = None,
        everything: bool = True,
    ) -> list[Event]:
        """The IdP ended a sign-in (back-channel logout), of `subject` or of its session `sid`.

        Args:
            everything: as if they had left: links end too, requests are voided, votes taken back. Else only what a
                sign-in gave ends: page sessions and what was kept to act for the person elsewhere.
        """
        turnstile.alone(conn, tenant)
        now, events = self._clock(), list[Event]()
        people = _of_sid(conn, tenant, issuer, sid) if sid is not None else set[Subject]()
        if subject is not None:
            people.add(subject)
        if sid is not None:
            events += sessions.end_of_sid(conn, tenant, issuer, sid, SessionEnd.IDP, now)
        for who in sorted(people, key=str):
            if everything:
                events += _end_identity(conn, tenant, who, SessionEnd.IDP, SIGNED_OUT, now)
                # The directory knows them still: what needs no link would be theirs again at once.
                person = self._directory.by_subject(conn, tenant, who)
                for account in () if person is None else person.accounts:
                    events += self._bar(conn, tenant, account, SIGNED_OUT, now)
                continue
            if sid is None:  # else the one at that browser alone, which has ended above
                events += sessions.end_of_subject(conn, tenant, who, SessionEnd.IDP, now)
            events += _end_grant(conn, tenant, who, SIGNED_OUT, now)
        return [*events, *self._gateway.reconsider(conn, tenant, people, SIGNED_OUT, force=everything)]

    def account_gone(self, conn: Connection, tenant: TenantId, account: ChatUser) -> list[Event]:
        """A chat says that `account` was deleted or deactivated.

        It is linked to nobody any more, and its holder's sessions, requests and votes end: nobody can tell which of
        them were meant to outlive it. Links of their other chat accounts were proved by themselves and stay; what the
        person still wants they ask for again there.
        """
        turnstile.alone(conn, tenant)
        now = self._clock()
        subject = self._holder(conn, tenant, account)
        events = _end_account(conn, tenant, account, CHAT_ENDED, now)
        if subject is None:
            return events
        events += self._bar(conn, tenant, account, CHAT_ENDED, now, silent=bool(events))
        events += sessions.end_of_subject(conn, tenant, subject, SessionEnd.LEFT, now)
        events += _end_grant(conn, tenant, subject, CHAT_ENDED, now)
        return [*events, *self._gateway.reconsider(conn, tenant, (subject,), CHAT_ENDED, force=True)]

    def _bar(
        self, conn: Connection, tenant: TenantId, account: ChatUser, cause: str, now: datetime, *, silent: bool = False
    ) -> list[Event]:
        """An account that needs no link has to be linked from now on. `silent`: that its link ended says it already."""
        subject = self._directory.implied(account)
        events = [] if subject is None else links.bar(conn, tenant, account, subject, cause, now, BY)
        return [] if silent else events

    def _gone(self, conn: Connection, tenant: TenantId, subjects: set[Subject]) -> set[Subject]:
        """Those who may do nothing here any more, by the directory as it is in this transaction."""
        if len(subjects) > FEW:  # a whole group: everybody in two queries, and only who has something that can end
            serves = {one.subject for one in self._directory.people(conn, tenant) if self._serves(one)}
            return (subjects - serves) & _known(conn, tenant)
        found = {subject: self._directory.by_subject(conn, tenant, subject) for subject in subjects}
        return {subject for subject, person in found.items() if person is None or not self._serves(person)}

    def _serves(self, person: Person) -> bool:
        return person.active and bool(self._policy(person.tenant).roles.roles_of(person.groups))

    def _holder(self, conn: Connection, tenant: TenantId, account: ChatUser) -> Subject | None:
        link = links.of_account(conn, tenant, account)
        if link is not None:
            return link.subject
        person = self._directory.by_account(conn, account)  # no link: a directory file's, or the IdP's own account
        return person.subject if person is not None and person.tenant == tenant else None


def _end_identity(
    conn: Connection, tenant: TenantId, subject: Subject, how: SessionEnd, cause: str, now: datetime
) -> list[Event]:
    """Links, invitations, sign-ins under way, sessions and grants of one person."""
    events: list[Event] = []
    for link in links.of_subject(conn, tenant, subject):
        events += _end_account(conn, tenant, link.who, cause, now)
    for rows in (CONFIRMATION, FLOW):
        mine = (rows.c.tenant == tenant, rows.c.issuer == subject.issuer, rows.c.sub == subject.sub)
        conn.execute(sa.update(rows).where(*mine, rows.c.ended_at.is_(None)).values(ended_at=now))
    events += sessions.end_of_subject(conn, tenant, subject, how, now)
    return [*events, *_end_grant(conn, tenant, subject, cause, now)]


def _end_account(conn: Connection, tenant: TenantId, account: ChatUser, cause: str, now: datetime) -> list[Event]:
    """The link of one chat account, and what might become one."""
    tickets.end_all(conn, tenant, account, TicketEnd.LEFT, now)
    confirmations.end_all(conn, tenant, account, now)
    return links.unbind(conn, tenant, account, cause, now, BY)


def _end_grant(conn: Connection, tenant: TenantId, subject: Subject, cause: str, now: datetime) -> list[Event]:
    """Forget the refresh token that was kept sealed: what is not there cannot be used by anybody."""
    mine = (GRANT.c.tenant == tenant, GRANT.c.issuer == subject.issuer, GRANT.c.sub == subject.sub)
    ended = conn.execute(
        sa.update(GRANT)
        .where(*mine, GRANT.c.ended_at.is_(None))
        .values(ended_at=now, ended=cause, sealed="", wrapped_key="")
    )
    if not ended.rowcount:
        return []
    detail = {"issuer": subject.issuer, "subject": subject.sub, "by": BY}
    return [Event(Kind.GRANT_ENDED, tenant, now, cause, actor_user_id=subject.sub, detail=detail)]


def _known(conn: Connection, tenant: TenantId) -> set[Subject]:
    """Everybody with a link, an open session, a grant, or a sign-in or question under way."""
    lasting = sa.select(links.LINK.c.issuer, links.LINK.c.sub).where(links.LINK.c.tenant == tenant)
    open_ones = [
        sa.select(rows.c.issuer, rows.c.sub).where(rows.c.tenant == tenant, rows.c.ended_at.is_(None))
        for rows in (SESSION, GRANT, CONFIRMATION, FLOW)
    ]
    return {Subject(issuer, sub) for issuer, sub in conn.execute(sa.union(lasting, *open_ones)) if sub is not None}


def _of_sid(conn: Connection, tenant: TenantId, issuer: str, sid: str) -> set[Subject]:
    """Whose session at the IdP it was; ours of it may be over already."""
    mine = (SESSION.c.tenant == tenant, SESSION.c.issuer == issuer, SESSION.c.sid == sid)
    return {Subject(issuer, sub) for sub in conn.execute(sa.select(SESSION.c.sub).where(*mine).distinct()).scalars()}
