"""Single sign-on in Teams: the card that asks for it, and what the client answers. Knows its words; proves nothing.

Teams gets the person's token from Entra by itself, in every client they have open, and sends it as an invoke. Where it
cannot, it shows the card's button, which leads to the link page: both end in the same link.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Final

from bot.identity.chat_signin import ChatSignIn
from bot.identity.refusals import Refused
from bot.messages import ChatUser
from bot.payload import Body, text_at
from bot.ports import Ask
from bot.teams import deliveries
from bot.teams.replies import Reply
from policy.model import Json

log = logging.getLogger(__name__)

CARD: Final = "application/vnd.microsoft.card.oauth"
CONNECTION: Final = "countersign"
"""A word that Teams echoes. No connection of the Bot Framework's token service: nobody else keeps people's tokens."""
CANCELLED: Final = "CancelledByUser"
DONE, FALL_BACK = 200, 412
MAX_ID = 128

_FAILURES: Final = frozenset({
    "installappfailed", "authrequestfailed", "installedappnotfound", "invokeerror", "resourcematchfailed",
    "oauthcardnotvalid", "tokenmissing", "userconsentrequired", "interactionrequired",
})  # fmt: skip
"""What Teams may say in `signin/failure`, as documented; anything else is not put into a log."""


@dataclass(frozen=True, slots=True)
class TeamsSignIn:
    """Implements `bot.teams.invokes.SignIn`."""

    chat: ChatSignIn
    resource: str
    """The Application ID URI, api://…"""
    base_url: str

    def attachment(self, who: ChatUser, asks: tuple[Ask, ...]) -> dict[str, Json] | None:
        """The card in place of the button of an invitation; None: these asks are none, or the button has to do.

        Only for `who`'s own conversation with the bot: Teams answers it there alone.
        """
        mine = [ask for ask in asks if ask.action == "open" and ask.held_id.startswith(f"{self.base_url}/link/")]
        if len(mine) != 1 or len(asks) != 1 or not self.chat.offers(who):
            return None
        address = mine[0].held_id
        exchange: dict[str, Json] = {"id": self.chat.exchange_of(address), "uri": self.resource}
        return {
            "contentType": CARD,
            "content": {
                "text": mine[0].label,
                "connectionName": CONNECTION,
                "tokenExchangeResource": exchange,
                "buttons": [{"type": "signin", "title": mine[0].label, "value": address}],
            },
        }

    async def answered(self, body: Body) -> Reply:
        """What a verified sign-in invoke is answered with. 412: Teams shows the card's button."""
        who = deliveries.sender(body)
        match text_at(body, "name"):
            case "signin/tokenExchange":
                return await self._exchange(who, body)
            case "signin/verifyState":
                # The page tells Teams no code. Its window was closed: did it come to a link before?
                over = text_at(body, "value", "state") == CANCELLED or await self.chat.linked(who)
                return Reply(DONE if over else FALL_BACK)
            case _:
                code = text_at(body, "value", "code")
                said = code if code in _FAILURES else "something that is not documented"
                log.warning("Teams could not sign somebody in by itself: %s", said)
                return Reply(DONE)

    async def _exchange(self, who: ChatUser, body: Body) -> Reply:
        exchange, token = text_at(body, "value", "id"), text_at(body, "value", "token")
        if not token or not 0 < len(exchange) <= MAX_ID:
            return _no(exchange, "not_ours")
        try:
            await self.chat.redeem(who, exchange, token)
        except Refused as no:
            return _no(exchange, no.why.value)
        return Reply(DONE, {"id": exchange, "connectionName": CONNECTION})


def _no(exchange: str, why: str) -> Reply:
    return Reply(FALL_BACK, {"id": exchange[:MAX_ID], "connectionName": CONNECTION, "failureDetail": why})
