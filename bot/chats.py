"""The chats that are configured, each with its way in. Knows which adapter needs what; decides nothing."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from starlette.routing import BaseRoute

from bot.core import Core, utc_now
from bot.identity.idp_http import IdpHttp
from bot.identity.jwks import Keys
from bot.identity.linking import Linking
from bot.identity.sealing import Sealer
from bot.identity.wrapping import wrapping_of
from bot.ports import ChatSurface, Service, SurfaceError
from bot.settings import Settings, Slack, Teams
from bot.web.guard import slip
from policy.model import TenantId

if TYPE_CHECKING:
    from bot.slack.events import SlackEvents
    from bot.slack.installs import Installs
    from bot.slack.surface import SlackSurface
    from bot.teams.activities import TeamsActivities
    from bot.teams.service_urls import ServiceUrls
    from bot.teams.sso import TeamsSignIn
    from bot.teams.surface import TeamsSurface

log = logging.getLogger("countersign.service")

AGAIN_S = 30.0
"""Between two attempts at a connection that was refused while another chat goes on."""


class NothingToServe(Exception):
    """No chat is configured. `str(e)` says what to set."""


@dataclass(frozen=True, slots=True)
class Proof:
    """What a chat needs to link accounts by its own sign-in."""

    linking: Linking
    keys: Keys
    base_url: str


class Chat(Protocol):
    """One chat of this deployment."""

    @property
    def surface(self) -> ChatSurface: ...

    async def open(self, service: Service, proof: Proof | None) -> list[BaseRoute]:
        """Listen for `service` from now on; the routes under which the chat delivers.

        `proof`: None where nobody can link an account.
        """

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
    if settings.teams is not None:
        found.append(TeamsChat(core, settings.teams))
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

    async def open(self, service: Service, proof: Proof | None) -> list[BaseRoute]:
        del proof  # its people sign in with Slack on the link page
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


class TeamsChat:
    """Implements `Chat`: Teams over HTTP, in every Entra tenant that tenants.yaml names."""

    def __init__(self, core: Core, teams: Teams) -> None:
        from bot.teams.service_urls import ServiceUrls

        self._core = core
        self._teams = teams
        self._http = IdpHttp()
        self._urls = ServiceUrls(teams.service_urls)
        self._activities: TeamsActivities | None = None
        self.surface = teams_of(core, teams, self._http, self._urls)

    async def open(self, service: Service, proof: Proof | None) -> list[BaseRoute]:
        from bot.teams.activities import TeamsActivities
        from bot.teams.deliveries import TEAMS
        from bot.teams.endpoint import Endpoint
        from bot.teams.verify import ConnectorTokens
        from bot.teams.whereabouts import Whereabouts

        core, app_id = self._core, self._teams.app_id
        sign_in = None if proof is None else self._sign_in(proof)
        self.surface.sign_in = sign_in

        def tenant_of(team: str) -> TenantId | None:
            return core.directory.tenant_of(TEAMS, team)

        whereabouts = Whereabouts(core.writer, core.audit, tenant_of, utc_now)
        self._activities = TeamsActivities(service, self.surface, whereabouts, sign_in=sign_in)
        tokens = ConnectorTokens(app_id, self._http, self._urls, metadata_url=self._teams.openid_metadata_url)
        endpoint = Endpoint(
            tokens, tenant_of, self.surface.standing_at, service.on_turned_away, self._activities.deliver
        )
        return [*endpoint.routes()]

    async def close(self) -> None:
        if self._activities is not None:
            await self._activities.close()
        await self.surface.close()
        await self._http.close()

    def _sign_in(self, proof: Proof) -> TeamsSignIn | None:
        """Single sign-on, where the app is registered for it."""
        from bot.identity.chat_signin import ChatSignIn
        from bot.teams.sso import TeamsSignIn

        resource = self._teams.sso_resource
        if resource is None:
            return None
        chat = ChatSignIn(proof.linking, proof.keys, frozenset({self._teams.app_id, resource}))
        return TeamsSignIn(chat, resource, proof.base_url)


def teams_of(core: Core, teams: Teams, http: IdpHttp, urls: ServiceUrls) -> TeamsSurface:
    """Teams as a chat. `http` is closed by whoever made it."""
    from bot.teams.connector import Connector
    from bot.teams.surface import TeamsSurface
    from bot.teams.token import AppToken
    from bot.teams.wire import Wire

    connector = Connector(Wire(AppToken(http, teams), urls.allow))
    return TeamsSurface(connector, core.writer, core.book, utc_now, app_id=teams.app_id, audit=core.audit)


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
