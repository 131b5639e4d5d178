"""One SCIM request in one transaction: token, handler, leavers, audit, in this order. Knows no HTTP server.

What a request changed, and what follows from it for the people concerned, is committed together or not at all
(invariant 9). Audit rows hold ids, never names or addresses (invariant 11).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Protocol

from scim2_models import SCIMException, ScimProvider
from scim2_server.requests import ScimRequest
from scim2_server.responses import ScimResponse
from scim2_server.routing import Operation
from sqlalchemy.engine import Connection

from audit.event import Event, Json, Kind
from audit.store import AuditStore
from bot.identity import scim_tokens
from bot.identity.scim_changes import NAMED, Change
from bot.identity.scim_directory import KnownTenants
from bot.identity.scim_handler import Handler, Service
from bot.identity.scim_provider import provider
from bot.identity.scim_storage import SqlStorage
from bot.identity.scim_tokens import Bearer, Known, Nobody, NotValid
from policy.model import Subject, TenantId

CAUSE = "scim"


class Leavers(Protocol):
    """What SCIM needs of `bot.identity.leavers`."""

    def changed(self, conn: Connection, tenant: TenantId, subjects: Iterable[Subject], cause: str) -> list[Event]: ...


class NotYou(Exception):
    """The token does not count (any more). Whoever catches it writes the refusal, in another transaction."""

    def __init__(self, who: Nobody) -> None:
        super().__init__(who.reason.value)
        self.who = who


class ScimDesk:
    """Serves requests that HTTP has read. Made once; safe from any thread."""

    def __init__(
        self,
        audit: AuditStore,
        tenants: KnownTenants,
        leavers: Leavers,
        clock: Callable[[], datetime],
        *,
        lenient: bool = True,
    ) -> None:
        self._audit = audit
        self._tenants = tenants
        self._leavers = leavers
        self._clock = clock
        self.described: ScimProvider = provider(lenient=lenient)
        self.service = Service(self.described)
        self.lenient = lenient

    def bearer(self, conn: Connection, authorization: str | None) -> Known:
        """Whom the header speaks for, at this moment."""
        known = scim_tokens.of(conn, authorization, self._clock())
        if isinstance(known, Bearer) and known.tenant not in self._tenants.tenants:
            return Nobody(NotValid.NO_TENANT, known.tenant, known.token_id)
        return known

    def read(self, conn: Connection, authorization: str | None, request: ScimRequest) -> tuple[Bearer, ScimResponse]:
        """Answers what changes nothing.

        Raises:
            NotYou: the token does not count.
        """
        who = self._admitted(conn, authorization)
        storage = SqlStorage(conn, who.tenant, self._clock, described=self.described, writing=False)
        try:
            return who, self._handled(storage, request)
        except SCIMException as refused:
            return who, self.service.error_response(refused)

    def write(self, conn: Connection, authorization: str | None, request: ScimRequest) -> ScimResponse:
        """Does what is asked, with all that follows from it.

        Raises:
            NotYou: the token does not count.
        """
        who, now = self._admitted(conn, authorization), self._clock()
        self.heard(conn, who)
        storage = SqlStorage(conn, who.tenant, self._clock, described=self.described)
        try:
            response = self._handled(storage, request)
        except SCIMException as refused:
            if storage.changes:
                raise
            # Its savepoint took back whatever it began; that the IdP was heard stays.
            return self.service.error_response(refused)
        events = [_event(who, change, now) for change in storage.changes]
        issuer = self._tenants.tenants[who.tenant].issuer.issuer
        concerned = {Subject(issuer, sub) for change in storage.changes for sub in change.subjects}
        if concerned:
            events += self._leavers.changed(conn, who.tenant, concerned, CAUSE)
        self._audit.append(conn, events)
        return response

    def _handled(self, storage: SqlStorage, request: ScimRequest) -> ScimResponse:
        """The core's answer. Members of a single group pass it by: as models, ten thousand of them take seconds."""
        target = self.service.match(request)
        one = target.operation in (Operation.create, Operation.query, Operation.replace)
        group = one and (target.endpoint or "").lower() == "groups"
        storage.sparse = self.lenient and group and not {"attributes", "excludedAttributes"} & set(request.query)
        storage.incoming = request.subject if isinstance(request.subject, frozenset) else None
        response = Handler(self.service, storage).handle(request)
        if storage.sparse and response.body is not None:
            root = request.base_url.rstrip("/")
            shown = storage.members(str(response.body["id"]))
            members = [{"value": at["value"], "type": at["type"], "$ref": f"{root}/{at['$ref']}"} for at in shown]
            if members:
                response.body["members"] = members
        return response

    def heard(self, conn: Connection, who: Bearer) -> None:
        scim_tokens.note(conn, who, self._clock())

    def _admitted(self, conn: Connection, authorization: str | None) -> Bearer:
        known = self.bearer(conn, authorization)
        if isinstance(known, Nobody):
            raise NotYou(known)
        return known


def _event(who: Bearer, change: Change, now: datetime) -> Event:
    members = change.members
    detail: dict[str, Json] = {
        "type": change.resource_type,
        "id": change.resource_id,
        "external_id": change.external_id,
        "token": who.token_id,
        "fields": list(change.fields),
        **_named("added", members.added),
        **_named("removed", members.removed),
    }
    if members.unknown:
        detail["members_unknown"] = members.unknown
    return Event(
        Kind.SCIM_CHANGED, who.tenant, now, change.op.value, actor_user_id=f"scim:{who.token_id}", detail=detail
    )


def _named(what: str, ids: tuple[str, ...]) -> Mapping[str, Json]:
    """How many, and which of them: the audit answers who was put into a group."""
    return {what: len(ids), f"{what}_ids": list(ids[:NAMED])} if ids else {}
