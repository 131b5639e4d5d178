"""What the storage holds by itself, whatever stands before it: no passwords, nobody activated by silence."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import sqlalchemy as sa
from scim2_models import InvalidValueException, ResourceType, UniquenessException
from sqlalchemy.engine import Connection
from sqlmodel import SQLModel

from audit.writer import make_engine
from bot.identity.scim_provider import ENTERPRISE, provider
from bot.identity.scim_storage import SqlStorage
from bot.identity.tables import ScimMember, ScimResource, table
from policy.model import TenantId

RESOURCE = table(ScimResource)
ACME = TenantId("acme")


@pytest.fixture
def conn(engine_url: str) -> Iterator[Connection]:
    engine = make_engine(engine_url)
    SQLModel.metadata.create_all(engine, tables=[table(ScimResource), table(ScimMember)])
    with provider(), engine.begin() as connection:
        yield connection
    engine.dispose()


def kind(name: str) -> ResourceType:
    return next(one for one in provider().resource_types if one.name == name)


def user(**more: Any) -> Any:
    model: Any = provider().model_for("User")
    return model.model_validate({"userName": "dana", **more})


def test_passwords_are_not_kept(conn: Connection) -> None:
    storage = SqlStorage(conn, ACME)
    made = storage.create(kind("User"), user(password="hunter2-hunter2"))
    storage.update(kind("User"), user(id=made.id, password="correct horse"))
    row = conn.execute(sa.select(RESOURCE)).one()
    assert "hunter2" not in str(tuple(row))
    assert "correct horse" not in str(tuple(row))


def test_silence_about_active_changes_nothing(conn: Connection) -> None:
    storage = SqlStorage(conn, ACME)
    made = storage.create(kind("User"), user(active=False))
    storage.update(kind("User"), user(id=made.id))
    assert conn.execute(sa.select(RESOURCE.c.active)).scalar_one() is False
    storage.update(kind("User"), user(id=made.id, active=True))
    storage.update(kind("User"), user(id=made.id))
    assert conn.execute(sa.select(RESOURCE.c.active)).scalar_one() is True


def test_the_columns_say_what_the_document_says(conn: Connection) -> None:
    storage = SqlStorage(conn, ACME)
    storage.create(
        kind("User"),
        user(
            userName="DANA@acme.example",
            externalId="d1",
            name={"givenName": "Dana", "familyName": "Reyes"},
            emails=[
                {"value": "home@x.example", "type": "home"},
                {"value": "work@x.example", "type": "work"},
                {"value": "first@x.example", "primary": True},
            ],
            **{ENTERPRISE: {"employeeNumber": "7"}},
        ),
    )
    row = conn.execute(sa.select(RESOURCE)).one()
    assert (row.unique_name, row.external_id, row.display_name) == ("dana@acme.example", "d1", "Dana Reyes")
    assert (row.email, row.employee_number, row.active, row.version) == ("first@x.example", "7", True, 1)


def test_what_fails_inside_an_operation_leaves_nothing(conn: Connection) -> None:
    storage = SqlStorage(conn, ACME)
    storage.create(kind("User"), user(externalId="d1"))

    def two() -> None:
        with storage.operation():
            storage.create(kind("User"), user(userName="other"))
            storage.create(kind("User"), user(userName="third", externalId="d1"))

    with pytest.raises(UniquenessException):
        two()
    with pytest.raises(InvalidValueException), storage.operation():
        storage.create(kind("User"), user(userName="x" * 600))
    assert conn.execute(sa.select(sa.func.count()).select_from(RESOURCE)).scalar_one() == 1
    assert len(storage.changes) == 1
