"""The keys that call tokens are signed and checked with, as one folder holds them. Knows files and times, no claim.

``tokens.pem`` signs now; ``tokens.next.pem`` will, and is published first; ``tokens.ring.json`` says since when, and
keeps the public halves of the keys before for as long as their tokens may live. The folder is looked at on every use,
so a replica follows a rotation without a restart; what cannot be read leaves the ring before it in place.
"""

from __future__ import annotations

import hashlib
import json
import logging
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Protocol, TypeAlias

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from bot.identity.jose import JoseRefused, b64, unb64
from bot.keys import NEXT, RING, TOKENS, KeysError

log = logging.getLogger("countersign.keys")

LEAD = timedelta(minutes=15)
"""How long a key is published before it signs: JWKS caches have seen it by then."""
KEEP = timedelta(minutes=15)
"""How long a key verifies after its last signature: a token's five minutes, skew, and replicas that were slow."""
VERSION = 1
MAX_BYTES = 64 * 1024

Fingerprint: TypeAlias = tuple[tuple[int, int, int] | None, ...]


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A private key and its name."""

    kid: str
    key: Ed25519PrivateKey = field(repr=False)
    since: datetime | None = None
    """When it was first published, as far as anybody wrote it down."""


@dataclass(frozen=True, slots=True)
class RetiredKey:
    """A key that signed until `retired_at`. Its private half was destroyed then."""

    kid: str
    key: Ed25519PublicKey
    retired_at: datetime

    def verifies(self, now: datetime) -> bool:
        return now < self.retired_at + KEEP


@dataclass(frozen=True, slots=True)
class Ring:
    """One reading of the folder. Replaced as a whole, never changed."""

    current: SigningKey
    next: SigningKey | None = None
    previous: tuple[RetiredKey, ...] = ()

    def verifying(self, now: datetime) -> dict[str, Ed25519PublicKey]:
        """Every key whose tokens count at `now`, by name.

        The next one too: a replica that follows a rotation a moment later meets tokens of the one that was first.
        """
        found = {one.kid: one.key for one in self.previous if one.verifies(now)}
        for signing in (self.next, self.current):
            if signing is not None:
                found[signing.kid] = signing.key.public_key()
        return found


class Keys(Protocol):
    """Where `CallTokens` gets its keys."""

    def now(self) -> Ring:
        """The ring as it is at this moment."""


class FixedRing:
    """Keys that never change: tests, and tools that are given one."""

    def __init__(self, key: Ed25519PrivateKey, also_trusted: Iterable[Ed25519PublicKey] = ()) -> None:
        never = datetime.max.replace(tzinfo=UTC) - KEEP
        retired = tuple(RetiredKey(key_id(public), public, never) for public in also_trusted)
        self._ring = Ring(SigningKey(key_id(key.public_key()), key), None, retired)

    def now(self) -> Ring:
        return self._ring


class KeyRing:
    """The keys of one folder, followed as it changes. Safe to ask from any thread."""

    def __init__(self, folder: Path) -> None:
        """Reads `folder`.

        Raises:
            KeysError: there is nothing to sign with; there is no ring to fall back to.
        """
        self._folder = folder
        self._lock = threading.Lock()
        self._seen = _fingerprint(folder)
        self._ring = read_ring(folder)

    def now(self) -> Ring:
        """The ring as the folder holds it now, or its last good reading."""
        if _fingerprint(self._folder) != self._seen:
            with self._lock:
                # Taken before reading: a change that lands meanwhile is seen the next time.
                seen = _fingerprint(self._folder)
                if seen != self._seen:
                    self._seen = seen
                    self._reload()
        return self._ring

    def _reload(self) -> None:
        try:
            self._ring = read_ring(self._folder)
        except KeysError as error:
            log.error("The token keys were not read anew; the ones before still hold.\n%s", error)
        else:
            log.info("token keys read anew: %s signs", self._ring.current.kid)


def read_ring(folder: Path) -> Ring:
    """What `folder` holds.

    Raises:
        KeysError: a file is absent, unreadable or no key. Says which.
    """
    notes = _notes(folder / RING)
    current = _signing(folder / TOKENS, notes.since)
    following = _signing(folder / NEXT, notes.since) if (folder / NEXT).exists() else None
    if following is not None and following.kid == current.kid:
        # A rotation broke off between its steps: the key signs already.
        following = None
    return Ring(current, following, tuple(one for one in notes.previous if one.kid != current.kid))


def key_id(key: Ed25519PublicKey) -> str:
    """The key's JWK thumbprint (RFC 7638), so that replicas with the same key agree on its name."""
    return b64(hashlib.sha256(f'{{"crv":"Ed25519","kty":"OKP","x":"{public_x(key)}"}}'.encode()).digest())


def public_x(key: Ed25519PublicKey) -> str:
    """The JWK member ``x`` (RFC 8037)."""
    return b64(key.public_bytes(Encoding.Raw, PublicFormat.Raw))


@dataclass(frozen=True, slots=True)
class Notes:
    """What ``tokens.ring.json`` says: since when keys are published, and the keys of before."""

    since: Mapping[str, datetime] = field(default_factory=dict)
    previous: tuple[RetiredKey, ...] = ()

    def written(self) -> bytes:
        body = {
            "v": VERSION,
            "published": {kid: at.isoformat() for kid, at in self.since.items()},
            "previous": [{"x": public_x(one.key), "retired_at": one.retired_at.isoformat()} for one in self.previous],
        }
        return (json.dumps(body, indent=2) + "\n").encode()


def _notes(path: Path) -> Notes:
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        return Notes()
    except OSError as error:
        raise KeysError(f"{path} cannot be read: {error.strerror}. Check the directory's rights.") from error
    try:
        value = json.loads(raw)
        if len(raw) > MAX_BYTES or value["v"] != VERSION:
            raise ValueError(VERSION)
        since = {str(kid): _moment(at) for kid, at in value["published"].items()}
        return Notes(since, tuple(_retired(entry) for entry in value["previous"]))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, JoseRefused) as error:
        mend = "Restore it, or remove it: then tokens signed before the last rotation are refused."
        raise KeysError(f"{path} says nothing about keys. {mend}") from error


def _retired(entry: Mapping[str, object]) -> RetiredKey:
    x = entry["x"]
    if not isinstance(x, str):
        raise TypeError(x)
    public = Ed25519PublicKey.from_public_bytes(unb64(x))
    return RetiredKey(key_id(public), public, _moment(entry["retired_at"]))


def _moment(value: object) -> datetime:
    found = datetime.fromisoformat(str(value))
    if found.tzinfo is None:
        raise ValueError(value)
    return found


def _signing(path: Path, since: Mapping[str, datetime]) -> SigningKey:
    try:
        key = load_pem_private_key(path.read_bytes(), password=None)
    except OSError as error:
        raise KeysError(f"{path} cannot be read: {error.strerror}. Check the directory's rights.") from error
    except (ValueError, TypeError) as error:
        raise KeysError(f"{path} holds no Ed25519 key. Restore it from a backup.") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise KeysError(f"{path} holds no Ed25519 key. Restore it from a backup.")
    kid = key_id(key.public_key())
    return SigningKey(kid, key, since.get(kid))


def _fingerprint(folder: Path) -> Fingerprint:
    return tuple(_stat(folder / name) for name in (TOKENS, NEXT, RING))


def _stat(path: Path) -> tuple[int, int, int] | None:
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_mtime_ns, stat.st_size, stat.st_ino
