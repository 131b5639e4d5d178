"""`/requests`: what waits for me, what I asked for, and the buttons. Knows forms; decides nothing.

A press carries what the page displayed (revision and digest) and goes where a chat's press goes: to the service, whose
door judges it and writes its row.
"""

from __future__ import annotations

import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, TypeAlias

from sqlalchemy.engine import Connection
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from audit.canonical import clean_text
from bot.messages import AskAgain, Press
from bot.ports import Service
from bot.web import office_board
from bot.web.browser import Form
from bot.web.office_paper import asks_in_part, nobody_here, nothing_here, page, part
from bot.web.office_visitor import Reception, Visitor
from policy.approval import Verb

HERE: Final = "/requests"
MAX_TEXT: Final = 2_500
"""Characters of a reason or a question; what fits into a form however it is encoded."""
MAX_ID: Final = 200
ASKS: Final = {
    Verb.REJECT: "Say why you reject it; the requester is told. Nothing was done yet.",
    Verb.ASK: "Write what you want to know. Nothing was sent yet.",
}


Hand: TypeAlias = Callable[[Visitor, str, Form], Awaitable[str]]
"""Does one thing to one request; returns what to tell whoever did it. Raises `Unclear`."""


class Unclear(Exception):
    """The form says nothing that could be done. `str(e)` is for the person at the keyboard."""


@dataclass(frozen=True, slots=True)
class RequestPages:
    reception: Reception
    service: Service

    async def board(self, request: Request) -> Response:
        visitor = await self.reception.visitor(request)
        if visitor is None:
            return self.reception.browsers.to_signin(request)
        return page("requests.html", visitor, HERE, board=await self._board(visitor), notice="", refused=False)

    async def one(self, request: Request) -> Response:
        visitor = await self.reception.visitor(request)
        if visitor is None:
            return self.reception.browsers.to_signin(request)
        found = await self._one(visitor, _held_id(request))
        if found is None:
            return nothing_here()
        return page("request.html", visitor, HERE, one=found, notice="", refused=False)

    async def live(self, request: Request) -> Response:
        """The part that changes, if it has. Asked every few seconds, by the page and not by its reader."""
        signed = await self.reception.browsers.signed_in(request, touch=False)
        if signed is None:
            return nobody_here(request, self.reception.browsers.to_signin(request))
        known = request.query_params.get("mark", "")
        here = await self.reception.parts.writer.read(lambda conn: office_board.mark(conn, signed.tenant))
        if known == here:
            return Response(status_code=204)
        visitor = await self.reception.known(signed)
        drawn = await self._drawn(visitor, _held_id(request) if "held_id" in request.path_params else None)
        return nothing_here() if drawn is None else HTMLResponse(drawn)

    async def press(self, request: Request) -> Response:
        """Approve, reject, ask, withdraw."""
        return await self._act(request, self._press)

    async def again(self, request: Request) -> Response:
        """The requester wants what has ended held anew."""
        return await self._act(request, self._again)

    async def _act(self, request: Request, hand: Hand) -> Response:
        visitor = await self.reception.visitor(request)
        if visitor is None:
            # A page of somebody else's could not have done more, had there been a session.
            await self.reception.browsers.site.form(request)
            return nobody_here(request, self.reception.browsers.to_signin(request))
        form = await self.reception.browsers.form(request, visitor.signed)
        held_id = _held_id(request)
        status, refused = 200, False
        try:
            sentence = await hand(visitor, held_id, form)
        except Unclear as error:
            sentence, status, refused = str(error), 422, True
        else:
            view = await self.reception.parts.gateway.view(visitor.tenant, held_id)
            status = 404 if view is None else 200
        return await self._answered(request, visitor, held_id, form, sentence, status, refused)

    async def _press(self, visitor: Visitor, held_id: str, form: Form) -> str:
        try:
            verb, revision = Verb(form.get("verb", "")), int(form.get("revision", ""))
        except ValueError:
            raise Unclear("That button does not exist. Nothing was done; reload the page.") from None
        text = form.get("text", "").strip()[:MAX_TEXT]
        if verb in ASKS and not text:
            raise Unclear(ASKS[verb])
        press = Press(
            who=visitor.signed.account,
            press_id=f"web-{uuid.uuid4()}",
            held_id=held_id,
            revision=min(max(revision, 0), 2**31 - 1),
            digest=form.get("digest", ""),
            verb=verb,
            text=text,
        )
        return (await self.service.on_press(press)).sentence

    async def _again(self, visitor: Visitor, held_id: str, _form: Form) -> str:
        again = AskAgain(visitor.signed.account, f"web-{uuid.uuid4()}", held_id)
        return (await self.service.on_ask_again(again)).sentence

    async def _answered(
        self, request: Request, visitor: Visitor, held_id: str, form: Form, sentence: str, status: int, refused: bool
    ) -> Response:
        """What came of it, and the page as it is now: read after the decision, never before."""
        refused = refused or status != 200
        alone = form.get("on") == "one"
        if not asks_in_part(request):
            return await self._whole(visitor, held_id if alone else None, sentence, status, refused)
        drawn = await self._drawn(visitor, held_id if alone else None)
        html = part("said.html", notice=sentence, refused=refused, drawn=drawn)
        return HTMLResponse(html, status_code=status)

    async def _whole(
        self, visitor: Visitor, held_id: str | None, sentence: str, status: int, refused: bool
    ) -> Response:
        if held_id is None:
            shown = await self._board(visitor)
            return page("requests.html", visitor, HERE, status, board=shown, notice=sentence, refused=refused)
        found = await self._one(visitor, held_id)
        if found is None:
            return nothing_here()
        return page("request.html", visitor, HERE, status, one=found, notice=sentence, refused=refused)

    async def _drawn(self, visitor: Visitor, held_id: str | None) -> str | None:
        if held_id is None:
            return part("board.html", visitor=visitor, board=await self._board(visitor))
        found = await self._one(visitor, held_id)
        return None if found is None else part("one.html", visitor=visitor, one=found)

    async def _board(self, visitor: Visitor) -> office_board.Board | None:
        """None: nothing may be shown to them now; `visitor.refusal` says why."""
        who, parts = visitor.principal, self.reception.parts
        if who is None:
            return None
        return await parts.writer.read(lambda conn: office_board.board(conn, parts, who))

    async def _one(self, visitor: Visitor, held_id: str) -> office_board.One | None:
        who = visitor.principal
        if who is None:
            return None

        def unit(conn: Connection) -> office_board.One | None:
            return office_board.one(conn, who, held_id)

        return await self.reception.parts.writer.read(unit)


def _held_id(request: Request) -> str:
    """As both databases can compare it: whatever stands in an address was typed by somebody."""
    return clean_text(str(request.path_params["held_id"])).replace("\x00", "")[:MAX_ID]
