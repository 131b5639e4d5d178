"""Refresh tokens at rest: AES-256-GCM under a data key per row, which a key-encryption key wraps. Knows no table.

Both layers are bound to (tenant, issuer, subject), the inner one to the row's generation too: what is copied to
another person's row, or back from an older one, does not open. The key-encryption key is a file or a KMS.
"""

from __future__ import annotations

import hashlib
import json
import secrets
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from bot.identity.jose import JoseRefused, b64, unb64
from bot.identity.rotation import alone, write_whole
from bot.keys import GRANTS, KeysError, write_once
from policy.model import Subject, TenantId

KEY_BYTES = 32
NONCE_BYTES = 12
PURPOSE = "countersign-grant-v1"


class SealBroken(Exception):
    """What was sealed does not open: it was altered, or moved here from somewhere else."""


class KeyAway(Exception):
    """The key-encryption key cannot be used now. `str(e)` may be shown to operators; nothing was opened."""


class KeyEncryption(Protocol):
    """Wraps data keys: a file's key, or a KMS that never shows its own. Called outside transactions, from a thread."""

    def wrap(self, data_key: bytes, bound: bytes) -> tuple[str, bytes]:
        """The id of the key-encryption key that is used now, and `data_key` under it.

        Raises:
            KeyAway: it cannot be used now.
        """

    def unwrap(self, kek_id: str, wrapped: bytes, bound: bytes) -> bytes:
        """The data key that was wrapped for `bound`.

        Raises:
            KeyAway: the key `kek_id` cannot be used, or is not known here.
            SealBroken: it was not wrapped by that key for `bound`.
        """

    def current(self) -> str:
        """The id of the key that `wrap` uses."""


@dataclass(frozen=True, slots=True)
class Bound:
    """Whose a sealed token is."""

    tenant: TenantId
    subject: Subject

    def to_key(self) -> bytes:
        return self._aad()

    def to_token(self, generation: int) -> bytes:
        return self._aad(generation)

    def _aad(self, *more: int) -> bytes:
        # JSON, not joined text: no subject with a bar in it reads as another tenant's.
        return json.dumps([PURPOSE, self.tenant, self.subject.issuer, self.subject.sub, *more]).encode()


@dataclass(frozen=True, slots=True)
class Vessel:
    """A data key in the open and wrapped, for one person's row."""

    bound: Bound
    kek_id: str
    wrapped: str
    _key: bytes = field(repr=False)

    def seal(self, generation: int, token: str) -> str:
        """`token`, as it may lie in the database."""
        nonce = secrets.token_bytes(NONCE_BYTES)
        return b64(nonce + AESGCM(self._key).encrypt(nonce, token.encode(), self.bound.to_token(generation)))

    def unseal(self, generation: int, sealed: str) -> str:
        """What `seal` was given.

        Raises:
            SealBroken: it was sealed for somebody else, for another generation, or altered.
        """
        try:
            raw = unb64(sealed)
            return (
                AESGCM(self._key)
                .decrypt(raw[:NONCE_BYTES], raw[NONCE_BYTES:], self.bound.to_token(generation))
                .decode()
            )
        except (InvalidTag, JoseRefused, ValueError) as error:
            raise SealBroken("A stored sign-in does not open.") from error


class Sealer:
    """Makes data keys and opens them again."""

    def __init__(self, keys: KeyEncryption) -> None:
        self._keys = keys

    def vessel(self, bound: Bound) -> Vessel:
        """A new data key for `bound`. May ask a KMS: not within a transaction.

        Raises:
            KeyAway: it cannot be wrapped now.
        """
        return self._wrapped(bound, AESGCM.generate_key(8 * KEY_BYTES))

    def opened(self, bound: Bound, kek_id: str, wrapped: str) -> Vessel:
        """The data key of a row.

        Raises:
            KeyAway, SealBroken: it cannot be opened now, or not for `bound`.
        """
        try:
            raw = unb64(wrapped)
        except JoseRefused as error:
            raise SealBroken("A stored sign-in does not open.") from error
        return Vessel(bound, kek_id, wrapped, self._keys.unwrap(kek_id, raw, bound.to_key()))

    def rewrapped(self, vessel: Vessel) -> Vessel:
        """The same data key under the key-encryption key of today: what it seals need not be touched."""
        return self._wrapped(vessel.bound, vessel._key)

    def current(self) -> str:
        return self._keys.current()

    def _wrapped(self, bound: Bound, key: bytes) -> Vessel:
        kek_id, wrapped = self._keys.wrap(key, bound.to_key())
        return Vessel(bound, kek_id, b64(wrapped), key)


