"""What the door answers without running anything: reading, deadlines, stops, lockouts, audit-only rows.

The half of the gateway that no effect passes through.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import partial

from sqlalchemy.engine import Connection

from audit.event import Event, Kind
from policy.guardrails import locked_until
from policy.model import Principal, Subject, TenantId
from tools import approvals, deadlines, holding, limits, stops, views
from tools.door import Door
from tools.held import HeldView, KillReport, Scope
from tools.holding import MINUTE


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

    def _append(self, conn: Connection, events: Sequence[Event]) -> None:
        self._door.audit.append(conn, events)

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
    ) -> KillReport:
        """Stop `scope` at once, everywhere; `dry_run` changes nothing and says what it would stop (invariant 8).

        Raises:
            StoreUnavailable: nothing was stopped.
        """
        return await stops.kill(self._door, tenant, scope, by, reason, dry_run=dry_run)

    async def resume(self, tenant: TenantId | None, scope: Scope, by: stops.By) -> KillReport:
        """Lift the switches of `scope`. Releases nothing: what was stopped needs a fresh press."""
        return await stops.resume(self._door, tenant, scope, by)

    async def kills(self, tenant: TenantId | None) -> KillReport:
        """What is stopped now, what waits, and what was in flight."""
        return await self._door.writer.read(lambda conn: stops.report(conn, tenant))

    # -- reading ---------------------------------------------------------------------------------------------

    async def view(self, tenant: TenantId, held_id: str) -> HeldView | None:
        return await self._door.writer.read(lambda conn: views.one(conn, tenant, held_id))

    async def card(self, tenant: TenantId, card_id: str) -> tuple[HeldView, ...]:
        return await self._door.writer.read(lambda conn: views.card(conn, tenant, card_id))

    async def waiting_for(self, who: Principal) -> tuple[HeldView, ...]:
        return await self._door.writer.read(lambda conn: views.waiting_for(conn, who))

    async def asked_by(self, tenant: TenantId, subject: Subject) -> tuple[HeldView, ...]:
        return await self._door.writer.read(lambda conn: views.asked_by(conn, tenant, subject))

    async def question(self, tenant: TenantId, press_id: str) -> tuple[str, str] | None:
        """Who asked the requester something, and their words."""
        row = await self._door.writer.read(lambda conn: approvals.press(conn, tenant, press_id))
        return None if row is None else (row.by_name, row.text)

    # -- people ----------------------------------------------------------------------------------------------

    async def stopped(self, who: Principal) -> str | None:
        """A sentence when the kill-switch covers the person or they are locked out; None: go on."""
        now = self._door.clock()
        found = await self._door.writer.read(lambda conn: holding.stop_sentence(conn, who, None, now))
        return None if found is None else found[1]

    async def take_message(self, who: Principal) -> str | None:
        """Use one of the person's messages of this minute; a sentence when none is left."""
        limit, now = self._door.policy().guardrails.rate_limits.per_user_per_min, self._door.clock()
        taken = await self._door.writer.run(
            lambda conn: limits.take(conn, who.tenant, "messages", str(who.subject), limit, MINUTE, now)
        )
        return None if taken else f"That is more than {limit} messages in a minute. Wait a little and ask again."

    async def guard_hit(self, who: Principal) -> datetime | None:
        """Count a message that a guardrail killed; until when the person is locked out, if this was one too many."""
        return await self._door.writer.run(lambda conn: self._hit(conn, who))

    async def lift_lockout(self, who: Principal, by: Principal) -> bool:
        """An admin lets a locked-out person back in. False: they were not locked out."""

        def unit(conn: Connection) -> bool:
            lifted = limits.lift_lockout(conn, who.tenant, who.subject)
            if lifted:
                self._append(conn, [self._about(Kind.LOCKOUT_LIFTED, by, "lifted", {"of": who.subject.sub})])
            return lifted

        return await self._door.writer.run(unit)

    def _hit(self, conn: Connection, who: Principal) -> datetime | None:
        switch, now = self._door.policy().guardrails.kill_switch, self._door.clock()
        hits = limits.hit(conn, who.tenant, who.subject, now, timedelta(minutes=switch.lockout_minutes))
        until = locked_until(hits, switch, now)
        if until is not None:
            limits.lock_out(conn, who.tenant, who.subject, until)
            detail: dict[str, str | int] = {"hits": len(hits), "until": until.isoformat(timespec="seconds")}
            self._append(conn, [self._about(Kind.LOCKOUT_STARTED, who, "locked_out", detail)])
        return until

    def _about(self, kind: Kind, who: Principal, status: str, detail: dict[str, str | int]) -> Event:
        return Event(
            kind=kind,
            tenant=who.tenant,
            occurred_at=self._door.clock(),
            status=status,
            actor_user_id=who.subject.sub,
            actor_roles=tuple(sorted(who.roles)),
            detail=detail,
        )
