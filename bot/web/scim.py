"""/scim/v2 over HTTP: bodies, headers, statuses. Knows no resource and no table.

A request without a token that counts is told 401 and nothing else, whatever it asked for. What a client sent is
never a 500; a store that is away is a 503 that says when to come back, and IdPs do.
"""

from __future__ import annotations

import asyncio
import json
import logging
import traceback
from collections.abc import Callable
from datetime import datetime
from http import HTTPStatus
from typing import Final
from urllib.parse import parse_qsl
from weakref import WeakValueDictionary

from scim2_models import (
    Error,
    InvalidFilterException,
    InvalidSyntaxException,
    PayloadTooLargeException,
    SCIMException,
)
from scim2_server.requests import ScimRequest
from scim2_server.responses import ScimResponse
from scim2_server.routing import Operation
from scim2_server.service import is_json_media_type
from starlette.routing import Mount
from starlette.types import Receive, Scope, Send

from audit.faults import StoreConflict, StoreUnavailable
from audit.store import AuditStore
from audit.writer import Writer
from bot.identity import scim_json, scim_quirks, scim_refusals
from bot.identity.scim_directory import KnownTenants
from bot.identity.scim_service import Leavers, NotYou, ScimDesk
from bot.identity.scim_tokens import Nobody
from policy.model import Json, TenantId

PATH: Final = "/scim/v2"
MAX_BODY: Final = 8 * 1024 * 1024
"""A PUT of a group with some 40,000 members."""
MAX_FILTER: Final = 4_000
ATTEMPTS: Final = 4
AT_ONCE: Final = 2
"""Requests of one organisation that hold a database thread; the next ones wait their turn. Its writes go one by one in
any case, and what waits for them in the database would keep every other organisation's presses from it."""
RETRY_AFTER_S: Final = 30
_HEADERS: Final = {"cache-control": "no-store", "x-content-type-options": "nosniff"}
_READS: Final = frozenset(
    {
        Operation.query,
        Operation.search,
        Operation.search_with_body,
        Operation.service_provider_config,
        Operation.resource_types,
        Operation.resource_type,
        Operation.schemas,
        Operation.schema,
    }
)
_log = logging.getLogger(__name__)


def scim_routes(
    writer: Writer,
    audit: AuditStore,
    tenants: KnownTenants,
    leavers: Leavers,
    clock: Callable[[], datetime],
    *,
    base_url: str | None = None,
    lenient: bool = True,
) -> list[Mount]:
    """`base_url`: COUNTERSIGN_BASE_URL; without it addresses are what the Host header says.

    `lenient` False leaves out what is done for Okta and Entra ID: the RFCs to the letter, for conformance tests.
    """
    desk = ScimDesk(audit, tenants, leavers, clock, lenient=lenient)
    return [Mount(PATH, app=ScimEndpoint(desk, writer, audit, clock, base_url))]


