"""Invariant 14 at the SCIM door: one tenant's token sees, changes, counts and learns nothing of another's people."""

from __future__ import annotations

from collections.abc import Iterator

import httpx2
import pytest
import sqlalchemy as sa

from bot.identity.tables import ScimMember, table
from tests.kit.scim_house import (
    ACME,
    GLOBEX,
    GROUP_SCHEMA,
    GROUPS,
    PATCH_OP,
    USER_SCHEMA,
    USERS,
    Client,
    ScimHouse,
    shared_house,
)

BULK = "urn:ietf:params:scim:api:messages:2.0:BulkRequest"
NOBODY = "11111111-2222-3333-4444-555555555555"


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def engine_url(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ScimHouse]:
    """Named after what it stands in for, so that `make check` can leave PostgreSQL out."""
    with shared_house(request, tmp_path_factory.mktemp("scim")) as made:
        yield made


@pytest.fixture
def house(engine_url: ScimHouse) -> ScimHouse:
    engine_url.clear()
    return engine_url


@pytest.fixture
def theirs(house: ScimHouse) -> tuple[str, str]:
    """A user and a group of globex."""
    globex = house.client(GLOBEX)
    user = globex.user("dana", "d1", title="Theirs")
    return user, globex.group("Finance", user, externalId="f1")


def _same(answers: list[httpx2.Response], *ids: str) -> bool:
    """Whether two answers differ in nothing but the id that was asked for."""

    def plain(answer: httpx2.Response) -> tuple[int, str, set[str]]:
        text = answer.text
        for name in ids:
            text = text.replace(name, "ID")
        return answer.status_code, text, set(answer.headers)

    one, other = answers
    return plain(one) == plain(other)


def test_an_id_of_another_tenant_is_as_unknown_as_one_of_nobody(house: ScimHouse, theirs: tuple[str, str]) -> None:
    acme = house.client(ACME)
    state = _all(house.client(GLOBEX))
    for path, their in ((USERS, theirs[0]), (GROUPS, theirs[1])):
        schema = USER_SCHEMA if path == USERS else GROUP_SCHEMA
        whole = {"schemas": [schema], "userName": "x", "displayName": "x", "active": False, "members": []}
        patch = {"schemas": [PATCH_OP], "Operations": [{"op": "replace", "path": "displayName", "value": "x"}]}
        off = {
            "schemas": [PATCH_OP],
            "Operations": [{"op": "remove", "path": "members", "value": [{"value": theirs[0]}]}],
        }
        for method, body in (
            ("GET", None),
            ("PUT", whole),
            ("PATCH", patch),
            ("PATCH", off),
            ("DELETE", None),
        ):
            for headers in ({}, {"If-Match": 'W/"1"'}, {"If-Match": "*"}, {"If-None-Match": "*"}):
                answers = [acme.send(method, f"{path}/{one}", body, **headers) for one in (their, NOBODY)]
                assert _same(answers, their, NOBODY), (method, path, headers)
                assert answers[0].status_code == 404
        bulk = [
            acme.send(
                "POST",
                "/Bulk",
                {
                    "schemas": [BULK],
                    "Operations": [
                        {"method": "DELETE", "path": f"{path}/{one}"},
                        {"method": "PATCH", "path": f"{path}/{one}", "data": patch, "version": 'W/"1"'},
                        {"method": "PUT", "path": f"{path}/{one}", "data": whole},
                    ],
                },
            )
            for one in (their, NOBODY)
        ]
        assert _same(bulk, their, NOBODY)
        assert [one["status"] for one in bulk[0].json()["Operations"]] == ["404"] * 3
    assert _all(house.client(GLOBEX)) == state
    assert house.leavers.last() == {"d1"}


def _all(client: Client) -> list[object]:
    return [client.get(f"{path}?count=200")["Resources"] for path in (USERS, GROUPS)]


