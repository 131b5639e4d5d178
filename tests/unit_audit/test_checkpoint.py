"""Checkpoints: who signed, kept on disk, and no line can be bent into a proof or a crash."""

from __future__ import annotations

import json
import stat
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from audit.checkpoint import (
    BadLine,
    Checkpoint,
    Checkpointer,
    CheckpointError,
    check_line,
    key_id,
    load_or_create_key,
    load_public_key,
    public_path,
    read,
    sign,
)
from audit.event import Event
from audit.store import AuditStore
from audit.writer import Writer

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
KEY = Ed25519PrivateKey.from_private_bytes(b"k" * 32)
PUBLIC = KEY.public_key()
ITEM = Checkpoint("demo", 7, "ab" * 32, NOW)
LINE = sign(KEY, ITEM, key_id(PUBLIC))


def test_a_signed_line_comes_back() -> None:
    assert check_line(LINE.encode(), 1, PUBLIC) == ITEM


@pytest.mark.parametrize(
    ("member", "value"),
    [
        *(("seq", value) for value in (8, "7", 7.0, True)),
        *(("tenant", value) for value in ("other", None)),
        *(("time", value) for value in ("2026-03-01T12:00:01.000000Z", 5, "soon")),
        *(("signature", value) for value in ("AAAA", None, "not base64!")),
        ("head", "cd" * 32),
        ("key", "x"),
        ("more", 1),
        ("v", 2),
    ],
)
def test_a_bent_line_proves_nothing(member: str, value: object) -> None:
    bent = json.dumps({**json.loads(LINE), member: value})
    assert isinstance(check_line(bent.encode(), 3, PUBLIC), BadLine)


@given(
    st.binary(max_size=200)
    | st.recursive(st.none() | st.integers() | st.text(), st.lists).map(lambda v: json.dumps(v).encode())
)
def test_no_line_trips_the_reader(line: bytes) -> None:
    assert isinstance(check_line(line, 1, PUBLIC), BadLine)


def test_another_key_is_named_as_such() -> None:
    other = Ed25519PrivateKey.generate()
    assert check_line(LINE.encode(), 4, other.public_key()) == BadLine(4, "is signed with another key")
    posing = sign(other, ITEM, key_id(PUBLIC))
    assert check_line(posing.encode(), 4, PUBLIC) == BadLine(4, "has a signature that does not hold")


def test_the_key_is_made_once_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.key"
    first = load_or_create_key(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert key_id(load_or_create_key(path).public_key()) == key_id(first.public_key())
    assert key_id(load_public_key(public_path(path))) == key_id(first.public_key())
    public_path(path).unlink()
    load_or_create_key(path)
    assert public_path(path).exists()


def test_keys_that_cannot_be_used_are_refused_with_the_mend(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.key"
    load_or_create_key(path)
    path.chmod(0o644)
    with pytest.raises(CheckpointError, match="chmod 600"):
        load_or_create_key(path)
    path.chmod(0o600)
    path.write_text("letters")
    with pytest.raises(CheckpointError, match="no Ed25519 signing key"):
        load_or_create_key(path)
    with pytest.raises(CheckpointError, match=r"\.pub"):
        load_public_key(path)
    with pytest.raises(CheckpointError, match="cannot be read"):
        load_public_key(tmp_path / "none")
    with pytest.raises(CheckpointError, match="cannot be made"):
        load_or_create_key(tmp_path / "none" / "key")


def test_only_chains_that_grew_are_signed_again(
    writer: Writer, store: AuditStore, event: Callable[..., Event], tmp_path: Path
) -> None:
    path = tmp_path / "checkpoints.jsonl"
    checkpointer = Checkpointer(path, KEY)

    def write() -> list[tuple[str, int]]:
        return [(item.tenant, item.seq) for item in writer.read_blocking(lambda conn: checkpointer.write(conn, NOW))]

    assert write() == []
    assert not path.exists()
    writer.run_blocking(lambda conn: store.append(conn, [event(0, "a")]))
    writer.run_blocking(lambda conn: store.append(conn, [event(0, "b")]))
    assert write() == [("a", 1), ("b", 1)]
    writer.run_blocking(lambda conn: store.append(conn, [event(1, "b")]))
    assert write() == [("b", 2)]
    assert write() == []
    lines = [line for line in read(path, PUBLIC) if isinstance(line, Checkpoint)]
    assert [(line.tenant, line.seq, line.time) for line in lines] == [("a", 1, NOW), ("b", 1, NOW), ("b", 2, NOW)]


def test_a_line_torn_by_a_crash_spoils_no_other(
    writer: Writer, store: AuditStore, event: Callable[..., Event], tmp_path: Path
) -> None:
    path = tmp_path / "checkpoints.jsonl"
    path.write_text(LINE + "\n" + LINE[:40])
    writer.run_blocking(lambda conn: store.append(conn, [event(0)]))
    writer.read_blocking(Checkpointer(path, KEY).write)
    kinds = [type(line) for line in read(path, PUBLIC)]
    assert kinds == [Checkpoint, BadLine, Checkpoint]


@pytest.mark.parametrize("engine_url", ["sqlite"], indirect=True)
def test_a_full_disk_is_said_and_the_next_write_makes_up_for_it(
    writer: Writer, store: AuditStore, event: Callable[..., Event], tmp_path: Path
) -> None:
    writer.run_blocking(lambda conn: store.append(conn, [event(0)]))
    path = tmp_path / "checkpoints.jsonl"
    path.symlink_to("/dev/full")
    checkpointer = Checkpointer(path, KEY)
    with pytest.raises(CheckpointError, match="No space left"):
        writer.read_blocking(checkpointer.write)
    path.unlink()
    assert len(writer.read_blocking(checkpointer.write)) == 1


def test_a_missing_file_is_said(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="unproven"):
        list(read(tmp_path / "none", PUBLIC))
