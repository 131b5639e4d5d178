"""A SCIM endpoint on loopback, over a database of the test's own: real HTTP, tokens, storage, audit.

Leaving is recorded instead of run: what it does to requests and votes has tests of its own.
"""

from __future__ import annotations

import asyncio
import json
import threading
import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx2
import psycopg
import pytest
import sqlalchemy as sa
import uvicorn
from psycopg import sql
from sqlalchemy.engine import Connection
from sqlmodel import SQLModel
from starlette.applications import Starlette

from audit import ddl
from audit.event import Event
from audit.store import AuditStore
from audit.writer import Writer, make_engine
from bot.identity import scim_tokens
from bot.identity.scim_directory import ScimDirectory
from bot.identity.tables import (
    IdentityLink,
    ScimContact,
    ScimMember,
    ScimRefusals,
    ScimResource,
    ScimToken,
    SignInSeen,
    table,
)
from bot.messages import SurfaceName
from bot.ports import Person
from bot.web.scim import scim_routes
from policy.model import Subject, TenantId
from policy.pii import redact

ACME, GLOBEX = TenantId("acme"), TenantId("globex")
ISSUER = "https://id.example"
TABLES = (ScimResource, ScimMember, ScimToken, ScimContact, ScimRefusals, SignInSeen, IdentityLink)
USERS, GROUPS = "/Users", "/Groups"
PATCH_OP = "urn:ietf:params:scim:api:messages:2.0:PatchOp"
USER_SCHEMA = "urn:ietf:params:scim:schemas:core:2.0:User"
GROUP_SCHEMA = "urn:ietf:params:scim:schemas:core:2.0:Group"
ENTERPRISE = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"


@dataclass(frozen=True, slots=True)
class AnIssuer:
    issuer: str = ISSUER


@dataclass(frozen=True, slots=True)
class ATenant:
    issuer: AnIssuer = AnIssuer()


@dataclass(slots=True)
class SomeTenants:
    """Both at one issuer: only the tenant tells their people apart."""

    tenants: Mapping[TenantId, ATenant] = field(default_factory=lambda: {ACME: ATenant(), GLOBEX: ATenant()})

    def tenant_of(self, surface: SurfaceName, team: str) -> TenantId | None:
        return {("slack", "T1"): ACME, ("slack", "T2"): GLOBEX}.get((surface, team))

    def teams_of(self, tenant: TenantId) -> tuple[tuple[SurfaceName, str], ...]:
        return ((SurfaceName("slack"), "T1" if tenant == ACME else "T2"),)

    def own_teams(self, tenant: TenantId) -> tuple[str, ...]:
        return ()


@dataclass(slots=True)
class Recorded:
    """Who was reported to the leavers, in which tenant; `fails` makes leaving impossible."""

    seen: list[tuple[TenantId, frozenset[str]]] = field(default_factory=list)
    fails: Exception | None = None

    def changed(self, conn: Connection, tenant: TenantId, subjects: Iterable[Subject], cause: str) -> list[Event]:
        if self.fails is not None:
            raise self.fails
        found = frozenset(subjects)
        assert {one.issuer for one in found} == {ISSUER}
        assert cause == "scim"
        self.seen.append((tenant, frozenset(one.sub for one in found)))
        return []

    def last(self) -> frozenset[str]:
        """Everybody reported since the last look."""
        found = frozenset(sub for _, subs in self.seen for sub in subs)
        self.seen.clear()
        return found


