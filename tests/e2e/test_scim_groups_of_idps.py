"""Groups as Okta and Entra ID really send them, over real HTTP on both databases: nobody is lost by mistake.

Sources as in test_scim_okta_and_entra.py; issues are named owner/repo#number.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.kit.scim_house import GROUP_SCHEMA, GROUPS, USERS, Client, ScimHouse, shared_house

OTHER_SCHEMA = "urn:ietf:params:scim:schemas:extension:acme:2.0:Group"


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
def idp(house: ScimHouse) -> Client:
    return house.client()


def _with(shape: object, boss: str) -> object:
    if isinstance(shape, dict):
        return {key: _with(value, boss) for key, value in shape.items()}
    if isinstance(shape, list):
        return [_with(one, boss) for one in shape]
    return boss if shape == "{boss}" else shape


@pytest.fixture
def three(idp: Client) -> tuple[str, str, str, str]:
    a, b, c = (idp.user(name) for name in ("a", "b", "c"))
    return a, b, c, idp.group("Finance", a, b, c, externalId="8aa1a0c0")


@pytest.mark.parametrize(
    "operation",
    [
        # ENTRA, "Update group [remove members]"; AzureAD/SCIMReferenceCode#10, apache/directory-scimple#436 and
        # simpleidserver/SimpleIdServer#164 emptied the whole group at this.
        {"op": "Remove", "path": "members", "value": [{"$ref": None, "value": "{boss}"}]},
        {"op": "remove", "path": "members", "value": [{"value": "{boss}"}]},
        {"op": "Remove", "path": "Members", "value": {"value": "{boss}"}},
        {"op": "Remove", "path": "members", "value": "{boss}"},
        {"op": "Remove", "path": "members", "value": ["{boss}"]},
        {"op": "Remove", "value": {"members": [{"value": "{boss}"}]}},
        {"op": "Remove", "path": f"{GROUP_SCHEMA}:members", "value": [{"value": "{boss}", "display": "B"}]},
        # ENTRA-KNOWN, with the flag aadOptscim062020; OKTA, "Remove users from a group".
        {"op": "Remove", "path": 'members[value eq "{boss}"]'},
        {"op": "remove", "path": 'Members[Value EQ "{boss}"]'},
        {"op": "remove", "path": 'members.value eq "{boss}"'},
        {"op": "remove", "path": 'members[value eq "{boss}" or value eq "nobody"]'},
        {"op": "remove", "path": "members[value eq {boss}]"},
        {"op": "remove", "path": 'members[value eq "{boss}"]', "value": [{"value": "{boss}"}]},
    ],
)
def test_removing_one_member_removes_that_one(
    house: ScimHouse, idp: Client, three: tuple[str, str, str, str], operation: dict[str, object]
) -> None:
    a, b, c, group = three
    house.leavers.last()
    sent = {key: v.replace("{boss}", b) if isinstance(v, str) else _with(v, b) for key, v in operation.items()}
    answer = idp.patch(f"{GROUPS}/{group}", sent)
    assert answer.status_code == 204, answer.text
    assert idp.members(group) == {a, c}
    assert house.leavers.last() == {"b"}
    # Again: who is not in it can be removed without an error, and nothing changes.
    version = idp.get(f"{GROUPS}/{group}")["meta"]["version"]
    assert idp.patch(f"{GROUPS}/{group}", sent).status_code == 204
    assert idp.get(f"{GROUPS}/{group}")["meta"]["version"] == version
    assert house.leavers.last() == frozenset()


@pytest.mark.parametrize(
    "operation",
    [
        {"op": "remove", "path": "members"},
        {"op": "Remove", "path": "members", "value": None},
        {"op": "Remove", "path": "members", "value": [{"value": None}]},
        {"op": "Remove", "path": "members", "value": [{"$ref": None}]},
        {"op": "Remove", "path": "members", "value": [{}]},
        {"op": "Remove", "path": "members", "value": {}},
        {"op": "Remove", "path": "members", "value": ""},
        {"op": "Remove", "path": f"{GROUP_SCHEMA}:members"},
        {"op": "remove", "path": "members[value pr]"},
        {"op": "remove", "path": 'members[type eq "User"]'},
        {"op": "remove", "path": 'members[value ne "x"]'},
        {"op": "remove", "path": 'members[value eq "x" or value pr]'},
        {"op": "remove", "path": 'members[not (value eq "x")]'},
        {"op": "remove", "path": "members.value pr"},
        {"op": "remove", "path": "members.value"},
        {"op": "remove", "path": "members.type"},
        {"op": "replace", "path": "members"},
        {"op": "replace", "path": "members", "value": None},
        {"op": "replace", "value": {"members": None}},
        {"op": "replace", "path": "members", "value": [{"display": "a"}]},
        {"op": "replace", "path": "members", "value": [[]]},
        {"op": "replace", "path": 'members[value eq "x"]', "value": []},
        {"op": "replace", "path": "members[value pr]", "value": None},
        {"op": "remove"},
        {"op": "remove", "path": ""},
        {"op": "remove", "value": {"displayName": "Finance", "members": []}},
    ],
)
def test_no_group_is_emptied_by_mistake(
    house: ScimHouse, idp: Client, three: tuple[str, str, str, str], operation: object
) -> None:
    a, b, c, group = three
    house.leavers.last()
    answer = idp.patch(f"{GROUPS}/{group}", operation)
    assert answer.status_code == 400, answer.text
    assert idp.members(group) == {a, b, c}
    assert house.leavers.last() == frozenset()


@pytest.mark.parametrize(
    "operation",
    [
        # langwatch/langwatch#7131: any replace that was not a rename emptied the group.
        {"op": "Replace", "path": "externalId", "value": "new"},
        # OKTA, "Update a specific group name": an id beside the name.
        {"op": "replace", "value": {"id": "anything", "displayName": "Finance 2"}},
        {"op": "Replace", "path": "displayName", "value": "Finance 2"},
        {"op": "Replace", "path": "displayName", "value": [{"$ref": None, "value": "Finance 2"}]},
        {"op": "Add", "value": {"displayName": "Finance 2"}},
        {"op": "Remove", "path": "members", "value": []},
        {"op": "Add", "path": "members", "value": []},
        {"op": "Replace", "path": f"{OTHER_SCHEMA}:kind", "value": "x"},
        {"op": "Remove", "path": "externalId"},
    ],
)
def test_what_says_nothing_about_members_leaves_them(
    idp: Client, three: tuple[str, str, str, str], operation: object
) -> None:
    a, b, c, group = three
    answer = idp.patch(f"{GROUPS}/{group}", operation)
    assert answer.status_code == 204, answer.text
    assert idp.members(group) == {a, b, c}


def test_a_put_without_members_leaves_them_and_with_none_empties(
    house: ScimHouse, idp: Client, three: tuple[str, str, str, str]
) -> None:
    """OKTA, "Update a specific group (PUT)"."""
    a, b, c, group = three
    body = {"schemas": [GROUP_SCHEMA], "id": group, "displayName": "Finance 2"}
    assert idp.send("PUT", f"{GROUPS}/{group}", body).status_code == 200
    assert idp.members(group) == {a, b, c}
    assert idp.send("PUT", f"{GROUPS}/{group}", {**body, "members": None}).status_code == 400
    assert idp.members(group) == {a, b, c}
    new = [{"value": a, "display": "Another name", "$ref": "https://elsewhere.example/Users/x", "type": "direct"}]
    assert idp.send("PUT", f"{GROUPS}/{group}", {**body, "members": new}).status_code == 200
    (only,) = idp.get(f"{GROUPS}/{group}?attributes=members,members.display")["members"]
    assert (only["value"], only["display"], only["type"]) == (a, "a", "User")
    assert only["$ref"] == f"{house.url}/scim/v2/Users/{a}"
    house.leavers.last()
    assert idp.send("PUT", f"{GROUPS}/{group}", {**body, "members": []}).status_code == 200
    assert idp.members(group) == set()
    assert house.leavers.last() == {"a"}


def test_okta_replaces_members_outright(idp: Client, three: tuple[str, str, str, str]) -> None:
    """OKTA, group push; jelhub/scimgateway#113: an explicit empty list is meant."""
    a, b, _c, group = three
    answer = idp.patch(
        f"{GROUPS}/{group}",
        {"op": "remove", "path": f'members[value eq "{a}"]'},
        {"op": "add", "path": "members", "value": [{"value": a, "display": "test.user@okta.local"}]},
        {"op": "replace", "path": "members", "value": [{"value": a, "display": "x"}, {"value": b, "display": "y"}]},
    )
    assert answer.status_code == 204, answer.text
    assert idp.members(group) == {a, b}
    emptied = {"op": "replace", "value": {"members": [], "id": group, "displayName": "Finance"}}
    assert idp.patch(f"{GROUPS}/{group}", emptied).status_code == 204
    assert idp.members(group) == set()


