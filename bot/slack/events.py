"""Slack's deliveries, over HTTP or Socket Mode, handed to `bot.ports.Service`. Knows Bolt; decides nothing.

What counts as taken: a delivery is acknowledged once the service has it (`Service.on_message` is durable then), so
that Slack delivers again what a crash lost. Deliveries that come twice are the service's to recognise, by their ids.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import Any, cast

from slack_bolt import BoltResponse
from slack_bolt.adapter.socket_mode.async_handler import AsyncSocketModeHandler
from slack_bolt.adapter.starlette.async_handler import to_starlette_response
from slack_bolt.async_app import AsyncAck, AsyncApp, AsyncBoltContext, AsyncBoltRequest, AsyncRespond
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from bot.messages import ChatUser, Room, Thread
from bot.payload import Body, at, text_at
from bot.ports import Posted, PressReply, Service, Standing, SurfaceError
from bot.slack import deliveries, modals
from bot.slack.blocks import ASK_AGAIN, ASKS, LINK, PRESS, THUMB
from bot.slack.calls import SDK_LOG, web_client
from bot.slack.deliveries import SLACK
from bot.slack.endpoint import PATH, SlackEndpoint
from bot.slack.gate import REMOVALS, Gate, known, workspace_of
from bot.slack.spoken import spoken
from bot.slack.standing import standing_of
from bot.slack.surface import SlackSurface
from bot.slack.workspaces import Workspace

log = logging.getLogger(__name__)

COMMAND = "/countersign"
EVENTS = ("app_home_opened", "app_mention", "app_uninstalled", "message", "tokens_revoked", "user_change")
"""Event types that are handled; manifest.yml subscribes to these and to nothing else."""

_ACK_AFTER_S = 2.0
"""Slack waits three seconds; what takes longer goes on after the acknowledgement."""
_ANY = re.compile("")

_NOT_TAKEN = "I could not take that down. Nothing was done. Please try again in a minute."
_NO_DIALOG = "The dialog could not be opened. Nothing was decided; press the button again."


class SlackEvents:
    """Listens to every workspace with the bot in it, for one service."""

    def __init__(
        self,
        service: Service,
        surface: SlackSurface,
        *,
        signing_secret: str | None = None,
        app_token: str | None = None,
    ) -> None:
        self._service = service
        self._surface = surface
        self._app_token = app_token
        self._socket: AsyncSocketModeHandler | None = None
        self._late: set[asyncio.Task[None]] = set()
        self._gate = Gate(surface)
        self._bolt = AsyncApp(
            # Bolt speaks with no token: calls go through the surface, each with its own workspace's.
            client=web_client(None, surface.api_url),
            # Always ours: with SLACK_CLIENT_ID in the environment Bolt would else look for installations in files.
            authorize=known,
            logger=SDK_LOG,
            # `SlackEndpoint` verifies, in front and more strictly; Socket Mode is authenticated by its connection.
            request_verification_enabled=False,
            ssl_check_enabled=False,
            # A listener's own acknowledgement answers the request, so work can be durable before it.
            process_before_response=True,
            before_authorize=self._gate.judge,
            attaching_function_token_enabled=False,
            attaching_conversation_kwargs_enabled=False,
        )
        self._listen()
        self._endpoint = SlackEndpoint(signing_secret, self._dispatch) if signing_secret else None

    def routes(self) -> list[Route]:
        """For the service's web application; empty without a signing secret."""
        return [Route(PATH, self._endpoint.handle, methods=["POST"])] if self._endpoint else []

    async def connect(self) -> None:
        """Opens the Socket Mode connection, which from then on reopens itself. Needs an app-level token."""
        if self._app_token is None:
            raise SurfaceError("Socket Mode needs SLACK_APP_TOKEN.")
        client = web_client(self._app_token, self._surface.api_url)
        self._socket = AsyncSocketModeHandler(self._bolt, self._app_token, logger=SDK_LOG, web_client=client)
        try:
            await self._socket.connect_async()  # type: ignore[no-untyped-call]
        except Exception as error:
            raise SurfaceError("Socket Mode could not be opened: check SLACK_APP_TOKEN and the network.") from error

    async def close(self) -> None:
        """Stops listening and waits for what was acknowledged before it was finished."""
        if self._socket is not None:
            await self._socket.close_async()  # type: ignore[no-untyped-call]
        if self._late:
            await asyncio.wait(self._late, timeout=10)
        await self._surface.workspaces.close()

    # --- in front of every delivery ------------------------------------------------------------------

    async def _dispatch(self, body: str, headers: Mapping[str, str]) -> Response:
        try:
            request = AsyncBoltRequest(body=body, headers=dict(headers))
            return to_starlette_response(await self._bolt.async_dispatch(request))
        except (AttributeError, LookupError, TypeError, ValueError) as error:
            # Bolt trips over shapes Slack never sends; faults of our listeners are answered inside it.
            log.warning("A delivery had a shape that is not Slack's: %s", type(error).__name__)
            return PlainTextResponse("The body is not what Slack sends.", status_code=400)

    def _listen(self) -> None:
        bolt = self._bolt
        bolt.event("message")(self._on_message)
        bolt.event("app_mention")(self._on_mention)
        bolt.event("app_home_opened")(self._on_home)
        bolt.event("user_change")(self._on_user_change)
        for name in REMOVALS:
            bolt.event(name)(self._on_removal)
        bolt.action(ASK_AGAIN)(self._on_ask_again)
        bolt.action(THUMB)(self._on_thumb)
        bolt.action(re.compile("^" + re.escape(LINK)))(self._on_link_answer)
        bolt.action(re.compile("^" + re.escape(ASKS)))(self._on_modal_button)
        bolt.action(re.compile("^" + re.escape(PRESS)))(self._on_press)
        bolt.view(modals.CALLBACK)(self._on_modal)
        bolt.command(COMMAND)(self._on_command)
        # Everything else is acknowledged in silence: Bolt would write whole unhandled requests to the log.
        bolt.event(_ANY)(_ignore)
        bolt.action(_ANY)(_ignore)
        bolt.view(_ANY)(_ignore)
        bolt.command(_ANY)(_ignore)
        bolt.shortcut(_ANY)(_ignore)
        bolt.options(_ANY)(_ignore)
        bolt.error(_on_error)

    # --- messages ------------------------------------------------------------------------------------

    async def _on_message(self, body: dict[str, Any], context: AsyncBoltContext) -> None:
        told, here = cast("Body", body), self._gate.here(workspace_of(context))
        message = deliveries.incoming(told, here)
        if message is None:
            return
        if not deliveries.is_dm(told):
            # A mention comes as `app_mention` too; other talk is ours only where the bot takes part.
            if deliveries.names_bot(told, here.bot_user) or not deliveries.is_reply(told):
                return
            if not await self._service.follows(message.thread):
                return
        await self._service.on_message(message)

    async def _on_mention(self, body: dict[str, Any], context: AsyncBoltContext) -> None:
        told = cast("Body", body)
        message = deliveries.incoming(told, self._gate.here(workspace_of(context)))
        if message is not None and not deliveries.is_dm(told):
            await self._service.on_message(message)

    async def _on_home(self, body: dict[str, Any], context: AsyncBoltContext) -> None:
        event = at(cast("Body", body), "event")
        if text_at(event, "tab") not in ("", "home"):
            return
        own = workspace_of(context)
        who = self._gate.here(own).account(text_at(event, "user"), own.team)
        try:
            await self._surface.show_home(who, await self._service.home(who))
        except SurfaceError as error:
            log.warning("App Home was not drawn: %s", error)

    async def _on_user_change(self, body: dict[str, Any], context: AsyncBoltContext) -> None:
        user = at(cast("Body", body), "event", "user")
        own = workspace_of(context)
        standing = standing_of(user, own.team, own.enterprise)
        if standing not in (Standing.MEMBER, Standing.UNKNOWN):
            who = self._gate.here(own).account(text_at(user, "id"), own.team)
            await self._service.on_account_changed(who, standing)

    async def _on_removal(self, body: dict[str, Any]) -> None:
        told = cast("Body", body)
        team = deliveries.installed_team(told)
        if team is not None:
            await self._surface.workspaces.removed(team, REMOVALS[text_at(told, "event", "type")])

    # --- buttons, modals, commands -------------------------------------------------------------------

    async def _on_press(
        self, ack: AsyncAck, body: dict[str, Any], respond: AsyncRespond, context: AsyncBoltContext
    ) -> None:
        told = cast("Body", body)
        verb = deliveries.verb_of(text_at(told, "actions", 0, "action_id"))
        if verb is None:
            await ack()
            return
        own = workspace_of(context)
        press = deliveries.press_of_button(told, self._gate.here(own), verb)
        await self._answered(ack, self._reply(own, told, respond, lambda: self._service.on_press(press)))

    async def _on_ask_again(
        self, ack: AsyncAck, body: dict[str, Any], respond: AsyncRespond, context: AsyncBoltContext
    ) -> None:
        told, own = cast("Body", body), workspace_of(context)
        again = deliveries.ask_again(told, self._gate.here(own))
        await self._answered(ack, self._reply(own, told, respond, lambda: self._service.on_ask_again(again)))

    async def _on_thumb(self, ack: AsyncAck, body: dict[str, Any], context: AsyncBoltContext) -> None:
        """Slack itself shows the thumb as given: there is nothing to answer."""
        thumb = deliveries.feedback(cast("Body", body), self._gate.here(workspace_of(context)))

        async def work() -> None:
            try:
                await self._service.on_feedback(thumb)
            except Exception as error:  # noqa: BLE001 - a thumb is no reason to fail a delivery
                log.error("A thumb was not taken: %s", type(error).__name__)

        await self._answered(ack, work())

    async def _on_link_answer(
        self, ack: AsyncAck, body: dict[str, Any], respond: AsyncRespond, context: AsyncBoltContext
    ) -> None:
        told, own = cast("Body", body), workspace_of(context)
        said = deliveries.link_answer(told, self._gate.here(own))
        await self._answered(ack, self._reply(own, told, respond, lambda: self._service.on_link_answer(said)))

    async def _on_modal_button(
        self, ack: AsyncAck, body: dict[str, Any], respond: AsyncRespond, context: AsyncBoltContext
    ) -> None:
        """The trigger lives three seconds: the dialog is opened before anything else."""
        told, own = cast("Body", body), workspace_of(context)
        verb = deliveries.verb_of(text_at(told, "actions", 0, "action_id"))
        if verb is not None:
            view = modals.modal(deliveries.routing(told, verb))
            args = {"trigger_id": text_at(told, "trigger_id"), "view": view}
            try:
                await asyncio.wait_for(own.calls.call("views.open", args), timeout=2.5)
            except (SurfaceError, TimeoutError) as error:
                log.warning("A dialog was not opened: %s", error)
                await self._tell(own, told, respond, _NO_DIALOG)
        await ack()

    async def _on_modal(self, ack: AsyncAck, body: dict[str, Any], context: AsyncBoltContext) -> None:
        told, own = cast("Body", body), workspace_of(context)
        routing = modals.routing_of(told)
        if routing is None:
            await ack()
            return
        complaint = modals.complaint(routing.verb, modals.text_of(told))
        if complaint is not None:
            await ack(response_action="errors", errors=modals.errors(complaint))
            return
        press = deliveries.press_of_modal(told, self._gate.here(own), routing)
        work = asyncio.create_task(self._service.on_press(press))
        await asyncio.wait({work}, timeout=_ACK_AFTER_S)
        if work.done() and work.exception() is not None:
            log.error("A press was not taken: %s", type(work.exception()).__name__)
            await ack(response_action="errors", errors=modals.errors(_NOT_TAKEN))
            return
        await ack()
        self._go_on(self._after_modal(own, press.who, routing, work))

    async def _after_modal(
        self, own: Workspace, who: ChatUser, routing: modals.Routing, work: asyncio.Task[PressReply]
    ) -> None:
        try:
            reply = await work
        except Exception as error:  # noqa: BLE001 - the service is down; the person must hear of it
            log.error("A press was not taken: %s", type(error).__name__)
            reply = PressReply(_NOT_TAKEN)
        await self._show(own.team, routing.channel, routing.message, reply)
        await self._whisper(own, who, routing.channel, reply.sentence)

    async def _on_command(
        self, ack: AsyncAck, body: dict[str, Any], respond: AsyncRespond, context: AsyncBoltContext
    ) -> None:
        told, own = cast("Body", body), workspace_of(context)
        room = await self._surface.room(own, text_at(told, "channel_id"))
        command = deliveries.command(told, self._gate.here(own), room)

        async def work() -> None:
            try:
                text = await self._service.on_command(command)
            except Exception as error:  # noqa: BLE001 - the service is down; the person must hear of it
                log.error("A command was not taken: %s", type(error).__name__)
                text = _NOT_TAKEN
            await self._tell(own, told, respond, text, who=command.who, channel=command.thread.channel)

        await self._answered(ack, work())

    # --- answering -----------------------------------------------------------------------------------

    async def _answered(self, ack: AsyncAck, work: Coroutine[Any, Any, None]) -> None:
        """Acknowledges when `work` is done, or goes on with it once Slack would not wait longer."""
        task = self._go_on(work)
        await asyncio.wait({task}, timeout=_ACK_AFTER_S)
        await ack()

    def _go_on(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._late.add(task)
        task.add_done_callback(self._late.discard)
        return task

    async def _reply(
        self, own: Workspace, told: Body, respond: AsyncRespond, press: Callable[[], Awaitable[PressReply]]
    ) -> None:
        try:
            reply = await press()
        except Exception as error:  # noqa: BLE001 - the service is down; the person must hear of it
            log.error("A press was not taken: %s", type(error).__name__)
            reply = PressReply(_NOT_TAKEN)
        channel, message = deliveries.place(told)
        await self._show(own.team, channel, message, reply)
        await self._tell(own, told, respond, reply.sentence)

    async def _show(self, team: str, channel: str, message: str, reply: PressReply) -> None:
        """The pressed card at once; the outbox draws every copy, and this one again if it fails here."""
        if reply.card is None or len(reply.card.items) > 1 or not message:
            return
        try:
            await self._surface.update(Posted(SLACK, team, channel, message), reply.card)
        except SurfaceError as error:
            log.info("A pressed card was not redrawn at once: %s", error)

    async def _tell(
        self,
        own: Workspace,
        told: Body,
        respond: AsyncRespond,
        text: str,
        who: ChatUser | None = None,
        channel: str = "",
    ) -> None:
        """Privately, through the delivery's own answer address, which needs no membership; else as a whisper."""
        if not text:
            return
        try:
            for sheet in spoken(text):
                sent = await respond(
                    text=sheet.text,
                    response_type="ephemeral",
                    replace_original=False,
                    unfurl_links=False,
                    unfurl_media=False,
                )
                if sent.status_code != 200:
                    break
            else:
                return
        except Exception as error:  # noqa: BLE001 - the SDK raises what its HTTP client raises
            log.info("An answer address did not answer: %s", type(error).__name__)
        who = who or deliveries.presser(told, self._gate.here(own))
        await self._whisper(own, who, channel or deliveries.place(told)[0], text)

    async def _whisper(self, own: Workspace, who: ChatUser, channel: str, text: str) -> None:
        if not text:
            return
        try:
            room = Room.DM if channel.startswith("D") else Room.CHANNEL
            await self._surface.whisper(Thread(SLACK, own.team, channel, channel, room), who, text)
        except SurfaceError as error:
            log.warning("A private answer did not arrive: %s", error)


async def _ignore(ack: AsyncAck) -> None:
    await ack()


async def _on_error(error: Exception) -> BoltResponse:
    """The kind of fault alone: its text can hold what people wrote (invariant 11). Slack delivers again."""
    log.error("A delivery was not taken: %s", type(error).__name__)
    return BoltResponse(status=500, body="Not taken. Deliver it again.")
