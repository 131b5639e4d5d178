"""`countersign keys …`, as an operator types it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bot.keys import GRANTS, TOKENS


@pytest.fixture
def ready(countersign: Callable[..., Any]) -> Callable[..., Any]:
    assert countersign("migrate").status == 0
    return countersign


def states(said: Any) -> list[str]:
    return [one["state"] for one in said.json()["keys"]]


def test_a_rotation_step_by_step(ready: Callable[..., Any]) -> None:
    listed = ready("keys", "list", "--json")
    assert (listed.status, states(listed)) == (1, ["signs"])
    published = ready("keys", "rotate", "--json")
    assert (published.status, states(published)) == (0, ["signs", "next"])
    assert published.json()["signs_at"]
    early = ready("keys", "rotate")
    assert early.status == 1
    assert "Nothing was changed" in early.err
    forced = ready("keys", "rotate", "--now", "--json")
    assert (forced.status, states(forced)) == (0, ["signs", "next", "verifies"])
    assert ready("keys", "list").status == 0
    leaked = ready("keys", "rotate", "--leaked", "--json")
    assert (leaked.status, states(leaked)) == (0, ["signs", "next"])


def test_every_rotation_is_a_row(ready: Callable[..., Any]) -> None:
    ready("keys", "rotate")
    ready("keys", "rotate", "--leaked")
    rows = ready("audit", "query", "--tenant", "_system", "--kind", "keys.rotated", "--json").json()
    assert [(row["status"], row["detail"]["why"]) for row in rows] == [("signing", "leaked"), ("published", "routine")]
    assert rows[0]["actor_user_id"].startswith("shell:")
    assert len(rows[0]["detail"]["distrusted"]) == 2


def test_without_a_database_it_happens_all_the_same_and_says_so(ready: Callable[..., Any], home: Path) -> None:
    for path in (home / ".countersign").glob("countersign.sqlite*"):
        path.unlink()
    said = ready("keys", "rotate", "--leaked")
    assert said.status == 1
    assert "signs now" in said.err
    assert "The audit log has no row of it" in said.err


def test_wrong_use(ready: Callable[..., Any], home: Path) -> None:
    assert ready("keys", "rotate", "--now", "--leaked").status == 2
    (home / ".countersign" / "keys" / TOKENS).write_text("no key")
    for words in (("keys", "list"), ("keys", "rotate")):
        said = ready(*words)
        assert said.status == 1
        assert "Restore it from a backup" in said.err


def test_a_new_key_for_stored_sign_ins(ready: Callable[..., Any], home: Path) -> None:
    first = ready("keys", "rewrap", "--json")
    assert (first.status, first.json()["grants"]) == (0, 0)
    again = ready("keys", "rewrap", "--new", "--json")
    assert again.json()["wraps"] != first.json()["wraps"]
    assert len((home / ".countersign" / "keys" / GRANTS).read_text().split()) == 2
    rows = ready("audit", "query", "--tenant", "_system", "--kind", "keys.rotated", "--json").json()
    assert [(row["status"], row["detail"]["why"]) for row in rows] == [("rewrapped", "new"), ("rewrapped", "routine")]
    (home / ".countersign" / "keys" / GRANTS).write_text("zz")
    assert "64 hex digits" in ready("keys", "rewrap").err


def test_the_key_file_of_the_settings_is_the_one_that_is_used(
    ready: Callable[..., Any], home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mounted = home / "mounted.key"
    mounted.write_text("ab" * 32 + "\n")
    monkeypatch.setenv("COUNTERSIGN_GRANTS_KEY_FILE", str(mounted))
    first = ready("keys", "rewrap", "--new", "--json").json()["wraps"]
    assert len(mounted.read_text().split()) == 2
    assert not (home / ".countersign" / "keys" / GRANTS).exists(), "a key that nothing needs is not made"
    assert ready("keys", "rewrap", "--json").json()["wraps"] == first


def test_a_key_in_kms_is_not_made_here(ready: Callable[..., Any], home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COUNTERSIGN_GRANTS_KMS", "arn:aws:kms:eu-central-1:123456789012:key/0a1b")
    told = ready("keys", "rewrap", "--new")
    assert told.status == 2
    assert "rotated there" in told.err
    assert not (home / ".countersign" / "keys" / GRANTS).exists()
