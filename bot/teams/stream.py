"""An answer that grows in Teams: streamed in chats of two, elsewhere posted once. Knows no turn.

Teams' rules (https://learn.microsoft.com/microsoftteams/platform/bots/streaming-ux): parts come one at a time and not
more than one a second, each with all that came before it and in the end too, in two minutes at most. What cannot be
streamed degrades and never fails the turn.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final

from bot.payload import list_at, text_at
from bot.ports import Answer, SurfaceError
from bot.teams.answers import MAX_WEIGHT, draw_answer
from bot.teams.markdown import messages
from bot.teams.places import Place
from bot.teams.refusals import STREAM_REFUSED, Refused
from bot.teams.saying import Sayer
from bot.teams.tables import Kind
from policy.model import Json

log = logging.getLogger(__name__)

WORKING: Final = "Working on it …"
EVERY_S: Final = 1.5
TYPING_S: Final = 5.0
"""Teams shows a bot as typing for so long."""
ENDS_S: Final = 100.0
"""Teams ends a stream after two minutes; before that it is closed, and the rest changes the message."""


class TeamsStream:
    """See `bot.ports.Stream`. Between `begin` and `done` people see that the bot is at it, where Teams shows that."""

    def __init__(
        self,
        sayer: Sayer,
        place: Place,
        root: str,
        *,
        every_s: float = EVERY_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._sayer = sayer
        self._place = place
        self._root = root
        self._every_s = every_s
        self._clock = clock
        self._said = ""
        """All that `add` was given."""
        self._shown = ""
        """What the stream has shown of it, as drawn."""
        self._stream: str | None = None
        self._sequence = 0
        self._open = False
        self._stopped = False
        """The reader stopped it."""
        self._began = self._last = clock()

    async def begin(self) -> None:
        """Raises nothing: it is a nicety."""
        if self._place.kind is Kind.PERSONAL:
            await self._nicety(self._start)
        elif self._place.kind is Kind.GROUP:
            await self._nicety(self._type)

    async def add(self, text: str) -> None:
        self._said += text
        now = self._clock()
        if self._open and now - self._began > ENDS_S:
            await self._nicety(self._close)
        elif self._open and now - self._last >= self._every_s:
            self._last = now
            await self._nicety(self._grow)
        elif self._place.kind is Kind.GROUP and now - self._last >= TYPING_S:
            self._last = now
            await self._nicety(self._type)

    async def done(self, text: str, answer: Answer | None = None) -> None:
        """Settles with `text`; an empty one takes back what was shown.

        Raises:
            SurfaceError: the final text did not arrive.
        """
        if not text.strip():
            if self._stream is not None:
                await self._nicety(self._withdraw)
            return
        first, *rest = [said.activity() for said in draw_answer(text, (), answer)]
        if self._stopped and answer is not None and text_at(first, "text").startswith(self._shown):
            return  # its reader has seen the beginning and wants no more
        if self._stream is None or not await self._settled(self._stream, first):
            await self._sayer.post(self._place, first, self._root)
        for activity in rest:
            await self._sayer.post(self._place, activity, self._root)

    # --- while it grows ------------------------------------------------------------------------------

    async def _start(self) -> None:
        self._sequence = 1
        shown: dict[str, Json] = {"streamType": "informative", "streamSequence": 1}
        self._stream = await self._sayer.send(self._place, _part(WORKING, shown), patience_s=0) or None
        self._open = self._stream is not None

    async def _type(self) -> None:
        await self._sayer.send(self._place, {"type": "typing"}, self._root, patience_s=0)

    async def _grow(self) -> None:
        """Finished paragraphs only: half a list or link can be drawn otherwise once it is whole."""
        end = self._said.rfind("\n\n")
        if end <= 0:
            return
        drawn = messages(self._said[:end], MAX_WEIGHT)
        if len(drawn) > 1 or len(drawn[0]) <= len(self._shown) or not drawn[0].startswith(self._shown):
            return
        self._sequence += 1
        shown: dict[str, Json] = {
            "streamType": "streaming", "streamId": self._stream, "streamSequence": self._sequence,
        }  # fmt: skip
        await self._sayer.send(self._place, _part(drawn[0], shown), patience_s=0)
        self._shown = drawn[0]

    async def _close(self) -> None:
        """The stream ends as it stands; it is a message like others from now on."""
        self._open = False
        if self._shown:
            await self._end({"type": "message", "textFormat": "markdown", "text": self._shown})

    # --- when it is settled --------------------------------------------------------------------------

    async def _settled(self, stream: str, activity: Mapping[str, Json]) -> bool:
        """Whether the stream's message shows `activity` now. Where not, nothing of what it showed is left standing."""
        was_open, self._open = self._open, False
        steps: list[Callable[[], Awaitable[None]]] = []
        if was_open and text_at(activity, "text").startswith(self._shown):
            steps.append(lambda: self._end(activity))
        else:
            # Something else than was shown (a guardrail): Teams takes that as a change of the message alone.
            if was_open and self._shown:
                await self._nicety(lambda: self._end(_plain(self._shown)))
            steps.append(lambda: self._sayer.change(self._place, stream, activity))
        if was_open and self._shown:
            steps.append(lambda: self._sayer.change(self._place, stream, activity))
        for step in steps:
            try:
                await step()
            except Refused as refusal:
                log.info("A streamed answer is settled in another way: %s", refusal)
            else:
                return True
        await self._nicety(lambda: self._sayer.take_back(self._place, stream))
        return False

    async def _end(self, activity: Mapping[str, Json]) -> None:
        entities: Sequence[Json] = list_at(activity, "entities")
        ends: Json = {"type": "streaminfo", "streamId": self._stream, "streamType": "final"}
        await self._sayer.send(self._place, {**activity, "entities": [*entities, ends]})

    async def _withdraw(self) -> None:
        stream, self._open = self._stream or "", False
        await self._sayer.take_back(self._place, stream)

    async def _nicety(self, step: Callable[[], Awaitable[None]]) -> None:
        try:
            await step()
        except Refused as refusal:
            if refusal.code == STREAM_REFUSED or refusal.status in (400, 403, 405):
                self._open = False
            self._stopped = self._stopped or refusal.cancelled
            log.info("A growing answer skipped a step: %s", refusal)
        except SurfaceError as error:
            log.info("A growing answer skipped a step: %s", error)


def _part(text: str, shown: Mapping[str, Json]) -> dict[str, Json]:
    return {"type": "typing", "text": text, "entities": [{"type": "streaminfo", **shown}]}


def _plain(text: str) -> dict[str, Json]:
    return {"type": "message", "textFormat": "markdown", "text": text}
