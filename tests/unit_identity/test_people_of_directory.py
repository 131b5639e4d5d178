"""Principals from the directory: roles as they are now, and the key that tells two people apart."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa

from bot.identity.directory import DirectoryFile
from bot.identity.people import DirectoryPeople, person_key
from bot.policy_files import read_policy
from bot.ports import Person
from bot.settings import PersonKey, default_policy_dir
from policy.model import RoleName, Subject, TenantId
from policy.roles import Role, Roles
from policy.rules import Policy

ACME = TenantId("acme")
DANA = Person(ACME, Subject("urn:d", "dana"), "Dana", None, True, ("support",), "1001", ())
TEXT = """\
issuer: urn:d
tenants:
  acme: {teams: []}
  globex: {teams: []}
people:
  - {sub: dana, tenant: acme, name: Dana, groups: [support]}
  - {sub: ann, tenant: acme, name: Ann, groups: [finance, support]}
  - {sub: gone, tenant: acme, name: Gone, groups: [finance], active: false}
  - {sub: gil, tenant: globex, name: Gil, groups: [finance]}
"""


def policy(_tenant: TenantId) -> Policy:
    names = {RoleName(f"role_{group}"): frozenset({group}) for group in ("support", "finance")}
    roles = Roles({name: Role(name, groups, frozenset()) for name, groups in names.items()})
    return replace(read_policy(default_policy_dir()), roles=roles)


@pytest.fixture
def people(tmp_path: Path) -> DirectoryPeople:
    path = tmp_path / "directory.yaml"
    path.write_text(TEXT)
    return DirectoryPeople(DirectoryFile(path), policy, PersonKey.SUBJECT)


@pytest.fixture
def conn(sqlite_url: str) -> Iterator[sa.Connection]:
    engine = sa.create_engine(sqlite_url)
    with engine.connect() as opened:
        yield opened
    engine.dispose()


def test_the_subject_tells_people_apart_by_default() -> None:
    assert person_key(DANA, PersonKey.SUBJECT) == "subject:urn:d|dana"


def test_two_accounts_of_one_employee_are_one_person() -> None:
    twin = replace(DANA, subject=Subject("urn:d", "dana-admin"))
    assert person_key(DANA, PersonKey.EMPLOYEE_NUMBER) == person_key(twin, PersonKey.EMPLOYEE_NUMBER)
    assert person_key(DANA, PersonKey.SUBJECT) != person_key(twin, PersonKey.SUBJECT)


@pytest.mark.parametrize("number", [None, "", "  "])
def test_without_a_number_there_is_no_key(number: str | None) -> None:
    assert person_key(replace(DANA, employee_number=number), PersonKey.EMPLOYEE_NUMBER) is None


def test_current_gives_the_roles_of_this_moment(people: DirectoryPeople, conn: sa.Connection) -> None:
    ann = people.current(conn, ACME, Subject("urn:d", "ann"))
    assert ann is not None
    assert ann.roles == {"role_finance", "role_support"}


@pytest.mark.parametrize("sub", ["gone", "nobody", "gil"])
def test_current_is_none_for_leavers_strangers_and_other_tenants(
    people: DirectoryPeople, conn: sa.Connection, sub: str
) -> None:
    assert people.current(conn, ACME, Subject("urn:d", sub)) is None


def test_holders_are_active_people_of_the_tenant(people: DirectoryPeople, conn: sa.Connection) -> None:
    held = people.holders(conn, ACME, (RoleName("role_finance"),))
    assert [who.subject.sub for who in held] == ["ann"]
