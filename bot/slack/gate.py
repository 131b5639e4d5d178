"""In front of every delivery: which workspace it is for, and whether the bot is in it. Knows Bolt's context; no event.

Over HTTP the endpoint has proved that Slack sent it, in Socket Mode the connection has. That says nothing yet of whom
it concerns: one app serves several organisations (invariant 14).
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Any, Final, cast

from slack_bolt import BoltResponse
from slack_bolt.async_app import AsyncBoltContext
from slack_bolt.authorization import AuthorizeResult

from bot.payload import Body, text_at
from bot.ports import SurfaceError
from bot.slack import deliveries
from bot.slack.deliveries import SLACK, Here
from bot.slack.surface import SlackSurface
from bot.slack.workspaces import NotInstalled, Workspace

log = logging.getLogger(__name__)

REMOVALS: Final = {"app_uninstalled": "uninstalled", "tokens_revoked": "revoked"}
"""Events that end an installation, and what the log calls that."""
_WORKSPACE = "countersign_workspace"
"""Where the workspace of a delivery stays, in Bolt's context."""


class Gate:
    def __init__(self, surface: SlackSurface) -> None:
        self._surface = surface

    async def judge(
        self,
        body: dict[str, Any],
        context: AsyncBoltContext,
        next: Callable[[], Awaitable[None]],  # noqa: A002
    ) -> BoltResponse | None:
        """Only deliveries for a workspace that the bot is in pass. Middleware of Bolt's, which passes by name."""
        told = cast("Body", body)
        if text_at(told, "type") == "url_verification":
            await next()
            return None
        team = deliveries.installed_team(told)
        if team is not None and text_at(told, "event", "type") in REMOVALS:
            await next()  # needs no token, which is dead by now
            return None
        try:
            own = await self._surface.workspaces.of(team or "")
        except NotInstalled:
            log.warning("A delivery for another workspace was refused")
            return BoltResponse(status=403, body="This app is not installed in that workspace.")
        except SurfaceError as error:
            log.warning("A delivery was put off: %s", error)
            return BoltResponse(status=503, body="Not ready. Deliver it again.")
        if deliveries.enterprise_of(told) not in (None, own.enterprise):
            log.warning("The workspace %s has joined or left an organisation: install the app anew there", own.team)
            return BoltResponse(status=403, body="This app is not installed in that organisation.")
        if text_at(told, "type") == "event_callback" and not text_at(told, "event", "type"):
            return BoltResponse(status=400, body="The event has no type.")
        context[_WORKSPACE] = own
        await next()
        return None

    def here(self, own: Workspace) -> Here:
        """What `bot.slack.deliveries` needs to know of the workspace."""

        def serves(team: str) -> bool:
            return self._surface.book.tenant_of(SLACK, team) is not None

        return Here(own.team, own.enterprise, own.bot_user, serves)


async def known(context: AsyncBoltContext) -> AuthorizeResult:
    """Tells Bolt who the bot is in that workspace, so that it skips the bot's own words. It is given no token."""
    own = workspace_of(context)
    return AuthorizeResult(
        enterprise_id=own.enterprise or None, team_id=own.team, bot_user_id=own.bot_user, bot_id=own.bot_id
    )


def workspace_of(context: AsyncBoltContext) -> Workspace:
    """The workspace of the delivery at hand."""
    own = context[_WORKSPACE]
    if not isinstance(own, Workspace):
        raise TypeError("The gate let a delivery pass without its workspace.")
    return own
