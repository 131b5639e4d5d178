"""Keys are made once, kept from others, and never made behind an operator's back."""

from __future__ import annotations

import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from bot.keys import KeysError, make_keys, open_keys

NAMES = {"mac.key", "checkpoint.pem", "tokens.pem"}


def test_made_once_and_the_same_ever_after(tmp_path: Path) -> None:
    made, again, opened = make_keys(tmp_path / "keys"), make_keys(tmp_path / "keys"), open_keys(tmp_path / "keys")
    assert made.mac == again.mac == opened.mac
    assert made.tokens.private_bytes_raw() == opened.tokens.private_bytes_raw()
    assert made.tokens.private_bytes_raw() != made.checkpoint.private_bytes_raw()


def test_nobody_else_can_read_them(tmp_path: Path) -> None:
    make_keys(tmp_path / "keys")
    assert stat.S_IMODE((tmp_path / "keys").stat().st_mode) == 0o700
    assert {path.name for path in (tmp_path / "keys").iterdir()} >= NAMES
    for name in NAMES:
        assert stat.S_IMODE((tmp_path / "keys" / name).stat().st_mode) == 0o600


def test_they_print_as_nothing(tmp_path: Path) -> None:
    keys = make_keys(tmp_path)
    assert keys.mac.secret.hex() not in repr(keys)
    assert repr(keys) == "Keys()"


@pytest.mark.parametrize("name", sorted(NAMES))
def test_a_service_makes_no_key_by_itself(tmp_path: Path, name: str) -> None:
    make_keys(tmp_path)
    (tmp_path / name).unlink()
    with pytest.raises(KeysError, match=rf"^{name}: not found .* `countersign migrate`"):
        open_keys(tmp_path)
    assert not (tmp_path / name).exists()


@pytest.mark.parametrize("content", ["", "zz", "00", "00" * 31])
def test_what_is_no_mac_key_is_refused_and_kept(tmp_path: Path, content: str) -> None:
    make_keys(tmp_path)
    (tmp_path / "mac.key").write_text(content)
    with pytest.raises(KeysError, match="Restore it from a backup"):
        open_keys(tmp_path)
    assert (tmp_path / "mac.key").read_text() == content


def test_a_damaged_signing_key_is_refused(tmp_path: Path) -> None:
    make_keys(tmp_path)
    (tmp_path / "tokens.pem").write_text("no key")
    with pytest.raises(KeysError):
        open_keys(tmp_path)


def test_a_directory_that_cannot_be_made_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(KeysError, match="rights"):
        make_keys(tmp_path / "file" / "keys")


def test_starting_together_makes_one_mac_key(tmp_path: Path) -> None:
    from bot.keys import _mac

    with ThreadPoolExecutor(8) as pool:
        keys = list(pool.map(lambda _: _mac(tmp_path / "mac.key"), range(32)))
    assert len({key.secret for key in keys}) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["mac.key"]
