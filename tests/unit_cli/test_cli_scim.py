"""`countersign scim token create | list | revoke`: shown once, kept hashed, audited; one tenant each."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.kit.provision import write_tenants

Countersign = Callable[..., Any]


@pytest.fixture
def ready(home: Path, countersign: Countersign) -> Path:
    write_tenants(
        home / "tenants.yaml",
        {"acme": [{"surface": "slack", "team": "T1"}], "globex": [{"surface": "slack", "team": "T2"}]},
    )
    assert countersign("migrate").status == 0
    return home


def _rows(home: Path, query: str) -> list[tuple[Any, ...]]:
    with sqlite3.connect(home / ".countersign" / "countersign.sqlite") as conn:
        return conn.execute(query).fetchall()


def test_a_token_is_shown_once_and_kept_hashed(ready: Path, countersign: Countersign) -> None:
    made = countersign("scim", "token", "create", "--tenant", "acme", "--name", "okta", "--json")
    assert made.status == 0
    said = made.json()
    assert said["token"].startswith("cs_scim_")
    assert len(said["token"]) > 40
    assert said["url"].endswith("/scim/v2")
    ((sha256,),) = _rows(ready, "SELECT sha256 FROM scim_token")
    assert sha256 == hashlib.sha256(said["token"].encode()).hexdigest()
    listed = countersign("scim", "token", "list", "--tenant", "acme", "--json")
    assert (listed.status, listed.json()[0]["state"], listed.json()[0]["used_at"]) == (0, "valid", None)
    database = (ready / ".countersign" / "countersign.sqlite").read_bytes()
    for place in (listed.out, countersign("scim", "token", "list", "--tenant", "acme").out):
        assert said["token"] not in place
        assert said["id"] in place
    assert said["token"].encode() not in database


def test_tokens_overlap_until_the_old_one_is_revoked(ready: Path, countersign: Countersign) -> None:
    first, second = (
        countersign("scim", "token", "create", "--tenant", "acme", "--expires-days", "30", "--json").json()
        for _ in range(2)
    )
    assert first["token"] != second["token"]
    assert first["expires_at"] is not None
    assert countersign("scim", "token", "revoke", first["id"], "--tenant", "acme").status == 0
    states = {
        one["id"]: one["state"] for one in countersign("scim", "token", "list", "--tenant", "acme", "--json").json()
    }
    assert states == {first["id"]: "revoked", second["id"]: "valid"}
    again = countersign("scim", "token", "revoke", first["id"], "--tenant", "acme", "--json")
    assert again.status == 1
    assert "Nothing was changed" in again.json()["error"]
    kinds = _rows(
        ready,
        "SELECT kind, tenant_id, actor_user_id, detail FROM agent_audit_log WHERE kind LIKE 'scim.%' ORDER BY seq",
    )
    assert [one[0] for one in kinds] == ["scim.token_created", "scim.token_created", "scim.token_revoked"]
    assert {one[1] for one in kinds} == {"acme"}
    assert all(one[2].startswith("shell:") for one in kinds)
    assert json.loads(kinds[2][3])["token"] == first["id"]
    assert first["token"] not in str(kinds)


def test_another_organisation_can_neither_see_nor_revoke(ready: Path, countersign: Countersign) -> None:
    made = countersign("scim", "token", "create", "--tenant", "acme", "--json").json()
    listed = countersign("scim", "token", "list", "--tenant", "globex", "--json")
    assert (listed.status, listed.json()) == (1, [])
    assert countersign("scim", "token", "revoke", made["id"], "--tenant", "globex").status == 1
    assert _rows(ready, "SELECT revoked_at FROM scim_token") == [(None,)]


@pytest.mark.parametrize(
    "words",
    [("--tenant", "nobody"), (), ("--tenant", "acme", "--name", " "), ("--tenant", "acme", "--expires-days", "0")],
)
def test_wrong_use_makes_nothing(ready: Path, countersign: Countersign, words: tuple[str, ...]) -> None:
    assert countersign("scim", "token", "create", *words).status == 2
    assert _rows(ready, "SELECT count(*) FROM scim_token") == [(0,)]


def test_before_the_database_is_ready(home: Path, countersign: Countersign) -> None:
    write_tenants(home / "tenants.yaml", {"acme": [{"surface": "slack", "team": "T1"}]})
    (home / ".countersign").mkdir()
    said = countersign("scim", "token", "create")
    assert said.status == 1
    assert "countersign migrate" in said.err
