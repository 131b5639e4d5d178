"""What the Bot Connector says when it does not do something, in words for people. Pure.

Its codes are those of https://learn.microsoft.com/microsoftteams/platform/bots/build-conversational-capability
#status-codes-from-agent-conversational-apis. Its own messages are passed on to nobody: they can hold what was sent.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from bot.payload import at, text_at
from bot.ports import SurfaceError
from policy.model import Json

NO_MEMBER: Final = "MemberNotFoundInConversation"
BLOCKED: Final = "ConversationBlockedByUser"
NOT_THERE: Final = "BotNotInConversationRoster"
NO_CONVERSATION: Final = "ConversationNotFound"
NO_ACTIVITY: Final = "ActivityNotFoundInConversation"
LEFT: Final = frozenset({BLOCKED, NOT_THERE, NO_CONVERSATION})
"""The bot is not in the conversation, or not wanted there."""
NOT_INSTALLED: Final = "ForbiddenOperationException"
"""Nobody there has the app: nothing can be begun with them."""
STREAM_REFUSED: Final = "ContentStreamNotAllowed"
AGAIN: Final = frozenset({429, 412, 502, 504})
"""What Microsoft asks to try again."""

_SENTENCES: Final = {
    NO_ACTIVITY: "The message is not there any more.",
    NO_CONVERSATION: "The conversation does not exist any more, or the bot is not in it. Add the app there again.",
    NOT_THERE: "The bot is not in that conversation. Add the app there.",
    BLOCKED: "The bot is blocked there. It writes again once somebody there writes to it.",
    NO_MEMBER: "Nobody of that id is in the conversation.",
    "BotDisabledByAdmin": "An administrator of Teams has blocked the app. Ask them to allow it.",
    "BotNotRegistered": "Teams knows no bot of this id. Look at TEAMS_APP_ID and at the Teams channel in Azure.",
    NOT_INSTALLED: "The app is not installed there. Add it, or have it installed for its people.",
    "InvalidBotApiHost": "This organisation is in another cloud of Microsoft's than the address that was kept.",
    "NotEnoughPermissions": "The bot lacks a permission for this in Teams.",
    "MessageSizeTooBig": "The message is larger than Teams takes.",
}
_CODE = re.compile(r"[A-Za-z][A-Za-z0-9]{0,63}", re.ASCII)


class Refused(SurfaceError):
    """Teams said no. `code`: its own word for why, empty where it gave none; `left`: the bot cannot speak there."""

    def __init__(
        self,
        sentence: str,
        status: int,
        code: str,
        *,
        retry_after_s: float | None = None,
        gone: bool = False,
        cancelled: bool = False,
    ) -> None:
        """`cancelled`: whoever reads along stopped the stream."""
        super().__init__(sentence, retry_after_s=retry_after_s, gone=gone)
        self.status = status
        self.code = code
        self.cancelled = cancelled

    @property
    def left(self) -> bool:
        return self.code in LEFT


@dataclass(frozen=True, slots=True)
class Answered:
    """What came back over HTTP. `body`: parsed, None where it is no JSON."""

    status: int
    body: Json
    retry_after_s: float | None = None


def refused(answered: Answered, *, of_message: bool = False) -> Refused:
    """`of_message`: a message was named, so that a 404 without a code is of it."""
    code = _code(answered.body)
    if not code and answered.status == 404 and of_message:
        code = NO_ACTIVITY
    sentence = _SENTENCES.get(code) or _of_status(answered.status)
    if answered.status == 413:
        sentence = _SENTENCES["MessageSizeTooBig"]
    return Refused(
        f"{sentence} Nothing was posted.",
        answered.status,
        code,
        retry_after_s=answered.retry_after_s if answered.status in AGAIN else None,
        gone=code in (NO_ACTIVITY, NOT_INSTALLED) or code in LEFT,
        cancelled=code == STREAM_REFUSED and "cancel" in text_at(answered.body, "error", "message").lower(),
    )


def _code(body: Json) -> str:
    for told in (text_at(body, "error", "code"), text_at(body, "code"), text_at(body, "error")):
        if _CODE.fullmatch(told):
            return told
    inner = at(body, "error", "innerHttpError", "body")
    return text_at(inner, "code") if _CODE.fullmatch(text_at(inner, "code")) else ""


def _of_status(status: int) -> str:
    match status:
        case 401:
            return "Teams does not take the bot's token. Look at TEAMS_APP_ID and TEAMS_TENANT_ID."
        case 403:
            return "Teams does not let the bot do this."
        case 429:
            return "Teams asks the bot to speak less often."
        case _:
            return f"Teams answered with HTTP {status}."