class ScimEndpoint:
    """An ASGI application below `PATH`."""

    def __init__(
        self, desk: ScimDesk, writer: Writer, audit: AuditStore, clock: Callable[[], datetime], base_url: str | None
    ) -> None:
        self._desk = desk
        self._writer = writer
        self._audit = audit
        self._clock = clock
        self._base_url = base_url
        self._turns: WeakValueDictionary[TenantId, asyncio.Semaphore] = WeakValueDictionary()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            raise RuntimeError("SCIM is spoken over HTTP alone.")
        await _send(await self._answer(scope, receive), send)

    async def _answer(self, scope: Scope, receive: Receive) -> ScimResponse:
        try:
            request = self._request(scope)
            authorization = request.header("Authorization")
            # Before the body is read: strangers are not listened to.
            known = await self._writer.read(lambda conn: self._desk.bearer(conn, authorization))
            if isinstance(known, Nobody):
                return await self._refuse(known)
            request.body = await _body(receive)
            mended = self._mended(request)
            async with self._turns.setdefault(known.tenant, asyncio.Semaphore(AT_ONCE)):
                return await self._serve(authorization, mended)
        except NotYou as refused:
            return await self._refuse(refused.who)
        except SCIMException as refused:
            return self._desk.service.error_response(refused)
        except RecursionError:
            return self._desk.service.error_response(InvalidSyntaxException(detail="The request is nested too deeply."))
        except StoreUnavailable as error:
            return _unavailable(str(error))
        except Exception as error:  # noqa: BLE001  the last line: a bug of ours, answered without what it says
            # Its text may hold what the client sent, so where it happened has to do (invariant 11).
            where = "".join(traceback.format_tb(error.__traceback__)[-4:])
            _log.error("A SCIM request failed with %s:\n%s", type(error).__name__, where)
            return self._desk.service.error_response(error)

    async def _serve(self, authorization: str | None, request: ScimRequest) -> ScimResponse:
        if self._desk.service.match(request).operation in _READS:
            who, response = await self._writer.read(lambda conn: self._desk.read(conn, authorization, request))
            if who.stale:
                await self._writer.run(lambda conn: self._desk.heard(conn, who))
            return response
        for attempt in range(1, ATTEMPTS):
            try:
                return await self._writer.run(lambda conn: self._desk.write(conn, authorization, request))
            except StoreConflict:
                # Two requests met: this one was rolled back whole and is as good as new.
                await asyncio.sleep(0.05 * attempt)
        return await self._writer.run(lambda conn: self._desk.write(conn, authorization, request))

    async def _refuse(self, who: Nobody) -> ScimResponse:
        """The same answer for every reason; the audit knows which."""
        await self._writer.run(lambda conn: self._audit.append(conn, scim_refusals.refused(conn, who, self._clock())))
        error = Error(status=401, detail="This needs a valid bearer token.")
        challenge = {"WWW-Authenticate": 'Bearer realm="Countersign SCIM"'}
        return ScimResponse(HTTPStatus.UNAUTHORIZED, error.model_dump(), challenge)

    def _request(self, scope: Scope) -> ScimRequest:
        headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"]]
        root = scope.get("root_path", "")
        try:
            pairs = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True, max_num_fields=50)
        except ValueError as error:
            raise InvalidSyntaxException(detail="The address has too many parameters.") from error
        return ScimRequest(
            method=scope["method"],
            base_url=self._base(scope, headers, root),
            path=scope["path"].removeprefix(root) or "/",
            query=dict(pairs),
            headers=headers,
        )

    def _base(self, scope: Scope, headers: list[tuple[str, str]], root: str) -> str:
        if self._base_url:
            return f"{self._base_url.rstrip('/')}{PATH}"
        host = next((value for name, value in headers if name.lower() == "host"), "localhost")
        return f"{scope['scheme']}://{host}{root}"

    def _mended(self, request: ScimRequest) -> ScimRequest:
        """The request as the core may see it."""
        target = self._desk.service.match(request)
        request.query = self._mended_query(request.query)
        if not request.body or not _is_json(request.header("Content-Type")):
            return request
        body = scim_json.parse(request.body)
        if target.operation is Operation.bulk:
            # Before anything is done for its operations.
            self._desk.service.ensure_bulk_payload_size(len(request.body))
            scim_json.bounded(scim_quirks.bulk_data(body))
        elif target.operation is Operation.patch:
            scim_json.bounded([body])
        if target.operation is Operation.search_with_body and isinstance(body, dict):
            body = {
                key: _filter(value, self._desk.lenient) if key.lower() == "filter" else value
                for key, value in body.items()
            }
        elif self._desk.lenient and isinstance(body, dict) and not target.me:
            body = self._mended_body(target.operation, target.endpoint, body)
            if target.operation in (Operation.create, Operation.replace):
                # Mended, they are ids: the storage takes them as such, the core need not know them.
                request.subject = _without_members(body)
        request.body = json.dumps(body).encode()
        return request

    def _mended_query(self, query: object) -> dict[str, str]:
        found = dict(query) if isinstance(query, dict) else {}
        if "filter" in found:
            found["filter"] = str(_filter(found["filter"], self._desk.lenient))
        return found

    def _mended_body(
        self, operation: Operation, endpoint: str | None, body: scim_quirks.JsonObject
    ) -> scim_quirks.JsonObject:
        if operation is Operation.bulk:
            return scim_quirks.mend_bulk(body)
        kind = str(self._desk.service.resource_type_at(endpoint or "").name)
        if operation is Operation.patch:
            return scim_quirks.mend_patch(kind, body)
        return scim_quirks.mend_resource(kind, body, replacing=operation is Operation.replace)


def _without_members(body: scim_quirks.JsonObject) -> frozenset[str] | None:
    members = body.pop("members", None)
    if not isinstance(members, list):
        return None
    # Those of a user are no members, and say anything at all.
    return frozenset(str(one["value"]) for one in members if isinstance(one, dict) and "value" in one)


def _filter(value: Json, lenient: bool) -> Json:
    if not isinstance(value, str):
        return value
    if len(value) > MAX_FILTER:
        raise InvalidFilterException(detail=f"A filter has at most {MAX_FILTER} characters.")
    return scim_quirks.mend_filter(value) if lenient else value


def _is_json(content_type: str | None) -> bool:
    return not content_type or is_json_media_type(content_type)


async def _body(receive: Receive) -> bytes:
    parts: list[bytes] = []
    size, more = 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            break
        part = message.get("body", b"")
        size += len(part)
        if size > MAX_BODY:
            raise PayloadTooLargeException(detail=f"The body has more than {MAX_BODY} bytes. Nothing was changed.")
        parts.append(part)
        more = message.get("more_body", False)
    return b"".join(parts)


def _unavailable(sentence: str) -> ScimResponse:
    error = Error(status=503, detail=sentence)
    return ScimResponse(HTTPStatus.SERVICE_UNAVAILABLE, error.model_dump(), {"Retry-After": str(RETRY_AFTER_S)})


async def _send(response: ScimResponse, send: Send) -> None:
    body = b"" if response.body is None else json.dumps(response.body).encode()
    headers = {**_HEADERS, **{name.lower(): value for name, value in response.headers.items()}}
    if response.body is None:
        headers.pop("content-type", None)
    if response.status not in (HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED):
        headers["content-length"] = str(len(body))
    await send(
        {
            "type": "http.response.start",
            "status": int(response.status),
            "headers": [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()],
        }
    )
    await send({"type": "http.response.body", "body": body})
