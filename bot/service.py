"""`countersign serve`: the configured chats, health and metrics, until told to stop.

Knows sockets, signals and routes; wiring is `bot.core`'s, each chat's way in `bot.chats`', the pages on which people
prove who they are `bot.proving`'s.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Mapping

import uvicorn
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Gauge, generate_latest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Route

from audit.faults import StoreUnavailable
from bot.chats import Proof, chats_of
from bot.core import Core, Running, running
from bot.identity.issuers import slack_issuer
from bot.messages import SurfaceName
from bot.parts import Parts
from bot.ports import ChatSurface, SurfaceError
from bot.proving import Provider, complete, machine_routes, office_chat, office_of, pages_of, provider
from bot.settings import Slack
from bot.web.browser import static_mount
from bot.web.identity_pages import IdentityPages
from bot.web.serving import OrderlyServer

log = logging.getLogger("countersign.service")


async def serve(core: Core) -> None:
    """Serve until SIGINT or SIGTERM; returns once what ran has ended and the last checkpoint is written.

    Raises:
        NothingToServe: no chat is configured, or what one needs is not set.
    """
    chats = chats_of(core)
    surfaces = {chat.surface.name: chat.surface for chat in chats}
    async with (
        provider() as idp,
        _running(core, surfaces, _pages(core, idp, surfaces)) as (service, pages),
        contextlib.AsyncExitStack() as open_chats,
    ):
        proof = None if pages is None else Proof(pages.linking, idp.keys, pages.commands.base_url)
        routes: list[BaseRoute] = []
        for chat in chats:
            open_chats.push_async_callback(chat.close)
            routes += await chat.open(service.turn, proof)
        mounted = [] if pages is None else [*pages.routes, *office_of(service, pages), static_mount()]
        web = Starlette(
            routes=[*routes, *machine_routes(core, core.settings.base_url), *mounted, *_probes(service, surfaces)]
        )
        config = uvicorn.Config(
            web, host=core.settings.host, port=core.settings.port, log_level="warning", server_header=False
        )
        log.info("serving %s on http://%s:%d", " and ".join(surfaces), core.settings.host, core.settings.port)
        await OrderlyServer(config).serve()


def _pages(core: Core, idp: Provider, chats: Mapping[SurfaceName, ChatSurface]) -> IdentityPages | None:
    """The pages on which people prove who they are; None, with a word in the log, where nobody could reach them."""
    base_url = core.settings.base_url
    if base_url is None:
        log.warning(
            "COUNTERSIGN_BASE_URL is not set, so nobody can link a chat account or sign in. Set it to the address "
            "under which people reach this service."
        )
        return None
    slack = core.settings.slack
    by_slack = (
        slack_issuer(slack.client_id, slack.client_secret, _slack_site(slack))
        if slack is not None and slack.client_id is not None and slack.client_secret is not None
        else None
    )
    return pages_of(core, idp, base_url, chats, slack=by_slack)


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


def _probes(service: Running, chats: Mapping[SurfaceName, ChatSurface]) -> list[Route]:
    """Liveness, readiness and metrics. None of them says anything about a person or a request."""

    async def healthz(_request: Request) -> Response:
        return PlainTextResponse("ok\n")

    async def readyz(_request: Request) -> Response:
        try:
            await service.core.gateway.kills(None)
        except StoreUnavailable as error:
            return PlainTextResponse(f"not ready: {error}\n", status_code=503)
        silent = [error for error in await asyncio.gather(*map(_silent, chats.values())) if error is not None]
        if len(silent) == len(chats):
            return PlainTextResponse(f"not ready: {' '.join(silent)}\n", status_code=503)
        # One chat that is down is no reason to send the people of another elsewhere.
        return PlainTextResponse("".join(["ready\n", *(f"{error}\n" for error in silent)]))

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


async def _silent(chat: ChatSurface) -> str | None:
    """Why the chat does not answer; None: it does."""
    try:
        await chat.health()
    except SurfaceError as error:
        return str(error)
    return None
