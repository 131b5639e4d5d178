"""Who is who, from what the tenants' IdPs provisioned over SCIM. Knows people, groups and links; no role, no policy.

Every question is asked of the caller's transaction, nothing is remembered: what an IdP has just said holds for the
next call (invariant 9). The columns answer; no SCIM document is read here. Memberships are direct ones: a group in
a group passes nothing on, so a role is never inherited by accident.

An account is somebody's by its link. Where chat and IdP are one Entra tenant it needs none: the chat's id of it is the
person's externalId, unless the account is linked to somebody else or was taken away (`IdentityBar`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Protocol, TypeAlias

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Row

from bot.identity import links
from bot.identity.issuer_blocks import GUID
from bot.identity.link_words import TEAMS
from bot.identity.tables import IdentityBar, IdentityLink, ScimContact, ScimMember, ScimResource, SignInSeen, table
from bot.messages import ChatUser, SurfaceName
from bot.ports import Person
from policy.model import Subject, TenantId

WEB = SurfaceName("web")
"""A signed-in browser: its account is the subject itself, which `bot.web` has proved."""
ID_PREFIX = "id:"
"""Names a group by its id. A display name that begins so is never passed on: it could pose as another group's id."""
NEVER = datetime(1970, 1, 1, tzinfo=UTC)
"""When nobody ever vouched for a person: older than any limit (invariant 13)."""

USER, GROUP = "User", "Group"
RESOURCE = table(ScimResource)
MEMBER = table(ScimMember)
CONTACT = table(ScimContact)
SEEN = table(SignInSeen)
LINK = table(IdentityLink)
BAR = table(IdentityBar)

Naming: TypeAlias = tuple[str | None, str | None, str]
"""A group's display name, external id and resource id."""


class KnownIssuer(Protocol):
    @property
    def issuer(self) -> str: ...


class KnownTenant(Protocol):
    @property
    def issuer(self) -> KnownIssuer: ...


class KnownTenants(Protocol):
    """What the directory needs of `bot.identity.tenants.Tenants`."""

    @property
    def tenants(self) -> Mapping[TenantId, KnownTenant]: ...

    def tenant_of(self, surface: SurfaceName, team: str) -> TenantId | None: ...

    def teams_of(self, tenant: TenantId) -> tuple[tuple[SurfaceName, str], ...]: ...

    def own_teams(self, tenant: TenantId) -> tuple[str, ...]: ...


@dataclass(slots=True)
class _Belongings:
    """What hangs on a person, gathered row by row."""

    groups: set[str] = field(default_factory=set)
    accounts: list[ChatUser] = field(default_factory=list)
    taken: set[str] = field(default_factory=set)
    """Teams in which the account that would be theirs without a link is not."""


def group_names(display_name: str | None, external_id: str | None, resource_id: str) -> tuple[str, ...]:
    """Every name under which roles.yaml may mean the group."""
    ids = tuple(f"{ID_PREFIX}{one}" for one in (external_id, resource_id) if one)
    shown = display_name and not display_name.startswith(ID_PREFIX)
    return (display_name, *ids) if display_name and shown else ids


