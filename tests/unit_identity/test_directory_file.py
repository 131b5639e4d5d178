"""directory.yaml: what it states, what it refuses, and how it changes under a running service."""

from __future__ import annotations

from pathlib import Path

import pytest

from bot.identity.directory import DirectoryError, DirectoryFile, read_directory
from bot.messages import ChatUser, SurfaceName
from policy.model import Subject, TenantId

GOOD = """\
issuer: urn:countersign:directory
tenants:
  acme:
    teams:
      - {surface: slack, team: T1}
  globex:
    teams: [{surface: slack, team: T2}]
people:
  - sub: dana
    tenant: acme
    name: Dana Reyes
    email: dana@acme.example
    groups: [support, everyone]
    employee_number: "1001"
    accounts: [{surface: slack, team: T1, user: U1}]
  - sub: gus
    tenant: globex
    name: Gus Old
    active: false
    accounts: [{surface: slack, team: T2, user: U2}]
"""
DANA = Subject("urn:countersign:directory", "dana")
SLACK = SurfaceName("slack")


def directory(tmp_path: Path, text: str = GOOD) -> tuple[DirectoryFile, Path, list[DirectoryError | None]]:
    path = tmp_path / "directory.yaml"
    path.write_text(text)
    told: list[DirectoryError | None] = []
    return DirectoryFile(path, told.append), path, told


def test_finds_people_by_account_and_subject(tmp_path: Path) -> None:
    people, _, _ = directory(tmp_path)
    dana = people.by_account(None, ChatUser(SLACK, "T1", "U1"))
    assert dana is not None
    assert (dana.display_name, dana.groups, dana.employee_number, dana.active) == (
        "Dana Reyes",
        ("support", "everyone"),
        "1001",
        True,
    )
    assert people.by_subject(None, TenantId("acme"), DANA) == dana
    assert people.tenant_of(SLACK, "T2") == "globex"
    assert [person.active for person in people.people(None, TenantId("globex"))] == [False]
    assert people.tenants() == ("acme", "globex")
    assert people.groups_unmapped(None, TenantId("acme"), frozenset({"support"})) == ("everyone",)


@pytest.mark.parametrize("who", [("T2", "U1"), ("T1", "U2"), ("T1", "u1"), ("", "")])
def test_nobody_is_guessed(tmp_path: Path, who: tuple[str, str]) -> None:
    people, _, _ = directory(tmp_path)
    assert people.by_account(None, ChatUser(SLACK, *who)) is None
    assert people.by_account(None, ChatUser(SurfaceName("teams"), "T1", "U1")) is None


def test_a_subject_of_another_tenant_is_not_found(tmp_path: Path) -> None:
    people, _, _ = directory(tmp_path)
    assert people.by_subject(None, TenantId("globex"), DANA) is None
    assert people.by_subject(None, TenantId("acme"), Subject("urn:other", "dana")) is None
    assert people.tenant_of(SLACK, "T3") is None


@pytest.mark.parametrize(
    ("old", "new", "line", "key", "says"),
    [
        ("sub: gus", "sub: dana", 16, "people[1].sub", "'dana' is there twice"),
        ("team: T2, user: U2", "team: T1, user: U1", 20, "people[1].accounts[0]", "is there twice"),
        ("team: T2, user: U2", "team: T9, user: U2", 20, "people[1].accounts[0]", "does not belong to tenant globex"),
        ("team: T2, user: U2", "team: T1, user: U2", 20, "people[1].accounts[0]", "does not belong to tenant globex"),
        (
            "[{surface: slack, team: T2}]",
            "[{surface: slack, team: T1}]",
            7,
            "tenants.globex.teams[0]",
            "already listed",
        ),
        (
            "surface: slack, team: T2, user",
            "surface: slak, team: T2, user",
            20,
            "people[1].accounts[0].surface",
            "slack",
        ),
        ("tenant: globex", "tenant: globx", 17, "people[1].tenant", "Did you mean 'globex'?"),
        ("active: false", "active: maybe", 19, "people[1].active", "neither true nor false"),
        ("active: false", "activ: false", 19, "people[1].activ", "Did you mean 'active'?"),
        ('"1001"', "1001", 14, "people[0].employee_number", "in quotes"),
        ("    name: Gus Old\n", "", 16, "people[1]", "'name' is missing"),
        ("issuer: urn:countersign:directory\n", "", 1, "", "'issuer' is missing"),
    ],
)
def test_a_wrong_file_says_where_and_how_to_mend_it(old: str, new: str, line: int, key: str, says: str) -> None:
    assert old in GOOD
    with pytest.raises(DirectoryError) as refused:
        read_directory("directory.yaml", GOOD.replace(old, new))
    problem = next(problem for problem in refused.value.problems if problem.line == line)
    assert (problem.file, problem.line, problem.key) == ("directory.yaml", line, key)
    assert says in str(problem)
    assert problem.mend


@pytest.mark.parametrize("text", ["", "[]", "issuer: [", "just words", "people: &a [*a]", "\x00"])
def test_what_is_no_directory_is_a_directory_error(text: str) -> None:
    with pytest.raises(DirectoryError):
        read_directory("directory.yaml", text)


def test_every_problem_is_told_at_once() -> None:
    with pytest.raises(DirectoryError) as refused:
        read_directory("directory.yaml", GOOD.replace("sub: gus", "sub: dana").replace("active: false", "active: 7"))
    assert len(refused.value.problems) == 2


def test_an_absent_file_is_named_and_no_setting_that_could_name_another(tmp_path: Path) -> None:
    with pytest.raises(DirectoryError, match=r"Write the people into .*directory\.yaml\.$"):
        DirectoryFile(tmp_path / "directory.yaml")


def test_a_change_is_seen_at_the_next_question(tmp_path: Path) -> None:
    people, path, told = directory(tmp_path)
    path.write_text(GOOD.replace("name: Dana Reyes", "name: Dana Reyes\n    active: false"))
    dana = people.by_subject(None, TenantId("acme"), DANA)
    assert dana is not None
    assert not dana.active
    assert told == [None]


def test_a_bad_change_keeps_the_people_before_it_and_is_told_once(tmp_path: Path) -> None:
    people, path, told = directory(tmp_path)
    path.write_text("people: [")
    for _ in range(3):
        assert people.by_subject(None, TenantId("acme"), DANA) is not None
    assert len(told) == 1
    assert isinstance(told[0], DirectoryError)
    path.write_text(GOOD.replace("Dana Reyes", "Dana R."))
    dana = people.by_subject(None, TenantId("acme"), DANA)
    assert dana is not None
    assert dana.display_name == "Dana R."
    assert told[1:] == [None]


def test_a_file_that_vanished_keeps_the_people_before_it(tmp_path: Path) -> None:
    people, path, told = directory(tmp_path)
    path.unlink()
    assert people.by_subject(None, TenantId("acme"), DANA) is not None
    assert "cannot be read" in str(told[0])
