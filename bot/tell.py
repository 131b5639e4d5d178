"""Tells people what was decided: cards to approvers, summaries and questions to requesters (the outbox).

Knows destinations and copies; reads every held call at the moment of telling, so what is told is never older
than the rows. Decides nothing. Posting is at least once; a card stands once at each destination.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import partial
from typing import assert_never

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from bot import card_text, store
from bot.cards import Card
from bot.messages import ChatUser, Press, Room, SurfaceName, Thread
from bot.parts import ADMIN, Parts
from bot.ports import Ask, ChatSurface, Posted, SurfaceError
from bot.store import Copy, TurnRow
from bot.work import Later
from policy.approval import ApprovalStatus
from policy.model import Principal, TenantId
from tools import approvals, views
from tools.approvals import HELD
from tools.held import HeldView
from tools.ports import Notice, NoticeKind

FOUND = "found:"
"""Begins the destination of a copy that nobody remembers posting."""
ROUNDS = 5
"""How often a card that changes while it is drawn is drawn again at once."""


class Teller:
    """Sends notices. Each method may be run again: what has been told is in the rows."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    async def tell(self, notice: Notice) -> None:
        """Send one notice.

        Raises:
            Later: a chat did not take it.
        """
        if notice.kind is NoticeKind.STOPS_CHANGED:
            await self._redraw_all(notice.tenant)
            return
        view = await self._parts.gateway.view(notice.tenant, notice.held_id)
        if view is None:
            return  # erased meanwhile
        match notice.kind:
            case NoticeKind.CARD:
                await self._post_card(view)
                await self._tell_requester(view)
            case NoticeKind.CARD_CHANGED:
                await self._redraw(view.tenant, view.card_id)
            case NoticeKind.REMINDER:
                await self._remind(view)
            case NoticeKind.QUESTION:
                await self._ask_requester(view, notice.press_id or "")
            case NoticeKind.IN_DOUBT:
                await self._tell_doubt(view)
            case _:
                assert_never(notice.kind)

    async def card_now(self, view: HeldView) -> Card:
        """The card of `view` as it is at this moment."""
        found = await self._parts.gateway.card(view.tenant, view.card_id)
        return await self._card(found or (view,))

    async def adopt(self, tenant: TenantId, press: Press) -> None:
        """A card that stands somewhere though its posting never reached the rows (a crash, a lost answer) is kept up to
        date from its first press on. Cards of one call only: they are one message in every chat."""
        view = await self._parts.gateway.view(tenant, press.held_id) if press.message_id else None
        if view is None or press.digest != view.digest:  # who does not know what it showed did not see it
            return
        if len(await self._parts.gateway.card(tenant, view.card_id)) != 1:
            return
        copies = await self._copies(tenant, view.card_id)
        if any((copy.posted.channel, copy.posted.message_id) == (press.channel, press.message_id) for copy in copies):
            return
        posted = Posted(press.who.surface, press.who.team, press.channel, press.message_id)
        await self._put_copy(tenant, view.card_id, Copy(f"{FOUND}{press.channel}:{press.message_id}", posted, ""))

    # --- cards --------------------------------------------------------------------------------------

    async def _card(self, calls: Sequence[HeldView]) -> Card:
        first = calls[0]
        asked = await self._parts.holders(first.tenant, first.approver_roles)
        return card_text.card(calls, mention=[who.subject for who in asked if who.subject != first.requester])

    async def _post_card(self, view: HeldView) -> None:
        """A copy at every destination that has none yet."""
        row = await self._turn(view)
        if row is None:
            return
        card = await self.card_now(view)
        have = {copy.destination for copy in await self._copies(view.tenant, view.card_id)}
        faults: list[SurfaceError] = []
        try:
            places = await self._places(view, row)
        except Later:
            await self._say_once(row, view, "unreachable", card_text.unreachable(view))
            raise
        for surface, team, place in places:
            if place not in have:
                fault = await self._post(surface, team, place, view, card)
                faults += [fault] if fault is not None else []
        if faults:
            await self._say_once(row, view, "unreachable", card_text.unreachable(view))
            raise _later(faults)
        await self._redraw(view.tenant, view.card_id)

    async def _post(
        self, surface: ChatSurface, team: str, place: str, view: HeldView, card: Card
    ) -> SurfaceError | None:
        try:
            posted = await surface.post(team, place, card)
        except SurfaceError as error:
            return error
        copy = Copy(place, posted, drawn(card))
        await self._put_copy(view.tenant, view.card_id, copy)
        return None

    async def _places(self, view: HeldView, row: TurnRow) -> list[tuple[ChatSurface, str, str]]:
        """Where the card goes: channels of the requester's chat, and each approver who is reached directly."""
        own = self._parts.surfaces.get(SurfaceName(row.surface))
        if own is None:
            raise Later(f"the chat {row.surface} is not connected")
        places: list[tuple[ChatSurface, str, str]] = []
        for destination in view.destinations:
            if destination != "dm":
                if self._parts.speaks_for(view.tenant, own.name, row.team):
                    places.append((own, row.team, destination))
                continue
            for who in await self._parts.holders(view.tenant, view.approver_roles):
                account = None if who.subject == view.requester else await self._account(who, row)
                if account is not None:
                    places.append((self._parts.surfaces[account.surface], account.team, f"dm:{account.user}"))
        if not places:
            raise Later("no approver can be reached in a chat of this organisation")
        return places

    async def _account(self, who: Principal, row: TurnRow) -> ChatUser | None:
        """The account of `who` in the requester's chat; else in any chat that is connected."""
        person = await self._parts.book.by_subject(who.tenant, who.subject)
        accounts = [] if person is None else [one for one in person.accounts if one.surface in self._parts.surfaces]
        near = [one for one in accounts if (one.surface, one.team) == (row.surface, row.team)]
        return next(iter(near or accounts), None)

    async def _redraw(self, tenant: TenantId, card_id: str) -> None:
        """Every copy shows what the rows say. It may change meanwhile: then once more."""
        for _ in range(ROUNDS):
            found = await self._parts.gateway.card(tenant, card_id)
            if not found:
                return
            card = await self._card(found)
            lagging = [copy for copy in await self._copies(tenant, card_id) if copy.drawn != drawn(card)]
            if not lagging:
                return
            faults = [fault for copy in lagging if (fault := await self._update(tenant, copy, card)) is not None]
            if faults:
                raise _later(faults)
        raise Later("the card changes faster than it can be drawn", pause_s=1.0)

    async def _update(self, tenant: TenantId, copy: Copy, card: Card) -> SurfaceError | None:
        surface = self._parts.surfaces.get(copy.posted.surface)
        if surface is None:
            return SurfaceError(f"the chat {copy.posted.surface} is not connected")
        posted = copy.posted
        try:
            try:
                await surface.update(posted, card)
            except SurfaceError as error:
                if not error.gone:
                    return error
                if not copy.destination.startswith(FOUND):
                    posted = await surface.post(posted.team, copy.destination, card)
        except SurfaceError as error:
            return error
        await self._put_copy(tenant, card.card_id, Copy(copy.destination, posted, drawn(card)))
        return None

    async def _redraw_all(self, tenant: TenantId) -> None:
        cards = await self._parts.writer.read(partial(_pending_cards, tenant=tenant))
        faults: list[Later] = []
        for card_id in cards:
            try:
                await self._redraw(tenant, card_id)
            except Later as later:
                faults.append(later)
        if faults:
            raise Later(str(faults[0]), pause_s=max(fault.pause_s or 0.0 for fault in faults) or None)

    # --- people -------------------------------------------------------------------------------------

    async def _tell_requester(self, view: HeldView) -> None:
        """In the thread: what waits for whom, with a button to withdraw it. One message for all of an answer."""
        row = await self._turn(view)
        if row is None:
            return
        waiting = await self._parts.writer.run(lambda conn: self._claim_waiting(conn, view))
        if not waiting:
            return
        asks = tuple(Ask(_withdraw(one, len(waiting) > 1), "withdraw", one.held_id) for one in waiting)
        named = card_text.waiting_summary(waiting, named=True)
        await self._say_once(row, view, "summary", named, card_text.waiting_summary(waiting, named=False), asks)

    def _claim_waiting(self, conn: Connection, view: HeldView) -> tuple[HeldView, ...]:
        """Pending calls of the turn that no other notice tells of; the same ones when this notice is sent again."""
        mine: list[HeldView] = []
        for held in store.in_order(approvals.select(conn, view.tenant, HELD.c.turn_id == view.turn_id)):
            if held.status != ApprovalStatus.PENDING.value:
                continue
            store.mark_told(conn, view.tenant, held.held_id, "waiting", self._parts.clock(), by=view.held_id)
            if store.told_by(conn, view.tenant, held.held_id, "waiting") == view.held_id:
                mine.append(views.of(conn, held))
        return tuple(mine)

    async def _ask_requester(self, view: HeldView, press_id: str) -> None:
        row = await self._turn(view)
        asked = await self._parts.gateway.question(view.tenant, view.held_id, press_id)
        if row is None or asked is None:
            return
        key = "question:" + hashlib.sha256(press_id.encode()).hexdigest()[:16]
        await self._say_once(row, view, key, card_text.question(view, asked.by, asked.text))

    async def _remind(self, view: HeldView) -> None:
        if not _pending(view):
            return
        for copy in await self._copies(view.tenant, view.card_id):
            await self._say_at(copy, view, f"reminder:{copy.destination}", card_text.reminder(view))

    async def _tell_doubt(self, view: HeldView) -> None:
        """The people who decided see it on the card; the admins get the card too and have to look."""
        row = await self._turn(view)
        if row is None:
            return
        card = await self.card_now(view)
        have = {copy.destination for copy in await self._copies(view.tenant, view.card_id)}
        faults: list[SurfaceError] = []
        for who in await self._parts.holders(view.tenant, (ADMIN,)):
            account = await self._account(who, row)
            place = "" if account is None else f"dm:{account.user}"
            if account is not None and place not in have:
                fault = await self._post(self._parts.surfaces[account.surface], account.team, place, view, card)
                faults += [fault] if fault is not None else []
        for copy in await self._copies(view.tenant, view.card_id):
            await self._say_at(copy, view, f"doubt:{copy.destination}", card_text.in_doubt(view))
        if faults:
            raise _later(faults)

    async def could_not(self, view: HeldView, sentence: str) -> None:
        """Say in the requester's thread that something was given up."""
        row = await self._turn(view)
        if row is not None:
            await self._say_once(row, view, "given_up", sentence)

    async def _say_at(self, copy: Copy, view: HeldView, what: str, text: str) -> None:
        """Below a card, where its approvers are."""
        surface = self._parts.surfaces.get(copy.posted.surface)
        if surface is None or copy.destination.startswith(FOUND) or await self._told(view, what):
            return
        room = Room.DM if copy.destination.startswith("dm:") else Room.CHANNEL
        thread = Thread(copy.posted.surface, copy.posted.team, copy.posted.channel, copy.posted.message_id, room)
        try:
            await surface.say(thread, text)
        except SurfaceError as error:
            raise _later([error]) from error
        await self._mark_told(view, what)

    async def _say_once(
        self,
        row: TurnRow,
        view: HeldView,
        what: str,
        text: str,
        public: str | None = None,
        asks: tuple[Ask, ...] = (),
    ) -> None:
        """To the requester, in their thread. Where others read along they get `public`; the rest is for them alone."""
        surface = self._parts.surfaces.get(SurfaceName(row.surface))
        if surface is None or await self._told(view, what):
            return
        requester = await self._parts.person(view.tenant, view.requester)
        if requester is None or not await self._parts.holds(requester, store.account_of(row)):
            return  # they are gone, or the account is somebody else's now
        thread = store.thread_of(row)
        try:
            if thread.room is Room.DM:
                await surface.say(thread, text, asks)
            else:
                await surface.whisper(thread, store.account_of(row), text)
                if public is not None:
                    await surface.say(thread, public, asks)
        except SurfaceError as error:
            raise _later([error]) from error
        await self._mark_told(view, what)

    # --- rows ---------------------------------------------------------------------------------------

    async def _turn(self, view: HeldView) -> TurnRow | None:
        return await self._parts.writer.read(lambda conn: store.turn(conn, view.tenant, view.turn_id))

    async def _copies(self, tenant: TenantId, card_id: str) -> tuple[Copy, ...]:
        """Where it stands; a team that is another organisation's by now is left alone (invariant 14)."""
        found = await self._parts.writer.read(lambda conn: store.copies(conn, tenant, card_id))
        return tuple(copy for copy in found if self._parts.speaks_for(tenant, copy.posted.surface, copy.posted.team))

    async def _put_copy(self, tenant: TenantId, card_id: str, copy: Copy) -> None:
        now = self._parts.clock()
        await self._parts.writer.run(lambda conn: store.put_copy(conn, tenant, card_id, copy, now))

    async def _told(self, view: HeldView, what: str) -> bool:
        return await self._parts.writer.read(lambda conn: store.told(conn, view.tenant, view.held_id, what))

    async def _mark_told(self, view: HeldView, what: str) -> None:
        now = self._parts.clock()
        await self._parts.writer.run(lambda conn: store.mark_told(conn, view.tenant, view.held_id, what, now))


def drawn(card: Card) -> str:
    """What a card shows, as a hash: two cards with the same one look the same."""
    return hashlib.sha256(repr(card).encode()).hexdigest()


def _withdraw(view: HeldView, several: bool) -> str:
    return f"{card_text.WITHDRAW_LABEL} {view.title.lower()}" if several else card_text.WITHDRAW_LABEL


def _pending(view: HeldView) -> bool:
    return view.status is ApprovalStatus.PENDING


def _pending_cards(conn: Connection, tenant: TenantId) -> list[str]:
    query = (
        sa.select(HELD.c.card_id)
        .where(HELD.c.tenant == tenant, HELD.c.status == ApprovalStatus.PENDING.value)
        .distinct()
        .order_by(HELD.c.card_id)
    )
    return list(conn.execute(query).scalars())


def _later(faults: Sequence[SurfaceError]) -> Later:
    asked = [fault.retry_after_s for fault in faults if fault.retry_after_s is not None]
    return Later(str(faults[0]), pause_s=max(asked) if asked else None)
