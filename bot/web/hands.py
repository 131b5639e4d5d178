"""What a visitor does on the page, turned into Incoming, Press, AskAgain and Command. Knows forms; decides nothing."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Awaitable, Callable, Mapping
from typing import Final, TypeAlias, TypeVar
from urllib.parse import parse_qs

from starlette.requests import Request

from audit.faults import StoreUnavailable
from bot.messages import AskAgain, Command, Feedback, Incoming, LinkAnswer, Press, Room
from bot.ports import Posted, PressReply, Service, SurfaceError
from bot.web.chatlog import BOT, Line, LineKind
from bot.web.surface import DemoSurface
from bot.web.view import View
from bot.web.workspace import BOT_NAME, DEMO, TEAM
from policy.approval import Verb

log = logging.getLogger(__name__)

MAX_BODY: Final = 256 * 1024
MAX_TEXT: Final = 20_000
"""Characters of one message or reason."""
COMMAND: Final = "/countersign"
_MENTION: Final = f"@{BOT_NAME}".lower()
_FORM: Final = "application/x-www-form-urlencoded"

T = TypeVar("T")
Form: TypeAlias = Mapping[str, str]


class Refusal(Exception):
    """The page does not pass this on. `str(e)` says why, to the person at the keyboard."""

    def __init__(self, sentence: str, status: int = 422) -> None:
        super().__init__(sentence)
        self.status = status


Hand: TypeAlias = Callable[[View, Form], Awaitable[str]]
"""Does one thing for a viewer; returns what to tell them, empty for nothing. Raises `Refusal`."""


async def read_form(request: Request) -> Form:
    """The fields of a posted form, each once.

    Raises:
        Refusal: too long, or not a form.
    """
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY:
            raise Refusal("That is too long for the demo. Nothing was sent; shorten it and try again.", 413)
    if not body:
        return {}
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != _FORM:
        raise Refusal("The page sent something that is not a form. Nothing was done; reload the page.", 415)
    try:
        fields = parse_qs(body.decode("ascii", "replace"), keep_blank_values=True, max_num_fields=32)
    except ValueError as error:
        raise Refusal("The page sent a form that cannot be read. Nothing was done; reload the page.", 400) from error
    # NUL cannot be stored by PostgreSQL, and nobody types it.
    return {name: values[-1].replace("\x00", "") for name, values in fields.items()}


class Hands:
    """Hands on what people do, as a chat platform's events would."""

    def __init__(self, service: Service, surface: DemoSurface) -> None:
        self._service = service
        self._surface = surface

    async def say(self, view: View, form: Form) -> str:
        """A message, or a command typed as one."""
        text = _text(form, "There is nothing to send yet. Write a message first.")
        if text.split(maxsplit=1)[0].lower() == COMMAND:
            return await self._command(view, text)
        root = await self._root(view, form)
        try:
            line = await self._surface.hear(Line(LineKind.SAID, view.place.channel, view.member.user, text, root=root))
        except SurfaceError as error:
            raise Refusal(str(error), 503) from error
        thread = view.place.thread(root or str(line.id))
        addressed = text
        if view.place.room is not Room.DM:
            stripped = _without_mention(addressed)
            if stripped == addressed and not await self._service.follows(thread):
                return ""
            addressed = stripped or addressed
        incoming = Incoming(view.member.account, thread, str(line.id), f"demo-{line.id}", addressed)
        await self._handed_on(self._service.on_message(incoming))
        return ""

    async def press(self, view: View, form: Form) -> str:
        """A button on a card. What the form says is passed on as pressed: the door judges it."""
        line = await self._line(view, form)
        verb = _verb(form)
        held_id = _field(form, "held_id")
        item = next((item for item in (line.card.items if line.card else ()) if item.held_id == held_id), None)
        if item is None:
            raise Refusal("That card does not hold this request. Nothing was done; reload the page.", 404)
        text = _clean(form)
        asked = next((button.asks_text for button in item.buttons if button.verb is verb), None)
        if asked is not None and not text:
            raise Refusal(f"{asked} Please write a sentence; nothing was done yet.")
        press = Press(
            view.member.account, f"demo-{uuid.uuid4()}", held_id, _revision(form), _field(form, "digest"), verb, text
        )
        reply = await self._handed_on(self._service.on_press(press))
        if reply.card is not None:
            await self._redraw(line, reply)
        self._surface.hub.wake()
        return reply.sentence

    async def ask(self, view: View, form: Form) -> str:
        """A button below a plain message of the bot."""
        line = await self._line(view, form)
        held_id = _field(form, "held_id")
        asks = [ask for ask in line.asks if ask.held_id == held_id and ask.action == _field(form, "action")]
        if not asks:
            raise Refusal("That button is no longer there. Nothing was done; reload the page.", 404)
        press_id = f"demo-{uuid.uuid4()}"
        if asks[0].action == "withdraw":
            press = Press(view.member.account, press_id, held_id, asks[0].revision, asks[0].digest, Verb.WITHDRAW)
            reply = await self._handed_on(self._service.on_press(press))
        elif asks[0].action in ("link_yes", "link_no"):
            answer = LinkAnswer(view.member.account, press_id, held_id, asks[0].action == "link_yes")
            reply = await self._handed_on(self._service.on_link_answer(answer))
            # Kept where it was asked, not in a notice that is gone at the next click: there may be a code in it.
            told = Line(LineKind.SAID, view.place.channel, BOT, reply.sentence, only_for=view.member.user)
            await self._surface.hear(told)
            return ""
        else:
            reply = await self._handed_on(self._service.on_ask_again(AskAgain(view.member.account, press_id, held_id)))
        self._surface.hub.wake()
        return reply.sentence

    async def rate(self, view: View, form: Form) -> str:
        """A thumb below an answer."""
        line, thumb = await self._line(view, form), _field(form, "thumb")
        if line.answer is None or thumb not in ("good", "bad"):
            raise Refusal("That is no answer to rate. Nothing was done; reload the page.", 404)
        thread = view.place.thread(line.root or str(line.id))
        rated = Feedback(view.member.account, thread, f"demo-{uuid.uuid4()}", str(line.id), good=thumb == "good")
        await self._handed_on(self._service.on_feedback(rated))
        return "Thank you, that is noted. It changes nothing that was said or done."

    async def new(self, view: View, _form: Form) -> str:
        """A new conversation in the DM: what was said before is not the next answer's business."""
        if view.place.room is Room.DM:
            await self._surface.hear(Line(LineKind.BREAK, view.place.channel, view.member.user))
        return ""

    async def _command(self, view: View, text: str) -> str:
        words = text.split(maxsplit=1)
        thread = view.place.thread(await self._surface.log.last_break(view.place.channel) or view.place.channel)
        mine = Line(LineKind.SAID, view.place.channel, view.member.user, text, only_for=view.member.user)
        await self._surface.hear(mine)
        command = Command(
            view.member.account, thread, f"demo-{uuid.uuid4()}", words[1].strip() if len(words) > 1 else ""
        )
        answer = await self._handed_on(self._service.on_command(command))
        await self._surface.hear(Line(LineKind.SAID, view.place.channel, BOT, answer, only_for=view.member.user))
        return ""

    async def _root(self, view: View, form: Form) -> str | None:
        """The thread a message belongs to; None: it starts one."""
        if view.place.room is Room.DM:
            return await self._surface.log.last_break(view.place.channel) or view.place.channel
        reply = form.get("reply", "")
        if not reply:
            return None
        root = await self._surface.log.line(int(reply)) if reply.isdecimal() and len(reply) < 16 else None
        if root is None or root.channel != view.place.channel:
            raise Refusal("That thread is not in this room. Nothing was sent.", 404)
        return str(root.id)

    async def _line(self, view: View, form: Form) -> Line:
        """The line a button stands on, if this viewer can see it."""
        message_id = _field(form, "message_id")
        line = (
            await self._surface.log.line(int(message_id)) if message_id.isdecimal() and len(message_id) < 16 else None
        )
        if line is None or line.channel != view.place.channel or line.only_for not in (None, view.member.user):
            raise Refusal("That message is not in this room. Nothing was done; reload the page.", 404)
        return line

    async def _redraw(self, line: Line, reply: PressReply) -> None:
        if reply.card is None:
            return
        try:
            await self._surface.update(Posted(DEMO, TEAM, line.channel, str(line.id)), reply.card)
        except SurfaceError:  # what was decided stands; the outbox draws the card again
            log.warning("the card of message %s could not be drawn anew", line.id)

    async def _handed_on(self, work: Awaitable[T]) -> T:
        try:
            return await work
        except (StoreUnavailable, SurfaceError) as error:
            raise Refusal(str(error), 503) from error
        except Exception as error:  # the person must hear that it did not arrive; the log says why
            log.exception("the service did not take what a demo visitor did")
            raise Refusal(
                "Countersign could not take that, so nothing was done. The log says why; try again.", 500
            ) from error


