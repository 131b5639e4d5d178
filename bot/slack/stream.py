"""An answer that grows in Slack: as a stream where the workspace has them, else as one message that is updated.

Knows no turn. What a workspace lacks degrades and never fails the turn (DESIGN section 6).
"""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable, Sequence

from bot.messages import ChatUser, Room, Thread
from bot.payload import Body, text_at
from bot.ports import Answer, SurfaceError
from bot.slack import sheets
from bot.slack.blocks import Block, Sheet
from bot.slack.calls import Calls, Refused
from bot.slack.mrkdwn import chunks, mrkdwn, safe_markdown
from bot.slack.sheets import PATIENCE_S
from bot.slack.spoken import cited, rated, spoken
from policy.model import Json

log = logging.getLogger(__name__)

WORKING = "Working on it …"
_STREAM_PIECE = 10_000
"""Slack takes 12,000 characters of Markdown in one call."""

_ABSENT = frozenset({"unknown_method", "missing_scope", "not_allowed_token_type", "feature_not_enabled"})


class Lacks:
    """What this workspace turned out not to have, so that it is not asked again and again."""

    def __init__(self) -> None:
        self._methods: dict[str, float] = {}

    def has(self, method: str) -> bool:
        return time.monotonic() >= self._methods.get(method, 0)

    def note(self, method: str, refused: Refused) -> None:
        """Not for an hour: an app can be given a permission while we run. Other refusals are of this call alone."""
        if refused.code in _ABSENT:
            self._methods[method] = time.monotonic() + 3600


class SlackStream:
    """See `bot.ports.Stream`. Between `begin` and `done` people see that the bot is at it."""

    def __init__(self, calls: Calls, lacks: Lacks, thread: Thread, who: ChatUser, every_s: float) -> None:
        self._calls = calls
        self._lacks = lacks
        self._thread = thread
        self._who = who
        self._every_s = every_s
        self._said = ""
        """All that `add` was given."""
        self._sent = 0
        """How much of it the stream has taken."""
        self._stream: str | None = None
        self._placeholder: str | None = None
        self._status: str | None = None
        self._last = 0.0

    @property
    def _thread_ts(self) -> str | None:
        return sheets.thread_ts(self._thread)

    async def begin(self) -> None:
        """Raises: SurfaceError when nothing at all can be shown."""
        if self._thread.room is Room.DM:
            await self._set_status("agents.sessions.setStatus", "in_progress")
            if self._status is None and self._thread_ts:
                await self._set_status("assistant.threads.setStatus", "is working on it …")
        if self._status is None:
            await self._start(PATIENCE_S)

    async def add(self, text: str) -> None:
        self._said += text
        now = time.monotonic()
        if now - self._last < self._every_s:
            return
        self._last = now
        await self._nicety(self._grow)

    async def done(self, text: str, answer: Answer | None = None) -> None:
        """Settles with `text`; an empty one takes back what was shown.

        Raises:
            SurfaceError: the final text did not arrive.
        """
        await self._nicety(self._clear_status)
        if self._stream is not None:
            await self._settle_stream(text, answer)
        elif self._placeholder is not None:
            await self._settle_placeholder(text, answer)
        elif text.strip():
            for sheet in spoken(text, answer=answer):
                await self._post(sheet)

    # --- while it grows ------------------------------------------------------------------------------

    async def _grow(self) -> None:
        if self._stream is None and self._placeholder is None:
            await self._start(0)
        if self._stream is not None:
            await self._append()
        elif self._placeholder is not None and self._said.strip():
            text = chunks(mrkdwn(self._said), 3_500)[0] + " …"
            await sheets.change(self._calls, self._thread.channel, self._placeholder, Sheet((), text))

    async def _start(self, patience_s: float) -> None:
        method = "chat.startStream"
        if self._thread_ts and self._lacks.has(method):
            args: dict[str, Json] = {"channel": self._thread.channel, "thread_ts": self._thread_ts}
            args |= {"recipient_user_id": self._who.user, "recipient_team_id": self._who.team}
            try:
                self._stream = text_at(await self._calls.call(method, args), "ts") or None
            except Refused as refused:
                self._lacks.note(method, refused)
        if self._stream is None:
            self._placeholder = await self._post(Sheet((), WORKING), patience_s=patience_s)

    async def _append(self) -> None:
        """Finished lines only: half a link could be completed into another one."""
        end = self._said.rfind("\n") + 1
        if end <= self._sent:
            return
        lines = "\n".join(safe_markdown(line) for line in self._said[self._sent : end].split("\n"))
        args: dict[str, Json] = {"channel": self._thread.channel, "ts": self._stream, "markdown_text": lines}
        await self._calls.call("chat.appendStream", args)
        self._sent = end

    # --- when it is settled --------------------------------------------------------------------------

    async def _settle_stream(self, text: str, answer: Answer | None) -> None:
        """The stream is closed; where the final text is not what was streamed (a guardrail), it replaces it."""
        stream, self._stream = self._stream, None
        args: dict[str, Json] = {"channel": self._thread.channel, "ts": stream}
        rest = text[self._sent :] if text.startswith(self._said[: self._sent]) else None
        if rest and len(rest) <= _STREAM_PIECE:
            args["markdown_text"] = "\n".join(safe_markdown(line) for line in rest.split("\n"))
        replaced = rest is None or len(rest) > _STREAM_PIECE or not text.strip()

        async def stop(blocks: Sequence[Block]) -> Body:
            more: dict[str, Json] = {"blocks": list(blocks)} if blocks else {}
            return await self._calls.call("chat.stopStream", {**args, **more}, patience_s=PATIENCE_S)

        await sheets.with_extra(stop, *(((), ()) if replaced else (cited(answer), rated(answer))))
        if replaced:
            await self._replace(stream or "", text, answer)

    async def _settle_placeholder(self, text: str, answer: Answer | None) -> None:
        placeholder, self._placeholder = self._placeholder, None
        await self._replace(placeholder or "", text, answer)

    async def _replace(self, ts: str, text: str, answer: Answer | None) -> None:
        if not text.strip():
            await self._calls.call("chat.delete", {"channel": self._thread.channel, "ts": ts}, patience_s=PATIENCE_S)
            return
        first, *rest = spoken(text, answer=answer)
        try:
            await sheets.change(self._calls, self._thread.channel, ts, first, patience_s=PATIENCE_S)
        except Refused as refused:
            if not refused.gone:
                raise
            await self._post(first)
        for sheet in rest:
            await self._post(sheet)

    # --- calls ---------------------------------------------------------------------------------------

    async def _post(self, sheet: Sheet, *, patience_s: float = PATIENCE_S) -> str:
        return await sheets.post(self._calls, self._thread.channel, self._thread_ts, sheet, patience_s=patience_s)

    async def _set_status(self, method: str, status: str) -> None:
        if not self._lacks.has(method):
            return
        args: dict[str, Json] = {"channel_id": self._thread.channel, "thread_ts": self._thread_ts, "status": status}
        try:
            await self._calls.call(method, args)
            self._status = method
        except Refused as refused:
            self._lacks.note(method, refused)

    async def _clear_status(self) -> None:
        if self._status is None:
            return
        over = "completed" if self._status == "agents.sessions.setStatus" else ""
        method, self._status = self._status, None
        args: dict[str, Json] = {"channel_id": self._thread.channel, "thread_ts": self._thread_ts, "status": over}
        await self._calls.call(method, args)

    async def _nicety(self, step: Callable[[], Awaitable[None]]) -> None:
        try:
            await step()
        except SurfaceError as error:
            log.info("A growing answer skipped a step: %s", error)
