"""Who is directly in which group, as rows: added and removed one by one, so that a large group is never loaded.

Knows rows; the group's version, and what a change means, are its callers'.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from typing import TypeAlias

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from bot.identity.scim_changes import MemberChange, MemberEdit
from bot.identity.scim_document import storable
from bot.identity.scim_provider import GROUP, USER
from bot.identity.tables import ScimMember, ScimResource, table

RESOURCE, MEMBER = table(ScimResource), table(ScimMember)
CHUNK = 500
_ENDPOINT = {USER: "Users", GROUP: "Groups"}

Shown: TypeAlias = dict[str, str]
"""A member as SCIM shows it."""


def apply(conn: Connection, tenant: str, group_id: str, edit: MemberEdit) -> MemberChange:
    """Makes the group's members what `edit` says. Adding who is there and removing who is not change nothing.

    Ids that are no resource of the tenant are left out, so that one stale id cannot keep the rest of a request, its
    removals above all, from taking effect.
    """
    if edit.exact is not None:
        before = _ids(conn, tenant, group_id)
        wanted, removed = edit.exact - before, before - edit.exact
    else:
        before = _ids(conn, tenant, group_id, edit.add | edit.remove)
        wanted, removed = edit.add - before, edit.remove & before
    # No group is in itself.
    known = {key: what for key, what in _known(conn, tenant, wanted).items() if key != group_id}
    for part in _chunks(removed):
        conn.execute(
            sa.delete(MEMBER).where(
                MEMBER.c.tenant == tenant, MEMBER.c.group_id == group_id, MEMBER.c.member_id.in_(part)
            )
        )
    if known:
        conn.execute(
            sa.insert(MEMBER),
            [
                {"tenant": tenant, "group_id": group_id, "member_id": key, "member_type": kind}
                for key, (kind, _) in sorted(known.items())
            ],
        )
    gone = _known(conn, tenant, removed)
    return MemberChange(
        added=tuple(sorted(external or key for key, (_, external) in known.items())),
        removed=tuple(sorted((gone[key][1] or key) if key in gone else key for key in removed)),
        subjects=_subjects(known.values()) | _subjects(gone.values()),
        unknown=len(wanted) - len(known),
    )


def subjects(conn: Connection, tenant: str, group_id: str) -> frozenset[str]:
    """The external ids of everybody directly in the group."""
    rows = conn.execute(
        sa.select(RESOURCE.c.external_id)
        .select_from(
            RESOURCE.join(
                MEMBER, sa.and_(MEMBER.c.tenant == RESOURCE.c.tenant, MEMBER.c.member_id == RESOURCE.c.resource_id)
            )
        )
        .where(
            MEMBER.c.tenant == tenant,
            MEMBER.c.group_id == group_id,
            RESOURCE.c.resource_type == USER,
            RESOURCE.c.external_id.is_not(None),
        )
    )
    return frozenset(rows.scalars())


def forget(conn: Connection, tenant: str, resource_id: str) -> tuple[str, ...]:
    """Takes a deleted resource out of every group, empties it if it is one, and returns the groups it was in."""
    mine = (MEMBER.c.tenant == tenant, MEMBER.c.member_id == resource_id)
    groups = tuple(conn.execute(sa.select(MEMBER.c.group_id).where(*mine).order_by(MEMBER.c.group_id)).scalars())
    conn.execute(sa.delete(MEMBER).where(*mine))
    conn.execute(sa.delete(MEMBER).where(MEMBER.c.tenant == tenant, MEMBER.c.group_id == resource_id))
    return groups


def shown(conn: Connection, tenant: str, group_ids: Collection[str]) -> dict[str, list[Shown]]:
    """The members of groups as SCIM shows them, each under the name the member has now."""
    found: dict[str, list[Shown]] = {}
    for part in _chunks(group_ids):
        rows = conn.execute(
            sa.select(
                MEMBER.c.group_id,
                MEMBER.c.member_id,
                RESOURCE.c.resource_type,
                RESOURCE.c.display_name,
            )
            .select_from(
                MEMBER.join(
                    RESOURCE,
                    sa.and_(RESOURCE.c.tenant == MEMBER.c.tenant, RESOURCE.c.resource_id == MEMBER.c.member_id),
                )
            )
            .where(MEMBER.c.tenant == tenant, MEMBER.c.group_id.in_(part))
            .order_by(MEMBER.c.group_id, MEMBER.c.member_id)
        )
        for group_id, member_id, kind, name in rows:
            one = {"value": member_id, "type": kind, "$ref": f"{_ENDPOINT[kind]}/{member_id}"}
            found.setdefault(group_id, []).append({**one, "display": name} if name else one)
    return found


def _ids(conn: Connection, tenant: str, group_id: str, among: frozenset[str] | None = None) -> frozenset[str]:
    query = sa.select(MEMBER.c.member_id).where(MEMBER.c.tenant == tenant, MEMBER.c.group_id == group_id)
    if among is None:
        return frozenset(conn.execute(query).scalars())
    parts = _chunks(key for key in among if storable(key))
    return frozenset(key for part in parts for key in conn.execute(query.where(MEMBER.c.member_id.in_(part))).scalars())


def _known(conn: Connection, tenant: str, ids: Iterable[str]) -> dict[str, tuple[str, str | None]]:
    """Which of `ids` are resources of the tenant: their type and external id."""
    query = sa.select(RESOURCE.c.resource_id, RESOURCE.c.resource_type, RESOURCE.c.external_id)
    found: dict[str, tuple[str, str | None]] = {}
    for part in _chunks(key for key in ids if storable(key)):
        rows = conn.execute(query.where(RESOURCE.c.tenant == tenant, RESOURCE.c.resource_id.in_(part)))
        found.update({key: (kind, external) for key, kind, external in rows})
    return found


def _subjects(known: Iterable[tuple[str, str | None]]) -> frozenset[str]:
    return frozenset(external for kind, external in known if kind == USER and external)


def _chunks(ids: Iterable[str]) -> Iterator[list[str]]:
    whole = sorted(ids)
    for start in range(0, len(whole), CHUNK):
        yield whole[start : start + CHUNK]
