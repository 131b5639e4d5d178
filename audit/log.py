"""Writes events that need no transaction of their own, many callers' in one. Knows tenants and groups, no decisions.

What belongs to a decision goes through `AuditStore.append` in the decision's transaction instead.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from concurrent.futures import Future

from sqlalchemy.engine import Connection

from audit.chain import Cells, seal
from audit.event import Event
from audit.store import AuditStore, insert, lock_head, tenant_of
from audit.writer import StoreUnavailable, Ticket, Writer, settle_all

ROWS = 1000
"""Rows in one append at most."""


class _Waiting(Ticket[None]):
    """The rows of one caller, of one tenant."""

    __slots__ = ("records",)

    def __init__(self, records: list[Cells], loop: asyncio.AbstractEventLoop | None) -> None:
        super().__init__(_nothing, loop)
        self.records = records


class AuditLog:
    """Audit-only events, grouped per tenant. Usable from any thread and event loop.

    While one group of a tenant is being committed the next one gathers, so every caller shares an fsync.
    """

    def __init__(self, writer: Writer, store: AuditStore) -> None:
        self._writer = writer
        self._store = store
        self._gate = threading.Lock()
        self._gathering: dict[str, list[_Waiting]] = {}
        self._busy: set[str] = set()

    async def write(self, events: Sequence[Event]) -> None:
        """Returns once `events` are on disk, in the order given; tenants are committed one by one.

        Raises:
            NotCanonical: an event cannot be hashed; nothing of `events` was written.
            StoreUnavailable: the database did not take them.
        """
        loop = asyncio.get_running_loop()
        for records in self._by_tenant(events):
            waiting = _Waiting(records, loop)
            self._enqueue(waiting)
            await waiting.future  # type: ignore[misc]  # an asyncio future, as a loop was given

    def write_blocking(self, events: Sequence[Event]) -> None:
        """`write` for code outside an event loop."""
        for records in self._by_tenant(events):
            waiting = _Waiting(records, None)
            self._enqueue(waiting)
            waiting.future.result()

    def _by_tenant(self, events: Sequence[Event]) -> list[list[Cells]]:
        groups: dict[str, list[Cells]] = {}
        for event in events:
            cells = self._store.prepare(event)
            groups.setdefault(tenant_of(cells), []).append(cells)
        return list(groups.values())

    def _enqueue(self, waiting: _Waiting) -> None:
        tenant = tenant_of(waiting.records[0])
        with self._gate:
            self._gathering.setdefault(tenant, []).append(waiting)
            if tenant in self._busy:
                return
            self._busy.add(tenant)
        self._submit(tenant)

    def _submit(self, tenant: str) -> None:
        group: list[_Waiting] = []

        def append(conn: Connection) -> None:
            head = lock_head(conn, tenant)  # first, so that whoever comes while it is waited for is in the group
            group.extend(self._take(tenant))
            insert(conn, seal(head, [cells for waiting in group for cells in waiting.records]))

        def committed(future: Future[None]) -> None:
            error = future.exception()
            if not group:  # the transaction could not even begin: whoever gathered meanwhile hears of it
                group.extend(self._take(tenant))
            for waiting in group:
                waiting.error = error
            self._next(tenant)
            settle_all(list(group))

        try:
            self._writer.submit(append).add_done_callback(committed)
        except (StoreUnavailable, RuntimeError) as error:
            with self._gate:
                refused = self._gathering.pop(tenant, [])
                self._busy.discard(tenant)
            for waiting in refused:
                waiting.error = error
            settle_all(list(refused))

    def _take(self, tenant: str) -> list[_Waiting]:
        with self._gate:
            gathered = self._gathering.pop(tenant, [])
            taken, rows = 0, 0
            while taken < len(gathered) and (taken == 0 or rows + len(gathered[taken].records) <= ROWS):
                rows += len(gathered[taken].records)
                taken += 1
            if gathered[taken:]:
                self._gathering[tenant] = gathered[taken:]
            return gathered[:taken]

    def _next(self, tenant: str) -> None:
        with self._gate:
            if not self._gathering.get(tenant):
                self._busy.discard(tenant)
                return
        self._submit(tenant)


def _nothing(_conn: Connection) -> None:
    return None
