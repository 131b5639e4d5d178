"""Expiry and the one reminder: sweeps over rows whose time has come. Safe on every replica at once.

Knows no timer: somebody above calls.
"""

from __future__ import annotations

from datetime import timedelta
from functools import partial

from sqlalchemy.engine import Connection

from audit.event import Kind
from policy.approval import ApprovalStatus
from policy.model import TenantId
from tools import approvals, limits, settling, strangers
from tools.door import Door
from tools.ports import Notice, NoticeKind
from tools.settling import Ledger


async def expire_due(door: Door, limit: int) -> int:
    """Expire up to `limit` pending calls whose time is over, each in a transaction of its own."""
    now = door.clock()
    found = await door.writer.read(lambda conn: approvals.due(conn, now, limit))
    done = 0
    for tenant, held_id in found:
        done += await door.writer.run(partial(_expire, door=door, tenant=tenant, held_id=held_id))
    await _housekeeping(door)
    return done


async def remind_due(door: Door, limit: int) -> int:
    """Queue up to `limit` reminders; a call is reminded once."""
    now = door.clock()
    found = await door.writer.read(lambda conn: approvals.to_remind(conn, now, limit))
    done = 0
    for tenant, held_id in found:
        done += await door.writer.run(partial(_remind, door=door, tenant=tenant, held_id=held_id))
    return done


def _expire(conn: Connection, door: Door, tenant: TenantId, held_id: str) -> int:
    work = Ledger(conn, door, door.clock())
    row = approvals.read(conn, tenant, held_id, lock=True)
    if row is None or row.status != ApprovalStatus.PENDING.value or row.expires_at > work.now:
        return 0
    settling.end(work, row, ApprovalStatus.EXPIRED, "Nobody decided it in time. Nothing was done.")
    work.commit_events()
    return 1


def _remind(conn: Connection, door: Door, tenant: TenantId, held_id: str) -> int:
    work = Ledger(conn, door, door.clock())
    row = approvals.read(conn, tenant, held_id, lock=True)
    if row is None or row.status != ApprovalStatus.PENDING.value or row.remind_at is None or row.remind_at > work.now:
        return 0
    work.change(row, remind_at=None)
    door.outbox.put(conn, Notice(NoticeKind.REMINDER, tenant, held_id, row.revision))
    work.log(Kind.APPROVAL_REMINDED, "reminded", row, by="countersign")
    work.commit_events()
    return 1


async def _housekeeping(door: Door) -> None:
    """Tell floods of minutes that are over, and forget rates of windows long past."""
    now = door.clock()
    for chain in await door.writer.read(strangers.flood_chains):

        def unit(conn: Connection, chain: str = chain) -> None:
            door.audit.append(conn, strangers.floods(conn, chain, now.replace(second=0, microsecond=0), now))

        await door.writer.run(unit)
    await door.writer.run(lambda conn: limits.forget_rates(conn, now - timedelta(days=2)))
