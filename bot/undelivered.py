"""What a chat did not take, as rows: once for each state of a card and each place, and once more when it did take it.

Knows the audit's words for it; tries nothing and decides nothing. Every function takes the caller's open transaction
and gives back the audit rows, to be appended last.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime

from sqlalchemy.engine import Connection

from audit.event import Event, Kind
from bot import store
from bot.messages import SurfaceName
from bot.ports import SurfaceError
from policy.model import TenantId

NOT_TAKEN, PLACE_GONE, TAKEN = "not_taken", "place_gone", "delivered"


@dataclass(frozen=True, slots=True)
class Missed:
    """One state of one card at one place."""

    tenant: TenantId
    card_id: str
    surface: SurfaceName
    team: str
    destination: str
    state: str
    """What was to be taken: that the card stands there, or what it shows, as a hash."""

    def noted(self, conn: Connection, held: tuple[str, ...], fault: SurfaceError, now: datetime) -> list[Event]:
        """The chat did not take it."""
        end = PLACE_GONE if fault.gone else NOT_TAKEN
        if not store.mark_told(conn, self.tenant, self.card_id, self._what(end), now):
            return []
        return [self._event(Kind.NOTICE_UNDELIVERED, end, held, now, str(fault)[:200])]

    def mended(self, conn: Connection, held: tuple[str, ...], now: datetime) -> list[Event]:
        """The chat took it; a row if it had not taken this, or what stood there before."""
        told = store.all_told(conn, self.tenant, self.card_id)
        missed = self._states(told, NOT_TAKEN) | self._states(told, PLACE_GONE)
        over = missed - self._states(told, TAKEN)
        for state in over:
            store.mark_told(conn, self.tenant, self.card_id, replace(self, state=state)._what(TAKEN), now)
        if not over:
            return []
        return [self._event(Kind.NOTICE_DELIVERED, TAKEN, held, now)]

    def _what(self, end: str) -> str:
        return f"{end}:{self.surface}:{self.team}:{self.destination}:{self.state[:16]}"

    def _states(self, told: tuple[str, ...], end: str) -> set[str]:
        """Of this card at this place, those that came to `end`."""
        here = replace(self, state="")._what(end)
        found = {what.removeprefix(here) for what in told if what.startswith(here)}
        return {state for state in found if ":" not in state}  # the name of another place may begin like this one's

    def _event(self, kind: Kind, status: str, held: tuple[str, ...], now: datetime, why: str = "") -> Event:
        detail = {
            "card_id": self.card_id,
            "held": list(held),
            "surface": self.surface,
            "team": self.team,
            "destination": self.destination,
        }
        return Event(kind, self.tenant, now, status, detail={**detail, "why": why} if why else detail)
