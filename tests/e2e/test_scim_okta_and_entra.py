"""What Okta and Entra ID really send, over real HTTP on both databases. Each shape names where it is documented.

Sources. ENTRA: learn.microsoft.com/entra/identity/app-provisioning/use-scim-to-provision-users-and-groups.
ENTRA-KNOWN: …/application-provisioning-config-problem-scim-compatibility. OKTA: developer.okta.com, SCIM 2.0 protocol
reference. Issues are named owner/repo#number. The bodies were written after these descriptions.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.kit.scim_house import ENTERPRISE, GROUP_SCHEMA, GROUPS, USER_SCHEMA, USERS, Client, ScimHouse, shared_house

OTHER_SCHEMA = "urn:ietf:params:scim:schemas:extension:acme:2.0:User"


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


def active(house: ScimHouse, sub: str) -> bool:
    person = house.person(sub)
    assert person is not None
    return person.active


# -- users ---------------------------------------------------------------------------------------------------------


def test_okta_looks_before_it_creates(idp: Client) -> None:
    """OKTA, "Determine if the user already exists"."""
    asked = f"{USERS}?filter=userName%20eq%20%22test.user%40okta.local%22&startIndex=1&count=100"
    assert idp.get(asked)["totalResults"] == 0
    made = idp.user(
        "test.user@okta.local",
        "00ujl29u0le5T6Aj10h7",
        name={"givenName": "Test", "familyName": "User"},
        emails=[{"primary": True, "value": "test.user@okta.local", "type": "work"}],
        displayName="Test User",
        locale="en-US",
        groups=[],
        password="1mz050nq",
        active=True,
    )
    found = idp.get(asked)
    assert [one["id"] for one in found["Resources"]] == [made]
    assert "password" not in found["Resources"][0]
    assert isinstance(found["totalResults"], int)


def test_okta_puts_without_external_id_and_keeps_the_subject(house: ScimHouse, idp: Client) -> None:
    """OKTA, "Update a specific user (PUT)": its example has `groups` and `meta`, and no externalId."""
    made = idp.user("test.user@okta.local", "00ujl", active=True)
    answer = idp.send(
        "PUT",
        f"{USERS}/{made}",
        {
            "schemas": [USER_SCHEMA],
            "id": made,
            "userName": "test.user@okta.local",
            "name": {"givenName": "Another", "middleName": "Excited", "familyName": "User"},
            "emails": [{"primary": True, "value": "test.user@okta.local", "type": "work", "display": "x"}],
            "active": True,
            "groups": [],
            "meta": {"resourceType": "User"},
        },
    )
    assert answer.status_code == 200
    person = house.person("00ujl")
    assert person is not None
    assert person.display_name == "Another User"
    assert house.leavers.last() == frozenset()


def test_okta_deactivates_by_patch(house: ScimHouse, idp: Client) -> None:
    """OKTA, "Deactivate a user (PATCH)"."""
    made = idp.user("dana")
    assert idp.patch(f"{USERS}/{made}", {"op": "replace", "value": {"active": False}}).status_code == 204
    assert not active(house, "dana")
    assert house.leavers.last() == {"dana"}


@pytest.mark.parametrize(
    "operation",
    [
        # ENTRA-KNOWN, without the flag: {"op":"Replace","path":"active","value":"False"}.
        {"op": "Replace", "path": "active", "value": "False"},
        {"op": "replace", "path": "active", "value": False},
        {"op": "Replace", "path": "Active", "value": "false"},
        # ENTRA-KNOWN: the value in a list with a null $ref.
        {"op": "Replace", "path": "active", "value": [{"$ref": None, "value": "False"}]},
        {"op": "Replace", "value": {"active": "False"}},
        {"op": "Add", "path": "active", "value": "FALSE"},
        {"op": "Replace", "path": f"{USER_SCHEMA}:active", "value": "False"},
        {"op": "Replace", "value": {f"{USER_SCHEMA}:active": "False"}},
        {"OP": "REPLACE", "Path": "active", "VALUE": "False"},
    ],
)
def test_entra_deactivates_in_many_words(house: ScimHouse, idp: Client, operation: object) -> None:
    made = idp.user("dana")
    house.leavers.last()
    assert idp.patch(f"{USERS}/{made}", operation).status_code == 204
    assert not active(house, "dana")
    assert idp.get(f"{USERS}/{made}")["active"] is False
    assert house.leavers.last() == {"dana"}


@pytest.mark.parametrize("said", ["False", "false", " FALSE ", False])
def test_a_put_or_post_may_say_so_in_words(house: ScimHouse, idp: Client, said: object) -> None:
    """ENTRA-KNOWN: string booleans."""
    idp.user("gone", active=said)
    assert not active(house, "gone")
    made = idp.user("dana", active="True")
    answer = idp.send("PUT", f"{USERS}/{made}", {"schemas": [USER_SCHEMA], "userName": "dana", "active": said})
    assert answer.status_code == 200
    assert not active(house, "dana")


@pytest.mark.parametrize("said", [None, "", "yes", "1", 1, 0, [], {}, [True, False], {"value": None}, "Falsch", "on"])
def test_nothing_is_guessed_about_active(house: ScimHouse, idp: Client, said: object) -> None:
    leaver, stayer = idp.user("leaver", active=False), idp.user("stayer", active=True)
    before = house.audit("scim.changed")
    for made in (leaver, stayer):
        body = {"schemas": [USER_SCHEMA], "userName": made, "active": said}
        assert idp.send("PUT", f"{USERS}/{made}", body).status_code == 400
        for operation in (
            {"op": "replace", "path": "active", "value": said},
            {"op": "add", "value": {"active": said}},
            {"op": "remove", "path": "active"},
            {"op": "remove", "path": "active", "value": said},
        ):
            assert idp.patch(f"{USERS}/{made}", operation).status_code == 400
    assert idp.send("POST", USERS, {"schemas": [USER_SCHEMA], "userName": "new", "active": said}).status_code == 400
    assert (active(house, "leaver"), active(house, "stayer")) == (False, True)
    assert house.audit("scim.changed") == before


def test_active_twice_is_nothing_we_choose_between(house: ScimHouse, idp: Client) -> None:
    made = idp.user("leaver", active=False)
    for text in ('{"active": false, "active": true}', '{"Active": true, "active": false}'):
        body = f'{{"schemas": ["{USER_SCHEMA}"], "userName": "leaver", {text[1:]}'
        answer = idp.http.put(f"{USERS}/{made}", content=body, headers={"Content-Type": "application/json"})
        assert answer.status_code == 400
    assert not active(house, "leaver")


def test_a_put_without_active_switches_nobody(house: ScimHouse, idp: Client) -> None:
    leaver, stayer = idp.user("leaver", active=False), idp.user("stayer")
    for made, name in ((leaver, "leaver"), (stayer, "stayer")):
        body = {"schemas": [USER_SCHEMA], "userName": name, "displayName": f"New {name}"}
        assert idp.send("PUT", f"{USERS}/{made}", body).status_code == 200
    assert (active(house, "leaver"), active(house, "stayer")) == (False, True)
    assert idp.get(f"{USERS}/{leaver}")["active"] is False
    # Nor does a patch of anything else.
    assert idp.patch(f"{USERS}/{leaver}", {"op": "add", "path": "title", "value": "x"}).status_code == 204
    assert not active(house, "leaver")


def test_entra_restores_a_soft_deleted_user_by_saying_true(house: ScimHouse, idp: Client) -> None:
    """ENTRA, "Disable user" and its return within thirty days."""
    made = idp.user("dana")
    idp.patch(f"{USERS}/{made}", {"op": "Replace", "path": "active", "value": "False"})
    idp.patch(f"{USERS}/{made}", {"op": "Replace", "path": "displayName", "value": "Dana"})
    assert not active(house, "dana")
    idp.patch(f"{USERS}/{made}", {"op": "Replace", "path": "active", "value": "True"})
    assert active(house, "dana")


def test_created_without_active_is_active(house: ScimHouse, idp: Client) -> None:
    idp.user("dana")
    assert active(house, "dana")


def test_entra_names_attributes_in_keys(house: ScimHouse, idp: Client) -> None:
    """ENTRA-KNOWN: a replace without a path, keys with dots and URNs; ENTRA, "Update user [multi-valued]"."""
    made = idp.user("dana")
    answer = idp.patch(
        f"{USERS}/{made}",
        {
            "op": "Replace",
            "value": {
                "displayName": "Dana Wu",
                "name.givenName": "Dana",
                "name.familyName": "Wu",
                'emails[type eq "work"].value': "dana@acme.example",
                'phoneNumbers[type eq "mobile"].value': "+1 555 0100",
                'addresses[type eq "work"].country': "DE",
                f"{ENTERPRISE}:department": "Claims",
                f"{ENTERPRISE}:employeeNumber": "701984",
                f"{OTHER_SCHEMA}:shoeSize": "44",
                "favouriteColour": "blue",
            },
        },
    )
    assert answer.status_code == 204, answer.text
    found = idp.get(f"{USERS}/{made}")
    assert found["name"] == {"givenName": "Dana", "familyName": "Wu"}
    assert found["emails"] == [{"type": "work", "value": "dana@acme.example"}]
    assert found["phoneNumbers"] == [{"type": "mobile", "value": "+1 555 0100"}]
    assert found["addresses"] == [{"type": "work", "country": "DE"}]
    assert found[ENTERPRISE] == {"department": "Claims", "employeeNumber": "701984"}
    assert set(found["schemas"]) == {USER_SCHEMA, ENTERPRISE}
    person = house.person("dana")
    assert person is not None
    assert (person.email, person.employee_number) == ("dana@acme.example", "701984")


@pytest.mark.parametrize(
    "operation",
    [
        {"op": "Add", "path": 'emails[type eq "work"].value', "value": "new@acme.example"},
        {"op": "Replace", "path": 'emails[type eq "work"].value', "value": "new@acme.example"},
        {"op": "Replace", "path": 'emails[type eq "work"].value', "value": [{"value": "new@acme.example"}]},
        {"op": "Add", "path": "emails", "value": {"type": "work", "value": "new@acme.example", "primary": "True"}},
        {"op": "Add", "path": "emails", "value": [{"type": "work", "value": "new@acme.example"}]},
        {"op": "Replace", "path": "emails", "value": "new@acme.example"},
        {"op": "Replace", "path": "emails", "value": ["new@acme.example"]},
    ],
)
def test_a_mail_that_was_not_there(house: ScimHouse, idp: Client, operation: object) -> None:
    """ENTRA, "Update user [multi-valued properties]"."""
    made = idp.user("dana")
    answer = idp.patch(f"{USERS}/{made}", operation)
    assert answer.status_code == 204, answer.text
    person = house.person("dana")
    assert person is not None
    assert person.email == "new@acme.example"


@pytest.mark.parametrize(
    "operation",
    [
        # ENTRA: manager as a reference; AzureAD/SCIMReferenceCode and MicrosoftDocs/azure-docs#11784 for the others.
        {"op": "Add", "path": f"{ENTERPRISE}:manager", "value": "{boss}"},
        {"op": "Replace", "path": f"{ENTERPRISE}:manager", "value": [{"$ref": "http://x/Users/1", "value": "{boss}"}]},
        {"op": "Replace", "path": f"{ENTERPRISE}:manager", "value": {"value": "{boss}", "displayName": "Boss"}},
        {"op": "Replace", "path": f"{ENTERPRISE}:manager.value", "value": "{boss}"},
        {"op": "Replace", "value": {f"{ENTERPRISE}:manager": "{boss}"}},
        {"op": "Replace", "value": {ENTERPRISE: {"manager": "{boss}"}}},
        {"op": "Add", "path": ENTERPRISE, "value": {"manager": {"value": "{boss}"}}},
    ],
)
def test_a_manager_in_many_forms(idp: Client, operation: object) -> None:
    boss, made = idp.user("boss"), idp.user("dana")
    answer = idp.patch(f"{USERS}/{made}", _with(operation, boss))
    assert answer.status_code == 204, answer.text
    assert idp.get(f"{USERS}/{made}")[ENTERPRISE]["manager"]["value"] == boss
    # ENTRA, "Verify a reference attribute".
    assert idp.found(USERS, f'id eq "{made}" and manager eq "{boss}"') == [made]
    assert idp.found(USERS, f'id eq "{made}" and manager eq "{made}"') == []
    nothing: list[object] = ["", None, []]
    for gone in nothing:
        assert idp.patch(
            f"{USERS}/{made}", {"op": "Replace", "path": f"{ENTERPRISE}:manager", "value": gone}
        ).is_success
        assert "manager" not in idp.get(f"{USERS}/{made}").get(ENTERPRISE, {})


def _with(shape: object, boss: str) -> object:
    if isinstance(shape, dict):
        return {key: _with(value, boss) for key, value in shape.items()}
    if isinstance(shape, list):
        return [_with(one, boss) for one in shape]
    return boss if shape == "{boss}" else shape


def test_a_create_as_entra_sends_it(house: ScimHouse, idp: Client) -> None:
    """ENTRA, "Create user", with a manager as a bare string, roles of every kind and a schema nobody knows."""
    answer = idp.send(
        "POST",
        USERS,
        {
            "schemas": [USER_SCHEMA, ENTERPRISE, OTHER_SCHEMA],
            "externalId": "0a21f0f2-8d2a-4f8e-bf98-7363c4aed4ef",
            "userName": "Test_User_ab6490ee",
            "active": True,
            "emails": [{"primary": "True", "type": "work", "value": "Test_User_fd0ea19b@testuser.com"}],
            "meta": {"resourceType": "User"},
            "name": {"formatted": "givenName familyName", "familyName": "familyName", "givenName": "givenName"},
            # ENTRA, SingleAppRoleAssignment and AppRoleAssignmentsComplex.
            "roles": [
                {"primary": "False", "type": "WindowsAzureActiveDirectoryRole", "display": "Admin", "value": "Admin"},
                '{"id":"06b07648","value":"25","displayName":"Role1234"}',
            ],
            ENTERPRISE: {"department": "bob", "manager": "1850f5d5", "employeeNumber": 701984},
            OTHER_SCHEMA: {"shoeSize": 44},
            "favouriteColour": {"rgb": [0, 0, 255]},
        },
    )
    assert answer.status_code == 201, answer.text
    made = answer.json()
    assert made[ENTERPRISE] == {"department": "bob", "manager": {"value": "1850f5d5"}, "employeeNumber": "701984"}
    assert OTHER_SCHEMA not in made
    assert OTHER_SCHEMA not in made["schemas"]
    assert "favouriteColour" not in made
    assert next(one["value"] for one in made["roles"]) == "Admin"
    assert house.person("0a21f0f2-8d2a-4f8e-bf98-7363c4aed4ef") is not None


@pytest.mark.parametrize(
    "operation",
    [
        {"op": "Add", "path": 'roles[primary eq "True"].value', "value": "Admin"},
        {"op": "Add", "path": "roles", "value": [{"value": '{"id":"06b0","value":"25"}'}]},
        {"op": "Replace", "path": "roles", "value": ["Admin"]},
        {"op": "Replace", "path": "roles", "value": [{"primary": "perhaps", "value": "Admin"}]},
    ],
)
def test_roles_of_every_kind_are_no_error(idp: Client, operation: object) -> None:
    """ENTRA, "Provisioning a role to a SCIM app". They grant nothing here: rights come from groups."""
    made = idp.user("dana")
    answer = idp.patch(f"{USERS}/{made}", operation)
    assert answer.status_code == 204, answer.text
    assert len(idp.get(f"{USERS}/{made}")["roles"]) == 1


def test_a_patch_of_unknown_things_alone_changes_nothing(idp: Client) -> None:
    made = idp.user("dana")
    before = idp.get(f"{USERS}/{made}")
    for operation in (
        {"op": "Add", "path": f"{OTHER_SCHEMA}:shoeSize", "value": "44"},
        {"op": "Replace", "path": "favouriteColour", "value": "blue"},
        {"op": "Remove", "path": "favouriteColour"},
        {"op": "Replace", "value": {"id": "other", "meta": {}, "schemas": [], "groups": []}},
        {"op": "Replace", "path": "password", "value": "hunter2"},
    ):
        answer = idp.patch(f"{USERS}/{made}", operation)
        assert answer.status_code == 204, answer.text
    assert idp.get(f"{USERS}/{made}") == before


def test_an_external_id_of_null_is_none_and_takes_the_subject_away(house: ScimHouse, idp: Client) -> None:
    made = idp.user("dana")
    assert idp.send("POST", USERS, {"schemas": [USER_SCHEMA], "userName": "x", "externalId": None}).status_code == 201
    assert idp.send("POST", USERS, {"schemas": [USER_SCHEMA], "userName": "y", "externalId": ""}).status_code == 201
    for gone in (None, ""):
        idp.patch(f"{USERS}/{made}", {"op": "Replace", "path": "externalId", "value": "dana"})
        house.leavers.last()
        body = {"schemas": [USER_SCHEMA], "userName": "dana", "externalId": gone}
        assert idp.send("PUT", f"{USERS}/{made}", body).status_code == 200
        assert house.person("dana") is None
        assert house.leavers.last() == {"dana"}
        idp.patch(f"{USERS}/{made}", {"op": "Add", "path": "externalId", "value": "dana"})
        assert idp.patch(f"{USERS}/{made}", {"op": "Replace", "path": "externalId", "value": gone}).is_success
        assert house.person("dana") is None


def test_a_user_name_may_change_and_be_looked_up_in_any_case(idp: Client) -> None:
    """OKTA, userName changes come as any other update."""
    made = idp.user("dana@old.example")
    idp.patch(f"{USERS}/{made}", {"op": "Replace", "path": "userName", "value": "Dana@New.example"})
    assert idp.found(USERS, 'userName eq "dana@new.EXAMPLE"') == [made]
    assert idp.found(USERS, 'username Eq "dana@old.example"') == []
    again = {"schemas": [USER_SCHEMA], "userName": "DANA@new.example"}
    answer = idp.send("POST", USERS, again)
    assert (answer.status_code, answer.json()["scimType"]) == (409, "uniqueness")
    same = {"schemas": [USER_SCHEMA], "userName": "other", "externalId": "dana@old.example"}
    assert idp.send("POST", USERS, same).status_code == 409


# -- groups --------------------------------------------------------------------------------------------------------


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