class FileKeys:
    """Key-encryption keys from a file, one a line in 64 hex digits: the first wraps, the others only open."""

    def __init__(self, path: Path) -> None:
        """Reads `path`.

        Raises:
            KeysError: there is no key in it.
        """
        self._path = path
        self._lock = threading.Lock()
        self._seen = self._stat()
        self._keys = _read(path)

    def current(self) -> str:
        return next(iter(self._now()))

    def wrap(self, data_key: bytes, bound: bytes) -> tuple[str, bytes]:
        kek_id, key = next(iter(self._now().items()))
        nonce = secrets.token_bytes(NONCE_BYTES)
        return kek_id, nonce + AESGCM(key).encrypt(nonce, data_key, bound)

    def unwrap(self, kek_id: str, wrapped: bytes, bound: bytes) -> bytes:
        key = self._now().get(kek_id)
        if key is None:
            raise KeyAway(f"{self._path} does not hold the key {kek_id} that a stored sign-in needs. Put it back.")
        try:
            return AESGCM(key).decrypt(wrapped[:NONCE_BYTES], wrapped[NONCE_BYTES:], bound)
        except (InvalidTag, ValueError) as error:
            raise SealBroken("A stored sign-in does not open.") from error

    def _now(self) -> dict[str, bytes]:
        """The keys of the file as it is, or of its last good reading."""
        if self._stat() != self._seen:
            with self._lock:
                seen = self._stat()
                if seen != self._seen:
                    self._seen = seen
                    try:
                        self._keys = _read(self._path)
                    except KeysError:
                        return self._keys
        return self._keys

    def _stat(self) -> tuple[int, int, int] | None:
        try:
            stat = self._path.stat()
        except OSError:
            return None
        return stat.st_mtime_ns, stat.st_size, stat.st_ino


def open_or_make(folder: Path, elsewhere: Path | None = None) -> FileKeys:
    """The key-encryption keys: `elsewhere` (COUNTERSIGN_GRANTS_KEY_FILE), or ``grants.key`` in the keys folder.

    One in the folder is made where there is none: at worst people sign in again.

    Raises:
        KeysError: the file cannot be used.
    """
    if elsewhere is None:
        try:
            write_once(folder / GRANTS, (secrets.token_hex(KEY_BYTES) + "\n").encode())
        except OSError as error:
            if not (folder / GRANTS).exists():
                raise KeysError(f"{folder / GRANTS} cannot be made: {error.strerror}.") from error
    return FileKeys(elsewhere or folder / GRANTS)


def kek_id(key: bytes) -> str:
    """A name for a key-encryption key that says nothing about it."""
    return hashlib.sha256(b"countersign-kek-v1" + key).hexdigest()[:16]


def _read(path: Path) -> dict[str, bytes]:
    try:
        lines = path.read_text(encoding="ascii").split()
    except OSError as error:
        raise KeysError(f"{path} cannot be read: {error.strerror}. Check COUNTERSIGN_GRANTS_KEY_FILE.") from error
    except ValueError as error:
        raise KeysError(f"{path} holds no keys. Each is 64 hex digits on a line of its own.") from error
    try:
        keys = [bytes.fromhex(line) for line in lines]
    except ValueError as error:
        raise KeysError(f"{path} holds no keys. Each is 64 hex digits on a line of its own.") from error
    if not keys or any(len(key) != KEY_BYTES for key in keys):
        raise KeysError(f"{path} holds no keys. Each is 64 hex digits on a line of its own.")
    return {kek_id(key): key for key in keys}


def add_key(path: Path) -> str:
    """Put a new key-encryption key before the others, which go on opening what they wrapped. Its id.

    Raises:
        KeysError: the file holds no keys, or cannot be written. Nothing was changed.
    """
    key = secrets.token_bytes(KEY_BYTES)
    try:
        with alone(path.parent):  # two at once would each put their key before the old ones, and lose the other's
            _read(path)
            write_whole(path, f"{key.hex()}\n{path.read_text(encoding='ascii')}".encode())
    except OSError as error:
        why = f"{path} cannot be changed: {error.strerror}."
        raise KeysError(f"{why} Where it is mounted read-only, change it where it is kept.") from error
    return kek_id(key)
