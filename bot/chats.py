"""The chats that are configured, each with its way in. Knows which adapter needs what; decides nothing."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING, Protocol

from starlette.routing import BaseRoute

from bot.core import Core, utc_now
from bot.identity.sealing import Sealer
from bot.identity.wrapping import wrapping_of
from bot.ports import ChatSurface, Service, SurfaceError
from bot.settings import Settings, Slack
from bot.web.guard import slip

if TYPE_CHECKING:
    from bot.slack.events import SlackEvents
    from bot.slack.installs import Installs
    from bot.slack.surface import SlackSurface

log = logging.getLogger("countersign.service")

AGAIN_S = 30.0
"""Between two attempts at a connection that was refused while another chat goes on."""


class NothingToServe(Exception):
    """No chat is configured. `str(e)` says what to set."""


class Chat(Protocol):
    """One chat of this deployment."""

    @property
    def surface(self) -> ChatSurface: ...

    async def open(self, service: Service) -> list[BaseRoute]:
        """Listen for `service` from now on; the routes under which the chat delivers."""

    async def close(self) -> None:
        """Listen no more; what was taken is finished."""


def chats_of(core: Core) -> tuple[Chat, ...]:
    """Every chat that is configured.

    Raises:
        NothingToServe: there is none, or what one needs is not set.
    """
    settings = core.settings
    require_chat(settings)
    found: list[Chat] = []
    if settings.slack is not None:
        found.append(SlackChat(core, settings.slack, alone=settings.teams is None))
    return tuple(found)


def require_chat(settings: Settings) -> None:
    """Raises `NothingToServe` where no chat is configured."""
    if settings.slack is None and settings.teams is None:
        raise NothingToServe(
            "No chat is configured, so there is nothing to serve. Set SLACK_BOT_TOKEN with SLACK_APP_TOKEN "
            "(Socket Mode) or SLACK_SIGNING_SECRET (events over HTTP), or TEAMS_APP_ID with TEAMS_APP_PASSWORD and "
            "TEAMS_TENANT_ID; `countersign check` lists what else is missing."
        )


class SlackChat:
    """Implements `Chat`: Slack over HTTP or Socket Mode, in one workspace or wherever the app was installed."""

    def __init__(self, core: Core, slack: Slack, *, alone: bool) -> None:
        self._slack = slack
        self._alone = alone
        self._events: SlackEvents | None = None
        self._trying: asyncio.Task[None] | None = None
        self.surface, self._installs = slack_of(core, slack)

    async def open(self, service: Service) -> list[BaseRoute]:
        from bot.slack.events import SlackEvents
        from bot.slack.install import install_routes

        slack = self._slack
        self._events = events = SlackEvents(
            service,
            self.surface,
            signing_secret=slack.signing_secret.reveal() if slack.signing_secret else None,
            app_token=slack.app_token.reveal() if slack.app_token else None,
        )
        if slack.app_token is not None:
            try:
                await events.connect()
            except SurfaceError as error:
                if self._alone:
                    raise
                # The people of another chat are served meanwhile.
                log.error("slack: %s It is tried again every %d s.", error, AGAIN_S)
                self._trying = asyncio.create_task(self._try(events))
        own = [] if self._installs is None else install_routes(self._installs, slip)
        return [*events.routes(), *own]

    async def close(self) -> None:
        if self._trying is not None:
            self._trying.cancel()
            await asyncio.gather(self._trying, return_exceptions=True)
        if self._events is not None:
            await self._events.close()
        if self._installs is not None:
            await self._installs.close()

    async def _try(self, events: SlackEvents) -> None:
        while True:
            await asyncio.sleep(AGAIN_S)
            with contextlib.suppress(SurfaceError):
                await events.connect()
                log.info("slack: connected")
                return


def slack_of(core: Core, slack: Slack) -> tuple[SlackSurface, Installs | None]:
    """Slack as a chat, and where the app was installed (None: one bot token serves one workspace).

    Raises:
        NothingToServe: what it needs is not set.
    """
    from bot.slack.surface import SlackSurface

    installs = installs_of(core, slack)
    where = installs or (slack.bot_token.reveal() if slack.bot_token else "")
    return SlackSurface(where, book=core.book, api_url=slack.api_url), installs


def installs_of(core: Core, slack: Slack) -> Installs | None:
    """The workspaces the app was installed in; None: one bot token serves one."""
    from bot.slack.installs import App, Installs
    from bot.slack.ledger import Ledger
    from bot.slack.vault import Vault

    base_url = core.settings.base_url
    if slack.bot_token is not None or slack.client_id is None or slack.client_secret is None:
        return None
    if base_url is None:
        raise NothingToServe(
            "Slack sends browsers back to this service when it is installed, so it has to know its address. "
            "Set COUNTERSIGN_BASE_URL."
        )
    vault = Vault(Sealer(wrapping_of(core.settings).open()), slack.client_id)
    ledger = Ledger(slack.client_id, writer=core.writer, audit=core.audit, vault=vault, clock=utc_now)
    app = App(slack.client_id, slack.client_secret.reveal(), base_url, slack.api_url)
    return Installs(app, ledger, core.book)
