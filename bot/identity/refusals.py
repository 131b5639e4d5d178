"""Why a link or a sign-in was refused: the word for the audit, the words for people. Decides nothing.

Each refusal is one audit row, up to a rate: links and callbacks can be opened by anybody, as often as they like.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Final, assert_never

from audit.event import Event, Json, Kind
from bot.identity.tickets import Ticket, TicketEnd
from policy.model import TenantId

ROWS_A_MINUTE: Final = 20
"""Of one reason (and word, of a token) in one tenant, by one process; the rest is told with the next minute's first."""


class Why(StrEnum):
    """Closed: the audit stores these words."""

    LINK_UNKNOWN = "link_unknown"
    LINK_EXPIRED = "link_expired"
    LINK_REPLAYED = "link_replayed"
    LINK_REPLACED = "link_replaced"
    LINK_ENDED = "link_ended"
    OTHER_CHAT_USER = "other_chat_user"
    """The link of one chat account was opened by the holder of another."""
    OTHER_CHAT_TEAM = "other_chat_team"
    TEAM_MOVED = "team_moved"
    """The chat team is no longer of the organisation that the link was made for."""
    NO_FLOW = "no_flow"
    """This browser started nothing, or too long ago."""
    STATE = "state_mismatch"
    """The IdP's answer belongs to another browser's sign-in."""
    FORGED = "forged_form"
    IDP_DENIED = "idp_denied"
    IDP_ERROR = "idp_error"
    IDP_UNREACHABLE = "idp_unreachable"
    ISSUER = "issuer_mismatch"
    ID_TOKEN = "id_token"
    NOT_IN_DIRECTORY = "not_in_directory"
    INACTIVE = "inactive"
    LINKED_TO_OTHER = "linked_to_other"
    DECLINED_ON_PAGE = "declined_on_page"
    DECLINED_IN_CHAT = "declined_in_chat"
    CHAT_SILENT = "chat_silent"
    QUESTION_OVER = "question_over"
    WRONG_CODE = "wrong_code"
    LOGOUT_TOKEN = "logout_token"
    """A back-channel logout that does not hold, or was used before."""
    RACED = "raced"
    """Another request of the same browser, or another browser with the same link, was first."""


class Refused(Exception):
    """Nothing was bound and nobody signed in. `title` and `str(e)` are for people."""

    def __init__(
        self,
        why: Why,
        title: str,
        sentence: str,
        *,
        tenant: TenantId | None = None,
        status: int = 403,
        detail: Mapping[str, Json] | None = None,
    ) -> None:
        super().__init__(sentence)
        self.why = why
        self.title = title
        self.tenant = tenant
        self.status = status
        self.detail = detail or {}

    def about(self, tenant: TenantId, detail: Mapping[str, Json]) -> Refused:
        """The same refusal, with what else is known of it for the audit."""
        return Refused(
            self.why, self.title, str(self), tenant=tenant, status=self.status, detail={**detail, **self.detail}
        )


@dataclass(slots=True)
class _Count:
    minute: datetime
    rows: int = 0
    left_out: int = 0


@dataclass(slots=True)
class Ration:
    """Turns refusals into audit rows, so many a minute and no more."""

    _counts: dict[tuple[TenantId | None, Why, Json], _Count] = field(default_factory=dict)

    def event(self, refused: Refused, now: datetime, subject: str | None = None) -> Event | None:
        """The row; None: there were too many of them in this minute, and the next row will say how many."""
        minute = now.replace(second=0, microsecond=0)
        # A token's word is one of a closed set: a flood of one kind of forgery hides no other.
        kind = refused.tenant, refused.why, refused.detail.get("token")
        count = self._counts.setdefault(kind, _Count(minute))
        if count.minute != minute:
            count.minute, count.rows = minute, 0
        if count.rows >= ROWS_A_MINUTE:
            count.left_out += 1
            return None
        count.rows += 1
        detail = dict(refused.detail)
        if count.left_out:
            detail["not_written_before"], count.left_out = count.left_out, 0
        return Event(
            Kind.IDENTITY_REFUSED, refused.tenant, now, refused.why.value, actor_user_id=subject, detail=detail
        )


_ASK: Final = "Write /countersign link to Countersign in your own chat to get a link of your own."

