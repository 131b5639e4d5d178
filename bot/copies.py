"""The copies of a card: posted where they have to stand, drawn anew when what they show is no longer so.

Knows chats as places that take a card or do not. Each chat is served by itself: one that hangs, refuses or has lost
the place holds up no other. What a chat did not take is a row in the audit, and is tried again while anybody is there.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Coroutine, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeAlias, TypeVar
from weakref import WeakValueDictionary

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from bot import card_text, store
from bot.cards import Card
from bot.destinations import Aim, Spot, Team
from bot.messages import Press, SurfaceName
from bot.parts import Parts
from bot.ports import Posted, SurfaceError
from bot.store import POSTED, Copy
from bot.undelivered import Missed
from bot.work import Later
from policy.approval import ApprovalStatus
from policy.model import TenantId
from tools.approvals import HELD
from tools.held import HeldView

log = logging.getLogger("countersign.turn")

T = TypeVar("T")
_Key: TypeAlias = tuple[SurfaceName, str, str]
"""Chat, team, destination."""
POSTING = "posting"
"""What was to be taken where no copy stands yet."""

FOUND = "found:"
"""Begins the destination of a copy that nobody remembers posting."""
GONE = "gone:"
"""Begins what a copy shows whose place is not there: what it would have shown."""
ROUNDS = 5
"""How often a card that changes while it is drawn is drawn again at once."""
PATIENCE_S = 1.0
"""How much longer than the quickest chat another may take, before what is told next goes ahead of it."""
DOWN = 3
"""So many cards in a row that a chat does not take: the rest of them wait with it."""


@dataclass(frozen=True, slots=True)
class Reached:
    """What became of posting a card."""

    standing: bool
    """Somebody who may decide can see it."""
    missed: tuple[str, ...] = ()
    """For people: the places, each with its chat, that did not take it."""
    faults: tuple[SurfaceError, ...] = ()
    """What another attempt may mend."""


class Copies:
    """Posting is at least once; a card stands once at each place."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._locks: WeakValueDictionary[tuple[str, str, Team], asyncio.Lock] = WeakValueDictionary()
        self._behind: set[asyncio.Task[None]] = set()

    async def of(self, tenant: TenantId, card_id: str) -> tuple[Copy, ...]:
        """Where it stands; a team that is another organisation's by now is left alone (invariant 14)."""
        found = await self._parts.writer.read(lambda conn: store.copies(conn, tenant, card_id))
        return tuple(copy for copy in found if self._parts.speaks_for(tenant, *_chat(copy)))

    async def draw(self, calls: Sequence[HeldView]) -> Card:
        """The card as the rows say it is."""
        first = calls[0]
        asked = await self._parts.holders(first.tenant, first.approver_roles)
        return card_text.card(calls, mention=[who.subject for who in asked if who.subject != first.requester])

    async def now(self, view: HeldView) -> Card:
        """The card of `view` as it is at this moment."""
        found = await self._parts.gateway.card(view.tenant, view.card_id)
        return await self.draw(found or (view,))

    # --- posting ------------------------------------------------------------------------------------

    async def post(self, view: HeldView, aims: Sequence[Aim]) -> Reached:
        """A copy for every aim that has none yet."""
        each = await all_of(self._reach(view, aim) for aim in aims)
        return Reached(
            any(reached.standing for reached in each),
            tuple(dict.fromkeys(missed for reached in each for missed in reached.missed)),
            tuple(fault for reached in each for fault in reached.faults),
        )

    async def _reach(self, view: HeldView, aim: Aim) -> Reached:
        if aim.everywhere:
            return await self._everywhere(view, aim)
        have = {_key(copy) for copy in await self.of(view.tenant, view.card_id)}
        if any(spot.key in have for spot in aim.spots):
            return Reached(standing=True)
        faults: list[tuple[Spot, SurfaceError]] = []
        for spot in aim.spots:
            fault = await self._stand(view, spot)
            if fault is None:
                return Reached(standing=True)
            faults.append((spot, fault))
            if not fault.gone:  # it may have arrived: asked in two chats they would decide twice
                break
        return await self._missed(view, aim, faults)

    async def _everywhere(self, view: HeldView, aim: Aim) -> Reached:
        told = await all_of(self._stand(view, spot) for spot in aim.spots)
        faults = [(spot, fault) for spot, fault in zip(aim.spots, told, strict=True) if fault is not None]
        real = [(spot, fault) for spot, fault in faults if not fault.gone]
        if len(faults) < len(aim.spots):  # a chat that has no such channel is no fault where another has one
            found = await self._missed(view, aim, real)
            return replace(found, standing=True)
        if faults:
            return await self._missed(view, aim, real or faults, again=True)
        nowhere = SurfaceError(f"No chat of this organisation is connected in which there could be {aim.named}.")
        return Reached(False, (aim.named,), (nowhere,))

    async def _missed(
        self, view: HeldView, aim: Aim, faults: Sequence[tuple[Spot, SurfaceError]], *, again: bool = False
    ) -> Reached:
        """`again`: it is tried even where nobody is there, because nobody else was reached."""
        for spot, fault in faults:
            await self._note(Missed(view.tenant, view.card_id, *spot.key, POSTING), (view.held_id,), fault)
        worth = tuple(fault for _, fault in faults if again or not fault.gone)
        return Reached(False, tuple(card_text.place(aim.named, spot.surface.name) for spot, _ in faults), worth)

    async def _stand(self, view: HeldView, spot: Spot) -> SurfaceError | None:
        """None: a copy stands there."""
        async with self._alone(view.tenant, view.card_id, spot.chat):
            if spot.key in {_key(copy) for copy in await self.of(view.tenant, view.card_id)}:
                return None
            card = await self.now(view)
            try:
                posted = await spot.surface.post(spot.team, spot.destination, card)
            except SurfaceError as error:
                return error
            await self._put(view.tenant, card, Copy(spot.destination, posted, drawn(card)), POSTING)
            return None

    async def adopt(self, tenant: TenantId, press: Press) -> bool:
        """A card that stands somewhere though its posting never reached the rows (a crash, a lost answer) is kept up to
        date from its first press on. Cards of one call only: they are one message in every chat.

        False: the message is another card's, whatever the press says. In Teams the client writes what was pressed and
        where, and nobody may have one request drawn over another.
        """
        view = await self._parts.gateway.view(tenant, press.held_id) if press.message_id else None
        if view is None:
            return True
        there = Posted(press.who.surface, press.who.team, press.channel, press.message_id)
        for copy in await self.of(tenant, view.card_id):
            known = press.message_id in (copy.posted.message_id, *copy.posted.message_id.split("+"))
            if known and (_chat(copy), copy.posted.channel) == ((there.surface, there.team), there.channel):
                return True
        if await self._parts.writer.read(partial(_of_another, tenant=tenant, card_id=view.card_id, there=there)):
            return False
        if press.digest != view.digest:  # who does not know what it showed did not see it
            return True
        if len(await self._parts.gateway.card(tenant, view.card_id)) != 1:
            return True
        copy = Copy(f"{FOUND}{press.channel}:{press.message_id}", there, "")
        now = self._parts.clock()
        await self._parts.writer.run(lambda conn: store.put_copy(conn, tenant, view.card_id, copy, now))
        return True

    # --- drawing anew -------------------------------------------------------------------------------

    async def redraw(self, tenant: TenantId, card_id: str) -> None:
        """Every copy shows what the rows say.

        Raises:
            Later: a chat did not take it; the others have.
        """
        chats = {_chat(copy) for copy in await self.of(tenant, card_id)}
        await self._apart(self._keep(tenant, card_id, chat) for chat in sorted(chats))

    async def redraw_all(self, tenant: TenantId) -> None:
        """Every pending card of `tenant`, as `redraw` does."""
        found = await self._parts.writer.read(partial(_pending_cards, tenant=tenant))
        ours = {chat: cards for chat, cards in found.items() if self._parts.speaks_for(tenant, *chat)}
        await self._apart(self._keep_all(tenant, chat, cards) for chat, cards in ours.items())

    async def _keep_all(self, tenant: TenantId, chat: Team, cards: Sequence[str]) -> None:
        faults: list[Later] = []
        in_a_row = 0
        for card_id in cards:
            try:
                await self._keep(tenant, card_id, chat)
                in_a_row = 0
            except Later as later:
                faults.append(later)
                in_a_row += 1
            if in_a_row == DOWN:
                break
        if faults:
            raise latest(faults)

    async def _keep(self, tenant: TenantId, card_id: str, chat: Team) -> None:
        """The copies in one chat. The card may change meanwhile: then once more."""
        async with self._alone(tenant, card_id, chat):
            for _ in range(ROUNDS):
                found = await self._parts.gateway.card(tenant, card_id)
                if not found:
                    return
                card = await self.draw(found)
                copies = [copy for copy in await self.of(tenant, card_id) if _chat(copy) == chat]
                lagging = [copy for copy in copies if copy.drawn.removeprefix(GONE) != drawn(card)]
                if not lagging:
                    return
                faults = [fault for copy in lagging if (fault := await self._update(tenant, copy, card)) is not None]
                if faults:
                    raise later(faults)
        raise Later("the card changes faster than it can be drawn", pause_s=1.0)

    async def _update(self, tenant: TenantId, copy: Copy, card: Card) -> SurfaceError | None:
        surface = self._parts.surfaces.get(copy.posted.surface)
        if surface is None:
            return SurfaceError(f"the chat {copy.posted.surface} is not connected")
        posted, held = copy.posted, tuple(item.held_id for item in card.items)
        try:
            try:
                await surface.update(posted, card)
            except SurfaceError as error:
                if not error.gone:
                    raise
                if not copy.destination.startswith(FOUND):
                    posted = await surface.post(posted.team, copy.destination, card)
        except SurfaceError as error:
            await self._note(Missed(tenant, card.card_id, *_key(copy), drawn(card)), held, error)
            if not error.gone or await self._last(tenant, card, copy):
                return error
            # Neither the message nor its place is there: nobody sees that it lags. Tried again when it changes.
            gone = Copy(copy.destination, posted, f"{GONE}{drawn(card)}")
            await self._put(tenant, card, gone, drawn(card), taken=False)
            return None
        await self._put(tenant, card, Copy(copy.destination, posted, drawn(card)), drawn(card))
        return None

    async def _last(self, tenant: TenantId, card: Card, lost: Copy) -> bool:
        """Whether somebody has to decide and `lost` was the only place that anybody could."""
        rest = [copy for copy in await self.of(tenant, card.card_id) if _key(copy) != _key(lost)]
        return any(item.buttons for item in card.items) and all(copy.drawn.startswith(GONE) for copy in rest)

    # --- chats side by side -------------------------------------------------------------------------

    async def _apart(self, works: Iterable[Coroutine[None, None, None]]) -> None:
        """Runs `works` side by side. Once the first has come through the others get a little longer; then they go on
        behind, and `Later` is raised so that somebody looks again."""
        tasks = [asyncio.create_task(work) for work in works]
        if not tasks:
            return
        try:
            _, slow = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            if slow:
                _, slow = await asyncio.wait(slow, timeout=PATIENCE_S)
        except asyncio.CancelledError:
            for task in tasks:
                task.cancel()
            raise
        for task in slow:
            self._behind.add(task)
            task.add_done_callback(self._came_through)
        errors = [error for task in tasks if task not in slow and (error := task.exception()) is not None]
        for error in errors:
            if not isinstance(error, Later):
                raise error
        laters = [error for error in errors if isinstance(error, Later)]
        if slow:
            laters.append(Later("a chat takes its time"))
        if laters:
            raise latest(laters)

    def _came_through(self, task: asyncio.Task[None]) -> None:
        self._behind.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None and not isinstance(error, Later):
            log.warning("a card was not drawn anew yet: %s", type(error).__name__)

    def _alone(self, tenant: TenantId, card_id: str, chat: Team) -> asyncio.Lock:
        """One at a time in each chat: an older picture must not overtake a newer one."""
        return self._locks.setdefault((tenant, card_id, chat), asyncio.Lock())

    # --- rows ---------------------------------------------------------------------------------------

    async def _put(self, tenant: TenantId, card: Card, copy: Copy, state: str, *, taken: bool = True) -> None:
        """`state`: what was to be taken, and was. `taken` False: it was not, and will not be."""
        now, missed = self._parts.clock(), Missed(tenant, card.card_id, *_key(copy), state)
        held = tuple(item.held_id for item in card.items)

        def unit(conn: Connection) -> None:
            store.put_copy(conn, tenant, card.card_id, copy, now)
            self._parts.audit.append(conn, missed.mended(conn, held, now) if taken else [])

        await self._parts.writer.run(unit)

    async def _note(self, missed: Missed, held: tuple[str, ...], fault: SurfaceError) -> None:
        now = self._parts.clock()
        await self._parts.writer.run(lambda conn: self._parts.audit.append(conn, missed.noted(conn, held, fault, now)))


