"""What the SCIM tables say of people: groups under every name, links, freshness, and nothing across tenants."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Connection
from sqlmodel import SQLModel

from audit.writer import make_engine
from bot.identity.scim_directory import NEVER, ScimDirectory
from bot.identity.tables import IdentityBar, IdentityLink, ScimContact, ScimMember, ScimResource, SignInSeen, table
from bot.messages import ChatUser, SurfaceName
from policy.model import Subject, TenantId

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
ACME, GLOBEX = TenantId("acme"), TenantId("globex")
SLACK, WEB = SurfaceName("slack"), SurfaceName("web")
OWN = (ScimResource, ScimMember, ScimContact, SignInSeen, IdentityLink, IdentityBar)


@dataclass(frozen=True, slots=True)
class AnIssuer:
    issuer: str


@dataclass(frozen=True, slots=True)
class ATenant:
    issuer: AnIssuer


@dataclass(frozen=True, slots=True)
class SomeTenants:
    tenants: Mapping[TenantId, ATenant]
    teams: Mapping[tuple[str, str], TenantId]
    own: Mapping[TenantId, tuple[str, ...]] = field(default_factory=dict)

    def tenant_of(self, surface: SurfaceName, team: str) -> TenantId | None:
        return self.teams.get((surface, team))

    def teams_of(self, tenant: TenantId) -> tuple[tuple[SurfaceName, str], ...]:
        return tuple((SurfaceName(at[0]), at[1]) for at, owner in self.teams.items() if owner == tenant)

    def own_teams(self, tenant: TenantId) -> tuple[str, ...]:
        return self.own.get(tenant, ())


# Both tenants at one issuer, as with a shared sign-in service: only the tenant tells them apart.
ISSUER = "https://id.example"
TENANTS = SomeTenants(
    {ACME: ATenant(AnIssuer(ISSUER)), GLOBEX: ATenant(AnIssuer(ISSUER))},
    {("slack", "T1"): ACME, ("slack", "T2"): GLOBEX},
)
DIRECTORY = ScimDirectory(TENANTS)


@pytest.fixture
def conn(engine_url: str) -> Iterator[Connection]:
    engine = make_engine(engine_url)
    SQLModel.metadata.create_all(engine, tables=[table(one) for one in OWN])
    with engine.begin() as connection:
        yield connection
    engine.dispose()


def add(conn: Connection, *rows: SQLModel) -> None:
    for row in rows:
        conn.execute(sa.insert(table(type(row))).values(**row.model_dump()))


def user(rid: str, sub: str | None, tenant: TenantId = ACME, **more: Any) -> ScimResource:
    return _resource(rid, "User", sub, tenant, {"unique_name": rid, **more})


def group(rid: str, name: str | None, external_id: str | None = None, tenant: TenantId = ACME) -> ScimResource:
    return _resource(rid, "Group", external_id, tenant, {"display_name": name})


def _resource(rid: str, kind: str, external_id: str | None, tenant: str, more: dict[str, Any]) -> ScimResource:
    return ScimResource(
        tenant=tenant,
        resource_id=rid,
        resource_type=kind,
        external_id=external_id,
        document="{}",
        version=1,
        created_at=NOW,
        modified_at=NOW,
        **more,
    )


def member(gid: str, rid: str, tenant: TenantId = ACME) -> ScimMember:
    return ScimMember(tenant=tenant, group_id=gid, member_id=rid)


def link(account: str, sub: str, tenant: TenantId = ACME, team: str = "T1", enterprise: str = "") -> IdentityLink:
    return IdentityLink(
        surface="slack",
        enterprise=enterprise,
        team=team,
        account=account,
        tenant=tenant,
        issuer=ISSUER,
        sub=sub,
        how="proved",
        by=sub,
        linked_at=NOW,
    )


def test_a_person_carries_every_name_of_their_direct_groups(conn: Connection) -> None:
    add(
        conn,
        user("u1", "dana", display_name="Dana Wu", email="dana@acme.example", employee_number="7"),
        group("g1", "Finance", "ext-1"),
        group("g2", "id:ext-1"),
        group("g3", "Outer"),
        member("g1", "u1"),
        member("g2", "u1"),
        ScimMember(tenant=ACME, group_id="g3", member_id="g1", member_type="Group"),
        link("U1", "dana"),
        link("U1", "dana", team="T1", enterprise="E1"),
        ScimContact(tenant=ACME, at=NOW),
    )
    dana = DIRECTORY.by_subject(conn, ACME, Subject(ISSUER, "dana"))
    assert dana is not None
    # "Outer" holds Finance, not Dana; a display name that poses as an id is not passed on.
    assert dana.groups == ("Finance", "id:ext-1", "id:g1", "id:g2")
    assert (dana.display_name, dana.email, dana.employee_number, dana.active) == (
        "Dana Wu",
        "dana@acme.example",
        "7",
        True,
    )
    assert dana.accounts == (ChatUser(SLACK, "T1", "U1"), ChatUser(SLACK, "T1", "U1", "E1"))
    assert dana.confirmed_at == NOW


def test_an_account_leads_to_its_person_and_no_further(conn: Connection) -> None:
    add(conn, user("u1", "dana"), user("u2", "dana", GLOBEX), link("U1", "dana"))
    found = DIRECTORY.by_account(conn, ChatUser(SLACK, "T1", "U1"))
    assert found is not None
    assert found.tenant == ACME
    assert DIRECTORY.by_account(conn, ChatUser(SLACK, "T2", "U1")) is None
    assert DIRECTORY.by_account(conn, ChatUser(SLACK, "T1", "U1", "E9")) is None


def test_a_team_that_moved_to_another_tenant_takes_nobody_with_it(conn: Connection) -> None:
    add(conn, user("u1", "dana"), user("u2", "dana", GLOBEX), link("U1", "dana"))
    moved = ScimDirectory(SomeTenants(TENANTS.tenants, {("slack", "T1"): GLOBEX}))
    assert moved.by_account(conn, ChatUser(SLACK, "T1", "U1")) is None


def test_a_web_session_acts_as_its_own_subject(conn: Connection) -> None:
    add(conn, user("u1", "da|na"), user("u2", "eve", GLOBEX))
    found = DIRECTORY.by_account(conn, ChatUser(WEB, "acme", str(Subject(ISSUER, "da|na"))))
    assert found is not None
    assert found.subject == Subject(ISSUER, "da|na")
    for team, name in (
        ("acme", f"{ISSUER}|eve"),
        ("acme", f"{ISSUER}|"),
        ("acme", "https://other.example|da|na"),
        ("nobody", f"{ISSUER}|da|na"),
        ("acme", "da|na"),
    ):
        assert DIRECTORY.by_account(conn, ChatUser(WEB, team, name)) is None


def test_another_issuer_or_no_external_id_is_nobody(conn: Connection) -> None:
    add(conn, user("u1", "dana"), user("u2", None), user("u3", None, active=False))
    assert DIRECTORY.by_subject(conn, ACME, Subject("https://other.example", "dana")) is None
    assert DIRECTORY.by_subject(conn, ACME, Subject(ISSUER, "")) is None
    assert [one.subject.sub for one in DIRECTORY.people(conn, ACME)] == ["dana"]
    assert DIRECTORY.unsubjected(conn, ACME) == ("u2",)
    assert DIRECTORY.people(conn, TenantId("nobody")) == ()


def test_what_nobody_ever_confirmed_is_older_than_any_limit(conn: Connection) -> None:
    add(conn, user("u1", "dana"))
    subject = Subject(ISSUER, "dana")
    found = DIRECTORY.by_subject(conn, ACME, subject)
    assert found is not None
    assert found.confirmed_at == NEVER
    add(conn, ScimContact(tenant=ACME, at=NOW - timedelta(days=9)))
    add(conn, SignInSeen(tenant=ACME, issuer=ISSUER, sub="dana", at=NOW))
    add(conn, SignInSeen(tenant=GLOBEX, issuer=ISSUER, sub="dana", at=NOW + timedelta(days=1)))
    found = DIRECTORY.by_subject(conn, ACME, subject)
    assert found is not None
    assert found.confirmed_at == NOW


def test_members_are_the_active_people_of_the_named_groups(conn: Connection) -> None:
    add(
        conn,
        *(user(f"u{n}", f"p{n}") for n in (1, 2, 3)),
        user("u4", "p4", active=False),
        group("g1", "Finance", "ext-1"),
        group("g2", "Sales"),
        group("g3", "id:g2"),
        member("g1", "u1"),
        member("g1", "u4"),
        member("g2", "u1"),
        member("g2", "u2"),
        member("g3", "u3"),
        user("v1", "p1", GLOBEX),
        group("h1", "Finance", tenant=GLOBEX),
        member("h1", "v1", GLOBEX),
    )

    def named(*groups: str) -> list[str]:
        return [one.subject.sub for one in DIRECTORY.members(conn, ACME, frozenset(groups))]

    assert named("Finance") == named("id:ext-1") == named("id:g1") == ["p1"]
    assert named("Sales") == named("id:g2") == ["p1", "p2"]
    assert named("finance") == named() == []
    (p1,) = DIRECTORY.members(conn, ACME, frozenset({"Finance"}))
    # Roles hang on all of somebody's groups, not on the one that was asked for.
    assert "Sales" in p1.groups
    assert DIRECTORY.groups_unmapped(conn, ACME, frozenset({"id:ext-1"})) == ("Sales", "id:g3")
    assert DIRECTORY.groups_unmapped(conn, GLOBEX, frozenset()) == ("Finance",)
    assert DIRECTORY.tenants() == (ACME, GLOBEX)
    assert DIRECTORY.tenant_of(SLACK, "T2") == GLOBEX


def test_ten_thousand_people_are_no_scan_for_one(conn: Connection) -> None:
    rows = [user(f"u{n}", f"p{n}").model_dump() for n in range(10_000)]
    conn.execute(sa.insert(table(ScimResource)), rows)
    add(conn, group("g1", "All"))
    conn.execute(
        sa.insert(table(ScimMember)),
        [{"tenant": ACME, "group_id": "g1", "member_id": f"u{n}", "member_type": "User"} for n in range(10_000)],
    )
    if conn.dialect.name == "postgresql":
        conn.exec_driver_sql("ANALYZE")
    statements: list[str] = []
    sa.event.listen(conn, "before_cursor_execute", lambda *args: statements.append(args[2]))
    begun = time.perf_counter()
    for n in range(100):
        assert DIRECTORY.by_subject(conn, ACME, Subject(ISSUER, f"p{n * 97}")) is not None
    one = (time.perf_counter() - begun) / 100
    assert len(statements) == 200
    everybody = time.perf_counter()
    assert len(DIRECTORY.people(conn, ACME)) == 10_000
    # No stopwatch test: one look-up against reading everybody, in the same run.
    assert one < (time.perf_counter() - everybody) / 10


# --- accounts that need no link ----------------------------------------------------------------------------


TEAMS, TID = SurfaceName("teams"), "aaaaaaaa-0000-4000-8000-000000000000"
OID = "00000001-1111-4111-8111-abcdefabcdef"
OWN_ENTRA = SomeTenants(TENANTS.tenants, {**TENANTS.teams, ("teams", TID): ACME}, {ACME: (TID,)})


def entra_link(account: str, sub: str) -> IdentityLink:
    given = link(account, sub).model_dump() | {"surface": "teams", "team": TID}
    return IdentityLink(**given)


def bar(account: str, tenant: TenantId = ACME) -> IdentityBar:
    return IdentityBar(
        tenant=tenant, surface="teams", team=TID, account=account, cause="by_holder", by="x", barred_at=NOW
    )


def test_an_entra_account_is_its_person_without_a_link(conn: Connection) -> None:
    directory, who = ScimDirectory(OWN_ENTRA), ChatUser(TEAMS, TID, OID)
    add(conn, user("u1", OID), user("u2", "no-object-id"), link("U1", OID))
    found = directory.by_account(conn, who)
    assert found is not None
    assert found.accounts == (ChatUser(SLACK, "T1", "U1"), who)
    assert [person.accounts for person in directory.people(conn, ACME)] == [found.accounts, ()]
    assert directory.implied(who) == found.subject
    for other in (
        ChatUser(TEAMS, TID, OID.upper()),
        ChatUser(TEAMS, TID, "no-object-id"),
        ChatUser(TEAMS, TID, OID, "E1"),
        ChatUser(SurfaceName("slack"), "T1", OID),
        ChatUser(TEAMS, "bbbbbbbb-0000-4000-8000-000000000000", OID),
    ):
        assert directory.by_account(conn, other) is None, other
        assert directory.implied(other) is None, other


def test_a_link_says_otherwise_and_a_bar_says_nobody(conn: Connection) -> None:
    directory, who = ScimDirectory(OWN_ENTRA), ChatUser(TEAMS, TID, OID)
    other = OID.replace("1-", "2-", 1)
    add(conn, user("u1", OID), user("u2", other), bar(other), bar(OID, GLOBEX))
    assert directory.by_account(conn, ChatUser(TEAMS, TID, other)) is None
    barred = directory.by_subject(conn, ACME, Subject(ISSUER, other))
    assert barred is not None
    assert barred.accounts == ()
    add(conn, entra_link(OID, other))
    found = directory.by_account(conn, who)
    assert found is not None
    assert (found.subject.sub, found.accounts) == (other, (who,))
    by_sub = {person.subject.sub: person.accounts for person in directory.people(conn, ACME)}
    assert by_sub == {OID: (), other: (who,)}


def test_ten_thousand_links_are_no_scan_for_one_who_needs_none(conn: Connection) -> None:
    names = [f"{n:08x}-1111-4111-8111-abcdefabcdef" for n in range(10_000)]
    conn.execute(sa.insert(table(ScimResource)), [user(f"u{n}", name).model_dump() for n, name in enumerate(names)])
    linked = [entra_link(name, name).model_dump() for name in names[1:]]
    conn.execute(sa.insert(table(IdentityLink)), linked)
    if conn.dialect.name == "postgresql":
        conn.execute(sa.text("ANALYZE"))
    directory = ScimDirectory(OWN_ENTRA)
    began = time.perf_counter()
    for _ in range(20):
        assert directory.by_account(conn, ChatUser(TEAMS, TID, names[0])) is not None
    assert (time.perf_counter() - began) / 20 < 0.05
    began = time.perf_counter()
    assert len(directory.people(conn, ACME)) == 10_000
    assert time.perf_counter() - began < 10