def _without_mention(text: str) -> str:
    """`text` without the bot's mention; unchanged if it is not mentioned."""
    at = text.lower().find(_MENTION)
    if at < 0:
        return text
    return (text[:at].rstrip() + " " + text[at + len(_MENTION) :].lstrip(" ,:")).strip()


def _text(form: Form, empty: str) -> str:
    text = _clean(form)
    if not text:
        raise Refusal(empty)
    return text


def _clean(form: Form) -> str:
    text = form.get("text", "").replace("\r\n", "\n").strip()
    if len(text) > MAX_TEXT:
        raise Refusal(f"That is longer than {MAX_TEXT:,} characters. Nothing was sent; shorten it and try again.", 413)
    return text


def _field(form: Form, name: str) -> str:
    value = form.get(name, "")
    if not value:
        raise Refusal("The page sent a form that cannot be read. Nothing was done; reload the page.", 400)
    return value


def _verb(form: Form) -> Verb:
    try:
        return Verb(_field(form, "verb"))
    except ValueError as error:
        raise Refusal("The page knows no such button. Nothing was done; reload the page.", 400) from error


def _revision(form: Form) -> int:
    value = _field(form, "revision")
    if not value.isdecimal() or len(value) > 9:
        raise Refusal("The page sent a form that cannot be read. Nothing was done; reload the page.", 400)
    return int(value)
