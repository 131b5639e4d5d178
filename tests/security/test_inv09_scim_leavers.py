"""Invariant 9 at the SCIM door: whoever left, lost a group or changed who they are is reported in that transaction."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.kit.scim_house import (
    ENTERPRISE,
    GROUP_SCHEMA,
    GROUPS,
    USER_SCHEMA,
    USERS,
    Client,
    ScimHouse,
    shared_house,
)


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


def test_every_change_that_may_concern_somebody_is_reported(house: ScimHouse, idp: Client) -> None:
    a, b = idp.user("a"), idp.user("b")
    group = idp.group("Finance", a, b, externalId="g1")
    other = idp.group("Other")
    assert house.leavers.last() == {"a", "b"}

    def patched(path: str, /, **operation: object) -> frozenset[str]:
        assert idp.patch(path, operation).status_code == 204
        return house.leavers.last()

    assert patched(f"{USERS}/{a}", op="replace", path="active", value=False) == {"a"}
    assert patched(f"{USERS}/{a}", op="replace", path="active", value=True) == {"a"}
    assert patched(f"{USERS}/{a}", op="replace", path="title", value="Boss") == frozenset()
    assert patched(f"{USERS}/{a}", op="replace", path=f"{ENTERPRISE}:employeeNumber", value="7") == {"a"}
    # The old subject is gone, whoever the new one is.
    assert patched(f"{USERS}/{a}", op="replace", path="externalId", value="a2") == {"a", "a2"}
    assert patched(f"{GROUPS}/{other}", op="add", path="members", value=[{"value": a}]) == {"a2"}
    # Roles hang on a group's names.
    assert patched(f"{GROUPS}/{group}", op="replace", path="displayName", value="Money") == {"a2", "b"}
    assert patched(f"{GROUPS}/{group}", op="replace", path="externalId", value="g2") == {"a2", "b"}
    assert patched(f"{GROUPS}/{group}", op="remove", path=f'members[value eq "{b}"]') == {"b"}
    put = {"schemas": [GROUP_SCHEMA], "displayName": "Money", "externalId": "g2", "members": [{"value": b}]}
    assert idp.send("PUT", f"{GROUPS}/{group}", put).status_code == 200
    assert house.leavers.last() == {"a2", "b"}
    assert idp.send("DELETE", f"{GROUPS}/{group}").status_code == 204
    assert house.leavers.last() == {"b"}
    assert idp.send("DELETE", f"{USERS}/{a}").status_code == 204
    assert house.leavers.last() == {"a2"}
    assert house.person("a2") is None


def test_the_report_and_the_change_are_one(house: ScimHouse, idp: Client) -> None:
    a = idp.user("a")
    group = idp.group("Finance", a)
    house.leavers.fails = RuntimeError()
    answers = [
        idp.patch(f"{USERS}/{a}", {"op": "replace", "path": "active", "value": False}),
        idp.send("DELETE", f"{USERS}/{a}"),
        idp.send("DELETE", f"{GROUPS}/{group}"),
        idp.patch(f"{GROUPS}/{group}", {"op": "replace", "path": "members", "value": []}),
    ]
    assert {one.status_code for one in answers} == {500}
    person = house.person("a")
    assert person is not None
    assert person.active
    assert "Finance" in person.groups
    house.leavers.fails = None
    assert idp.patch(f"{USERS}/{a}", {"op": "replace", "path": "active", "value": False}).status_code == 204


NAMES = ("ann", "bob", "cem", "dee")
GROUP_NAMES = ("Finance", "Sales")


@dataclass
class World:
    """Users, who is active, and who is in which group, in plain Python, beside the endpoint."""

    idp: Client
    groups: dict[str, str]
    users: dict[str, bool] = field(default_factory=dict)
    ids: dict[str, str] = field(default_factory=dict)
    members: dict[str, set[str]] = field(default_factory=lambda: {name: set() for name in GROUP_NAMES})

    def standing(self) -> dict[str, object]:
        return {name: (on, *(name in self.members[group] for group in GROUP_NAMES)) for name, on in self.users.items()}

    def user(self, who: str) -> str:
        return f"{USERS}/{self.ids.get(who, 'nobody')}"

    def group(self, where: str) -> str:
        return f"{GROUPS}/{self.groups[where]}"

    def values(self, some: set[str]) -> list[dict[str, object]]:
        return [{"$ref": None, "value": self.ids[name]} for name in sorted(some & self.users.keys())]

    # The steps. Each does the same to both, and looks at the answer.

    def create(self, who: str, where: str, some: set[str], form: int) -> None:
        said: list[dict[str, object]] = [{}, {"active": "True"}, {"active": "False"}, {"active": False}]
        body = {"schemas": [USER_SCHEMA], "userName": who, "externalId": who, **said[form]}
        answer = self.idp.send("POST", USERS, body)
        assert answer.status_code == (409 if who in self.users else 201)
        if who not in self.users:
            self.ids[who], self.users[who] = answer.json()["id"], form < 2

    def switch(self, who: str, where: str, some: set[str], form: int) -> None:
        word = "Finance" in where
        forms: list[dict[str, object]] = [
            {"op": "Replace", "path": "active", "value": str(word)},
            {"op": "replace", "value": {"active": word}},
            {"op": "Add", "path": "active", "value": [{"$ref": None, "value": str(word).lower()}]},
            {"op": "Replace", "path": f"{USER_SCHEMA}:active", "value": str(word).upper()},
        ]
        answer = self.idp.patch(self.user(who), forms[form])
        assert answer.status_code == (204 if who in self.users else 404)
        if who in self.users:
            self.users[who] = word

    def say_nothing_of_active(self, who: str, where: str, some: set[str], form: int) -> None:
        forms: list[object] = [None, "", "yes", 1]
        answer = self.idp.patch(self.user(who), {"op": "replace", "path": "active", "value": forms[form]})
        assert answer.status_code == 400

    def put(self, who: str, where: str, some: set[str], form: int) -> None:
        body = {"schemas": [USER_SCHEMA], "userName": who, "externalId": who, "active": bool(form % 2)}
        assert self.idp.send("PUT", self.user(who), body).status_code == (200 if who in self.users else 404)
        if who in self.users:
            self.users[who] = bool(form % 2)

    def put_without_active(self, who: str, where: str, some: set[str], form: int) -> None:
        body = {"schemas": [USER_SCHEMA], "userName": who, "displayName": f"v{form}"}
        assert self.idp.send("PUT", self.user(who), body).status_code == (200 if who in self.users else 404)

    def delete(self, who: str, where: str, some: set[str], form: int) -> None:
        assert self.idp.send("DELETE", self.user(who)).status_code == (204 if who in self.users else 404)
        self.users.pop(who, None)
        for inside in self.members.values():
            inside.discard(who)

    def join(self, who: str, where: str, some: set[str], form: int) -> None:
        value = [*self.values(some), {"value": "stale"}]
        operation = {"op": ("Add", "add")[form % 2], "path": ("members", "Members")[form // 2], "value": value}
        assert self.idp.patch(self.group(where), operation).status_code == 204
        self.members[where] |= some & self.users.keys()

    def leave_by_path(self, who: str, where: str, some: set[str], form: int) -> None:
        operation = {"op": "remove", "path": f'members[value eq "{self.ids.get(who, "x")}"]'}
        assert self.idp.patch(self.group(where), operation).status_code == 204
        self.members[where].discard(who)

    def leave_by_value(self, who: str, where: str, some: set[str], form: int) -> None:
        operation = {"op": "Remove", "path": "members", "value": self.values(some)}
        assert self.idp.patch(self.group(where), operation).status_code == 204
        self.members[where] -= some

    def leave_unnamed(self, who: str, where: str, some: set[str], form: int) -> None:
        shapes: list[object] = [None, {}, [{}], [{"value": None}]]
        answer = self.idp.patch(self.group(where), {"op": "Remove", "path": "members", "value": shapes[form]})
        assert answer.status_code == 400

    def set_members(self, who: str, where: str, some: set[str], form: int) -> None:
        value = self.values(some)
        if form < 2:
            body = {"schemas": [GROUP_SCHEMA], "displayName": where, "members": value}
            assert self.idp.send("PUT", self.group(where), body).status_code == 200
        else:
            keys = {"members": value, "id": "x", "displayName": where}
            assert self.idp.patch(self.group(where), {"op": "replace", "value": keys}).status_code == 204
        self.members[where] = some & self.users.keys()

    def put_without_members(self, who: str, where: str, some: set[str], form: int) -> None:
        body = {"schemas": [GROUP_SCHEMA], "displayName": where, "externalId": f"e{form}-{where}"}
        assert self.idp.send("PUT", self.group(where), body).status_code == 200


STEPS = (
    *(World.create, World.create, World.switch, World.say_nothing_of_active, World.put, World.put_without_active),
    *(World.delete, World.join, World.join, World.leave_by_path, World.leave_by_value, World.leave_unnamed),
    *(World.set_members, World.put_without_members),
)
STEP = st.tuples(
    st.sampled_from(STEPS),
    st.sampled_from(NAMES),
    st.sampled_from(GROUP_NAMES),
    st.sets(st.sampled_from(NAMES)),
    st.integers(0, 3),
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(STEP, min_size=4, max_size=16))
def test_any_sequence_means_what_a_plain_model_says(
    house: ScimHouse,
    idp: Client,
    steps: list[tuple[Callable[[World, str, str, set[str], int], None], str, str, set[str], int]],
) -> None:
    """Nobody who left is active, nobody is lost from a group, memberships are equal, and who changed was reported."""
    house.clear()
    world = World(idp, {name: idp.group(name) for name in GROUP_NAMES})
    for step, who, where, some, form in steps:
        before = world.standing()
        step(world, who, where, some, form)
        after = world.standing()
        assert {name for name, old in before.items() if after.get(name) != old} <= house.leavers.last()
    people = {one.subject.sub: one for one in house.people()}
    assert {name: one.active for name, one in people.items()} == world.users
    found = {name: {one for one, person in people.items() if name in person.groups} for name in GROUP_NAMES}
    assert found == world.members
    for name in GROUP_NAMES:
        assert idp.members(world.groups[name]) == {world.ids[one] for one in world.members[name]}
