"""Tells people what was decided: cards to approvers, summaries and questions to requesters (the outbox).

Reads every held call at the moment of telling, so what is told is never older than the rows. Decides nothing. Where
cards go is `bot.destinations`' business, how they are kept up to date there that of `bot.copies`.
"""

from __future__ import annotations

import contextlib
import hashlib
from typing import assert_never

from sqlalchemy.engine import Connection

from bot import card_text, store
from bot.cards import Card
from bot.copies import FOUND, Copies, all_of, later
from bot.destinations import accounts_of, aims_of, people
from bot.messages import ChatUser, Press, Room, SurfaceName, Thread
from bot.parts import ADMIN, Parts
from bot.ports import Ask, ChatSurface, SurfaceError
from bot.store import Copy, TurnRow
from bot.work import Later
from policy.approval import ApprovalStatus
from policy.model import Principal, TenantId
from tools import approvals, views
from tools.approvals import HELD
from tools.held import HeldView
from tools.ports import Notice, NoticeKind

NOBODY = "no approver can be reached in a chat of this organisation"


class Teller:
    """Sends notices. Each method may be run again: what has been told is in the rows."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._copies = Copies(parts)

    async def tell(self, notice: Notice) -> None:
        """Send one notice.

        Raises:
            Later: a chat did not take it.
        """
        if notice.kind is NoticeKind.STOPS_CHANGED:
            await self._copies.redraw_all(notice.tenant)
            return
        view = await self._parts.gateway.view(notice.tenant, notice.held_id)
        if view is None:
            return  # erased meanwhile
        match notice.kind:
            case NoticeKind.CARD:
                await self._post_card(view)
            case NoticeKind.CARD_CHANGED:
                await self._copies.redraw(view.tenant, view.card_id)
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
        return await self._copies.now(view)

    async def adopt(self, tenant: TenantId, press: Press) -> bool:
        """Keep a card up to date from now on that was pressed somewhere where nobody remembers posting it. False: the
        message that was pressed is another card's."""
        return await self._copies.adopt(tenant, press)

    # --- cards --------------------------------------------------------------------------------------

    async def _post_card(self, view: HeldView) -> None:
        """A copy at every place; then, or while a chat does not take it, the requester is told how it stands."""
        row = await self._turn(view)
        if row is None:
            return
        aims = await aims_of(self._parts, view, row)
        reached = await self._copies.post(view, aims)
        if not reached.standing:
            await self._say_once(row, view, "unreachable", card_text.unreachable(view))
            raise later(reached.faults) if reached.faults else Later(NOBODY)
        try:
            await self._copies.redraw(view.tenant, view.card_id)  # another notice may have changed it meanwhile
        finally:
            await self._tell_requester(view, row)
            if reached.missed:
                await self._say_once(row, view, "partly", card_text.partly(view, reached.missed))
        if reached.faults:
            raise later(reached.faults)

    # --- people -------------------------------------------------------------------------------------

    async def _tell_requester(self, view: HeldView, row: TurnRow) -> None:
        """In the thread: what waits for whom, with a button to withdraw it. One message for all of an answer."""
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
        if _pending(view):
            await self._say_below(view, "reminder", card_text.reminder(view))

    async def _tell_doubt(self, view: HeldView) -> None:
        """The people who decided see it on the card; the admins get the card too and have to look."""
        row = await self._turn(view)
        if row is None:
            return
        admins = await self._parts.holders(view.tenant, (ADMIN,))
        reached = await self._copies.post(view, await people(self._parts, admins, row))
        await self._say_below(view, "doubt", card_text.in_doubt(view))
        if reached.faults:
            raise later(reached.faults)

    async def could_not(self, view: HeldView, sentence: str) -> None:
        """Say in the requester's thread that something was given up."""
        row = await self._turn(view)
        if row is not None:
            await self._say_once(row, view, "given_up", sentence)

    async def _say_below(self, view: HeldView, what: str, text: str) -> None:
        """Below every card, where its approvers are. One that is told late keeps no other from being told."""
        copies = await self._copies.of(view.tenant, view.card_id)
        told = await all_of(self._say_at(copy, view, f"{what}:{copy.destination}", text) for copy in copies)
        faults = [fault for fault in told if fault is not None]
        if faults:
            raise later(faults)

    async def _say_at(self, copy: Copy, view: HeldView, what: str, text: str) -> SurfaceError | None:
        surface = self._parts.surfaces.get(copy.posted.surface)
        key = f"{what}:{copy.posted.surface}:{copy.posted.team}"
        if surface is None or copy.destination.startswith(FOUND) or await self._told(view, key):
            return None
        room = Room.DM if copy.destination.startswith("dm:") else Room.CHANNEL
        first = copy.posted.message_id.partition("+")[0]
        try:
            await surface.say(Thread(copy.posted.surface, copy.posted.team, copy.posted.channel, first, room), text)
        except SurfaceError as error:
            if not error.gone:
                return error
            # Who cannot be told here is told at the other places; the card's own row says that it is gone.
        await self._mark_told(view, key)
        return None

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
        thread, account = store.thread_of(row), store.account_of(row)
        try:
            if thread.room is Room.DM:
                await surface.say(thread, text, asks)
            else:
                await surface.whisper(thread, account, text)
        except SurfaceError as error:
            if not error.gone or not await self._say_elsewhere(row, requester, text, asks):
                raise later([error]) from error
        else:
            if thread.room is not Room.DM and public is not None:
                await self._say_openly(surface, thread, account, public, asks)
        await self._mark_told(view, what)

    async def _say_openly(
        self, surface: ChatSurface, thread: Thread, account: ChatUser, text: str, asks: tuple[Ask, ...]
    ) -> None:
        """After what was for the requester alone, which is not to be said again because the place is gone."""
        try:
            await surface.say(thread, text, asks)
        except SurfaceError as error:
            if not error.gone:
                raise later([error]) from error
            if asks:
                with contextlib.suppress(SurfaceError):
                    await surface.direct(account, text, asks)

    async def _say_elsewhere(self, row: TurnRow, requester: Principal, text: str, asks: tuple[Ask, ...]) -> bool:
        """Where the requester asked nobody is heard any more: at the first of their accounts that takes it."""
        for account in await accounts_of(self._parts, requester, row):
            try:
                await self._parts.surfaces[account.surface].direct(account, text, asks)
            except SurfaceError as error:
                if not error.gone:
                    return False  # it may have arrived
            else:
                return True
        return False

    # --- rows ---------------------------------------------------------------------------------------

    async def _turn(self, view: HeldView) -> TurnRow | None:
        return await self._parts.writer.read(lambda conn: store.turn(conn, view.tenant, view.turn_id))

    async def _told(self, view: HeldView, what: str) -> bool:
        return await self._parts.writer.read(lambda conn: store.told(conn, view.tenant, view.held_id, what))

    async def _mark_told(self, view: HeldView, what: str) -> None:
        now = self._parts.clock()
        await self._parts.writer.run(lambda conn: store.mark_told(conn, view.tenant, view.held_id, what, now))


def _withdraw(view: HeldView, several: bool) -> str:
    return f"{card_text.WITHDRAW_LABEL} {view.title.lower()}" if several else card_text.WITHDRAW_LABEL


def _pending(view: HeldView) -> bool:
    return view.status is ApprovalStatus.PENDING
