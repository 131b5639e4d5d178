"""Draws the page and the parts of it that change. Knows templates and what to ask whom; changes nothing."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Final, TypeAlias

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from bot.cards import Item, Tone
from bot.ports import Service
from bot.visible import visible
from bot.web import view as views
from bot.web.data import DemoData, Doorway
from bot.web.markup import rendered
from bot.web.surface import DemoSurface
from bot.web.view import View, transcript
from bot.web.workspace import BOT_NAME

log = logging.getLogger(__name__)

AUDIT_ROWS = 120
"""How many of the newest audit rows the page shows."""

Html: TypeAlias = str
Panes: TypeAlias = Mapping[str, Html]
_Values: TypeAlias = Mapping[str, object]

TONES: Final[Mapping[Tone, str]] = {
    Tone.WAITING: "Waiting",
    Tone.DONE: "Done",
    Tone.REFUSED: "Not done",
    Tone.TROUBLE: "Needs a look",
    Tone.STOPPED: "Stopped",
}


def environment() -> Environment:
    """Templates that escape everything and refuse names nobody gave them."""
    env = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    env.filters.update(
        markdown=rendered,
        clock=views.clock,
        clock_seconds=views.clock_seconds,
        day=views.day,
        trail=_trail_tone,
        visible=visible,
    )
    env.globals.update(bot_name=BOT_NAME, tones=TONES, is_open=_is_open)
    return env


class Drawer:
    """Draws for one viewer at a time; holds nothing between two drawings."""

    def __init__(
        self, service: Service, surface: DemoSurface, data: DemoData, doorways: tuple[Doorway, ...] = ()
    ) -> None:
        self._service = service
        self._surface = surface
        self._data = data
        self._doorways = doorways
        self._env = environment()

    async def panes(self, view: View) -> Panes:
        """The parts as `view` sees them now, by element id. One that cannot be read is missing: it stays as it was."""
        drawings: Mapping[str, Callable[[], Awaitable[Html]]] = {
            "messages": lambda: self._messages(view),
            "people": lambda: self._people(view),
            "rooms": lambda: self._rooms(view),
            "mine": lambda: self._mine(view),
            "banners": lambda: self._banners(view),
            "trail": lambda: self._trail(view),
            "mail": lambda: self._mail(view),
            "refunds": lambda: self._refunds(view),
        }
        drawn = await asyncio.gather(*(_guarded(name, draw) for name, draw in drawings.items()))
        return {name: html for name, html in zip(drawings, drawn, strict=True) if html is not None}

    async def page(self, view: View) -> Html:
        panes = await self.panes(view)
        values = {"parts": panes, "workspace": self._surface.workspace, "doorways": self._doorways}
        return self._draw("page.html", view, values)

    def notice(self, text: str, *, refused: bool = False) -> Html:
        """What a request led to, for the person who made it alone."""
        return self._env.get_template("notice.html").render(text=text, refused=refused)

    def check(self, intact: bool, sentence: str) -> Html:
        return self._env.get_template("check.html").render(intact=intact, sentence=sentence)

    def _draw(self, template: str, view: View, values: _Values) -> Html:
        return self._env.get_template(template).render(view=view, **values)

    async def _messages(self, view: View) -> Html:
        lines = await self._surface.log.lines(view.place.channel, view.member.user)
        growing = self._surface.hub.growing(view.place.channel)
        said = transcript(
            view, self._surface.workspace, lines, growing, await self._data.withdrawable(view.member.user)
        )
        return self._draw("messages.html", view, {"said": said})

    async def _people(self, view: View) -> Html:
        workspace = self._surface.workspace
        waiting = await self._data.waiting()
        rooms = {person.user: tuple(p.channel for p in workspace.places(person)) for person in workspace.members}
        unread = await self._surface.log.unread(rooms)
        news = {user: sum(unread[user, channel] for channel in channels) for user, channels in rooms.items()}
        unlinked = await self._data.unlinked()
        values = {"workspace": workspace, "waiting": waiting, "news": news, "unlinked": unlinked}
        return self._draw("people.html", view, values)

    async def _rooms(self, view: View) -> Html:
        places = self._surface.workspace.places(view.member)
        unread = await self._surface.log.unread({view.member.user: tuple(place.channel for place in places)})
        news = {place.channel: unread[view.member.user, place.channel] for place in places}
        return self._draw("rooms.html", view, {"places": places, "news": news})

    async def _mine(self, view: View) -> Html:
        return self._draw("mine.html", view, {"home": await self._service.home(view.member.account)})

    async def _banners(self, view: View) -> Html:
        return self._draw("banners.html", view, {"state": await self._data.state()})

    async def _trail(self, view: View) -> Html:
        return self._draw("trail.html", view, {"trail": await self._data.audit(AUDIT_ROWS)})

    async def _mail(self, view: View) -> Html:
        return self._draw("mail.html", view, {"mails": await self._data.mails()})

    async def _refunds(self, view: View) -> Html:
        return self._draw("refunds.html", view, {"refunds": await self._data.refunds()})


async def _guarded(name: str, draw: Callable[[], Awaitable[Html]]) -> Html | None:
    try:
        return await draw()
    except Exception:  # one broken panel must not take the page down; the log says why
        log.exception("the demo page could not draw its part %s", name)
        return None


def _is_open(item: Item) -> bool:
    return item.tone in (Tone.WAITING, Tone.STOPPED)


def _trail_tone(kind: str) -> str:
    """Which colour an audit row has; its words are beside it."""
    subject, _, action = kind.partition(".")
    if subject == "kill" or action in ("in_doubt", "failed", "flood"):
        return "trouble"
    if action in ("blocked", "refused", "voided", "rejected", "flagged"):
        return "refused"
    if subject in ("approval", "press"):
        return "hand"
    if kind in ("tool.executed", "tool.resolved"):
        return "done"
    return "plain"
