"""A door whose people come from SCIM rows: the same staff as the directory file's, in the database of the decisions.

Each change of the staff is one transaction as an IdP's request is one: the rows, what the leaving does, the audit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from audit.event import Event
from bot.identity import links, sessions
from bot.identity.leavers import Leavers
from bot.identity.links import How
from bot.identity.people import DirectoryPeople
from bot.identity.scim_directory import CONTACT, GROUP, MEMBER, RESOURCE, USER, ScimDirectory
from bot.identity.tables import SealedGrant, table
from bot.messages import ChatUser, SurfaceName
from bot.ports import Person
from bot.settings import PersonKey
from policy.model import Subject, TenantId
from tests.kit.door import DEMO, ISSUER, START, House
from tools.gateway import Gateway

SLACK = SurfaceName("slack")
TEAMS = SurfaceName("teams")
GRANT = table(SealedGrant)
_TEAMS = {"T0ACME": DEMO, "entra-acme": DEMO, "demo": DEMO, "T0OTHER": TenantId("other")}
_SURFACES = {"T0ACME": SLACK, "entra-acme": TEAMS, "demo": SurfaceName("demo"), "T0OTHER": SLACK}
Write = Callable[[Connection], object]


@dataclass(frozen=True)
class _Issuer:
    issuer: str = ISSUER


@dataclass(frozen=True)
class _Tenant:
    issuer: _Issuer = _Issuer()


class _Tenants:
    def __init__(self) -> None:
        self.tenants = {DEMO: _Tenant(), TenantId("other"): _Tenant()}

    def tenant_of(self, surface: SurfaceName, team: str) -> TenantId | None:
        return _TEAMS.get(team)

    def teams_of(self, tenant: TenantId) -> tuple[tuple[SurfaceName, str], ...]:
        return tuple((_SURFACES[team], team) for team, owner in _TEAMS.items() if owner == tenant)

    def own_teams(self, tenant: TenantId) -> tuple[str, ...]:
        return ()


def subject(sub: str) -> Subject:
    return Subject(ISSUER, sub)


def account(sub: str, surface: SurfaceName = SLACK) -> ChatUser:
    return ChatUser(surface, "T0ACME" if surface == SLACK else "entra-acme", f"u-{sub}")


@dataclass
class Staff:
    """The people of a house, as their IdP would change them."""

    house: House
    directory: ScimDirectory
    leavers: Leavers

    def now(self) -> datetime:
        return self.house.clock()

    def change(self, write: Write, *subs: str, tenant: TenantId = DEMO) -> list[Event]:
        """One request of the IdP: the rows, who it concerns, the audit last."""

        def unit(conn: Connection) -> list[Event]:
            write(conn)
            events = self.leavers.changed(conn, tenant, [subject(sub) for sub in subs], "scim")
            self.house.door.audit.append(conn, events)
            return events

        return self.house.writer.run_blocking(unit)

    def run(self, unit: Callable[[Connection], list[Event]]) -> list[Event]:
        def whole(conn: Connection) -> list[Event]:
            events = unit(conn)
            self.house.door.audit.append(conn, events)
            return events

        return self.house.writer.run_blocking(whole)

    # -- what an IdP says ----------------------------------------------------------------------------------

    def set_active(self, sub: str, active: bool) -> Write:
        return lambda conn: conn.execute(sa.update(RESOURCE).where(*_user(sub)).values(active=active))

    def deactivate(self, *subs: str) -> list[Event]:
        writes = [self.set_active(sub, False) for sub in subs]
        return self.change(lambda conn: [write(conn) for write in writes], *subs)

    def reactivate(self, sub: str) -> list[Event]:
        return self.change(self.set_active(sub, True), sub)

    def delete(self, sub: str) -> list[Event]:
        def write(conn: Connection) -> None:
            conn.execute(sa.delete(MEMBER).where(MEMBER.c.tenant == DEMO, MEMBER.c.member_id == f"id-{sub}"))
            conn.execute(sa.delete(RESOURCE).where(*_user(sub)))

        return self.change(write, sub)

    def leaves_group(self, sub: str, group: str) -> list[Event]:
        where = (MEMBER.c.group_id == f"group-{group}", MEMBER.c.member_id == f"id-{sub}")
        return self.change(lambda conn: conn.execute(sa.delete(MEMBER).where(*where)), sub)

    def joins_group(self, sub: str, group: str) -> list[Event]:
        row = {"tenant": DEMO, "group_id": f"group-{group}", "member_id": f"id-{sub}", "member_type": USER}
        return self.change(lambda conn: conn.execute(sa.insert(MEMBER).values(**row)), sub)

    def hire(self, people: Iterable[Person], *groups: str) -> None:
        """Provision them: nobody leaves by it."""
        self.house.writer.run_blocking(lambda conn: _provision(conn, tuple(people), groups))

    # -- what people have ----------------------------------------------------------------------------------

    def settle_in(self, sub: str, *surfaces: SurfaceName, sid: str | None = None) -> None:
        """Chat accounts are linked, a browser is signed in, a refresh token is kept."""

        def unit(conn: Connection) -> list[Event]:
            now, who = self.now(), subject(sub)
            events: list[Event] = []
            for surface in surfaces or (SLACK, TEAMS):
                events += links.bind(conn, DEMO, account(sub, surface), who, How.PROVED, now)
            events += sessions.start(conn, DEMO, who, now, sid=sid)[1]
            kept = {"kek_id": "k", "wrapped_key": "w", "sealed": "s", "generation": 1, "token_sha256": "0" * 64}
            keys = {"tenant": DEMO, "issuer": who.issuer, "sub": who.sub}
            conn.execute(sa.delete(GRANT).where(*(GRANT.c[name] == value for name, value in keys.items())))
            conn.execute(sa.insert(GRANT).values(**keys, **kept, created_at=now, changed_at=now))
            return events

        self.run(unit)

    def has(self, sub: str) -> tuple[int, int, int]:
        """How many links, open sessions and grants."""
        who = "tenant = 'demo' AND issuer = :issuer AND sub = :sub"
        asked = [f"SELECT COUNT(*) FROM identity_link WHERE {who}"]
        asked += [f"SELECT COUNT(*) FROM {name} WHERE {who} AND ended_at IS NULL" for name in _ENDING]
        found = [self.house.rows(query, issuer=ISSUER, sub=sub)[0][0] for query in asked]
        return int(str(found[0])), int(str(found[1])), int(str(found[2]))


_ENDING = ("web_session", "sealed_grant")


def provisioned(house: House, key: PersonKey = PersonKey.EMPLOYEE_NUMBER) -> Staff:
    """From now on `house` asks SCIM rows who people are; they are the people of its directory file."""
    directory = ScimDirectory(_Tenants())
    people = house.writer.read_blocking(lambda conn: house.directory.people(conn, DEMO))
    groups = sorted({group for person in people for group in person.groups})
    have = house.rows("SELECT COUNT(*) FROM scim_resource")[0][0]
    if not have:
        house.writer.run_blocking(lambda conn: _provision(conn, people, groups))
    house.door = replace(house.door, people=DirectoryPeople(directory, lambda _tenant: house.policies[-1], key))
    house.gateway = Gateway(house.door)
    leavers = Leavers(house.gateway, directory, lambda _tenant: house.policies[-1], house.clock)
    return Staff(house, directory, leavers)


def _provision(conn: Connection, people: Iterable[Person], groups: Iterable[str]) -> None:
    common = {"tenant": DEMO, "document": "{}", "version": 1, "created_at": START, "modified_at": START}
    known = set(conn.execute(sa.select(RESOURCE.c.resource_id)).scalars())
    for group in groups:
        if f"group-{group}" not in known:
            row = {"resource_id": f"group-{group}", "resource_type": GROUP, "display_name": group, "active": True}
            conn.execute(sa.insert(RESOURCE).values(**row, **common))
    for person in people:
        row = {
            "resource_id": f"id-{person.subject.sub}",
            "resource_type": USER,
            "external_id": person.subject.sub,
            "unique_name": f"{person.subject.sub}@acme.example",
            "display_name": person.display_name,
            "active": person.active,
            "employee_number": person.employee_number,
            "email": person.email,
        }
        conn.execute(sa.insert(RESOURCE).values(**row, **common))
        for group in person.groups:
            member = {"group_id": f"group-{group}", "member_id": f"id-{person.subject.sub}", "member_type": USER}
            conn.execute(sa.insert(MEMBER).values(tenant=DEMO, **member))
    if not conn.execute(sa.select(CONTACT.c.tenant).where(CONTACT.c.tenant == DEMO)).first():
        conn.execute(sa.insert(CONTACT).values(tenant=DEMO, at=START))


def _user(sub: str) -> tuple[sa.ColumnElement[bool], ...]:
    return RESOURCE.c.tenant == DEMO, RESOURCE.c.resource_type == USER, RESOURCE.c.external_id == sub
