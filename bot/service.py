"""`countersign serve`: the configured chats, health and metrics, until told to stop.

Knows sockets, signals and routes; wiring is `bot.core`'s. Mounts no page: nobody can sign in yet.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable

import uvicorn
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Gauge, generate_latest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from audit.faults import StoreUnavailable
from bot.core import Core, Running, running
from bot.ports import ChatSurface, SurfaceError
from bot.settings import Settings, Slack
from bot.web.serving import OrderlyServer

log = logging.getLogger("countersign.service")


class NothingToServe(Exception):
    """No chat is configured. `str(e)` says what to set."""


async def serve(core: Core, slack: Slack) -> None:
    """Serve until SIGINT or SIGTERM; returns once what ran has ended and the last checkpoint is written."""
    from bot.slack.events import SlackEvents
    from bot.slack.surface import SlackSurface

    surface = SlackSurface(slack.bot_token.reveal(), book=core.book, api_url=slack.api_url)

    def surfaces(_core: Core) -> Iterable[ChatSurface]:
        return (surface,)

    async with running(core, surfaces) as service:
        events = SlackEvents(
            service.turn,
            surface,
            signing_secret=slack.signing_secret.reveal() if slack.signing_secret else None,
            app_token=slack.app_token.reveal() if slack.app_token else None,
        )
        if slack.app_token is not None:
            await events.connect()
        web = Starlette(routes=[*events.routes(), *_probes(service)])
        config = uvicorn.Config(
            web, host=core.settings.host, port=core.settings.port, log_level="warning", server_header=False
        )
        server = OrderlyServer(config)
        log.info("serving on http://%s:%d", core.settings.host, core.settings.port)
        try:
            await server.serve()
        finally:
            await events.close()


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
