"""Which processes live: heartbeats, and who may take over from whom. Knows no queue and no segment."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path

from sqlalchemy.engine import Connection

from audit.writer import Writer
from bot import store

STALE_BEATS = 6
"""Heartbeats missed before a replica counts as dead."""
CLAIM_LEASE = timedelta(seconds=60)


class Replicas:
    """One replica's view of all of them."""

    def __init__(self, writer: Writer, own_id: str, beat_s: float, clock: Callable[[], datetime]) -> None:
        self._writer = writer
        self._own_id = own_id
        self._beat_s = beat_s
        self._clock = clock
        self._watched: dict[str, tuple[datetime, float]] = {}

    async def beat(self) -> None:
        """Say that this replica lives."""
        await self._writer.run(self._beat)

    async def leave(self, replica_id: str) -> None:
        """The replica has no segments any more: it ended in order, or they were taken over."""
        await self._writer.run(partial(_leave, replica_id=replica_id))

    async def claim_dead(self) -> tuple[str, ...]:
        """The dead replicas that are this one's to take over. The others leave them alone for a minute."""
        rows = [row for row in await self._writer.read(store.replicas) if row.replica_id != self._own_id]
        self._watched = {row.replica_id: self._watched.get(row.replica_id, _UNSEEN) for row in rows}
        dead = [row for row in rows if self._is_dead(row)]
        return tuple([row.replica_id for row in dead if await self._writer.run(partial(self._claim, row=row))])

    def _beat(self, conn: Connection) -> None:
        store.beat(conn, self._own_id, machine(), os.getpid(), self._clock())

    def _claim(self, conn: Connection, row: store.ReplicaRow) -> bool:
        return store.claim_dead(conn, row, self._own_id, self._clock(), CLAIM_LEASE)

    def _is_dead(self, row: store.ReplicaRow) -> bool:
        """Its process is gone from this machine, or its heartbeat stands still by our clock (clocks differ)."""
        if row.machine == machine() and not _alive(row.pid):
            return True
        beat, since = self._watched[row.replica_id]
        if beat != row.beat_at:
            self._watched[row.replica_id] = (row.beat_at, time.monotonic())
            return False
        return time.monotonic() - since > STALE_BEATS * self._beat_s


_UNSEEN = (datetime.min, 0.0)  # noqa: DTZ901 - equal to no heartbeat


def _leave(conn: Connection, replica_id: str) -> None:
    store.leave(conn, replica_id)


def machine() -> str:
    """Names the place where a pid means something: host, boot and pid namespace."""
    parts = [os.uname().nodename]
    with suppress(OSError):
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip())
    with suppress(OSError):
        parts.append(str(Path("/proc/self/ns/pid").readlink()))
    return "/".join(parts)


def _alive(pid: int) -> bool:
    if pid == os.getpid():
        return False  # the row is of an earlier process that had this number
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
