"""Signed statements of where each chain ended, kept outside the database. Knows keys and lines, judges no rows.

One JSON object a line: ``{"head", "key", "seq", "signature", "tenant", "time", "v"}``. The Ed25519 signature (RFC 8032)
is over the canonical JSON of the other members. Whoever verifies needs the public key only.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeAlias

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from sqlalchemy.engine import Connection

from audit.canonical import canonical_bytes, from_iso, iso
from audit.chain import Head
from audit.event import Json

VERSION = 1
_NO_KEY = "{} holds no Ed25519 signing key. Move it away; a new one is made at the next start."
_NO_PUBLIC_KEY = "{} holds no Ed25519 public key (PEM). Name the .pub file beside the signing key."
_MEMBERS = frozenset({"v", "tenant", "seq", "head", "time", "key", "signature"})


class CheckpointError(Exception):
    """Keys or checkpoints cannot be used. `str(e)` may be shown to people."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """At `time` the chain of `tenant` ended with row `seq`, whose hash was `head`. The signature held."""

    tenant: str
    seq: int
    head: str
    time: datetime


@dataclass(frozen=True, slots=True)
class BadLine:
    """A line that proves nothing, and why."""

    number: int
    why: str


Line: TypeAlias = Checkpoint | BadLine


def load_or_create_key(path: Path) -> Ed25519PrivateKey:
    """The signing key at `path`, made with mode 0600 if there is none; its public half goes to ``<path>.pub``.

    Raises:
        CheckpointError: the file is unreadable, holds no such key, or others may read it.
    """
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return _load_key(path)
    except OSError as error:
        raise CheckpointError(
            f"The checkpoint key cannot be made at {path}: {error.strerror}. Nothing was signed."
        ) from error
    key = Ed25519PrivateKey.generate()
    with os.fdopen(descriptor, "wb") as file:
        file.write(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        file.flush()
        os.fsync(file.fileno())
    public_path(path).write_bytes(_public_pem(key.public_key()))
    return key


def public_path(path: Path) -> Path:
    """Where the public half of the key at `path` lies."""
    return path.with_name(path.name + ".pub")


def load_public_key(path: Path) -> Ed25519PublicKey:
    """The public key at `path`, PEM.

    Raises:
        CheckpointError: there is none.
    """
    try:
        key = serialization.load_pem_public_key(path.read_bytes())
    except OSError as error:
        raise CheckpointError(
            f"The public key {path} cannot be read: {error.strerror}. Nothing was verified."
        ) from error
    except ValueError as error:
        raise CheckpointError(_NO_PUBLIC_KEY.format(path)) from error
    if not isinstance(key, Ed25519PublicKey):
        raise CheckpointError(_NO_PUBLIC_KEY.format(path))
    return key


class Checkpointer:
    """Appends a signed line for every chain that has grown. Call it every minute and at shutdown."""

    def __init__(self, path: Path, key: Ed25519PrivateKey) -> None:
        self._path = path
        self._key = key
        self._key_id = key_id(key.public_key())
        self._written: dict[str, int] = {}
        self._gate = threading.Lock()

    def write(self, conn: Connection, now: datetime | None = None) -> tuple[Checkpoint, ...]:
        """Signs the heads that moved since the last call; they are on disk when this returns.

        Raises:
            CheckpointError: the file cannot be written.
        """
        with self._gate:
            moment = now or datetime.now(UTC)
            moved = [head for head in heads(conn) if self._written.get(head.tenant) != head.seq]
            made = tuple(Checkpoint(head.tenant, head.seq, head.hash, moment) for head in moved)
            if made:
                self._append("".join(sign(self._key, item, self._key_id) + "\n" for item in made))
            self._written.update({item.tenant: item.seq for item in made})
            return made

    def _append(self, lines: str) -> None:
        try:
            fresh = not self._path.exists()
            descriptor = os.open(self._path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)
            try:
                size = os.fstat(descriptor).st_size
                torn = size > 0 and os.pread(descriptor, 1, size - 1) != b"\n"  # a crash cut the last line
                text = ("\n" if torn else "") + lines
                if os.write(descriptor, text.encode()) != len(text.encode()):
                    raise OSError(28, "the disk is full")
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            if fresh:
                _flush_directory(self._path.parent)
        except OSError as error:
            raise CheckpointError(
                f"The checkpoint file {self._path} cannot be written: {error.strerror}. The log itself is complete, "
                "but its end is not proved yet. Mend the file's disk or rights; the next minute tries again."
            ) from error


def heads(conn: Connection) -> tuple[Head, ...]:
    """Where every chain ends now; chains without a row are left out."""
    rows = conn.exec_driver_sql("SELECT tenant_id, seq, hash FROM audit_head WHERE seq > 0 ORDER BY tenant_id").all()
    return tuple(Head(tenant, seq, hashed) for tenant, seq, hashed in rows)


def sign(key: Ed25519PrivateKey, item: Checkpoint, key_name: str) -> str:
    """`item` as a line, without its line break."""
    body = _body(item, key_name)
    signature = base64.b64encode(key.sign(canonical_bytes(body))).decode()
    return canonical_bytes({**body, "signature": signature}).decode()


def read(path: Path, key: Ed25519PublicKey) -> Iterator[Line]:
    """Every line of the file at `path`, checked under `key`.

    Raises:
        CheckpointError: the file cannot be read.
    """
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, 1):
                if line.strip():
                    yield check_line(line, number, key)
    except OSError as error:
        raise CheckpointError(
            f"The checkpoint file {path} cannot be read: {error.strerror}. Without it the end of the log is unproven."
        ) from error


def check_line(line: bytes, number: int, key: Ed25519PublicKey) -> Line:
    """One line, checked under `key`. Total: whatever the bytes are, no other error comes out."""
    try:
        data = json.loads(line)
    except (ValueError, RecursionError):
        return BadLine(number, "is not JSON")
    if not isinstance(data, dict) or data.keys() != _MEMBERS or data["v"] != VERSION:
        return BadLine(number, "is no checkpoint of this version")
    if data["key"] != key_id(key):
        return BadLine(number, "is signed with another key")
    try:
        item = Checkpoint(data["tenant"], data["seq"], data["head"], from_iso(data["time"]))
        if type(item.tenant) is not str or type(item.seq) is not int or type(item.head) is not str:
            return BadLine(number, "is no checkpoint of this version")
        key.verify(base64.b64decode(data["signature"], validate=True), canonical_bytes(_body(item, data["key"])))
    except InvalidSignature:
        return BadLine(number, "has a signature that does not hold")
    except Exception:  # noqa: BLE001  a hostile line may be malformed in any way; it proves nothing either way
        return BadLine(number, "is malformed")
    return item


def key_id(key: Ed25519PublicKey) -> str:
    """A short name of `key`, so that a line says which key it needs."""
    raw = key.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
    return hashlib.sha256(raw).hexdigest()[:16]


def _body(item: Checkpoint, key_name: str) -> dict[str, Json]:
    return {
        "v": VERSION,
        "tenant": item.tenant,
        "seq": item.seq,
        "head": item.head,
        "time": iso(item.time),
        "key": key_name,
    }


def _load_key(path: Path) -> Ed25519PrivateKey:
    try:
        mode = path.stat().st_mode & 0o777
        data = path.read_bytes()
    except OSError as error:
        raise CheckpointError(
            f"The checkpoint key {path} cannot be read: {error.strerror}. Nothing was signed."
        ) from error
    if mode & 0o077:
        raise CheckpointError(f"Others may read the checkpoint key {path}. Run: chmod 600 {path}")
    try:
        key = serialization.load_pem_private_key(data, password=None)
    except (ValueError, TypeError) as error:
        raise CheckpointError(_NO_KEY.format(path)) from error
    if not isinstance(key, Ed25519PrivateKey):
        raise CheckpointError(_NO_KEY.format(path))
    if not public_path(path).exists():
        public_path(path).write_bytes(_public_pem(key.public_key()))
    return key


def _public_pem(key: Ed25519PublicKey) -> bytes:
    return key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


def _flush_directory(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
