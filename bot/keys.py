"""The keys that must never lie in the database. Knows where they are kept, not what they sign.

``mac.key``: approvals and votes (invariant 3). ``checkpoint.pem``: audit checkpoints (invariant 10).
``tokens.pem``: call tokens (invariant 2); it is replaced while the service runs, see `bot.identity.keyring`.
Replicas share them: mount one directory (COUNTERSIGN_KEYS_DIR).
"""

from __future__ import annotations

import os
import secrets
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from audit.checkpoint import CheckpointError, load_or_create_key
from tools.integrity import KEY_BYTES, MacKey

MAC, CHECKPOINT, TOKENS = "mac.key", "checkpoint.pem", "tokens.pem"
GRANTS = "grants.key"
"""Wraps the data keys of sealed refresh tokens, unless COUNTERSIGN_GRANTS_KEY_FILE names another."""
NEXT, RING, LOCK = "tokens.next.pem", "tokens.ring.json", "tokens.lock"
"""Beside ``tokens.pem``: the key that signs next, since when keys are published and which went before, a lock."""


class KeysError(Exception):
    """The keys cannot be used. `str(e)` may be shown to people."""


@dataclass(frozen=True, slots=True)
class Keys:
    mac: MacKey = field(repr=False)
    checkpoint: Ed25519PrivateKey = field(repr=False)
    tokens: Ed25519PrivateKey = field(repr=False)
    """What ``tokens.pem`` held when the folder was opened. Whoever signs asks `KeyRing`, which follows a rotation."""


def open_keys(folder: Path) -> Keys:
    """The keys in `folder`, which are all there.

    Raises:
        KeysError: one is missing or cannot be used. A service must not make a new one by itself: under
            another MAC key every approval that waits would be refused, and nobody would know why.
    """
    absent = [name for name in (MAC, CHECKPOINT, TOKENS) if not (folder / name).exists()]
    if absent:
        raise KeysError(
            f"{', '.join(absent)}: not found in {folder}. Run `countersign migrate` once to make the keys, "
            "or set COUNTERSIGN_KEYS_DIR to the directory that holds them."
        )
    return make_keys(folder)


def make_keys(folder: Path) -> Keys:
    """The keys in `folder`; those that are missing are made, readable by this user alone.

    Raises:
        KeysError: the directory cannot be written or a key cannot be used.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        mac = _mac(folder / MAC)
        return Keys(mac, load_or_create_key(folder / CHECKPOINT), load_or_create_key(folder / TOKENS))
    except CheckpointError as error:
        raise KeysError(str(error)) from error
    except OSError as error:
        raise KeysError(
            f"The keys in {folder} cannot be used: {error.strerror}. Check the directory's rights."
        ) from error


def write_once(path: Path, content: bytes) -> None:
    """`content` at `path`, readable by this user alone, unless there is something already.

    Written whole before it has its name: another process finds no key or a whole one.

    Raises:
        OSError: it cannot be written.
    """
    if path.exists():
        return
    draft = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        if not path.exists():
            path.hardlink_to(draft)
    except FileExistsError:
        pass
    finally:
        draft.unlink()


def _mac(path: Path) -> MacKey:
    write_once(path, (secrets.token_hex(KEY_BYTES) + "\n").encode())
    try:
        return MacKey(bytes.fromhex(path.read_text(encoding="ascii").strip()))
    except ValueError as error:
        raise KeysError(f"{path} holds no key. Restore it from a backup: approvals that wait need it.") from error