@dataclass
class Clock:
    now: datetime = datetime(2026, 3, 1, 12, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now


@dataclass
class ScimHouse:
    url: str
    writer: Writer
    clock: Clock
    leavers: Recorded
    tenants: SomeTenants
    directory: ScimDirectory
    tokens: dict[TenantId, str]
    clients: list[httpx2.Client] = field(default_factory=list)

    def client(self, tenant: TenantId = ACME, *, token: str | None = None) -> Client:
        bearer = self.tokens[tenant] if token is None else token
        headers = {"Authorization": f"Bearer {bearer}"} if bearer else {}
        self.clients.append(httpx2.Client(base_url=f"{self.url}/scim/v2", headers=headers, timeout=30))
        return Client(self.clients[-1])

    def clear(self) -> None:
        """No resources, nobody reported: for the next test of a module that shares this house."""

        def wipe(conn: Connection) -> None:
            for one in (ScimResource, ScimMember, ScimRefusals):
                conn.execute(sa.delete(table(one)))

        self.writer.run_blocking(wipe)
        self.leavers.seen.clear()
        self.leavers.fails = None

    def audit(self, *kinds: str) -> list[dict[str, Any]]:
        """The log's rows, oldest first, `detail` read."""
        query = "SELECT kind, tenant_id, status, actor_user_id, detail FROM agent_audit_log ORDER BY tenant_id, seq"

        def read(conn: Connection) -> list[dict[str, Any]]:
            rows = [dict(row) for row in conn.execute(sa.text(query)).mappings()]
            for row in rows:
                row["detail"] = json.loads(row["detail"]) if isinstance(row["detail"], str) else row["detail"]
            return [row for row in rows if not kinds or row["kind"] in kinds]

        return self.writer.read_blocking(read)

    def person(self, sub: str, tenant: TenantId = ACME) -> Person | None:
        return self.writer.read_blocking(lambda conn: self.directory.by_subject(conn, tenant, Subject(ISSUER, sub)))

    def people(self, tenant: TenantId = ACME) -> tuple[Person, ...]:
        return self.writer.read_blocking(lambda conn: self.directory.people(conn, tenant))


@dataclass
class Client:
    """An IdP's SCIM client, as far as tests need one."""

    http: httpx2.Client

    def send(self, method: str, path: str, body: object = None, **headers: str) -> httpx2.Response:
        content = None if body is None else json.dumps(body)
        sent = {
            "Content-Type": "application/scim+json",
            **{key.replace("_", "-"): value for key, value in headers.items()},
        }
        return self.http.request(method, path, content=content, headers=sent)

    def user(self, user_name: str, external_id: str | None = None, /, **more: object) -> str:
        """Creates a user; its id. The external id is the name unless told otherwise."""
        body = {"schemas": [USER_SCHEMA], "userName": user_name, "externalId": external_id or user_name, **more}
        return self.made(self.send("POST", USERS, body))

    def group(self, display_name: str, /, *members: str, **more: object) -> str:
        inside = [{"value": one} for one in members]
        body = {"schemas": [GROUP_SCHEMA], "displayName": display_name, "members": inside, **more}
        return self.made(self.send("POST", GROUPS, body))

    def made(self, answer: httpx2.Response) -> str:
        assert answer.status_code == 201, answer.text
        return str(answer.json()["id"])

    def patch(self, path: str, *operations: object, **headers: str) -> httpx2.Response:
        return self.send("PATCH", path, {"schemas": [PATCH_OP], "Operations": list(operations)}, **headers)

    def get(self, path: str) -> dict[str, Any]:
        answer = self.send("GET", path)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def members(self, group_id: str) -> set[str]:
        return {one["value"] for one in self.get(f"{GROUPS}/{group_id}").get("members", [])}

    def found(self, path: str, wanted: str) -> list[str]:
        """The ids a filter finds."""
        answer = self.http.get(path, params={"filter": wanted})
        assert answer.status_code == 200, answer.text
        return [str(one["id"]) for one in answer.json().get("Resources", [])]


@contextmanager
def scim_house(engine_url: str, *, lenient: bool = True, base_url: str | None = None) -> Iterator[ScimHouse]:
    engine = make_engine(engine_url)
    SQLModel.metadata.create_all(engine, tables=[table(one) for one in TABLES])
    writer = Writer(engine)
    writer.run_blocking(ddl.create_all)
    clock, leavers, tenants = Clock(), Recorded(), SomeTenants()
    tokens = {tenant: token(writer, tenant, clock()) for tenant in (ACME, GLOBEX)}
    routes = scim_routes(writer, AuditStore(redact), tenants, leavers, clock, base_url=base_url, lenient=lenient)
    try:
        with served(Starlette(routes=routes)) as url:
            house = ScimHouse(url, writer, clock, leavers, tenants, ScimDirectory(tenants), tokens)
            yield house
            for client in house.clients:
                client.close()
    finally:
        writer.close()
        engine.dispose()


@contextmanager
def shared_house(request: pytest.FixtureRequest, folder: Path) -> Iterator[ScimHouse]:
    """One house for a module, on the database that `request.param` names: starting one takes longer than most tests."""
    if request.param == "sqlite":
        with scim_house(f"sqlite:///{folder / 'countersign.sqlite'}") as house:
            yield house
        return
    server: str = request.getfixturevalue("postgres_server")
    name = f"t_{uuid.uuid4().hex}"
    with psycopg.connect(server, autocommit=True) as conn:
        conn.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    path, _, query = server.partition("?")
    url = f"postgresql+psycopg{path.removeprefix('postgresql').rpartition('/')[0]}/{name}" + (query and f"?{query}")
    with scim_house(url) as house:
        yield house
    with psycopg.connect(server, autocommit=True) as conn:
        conn.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


def token(writer: Writer, tenant: TenantId, now: datetime, expires_at: datetime | None = None) -> str:
    def make(conn: Connection) -> str:
        _, secret, _ = scim_tokens.create(conn, tenant, "test", "shell:test", now, expires_at)
        return secret

    return writer.run_blocking(make)


@contextmanager
def served(app: Starlette) -> Iterator[str]:
    """`app` on a free port of loopback, in a thread of its own."""
    config = uvicorn.Config(app, host="127.0.0.1", port=0, log_level="warning", lifespan="off")
    server = uvicorn.Server(config)
    listening = config.bind_socket()
    thread = threading.Thread(target=lambda: asyncio.run(server.serve(sockets=[listening])), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(30)
        listening.close()
