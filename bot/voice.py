"""How a segment's words reach those who may read them: the answer once, an apology, a last word.

Knows rooms and who reads along; knows no model and no queue, and decides nothing but who is told privately.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

from audit.faults import StoreUnavailable
from bot import store
from bot.messages import Room, SurfaceName, Thread
from bot.parts import Parts
from bot.ports import Answer, Ask, ChatSurface, Stream, SurfaceError
from bot.store import TurnRow
from bot.work import Later
from policy.model import Principal, TenantId

log = logging.getLogger("countersign.turn")

PRIVATELY = "I have answered privately, because the answer draws on company data."


@dataclass(frozen=True, slots=True)
class Scene:
    """Who a segment is for, and where."""

    row: TurnRow
    who: Principal
    thread: Thread
    surface: ChatSurface
    segment: str

    @property
    def tenant(self) -> TenantId:
        return self.who.tenant


class Voice:
    """Speaks in the threads that turns come from."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._apologised: set[tuple[str, str]] = set()

    async def begin(self, scene: Scene) -> Stream | None:
        """Show that the bot is at it; a chat that cannot does not hold up the answer."""
        try:
            return await scene.surface.begin(scene.thread, store.account_of(scene.row))
        except SurfaceError as error:
            log.warning("%s: cannot stream: %s", scene.row.surface, error)
            return None

    async def say(
        self, scene: Scene, stream: Stream | None, text: str, asks: tuple[Ask, ...] = (), answer: Answer | None = None
    ) -> None:
        """The answer, once, to those who may read it; so are its sources. `answer` None: no model's words.

        Raises:
            Later: the chat did not take it.
        """
        alone = scene.thread.room is not Room.DM and await self._parts.writer.read(
            lambda conn: store.is_private(conn, scene.row)
        )
        told = False
        try:
            if alone:
                await scene.surface.whisper(scene.thread, store.account_of(scene.row), text, answer=answer)
                text, answer, told = PRIVATELY, None, True
            if stream is not None:
                await stream.done(text, answer)
            elif asks or not alone:
                await scene.surface.say(scene.thread, text, asks, answer)
        except SurfaceError as error:
            if told and error.gone:
                return  # nobody is there any more, and who asked is not to be told all of it again
            raise Later(str(error), pause_s=error.retry_after_s) from error

    async def apologise(self, scene: Scene, stream: Stream | None, error: StoreUnavailable) -> None:
        """The database is away: say so once; the segment goes on by itself when it is back."""
        key = (scene.row.turn_id, scene.segment)
        first, text = key not in self._apologised, f"{error} I go on with this by myself as soon as it is back."
        self._apologised.add(key)
        try:
            if stream is not None:
                await stream.done(text)
            elif first:
                await scene.surface.say(scene.thread, text)
        except SurfaceError as fault:
            log.warning("could not say that the database is away: %s", fault)

    def settled(self, turn_id: str, segment: str) -> None:
        """It has said what it had to say: nothing is to be remembered of it."""
        self._apologised.discard((turn_id, segment))

    async def sorry(self, row: TurnRow) -> None:
        """A turn is given up."""
        surface = self._parts.surfaces.get(SurfaceName(row.surface))
        if surface is None or not self._parts.speaks_for(TenantId(row.tenant), surface.name, row.team):
            return
        try:
            await surface.say(
                store.thread_of(row),
                "I could not finish this and have stopped trying. What waits for approval keeps waiting; "
                "please write to me again.",
            )
        except SurfaceError as error:
            log.error("could not say that a turn was given up: %s", error)
