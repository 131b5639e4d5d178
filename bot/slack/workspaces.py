"""Where the bot is installed, and the token it speaks with there. Knows no card and no event.

`OneToken`: one workspace, a token from the settings. `bot.slack.installs`: several, installed through Slack's OAuth.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Protocol

from bot.payload import flag_at, text_at
from bot.ports import SurfaceError
from bot.slack.calls import Calls, web_client

UNNAMED = "Slack did not say which workspace the bot's token belongs to."


@dataclass(frozen=True, slots=True)
class Workspace:
    """One workspace with the bot in it. `calls` speaks with this workspace's token and with no other."""

    team: str
    enterprise: str
    """Its Enterprise Grid organisation; empty where there is none."""
    bot_user: str
    bot_id: str
    calls: Calls = field(repr=False, compare=False)


class NotInstalled(SurfaceError):
    """The bot is not in that workspace, or may not be. Nothing was sent."""

    def __init__(self, sentence: str) -> None:
        super().__init__(sentence, gone=True)


class Workspaces(Protocol):
    """Every method raises `SurfaceError` and nothing else."""

    async def of(self, team: str) -> Workspace:
        """The workspace `team`.

        Raises:
            NotInstalled: the bot is not in it, or no tenant names it.
        """

    async def teams(self) -> tuple[str, ...]:
        """Every workspace the bot is in."""

    async def health(self) -> None:
        """Returns when Slack can be used; raises when not."""

    async def removed(self, team: str, how: str) -> None:
        """Slack says that the app was taken out of `team` (``uninstalled``) or that tokens were ``revoked`` there."""

    async def close(self) -> None:
        """Finishes what must not be lost."""


class OneToken:
    """One workspace, as ``auth.test`` says which. Asked once; raises until Slack has answered."""

    def __init__(self, bot_token: str, api_url: str | None = None, *, timeout_s: int = 10) -> None:
        self._calls = Calls(web_client(bot_token, api_url, timeout_s=timeout_s))
        self._workspace: Workspace | None = None
        self._asking = asyncio.Lock()

    async def of(self, team: str) -> Workspace:
        own = await self._own()
        if team != own.team:
            raise NotInstalled("That is another Slack workspace; the bot is not installed there.")
        return own

    async def teams(self) -> tuple[str, ...]:
        return ((await self._own()).team,)

    async def health(self) -> None:
        told = await self._calls.call("auth.test", {})
        team, bot_user = text_at(told, "team_id"), text_at(told, "user_id")
        if flag_at(told, "is_enterprise_install"):
            raise SurfaceError(
                "The bot's token is of a whole organisation. Install the app in each workspace by itself: who reads "
                "along is decided per workspace."
            )
        if not team or not bot_user:
            raise SurfaceError(UNNAMED)
        enterprise = text_at(told, "enterprise_id")
        self._workspace = Workspace(team, enterprise, bot_user, text_at(told, "bot_id"), self._calls)

    async def removed(self, team: str, how: str) -> None:
        """The token is the operator's to replace; until then Slack refuses every call with its reason."""

    async def close(self) -> None:
        return None

    async def _own(self) -> Workspace:
        async with self._asking:
            if self._workspace is None:
                await self.health()
        if self._workspace is None:
            raise SurfaceError(UNNAMED)
        return self._workspace