def later(faults: Sequence[SurfaceError]) -> Later:
    """What the chats asked for, as the queue understands it."""
    asked = [fault.retry_after_s for fault in faults if fault.retry_after_s is not None]
    return Later(str(faults[0]), pause_s=max(asked) if asked else None)


def latest(laters: Sequence[Later]) -> Later:
    """One of them, with the longest pause that was asked for."""
    return Later(str(laters[0]), pause_s=max(one.pause_s or 0.0 for one in laters) or None)


def drawn(card: Card) -> str:
    """What a card shows, as a hash: two cards with the same one look the same."""
    return hashlib.sha256(repr(card).encode()).hexdigest()


async def all_of(works: Iterable[Coroutine[None, None, T]]) -> list[T]:
    """What each came to. All of them are over before the first error is raised."""
    tasks = [asyncio.create_task(work) for work in works]
    await asyncio.gather(*tasks, return_exceptions=True)
    return [task.result() for task in tasks]


def _chat(copy: Copy) -> Team:
    return copy.posted.surface, copy.posted.team


def _key(copy: Copy) -> _Key:
    return copy.posted.surface, copy.posted.team, copy.destination


def _of_another(conn: Connection, tenant: TenantId, card_id: str, there: Posted) -> bool:
    """Whether the message is known to have been posted for another card."""
    ids = sa.literal("+") + POSTED.c.message_id + "+"
    query = sa.select(POSTED.c.card_id).where(
        POSTED.c.tenant == tenant,
        POSTED.c.card_id != card_id,
        POSTED.c.surface == there.surface,
        POSTED.c.team == there.team,
        POSTED.c.channel == there.channel,
        ids.contains(f"+{there.message_id}+", autoescape=True),
        sa.not_(POSTED.c.destination.startswith(FOUND)),
    )
    return conn.execute(query.limit(1)).first() is not None


def _pending_cards(conn: Connection, tenant: TenantId) -> dict[Team, list[str]]:
    """Cards on which something waits, by the chat they stand in."""
    query = (
        sa.select(POSTED.c.surface, POSTED.c.team, POSTED.c.card_id)
        .join(HELD, sa.and_(HELD.c.tenant == POSTED.c.tenant, HELD.c.card_id == POSTED.c.card_id))
        .where(POSTED.c.tenant == tenant, HELD.c.status == ApprovalStatus.PENDING.value)
        .distinct()
        .order_by(POSTED.c.card_id)
    )
    found: dict[Team, list[str]] = {}
    for surface, team, card_id in conn.execute(query):
        found.setdefault((SurfaceName(surface), team), []).append(card_id)
    return found
