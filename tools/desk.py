"""What the door answers without running anything: reading, deadlines, stops, lockouts, audit-only rows.

The half of the gateway that no effect passes through.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import partial

from sqlalchemy.engine import Connection

from audit.event import Event
from policy.model import Principal, Subject, TenantId
from tools import approvals, deadlines, leaving, pressing, stops, views
from tools.door import Door
from tools.held import HeldView, KillReport, OwnCall, Scope


class Desk:
    """See `tools.gateway.Gateway`, which completes it."""

    def __init__(self, door: Door) -> None:
        self._door = door

    async def record(self, events: Sequence[Event]) -> None:
        """Audit-only rows of what happened above the door: turns, refused commands, links.

        Raises:
            StoreUnavailable: they could not be written; what they are about must not happen.
        """
        by_tenant: dict[str | None, list[Event]] = {}
        for event in events:
            by_tenant.setdefault(event.tenant, []).append(event)
        for batch in by_tenant.values():
            await self._door.writer.run(partial(self._append, events=batch))

    # -- deadlines and stops ---------------------------------------------------------------------------------

    async def expire_due(self, limit: int = 200) -> int:
        """Expire what is over; returns how many. Safe to run on every replica."""
        return await deadlines.expire_due(self._door, limit)

    async def remind_due(self, limit: int = 200) -> int:
        """Queue the one reminder of every call that reached half its time; returns how many."""
        return await deadlines.remind_due(self._door, limit)

    async def kill(
        self,
        tenant: TenantId | None,
        scope: Scope,
        by: stops.By,
        reason: str,
        *,
        dry_run: bool = False,
        once: stops.Once | None = None,
    ) -> KillReport:
        """Stop `scope` at once, everywhere; `dry_run` changes nothing and says what it would stop (invariant 8).

        `once`: takes the command's delivery, so that one that comes twice changes nothing the second time.

        Raises:
            StoreUnavailable: nothing was stopped.
        """
        return await stops.kill(self._door, tenant, scope, by, reason, dry_run=dry_run, once=once)

    async def resume(
        self, tenant: TenantId | None, scope: Scope, by: stops.By, *, once: stops.Once | None = None
    ) -> KillReport:
        """Lift the switches of `scope`. Releases nothing: what was stopped needs a fresh press."""
        return await stops.resume(self._door, tenant, scope, by, once=once)

    async def kills(self, tenant: TenantId | None) -> KillReport:
        """What is stopped now, what waits, and what was in flight."""
        return await self._door.writer.read(lambda conn: stops.report(conn, tenant))

    # -- leavers ---------------------------------------------------------------------------------------------

    def reconsider(
        self, conn: Connection, tenant: TenantId, subjects: Collection[Subject], cause: str, *, force: bool = False
    ) -> list[Event]:
        """Take back what `subjects` may no longer have waiting (invariant 9), in the caller's open transaction.

        Returns the audit rows, which the caller appends last.
        """
        return leaving.reconsider(conn, self._door, tenant, subjects, cause, self._door.clock(), force=force)

    # -- reading ---------------------------------------------------------------------------------------------

    async def view(self, tenant: TenantId, held_id: str) -> HeldView | None:
        return await self._door.writer.read(lambda conn: views.one(conn, tenant, held_id))

    async def card(self, tenant: TenantId, card_id: str) -> tuple[HeldView, ...]:
        return await self._door.writer.read(lambda conn: views.card(conn, tenant, card_id))

    async def open_to(self, who: Principal, held_id: str) -> tuple[OwnCall, ...]:
        """The calls on the card of `held_id`, each with the presses by `who` that would count; none: not theirs."""
        return await self._door.writer.read(lambda conn: pressing.open_to(conn, self._door, who, held_id))

    async def waiting_for(self, who: Principal) -> tuple[HeldView, ...]:
        return await self._door.writer.read(lambda conn: views.waiting_for(conn, who))

    async def asked_by(self, tenant: TenantId, subject: Subject) -> tuple[HeldView, ...]:
        return await self._door.writer.read(lambda conn: views.asked_by(conn, tenant, subject))

    async def in_doubt(self, tenant: TenantId) -> tuple[HeldView, ...]:
        """Calls of which nobody knows whether they happened, newest first."""
        return await self._door.writer.read(lambda conn: views.in_doubt(conn, tenant))

    async def question(self, tenant: TenantId, held_id: str, press_id: str) -> approvals.Question | None:
        """What the requester was asked by one press; None: never, or it has been erased."""
        row = await self._door.writer.read(lambda conn: approvals.read(conn, tenant, held_id))
        asked = () if row is None else approvals.questions(row)
        return next((one for one in asked if one.press_id == press_id), None)

    def _append(self, conn: Connection, events: Sequence[Event]) -> None:
        self._door.audit.append(conn, events)