_SAID: Final[Mapping[Why, tuple[str, str, int]]] = {
    Why.LINK_UNKNOWN: (
        "This link is not known",
        f"Countersign made no such link, or long ago. Nothing was linked. {_ASK}",
        404,
    ),
    Why.LINK_EXPIRED: (
        "This link has expired",
        f"A link counts for ten minutes. Nothing was linked. {_ASK}",
        410,
    ),
    Why.LINK_REPLAYED: (
        "This link was used already",
        f"A link counts once. Nothing was linked now. If it was not you who used it, tell an admin. {_ASK}",
        410,
    ),
    Why.LINK_REPLACED: (
        "There is a newer link",
        "Since this link was made, the same chat account asked for another one, and only the newest counts. Nothing "
        "was linked. Open the newest link in your chat.",
        410,
    ),
    Why.LINK_ENDED: (
        "This link is over",
        f"Somebody else opened it, its owner said no, or an admin ended it. Nothing was linked. {_ASK}",
        410,
    ),
    Why.OTHER_CHAT_USER: (
        "This link is somebody else's",
        "It was made for another chat account than the one you are signed in to. Nothing was linked, the link is "
        "over, and its owner was told. If somebody sent it to you, they would have got to act as you: tell an admin. "
        f"{_ASK}",
        403,
    ),
    Why.OTHER_CHAT_TEAM: (
        "This link is of another workspace",
        "You are signed in to another chat workspace than the one the link was made in. Nothing was linked, and the "
        "link is over. If you are in both, sign in to the right one and get a new link there. If somebody sent you "
        "the link, tell an admin.",
        403,
    ),
    Why.TEAM_MOVED: (
        "This chat team is not connected",
        "The chat team the link was made in does not belong to that organisation any more. Nothing was linked. Ask "
        "an admin which organisation the team belongs to.",
        403,
    ),
    Why.NO_FLOW: (
        "This browser started nothing here",
        "There is no sign-in under way in this browser, or it took longer than twenty minutes. Nothing was linked "
        "and nobody was signed in. If you began in another browser, go on there; else open the link from your chat "
        "again, or start the sign-in anew. If you did not begin anything, close this page.",
        403,
    ),
    Why.STATE: (
        "This answer belongs to another sign-in",
        "The address that was opened is the end of a sign-in that this browser did not begin. Nothing was linked and "
        "nobody was signed in. If you began, start again from the beginning and use one tab. If somebody sent you "
        "the address, close this page and tell an admin.",
        403,
    ),
    Why.FORGED: (
        "Refused",
        "That form did not come from this page, so nothing was done. Start again from the link in your chat.",
        403,
    ),
    Why.IDP_DENIED: (
        "The sign-in was not allowed",
        "The sign-in service says that access was denied: it was cancelled there, or you are not assigned to "
        "Countersign. Nothing was linked and nobody was signed in. Try again, or ask the people who run your "
        "company's sign-in to assign you to the app Countersign.",
        403,
    ),
    Why.IDP_ERROR: (
        "The sign-in service gave an error",
        "It sent no sign-in back. Nothing was linked and nobody was signed in. Start again; if it happens twice, tell "
        "an admin.",
        502,
    ),
    Why.NOT_IN_DIRECTORY: (
        "Your company has not sent you to Countersign yet",
        "You signed in, but your company's directory has not told Countersign about you. Nothing was linked and you "
        "were not signed in here. Ask the people who run your company's sign-in to assign you to the app "
        "Countersign (provisioning included), then try again.",
        403,
    ),
    Why.INACTIVE: (
        "Your account is not active",
        "Your company's directory says that you have left or are suspended. Nothing was linked and you were not "
        "signed in. If that is wrong, ask the people who run the directory.",
        403,
    ),
    Why.LINKED_TO_OTHER: (
        "This chat account is somebody else's already",
        "It is linked to another person of your organisation. Nothing was changed. If it is yours, ask an admin to "
        "unlink it first (/countersign unlink), then try again.",
        409,
    ),
    Why.DECLINED_ON_PAGE: (
        "Nothing was linked",
        "You said that these two are not both yours. The link is over. If somebody sent it to you, tell an admin: "
        "they would have got to act as you.",
        200,
    ),
    Why.DECLINED_IN_CHAT: (
        "The chat account said no",
        "Whoever holds the chat account answered that it was not them. Nothing was linked. If that was a slip, get a "
        "new link in your chat.",
        403,
    ),
    Why.CHAT_SILENT: (
        "The chat could not be reached",
        "Countersign could not send its question to the chat account. Nothing was linked. Try again in a few minutes "
        "with a new link.",
        502,
    ),
    Why.QUESTION_OVER: (
        "This question is over",
        f"It waited longer than ten minutes, was answered with no, or too many codes were wrong. Nothing was linked. "
        f"{_ASK}",
        410,
    ),
    Why.WRONG_CODE: (
        "That is not the code",
        "Nothing was linked yet. Type the code exactly as Countersign told it to you in your chat.",
        403,
    ),
    Why.RACED: (
        "This was answered already",
        "The same step was done in another tab or browser a moment before. Nothing was done twice. Go on there, or "
        "start again from the link in your chat.",
        409,
    ),
}


def refused(why: Why, tenant: TenantId | None = None, detail: Mapping[str, Json] | None = None) -> Refused:
    """The refusal in the words of this house."""
    title, sentence, status = _SAID[why]
    return Refused(why, title, sentence, tenant=tenant, status=status, detail=detail)


def over(ticket: Ticket) -> Why:
    """Why a link that was opened counts no more."""
    match ticket.ended:
        case None:
            return Why.LINK_EXPIRED
        case TicketEnd.USED:
            return Why.LINK_REPLAYED
        case TicketEnd.REPLACED:
            return Why.LINK_REPLACED
        case TicketEnd.REFUSED | TicketEnd.UNLINKED | TicketEnd.LEFT:
            return Why.LINK_ENDED
        case _:
            assert_never(ticket.ended)
