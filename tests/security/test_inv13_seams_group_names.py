"""Invariant 13 where a role hangs on a group's name: a second group of that name grants nothing, it is not taken."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.kit.scim_house import GLOBEX, GROUP_SCHEMA, GROUPS, ScimHouse, scim_house

NAME = "Finance approvers"


@pytest.fixture
def house(engine_url: str) -> Iterator[ScimHouse]:
    with scim_house(engine_url) as opened:
        yield opened


def groups_of(house: ScimHouse, sub: str) -> tuple[str, ...]:
    person = house.person(sub)
    assert person is not None
    return tuple(name for name in person.groups if not name.startswith("id:"))


def test_nobody_joins_a_role_by_making_a_group_of_its_name(house: ScimHouse) -> None:
    client = house.client()
    ann, mal = client.user("ann"), client.user("mal")
    approvers = client.group(NAME, ann, externalId="real")
    body = {"schemas": [GROUP_SCHEMA], "displayName": NAME, "externalId": "fake", "members": [{"value": mal}]}
    answer = client.send("POST", GROUPS, body)
    assert (answer.status_code, answer.json()["scimType"]) == (409, "uniqueness")
    other = client.group("Chess club", mal, externalId="fake")
    assert client.patch(f"{GROUPS}/{other}", {"op": "replace", "path": "displayName", "value": NAME}).status_code == 409
    assert client.patch(f"{GROUPS}/{other}", {"op": "replace", "value": {"displayName": NAME}}).status_code == 409
    assert client.send("PUT", f"{GROUPS}/{other}", {**body, "id": other}).status_code == 409
    bulk = {
        "schemas": ["urn:ietf:params:scim:api:messages:2.0:BulkRequest"],
        "Operations": [{"method": "POST", "path": "/Groups", "bulkId": "1", "data": {**body, "externalId": "more"}}],
    }
    assert client.send("POST", "/Bulk", bulk).json()["Operations"][0]["status"] == "409"
    assert groups_of(house, "mal") == ("Chess club",)
    assert groups_of(house, "ann") == (NAME,)
    # The group itself goes on as it was, and another organisation has one of the same name.
    said = {**body, "externalId": "real", "members": [{"value": ann}]}
    assert client.send("PUT", f"{GROUPS}/{approvers}", said).status_code == 200
    house.client(GLOBEX).group(NAME)
    # Once it is gone, its name is free.
    assert client.send("DELETE", f"{GROUPS}/{approvers}").status_code == 204
    assert client.patch(f"{GROUPS}/{other}", {"op": "replace", "path": "displayName", "value": NAME}).status_code == 204
