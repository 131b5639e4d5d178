"""botbuilder's dispatch by activity type, and nothing more of it. Knows the SDK; knows no service and no network.

The SDK's own cloud adapter is not used: it would check tokens a second time and less strictly, serialises the answer
to an invoke twice (500), and could speak to the connector behind `bot.teams.connector`'s back.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NoReturn, cast

from botbuilder.core import ActivityHandler, BotAdapter, TurnContext
from botbuilder.schema import Activity

from bot.payload import Body, text_at
from bot.teams.replies import Reply

_RAW = "countersign.raw"
_REPLY = "countersign.reply"


class Strange(Exception):
    """The body has a shape that is not an activity's."""


class Pipeline(BotAdapter):  # type: ignore[misc]
    """Runs a handler on one delivery. Sends nothing by itself: what is said goes through the surface."""

    async def process(self, body: Body, handler: ActivityHandler) -> Reply:
        """What `handler` answered; a plain 200 where it answered nothing.

        The SDK is told the type alone: its models match names whatever their case, drop fields they do not know and
        refuse shapes that Teams has since changed.

        Raises:
            Strange: it is no activity. Whatever the handler raises passes through.
        """
        kind = text_at(body, "type")
        if not kind:
            raise Strange("no type")
        context = TurnContext(self, Activity(type=kind, channel_id="msteams"))
        context.turn_state[_RAW] = body
        await self.run_pipeline(context, handler.on_turn)
        reply = context.turn_state.get(_REPLY)
        return reply if isinstance(reply, Reply) else Reply()

    async def send_activities(self, context: TurnContext, activities: list[Activity]) -> NoReturn:
        raise NotImplementedError("Messages go through the surface.")

    async def update_activity(self, context: TurnContext, activity: Activity) -> NoReturn:
        raise NotImplementedError("Messages go through the surface.")

    async def delete_activity(self, context: TurnContext, reference: Any) -> NoReturn:
        raise NotImplementedError("Messages go through the surface.")


def raw(context: TurnContext) -> Body:
    """The delivery as it came."""
    told = context.turn_state[_RAW]
    if not isinstance(told, Mapping):
        raise TypeError("The delivery is not in its context.")
    return cast("Body", told)


def answer(context: TurnContext, reply: Reply) -> None:
    """Leave the answer to an invoke where `Pipeline.process` finds it, past the SDK's serialiser."""
    context.turn_state[_REPLY] = reply
