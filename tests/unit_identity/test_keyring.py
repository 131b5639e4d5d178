"""The ring of one folder: published, signing, verifying, forgotten; followed by whoever has it open."""

from __future__ import annotations

import logging
import os
import stat
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from bot.identity import rotation
from bot.identity.keyring import KEEP, LEAD, FixedRing, KeyRing, key_id, read_ring
from bot.identity.rotation import rotate
from bot.keys import NEXT, RING, TOKENS, KeysError, make_keys

NOW = datetime(2026, 11, 20, 9, 0, tzinfo=UTC)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    make_keys(tmp_path / "keys")
    return tmp_path / "keys"


def test_a_folder_of_before_has_a_key_and_no_next(folder: Path) -> None:
    ring = KeyRing(folder).now()
    assert ring.next is None
    assert ring.previous == ()
    assert set(ring.verifying(NOW)) == {ring.current.kid}


def test_a_key_is_published_before_it_signs_and_verifies_after(folder: Path) -> None:
    ring = KeyRing(folder)
    first = ring.now().current.kid
    published = rotate(folder, NOW)
    following = ring.now().next
    assert (published.promoted, published.signs_at) == (False, NOW + LEAD)
    assert following is not None
    assert ring.now().current.kid == first, "publishing signs with nothing new"
    with pytest.raises(KeysError, match=r"may sign from 09:15 UTC.* Nothing was changed"):
        rotate(folder, NOW + LEAD - timedelta(seconds=1))
    assert ring.now().current.kid == first
    assert rotate(folder, NOW + LEAD).promoted
    assert ring.now().current.kid == following.kid
    third = ring.now().next
    assert third is not None
    assert third.kid not in (first, following.kid), "the one after it is published at once"
    retired = NOW + LEAD
    assert set(ring.now().verifying(retired + KEEP - timedelta(seconds=1))) == {first, following.kid, third.kid}
    assert set(ring.now().verifying(retired + KEEP)) == {following.kid, third.kid}, "and then it is forgotten"


def test_what_is_forgotten_leaves_the_folder_with_the_next_rotation(folder: Path) -> None:
    first = read_ring(folder).current.kid
    rotate(folder, NOW, at_once=True)
    rotate(folder, NOW + timedelta(days=1))
    ring = read_ring(folder)
    assert first not in {one.kid for one in ring.previous}
    assert len(ring.previous) == 1


def test_a_private_half_is_kept_no_longer_than_it_signs(folder: Path) -> None:
    before = (folder / TOKENS).read_bytes()
    rotate(folder, NOW, at_once=True)
    for path in folder.iterdir():
        if path.is_file():
            assert before not in path.read_bytes()


def test_leaked_keys_stop_counting_at_once(folder: Path) -> None:
    rotate(folder, NOW)
    before = read_ring(folder)
    rotated = rotate(folder, NOW + timedelta(seconds=1), leaked=True)
    known = set(before.verifying(NOW))
    assert len(known) == 2
    assert set(rotated.distrusted) == known
    assert not known & set(rotated.ring.verifying(NOW + timedelta(seconds=1)))
    assert rotated.ring.next is not None


def test_two_rotations_at_once_lose_no_key(folder: Path) -> None:
    first = read_ring(folder).current.kid
    seen = {first}
    with ThreadPoolExecutor(8) as pool:
        for rotated in pool.map(lambda _: rotate(folder, NOW, at_once=True), range(8)):
            seen.add(rotated.ring.current.kid)
    ring = read_ring(folder)
    assert len(seen) == 9, "each of them let another key sign"
    assert seen == {ring.current.kid, *(one.kid for one in ring.previous)}, "and every one of them still verifies"


def test_two_routine_rotations_at_once_publish_one_key(folder: Path) -> None:
    def attempt(_: int) -> bool:
        try:
            return rotate(folder, NOW).promoted
        except KeysError:
            return True

    with ThreadPoolExecutor(4) as pool:
        said = list(pool.map(attempt, range(4)))
    assert said.count(False) == 1


