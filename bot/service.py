"""`countersign serve`: the configured chats, health and metrics, until told to stop.

Knows sockets, signals and routes; wiring is `bot.core`'s, the pages on which people prove who they are `bot.proving`'s.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Mapping
from typing import TYPE_CHECKING

import uvicorn
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Gauge, generate_latest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from audit.faults import StoreUnavailable
from bot.core import Core, Running, running, utc_now
from bot.identity.issuers import slack_issuer
from bot.identity.sealing import Sealer
from bot.identity.wrapping import wrapping_of
from bot.messages import SurfaceName
from bot.parts import Parts
from bot.ports import ChatSurface, SurfaceError
from bot.proving import Provider, complete, machine_routes, office_chat, office_of, pages_of, provider
from bot.settings import Settings, Slack
from bot.web.browser import static_mount
from bot.web.guard import slip
from bot.web.identity_pages import IdentityPages
from bot.web.serving import OrderlyServer

if TYPE_CHECKING:
    from bot.slack.installs import Installs
    from bot.slack.surface import SlackSurface

log = logging.getLogger("countersign.service")


class NothingToServe(Exception):
    """No chat is configured. `str(e)` says what to set."""


async def serve(core: Core, slack: Slack) -> None:
    """Serve until SIGINT or SIGTERM; returns once what ran has ended and the last checkpoint is written."""
    from bot.slack.events import SlackEvents
    from bot.slack.install import install_routes

    surface, installs = slack_of(core, slack)
    chats: dict[SurfaceName, ChatSurface] = {surface.name: surface}
    async with provider() as idp, _running(core, chats, _pages(core, idp, slack, chats)) as (service, pages):
        events = SlackEvents(
            service.turn,
            surface,
            signing_secret=slack.signing_secret.reveal() if slack.signing_secret else None,
            app_token=slack.app_token.reveal() if slack.app_token else None,
        )
        if slack.app_token is not None:
            await events.connect()
        mounted = [] if pages is None else [*pages.routes, *office_of(service, pages), static_mount()]
        if installs is not None:
            mounted = [*mounted, *install_routes(installs, slip)]
        web = Starlette(
            routes=[*events.routes(), *machine_routes(core, core.settings.base_url), *mounted, *_probes(service)]
        )
        config = uvicorn.Config(
            web, host=core.settings.host, port=core.settings.port, log_level="warning", server_header=False
        )
        server = OrderlyServer(config)
        log.info("serving on http://%s:%d", core.settings.host, core.settings.port)
        try:
            await server.serve()
        finally:
            await events.close()
            if installs is not None:
                await installs.close()


def _pages(core: Core, idp: Provider, slack: Slack, chats: Mapping[SurfaceName, ChatSurface]) -> IdentityPages | None:
    """The pages on which people prove who they are; None, with a word in the log, where nobody could reach them."""
    base_url = core.settings.base_url
    if base_url is None:
        log.warning(
            "COUNTERSIGN_BASE_URL is not set, so nobody can link a chat account or sign in. Set it to the address "
            "under which people reach this service."
        )
        return None
    by_slack = (
        slack_issuer(slack.client_id, slack.client_secret, _slack_site(slack))
        if slack.client_id is not None and slack.client_secret is not None
        else None
    )
    return pages_of(core, idp, base_url, chats, slack=by_slack)


def slack_of(core: Core, slack: Slack) -> tuple[SlackSurface, Installs | None]:
    """Slack as a chat, and where the app was installed (None: one bot token serves one workspace).

    Raises:
        NothingToServe: what it needs is not set.
    """
    from bot.slack.surface import SlackSurface

    installs = _installs(core, slack)
    where = installs or (slack.bot_token.reveal() if slack.bot_token else "")
    return SlackSurface(where, book=core.book, api_url=slack.api_url), installs


def _installs(core: Core, slack: Slack) -> Installs | None:
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


def _slack_site(slack: Slack) -> str:
    """Where people sign in with Slack; beside the API where that is elsewhere (tests)."""
    return "https://slack.com" if slack.api_url is None else slack.api_url.removesuffix("/").removesuffix("/api")


@contextlib.asynccontextmanager
async def _running(
    core: Core, chats: Mapping[SurfaceName, ChatSurface], pages: IdentityPages | None
) -> AsyncIterator[tuple[Running, IdentityPages | None]]:
    def completed(parts: Parts) -> Parts:
        return parts if pages is None else complete(core, pages, parts)

    spoken_to = (*chats.values(), *(() if pages is None else (office_chat(core),)))
    async with running(core, lambda _core: spoken_to, complete=completed) as service:
        yield service, pages


def chat_of(settings: Settings) -> Slack:
    """The chat to serve.

    Raises:
        NothingToServe: none is configured.
    """
    if settings.slack is None:
        raise NothingToServe(
            "No chat is configured, so there is nothing to serve. Set SLACK_BOT_TOKEN with SLACK_APP_TOKEN "
            "(Socket Mode) or SLACK_SIGNING_SECRET (events over HTTP); `countersign check` lists what else is missing."
        )
    return settings.slack


def _probes(service: Running) -> list[Route]:
    """Liveness, readiness and metrics. None of them says anything about a person or a request."""

    async def healthz(_request: Request) -> Response:
        return PlainTextResponse("ok\n")

    async def readyz(_request: Request) -> Response:
        try:
            await service.core.gateway.kills(None)
            await asyncio.gather(*(surface.health() for surface in service.surfaces.values()))
        except (StoreUnavailable, SurfaceError) as error:
            return PlainTextResponse(f"not ready: {error}\n", status_code=503)
        return PlainTextResponse("ready\n")

    async def metrics(_request: Request) -> Response:
        report = await service.core.gateway.kills(None)
        registry = CollectorRegistry()
        for name, text, value in (
            ("countersign_pending", "Requests that wait for an approval", report.pending),
            ("countersign_in_flight", "Effects that were claimed and have not ended", len(report.in_flight)),
            ("countersign_stops", "Kill-switches that are on", len(report.active)),
        ):
            Gauge(name, text, registry=registry).set(value)
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)

    return [Route("/healthz", healthz), Route("/readyz", readyz), Route("/metrics", metrics)]