def test_adding_who_is_there_is_no_error(house: ScimHouse, idp: Client, three: tuple[str, str, str, str]) -> None:
    """ENTRA, "Update group [add members]"."""
    a, b, c, group = three
    d = idp.user("d")
    house.leavers.last()
    add = {"op": "Add", "path": "members", "value": [{"$ref": None, "value": one} for one in (a, d, d)]}
    assert idp.patch(f"{GROUPS}/{group}", add).status_code == 204
    assert idp.members(group) == {a, b, c, d}
    assert house.leavers.last() == {"d"}
    assert idp.patch(f"{GROUPS}/{group}", add).status_code == 204
    assert idp.members(group) == {a, b, c, d}
    assert house.leavers.last() == frozenset()


def test_entra_asks_who_is_in_a_group(idp: Client, three: tuple[str, str, str, str]) -> None:
    """ENTRA: GET /Groups?excludedAttributes=members&filter=displayName eq, and id eq … and members eq …."""
    a, _b, _c, group = three
    outside = idp.user("outside")
    found = idp.get(f'{GROUPS}?excludedAttributes=members&filter=displayName eq "finance"')
    assert [one["id"] for one in found["Resources"]] == [group]
    assert "members" not in found["Resources"][0]
    assert idp.found(GROUPS, f'id eq "{group}" and members eq "{a}"') == [group]
    assert idp.found(GROUPS, f'id eq "{group}" and members eq "{outside}"') == []
    assert idp.found(GROUPS, f'members[value eq "{a}"]') == [group]
    assert idp.found(GROUPS, 'externalId eq "8aa1a0c0"') == [group]


