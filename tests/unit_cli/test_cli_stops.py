"""`migrate`, `kill`, `resume`, `status`, `pending` at the real door, with no chat and no model, on both databases."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

import pytest

from policy.model import TenantId
from tests.kit.provision import ISSUER, Hire, idp, write_tenants

ACME = TenantId("acme")
TEAMS: dict[str, list[dict[str, str]]] = {ACME: [{"surface": "slack", "team": "T1"}]}


class Countersign(Protocol):
    def __call__(self, *words: str) -> Any: ...


@pytest.fixture
def countersigned(
    home: Path, engine_url: str, monkeypatch: pytest.MonkeyPatch, countersign: Countersign
) -> Countersign:
    monkeypatch.setenv("COUNTERSIGN_DATABASE_URL", engine_url)
    write_tenants(home / "tenants.yaml", TEAMS)
    assert countersign("migrate").status == 0
    with idp({"COUNTERSIGN_DATABASE_URL": engine_url}, ACME) as theirs:
        theirs.hire([Hire("dana", "Dana Reyes", ("support",))])
    return countersign


def active(countersign: Countersign) -> list[str]:
    return [one["scope"] for one in countersign("status", "--json").json()["active"]]


def kinds(countersign: Countersign, *words: str) -> list[str]:
    return [row["kind"] for row in countersign("audit", "query", "--json", *words).json()]


def test_migrating_again_changes_nothing(countersigned: Countersign, home: Path) -> None:
    key = (home / ".countersign/keys/mac.key").read_bytes()
    assert countersigned("migrate", "--json").json()["applied"] == []
    assert (home / ".countersign/keys/mac.key").read_bytes() == key


def test_a_kill_without_a_scope_changes_nothing(countersigned: Countersign) -> None:
    said = countersigned("kill")
    assert said.status == 0
    assert "Nothing was stopped." in said.out
    assert active(countersigned) == []


def test_a_tool_is_stopped_and_resumed_and_both_are_on_record(countersigned: Countersign) -> None:
    said = countersigned("kill", "tool", "refund.issue", "wrong", "amounts")
    assert said.status == 0
    assert "Nothing new starts" in said.out
    status = countersigned("status")
    assert status.status == 1
    assert "(shell)" in status.out
    assert "wrong amounts" in status.out
    assert countersigned("resume", "tool", "refund.issue").status == 0
    assert countersigned("status").status == 0
    assert kinds(countersigned) == ["kill.resumed", "kill.switched"]


@pytest.mark.parametrize("scope", [("all",), ("tenant",), ("user", "dana"), ("user", f"{ISSUER}|dana")])
def test_every_scope_can_be_stopped_and_resumed(countersigned: Countersign, scope: tuple[str, ...]) -> None:
    assert countersigned("kill", *scope, "drill").status == 0
    assert len(active(countersigned)) == 1
    assert countersigned("resume", *scope).status == 0
    assert active(countersigned) == []


@pytest.mark.parametrize(
    "words",
    [
        ("kill", "all"),
        ("kill", "tool", "refund.issue"),
        ("kill", "tool", "refund.isue", "typing error"),
        ("kill", "user", "dan", "typing error"),
        ("kill", "everything", "now"),
        ("kill", "user"),
        ("kill", "tenant", "drill", "--tenant", "globex"),
        ("resume",),
        ("resume", "all", "please"),
        ("resume", "tool", "refund.isue"),
    ],
)
def test_what_names_nothing_changes_nothing_and_says_so(countersigned: Countersign, words: tuple[str, ...]) -> None:
    said = countersigned(*words)
    assert said.status == 2
    assert said.err
    assert active(countersigned) == []


def test_nothing_waits_has_a_status_of_its_own(countersigned: Countersign) -> None:
    said = countersigned("pending", "--json")
    assert (said.status, said.json()) == (1, [])


@pytest.mark.parametrize("words", [("status",), ("kill", "all", "drill"), ("pending",)])
def test_before_migrating_the_command_says_what_to_do(
    home: Path, engine_url: str, monkeypatch: pytest.MonkeyPatch, countersign: Countersign, words: tuple[str, ...]
) -> None:
    monkeypatch.setenv("COUNTERSIGN_DATABASE_URL", engine_url)
    write_tenants(home / "tenants.yaml", TEAMS)
    said = countersign(*words)
    assert said.status == 1
    assert "countersign migrate" in said.err


def test_a_database_that_cannot_be_opened_is_a_sentence(home: Path, countersign: Countersign) -> None:
    write_tenants(home / "tenants.yaml", TEAMS)
    said = countersign("status", "--json")
    assert said.status == 1
    assert said.json()["error"].endswith(".")