class ScimDirectory:
    """`bot.ports.Directory` over the SCIM tables. Safe to ask from any thread."""

    def __init__(self, tenants: KnownTenants) -> None:
        self._tenants = tenants

    def by_account(self, conn: Connection, who: ChatUser) -> Person | None:
        if who.surface == WEB:
            return self._by_session(conn, who)
        tenant = self._tenants.tenant_of(who.surface, who.team)
        if tenant is None:
            return None
        link = conn.execute(
            sa.select(LINK.c.issuer, LINK.c.sub).where(
                # A team that has moved to another tenant takes nobody with it (invariant 14).
                LINK.c.tenant == tenant,
                LINK.c.surface == who.surface,
                LINK.c.enterprise == who.enterprise,
                LINK.c.team == who.team,
                LINK.c.account == who.user,
            )
        ).first()
        if link is not None:
            return self.by_subject(conn, tenant, Subject(link.issuer, link.sub))
        subject = self.implied(who)
        if subject is None or links.barred(conn, tenant, who):
            return None
        return self.by_subject(conn, tenant, subject)

    def implied(self, who: ChatUser) -> Subject | None:
        tenant = self._tenants.tenant_of(who.surface, who.team)
        issuer = None if tenant is None else self._issuer(tenant)
        if tenant is None or issuer is None or who.surface != TEAMS or who.enterprise:
            return None
        own = who.team in self._tenants.own_teams(tenant) and GUID.fullmatch(who.user)
        return Subject(issuer, who.user) if own else None

    def by_subject(self, conn: Connection, tenant: TenantId, subject: Subject) -> Person | None:
        if not subject.sub or subject.issuer != self._issuer(tenant):
            return None
        found = self._read(conn, tenant, subject.issuer, RESOURCE.c.external_id == subject.sub)
        return found[0] if found else None

    def people(self, conn: Connection, tenant: TenantId) -> tuple[Person, ...]:
        """Everybody with a subject, active or not. Somebody without an externalId cannot be acted for."""
        issuer = self._issuer(tenant)
        return () if issuer is None else self._read(conn, tenant, issuer)

    def members(self, conn: Connection, tenant: TenantId, groups: frozenset[str]) -> tuple[Person, ...]:
        issuer = self._issuer(tenant)
        if issuer is None or not groups:
            return ()
        meant = [naming[2] for naming in _groups(conn, tenant) if groups.intersection(group_names(*naming))]
        if not meant:
            return ()
        inside = sa.select(MEMBER.c.member_id).where(MEMBER.c.tenant == tenant, MEMBER.c.group_id.in_(meant))
        active = RESOURCE.c.active.is_(True)
        return self._read(conn, tenant, issuer, active, RESOURCE.c.resource_id.in_(inside))

    def groups_unmapped(self, conn: Connection, tenant: TenantId, known: frozenset[str]) -> tuple[str, ...]:
        """Groups that no role names, by the first name each can be mapped under."""
        names = [group_names(*naming) for naming in _groups(conn, tenant)]
        return tuple(sorted({each[0] for each in names if not known.intersection(each)}))

    def unsubjected(self, conn: Connection, tenant: TenantId) -> tuple[str, ...]:
        """SCIM ids of active users whom the IdP gave no externalId: nobody can be acted for. `check` lists them."""
        rows = conn.execute(
            sa.select(RESOURCE.c.resource_id)
            .where(
                RESOURCE.c.tenant == tenant,
                RESOURCE.c.resource_type == USER,
                RESOURCE.c.active.is_(True),
                RESOURCE.c.external_id.is_(None),
            )
            .order_by(RESOURCE.c.resource_id)
        )
        return tuple(rows.scalars())

    def tenant_of(self, surface: SurfaceName, team: str) -> TenantId | None:
        return self._tenants.tenant_of(surface, team)

    def teams_of(self, tenant: TenantId) -> tuple[tuple[SurfaceName, str], ...]:
        return self._tenants.teams_of(tenant)

    def tenants(self) -> tuple[TenantId, ...]:
        return tuple(sorted(self._tenants.tenants))

    def _read(
        self, conn: Connection, tenant: TenantId, issuer: str, *which: sa.ColumnElement[bool]
    ) -> tuple[Person, ...]:
        """With the accounts that are in teams of their tenant: nobody is written to where a team has moved away."""
        people = _people(conn, tenant, issuer, self._tenants.own_teams(tenant), *which)
        return tuple(
            replace(
                one,
                accounts=tuple(
                    account
                    for account in one.accounts
                    if self._tenants.tenant_of(account.surface, account.team) == one.tenant
                ),
            )
            for one in people
        )

    def _issuer(self, tenant: TenantId) -> str | None:
        known = self._tenants.tenants.get(tenant)
        return None if known is None else known.issuer.issuer

    def _by_session(self, conn: Connection, who: ChatUser) -> Person | None:
        tenant = TenantId(who.team)
        issuer = self._issuer(tenant)
        # The issuer is this tenant's own, so a bar inside either part cannot shift the border between them.
        if issuer is None or not who.user.startswith(f"{issuer}|"):
            return None
        return self.by_subject(conn, tenant, Subject(issuer, who.user.removeprefix(f"{issuer}|")))


def _people(
    conn: Connection, tenant: TenantId, issuer: str, own: tuple[str, ...], *which: sa.ColumnElement[bool]
) -> tuple[Person, ...]:
    """Two queries, however many people: their rows, and what hangs on them. `own`: teams that need no link."""
    users = (
        RESOURCE.c.tenant == tenant,
        RESOURCE.c.resource_type == USER,
        RESOURCE.c.external_id.is_not(None),
        *which,
    )
    seen = sa.and_(SEEN.c.tenant == tenant, SEEN.c.issuer == issuer, SEEN.c.sub == RESOURCE.c.external_id)
    rows = conn.execute(
        sa.select(
            RESOURCE.c.resource_id,
            RESOURCE.c.external_id,
            RESOURCE.c.display_name,
            RESOURCE.c.unique_name,
            RESOURCE.c.email,
            RESOURCE.c.active,
            RESOURCE.c.employee_number,
            SEEN.c.at.label("seen_at"),
            CONTACT.c.at.label("contact_at"),
        )
        .select_from(
            RESOURCE.outerjoin(SEEN, seen).outerjoin(CONTACT, CONTACT.c.tenant == RESOURCE.c.tenant),
        )
        .where(*users)
        .order_by(RESOURCE.c.external_id)
    ).all()
    if not rows:
        return ()
    ids = [rows[0].resource_id] if len(rows) == 1 else None
    theirs = RESOURCE.c.resource_id == ids[0] if ids else sa.and_(*users)
    belongings = _belongings(conn, tenant, issuer, own, sa.and_(RESOURCE.c.tenant == tenant, theirs))
    return tuple(_person(tenant, issuer, row, belongings.get(row.resource_id) or _Belongings(), own) for row in rows)


