"""Teams' deliveries over HTTP, at ``/api/messages``: who may be heard at all. Knows tokens, tenants and standings.

Reads of an activity only what it must to let it through; what it means is `bot.teams.activities`' business. A
request without a good token is refused before its body is read.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Final, cast

from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from bot.identity.issuer_blocks import GUID
from bot.identity.jose import JoseRefused, json_object
from bot.identity.signed_token import TokenReason
from bot.messages import ChatUser
from bot.payload import Body, at
from bot.ports import Standing, SurfaceError
from bot.teams.deliveries import of_nobody, sender, thread_of
from bot.teams.met import meeting
from bot.teams.verify import ConnectorTokens, NotTheConnector
from policy.model import Json, TenantId

log = logging.getLogger(__name__)

PATH: Final = "/api/messages"
MAX_BODY: Final = 1_000_000
"""Teams cuts a message at about 100 kB; what a card's inputs hold comes to less."""
MAX_ID: Final = 512

ASK_S: Final = 8.0
ASK_FOR_INVOKE_S: Final = 2.0
"""How long Teams may take to say who a sender is: it gives up on a message after 15 s, on an invoke after 5."""

_HEARD: Final = frozenset({Standing.MEMBER, Standing.UNKNOWN})
"""Where Teams does not answer, the service refuses in words (invariant 13), as it does in every chat."""
_READ_HERE: Final = (
    (),
    ("from",),
    ("conversation",),
    ("recipient",),
    ("channelData",),
    ("channelData", "tenant"),
)
_NEEDED: Final = (("type",), ("channelId",), ("serviceUrl",), ("conversation", "id"))
_OPTIONAL: Final = (("id",), ("replyToId",), ("name",), ("from", "id"), ("recipient", "id"))
_QUIET: Final = frozenset(TokenReason) - {TokenReason.AUD, TokenReason.ISS, TokenReason.EXPIRED, TokenReason.NOT_YET}
"""What anybody on the internet can send: not worth a warning each."""


class _TurnedDown(Exception):
    """The delivery goes no further. `str(e)` is the answer's text."""

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status


class Endpoint:
    """Lets an activity through to `deliver` once it is Teams', of one tenant, and of somebody who belongs there.

    `standing` asks Teams about the sender of an activity; `turned_away` writes down who was refused and why.
    """

    def __init__(
        self,
        tokens: ConnectorTokens,
        tenant_of: Callable[[str], TenantId | None],
        standing: Callable[[ChatUser, Body], Awaitable[Standing]],
        turned_away: Callable[[ChatUser, Standing, str | None], Awaitable[None]],
        deliver: Callable[[Body], Awaitable[Response]],
    ) -> None:
        self._tokens = tokens
        self._tenant_of = tenant_of
        self._standing = standing
        self._turned_away = turned_away
        self._deliver = deliver

    def routes(self) -> list[Route]:
        return [Route(PATH, self.handle, methods=["POST"])]

    async def handle(self, request: Request) -> Response:
        try:
            caller = await self._tokens.caller(request.headers.getlist("authorization"))
            body = _parsed(await _body(request))
            self._tokens.vouch(caller, body)
            self._served(_team(body))
            if of_nobody(body):
                return await self._deliver(body)
            who, standing = await self._judge(body)
        except NotTheConnector as refused:
            log.log(logging.INFO if refused.reason in _QUIET else logging.WARNING, "Refused: %s", refused.reason)
            return _no(refused.status, str(refused))
        except _TurnedDown as refused:
            log.warning("Refused: %s", refused)
            return _no(refused.status, str(refused))
        with meeting(who, standing):
            return await self._deliver(body)

    def _served(self, team: str) -> None:
        if self._tenant_of(team) is None:
            raise _TurnedDown(403, "That organisation is not served here.")

    async def _judge(self, body: Body) -> tuple[ChatUser, Standing]:
        """Who sent it, if they may be heard; else a row says who was not."""
        account, who = at(body, "from", "aadObjectId"), sender(body)
        if isinstance(account, str) and GUID.fullmatch(account.lower()):
            standing = await self._ask(who, body)
        elif account in (None, "") and at(body, "from", "id"):
            standing = Standing.STRANGER  # somebody without an account in Entra: Skype, a phone, another bot
        else:
            raise _TurnedDown(400, "The activity has no sender, or not in the form Teams gives.")
        if standing not in _HEARD:
            await self._turned_away(who, standing, thread_of(body).session_id)
            raise _TurnedDown(403, f"Only members of the organisation are heard; the sender is: {standing.value}.")
        return who, standing

    async def _ask(self, who: ChatUser, body: Body) -> Standing:
        try:
            async with asyncio.timeout(ASK_FOR_INVOKE_S if body["type"] == "invoke" else ASK_S):
                return await self._standing(who, body)
        except TimeoutError:
            log.warning("Teams took too long to say who a sender is")
        except SurfaceError as error:
            log.warning("Teams could not be asked about a sender: %s", error)
        return Standing.UNKNOWN


async def _body(request: Request) -> bytes:
    """The whole body. Stops reading where it is longer than anything Teams sends."""
    taken = bytearray()
    try:
        async for piece in request.stream():
            taken += piece
            if len(taken) > MAX_BODY:
                raise _TurnedDown(413, "The request is too long.")
    except ClientDisconnect:
        return b""
    return bytes(taken)


def _parsed(raw: bytes) -> Body:
    """One JSON object that every reader reads the same way: the SDK matches names whatever their case."""
    try:
        body = cast("Body", json_object(raw))
        json.dumps(body, allow_nan=False)  # 1e999 is a number to the parser, and infinite
    except (JoseRefused, ValueError) as error:
        raise _TurnedDown(400, "The body is not what Teams sends.") from error
    for path in _READ_HERE:
        box = at(body, *path)
        if isinstance(box, Mapping) and len({name.lower() for name in box}) != len(box):
            raise _TurnedDown(400, "The body says something twice.")
    if not all(_is_id(at(body, *path)) for path in _NEEDED) or not all(
        at(body, *path) in (None, "") or _is_id(at(body, *path)) for path in _OPTIONAL
    ):
        raise _TurnedDown(400, "The body is not an activity.")
    return body


def _is_id(value: Json) -> bool:
    """A word that means the same to every reader: no NUL that one of them would drop, not endless."""
    return isinstance(value, str) and 0 < len(value) <= MAX_ID and value.isprintable()


def _team(body: Body) -> str:
    """The Entra tenant the activity is of, in whichever of two places Teams says so (invariant 14).

    Two kinds of activity may lack one of them: a thumb (``message/submitAction``) comes from the Playground without
    channelData's, and Microsoft's own examples of conversationUpdate have no conversation.tenantId.
    """
    told, where = at(body, "channelData", "tenant", "id"), at(body, "conversation", "tenantId")
    if told is None and (body["type"], body.get("name")) == ("invoke", "message/submitAction"):
        told = where
    if where is None and body["type"] == "conversationUpdate":
        where = told
    if not isinstance(told, str) or not isinstance(where, str) or told.lower() != where.lower():
        raise _TurnedDown(403, "The activity does not say which organisation it is of, or says two.")
    return told.lower()


def _no(status: int, sentence: str) -> Response:
    return PlainTextResponse(sentence, status, {"WWW-Authenticate": "Bearer"} if status == 401 else None)
