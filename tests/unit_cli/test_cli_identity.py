"""`countersign identity link | unlink`: by hand, with a reason, and in the log."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from policy.model import TenantId
from tests.kit.provision import Hire, idp, write_tenants

ACME, GLOBEX = TenantId("acme"), TenantId("globex")
Countersign = Callable[..., Any]


@pytest.fixture
def acme(home: Path, countersign: Countersign) -> Path:
    """Two organisations, each with people."""
    teams = {
        "acme": [{"surface": "slack", "team": "T1"}, {"surface": "slack", "team": "TGRID", "enterprise": "E1"}],
        "globex": [{"surface": "slack", "team": "T2"}],
    }
    write_tenants(home / "tenants.yaml", teams)
    assert countersign("migrate").status == 0
    for tenant in (ACME, GLOBEX):
        with idp(dict(os.environ), tenant) as theirs:
            theirs.hire([Hire("dana", "Dana Reyes", ("support",)), Hire("gus", "Gus Gone", active=False)])
    return home


def _log(home: Path) -> list[tuple[str, str, str, str]]:
    with sqlite3.connect(home / ".countersign" / "countersign.sqlite") as conn:
        return conn.execute(
            "SELECT kind, status, actor_user_id, detail FROM agent_audit_log WHERE kind LIKE 'identity.%' ORDER BY seq"
        ).fetchall()


def _link(countersign: Countersign, account: str = "slack:T1:U1", subject: str = "dana", *more: str) -> Any:
    return countersign(
        "identity", "link", "--account", account, "--subject", subject, "--reason", "import of May", "--json", *more
    )


def test_a_link_by_hand_says_by_whom_and_why(acme: Path, countersign: Countersign) -> None:
    said = _link(countersign)
    assert (said.status, said.json()["changed"]) == (0, True)
    (shown,) = [one for one in countersign("identity", "list", "--tenant", "acme", "--json").json() if one["active"]]
    assert shown["accounts"] == ["slack:T1:U1"]
    ((kind, status, actor, detail),) = _log(acme)
    assert (kind, status) == ("identity.linked", "shell")
    assert actor.startswith("shell:")
    assert "import of May" in detail
    assert _link(countersign).json()["changed"] is False
    assert len(_log(acme)) == 1


def test_the_organisation_above_a_team_is_part_of_the_key(acme: Path, countersign: Countersign) -> None:
    assert _link(countersign, "slack:TGRID:U1").status == 0
    assert '"enterprise":"E1"' in _log(acme)[0][3].replace(" ", "")
    assert countersign("identity", "unlink", "--account", "slack:TGRID:U1", "--reason", "left").status == 0


@pytest.mark.parametrize(
    ("account", "subject", "more", "why"),
    [
        ("slack:T9:U1", "dana", (), "no team"),
        ("slack:T1:U1", "nobody", (), "no active person"),
        ("slack:T1:U1", "gus", (), "no active person"),
        ("slack:T1:U1", "dana", ("--tenant", "globex"), "no team of globex"),
    ],
)
def test_what_cannot_be_linked(
    acme: Path, countersign: Countersign, account: str, subject: str, more: tuple[str, ...], why: str
) -> None:
    said = _link(countersign, account, subject, *more)
    assert said.status == 1
    assert why in said.json()["error"]
    assert "Nothing was changed" in said.json()["error"]
    assert _log(acme) == []


@pytest.mark.parametrize("account", ["dana", "slack:T1", "slack::U1", "demo:demo:dana", "web:acme:x", "slack:T1:U1:x"])
def test_what_is_no_account(acme: Path, countersign: Countersign, account: str) -> None:
    assert _link(countersign, account).status == 2


def test_a_reason_is_asked_for(acme: Path, countersign: Countersign) -> None:
    words = ("--account", "slack:T1:U1", "--subject", "dana")
    assert countersign("identity", "link", *words).status == 2
    assert countersign("identity", "link", *words, "--reason", " ").status == 2


def test_an_account_of_somebody_else_is_not_taken_over(acme: Path, countersign: Countersign) -> None:
    with idp(dict(os.environ), ACME) as theirs:
        theirs.hire([Hire("ann", "Ann Okafor")])
    assert _link(countersign).status == 0
    said = _link(countersign, "slack:T1:U1", "ann")
    assert (said.status, "somebody else" in said.json()["error"]) == (1, True)


def test_every_link_of_a_person_ends_in_their_organisation_alone(acme: Path, countersign: Countersign) -> None:
    for account in ("slack:T1:U1", "slack:TGRID:U1", "slack:T2:U1"):
        assert _link(countersign, account).status == 0
    unclear = countersign("identity", "unlink", "--subject", "dana", "--reason", "asked to", "--json")
    assert (unclear.status, "several" in unclear.json()["error"]) == (1, True)
    words = ("--subject", "dana", "--reason", "asked to", "--tenant", "acme", "--json")
    done = countersign("identity", "unlink", *words)
    assert sorted(done.json()["unlinked"]) == ["slack:T1:U1", "slack:TGRID:U1"]
    left = countersign("identity", "list", "--tenant", "globex", "--json").json()
    assert [one["accounts"] for one in left if one["active"]] == [["slack:T2:U1"]]
    assert [row[:2] for row in _log(acme)].count(("identity.unlinked", "shell")) == 2
    again = countersign("identity", "unlink", *words)
    assert again.status == 1


def test_unlink_needs_one_of_account_and_subject(acme: Path, countersign: Countersign) -> None:
    assert countersign("identity", "unlink", "--reason", "x").status == 2
    both = ("--account", "slack:T1:U1", "--subject", "dana")
    assert countersign("identity", "unlink", "--reason", "x", *both).status == 2