def test_nobody_else_can_read_them(folder: Path) -> None:
    rotate(folder, NOW, at_once=True)
    for name in (TOKENS, NEXT, RING):
        assert stat.S_IMODE((folder / name).stat().st_mode) == 0o600
    assert not [path for path in folder.iterdir() if path.name.startswith(".")], "no draft is left behind"


def test_a_wrong_file_keeps_the_ring_before_it_and_says_so_once(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    ring = KeyRing(folder)
    first = ring.now()
    whole = (folder / TOKENS).read_bytes()
    for name, content in ((TOKENS, whole[: len(whole) // 2]), (NEXT, b"no key"), (RING, b'{"v": 1')):
        kept = (folder / name).read_bytes() if (folder / name).exists() else None
        with caplog.at_level(logging.ERROR, "countersign.keys"):
            caplog.clear()
            (folder / name).write_bytes(content)
            assert ring.now() == first
            assert ring.now() == first
            assert [record.levelname for record in caplog.records] == ["ERROR"]
            assert name in caplog.text
        (folder / name).unlink()
        if kept is not None:
            (folder / name).write_bytes(kept)
    assert ring.now().current.kid == first.current.kid


def test_a_key_file_that_goes_away_keeps_the_ring_before_it(folder: Path) -> None:
    ring = KeyRing(folder)
    first = ring.now()
    (folder / TOKENS).unlink()
    assert ring.now() == first
    with pytest.raises(KeysError, match=TOKENS):
        KeyRing(folder)


@pytest.mark.parametrize(
    "content", ["[]", "{}", '{"v": 2}', '{"v": 1, "published": [], "previous": []}', "\x00", "[" * 9000, '{"v":1}']
)
def test_notes_that_say_nothing_are_refused_by_name(folder: Path, content: str) -> None:
    (folder / RING).write_text(content)
    with pytest.raises(KeysError, match=RING):
        read_ring(folder)


@pytest.mark.parametrize("step", range(1, 6))
def test_a_rotation_that_is_killed_leaves_a_ring_that_works(
    folder: Path, step: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    rotate(folder, NOW)
    before = read_ring(folder)
    done = 0

    class Killed(BaseException):
        """The machine goes away here."""

    def counted(inner: Callable[..., None]) -> Callable[..., None]:
        def run(*args: object) -> None:
            nonlocal done
            done += 1
            if done == step:
                raise Killed
            inner(*args)

        return run

    monkeypatch.setattr(rotation, "write_whole", counted(rotation.write_whole))
    monkeypatch.setattr(rotation, "_flush", counted(rotation._flush))
    with pytest.raises(Killed):
        rotate(folder, NOW + LEAD)
    monkeypatch.undo()
    ring = read_ring(folder)
    following = before.next
    assert following is not None
    assert ring.current.kid in (before.current.kid, following.kid)
    assert before.current.kid in ring.verifying(NOW + LEAD), "tokens in the air still verify"
    for _ in range(2):
        if read_ring(folder).current.kid == before.current.kid or read_ring(folder).next is None:
            rotate(folder, NOW + LEAD)
    again = read_ring(folder)
    assert again.current.kid == following.kid
    assert again.next is not None


def test_a_next_key_that_somebody_put_there_waits_from_when_it_was_seen(folder: Path) -> None:
    key = Ed25519PrivateKey.generate()
    (folder / NEXT).write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    (folder / NEXT).chmod(0o600)
    assert not rotate(folder, NOW).promoted
    assert rotate(folder, NOW + LEAD).promoted
    assert read_ring(folder).current.kid == key_id(key.public_key())


def test_a_folder_that_cannot_be_written_says_so(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> int:
        raise OSError(30, os.strerror(30))

    monkeypatch.setattr(os, "open", refused)
    with pytest.raises(KeysError, match="Read-only file system.* rotate where they are kept"):
        rotate(folder, NOW)


def test_keys_that_never_change_verify_for_ever() -> None:
    key, before = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
    ring = FixedRing(key, [before.public_key()]).now()
    assert len(ring.verifying(datetime(9999, 1, 1, tzinfo=UTC))) == 2
