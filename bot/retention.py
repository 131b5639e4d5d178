"""Raw text that has served: erased on request, or once it is older than it may be kept (invariant 11).

It lives in transcripts, on approval rows and, in the demo, in its chat. Knows where; knows no setting.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial

from sqlalchemy.engine import Connection

from audit.event import Event, Kind
from audit.faults import StoreUnavailable
from audit.store import AuditStore
from audit.writer import Writer
from bot.agent import transcript
from bot.web import chatlog
from policy.model import Subject, TenantId
from tools import erasure

log = logging.getLogger("countersign.retention")

EVERY_S = 3600.0


@dataclass(frozen=True, slots=True)
class Retention:
    """Erases, and writes down that it did."""

    writer: Writer
    audit: AuditStore
    clock: Callable[[], datetime]

    async def erase(
        self, tenant: TenantId, by: str, *, subject: Subject | None = None, before: datetime | None = None
    ) -> tuple[int, int]:
        """Erase a person's raw text, or everybody's before a time, in one transaction.

        Returns how many lines of transcript, and of how many requests the text.
        """
        now = self.clock()

        def unit(conn: Connection) -> tuple[int, int]:
            lines = transcript.erase(conn, tenant, subject=subject, before=before)
            requests = erasure.erase(conn, tenant, now, subject=subject, before=before)
            if before is not None:
                chatlog.erase(conn, tenant, before)
            event = Event(
                kind=Kind.DATA_ERASED,
                tenant=tenant,
                occurred_at=now,
                status="erased",
                actor_user_id=by,
                detail={
                    "of": "everybody" if subject is None else subject.sub,
                    "before": None if before is None else before.isoformat(timespec="seconds"),
                    "transcript_rows": lines,
                    "requests": requests,
                },
            )
            self.audit.append(conn, [event])
            return lines, requests

        return await self.writer.run(unit)

    async def keep(self, days: int, tenants: Callable[[], Iterable[TenantId]]) -> None:
        """From now on erase what is older than `days` (0: nothing). Runs until cancelled, on every replica."""
        while days:
            before = self.clock() - timedelta(days=days)
            for tenant in tenants():
                try:
                    if await self.writer.read(partial(_has_text, tenant=tenant, before=before)):
                        await self.erase(tenant, "retention", before=before)
                except StoreUnavailable as error:
                    log.error("old text of %s was not erased yet: %s", tenant, error)
                except Exception as error:  # noqa: BLE001 - the next hour tries again
                    log.error("old text of %s was not erased yet: %s", tenant, type(error).__name__)
            await asyncio.sleep(EVERY_S)


def _has_text(conn: Connection, tenant: TenantId, before: datetime) -> bool:
    """Whether there is anything to erase: an audit row an hour about nothing would help nobody."""
    return transcript.older(conn, tenant, before) or erasure.older(conn, tenant, before)
