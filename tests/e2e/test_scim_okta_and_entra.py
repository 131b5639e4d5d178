"""Users as Okta and Entra ID really send them, over real HTTP on both databases. Each shape names its source.

Sources. ENTRA: learn.microsoft.com/entra/identity/app-provisioning/use-scim-to-provision-users-and-groups.
ENTRA-KNOWN: …/application-provisioning-config-problem-scim-compatibility. OKTA: developer.okta.com, SCIM 2.0 protocol
reference. Issues are named owner/repo#number. The bodies were written after these descriptions.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.kit.scim_house import ENTERPRISE, USER_SCHEMA, USERS, Client, ScimHouse, shared_house

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
