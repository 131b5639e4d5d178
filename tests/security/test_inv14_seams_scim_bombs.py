"""Invariant 14 where organisations share a process: one organisation's SCIM client keeps nobody else waiting."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from scim2_models import SCIMException

from bot.identity import scim_quirks
from policy.model import Json
from tests.kit.scim_house import PATCH_OP, USER_SCHEMA, USERS, ScimHouse, scim_house

SECONDS = 20
"""Far more than these take, far less than they took: a minute and more."""


@pytest.fixture
def house(sqlite_url: str) -> Iterator[ScimHouse]:
    with scim_house(sqlite_url) as opened:
        yield opened


def address(number: int) -> dict[str, Json]:
    return {"op": "add", "path": f'emails[type eq "t{number}"].value', "value": f"x{number}@y.example"}


@pytest.mark.parametrize(
    "path", ["members[" + " " * 1_990, "members[" + " " * 900 + "or" + " " * 900, "members" + " " * 1_990 + "["]
)
def test_a_path_of_spaces_is_read_in_no_time(path: str) -> None:
    begun = time.monotonic()
    for _ in range(20):
        with pytest.raises(SCIMException):
            scim_quirks.mend_patch("Group", {"Operations": [{"op": "remove", "path": path}]})
    assert time.monotonic() - begun < 3


def test_a_patch_makes_so_many_edits_and_no_more(house: ScimHouse) -> None:
    client = house.client()
    path = f"{USERS}/{client.user('ann')}"
    begun = time.monotonic()
    assert client.patch(path, *(address(n) for n in range(101))).status_code == 413
    # Entra's form without a path: each key is an edit.
    keys: dict[str, Json] = {f'emails[type eq "t{n}"].value': "x@y.example" for n in range(101)}
    assert client.patch(path, {"op": "add", "value": keys}).status_code == 413
    listed = [{"value": f"x{n}@y.example"} for n in range(5_000)]
    assert client.patch(path, {"op": "add", "path": "emails", "value": listed}).status_code == 413
    assert client.patch(path, {"op": "add", "value": {"emails": listed}}).status_code == 413
    fifty = [{"value": f"x{n}@y.example"} for n in range(50)]
    assert client.patch(path, *({"op": "add", "path": "emails", "value": fifty} for _ in range(3))).status_code == 413
    assert "emails" not in client.get(path)
    assert client.patch(path, *(address(n) for n in range(20))).status_code == 204
    assert time.monotonic() - begun < SECONDS


def test_nor_by_a_bulk_request(house: ScimHouse) -> None:
    client = house.client()
    user = client.user("ann")
    data = {"schemas": [PATCH_OP], "Operations": [address(n) for n in range(90)]}
    operations = [{"method": "PATCH", "path": f"/Users/{user}", "data": data} for _ in range(50)]
    body = {"schemas": ["urn:ietf:params:scim:api:messages:2.0:BulkRequest"], "Operations": operations}
    begun = time.monotonic()
    assert client.send("POST", "/Bulk", body).status_code == 413
    assert time.monotonic() - begun < SECONDS


def test_a_person_has_so_many_values_of_one_attribute(house: ScimHouse) -> None:
    """However they came: each later edit reads them all."""
    client = house.client()
    many = {"schemas": [USER_SCHEMA], "userName": "ann", "emails": [{"value": f"x{n}@y.example"} for n in range(5_000)]}
    assert client.send("POST", USERS, many).status_code == 413
    path = f"{USERS}/{client.user('bob')}"
    assert client.patch(path, *(address(n) for n in range(60))).status_code == 204
    assert client.patch(path, *(address(n) for n in range(60, 120))).status_code == 400
    assert len(client.get(path)["emails"]) == 60


def test_an_object_has_so_many_attributes(house: ScimHouse) -> None:
    keys = {f"attribute{n}": "x" for n in range(50_000)}
    begun = time.monotonic()
    assert house.client().send("POST", USERS, {"schemas": [USER_SCHEMA], "userName": "a", **keys}).status_code == 413
    assert time.monotonic() - begun < SECONDS


def test_members_of_a_user_are_nothing(house: ScimHouse) -> None:
    body = {"schemas": [USER_SCHEMA], "userName": "ann", "members": [{}, {"value": 1}, "x"]}
    assert house.client().send("POST", USERS, body).status_code == 201


def test_a_group_is_emptied_and_filled_in_one_request_as_before(house: ScimHouse) -> None:
    client = house.client()
    ids = [client.user(f"u{n}") for n in range(30)]
    group = client.group("All", *ids)
    removals = [{"op": "remove", "path": f'members[value eq "{one}"]'} for one in ids]
    assert client.patch(f"/Groups/{group}", *removals).status_code == 204
    assert client.members(group) == set()
    everybody = [{"value": one} for one in ids]
    assert client.patch(f"/Groups/{group}", {"op": "add", "path": "members", "value": everybody}).status_code == 204
    assert client.members(group) == set(ids)
    either = " or ".join(f'value eq "{one}"' for one in ids[:20])
    assert client.patch(f"/Groups/{group}", {"op": "remove", "path": f"members[ {either} ]"}).status_code == 204
    assert len(client.members(group)) == 10
