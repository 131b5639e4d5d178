"""How one drawn message gets into Slack: posted, shown to one person, changed, taken back. Knows no card and no turn.

What a workspace may not take (`Sheet.extra`) is left out where it is refused: the message counts, not its trimmings.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence

from bot.messages import ChatUser, Room, Thread
from bot.payload import Body, text_at
from bot.ports import SurfaceError
from bot.slack.blocks import Block, Drawing, Sheet
from bot.slack.calls import Calls, Refused
from policy.model import Json

log = logging.getLogger(__name__)

PATIENCE_S = 20.0
_NOT_HERE = frozenset({"user_not_in_channel", "not_in_channel", "channel_not_found", "is_archived"})
_NOT_DRAWN = frozenset({"invalid_blocks", "invalid_blocks_format", "unsupported_block_type"})
"""Slack has looked at the blocks and posted nothing."""


async def post(calls: Calls, channel: str, thread_ts: str | None, sheet: Sheet, *, patience_s: float = 0) -> str:
    """Returns the message's ``ts``."""
    args: dict[str, Json] = {"channel": channel, "thread_ts": thread_ts, "unfurl_links": False, "unfurl_media": False}

    async def send(blocks: Sequence[Block]) -> Body:
        drawn: dict[str, Json] = {**args, "text": sheet.text or "…", "blocks": list(blocks) or None}
        return await calls.call("chat.postMessage", drawn, patience_s=patience_s)

    return text_at(await with_extra(send, sheet.blocks, sheet.extra), "ts")


async def change(calls: Calls, channel: str, ts: str, sheet: Sheet, *, patience_s: float = 0) -> None:
    args: dict[str, Json] = {"channel": channel, "ts": ts, "text": sheet.text}

    async def send(blocks: Sequence[Block]) -> Body:
        drawn: dict[str, Json] = {**args, "blocks": list(blocks)} if blocks else args
        return await calls.call("chat.update", drawn, patience_s=patience_s)

    await with_extra(send, sheet.blocks, sheet.extra)


async def whisper(calls: Calls, thread: Thread, who: ChatUser, sheet: Sheet) -> None:
    """Where they are, else in their own conversation with the bot: never aloud."""
    if thread.room is Room.DM:
        await post(calls, thread.channel, thread_ts(thread), sheet)
        return
    args: dict[str, Json] = {"channel": thread.channel, "user": who.user, "thread_ts": thread_ts(thread)}
    try:
        # Without what is extra: a message that only one person sees has no place of its own to be pressed on.
        drawn: dict[str, Json] = {"blocks": list(sheet.blocks)} if sheet.blocks else {}
        await calls.call("chat.postEphemeral", {**args, **drawn, "text": sheet.text}, patience_s=PATIENCE_S)
    except Refused as refused:
        if refused.code not in _NOT_HERE:
            raise
        await post(calls, await dm(calls, who.user), None, sheet)


async def redraw(calls: Calls, channel: str, message_id: str, drawing: Drawing, *, patience_s: float = 0) -> None:
    for ts, sheet in zip(message_id.split("+"), drawing.sheets, strict=False):
        await change(calls, channel, ts, sheet, patience_s=patience_s)


async def take_back(calls: Calls, channel: str, sent: Sequence[str]) -> None:
    for ts in reversed(sent):
        try:
            await calls.call("chat.delete", {"channel": channel, "ts": ts}, patience_s=PATIENCE_S)
        except SurfaceError as error:
            log.warning("Part of a card that could not be posted whole stays behind: %s", error)


async def dm(calls: Calls, user: str) -> str:
    """Their own conversation with the bot."""
    told = await calls.call("conversations.open", {"users": user}, patience_s=2)
    return text_at(told, "channel", "id")


def thread_ts(thread: Thread) -> str | None:
    return None if thread.root == thread.channel else thread.root


async def with_extra(
    send: Callable[[Sequence[Block]], Awaitable[Body]], blocks: Sequence[Block], extra: Sequence[Block]
) -> Body:
    """`send` with both, or without `extra` where Slack does not know such blocks."""
    try:
        return await send((*blocks, *extra))
    except Refused as refused:
        if not extra or refused.code not in _NOT_DRAWN:
            raise
        log.info("Slack does not draw the extra blocks of a message: it is sent without them")
        return await send(blocks)
