"""The demo workspace as a web application: its routes and live updates. Knows no tables and decides nothing."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Iterable, Mapping
from pathlib import Path
from typing import Final
from urllib.parse import urlencode

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp

from bot.ports import Service
from bot.web.data import DemoData, Doorway
from bot.web.guard import Guard, slip
from bot.web.hands import Hand, Hands, Refusal, read_form
from bot.web.live import Hub
from bot.web.panes import Drawer
from bot.web.surface import DemoSurface
from bot.web.view import View

log = logging.getLogger(__name__)

PULSE_S: Final = 0.5
"""How often the audit trail is looked at while a page is open."""
PING_S: Final = 15.0
"""A comment on an idle stream, so that a browser that has gone is noticed."""
BREATH_S: Final = 0.05
"""The least time between two drawings of one page: an answer that streams in rings often."""


def demo_app(
    *,
    service: Service,
    surface: DemoSurface,
    data: DemoData,
    token: str,
    hosts: Iterable[str],
    doorways: tuple[Doorway, ...] = (),
) -> ASGIApp:
    """The page, behind its guard.

    `hosts`: the exact Host headers to answer, e.g. ``127.0.0.1:8020`` and ``localhost:8020``. `token`: random, at
    least 128 bits; the printed address is ``http://127.0.0.1:8020/?token=…``. Call ``surface.hub.close()`` when the
    server is told to stop (`bot.web.serving.DemoServer` does), or it waits for open pages.
    """
    pages = _Pages(service, surface, data, doorways)
    room = "/w/{user}/{slug}"
    app = Starlette(
        routes=[
            Route("/", pages.home),
            Route("/open", pages.open),
            Route("/verify", pages.verify, methods=["POST"]),
            Route(room, pages.page),
            Route(room + "/live", pages.live),
            Route(room + "/say", pages.say, methods=["POST"]),
            Route(room + "/press", pages.press, methods=["POST"]),
            Route(room + "/ask", pages.ask, methods=["POST"]),
            Route(room + "/rate", pages.rate, methods=["POST"]),
            Route(room + "/new", pages.new, methods=["POST"]),
            Mount("/static", StaticFiles(directory=Path(__file__).parent / "static")),
        ],
        exception_handlers={HTTPException: _not_here, Exception: _broken},
        lifespan=pages.lifespan,
    )
    return Guard(app, token=token, hosts=hosts)


class _Pages:
    def __init__(self, service: Service, surface: DemoSurface, data: DemoData, doorways: tuple[Doorway, ...]) -> None:
        self._surface = surface
        self._data = data
        self._drawer = Drawer(service, surface, data, doorways)
        self._hands = Hands(service, surface)

    @contextlib.asynccontextmanager
    async def lifespan(self, _app: Starlette) -> AsyncIterator[None]:
        pulse = asyncio.create_task(_pulse(self._data, self._surface.hub))
        try:
            yield
        finally:
            self._surface.hub.close()
            pulse.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await pulse

    async def home(self, _request: Request) -> Response:
        first = self._surface.workspace.members[0]
        return RedirectResponse(f"/w/{first.user}/dm", status_code=303)

    async def page(self, request: Request) -> Response:
        view = self._view(request)
        await self._surface.log.saw(view.member.user, view.place.channel)
        return HTMLResponse(await self._drawer.page(view))

    async def live(self, request: Request) -> Response:
        headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
        return StreamingResponse(self._stream(self._view(request)), media_type="text/event-stream", headers=headers)

    async def open(self, request: Request) -> Response:
        """A link to a thread, opened by whoever is looking (``as``)."""
        query = request.query_params
        place = self._surface.workspace.room_of(query.get("channel", ""))
        member = self._surface.workspace.member(query.get("as", ""))
        if place is None or member is None:
            raise HTTPException(404)
        if member.user not in place.members:
            return slip(
                "A private conversation",
                "Only the person who asked and the bot can read it. Their own words are on the card. "
                '<a href="/">Back to the workspace</a>',
                403,
            )
        root = query.get("root", "")
        if not root.isdecimal():
            return RedirectResponse(f"/w/{member.user}/{place.slug}", status_code=303)
        reply = "" if place.slug == "dm" else "?" + urlencode({"reply": root})
        return RedirectResponse(f"/w/{member.user}/{place.slug}{reply}#m{root}", status_code=303)

    async def say(self, request: Request) -> Response:
        return await self._answered(request, self._hands.say)

    async def press(self, request: Request) -> Response:
        return await self._answered(request, self._hands.press)

    async def ask(self, request: Request) -> Response:
        return await self._answered(request, self._hands.ask)

    async def rate(self, request: Request) -> Response:
        return await self._answered(request, self._hands.rate)

    async def new(self, request: Request) -> Response:
        return await self._answered(request, self._hands.new)

    async def verify(self, _request: Request) -> Response:
        check = await self._data.verify()
        return HTMLResponse(self._drawer.check(check.intact, check.sentence))

    async def _answered(self, request: Request, hand: Hand) -> Response:
        view = self._view(request)
        try:
            sentence = await hand(view, await read_form(request))
        except Refusal as refusal:
            return HTMLResponse(self._drawer.notice(str(refusal), refused=True), status_code=refusal.status)
        return HTMLResponse(self._drawer.notice(sentence))

    def _view(self, request: Request) -> View:
        member = self._surface.workspace.member(request.path_params["user"])
        place = None if member is None else self._surface.workspace.place(member, request.path_params["slug"])
        if member is None or place is None:
            raise HTTPException(404)
        reply = request.query_params.get("reply", "")
        return View(member, place, reply if reply.isdecimal() and place.slug != "dm" else None)

    async def _stream(self, view: View) -> AsyncIterator[str]:
        """Every part of the page that differs from what this browser was sent last."""
        sent: dict[str, int] = {}
        with self._surface.hub.watching() as watch:
            while not watch.closed:
                await self._surface.log.saw(view.member.user, view.place.channel)
                panes = await self._drawer.panes(view)
                changed = {name: html for name, html in panes.items() if sent.get(name) != hash(html)}
                sent.update((name, hash(html)) for name, html in changed.items())
                if changed:
                    yield as_event(changed)
                while not await watch.rang(PING_S):
                    yield ": still here\n\n"
                await asyncio.sleep(BREATH_S)


def as_event(parts: Mapping[str, str]) -> str:
    """A server-sent event that htmx takes apart: each part replaces, with as little change as possible, its element."""
    html = "".join(
        f'<hx-partial hx-target="#{name}" hx-swap="innerMorph">{part}</hx-partial>' for name, part in parts.items()
    )
    return "".join(f"data: {line}\n" for line in html.splitlines()) + "\n"


async def _pulse(data: DemoData, hub: Hub) -> None:
    """Rings when something beside the chat has changed: the audit trail has no bell of its own."""
    last: str | None = None
    while True:
        await asyncio.sleep(PULSE_S)
        if not hub.watched:
            continue
        try:
            mark = await data.mark()
        except Exception:  # a database that is briefly away must not end the pulse; the log says why
            log.exception("the demo page could not see whether something changed")
            continue
        if mark != last:
            last = mark
            hub.wake()


async def _not_here(_request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 404
    if status == 404:
        return slip("Nothing here", 'There is no such person or room. <a href="/">Back to the workspace</a>', 404)
    return slip("Refused", 'That is not something this page does. <a href="/">Back to the workspace</a>', status)


async def _broken(_request: Request, _error: Exception) -> Response:
    return slip(
        "Something broke",
        'The page could not be drawn; the log says why. Nothing was decided. <a href="/">Try again</a>',
        500,
    )
