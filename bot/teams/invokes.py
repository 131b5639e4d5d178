"""Invokes: buttons, refreshes, thumbs and sign-ins, each answered at once. Knows the deadline; decides nothing.

Teams gives up on an invoke after a few seconds and tells its presser that the app cannot be reached. What takes longer
goes on after the answer, and what came of it reaches the card and the presser through the surface.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable
from typing import assert_never

from bot.cards import Card
from bot.messages import ChatUser
from bot.payload import Body, at, text_at
from bot.ports import ChatSurface, Posted, PressReply, Service, SurfaceError
from bot.teams import deliveries, presses, replies, words
from bot.teams.action import Action, AskedAgain, LinkAnswered, Pressed, Refreshed, read_action
from bot.teams.adaptive import draw
from bot.teams.deliveries import TEAMS
from bot.teams.late import NOT_TAKEN, Late
from bot.teams.replies import Reply
from bot.teams.sso import TeamsSignIn

log = logging.getLogger(__name__)

STILL_AT_IT = "Your press has arrived and is being looked at. The card changes as soon as it counts."
NOT_OURS = "This button is not one of Countersign's, or of another version of it. Nothing was done."
NOTHING_NEW = "There is nothing more here for you."


class Invokes:
    def __init__(
        self, service: Service, surface: ChatSurface, late: Late, sign_in: TeamsSignIn | None, answer_within_s: float
    ) -> None:
        self._service = service
        self._surface = surface
        self._late = late
        self._sign_in = sign_in
        self._within_s = answer_within_s

    async def answered(self, body: Body) -> Reply:
        match text_at(body, "name"):
            case "adaptiveCard/action":
                return await self._acted(body)
            case "message/submitAction":
                return await self._rated(body)
            case "signin/tokenExchange" | "signin/verifyState" | "signin/failure" if self._sign_in is not None:
                return await self._sign_in.answered(body)
            case _:
                return Reply(501)

    async def submitted(self, body: Body, action: Action | None) -> None:
        """The same buttons where a client knows no Universal Actions: they come as a message, which has no answer.

        Returns when the press counts. None: of another version of ours.
        """
        if isinstance(action, Refreshed):
            return
        if action is None:
            self._late.go_on(self._tell(body, PressReply(NOT_OURS)))
            return
        reply = await self._taken(self._decide(body, action))
        self._late.go_on(self._tell(body, reply))

    # --- buttons -------------------------------------------------------------------------------------

    async def _acted(self, body: Body) -> Reply:
        value = at(body, "value")
        action = read_action(value) if isinstance(value, dict) else None
        if action is None:
            log.warning("An invoke said nothing that a button of ours says")
            return replies.refused(400, "BadRequest", NOT_OURS)
        if isinstance(action, Refreshed):
            return await self._refreshed(body, action)
        until = asyncio.get_running_loop().time() + self._within_s
        work = self._late.go_on(self._taken(self._decide(body, action)))
        await asyncio.wait({work}, timeout=self._within_s)
        if not work.done():
            self._late.go_on(self._after(body, work))
            return replies.sentence(STILL_AT_IT)
        reply = work.result()
        left = until - asyncio.get_running_loop().time()
        if isinstance(action, Pressed) and reply.card is not None:
            drawn = await self._clickers(body, action.held_id, left)
            if drawn is not None:
                return replies.card(drawn, reply.sentence)
        return replies.sentence(reply.sentence)

    def _decide(self, body: Body, action: Pressed | AskedAgain | LinkAnswered) -> Awaitable[PressReply]:
        match action:
            case Pressed():
                missing = words.complaint(action.verb, action.text)
                return _said(missing) if missing else self._service.on_press(presses.press(body, action))
            case AskedAgain():
                return self._service.on_ask_again(presses.ask_again(body, action))
            case LinkAnswered():
                return self._service.on_link_answer(presses.link_answer(body, action))
            case _:
                assert_never(action)

    async def _taken(self, work: Awaitable[PressReply]) -> PressReply:
        try:
            return await work
        except Exception as error:  # noqa: BLE001 - the service is down; the person must hear of it
            log.error("A press was not taken: %s", type(error).__name__)
            return PressReply(NOT_TAKEN)

    async def _refreshed(self, body: Body, action: Refreshed) -> Reply:
        drawn = await self._clickers(body, action.held_id, self._within_s)
        # Not as a sentence: most refreshes are Teams' own, and would pop one up unasked.
        return replies.refused(404, "NotFound", NOTHING_NEW) if drawn is None else replies.card(drawn)

    async def _clickers(self, body: Body, held_id: str, within_s: float) -> Body | None:
        """The card as whoever acted may use it, if it can be had in time."""
        who = deliveries.sender(body)
        work = self._late.go_on(self._card_for(who, held_id))
        await asyncio.wait({work}, timeout=max(within_s, 0))
        card = work.result() if work.done() else None
        if card is None:
            return None
        sheet = draw(card, (), (text_at(body, "from", "id"),)).sheet_of(held_id)
        return None if sheet is None else sheet.card

    async def _card_for(self, who: ChatUser, held_id: str) -> Card | None:
        try:
            return await self._service.card_for(who, held_id)
        except Exception as error:  # noqa: BLE001 - the press counts; the shared card shows it
            log.error("A card was not drawn for its presser: %s", type(error).__name__)
            return None

    # --- after the answer ----------------------------------------------------------------------------

    async def _after(self, body: Body, work: asyncio.Task[PressReply]) -> None:
        await self._tell(body, await work)

    async def _tell(self, body: Body, reply: PressReply) -> None:
        """The pressed card, drawn anew, and the sentence to its presser alone."""
        await self._show(body, reply)
        if not reply.sentence:
            return
        try:
            await self._surface.direct(deliveries.sender(body), reply.sentence)
        except SurfaceError as error:
            log.warning("A private answer did not arrive: %s", error)

    async def _show(self, body: Body, reply: PressReply) -> None:
        """The outbox draws every copy, and this one again if it fails here."""
        message = text_at(body, "replyToId")
        if reply.card is None or len(reply.card.items) > 1 or not message:
            return
        thread = deliveries.thread_of(body)
        try:
            await self._surface.update(Posted(TEAMS, thread.team, thread.channel, message), reply.card)
        except SurfaceError as error:
            log.info("A pressed card was not redrawn at once: %s", error)

    # --- thumbs --------------------------------------------------------------------------------------

    async def _rated(self, body: Body) -> Reply:
        thumb = deliveries.feedback(body)
        if thumb is None:
            return Reply(400, {})
        await self._service.on_feedback(thumb)
        return Reply(200, {})


async def _said(sentence: str) -> PressReply:
    return PressReply(sentence)
