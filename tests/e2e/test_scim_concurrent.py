"""Several SCIM writers at once: nothing is lost, nothing is doubled, a version given by the client is compared."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
import sqlalchemy as sa
from scim2_models import PreconditionFailedException
from sqlmodel import SQLModel

from audit.writer import make_engine
from bot.identity.scim_provider import provider
from bot.identity.scim_storage import SqlStorage
from bot.identity.tables import ScimMember, ScimResource, table
from tests.kit.scim_house import ACME, GROUPS, USER_SCHEMA, USERS, scim_house


def test_members_added_by_many_at_once_are_all_there(engine_url: str) -> None:
    with scim_house(engine_url) as house:
        idp = house.client()
        users = [idp.user(f"u{n}") for n in range(16)]
        group = idp.group("Finance", users[0])

        def one(n: int) -> set[int]:
            client = house.client()
            seen = set()
            for user in users[n::4]:
                add = {"op": "add", "path": "members", "value": [{"value": user}]}
                seen.add(client.patch(f"{GROUPS}/{group}", add).status_code)
                seen.add(client.patch(f"{USERS}/{user}", {"op": "replace", "path": "title", "value": "x"}).status_code)
            return seen

        with ThreadPoolExecutor(4) as pool:
            assert set().union(*pool.map(one, range(4))) == {204}
        assert idp.members(group) == set(users)


def test_of_many_with_one_version_one_wins(engine_url: str) -> None:
    with scim_house(engine_url) as house:
        idp = house.client()
        made = idp.user("dana")
        version = idp.get(f"{USERS}/{made}")["meta"]["version"]

        def one(n: int) -> int:
            change = {"op": "replace", "path": "title", "value": f"t{n}"}
            return house.client().patch(f"{USERS}/{made}", change, If_Match=version).status_code

        with ThreadPoolExecutor(6) as pool:
            assert sorted(pool.map(one, range(6))) == [204, *[412] * 5]


def test_of_many_with_one_name_one_is_created(engine_url: str) -> None:
    with scim_house(engine_url) as house:

        def one(n: int) -> int:
            body = {"schemas": [USER_SCHEMA], "userName": "Dana" if n % 2 else "dana", "externalId": f"d{n}"}
            return house.client().send("POST", USERS, body).status_code

        with ThreadPoolExecutor(6) as pool:
            assert sorted(pool.map(one, range(6))) == [201, *[409] * 5]
        assert len(house.people()) == 1


def test_a_version_is_compared_when_it_is_written(postgres_url: str) -> None:
    """Without the locks of `writing`: two transactions that read the same version, and the second to write loses."""
    engine = make_engine(postgres_url)
    SQLModel.metadata.create_all(engine, tables=[table(ScimResource), table(ScimMember)])
    described = provider()
    (kind,) = (one for one in described.resource_types if one.id == "User")
    model = described.model_for(kind)
    assert model is not None
    with described, engine.connect() as first, engine.connect() as second:
        made = SqlStorage(first, ACME).create(kind, model.model_validate({"userName": "dana"}))  # type: ignore[arg-type]
        first.commit()
        assert made.id is not None
        late = SqlStorage(second, ACME, writing=False)
        row = late._row(kind, made.id)
        SqlStorage(first, ACME).update(kind, made)
        first.commit()
        with pytest.raises(PreconditionFailedException):
            late._bump(row, {"document": "{}"})
        second.rollback()
        versions = second.execute(sa.select(table(ScimResource).c.version)).scalars().all()
    assert versions == [2]
    engine.dispose()
