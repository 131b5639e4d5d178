"""The tenant's users and groups in the database, as scim2-server asks for them. Knows rows and versions, no HTTP.

Every statement names the tenant (invariant 14). What was changed is noted in `changes`, with the subjects whose
standing it touches. userName, externalId, displayName, id and members compared with ``eq`` are looked up by index;
every filter, also those, is then decided by scim2_models' own evaluation over the rows that are left, which for other
filters are all of the tenant's. Memberships are rows of their own, so that one member more or less never loads a
group.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import fields, replace
from datetime import UTC, datetime
from typing import Any, TypeAlias, cast

import sqlalchemy as sa
from scim2_models import (
    InvalidValueException,
    NotFoundException,
    PreconditionFailedException,
    Resource,
    ResourceType,
    ResponseParameters,
    ScimProvider,
    SearchRequest,
    UniquenessException,
)
from scim2_server.storage import ScimStorage, SearchPage
from sqlalchemy.engine import Connection
from sqlalchemy.exc import IntegrityError

from bot.identity import scim_members
from bot.identity.scim_changes import (
    KEEP,
    Change,
    Facts,
    MemberChange,
    MemberEdit,
    Op,
    group_fields,
    subject_of,
    user_fields,
    user_subjects,
)
from bot.identity.scim_document import Document, document_of, dumped, facts_of, storable
from bot.identity.scim_members import MEMBER, RESOURCE, Shown
from bot.identity.scim_provider import GROUP, USER, provider
from bot.identity.scim_search import Prefilter, mentions_members, prefilter, shows_members, whole_filter
from bot.identity.tables import ScimResource
from policy.model import TenantId

AnyResource: TypeAlias = Resource[Any]
_COLUMNS = [getattr(RESOURCE.c, name) for name in ScimResource.model_fields if name != "tenant"]


def utcnow() -> datetime:
    return datetime.now(UTC)


class SqlStorage(ScimStorage):
    """One tenant's resources in one transaction. Made anew for every request.

    `writing`: rows that are read are locked (PostgreSQL), so that what is decided from them still holds when it is
    written. A version given by the client is compared in any case.
    """

    def __init__(
        self,
        conn: Connection,
        tenant: TenantId,
        clock: Callable[[], datetime] = utcnow,
        *,
        described: ScimProvider | None = None,
        writing: bool = True,
    ) -> None:
        self.changes: list[Change] = []
        self.sparse = False
        """Whether `get` leaves members out: its caller shows them straight from their rows."""
        self.incoming: frozenset[str] | None = None
        """The members a created or replaced group is to have, where they were taken out of its body beforehand."""
        self._conn = conn
        self._tenant = tenant
        self._clock = clock
        self._described = described or provider()
        self._writing = writing

    @contextmanager
    def operation(self) -> Iterator[None]:
        """A savepoint: what fails leaves neither rows nor notes behind, and the next operation can run."""
        if not self._writing:
            yield
            return
        mark = len(self.changes)
        try:
            with self._conn.begin_nested():
                yield
        except BaseException:
            del self.changes[mark:]
            raise

    # -- reading ---------------------------------------------------------------------------------------------------

    def get(
        self,
        resource_type: ResourceType,
        resource_id: str,
        *,
        response_parameters: ResponseParameters[Any] | None = None,
    ) -> AnyResource:
        row = self._row(resource_type, resource_id)
        whole = not self.sparse and (response_parameters is None or shows_members(response_parameters))
        return self._resources([row], members=whole)[0]

    def without_members(self, resource_type: ResourceType, resource_id: str) -> AnyResource:
        """The resource as far as its own row knows it."""
        return self._resources([self._row(resource_type, resource_id)], members=False)[0]

    def search(
        self,
        resource_types: list[ResourceType],
        search_request: SearchRequest[Any],
        *,
        position: Any = None,
    ) -> SearchPage:
        shown = shows_members(search_request)
        start, count = search_request.start_index_0 or 0, search_request.count
        which = [RESOURCE.c.tenant == self._tenant, RESOURCE.c.resource_type.in_([one.name for one in resource_types])]
        if search_request.filter is None and search_request.sort_by is None:
            total = self._conn.execute(sa.select(sa.func.count()).select_from(RESOURCE).where(*which)).scalar_one()
            rows = self._rows(which, start, count) if count != 0 and start < total else []
            return SearchPage(total, self._resources(rows, members=shown))
        hint = prefilter(search_request.filter)
        if hint is not None:
            which.append(self._condition(hint))
        needed = mentions_members(search_request)
        found = self._resources(self._rows(which), members=needed)
        wanted = whole_filter(search_request.filter, found)
        if wanted is not None:
            found = [one for one in found if wanted.match(one)]
        found = search_request.sort(found)
        page = found[start : None if count is None else start + count]
        if shown and not needed and any(one.name == GROUP for one in resource_types):
            rows_by_id = {row["resource_id"]: row for row in self._rows_of([cast(str, one.id) for one in page])}
            page = self._resources([rows_by_id[cast(str, one.id)] for one in page], members=True)
        return SearchPage(len(found), page)

    # -- writing ---------------------------------------------------------------------------------------------------

    def create(self, resource_type: ResourceType, resource: AnyResource) -> AnyResource:
        kind = cast(str, resource_type.name)
        document = document_of(resource)
        if kind == USER and not isinstance(document.get("active"), bool):
            document["active"] = True
        facts = facts_of(kind, document)
        resource_id, now = str(uuid.uuid4()), self._clock()
        self._check_unique(kind, facts, resource_id)
        row = {
            "resource_id": resource_id,
            "resource_type": kind,
            **_cells(facts),
            "document": dumped(document),
            "version": 1,
            "created_at": now,
            "modified_at": now,
        }
        self._execute(sa.insert(RESOURCE).values(tenant=self._tenant, **row))
        ids = _member_ids(resource) if self.incoming is None else self.incoming
        members = self._edit_members(kind, resource_id, MemberEdit(ids))
        self._note(Op.CREATED, row, facts, (), members)
        return self.get(resource_type, resource_id)

    def update(
        self, resource_type: ResourceType, resource: AnyResource, *, expected_version: str | None = None
    ) -> AnyResource:
        edit = MemberEdit(_member_ids(resource))
        self.change(resource_type, resource, edit, expected_version=expected_version)
        return self.get(resource_type, cast(str, resource.id))

    def change(
        self,
        resource_type: ResourceType,
        resource: AnyResource,
        edit: MemberEdit,
        *,
        expected_version: str | None = None,
        rewrite: bool = True,
    ) -> None:
        """`update` for a resource whose members need not be loaded; `rewrite` False: only they change.

        Nothing is written, and the version stays, where nothing but the members was to change and they are so already.
        """
        kind = cast(str, resource_type.name)
        row = self._row(resource_type, resource.id)
        if expected_version not in (None, _etag(row["version"])):
            raise PreconditionFailedException
        before = _facts(row)
        document = document_of(resource) if rewrite else json.loads(row["document"])
        facts = facts_of(kind, document)
        if not isinstance(document.get("active"), bool):
            # Unsaid is unchanged: whoever left stays gone until the IdP says true.
            facts = replace(facts, active=row["active"])
        self._check_unique(kind, facts, row["resource_id"])
        members = self._edit_members(kind, row["resource_id"], edit)
        if not rewrite and not members:
            if members.unknown:
                self._note(Op.CHANGED, row, facts, (), members)
            return
        self._bump(row, {**_cells(facts), "document": dumped(document)})
        differ = user_fields(before, facts) if kind == USER else group_fields(before, facts)
        subjects = user_subjects(before, facts) if kind == USER else frozenset()
        if kind == GROUP and differ:
            # Roles hang on a group's names: everybody who stays in it. Who came or went is in `members`.
            subjects = scim_members.subjects(self._conn, self._tenant, row["resource_id"])
        self._note(Op.CHANGED, row, facts, differ, members, subjects)

    def delete(self, resource_type: ResourceType, resource_id: str, *, expected_version: str | None = None) -> None:
        row = self._row(resource_type, resource_id)
        if expected_version not in (None, _etag(row["version"])):
            raise PreconditionFailedException
        kind = cast(str, resource_type.name)
        facts = _facts(row)
        held = scim_members.subjects(self._conn, self._tenant, resource_id) if kind == GROUP else subject_of(facts)
        groups = scim_members.forget(self._conn, self._tenant, resource_id)
        if groups:
            self._conn.execute(
                sa.update(RESOURCE)
                .where(RESOURCE.c.tenant == self._tenant, RESOURCE.c.resource_id.in_(groups))
                .values(version=RESOURCE.c.version + 1, modified_at=self._clock())
            )
        gone = self._conn.execute(sa.delete(RESOURCE).where(*self._at(row)))
        if gone.rowcount != 1:
            raise PreconditionFailedException
        self._note(Op.DELETED, row, facts, (), MemberChange(), held)

    def members(self, group_id: str) -> list[Shown]:
        """A group's members as they are shown, each `$ref` relative to the SCIM root."""
        return scim_members.shown(self._conn, self._tenant, [group_id]).get(group_id, [])

    # -- rows ------------------------------------------------------------------------------------------------------

    def _row(self, resource_type: ResourceType, resource_id: str | None) -> dict[str, Any]:
        query = sa.select(*_COLUMNS).where(
            RESOURCE.c.tenant == self._tenant,
            RESOURCE.c.resource_id == resource_id,
            RESOURCE.c.resource_type == resource_type.name,
        )
        if self._writing:
            query = query.with_for_update()
        row = self._conn.execute(query).mappings().first() if resource_id and storable(resource_id) else None
        if row is None:
            raise NotFoundException(detail=f"There is no such {resource_type.name}.")
        return dict(row)

    def _rows(
        self, which: Sequence[sa.ColumnElement[bool]], start: int = 0, count: int | None = None
    ) -> list[dict[str, Any]]:
        query = sa.select(*_COLUMNS).where(*which).order_by(RESOURCE.c.created_at, RESOURCE.c.resource_id)
        if count is not None or start:
            query = query.limit(-1 if count is None and self._sqlite else count).offset(start)
        return [dict(row) for row in self._conn.execute(query).mappings()]

    def _rows_of(self, ids: Sequence[str]) -> list[dict[str, Any]]:
        return self._rows([RESOURCE.c.tenant == self._tenant, RESOURCE.c.resource_id.in_(ids)])

    @property
    def _sqlite(self) -> bool:
        return self._conn.dialect.name == "sqlite"

    def _condition(self, hint: Prefilter) -> sa.ColumnElement[bool]:
        if not storable(hint.value):
            return sa.false()
        if hint.column != "member":
            return cast("sa.ColumnElement[bool]", getattr(RESOURCE.c, hint.column) == hint.value)
        inside = sa.select(MEMBER.c.group_id).where(MEMBER.c.tenant == self._tenant, MEMBER.c.member_id == hint.value)
        return RESOURCE.c.resource_id.in_(inside)

    def _resources(self, rows: Sequence[dict[str, Any]], *, members: bool) -> list[AnyResource]:
        groups = [row["resource_id"] for row in rows if row["resource_type"] == GROUP] if members else []
        inside = scim_members.shown(self._conn, self._tenant, groups) if groups else {}
        return [self._resource(row, inside.get(row["resource_id"])) for row in rows]

    def _resource(self, row: dict[str, Any], members: Sequence[object] | None) -> AnyResource:
        document: Document = json.loads(row["document"])
        document["id"] = row["resource_id"]
        document["meta"] = {
            "resourceType": row["resource_type"],
            "created": row["created_at"],
            "lastModified": row["modified_at"],
            "version": _etag(row["version"]),
        }
        if members:
            document["members"] = members
        model = cast("type[AnyResource]", self._described.model_for(row["resource_type"]))
        return model.model_validate(document)

    def _at(self, row: dict[str, Any]) -> tuple[sa.ColumnElement[bool], ...]:
        """The row, if nobody has changed it since it was read."""
        return (
            RESOURCE.c.tenant == self._tenant,
            RESOURCE.c.resource_id == row["resource_id"],
            RESOURCE.c.version == row["version"],
        )

    def _bump(self, row: dict[str, Any], cells: dict[str, Any]) -> None:
        changed = self._execute(
            sa.update(RESOURCE)
            .where(*self._at(row))
            .values(**cells, version=row["version"] + 1, modified_at=self._clock())
        )
        if changed != 1:
            raise PreconditionFailedException

    def _execute(self, statement: sa.Insert | sa.Update) -> int:
        """A write that may meet another one for the same name; the look before it is only for the better sentence."""
        try:
            with self._conn.begin_nested():
                return self._conn.execute(statement).rowcount
        except IntegrityError as error:
            raise UniquenessException from error

    def _check_unique(self, kind: str, facts: Facts, resource_id: str) -> None:
        taken = sa.or_(
            sa.and_(RESOURCE.c.unique_name == facts.unique_name, RESOURCE.c.unique_name.is_not(None)),
            sa.and_(RESOURCE.c.external_id == facts.external_id, RESOURCE.c.external_id.is_not(None)),
        )
        if kind == GROUP and facts.display_name is not None:
            # Roles hang on names, and in some IdPs anybody may make a group and call it as the one that has a role.
            called = (RESOURCE.c.name_key == facts.name_key, RESOURCE.c.display_name == facts.display_name)
            taken = sa.or_(taken, sa.and_(*called))
        same_type = sa.and_(RESOURCE.c.resource_type == kind, taken)
        # `id:` names a group by either id, so one group's external id may not be another's own id.
        posing = RESOURCE.c.resource_id == facts.external_id
        found = self._conn.execute(
            sa.select(sa.literal(1))
            .where(RESOURCE.c.tenant == self._tenant, RESOURCE.c.resource_id != resource_id, sa.or_(same_type, posing))
            .limit(1)
        ).first()
        if found is not None:
            raise UniquenessException

    def _edit_members(self, kind: str, resource_id: str, edit: MemberEdit) -> MemberChange:
        if kind != GROUP or edit == KEEP:
            return MemberChange()
        return scim_members.apply(self._conn, self._tenant, resource_id, edit)

    def _note(
        self,
        op: Op,
        row: dict[str, Any],
        facts: Facts,
        differ: tuple[str, ...],
        members: MemberChange,
        subjects: frozenset[str] = frozenset(),
    ) -> None:
        kind, key = row["resource_type"], row["resource_id"]
        touched = subjects | members.subjects
        self.changes.append(Change(op, kind, key, facts.external_id, differ, touched, members))


def _cells(facts: Facts) -> dict[str, Any]:
    return {
        "external_id": facts.external_id,
        "unique_name": facts.unique_name,
        "display_name": facts.display_name,
        "name_key": facts.name_key,
        "active": facts.active,
        "employee_number": facts.employee_number,
        "email": facts.email,
    }


def _facts(row: dict[str, Any]) -> Facts:
    return Facts(**{one.name: row[one.name] for one in fields(Facts)})


def _etag(version: int) -> str:
    return f'W/"{version}"'


def _member_ids(resource: AnyResource) -> frozenset[str]:
    """The ids a whole resource names as its members; none for what has no members."""
    ids: set[str] = set()
    for member in getattr(resource, "members", None) or []:
        value = getattr(member, "value", None)
        if not isinstance(value, str) or not value:
            raise InvalidValueException(detail="A member needs the id of a user or group as its value.")
        ids.add(value)
    return frozenset(ids)