def _belongings(
    conn: Connection, tenant: TenantId, issuer: str, own: tuple[str, ...], users: sa.ColumnElement[bool]
) -> dict[str, _Belongings]:
    group = RESOURCE.alias("grp")
    groups = (
        sa.select(
            RESOURCE.c.resource_id.label("owner"),
            sa.literal("group").label("what"),
            group.c.display_name.label("a"),
            group.c.external_id.label("b"),
            group.c.resource_id.label("c"),
            sa.literal("").label("d"),
        )
        .select_from(
            RESOURCE.join(
                MEMBER, sa.and_(MEMBER.c.tenant == RESOURCE.c.tenant, MEMBER.c.member_id == RESOURCE.c.resource_id)
            ).join(group, sa.and_(group.c.tenant == MEMBER.c.tenant, group.c.resource_id == MEMBER.c.group_id))
        )
        .where(users, group.c.resource_type == GROUP)
    )
    accounts = (
        sa.select(
            RESOURCE.c.resource_id,
            sa.literal("account"),
            LINK.c.surface,
            LINK.c.enterprise,
            LINK.c.team,
            LINK.c.account,
        )
        .select_from(
            RESOURCE.join(
                LINK,
                sa.and_(
                    LINK.c.tenant == RESOURCE.c.tenant,
                    LINK.c.issuer == issuer,
                    LINK.c.sub == RESOURCE.c.external_id,
                ),
            )
        )
        .where(users)
    )
    taken = (_taken(one, own, users) for one in (LINK, BAR)) if own else ()
    found: dict[str, _Belongings] = {}
    for owner, what, a, b, c, d in conn.execute(sa.union_all(groups, accounts, *taken)):
        mine = found.setdefault(owner, _Belongings())
        match what:
            case "group":
                mine.groups.update(group_names(a, b, c))
            case "account":
                mine.accounts.append(ChatUser(SurfaceName(a), c, d, b))
            case _:
                mine.taken.add(c)
    return found


def _taken(rows: sa.Table, own: tuple[str, ...], users: sa.ColumnElement[bool]) -> sa.Select[Any]:
    """Accounts with the people's own ids that `rows` say something of."""
    same = [
        rows.c.tenant == RESOURCE.c.tenant,
        rows.c.surface == TEAMS,
        rows.c.team.in_(own),
        rows.c.account == RESOURCE.c.external_id,
    ]
    if rows is LINK:
        same.append(LINK.c.enterprise == "")  # the key's second column: without it every link would be looked at
    none = sa.literal("")
    return (
        sa.select(RESOURCE.c.resource_id, sa.literal("taken"), none, none, rows.c.team, none)
        .select_from(RESOURCE.join(rows, sa.and_(*same)))
        .where(users)
    )


def _person(
    tenant: TenantId,
    issuer: str,
    row: Row[Any, Any, Any, Any, Any, Any, Any, Any, Any],
    has: _Belongings,
    own: tuple[str, ...],
) -> Person:
    implied = [ChatUser(TEAMS, team, row.external_id) for team in own if team not in has.taken]
    return Person(
        tenant=tenant,
        subject=Subject(issuer, row.external_id),
        display_name=row.display_name or row.unique_name or row.external_id,
        email=row.email,
        active=row.active,
        groups=tuple(sorted(has.groups)),
        employee_number=row.employee_number,
        accounts=tuple(sorted([*has.accounts, *(implied if GUID.fullmatch(row.external_id) else ())], key=str)),
        confirmed_at=max((at for at in (row.seen_at, row.contact_at) if at is not None), default=NEVER),
    )


def _groups(conn: Connection, tenant: TenantId) -> list[Naming]:
    rows = conn.execute(
        sa.select(RESOURCE.c.display_name, RESOURCE.c.external_id, RESOURCE.c.resource_id).where(
            RESOURCE.c.tenant == tenant, RESOURCE.c.resource_type == GROUP
        )
    )
    return [(display_name, external_id, resource_id) for display_name, external_id, resource_id in rows]
