"""Replacing the key that signs call tokens: published first, signing next, verifying for a while, then forgotten.

Knows the folder's files and the order in which they may change; mints nothing. Every step leaves a ring that works,
so whoever is killed half-way loses no key, and two who rotate at once take turns.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from audit.checkpoint import public_path
from bot.identity.keyring import LEAD, Notes, RetiredKey, Ring, key_id, read_ring
from bot.keys import LOCK, NEXT, RING, TOKENS, KeysError


@dataclass(frozen=True, slots=True)
class Rotated:
    """What a rotation did."""

    ring: Ring
    promoted: bool
    """False: a next key was only published; it may sign from `signs_at` on, by another rotation."""
    signs_at: datetime | None = None
    distrusted: tuple[str, ...] = ()


def rotate(folder: Path, moment: datetime, *, at_once: bool = False, leaked: bool = False) -> Rotated:
    """One step on: publish a next key where there is none, else let the published one sign.

    `at_once`: a key that was not published long enough signs all the same; whoever cached our keys has to fetch them.
    `leaked`: the folder was seen by others. New keys take over at once and nothing signed before counts any more.

    Raises:
        KeysError: the folder cannot be read or written, or the next key was published too short a time ago.
            Nothing was changed.
    """
    try:
        with alone(folder):
            return _replace(folder, moment) if leaked else _step(folder, moment, at_once)
    except OSError as error:
        why = f"The keys in {folder} cannot be changed: {error.strerror}."
        raise KeysError(f"{why} Where they are mounted read-only, rotate where they are kept.") from error


def _step(folder: Path, moment: datetime, at_once: bool) -> Rotated:
    ring = read_ring(folder)
    if ring.next is None or ring.next.since is None:
        _publish(folder, ring, moment)
        ring = read_ring(folder)
        if not at_once:
            return Rotated(ring, promoted=False, signs_at=moment + LEAD)
    following = ring.next
    if following is None or following.since is None:
        raise KeysError(f"{folder / NEXT} did not keep what was written into it. Nothing was changed.")
    ready = following.since + LEAD
    if moment < ready and not at_once:
        raise KeysError(
            f"The next key was published at {following.since:%H:%M} UTC and may sign from {ready:%H:%M} UTC, so that "
            "everybody who checks our tokens knows it by then. Nothing was changed. In an emergency: --now."
        )
    retired = RetiredKey(ring.current.kid, ring.current.key.public_key(), moment)
    kept = tuple(one for one in ring.previous if one.verifies(moment) and one.kid != retired.kid)
    since = {following.kid: following.since}
    # Written before the key stops signing: whoever reads in between trusts one key too many, never one too few.
    write_whole(folder / RING, Notes(since, (retired, *kept)).written())
    (folder / NEXT).replace(folder / TOKENS)
    _flush(folder)
    _publish_half(folder, following.key)
    _publish(folder, read_ring(folder), moment)
    return Rotated(read_ring(folder), promoted=True)


def _replace(folder: Path, moment: datetime) -> Rotated:
    before = read_ring(folder)
    gone = tuple(before.verifying(moment))
    current, following = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
    since = {key_id(one.public_key()): moment for one in (current, following)}
    # What leaked stops counting first, step by step; the key that signs is the last to go.
    write_whole(folder / RING, Notes(since).written())
    write_whole(folder / NEXT, _pem(following))
    write_whole(folder / TOKENS, _pem(current))
    _publish_half(folder, current)
    return Rotated(read_ring(folder), promoted=True, distrusted=gone)


def _publish(folder: Path, ring: Ring, moment: datetime) -> None:
    """A next key, new unless somebody put one there. The time goes first: it counts from when it was written down."""
    key = Ed25519PrivateKey.generate() if ring.next is None else ring.next.key
    since = {ring.current.kid: ring.current.since} if ring.current.since else {}
    write_whole(folder / RING, Notes({**since, key_id(key.public_key()): moment}, ring.previous).written())
    write_whole(folder / NEXT, _pem(key))


def _publish_half(folder: Path, key: Ed25519PrivateKey) -> None:
    """The public half lies beside the key, for people who look."""
    write_whole(
        public_path(folder / TOKENS),
        key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
        0o644,
    )


def _pem(key: Ed25519PrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def write_whole(path: Path, content: bytes, mode: int = 0o600) -> None:
    """`content` under the name `path`, whole and on disk, or what was there before."""
    draft = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
    _flush(path.parent)


def _flush(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def alone(folder: Path) -> Iterator[None]:
    """One rotation at a time, on every machine that has the folder mounted."""
    descriptor = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