def test_an_id_that_is_nobody_keeps_nothing_else_from_happening(
    house: ScimHouse, idp: Client, three: tuple[str, str, str, str]
) -> None:
    a, b, c, group = three
    answer = idp.patch(
        f"{GROUPS}/{group}",
        {"op": "Add", "path": "members", "value": [{"value": "00000000-stale"}, {"value": group}]},
        {"op": "Remove", "path": "members", "value": [{"value": b}]},
    )
    assert answer.status_code == 204, answer.text
    assert idp.members(group) == {a, c}
    assert house.audit("scim.changed")[-1]["detail"]["members_unknown"] == 2


def test_a_deleted_user_is_in_no_group_any_more(
    house: ScimHouse, idp: Client, three: tuple[str, str, str, str]
) -> None:
    a, b, c, group = three
    version = idp.get(f"{GROUPS}/{group}")["meta"]["version"]
    house.leavers.last()
    assert idp.send("DELETE", f"{USERS}/{b}").status_code == 204
    assert idp.send("DELETE", f"{USERS}/{b}").status_code == 404
    assert idp.members(group) == {a, c}
    assert idp.get(f"{GROUPS}/{group}")["meta"]["version"] != version
    assert house.leavers.last() == {"b"}
    assert house.person("b") is None
    # The name is free again, and the newcomer is in nothing.
    idp.user("b")
    assert house.person("b").groups == ()  # type: ignore[union-attr]
