"""An organisation's IdP as a deployment sees it: people and groups over SCIM, and the links of chat accounts.

Works on the database that a home's environment names, beside a service that may be running on it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from scim2_server.requests import ScimRequest
from sqlalchemy.engine import Connection

from bot.core import Core, open_core, utc_now
from bot.identity import links
from bot.identity.links import How
from bot.identity.scim_handler import Handler, Service
from bot.identity.scim_provider import ENTERPRISE, provider
from bot.identity.scim_storage import SqlStorage
from bot.identity.scim_tokens import Bearer, note
from bot.messages import ChatUser
from bot.settings import read
from policy.model import Subject, TenantId

ISSUER = "https://idp.example"
BASE = "http://127.0.0.1/scim/v2"


@dataclass(frozen=True)
class Hire:
    """Somebody the IdP knows. `sub` is both externalId and the subject."""

    sub: str
    name: str
    groups: tuple[str, ...] = ()
    email: str | None = None
    employee_number: str | None = None
    accounts: tuple[ChatUser, ...] = ()
    active: bool = True


def write_tenants(path: Path, teams: Mapping[str, Sequence[Mapping[str, str]]]) -> None:
    """A tenants.yaml of organisations (name -> chat teams) that share one issuer."""
    issuers = {"idp": {"preset": "oidc", "issuer": ISSUER, "client_id": "countersign"}}
    tenants = {
        name: {"name": name.title(), "issuer": "idp", "teams": [dict(one) for one in places]}
        for name, places in teams.items()
    }
    draft = path.with_suffix(".new")
    draft.write_text(yaml.safe_dump({"issuers": issuers, "tenants": tenants}, sort_keys=False), "utf-8")
    draft.replace(path)


def hires(directory: str, accounts: Mapping[str, tuple[ChatUser, ...]]) -> tuple[Hire, ...]:
    """The people of a directory file's text; `accounts` by name."""
    return tuple(
        Hire(
            sub=one["sub"],
            name=one["name"],
            groups=tuple(one.get("groups", ())),
            email=one.get("email"),
            employee_number=one.get("employee_number"),
            accounts=accounts.get(one["name"], ()),
            active=one.get("active", True),
        )
        for one in yaml.safe_load(directory)["people"]
    )


@dataclass
class Idp:
    """What the organisation's admins do there, each as one SCIM request."""

    core: Core
    tenant: TenantId
    ids: dict[str, str] = field(default_factory=dict)
    """SCIM ids by externalId, and by ``group:`` and a group's name."""
    issuer: str = ISSUER

    def hire(self, people: Sequence[Hire]) -> None:
        for one in people:
            body: dict[str, Any] = {
                "schemas": ["urn:ietf:params:scim:schemas:core:2.0:User"],
                "userName": one.email or one.sub,
                "externalId": one.sub,
                "displayName": one.name,
                "active": one.active,
            }
            if one.email:
                body["emails"] = [{"value": one.email, "type": "work", "primary": True}]
            if one.employee_number:
                body["schemas"].append(ENTERPRISE)
                body[ENTERPRISE] = {"employeeNumber": one.employee_number}
            self.ids[one.sub] = self.ask("POST", "/Users", body)["id"]
        for group in dict.fromkeys(name for one in people for name in one.groups):
            body = {
                "schemas": ["urn:ietf:params:scim:schemas:core:2.0:Group"],
                "displayName": group,
                "members": [{"value": self.ids[one.sub]} for one in people if group in one.groups],
            }
            self.ids[f"group:{group}"] = self.ask("POST", "/Groups", body)["id"]
        for one in people:
            self.link(one.sub, *one.accounts)

    def link(self, sub: str, *accounts: ChatUser) -> None:
        def unit(conn: Connection) -> None:
            now = utc_now()
            made = [
                links.bind(conn, self.tenant, account, Subject(self.issuer, sub), How.SHELL, now, "import")
                for account in accounts
            ]
            self.core.audit.append(conn, [event for events in made for event in events])

        self.core.writer.run_blocking(unit)

    def unlink(self, *accounts: ChatUser) -> None:
        def unit(conn: Connection) -> None:
            ended = [links.unbind(conn, self.tenant, account, "import", utc_now(), "import") for account in accounts]
            self.core.audit.append(conn, [event for events in ended for event in events])

        self.core.writer.run_blocking(unit)

    def move(self, sub: str, groups: Sequence[str]) -> None:
        """Into exactly these groups."""
        for name in groups:
            if self.group(name) is None:
                body = {"schemas": ["urn:ietf:params:scim:schemas:core:2.0:Group"], "displayName": name}
                self.ids[f"group:{name}"] = self.ask("POST", "/Groups", body)["id"]
        who = [{"value": self.user(sub)}]
        there = self.ask("GET", "/Groups").get("Resources", ())
        # In first, out after: in between they would be in no group that has a role, which is leaving.
        for one in sorted(there, key=lambda one: one["displayName"] not in groups):
            op = "add" if one["displayName"] in groups else "remove"
            self.patch(f"/Groups/{one['id']}", {"op": op, "path": "members", "value": who})

    def activate(self, sub: str, active: bool) -> None:
        self.patch(f"/Users/{self.user(sub)}", {"op": "replace", "path": "active", "value": active})

    def forget(self) -> None:
        """Everybody and every group is taken back, and their links end: another IdP may begin."""
        for kind in ("/Groups", "/Users"):
            for one in self.ask("GET", kind).get("Resources", ()):
                self.ask("DELETE", f"{kind}/{one['id']}")
        self.ids.clear()

    def user(self, sub: str) -> str:
        if sub not in self.ids:
            (found,) = self.ask("GET", "/Users", query={"filter": f'externalId eq "{sub}"'})["Resources"]
            self.ids[sub] = found["id"]
        return self.ids[sub]

    def group(self, name: str) -> str | None:
        found = self.ask("GET", "/Groups", query={"filter": f'displayName eq "{name}"'}).get("Resources", ())
        return found[0]["id"] if found else None

    def patch(self, path: str, *operations: Mapping[str, Any]) -> None:
        body = {"schemas": ["urn:ietf:params:scim:api:messages:2.0:PatchOp"], "Operations": list(operations)}
        self.ask("PATCH", path, body)

    def ask(self, method: str, path: str, body: Any = None, query: Mapping[str, str] | None = None) -> dict[str, Any]:
        """One request of the IdP: the rows, what follows for people, the audit last."""
        request = ScimRequest(
            method,
            BASE,
            path,
            query or {},
            {"Content-Type": "application/scim+json"},
            b"" if body is None else json.dumps(body).encode(),
        )

        def unit(conn: Connection) -> dict[str, Any]:
            note(conn, Bearer(self.tenant, "import", stale=False), utc_now())
            rows = SqlStorage(conn, self.tenant, utc_now)
            answer = Handler(Service(provider()), rows).handle(request)
            subjects = {Subject(self.issuer, sub) for change in rows.changes for sub in change.subjects}
            self.core.audit.append(conn, self.core.leavers.changed(conn, self.tenant, subjects, "scim"))
            return answer.body or {}

        return self.core.writer.run_blocking(unit)


@contextmanager
def idp(environment: Mapping[str, str], tenant: str = "demo") -> Iterator[Idp]:
    """The IdP of the deployment that has this environment."""
    core = open_core(read(environment, file_here=False))
    try:
        yield Idp(core, TenantId(tenant))
    finally:
        core.close()
