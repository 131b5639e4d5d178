"""Teams' activities, verified by the gate, handed to `bot.ports.Service`. Knows botbuilder's dispatch; decides nothing.

What counts as taken: a message is answered with 200 once the service has it (`Service.on_message` is durable then), so
that what a crash lost can be delivered again. Deliveries that come twice are the service's to recognise, by their ids.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace
from typing import Protocol

from botbuilder.core import ActivityHandler, TurnContext
from starlette.responses import JSONResponse, PlainTextResponse, Response

from bot.messages import ChatUser, Command, Incoming, Room, Thread
from bot.payload import Body, at, text_at
from bot.ports import ChatSurface, Service, SurfaceError
from bot.teams import deliveries, mentions
from bot.teams.action import read_action
from bot.teams.commands import HOME, command_of
from bot.teams.invokes import Invokes
from bot.teams.late import NOT_TAKEN, Late
from bot.teams.mentions import Said
from bot.teams.pipeline import Pipeline, Strange, answer, raw
from bot.teams.sso import TeamsSignIn
from bot.teams.tables import Kind
from bot.teams.whereabouts import Whereabouts

log = logging.getLogger(__name__)

INVOKE = "invoke"


class Chat(ChatSurface, Protocol):
    """What is needed of the surface beyond what every chat can do."""

    async def room(self, thread: Thread) -> Room:
        """Who can read along in `thread` now; with outsiders in doubt, they are taken to be there."""

    async def welcome(self, thread: Thread) -> None:
        """Say in a conversation to which the bot has just come what it is for. Raises `SurfaceError`."""


class TeamsActivities:
    """Listens to every tenant in which the bot is installed, for one service."""

    def __init__(
        self,
        service: Service,
        surface: Chat,
        whereabouts: Whereabouts,
        *,
        sign_in: TeamsSignIn | None = None,
        answer_within_s: float = 2.0,
        room_within_s: float = 4.0,
    ) -> None:
        """`answer_within_s`: what an invoke may take. `room_within_s`: how long it is waited for who reads along."""
        self._service = service
        self._surface = surface
        self._whereabouts = whereabouts
        self._late = Late()
        self._pipeline = Pipeline()
        invokes = Invokes(service, surface, self._late, sign_in, answer_within_s)
        self._handler = _Handler(service, surface, whereabouts, self._late, invokes, room_within_s)

    async def deliver(self, body: Body) -> Response:
        """The answer to one verified activity. 503: it was not taken, and may be delivered again."""
        try:
            # Before anything is said: the surface answers where somebody was met last. An invoke has its own answer.
            noting = self._late.go_on(self._whereabouts.note(body))
            if text_at(body, "type") != INVOKE and await noting and deliveries.arrived(body):
                self._late.go_on(self._welcome(body))
            reply = await self._pipeline.process(body, self._handler)
        except Strange as error:
            log.warning("A delivery had a shape that is not Teams': %s", error)
            return PlainTextResponse("The body is not what Teams sends.", status_code=400)
        except Exception as error:  # noqa: BLE001 - whatever it is, Teams must not think it was taken
            # The kind of fault alone: its text can hold what people wrote (invariant 11).
            log.error("A delivery was not taken: %s", type(error).__name__)
            return PlainTextResponse("Not taken. Deliver it again.", status_code=503)
        if reply.body is None:
            return Response(status_code=reply.status)
        return JSONResponse(reply.body, status_code=reply.status)

    async def close(self) -> None:
        """Waits for what was answered before it was finished."""
        await self._late.close()

    async def _welcome(self, body: Body) -> None:
        try:
            await self._surface.welcome(deliveries.thread_of(body))
        except SurfaceError as error:
            log.warning("A welcome did not arrive: %s", error)


class _Handler(ActivityHandler):  # type: ignore[misc]
    """One method a kind of activity. Edits, deletions, reactions, typing and events are nothing to us: the base class
    lets them pass."""

    def __init__(
        self,
        service: Service,
        surface: Chat,
        whereabouts: Whereabouts,
        late: Late,
        invokes: Invokes,
        room_within_s: float,
    ) -> None:
        super().__init__()
        self._service = service
        self._surface = surface
        self._whereabouts = whereabouts
        self._late = late
        self._invokes = invokes
        self._room_within_s = room_within_s

    async def on_message_activity(self, turn_context: TurnContext) -> None:
        body = raw(turn_context)
        value = at(body, "value")
        if isinstance(value, dict) and "cs" in value:
            await self._invokes.submitted(body, read_action(value))
            return
        message = deliveries.incoming(body)
        if message is None:
            return
        said = mentions.said(body)
        if message.thread.room is not Room.DM and not said.names_bot:
            # A group chat has no threads: what is said there to nobody is said to nobody.
            if deliveries.kind_of(body) is Kind.CHANNEL and await self._service.follows(message.thread):
                await self._take(message)
            return
        command = await self._command(body, said)
        if command is None:
            await self._take(message)
            return
        if command == HOME:
            self._late.go_on(self._home(message.who))
            return
        asked = Command(message.who, message.thread, f"message:{deliveries.delivery_id(body)}", command)
        try:
            text = await self._service.on_command(asked)
        except Exception as error:  # noqa: BLE001 - the service is down; the person must hear of it
            log.error("A command was not taken: %s", type(error).__name__)
            text = NOT_TAKEN
        self._late.go_on(self._whisper(asked, text))

    async def _take(self, message: Incoming) -> None:
        """Returns when the service has it."""
        thread = message.thread
        if thread.room is Room.CHANNEL:
            # Guests stand in no activity: Teams is asked who reads along, for a while. In doubt they do.
            asked = self._late.go_on(self._surface.room(thread))
            await asyncio.wait({asked}, timeout=self._room_within_s)
            room = asked.result() if asked.done() and asked.exception() is None else Room.SHARED
            message = replace(message, thread=replace(thread, room=room))
        await self._service.on_message(message)

    async def _command(self, body: Body, said: Said) -> str | None:
        if command_of(said.command({})) is None:
            return None
        accounts = tuple(one.account for one in said.others if not one.person)
        people = await self._whereabouts.behind(deliveries.team_of(body), accounts) if accounts else {}
        return command_of(said.command(people))

    async def _home(self, who: ChatUser) -> None:
        try:
            home = await self._service.home(who)
        except Exception as error:  # noqa: BLE001 - the service is down; the person must hear of it
            log.error("Home was not read: %s", type(error).__name__)
            home = None
        try:
            await (self._surface.direct(who, NOT_TAKEN) if home is None else self._surface.show_home(who, home))
        except SurfaceError as error:
            log.warning("Home was not shown: %s", error)

    async def _whisper(self, asked: Command, text: str) -> None:
        if not text:
            return
        try:
            if asked.thread.room is Room.DM:
                await self._surface.say(asked.thread, text)
            else:
                await self._surface.whisper(asked.thread, asked.who, text)
        except SurfaceError as error:
            log.warning("A private answer did not arrive: %s", error)

    async def on_invoke_activity(self, turn_context: TurnContext) -> None:
        answer(turn_context, await self._invokes.answered(raw(turn_context)))