def test_nothing_of_another_tenant_is_found_counted_or_paged(house: ScimHouse, theirs: tuple[str, str]) -> None:
    acme = house.client(ACME)
    user, group = theirs
    for path in (USERS, GROUPS, "/"):
        for query in ("", "startIndex=1&count=200", "count=0", "sortBy=displayName"):
            assert acme.get(f"{path}?{query}")["totalResults"] == 0
    for wanted in (
        f'id eq "{user}"',
        'userName eq "dana"',
        'externalId eq "d1"',
        "userName pr",
        'title co "heir"',
        f'id ne "{NOBODY}"',
        "active eq true",
        f'not (id eq "{NOBODY}")',
    ):
        assert acme.found(USERS, wanted) == []
    for wanted in (
        f'members eq "{user}"',
        f'members[value eq "{user}"]',
        'displayName eq "Finance"',
        f'id eq "{group}"',
    ):
        assert acme.found(GROUPS, wanted) == []
    search = {"schemas": ["urn:ietf:params:scim:api:messages:2.0:SearchRequest"], "filter": f'id eq "{user}"'}
    assert acme.send("POST", "/.search", search).json()["totalResults"] == 0


def test_the_same_names_and_subjects_in_two_tenants_are_two_people(house: ScimHouse, theirs: tuple[str, str]) -> None:
    acme = house.client(ACME)
    mine = acme.user("dana", "d1")
    group = acme.group("Finance", mine, externalId="f1")
    house.leavers.last()
    assert acme.patch(f"{USERS}/{mine}", {"op": "replace", "path": "active", "value": False}).status_code == 204
    assert house.leavers.seen == [(ACME, frozenset({"d1"}))]
    ours, other = house.person("d1", ACME), house.person("d1", GLOBEX)
    assert ours is not None
    assert other is not None
    assert (ours.active, other.active) == (False, True)
    assert acme.send("DELETE", f"{GROUPS}/{group}").status_code == 204
    assert acme.send("DELETE", f"{USERS}/{mine}").status_code == 204
    assert house.client(GLOBEX).members(theirs[1]) == {theirs[0]}
    assert {one["tenant_id"] for one in house.audit("scim.changed") if one["detail"]["id"] in (mine, group)} == {ACME}


def test_a_member_of_another_tenant_is_nobody(house: ScimHouse, theirs: tuple[str, str]) -> None:
    acme = house.client(ACME)
    group = acme.group("Mine", theirs[0], NOBODY)
    assert acme.members(group) == set()
    version = acme.get(f"{GROUPS}/{group}")["meta"]["version"]
    both = [
        acme.patch(f"{GROUPS}/{group}", {"op": "add", "path": "members", "value": [{"value": one}]})
        for one in (theirs[0], NOBODY)
    ]
    assert _same(both)
    assert acme.members(group) == set()
    # Not even a new version tells that the id is somebody's.
    assert {one.headers["etag"] for one in both} == {version}
    assert acme.get(f"{GROUPS}/{group}")["meta"]["version"] == version
    inside = sa.select(sa.func.count()).select_from(table(ScimMember)).where(table(ScimMember).c.tenant == ACME)
    assert house.writer.read_blocking(lambda conn: conn.execute(inside).scalar_one()) == 0
    assert acme.found(GROUPS, f'members eq "{theirs[0]}"') == []
    other = house.person("d1", GLOBEX)
    assert other is not None
    assert "Mine" not in other.groups
    manager = acme.user(
        "m", "m1", **{"urn:ietf:params:scim:schemas:extension:enterprise:2.0:User": {"manager": theirs[0]}}
    )
    assert "Theirs" not in acme.send("GET", f"{USERS}/{manager}").text
    # A name that is another tenant's own id takes nothing from it.
    assert (
        acme.send("POST", USERS, {"schemas": [USER_SCHEMA], "userName": "p", "externalId": theirs[0]}).status_code
        == 201
    )


def test_inside_one_tenant_no_group_poses_under_anothers_id(house: ScimHouse) -> None:
    """`id:` in roles.yaml means a group's external id or its own."""
    acme = house.client(ACME)
    real = acme.group("Finance")
    posing = {"schemas": [GROUP_SCHEMA], "displayName": "Posing", "externalId": real}
    assert acme.send("POST", GROUPS, posing).status_code == 409
    other = acme.group("Other")
    patch = {"op": "replace", "path": "externalId", "value": real}
    assert acme.patch(f"{GROUPS}/{other}", patch).status_code == 409
